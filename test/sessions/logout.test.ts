/** Logout notices: written with what ends the sessions, and never in its way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { unavailable } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { createLogouts } from "../../src/sessions/logout.ts";
import { openDb } from "../../src/store/db.ts";
import { openPostgresGrants } from "../../src/store/grants-postgres.ts";
import { atEnd, testDatabase } from "../support.ts";

const lines: string[] = [];
const log = createLog({ level: "debug", pretty: false, sink: { write: (line) => void lines.push(line) } });
const { connection } = await testDatabase();
const db = openDb({ connection, max: 4, log });
atEnd(() => db.close());
async function* nothing() {}
const grants = await openPostgresGrants({ db, log, revocations: nothing });
const USER = "11111111-1111-4111-8111-111111111111";

test("one notice for each sign-in at an app that wants to hear of it, and none when the change is undone", async () => {
  const logouts = createLogouts({ db, log, store: async () => grants, isTold: async (id) => id === "told" });
  const fields = { accountId: USER, loginTs: Math.floor(Date.now() / 1000), signedInAtMs: Date.now() };
  const change = { uid: "u1", isNew: true, fields, removed: [], seenAt: fields.loginTs };
  await grants.sessions.save("cookie-1", { ...change, set: { told: { sid: "s1" }, deaf: { sid: "s2" } } }, 600);
  await assert.rejects(
    db.transaction(async (tx) => {
      await logouts.note(tx, { kind: "user", id: USER });
      throw new Error("the change failed");
    }),
  );
  assert.deepEqual(await logouts.list({ userId: USER }, 10), []);
  await db.transaction((tx) => logouts.note(tx, { kind: "session", id: "u1" }));
  const [notice, ...more] = await logouts.list({ userId: USER }, 10);
  assert.deepEqual([notice?.clientId, notice?.sid, notice?.state, more.length], ["told", "s1", "queued", 0]);
  const [claimed, again] = [await logouts.claim(10), await logouts.claim(10)];
  assert.deepEqual([claimed.length, again.length], [1, 0], "one process has it");
  for (const one of claimed) assert.equal(await logouts.settle(one, "503"), "queued");
  const [late] = await logouts.list({ clientId: "told" }, 10);
  assert.ok(late !== undefined && late.dueAt.getTime() > Date.now() && late.error === "503");
});

test("while the expiring store is away what ends a person's access is written all the same", async () => {
  const store = async () => {
    throw unavailable("Redis: away");
  };
  const logouts = createLogouts({ db, log, store, isTold: async () => true });
  await db.transaction((tx) => logouts.note(tx, { kind: "user", id: USER }));
  assert.ok(lines.some((line) => line.includes("apps were not told")));
});
