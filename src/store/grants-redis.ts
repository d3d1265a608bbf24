/**
 * The Redis engine of the expiring store. Every script touches one key, so that a cluster serves as well; every key has an end.
 * A record is one string: its mark, then its payload as JSON.
 */
import type { Result } from "ioredis";
import { unavailable } from "../errors.ts";
import type { Log } from "../log.ts";
import { sha256 } from "../secrets.ts";
import type { GrantStore, JsonObject, Outcome, StoredRecord } from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { GRANT_MODEL, mergeGrants } from "./grants-merge.ts";
import { connectRedis, type RedisConnection } from "./grants-redis-connection.ts";
import { createRedisFamilies } from "./grants-redis-families.ts";
import { createRedisSessions } from "./grants-redis-sessions.ts";

const PREFIX = "signet:";
/** The engine's own kinds beside the models: the tombstone of a Grant, the way from a user code, a claimed identifier. */
const ENDED_GRANT = ".ended";
const USER_CODE = ".code-";
const CLAIM = ".claim-";
/** Marks. A removed record leaves its mark until its time is over, so that a late write does not bring it back. */
const LIVE = "0";
const CONSUMED = "1";
const REMOVED = "2";
/** Each failed attempt means that another one succeeded; more than this many at once is no consent of a person. */
const MERGE_ATTEMPTS_MAX = 32;

/** Writes over an existing record: the mark stays, and a consumed record keeps at least its time. */
const REWRITE = `
local mark = redis.call('GETRANGE', KEYS[1], 0, 0)
if mark == '${REMOVED}' then return 0 end
local ttl = tonumber(ARGV[2])
if mark == '${CONSUMED}' then ttl = math.max(ttl, redis.call('TTL', KEYS[1])) else mark = '${LIVE}' end
redis.call('SET', KEYS[1], mark .. ARGV[1], 'EX', ttl)
return 1`;

/** SETRANGE keeps the lifetime, and on a key that is not there it would make one without an end: hence the look first. */
const CONSUME = `
local mark = redis.call('GETRANGE', KEYS[1], 0, 0)
if mark == '${CONSUMED}' then return 'lost' end
if mark ~= '${LIVE}' then return 'unknown' end
redis.call('SETRANGE', KEYS[1], 0, '${CONSUMED}')
return 'won'`;

const TAKE = `
local value = redis.call('GET', KEYS[1])
if not value or string.sub(value, 1, 1) == '${REMOVED}' then return false end
redis.call('SET', KEYS[1], '${REMOVED}', 'KEEPTTL')
return value`;

/** Compare and set; the lifetime is never shortened. */
const SWAP = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', math.max(tonumber(ARGV[3]), redis.call('TTL', KEYS[1])))
return 1`;

/** A tombstone never ends earlier than somebody wanted. */
const BURY = `
local ttl = tonumber(ARGV[1])
if redis.call('TTL', KEYS[1]) < ttl then redis.call('SET', KEYS[1], '1', 'EX', ttl) end
return 1`;

declare module "ioredis" {
  interface RedisCommander<Context> {
    rewriteRecord(key: string, payload: string, ttlSeconds: number): Result<number, Context>;
    consumeRecord(key: string): Result<Outcome, Context>;
    takeRecord(key: string): Result<string | null, Context>;
    swapRecord(key: string, before: string, after: string, ttlSeconds: number): Result<number, Context>;
    buryGrant(key: string, ttlSeconds: number): Result<number, Context>;
  }
}

/** Several URLs are the nodes of a Redis Cluster. It opens also where no Redis answers; then every call throws store_unavailable until one does. */
export async function openRedisGrants(options: {
  urls: readonly string[];
  prefix?: string;
  log: Log;
}): Promise<GrantStore> {
  const connection = await connectRedis({ urls: options.urls, prefix: options.prefix ?? PREFIX, log: options.log });
  const { client, key, keyOfHash, run, read } = connection;
  client.defineCommand("rewriteRecord", { lua: REWRITE, numberOfKeys: 1 });
  client.defineCommand("consumeRecord", { lua: CONSUME, numberOfKeys: 1 });
  client.defineCommand("takeRecord", { lua: TAKE, numberOfKeys: 1 });
  client.defineCommand("swapRecord", { lua: SWAP, numberOfKeys: 1 });
  client.defineCommand("buryGrant", { lua: BURY, numberOfKeys: 1 });
  const remove = async (model: string, id: string): Promise<void> => {
    await run((redis) => redis.set(key(model, id), REMOVED, "KEEPTTL", "XX"));
  };
  return {
    engine: "redis",
    async put(model, id, payload, ttlSeconds, links = {}) {
      const ttl = lifetimeSeconds(ttlSeconds);
      const written =
        model === GRANT_MODEL
          ? putGrant(connection, key(model, id), payload, ttl)
          : putRecord(connection, key(model, id), payload, ttl);
      const { userCode } = links;
      // Both in one tick. The way from the code holds the record's hash, never its id; without the record it leads nowhere.
      await Promise.all([
        written,
        userCode === undefined
          ? undefined
          : run((redis) => redis.set(key(USER_CODE + model, userCode), sha256(id), "EX", ttl)),
      ]);
    },
    async find(model, id) {
      const isGrant = model === GRANT_MODEL;
      const [value, tombstone] = await read(isGrant ? [key(model, id), key(ENDED_GRANT, id)] : [key(model, id)]);
      return typeof tombstone === "string" ? undefined : parseRecord(value);
    },
    async findByUserCode(model, userCode) {
      const hash = await run((redis) => redis.get(key(USER_CODE + model, userCode)));
      return hash === null ? undefined : parseRecord(await run((redis) => redis.get(keyOfHash(model, hash))));
    },
    consume: (model, id) => run((redis) => redis.consumeRecord(key(model, id))),
    take: async (model, id) => parseRecord(await run((redis) => redis.takeRecord(key(model, id)))),
    remove,
    claim: async (purpose, id, ttlSeconds) => {
      const ttl = lifetimeSeconds(ttlSeconds);
      return (await run((redis) => redis.set(key(CLAIM + purpose, id), LIVE, "EX", ttl, "NX"))) === "OK";
    },
    /** The Grant itself is all that is known to belong to it: whatever was issued under it is refused without its Grant, and short-lived. */
    async endGrant(grantId, ttlSeconds) {
      await run((redis) => redis.buryGrant(key(ENDED_GRANT, grantId), lifetimeSeconds(ttlSeconds)));
      await remove(GRANT_MODEL, grantId);
    },
    sessions: createRedisSessions(connection),
    families: createRedisFamilies(connection),
    sweep: async () => 0,
    check: connection.check,
    close: connection.close,
  };
}

/** The first write of a record, which on the token path is the only one, is one plain SET. */
async function putRecord({ run }: RedisConnection, key: string, payload: JsonObject, ttl: number): Promise<void> {
  const text = JSON.stringify(payload);
  const isNew = await run((redis) => redis.set(key, LIVE + text, "EX", ttl, "NX"));
  if (isNew === null) await run((redis) => redis.rewriteRecord(key, text, ttl));
}

async function putGrant({ run }: RedisConnection, key: string, payload: JsonObject, ttl: number): Promise<void> {
  const first = LIVE + JSON.stringify(payload);
  for (let attempt = 0; attempt < MERGE_ATTEMPTS_MAX; attempt += 1) {
    if ((await run((redis) => redis.set(key, first, "EX", ttl, "NX"))) !== null) return;
    const stored = await run((redis) => redis.get(key));
    if (stored === null) continue;
    const record = parseRecord(stored);
    if (record === undefined) return;
    const merged = stored.slice(0, 1) + JSON.stringify(mergeGrants(record.payload, payload));
    if ((await run((redis) => redis.swapRecord(key, stored, merged, ttl))) === 1) return;
  }
  throw unavailable("Redis: a Grant was written too often at once to be merged");
}

function parseRecord(value: string | null | undefined): StoredRecord | undefined {
  if (value === null || value === undefined || value.startsWith(REMOVED)) return undefined;
  return { payload: JSON.parse(value.slice(1)) as JsonObject, isConsumed: value.startsWith(CONSUMED) };
}
