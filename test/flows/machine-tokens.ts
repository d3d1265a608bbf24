/** What a service's token costs the stores: nothing. Counted by the stores themselves, which nobody else uses meanwhile. */
import assert from "node:assert/strict";
import { Redis } from "ioredis";
import { decodeProtectedHeader } from "jose";
import { type Engine, eventually, ownRedis } from "../support.ts";
import { basic } from "./faults.ts";
import { beginJourney, type Journey } from "./journey.ts";

const PARALLEL = 8;
const ACTIVITY_SECONDS = 10;
const WRITES =
  /^(set|setex|psetex|mset|getset|getdel|append|del|unlink|incr\w*|decr\w*|expire\w*|pexpire\w*|h(set|del|incr\w*|mset)|[sz](add|rem)|l(push|rem)|rpush|eval\w*|fcall|restore|x(add|del))$/;
/** Every row that is written is noted. What waits to be sent is looked for all the time, by statements that find nothing. */
const NOTE_WRITES = `
create table noted_writes (name text not null);
create function note_write() returns trigger language plpgsql as $$
begin
  insert into noted_writes values (tg_table_name);
  return null;
end $$;
do $$
declare one text;
begin
  for one in select tablename from pg_tables where schemaname = 'public' and tablename <> 'noted_writes' loop
    execute format('create trigger noted after insert or update or delete on %I for each row execute function note_write()', one);
  end loop;
end $$`;

export interface Counted {
  readonly tokens: number;
  /** Rows written in Postgres, by table, and commands that write in Redis. */
  readonly writes: Readonly<Record<string, number>>;
  readonly seconds: number;
}

/** Asks for so many tokens in the name of a service, at a server and stores of their own. */
export async function countWrites(engine: Engine, tokens: number): Promise<Counted> {
  const redis = engine === "redis" ? await ownRedis() : undefined;
  const journey = await beginJourney(engine, redis === undefined ? {} : { REDIS_URL: redis.url });
  const admin = redis === undefined ? undefined : new Redis(redis.url);
  try {
    await journey.service.db.query(NOTE_WRITES);
    // The first one fills the caches.
    await ask(journey);
    // What the furnishing put on the audit trail is sealed within seconds; nothing of a token joins it.
    const unsealed = "select 1 from audit_events where seq is null limit 1";
    await eventually(async () => (await journey.service.db.query(unsealed)).length === 0, 30_000);
    const before = await written(journey, admin);
    const began = performance.now();
    let left = tokens;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        await ask(journey);
      }
    };
    await Promise.all(Array.from({ length: PARALLEL }, worker));
    const seconds = (performance.now() - began) / 1000;
    const after = await written(journey, admin);
    const names = new Set([...Object.keys(before), ...Object.keys(after)]);
    const writes = Object.fromEntries(
      [...names]
        .map((name) => [name, (after[name] ?? 0) - (before[name] ?? 0)] as const)
        // Activity is counted in the process and written down every ten seconds, whatever the number of tokens.
        .filter(([name, count]) => count !== 0 && !(name === "activity" && count <= seconds / ACTIVITY_SECONDS + 1)),
    );
    // One write on purpose is seen: whatever counts nothing counts no writes either.
    await journey.service.grants.put("AccessToken", "planted", {}, 60);
    const planted = await written(journey, admin);
    const place = engine === "redis" ? "redis set" : "grant_records";
    assert.ok((planted[place] ?? 0) > (after[place] ?? 0), "the count sees a write");
    return { tokens, writes, seconds };
  } finally {
    admin?.disconnect();
    await journey.close();
  }
}

async function ask({ client, machine }: Journey): Promise<void> {
  const answer = await client().post(
    "/token",
    { grant_type: "client_credentials", scope: "read:things" },
    basic(machine),
  );
  assert.equal(answer.status, 200, answer.text);
  assert.equal(decodeProtectedHeader(String(answer.json()["access_token"])).typ, "at+jwt");
}

async function written({ service }: Journey, redis: Redis | undefined): Promise<Readonly<Record<string, number>>> {
  const rows = await service.db.query<{ name: string; count: number }>(
    "select name, count(*)::int as count from noted_writes group by name",
  );
  const tables = rows.map(({ name, count }) => [name, count] as const);
  const stats = (await redis?.info("commandstats")) ?? "";
  const commands = [...stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)]
    .filter(([, name = ""]) => WRITES.test(name))
    .map(([, name = "", calls = "0"]) => [`redis ${name}`, Number(calls)] as const);
  return Object.fromEntries([...tables, ...commands]);
}
