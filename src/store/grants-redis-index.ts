/**
 * What a user or a client has, in Redis: a sorted set per owner, scored by the end of what it names. What ended is removed whenever something
 * is added, and the set ends with its last member. It may name what was ended meanwhile; whoever reads it looks.
 */
import type { Result } from "ioredis";
import { now } from "../clock.ts";
import type { Owner, Owners } from "./grants.ts";
import type { RedisConnection } from "./grants-redis-connection.ts";

const OF_USER = ".of-user";
const OF_CLIENT = ".of-client";
/** First character of a member: a session by its uid, or a Grant by its hash. */
export type Kind = "s" | "g";
/** Members that are read at once. */
const PAGE = 200;

/** An entry is never moved to an earlier end; the whole ends with its last member. */
const ADD = `
local now, ends = tonumber(ARGV[1]), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], 'GT', ends, ARGV[3])
local left = redis.call('PTTL', KEYS[1])
if left < ends - now then redis.call('PEXPIRE', KEYS[1], ends - now) end
return 1`;

declare module "ioredis" {
  interface RedisCommander<Context> {
    addToIndex(key: string, nowMs: number, endsMs: number, member: string): Result<number, Context>;
  }
}

export interface RedisIndex {
  /** Enters it with all its owners, in one tick. */
  add(owners: readonly Owner[], kind: Kind, name: string, ttlMs: number): Promise<void>;
  /** Pages of names, the longest-lived first. */
  pages(of: Owner, kind: Kind): AsyncIterable<readonly string[]>;
  /** Forgets names that lead to nothing. */
  forget(of: Owner, kind: Kind, names: readonly string[]): Promise<void>;
}

export function ownersOf({ userId, clientId }: Owners): readonly Owner[] {
  return [...(userId === undefined ? [] : [{ userId }]), ...(clientId === undefined ? [] : [{ clientId }])];
}

export function createRedisIndex({ client, key, run }: RedisConnection): RedisIndex {
  client.defineCommand("addToIndex", { lua: ADD, numberOfKeys: 1 });
  const keyOf = (owner: Owner): string =>
    "userId" in owner ? key(OF_USER, owner.userId) : key(OF_CLIENT, owner.clientId);
  const read = async (
    name: string,
    page: { below: string; from: number; count: number },
  ): Promise<readonly { member: string; score: string }[]> => {
    const { below, from, count } = page;
    const found = await run((redis) => redis.zrevrangebyscore(name, below, from, "WITHSCORES", "LIMIT", 0, count));
    return found.flatMap((member, place) => (place % 2 === 0 ? [{ member, score: found[place + 1] ?? "" }] : []));
  };
  return {
    async add(owners, kind, name, ttlMs) {
      const nowMs = now().getTime();
      const endsMs = nowMs + Math.ceil(ttlMs);
      await Promise.all(
        owners.map((owner) => run((redis) => redis.addToIndex(keyOf(owner), nowMs, endsMs, kind + name))),
      );
    },
    async *pages(of, kind) {
      const from = now().getTime();
      // The next page begins at the end of the one before; what was seen there is passed over, also if it was forgotten meanwhile.
      let below = "+inf";
      let seen = new Set<string>();
      for (;;) {
        const count = PAGE + seen.size;
        const entries = await read(keyOf(of), { below, from, count });
        const fresh = entries.filter(({ member }) => !seen.has(member));
        const names = fresh.flatMap(({ member }) => (member.startsWith(kind) ? [member.slice(1)] : []));
        if (names.length > 0) yield names;
        const last = fresh.at(-1);
        if (last === undefined || entries.length < count) return;
        const atLast = entries.filter(({ score }) => score === last.score).map(({ member }) => member);
        seen = new Set(last.score === below ? [...seen, ...atLast] : atLast);
        below = last.score;
      }
    },
    async forget(of, kind, names) {
      if (names.length > 0) await run((redis) => redis.zrem(keyOf(of), ...names.map((name) => kind + name)));
    },
  };
}
