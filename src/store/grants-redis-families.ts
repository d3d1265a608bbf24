/**
 * Refresh families in Redis. A family is one string: how many spends it remembers, its generation, the times of the spends,
 * then the payload, packed; about 300 bytes of memory for a usual sign-in, however often it rotates.
 */
import type { Result } from "ioredis";
import type { Family, FamilyStore, Standing } from "./grants.ts";
import { SPENDS_KEPT } from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { pack, unpack } from "./grants-pack.ts";
import type { RedisConnection } from "./grants-redis-connection.ts";

const FAMILY = ".f";
/** One byte counts the spends, four hold the generation. */
const HEAD_BYTES = 5;
/** The latest spend in milliseconds since 1970; each older one as its distance to the next younger, at most 65 s: only those inside a window are kept, and none is longer than a minute. */
const LATEST_BYTES = 6;
const DISTANCE_BYTES = 2;
const GENERATION_MAX = 0xffff_ffff;

/** How long the part before the payload is. */
const HEAD_LENGTH = `
local function head_length(count)
  return ${HEAD_BYTES} + (count > 0 and ${LATEST_BYTES} + (count - 1) * ${DISTANCE_BYTES} or 0)
end`;

/** The rule is `standing` in grants.ts, word for word; the contract suite compares the two over every case. */
const SPEND = `${HEAD_LENGTH}
local value = redis.call('GET', KEYS[1])
if not value then return 'unknown' end
local asked, now, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local count, generation = struct.unpack('>BI4', value)
local spends = {}
for i = 1, count do
  if i == 1 then
    spends[1] = struct.unpack('>I${LATEST_BYTES}', value, ${HEAD_BYTES + 1})
  else
    spends[i] = spends[i - 1] - struct.unpack('>I${DISTANCE_BYTES}', value, head_length(i - 1) + 1)
  end
end
local function recent(spend) return spend ~= nil and window > 0 and now - spend < window end
if asked > generation then return 'unknown' end
if asked < generation then
  local behind = generation - asked
  if behind == 1 then return recent(spends[1]) and 'replayed' or 'reused' end
  local successor = spends[behind - 1]
  if successor ~= nil then return recent(successor) and 'refused' or 'reused' end
  return recent(spends[${SPENDS_KEPT}]) and 'refused' or 'reused'
end
local kept = struct.pack('>I${LATEST_BYTES}', now)
local younger, remembered = now, 1
for i = 1, math.min(count, ${SPENDS_KEPT - 1}) do
  if not recent(spends[i]) then break end
  local distance = math.min(math.max(younger - spends[i], 0), ${2 ** (8 * DISTANCE_BYTES) - 1})
  kept = kept .. struct.pack('>I${DISTANCE_BYTES}', distance)
  younger, remembered = spends[i], remembered + 1
end
local advanced = struct.pack('>BI4', remembered, generation + 1) .. kept .. string.sub(value, head_length(count) + 1)
redis.call('SET', KEYS[1], advanced, 'KEEPTTL')
return 'current'`;

const SAVE = `${HEAD_LENGTH}
local value = redis.call('GET', KEYS[1])
if not value then return 0 end
local count, generation = struct.unpack('>BI4', value)
if generation ~= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], string.sub(value, 1, head_length(count)) .. ARGV[2], 'EX', ARGV[3])
return 1`;

declare module "ioredis" {
  interface RedisCommander<Context> {
    spendFamily(key: string, generation: number, nowMs: number, windowMs: number): Result<Standing, Context>;
    saveFamily(key: string, generation: number, payload: Buffer, ttlSeconds: number): Result<number, Context>;
  }
}

export function createRedisFamilies({ client, key, run }: RedisConnection): FamilyStore {
  client.defineCommand("spendFamily", { lua: SPEND, numberOfKeys: 1 });
  client.defineCommand("saveFamily", { lua: SAVE, numberOfKeys: 1 });
  return {
    /** Only where there is none: a second start must not roll a family back to its first token. */
    async start(familyId, payload, ttlSeconds) {
      const value = Buffer.concat([Buffer.alloc(HEAD_BYTES), pack(payload)]);
      await run((redis) => redis.set(key(FAMILY, familyId), value, "EX", lifetimeSeconds(ttlSeconds), "NX"));
    },
    async find(familyId) {
      const value = await run((redis) => redis.getBuffer(key(FAMILY, familyId)));
      return value === null ? undefined : parseFamily(value);
    },
    async spend(familyId, generation, { nowMs, windowMs }) {
      if (!isGeneration(generation)) return "unknown";
      return run((redis) => redis.spendFamily(key(FAMILY, familyId), generation, Math.floor(nowMs), windowMs));
    },
    async save(familyId, generation, payload, ttlSeconds) {
      if (!isGeneration(generation)) return false;
      const [packed, ttl] = [pack(payload), lifetimeSeconds(ttlSeconds)];
      return (await run((redis) => redis.saveFamily(key(FAMILY, familyId), generation, packed, ttl))) === 1;
    },
    end: async (familyId) => {
      await run((redis) => redis.del(key(FAMILY, familyId)));
    },
  };
}

function isGeneration(generation: number): boolean {
  return Number.isInteger(generation) && generation >= 0 && generation < GENERATION_MAX;
}

function parseFamily(value: Buffer): Family {
  const count = value.readUInt8();
  const spentAt: number[] = [];
  let at = HEAD_BYTES;
  for (let i = 0; i < count; i += 1) {
    const younger = spentAt[i - 1];
    spentAt.push(
      younger === undefined ? value.readUIntBE(at, LATEST_BYTES) : younger - value.readUIntBE(at, DISTANCE_BYTES),
    );
    at += younger === undefined ? LATEST_BYTES : DISTANCE_BYTES;
  }
  return { generation: value.readUInt32BE(1), spentAt, payload: unpack(value.subarray(at)) };
}
