/** Races for what may happen once: run by many clients at once, in this process and in others, released by one barrier. Beside the engines stands a naive one. */

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createLog } from "../../src/log.ts";
import { randomText } from "../../src/secrets.ts";
import { type DbConnection, openDb } from "../../src/store/db.ts";
import { type Family, type GrantStore, type Links, type RevocationSource, standing } from "../../src/store/grants.ts";
import { openPostgresGrants } from "../../src/store/grants-postgres.ts";
import { openRedisGrants } from "../../src/store/grants-redis.ts";
import { LOADER } from "../ladder.ts";

/** How a process opens a store; a plain object, since it travels to other processes. */
export interface Place {
  readonly redis?: { readonly urls: readonly string[]; readonly prefix: string };
  readonly postgres?: DbConnection;
}

const silent = createLog({ level: "silent", pretty: false });
const TTL_SECONDS = 60;
const WINDOW_MS = 10_000;

/** A durable store in which nothing stands. */
export const nothingRevoked: RevocationSource = async function* () {
  yield [];
};

export async function openPlace({ redis, postgres }: Place, revocations = nothingRevoked): Promise<GrantStore> {
  if (redis !== undefined) return openRedisGrants({ ...redis, log: silent, revocations });
  if (postgres === undefined) throw new Error("a place is a Redis or a Postgres");
  const db = openDb({ connection: postgres, max: 8, log: silent });
  return { ...openPostgresGrants({ db, log: silent, revocations }), close: () => db.close() };
}

/** One thing that may succeed once. */
interface Race {
  readonly name: string;
  prepare(store: GrantStore, id: string): Promise<void>;
  /** Whether this caller won. */
  attempt(store: GrantStore, id: string): Promise<boolean>;
}

/** A record that is used up by a mark. */
function consumed(name: string, model: string, links: (id: string) => Links = () => ({})): Race {
  return {
    name,
    prepare: (store, id) => store.put(model, id, { scope: "openid" }, TTL_SECONDS, links(id)),
    attempt: async (store, id) => (await store.consume(model, id)) === "won",
  };
}

/** An id that is good once: whoever comes first has it. */
function claimed(name: string): Race {
  return {
    name,
    prepare: async () => undefined,
    attempt: (store, id) => store.claim(name, id, TTL_SECONDS),
  };
}

export const RACES: readonly Race[] = [
  consumed("authorization code", "AuthorizationCode"),
  consumed("pushed request", "PushedAuthorizationRequest"),
  consumed("device code", "DeviceCode", (id) => ({ userCode: id.slice(0, 8) })),
  {
    name: "interaction",
    prepare: (store, id) => store.put("Interaction", id, { prompt: "login" }, TTL_SECONDS),
    attempt: async (store, id) => (await store.take("Interaction", id)) !== undefined,
  },
  claimed("assertion"),
  claimed("DPoP proof"),
  {
    name: "refresh token",
    prepare: (store, id) => store.families.start(id, { clientId: "app" }, TTL_SECONDS),
    attempt: async (store, id) =>
      (await store.families.spend(id, 0, { nowMs: Date.now(), windowMs: WINDOW_MS })) === "current",
  },
];

/** The winners of each round, all callers of one process. */
export async function runRounds(
  race: Race,
  { stores, rounds, parallel }: { stores: readonly GrantStore[]; rounds: number; parallel: number },
): Promise<readonly number[]> {
  const winners: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const id = randomText();
    await race.prepare(storeAt(stores, 0), id);
    const attempts = Array.from({ length: parallel }, (_, caller) => race.attempt(storeAt(stores, caller), id));
    winners.push(count(await Promise.all(attempts)));
  }
  return winners;
}

function storeAt(stores: readonly GrantStore[], caller: number): GrantStore {
  const store = stores[caller % stores.length];
  if (store === undefined) throw new Error("a race needs a store");
  return store;
}

const count = (wins: readonly boolean[]): number => wins.filter((isWon) => isWon).length;

/** What a racer is told: this race, at this moment. */
interface Start {
  readonly race: string;
  readonly id: string;
  readonly at: number;
  readonly parallel: number;
  readonly isNaive: boolean;
}

/** Far enough ahead that every process has read the message and waits at the barrier. */
const BARRIER_MS = 15;

export interface Racers {
  /** The winners of one round, over all processes. */
  run(race: Race, options: { parallel: number; isNaive: boolean }): Promise<number>;
  close(): Promise<void>;
}

/** So many processes, each with a client of its own. */
export async function startRacers(place: Place, processes: number): Promise<Racers> {
  const children = Array.from({ length: processes }, () =>
    fork(fileURLToPath(import.meta.url), [JSON.stringify(place)], { execArgv: [...LOADER] }),
  );
  await Promise.all(children.map(nextMessage));
  const store = await openPlace(place);
  return {
    async run(race, options) {
      const id = randomText();
      await race.prepare(options.isNaive ? createNaive(store) : store, id);
      const start: Start = { race: race.name, id, at: Date.now() + BARRIER_MS, ...options };
      const wins = await Promise.all(children.map((child) => ask(child, start)));
      return wins.reduce((sum, won) => sum + won, 0);
    },
    async close() {
      await store.close();
      for (const child of children) child.disconnect();
      await Promise.all(children.map((child) => (child.exitCode === null ? once(child, "exit") : undefined)));
    },
  };
}

async function ask(child: ChildProcess, start: Start): Promise<number> {
  child.send(start);
  return nextMessage(child);
}

async function nextMessage(child: ChildProcess): Promise<number> {
  const over = new AbortController();
  const exit = once(child, "exit", { signal: over.signal }).then(([code]): never => {
    throw new Error(`a racer ended with ${code}`);
  });
  try {
    const message = once(child, "message", { signal: over.signal }) as Promise<[number]>;
    const [won] = await Promise.race([message, exit]);
    return won;
  } finally {
    exit.catch(() => undefined);
    over.abort();
  }
}

/** The other side of `startRacers`. */
async function race(place: Place): Promise<void> {
  const store = await openPlace(place);
  const naive = createNaive(store);
  process.on("message", async ({ race, id, at, parallel, isNaive }: Start) => {
    const found = RACES.find(({ name }) => name === race);
    if (found === undefined) throw new Error(`there is no race ${race}`);
    // Busy on purpose: a timer would release each process at a moment of its own.
    while (Date.now() < at);
    const attempts = Array.from({ length: parallel }, () => found.attempt(isNaive ? naive : store, id));
    process.send?.(count(await Promise.all(attempts)));
  });
  process.on("disconnect", () => void store.close());
  process.send?.(0);
}

/**
 * What a store does that looks first and writes then, on a working store underneath. It is here to be caught: if the races
 * did not find it out, they would show nothing about the engines.
 */
export function createNaive(store: GrantStore): GrantStore {
  const isMarked = async (id: string): Promise<boolean> => (await store.find("NaiveMark", id)) !== undefined;
  const mark = (id: string): Promise<void> => store.put("NaiveMark", id, {}, TTL_SECONDS);
  return {
    ...store,
    async consume(_model, id) {
      if (await isMarked(id)) return "lost";
      await mark(id);
      return "won";
    },
    async take(model, id) {
      const record = await store.find(model, id);
      if (record !== undefined) await store.remove(model, id);
      return record;
    },
    async claim(_purpose, id) {
      if (await isMarked(id)) return false;
      await mark(id);
      return true;
    },
    families: {
      ...store.families,
      start: (id, payload, ttl) => store.put("NaiveFamily", id, { generation: 0, spentAt: [], payload }, ttl),
      async spend(id, generation, time) {
        const record = await store.find("NaiveFamily", id);
        if (record === undefined) return "unknown";
        const family = record.payload as unknown as Family;
        const stands = standing(family, generation, time);
        if (stands === "current") {
          const spentAt = [time.nowMs, ...family.spentAt];
          await store.put("NaiveFamily", id, { ...family, generation: generation + 1, spentAt }, TTL_SECONDS);
        }
        return stands;
      },
    },
  };
}

const [, script, place] = process.argv;
if (script === fileURLToPath(import.meta.url) && place !== undefined) await race(JSON.parse(place) as Place);
