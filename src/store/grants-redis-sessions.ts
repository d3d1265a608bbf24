/**
 * Sessions in Redis. A session is one hash under its uid, with a field for every part that changes alone, so that a script needs no JSON;
 * a cookie's id is a pointer to it. An id that was replaced stays marked for a while, so that a late request does not make it valid again.
 */
import type { Result } from "ioredis";
import { now, nowSeconds } from "../clock.ts";
import type { JsonObject, SessionChange, SessionRecord, SessionStore } from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import type { RedisConnection } from "./grants-redis-connection.ts";

const SESSION = ".s";
const POINTER = ".sid";
/** Fields of the hash: uid and scalars as JSON, the account as JSON, the last visit, the latest pointer and its end; an authorization begins with "c". */
const AUTHORIZATION = "c";
/** A pointer outlives its session by this much, so that prolonging a session at each refresh touches the pointer once a day only. */
const POINTER_SLACK_SECONDS = 86_400;
/** A replaced id is remembered this long after it stopped to answer: longer than any request that still holds it. */
const REPLACED_KEPT_SECONDS = 3600;
/** A pointer is "+<uid>"; replaced, it is "-<end in milliseconds>:<uid>". */
const REPLACED = /^-(\d+):/;

/** Answers the lifetime in milliseconds that the session now has, 0 if it was ended. A different account takes nothing of the other one over but the time. */
const SAVE = `
local key, is_new, fields, account, seen, seen_first = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local left = redis.call('PTTL', key)
if left == -2 and is_new ~= '1' then return 0 end
if left ~= -2 and redis.call('HGET', key, 'a') ~= account then redis.call('DEL', key) end
local ttl = math.max(left, tonumber(ARGV[6]) * 1000)
redis.call('HSET', key, 'f', fields, 'a', account, 'p', ARGV[7], 'e', ARGV[8] + ttl / 1000)
if seen == '' then redis.call('HSETNX', key, 't', seen_first) else redis.call('HSET', key, 't', seen) end
local removed = tonumber(ARGV[9])
for i = 10, 9 + removed do redis.call('HDEL', key, ARGV[i]) end
for i = 10 + removed, #ARGV, 2 do redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', key, ttl)
return ttl`;

/** Answers the pointer that now ends before the session, if it does. */
const PROLONG = `
local ttl = tonumber(ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left == -2 or left >= ttl * 1000 then return false end
redis.call('EXPIRE', KEYS[1], ttl)
local ends = tonumber(ARGV[2]) + ttl
if tonumber(redis.call('HGET', KEYS[1], 'e')) >= ends then return false end
redis.call('HSET', KEYS[1], 'e', ends + tonumber(ARGV[3]))
return redis.call('HGET', KEYS[1], 'p')`;

/** A replaced id never points again, also when a slow request saves under it. */
const POINT = `
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, 1) == '-' then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`;

const PROLONG_POINTER = `
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, 1) == '+' then redis.call('EXPIRE', KEYS[1], ARGV[1], 'GT') end
return 1`;

/** Replaced twice, the earlier end counts. */
const REPLACE = `
local value = redis.call('GET', KEYS[1])
if not value then return 0 end
local ends, uid = ARGV[1], string.sub(value, 2)
if string.sub(value, 1, 1) == '-' then
  local before, rest = string.match(value, '^-(%d+):(.*)$')
  uid = rest
  if tonumber(before) < tonumber(ends) then ends = before end
end
redis.call('SET', KEYS[1], '-' .. ends .. ':' .. uid, 'EX', ARGV[2])
return 1`;

declare module "ioredis" {
  interface RedisCommander<Context> {
    saveSession(key: string, ...args: (string | number)[]): Result<number, Context>;
    prolongSession(key: string, ttl: number, now: number, slack: number): Result<string | null, Context>;
    pointSession(key: string, pointer: string, ttlMs: number): Result<number, Context>;
    prolongPointer(key: string, ttl: number): Result<number, Context>;
    replacePointer(key: string, endsMs: number, ttl: number): Result<number, Context>;
  }
}

export function createRedisSessions(connection: RedisConnection): SessionStore {
  const { client, key, run } = connection;
  client.defineCommand("saveSession", { lua: SAVE, numberOfKeys: 1 });
  client.defineCommand("prolongSession", { lua: PROLONG, numberOfKeys: 1 });
  client.defineCommand("pointSession", { lua: POINT, numberOfKeys: 1 });
  client.defineCommand("prolongPointer", { lua: PROLONG_POINTER, numberOfKeys: 1 });
  client.defineCommand("replacePointer", { lua: REPLACE, numberOfKeys: 1 });
  const findByUid: SessionStore["findByUid"] = async (uid) =>
    parseSession(await run((redis) => redis.hgetall(key(SESSION, uid))));
  const uidOf = async (id: string): Promise<string | undefined> =>
    parsePointer(await run((redis) => redis.get(key(POINTER, id))));
  const endByUid = async (uid: string): Promise<void> => {
    await run((redis) => redis.del(key(SESSION, uid)));
  };
  return {
    findByUid,
    async findById(id) {
      const uid = await uidOf(id);
      return uid === undefined ? undefined : findByUid(uid);
    },
    async save(id, change, ttlSeconds) {
      const pointer = key(POINTER, id);
      const args = saveArguments(change, lifetimeSeconds(ttlSeconds), pointer);
      const ttlMs = await run((redis) => redis.saveSession(key(SESSION, change.uid), ...args));
      if (ttlMs === 0) return false;
      await run((redis) => redis.pointSession(pointer, `+${change.uid}`, ttlMs + POINTER_SLACK_SECONDS * 1000));
      return true;
    },
    async forget(id, afterSeconds) {
      const seconds = Math.max(Math.ceil(afterSeconds), 0);
      const endsMs = now().getTime() + seconds * 1000;
      await run((redis) => redis.replacePointer(key(POINTER, id), endsMs, seconds + REPLACED_KEPT_SECONDS));
    },
    /** Its other ids then point to nothing. */
    async end(id) {
      const uid = await uidOf(id);
      if (uid === undefined) return;
      await endByUid(uid);
      await run((redis) => redis.del(key(POINTER, id)));
    },
    endByUid,
    async prolong(uid, ttlSeconds) {
      const ttl = lifetimeSeconds(ttlSeconds);
      const slack = POINTER_SLACK_SECONDS;
      const pointer = await run((redis) => redis.prolongSession(key(SESSION, uid), ttl, nowSeconds(), slack));
      if (pointer !== null) await run((redis) => redis.prolongPointer(pointer, ttl + slack));
    },
  };
}

/** In the order in which the script reads them. */
function saveArguments(change: SessionChange, ttl: number, pointer: string): (string | number)[] {
  const { uid, isNew, fields, set, removed, seenAt } = change;
  const pointerEndBeforeTtl = nowSeconds() + POINTER_SLACK_SECONDS;
  return [
    isNew ? "1" : "0",
    JSON.stringify({ uid, fields }),
    JSON.stringify(fields["accountId"] ?? null),
    seenAt ?? "",
    nowSeconds(),
    ttl,
    pointer,
    pointerEndBeforeTtl,
    removed.length,
    ...removed.map(authorizationField),
    ...Object.entries(set).flatMap(([clientId, value]) => [authorizationField(clientId), JSON.stringify(value)]),
  ];
}

/** As JSON, since a field's name is UTF-8 and not every text can be. */
function authorizationField(clientId: string): string {
  return AUTHORIZATION + JSON.stringify(clientId);
}

function parsePointer(value: string | null): string | undefined {
  if (value === null) return undefined;
  if (value.startsWith("+")) return value.slice(1);
  const match = REPLACED.exec(value);
  return match !== null && Number(match[1]) > now().getTime() ? value.slice(match[0].length) : undefined;
}

function parseSession(hash: Readonly<Record<string, string>>): SessionRecord | undefined {
  if (hash["f"] === undefined) return undefined;
  const { uid, fields } = JSON.parse(hash["f"]) as { uid: string; fields: JsonObject };
  const authorizations = Object.entries(hash)
    .filter(([name]) => name.startsWith(AUTHORIZATION))
    .map(([name, value]) => [JSON.parse(name.slice(1)) as string, JSON.parse(value) as JsonObject] as const);
  return { uid, fields, authorizations: Object.fromEntries(authorizations), seenAt: Number(hash["t"]) };
}
