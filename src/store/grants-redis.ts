/**
 * The Redis engine of the expiring store. Every script touches one key, so that a cluster serves as well; every key has an end.
 */
import type { Result } from "ioredis";
import type { Log } from "../log.ts";
import { sha256 } from "../secrets.ts";
import type { GrantStore, JsonObject, Outcome, RevocationSource } from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { GRANT_MODEL } from "./grants-merge.ts";
import { connectRedis, type RedisConnection } from "./grants-redis-connection.ts";
import { createEpoch } from "./grants-redis-epoch.ts";
import { createRedisFamilies } from "./grants-redis-families.ts";
import { createRedisGrants } from "./grants-redis-grants.ts";
import { createRedisIndex } from "./grants-redis-index.ts";
import { CONSUMED, LIVE, parseRecord, REMOVED } from "./grants-redis-record.ts";
import { createRedisRevocations } from "./grants-redis-revocations.ts";
import { createRedisSessions } from "./grants-redis-sessions.ts";

/** The engine's own kinds beside the models: the way from a user code, a claimed identifier. */
const USER_CODE = ".code-";
const CLAIM = ".claim-";

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

declare module "ioredis" {
  interface RedisCommander<Context> {
    rewriteRecord(key: string, payload: string, ttlSeconds: number): Result<number, Context>;
    consumeRecord(key: string): Result<Outcome, Context>;
    takeRecord(key: string): Result<string | null, Context>;
  }
}

/**
 * Several URLs are the nodes of a Redis Cluster. It opens also where no Redis answers; then every call throws store_unavailable until one does.
 * `revocations` is where the durable store keeps them: a Redis that was emptied, or put back to an older state, gets them again.
 */
export async function openRedisGrants(options: {
  urls: readonly string[];
  /** Of our keys: others may share the Redis. */
  prefix: string;
  log: Log;
  revocations: RevocationSource;
}): Promise<GrantStore> {
  const { log, prefix, revocations: source } = options;
  const connection = await connectRedis({ urls: options.urls, prefix, log });
  const { client, key, keyOfHash, run, read } = connection;
  client.defineCommand("rewriteRecord", { lua: REWRITE, numberOfKeys: 1 });
  client.defineCommand("consumeRecord", { lua: CONSUME, numberOfKeys: 1 });
  client.defineCommand("takeRecord", { lua: TAKE, numberOfKeys: 1 });
  const revocations = createRedisRevocations(connection);
  const epoch = createEpoch(connection, { source, plant: revocations.plant, log, prefix });
  const index = createRedisIndex(connection);
  const { put: putGrant, ...grants } = createRedisGrants({ connection, epoch, index });
  return {
    engine: "redis",
    ...revocations,
    ...grants,
    doubt: epoch.doubt,
    async put(model, id, payload, ttlSeconds, links = {}) {
      if (model === GRANT_MODEL) return putGrant(id, payload, ttlSeconds);
      const ttl = lifetimeSeconds(ttlSeconds);
      const { userCode } = links;
      // Both in one tick. The way from the code holds the record's hash, never its id; without the record it leads nowhere.
      await Promise.all([
        putRecord(connection, key(model, id), payload, ttl),
        userCode === undefined
          ? undefined
          : run((redis) => redis.set(key(USER_CODE + model, userCode), sha256(id), "EX", ttl)),
      ]);
    },
    async find(model, id) {
      if (model === GRANT_MODEL) return grants.findGrant(id);
      const [value] = await read([key(model, id)]);
      return parseRecord(value);
    },
    async findByUserCode(model, userCode) {
      const hash = await run((redis) => redis.get(key(USER_CODE + model, userCode)));
      return hash === null ? undefined : parseRecord(await run((redis) => redis.get(keyOfHash(model, hash))));
    },
    consume: (model, id) => run((redis) => redis.consumeRecord(key(model, id))),
    take: async (model, id) => parseRecord(await run((redis) => redis.takeRecord(key(model, id)))),
    remove: async (model, id) => {
      await run((redis) => redis.set(key(model, id), REMOVED, "KEEPTTL", "XX"));
    },
    claim: async (purpose, id, ttlSeconds) => {
      const ttl = lifetimeSeconds(ttlSeconds);
      return (await run((redis) => redis.set(key(CLAIM + purpose, id), LIVE, "EX", ttl, "NX"))) === "OK";
    },
    sessions: createRedisSessions({ connection, epoch, index }),
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
