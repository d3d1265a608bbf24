/**
 * A preload (`--import`) that gives a server a store which looks first and writes then. It stands behind both engines' doors, so the
 * server above it is the real one. Links in mails, which lie beside it, are looked at first and ended then, too. It is here to be caught: races that do not find it out would show nothing about the engines.
 */
import { register } from "node:module";
import type { Family, GrantStore, JsonObject } from "../../src/store/grants.ts";
import { standing } from "../../src/store/grants.ts";
import { openPostgresGrants as openPostgres } from "../../src/store/grants-postgres.ts";
import { openRedisGrants as openRedis } from "../../src/store/grants-redis.ts";

const FAMILY = "NaiveFamily";
const CLAIM = "NaiveClaim";
/** What is ended is ended so long after it was said to be. */
const LATE_MS = 150;
/** What tells the two instances of this file apart: the preload, and the module that the server loads for its engine. */
const AS_ENGINE = "?as-engine";
/** Beside this file, with its ending. */
const NAIVE_LINK = import.meta.url.replace(/naive(\.[jt]s)(\?.*)?$/, "naive-link$1");

if (!import.meta.url.includes(AS_ENGINE)) {
  const hooks = `export async function resolve(specifier, context, next) {
    const found = await next(specifier, context);
    const place = found.url.split("?")[0];
    const isOfLinks = /\\/test\\/flows\\/naive-link\\.[jt]s$/.test((context.parentURL ?? "").split("?")[0]);
    if (/\\/src\\/users\\/link\\.[jt]s$/.test(place) && !isOfLinks) return { ...found, url: ${JSON.stringify(NAIVE_LINK)} };
    const isEngine = /\\/src\\/store\\/grants-(redis|postgres)\\.[jt]s$/.test(place);
    const isOurs = /\\/test\\/flows\\/naive\\.[jt]s$/.test((context.parentURL ?? "").split("?")[0]);
    return isEngine && !isOurs ? { ...found, url: ${JSON.stringify(`${import.meta.url}${AS_ENGINE}`)} } : found;
  }`;
  register(`data:text/javascript,${encodeURIComponent(hooks)}`);
}

export function openPostgresGrants(options: Parameters<typeof openPostgres>[0]): GrantStore {
  return createNaive(openPostgres(options));
}

export async function openRedisGrants(options: Parameters<typeof openRedis>[0]): Promise<GrantStore> {
  return createNaive(await openRedis(options));
}

/** Said once on standard error, so that whoever started the server knows that its store is this one. */
const NAIVE_NOTE = "the store of this server looks first and writes then";

function later(write: () => Promise<void>): void {
  // A server that has closed its store meanwhile has nothing to write to.
  setTimeout(() => void write().catch(() => undefined), LATE_MS).unref();
}

function createNaive(store: GrantStore): GrantStore {
  process.stderr.write(`${NAIVE_NOTE}\n`);
  const familyOf = async (id: string): Promise<Family | undefined> =>
    (await store.find(FAMILY, id))?.payload as Family | undefined;
  const write = (id: string, family: Family, ttl: number): Promise<void> =>
    store.put(FAMILY, id, { ...family } as JsonObject, ttl);
  return {
    ...store,
    async consume(model, id) {
      const record = await store.find(model, id);
      if (record === undefined) return "unknown";
      if (record.isConsumed) return "lost";
      await store.consume(model, id);
      return "won";
    },
    async take(model, id) {
      const record = await store.find(model, id);
      if (record !== undefined) await store.remove(model, id);
      return record;
    },
    async claim(purpose, id, ttlSeconds) {
      if ((await store.find(CLAIM + purpose, id)) !== undefined) return false;
      await store.put(CLAIM + purpose, id, {}, ttlSeconds);
      return true;
    },
    endGrant: async (id, ttl) => void later(() => store.endGrant(id, ttl)),
    plant: async (revocations) => void later(() => store.plant(revocations)),
    // The library destroys the id that was replaced: without an alias the second tab finds nothing.
    sessions: { ...store.sessions, forget: (id) => store.sessions.forget(id, 0) },
    families: {
      ...store.families,
      start: (id, payload, ttl) => write(id, { generation: 0, spentAt: [], payload }, ttl),
      find: familyOf,
      async spend(id, generation, time) {
        const family = await familyOf(id);
        if (family === undefined) return "unknown";
        const stands = standing(family, generation, time);
        if (stands !== "current") return stands;
        await write(id, { ...family, generation: generation + 1, spentAt: [time.nowMs, ...family.spentAt] }, 3600);
        return stands;
      },
      async save(id, generation, payload, ttl) {
        const family = await familyOf(id);
        if (family?.generation !== generation) return false;
        await write(id, { ...family, payload }, ttl);
        return true;
      },
      end: (id) => store.remove(FAMILY, id),
    },
  };
}
