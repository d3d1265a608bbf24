/** Counters in Redis: one key each, changed by one script on that key. */
import type { Log } from "../log.ts";
import type { Counters } from "./counters.ts";
import { connectRedis } from "./grants-redis-connection.ts";

/** The model of these records beside those of the expiring store; no model of the protocol has this name. */
const MODEL = ".counter";
/** Writes if the value is still the expected one; an empty expectation means that there is no key. No value is empty. */
const SWAP = `
local value = redis.call("GET", KEYS[1])
if (value or "") ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[2], "EX", ARGV[3])
return 1`;

/** Several URLs are the nodes of a cluster. Comes back also when Redis does not answer yet; `check` tells. */
export async function openRedisCounters(options: {
  urls: readonly string[];
  prefix: string;
  log: Log;
}): Promise<Counters> {
  const redis = await connectRedis(options);
  return {
    engine: "redis",
    read: (key) => redis.run(async (client) => (await client.get(redis.key(MODEL, key))) ?? undefined),
    async swap(key, { current, next }, ttlSeconds) {
      const seconds = Math.max(1, Math.ceil(ttlSeconds));
      const written = await redis.run((client) =>
        client.eval(SWAP, 1, redis.key(MODEL, key), current ?? "", next, seconds),
      );
      return written === 1;
    },
    sweep: async () => 0,
    check: redis.check,
    close: redis.close,
  };
}
