/** The counters in Postgres. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createLog } from "../../src/log.ts";
import { openPostgresCounters } from "../../src/store/counters-postgres.ts";
import { openDb } from "../../src/store/db.ts";
import { testDatabase } from "../support.ts";
import { countersContract } from "./counters.contract.ts";

const log = createLog({ level: "silent", pretty: false });
const { connection } = await testDatabase();
const dbs = [openDb({ connection, max: 4, log }), openDb({ connection, max: 4, log })] as const;
after(() => Promise.all(dbs.map((db) => db.close())));
const counters = [openPostgresCounters(dbs[0]), openPostgresCounters(dbs[1])] as const;

countersContract("postgres", {}, async () => counters);

test("counters (postgres): a sweep removes what expired, so many at a time", async () => {
  const [db] = dbs;
  const past = new Date(Date.UTC(2020, 0, 1));
  await db.query("delete from counters");
  for (const key of ["a", "b", "c"]) await db.query("insert into counters values ($1, 'x', $2)", [key, past]);
  assert.equal(await counters[0].sweep(2), 2);
  assert.equal(await counters[0].sweep(2), 1);
  assert.equal(await counters[0].sweep(2), 0);
});
