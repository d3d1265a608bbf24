/** Revoking in Redis: the tombstone of a Grant, the cut-off of a user or a client; one key each, whatever was issued, and no late write undoes it. */
import type { Result } from "ioredis";
import { now } from "../clock.ts";
import { type GrantStore, type Revocation, TOMBSTONE } from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { GRANT_MODEL } from "./grants-merge.ts";
import { CLIENT_CUT, USER_CUT } from "./grants-owners.ts";
import type { RedisConnection } from "./grants-redis-connection.ts";
import { REMOVED } from "./grants-redis-record.ts";
import { SESSION } from "./grants-redis-sessions.ts";

/** So many are planted in one tick: far below what the time of a command allows. */
const PLANT_BATCH = 500;

/** A tombstone never ends earlier than somebody wanted. */
const BURY = `
local ttl = tonumber(ARGV[1])
if redis.call('TTL', KEYS[1]) < ttl then redis.call('SET', KEYS[1], '1', 'EX', ttl) end
return 1`;

/** The later moment and the later end stand. */
const CUT = `
local before, ttl = ARGV[1], math.max(tonumber(ARGV[2]), redis.call('TTL', KEYS[1]))
local stored = redis.call('GET', KEYS[1])
if stored and tonumber(stored) > tonumber(before) then before = stored end
redis.call('SET', KEYS[1], before, 'EX', ttl)
return 1`;

declare module "ioredis" {
  interface RedisCommander<Context> {
    buryGrant(key: string, ttlSeconds: number): Result<number, Context>;
    cutOff(key: string, beforeMs: number, ttlSeconds: number): Result<number, Context>;
  }
}

export function createRedisRevocations(connection: RedisConnection): Pick<GrantStore, "endGrant" | "plant"> {
  const { client, key, run } = connection;
  client.defineCommand("buryGrant", { lua: BURY, numberOfKeys: 1 });
  client.defineCommand("cutOff", { lua: CUT, numberOfKeys: 1 });
  return {
    /** The Grant itself is all that is known to belong to it: whatever was issued under it is refused without its Grant, and short-lived. */
    async endGrant(grantId, ttlSeconds) {
      await run((redis) => redis.buryGrant(key(TOMBSTONE, grantId), lifetimeSeconds(ttlSeconds)));
      await run((redis) => redis.set(key(GRANT_MODEL, grantId), REMOVED, "KEEPTTL", "XX"));
    },
    async plant(revocations) {
      for (let from = 0; from < revocations.length; from += PLANT_BATCH) {
        await plantBatch(connection, revocations.slice(from, from + PLANT_BATCH));
      }
    },
  };
}

async function plantBatch(connection: RedisConnection, batch: readonly Revocation[]): Promise<void> {
  const { isCluster, key, run } = connection;
  const commands = batch.flatMap((revocation) => commandOf(connection, revocation) ?? []);
  const cuts = batch.filter(({ kind }) => kind === "user" || kind === "client");
  await run(async (redis) => {
    if (isCluster) return Promise.all(commands.map(([name, ...args]) => redis.call(name, ...args)));
    const results = await redis.pipeline(commands.map((command) => [...command])).exec();
    for (const [error] of results ?? []) if (error !== null) throw error;
    return [];
  });
  await Promise.all(
    cuts.map(({ kind, key: id, beforeMs, expiresAtMs }) =>
      run((redis) => redis.cutOff(key(kind === "user" ? USER_CUT : CLIENT_CUT, id), beforeMs, secondsTo(expiresAtMs))),
    ),
  );
}

/** What plants it; plain commands, since there may be very many. A row has the latest end that anybody wanted. */
function commandOf(
  { keyOfHash }: RedisConnection,
  { kind, key, expiresAtMs }: Revocation,
): readonly [[name: string, ...args: string[]]] | undefined {
  const ttl = String(secondsTo(expiresAtMs));
  if (kind === "grant") return [["set", keyOfHash(TOMBSTONE, key), "1", "EX", ttl]];
  if (kind === "session") return [["del", keyOfHash(SESSION, key)]];
  if (kind !== "token") return undefined;
  const [model = "", hash = ""] = key.split(":");
  return [["set", keyOfHash(model, hash), REMOVED, "EX", ttl]];
}

function secondsTo(momentMs: number): number {
  return lifetimeSeconds((momentMs - now().getTime()) / 1000);
}
