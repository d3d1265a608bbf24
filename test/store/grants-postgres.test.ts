/** The Postgres engine of the expiring store: the contract, and what happens when Postgres does not answer. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import pg from "pg";
import { createLog } from "../../src/log.ts";
import { openDb } from "../../src/store/db.ts";
import { openPostgresGrants } from "../../src/store/grants-postgres.ts";
import { CHECKOUT } from "../ladder.ts";
import { atEnd, freePort, testDatabase } from "../support.ts";
import { contract } from "./grants.contract.ts";
import { nothingRevoked } from "./grants-races.ts";

const MIGRATIONS = ["002-grants.sql", "005-revocations.sql"].map((name) =>
  readFileSync(join(CHECKOUT, "migrations", name), "utf8"),
);
const TABLES = ["grant_records", "grant_families", "grant_sessions", "grant_session_ids", "grant_cuts"];

const database = testDatabase();
let grounds = 0;

contract({
  name: "Postgres",
  skip: false,
  rotations: 500,
  sessions: 500,
  // A schema with the same tables: a tenth of the time of a database.
  async ground() {
    const { url } = await database;
    grounds += 1;
    const place = new URL(url);
    place.searchParams.set("options", `-c search_path=ground_${grounds}`);
    const pool = new pg.Pool({ connectionString: place.href, max: 1 });
    pool.on("error", () => undefined);
    atEnd(() => pool.end());
    await pool.query(`create schema ground_${grounds}`);
    for (const migration of MIGRATIONS) await pool.query(migration);
    const all = async (what: string): Promise<readonly (string | null)[]> => {
      const lines: (string | null)[] = [];
      for (const table of TABLES) {
        const { rows } = await pool.query<{ line: string | null }>(`select ${what} as line from ${table} r`);
        lines.push(...rows.map(({ line }) => line));
      }
      return lines;
    };
    return {
      place: { postgres: { connectionString: place.href } },
      dump: async () => (await all("r::text")).join("\n"),
      endless: async () =>
        (await all("case when expires_at is null or expires_at = 'infinity' then r::text end")).flatMap(
          (line) => line ?? [],
        ),
      count: async () => (await all("''")).length,
      size: async () => Number((await all("pg_column_size(r.*)::text"))[0]),
    };
  },
});

test("a Postgres that is not there is store_unavailable, for every operation", async (t) => {
  const connection = { host: "127.0.0.1", port: await freePort(), user: "u", password: "p", database: "d" };
  const log = createLog({ level: "silent", pretty: false });
  const db = openDb({ connection, max: 2, log });
  t.after(() => db.close());
  const store = openPostgresGrants({ db, log, revocations: nothingRevoked });
  const change = { uid: "uid", isNew: true, fields: {}, set: {}, removed: [] };
  const operations: readonly (() => Promise<unknown>)[] = [
    () => store.put("AccessToken", "id", {}, 60),
    () => store.put("Grant", "id", {}, 60),
    () => store.find("Grant", "id"),
    () => store.consume("AuthorizationCode", "id"),
    () => store.claim("assertion", "id", 60),
    () => store.endGrant("id", 60),
    () => store.sessions.save("id", change, 60),
    () => store.families.spend("id", 0, { nowMs: 0, windowMs: 0 }),
    () => store.check(),
  ];
  for (const operation of operations) await assert.rejects(operation, { code: "store_unavailable", status: 503 });
});
