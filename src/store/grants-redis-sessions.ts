/**
 * Sessions in Redis. A session is one hash under its uid, with a field for every part that changes alone, so that a script needs no JSON;
 * a cookie's id is a pointer to it. An id that was replaced stays marked for a while, so that a late request does not make it valid again.
 */
import type { Result } from "ioredis";
import { now, nowSeconds } from "../clock.ts";
import type { JsonObject, Owner, SessionChange, SessionRecord, SessionStore } from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { datedSession, isCovered } from "./grants-owners.ts";
import type { Ground } from "./grants-redis-grants.ts";
import { cutKeys, parseCuts } from "./grants-redis-grants.ts";

export const SESSION = ".s";
const POINTER = ".sid";
/** Fields of the hash: uid and scalars as JSON, the account as JSON, the last visit, the latest pointer and its end; an authorization begins with "c". */
const AUTHORIZATION = "c";
/** Pointer and index outlive their session by as much again, a day at most, so that prolonging a session at each refresh touches them once a day only. */
const SLACK_SECONDS_MAX = 86_400;
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

/** Answers the pointer that now ends before the session, if it does, then the account and the names of all fields. */
const PROLONG = `
local ttl = tonumber(ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left == -2 or left >= ttl * 1000 then return false end
redis.call('EXPIRE', KEYS[1], ttl)
local ends = tonumber(ARGV[2]) + ttl
if tonumber(redis.call('HGET', KEYS[1], 'e')) >= ends then return false end
redis.call('HSET', KEYS[1], 'e', ends + tonumber(ARGV[3]))
local found = redis.call('HMGET', KEYS[1], 'p', 'a')
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do found[#found + 1] = name end
return found`;

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
    prolongSession(key: string, ttl: number, now: number, slack: number): Result<string[] | null, Context>;
    pointSession(key: string, pointer: string, ttlMs: number): Result<number, Context>;
    prolongPointer(key: string, ttl: number): Result<number, Context>;
    replacePointer(key: string, endsMs: number, ttl: number): Result<number, Context>;
  }
}

export function createRedisSessions(ground: Ground): SessionStore {
  const { client, key, run } = ground.connection;
  client.defineCommand("saveSession", { lua: SAVE, numberOfKeys: 1 });
  client.defineCommand("prolongSession", { lua: PROLONG, numberOfKeys: 1 });
  client.defineCommand("pointSession", { lua: POINT, numberOfKeys: 1 });
  client.defineCommand("prolongPointer", { lua: PROLONG_POINTER, numberOfKeys: 1 });
  client.defineCommand("replacePointer", { lua: REPLACE, numberOfKeys: 1 });
  const uidOf = async (id: string): Promise<string | undefined> =>
    parsePointer(await run((redis) => redis.get(key(POINTER, id))));
  return {
    findByUid: (uid, userId) => find(ground, uid, userId),
    async findById(id) {
      const uid = await uidOf(id);
      return uid === undefined ? undefined : find(ground, uid, undefined);
    },
    list: (of, limit) => list(ground, of, limit),
    save: (id, change, ttlSeconds) => save(ground, { id, change, ttl: lifetimeSeconds(ttlSeconds) }),
    async forget(id, afterSeconds) {
      const seconds = Math.max(Math.ceil(afterSeconds), 0);
      const endsMs = now().getTime() + seconds * 1000;
      await run((redis) => redis.replacePointer(key(POINTER, id), endsMs, seconds + REPLACED_KEPT_SECONDS));
    },
    /** Its other ids then point to nothing. */
    async end(id) {
      const uid = await uidOf(id);
      if (uid === undefined) return;
      await run((redis) => redis.del(key(SESSION, uid)));
      await run((redis) => redis.del(key(POINTER, id)));
    },
    prolong: (uid, ttlSeconds) => prolong(ground, uid, lifetimeSeconds(ttlSeconds)),
  };
}

async function save(
  { connection, index }: Ground,
  what: { id: string; change: SessionChange; ttl: number },
): Promise<boolean> {
  const { key, run } = connection;
  const { id, change, ttl } = what;
  const pointer = key(POINTER, id);
  const ttlMs = await run((redis) =>
    redis.saveSession(key(SESSION, change.uid), ...saveArguments(change, ttl, pointer)),
  );
  if (ttlMs === 0) return false;
  const endsMs = ttlMs + slackSeconds(ttl) * 1000;
  await Promise.all([
    run((redis) => redis.pointSession(pointer, `+${change.uid}`, endsMs)),
    index.add(ownersOfSession(change.fields["accountId"], Object.keys(change.set)), "s", change.uid, endsMs),
  ]);
  return true;
}

async function prolong({ connection, index }: Ground, uid: string, ttl: number): Promise<void> {
  const { key, run } = connection;
  const slack = slackSeconds(ttl);
  const found = await run((redis) => redis.prolongSession(key(SESSION, uid), ttl, nowSeconds(), slack));
  if (found === null) return;
  const [pointer = "", account = "null", ...names] = found;
  const clients = names.flatMap((name) => clientOf(name) ?? []);
  await Promise.all([
    run((redis) => redis.prolongPointer(pointer, ttl + slack)),
    index.add(ownersOfSession(JSON.parse(account), clients), "s", uid, (ttl + slack) * 1000),
  ]);
}

/** A session in which nobody is signed in is nobody's. */
function ownersOfSession(accountId: unknown, clients: readonly string[]): readonly Owner[] {
  if (typeof accountId !== "string") return [];
  return [{ userId: accountId }, ...clients.map((clientId) => ({ clientId }))];
}

function slackSeconds(ttl: number): number {
  return Math.min(ttl, SLACK_SECONDS_MAX);
}

/** The session and its user's cut-off in one tick where the user is known, else the cut-off after it; the epoch beside either. */
async function find(ground: Ground, uid: string, userId: string | undefined): Promise<SessionRecord | undefined> {
  const { connection, epoch } = ground;
  const see = (of: { userId?: string | undefined }) =>
    epoch.sound(async () => {
      const hash = connection.run((redis) => redis.hgetall(connection.key(SESSION, uid)));
      const read = connection.read([epoch.key, ...cutKeys(connection, of)]);
      const [fields, [value, ...cuts]] = await Promise.all([hash, read]);
      return { epoch: value, answer: { session: parseSession(fields), cuts: parseCuts(of, cuts) } };
    });
  const first = await see({ userId });
  if (first.session === undefined) return undefined;
  const dated = datedSession(first.session.fields);
  const { session, cuts } = dated.userId === userId ? first : await see(dated);
  // Seen a second time, it may be another person's; the next request will see the cut-off of that one.
  return session === undefined || isCovered(datedSession(session.fields), cuts) ? undefined : session;
}

async function list(ground: Ground, of: Owner, limit: number): Promise<readonly SessionRecord[]> {
  const { index } = ground;
  const listed: SessionRecord[] = [];
  for await (const uids of index.pages(of, "s")) {
    const userId = "userId" in of ? of.userId : undefined;
    const sessions = await Promise.all(uids.map((uid) => find(ground, uid, userId)));
    const isOwn = (session: SessionRecord | undefined): session is SessionRecord =>
      session !== undefined &&
      ("userId" in of ? session.fields["accountId"] === of.userId : Object.hasOwn(session.authorizations, of.clientId));
    await index.forget(
      of,
      "s",
      uids.filter((_, place) => !isOwn(sessions[place])),
    );
    listed.push(...sessions.filter(isOwn));
    if (listed.length >= limit) break;
  }
  return listed.slice(0, limit);
}

/** In the order in which the script reads them. */
function saveArguments(change: SessionChange, ttl: number, pointer: string): (string | number)[] {
  const { uid, isNew, fields, set, removed, seenAt } = change;
  const pointerEndBeforeTtl = nowSeconds() + slackSeconds(ttl);
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

function clientOf(field: string): string | undefined {
  return field.startsWith(AUTHORIZATION) ? (JSON.parse(field.slice(1)) as string) : undefined;
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
  const authorizations = Object.entries(hash).flatMap(([name, value]) => {
    const clientId = clientOf(name);
    return clientId === undefined ? [] : [[clientId, JSON.parse(value) as JsonObject] as const];
  });
  return { uid, fields, authorizations: Object.fromEntries(authorizations), seenAt: Number(hash["t"]) };
}
