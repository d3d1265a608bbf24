/** Logout notices: written with what ends the sessions, and never in its way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { unavailable } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { createRevocations, type Revocations } from "../../src/revocations/revocation.ts";
import { createLogouts, type Logouts } from "../../src/sessions/logout.ts";
import { openDb } from "../../src/store/db.ts";
import type { GrantStore } from "../../src/store/grants.ts";
import { openPostgresGrants } from "../../src/store/grants-postgres.ts";
import { openNotices } from "../../src/store/notices.ts";
import { atEnd, testDatabase } from "../support.ts";

const lines: string[] = [];
const log = createLog({ level: "debug", pretty: false, sink: { write: (line) => void lines.push(line) } });
const { connection } = await testDatabase();
/** One connection: whatever takes a second one while it holds the first waits in vain. */
const db = openDb({ connection, max: 1, log });
const notices = await openNotices({ connection, log });
atEnd(async () => {
  await notices.close();
  await db.close();
});
const grants: GrantStore = openPostgresGrants({ db, log, revocations: (since) => revocations.written(since) });
const isTold = async (_tx: unknown, id: string): Promise<boolean> => id === "told";
const logouts: Logouts = createLogouts({ db, log, store: async () => grants, isTold });
const revocations: Revocations = createRevocations({
  ...{ db, notices, store: async () => grants, longestSeconds: 3600, beforeEnd: logouts.note },
});
const USER = "11111111-1111-4111-8111-111111111111";
const OTHER = "22222222-2222-4222-8222-222222222222";

/** A session of the person with a sign-in at each of two apps, one of which wants to hear of its end. */
async function startSession(uid: string, accountId = USER): Promise<void> {
  const fields = { accountId, loginTs: Math.floor(Date.now() / 1000), signedInAtMs: Date.now() };
  const change = { uid, isNew: true, fields, removed: [], seenAt: fields.loginTs };
  const set = { told: { sid: `sid-${uid}` }, deaf: { sid: "s2" } };
  await grants.sessions.save(`cookie-${uid}`, { ...change, set }, 600);
}

test("one notice for each sign-in at an app that wants to hear of it, and none when the change is undone", async () => {
  await startSession("u1");
  await assert.rejects(
    db.transaction(async (tx) => {
      await logouts.note(tx, { kind: "user", id: USER });
      throw new Error("the change failed");
    }),
  );
  assert.deepEqual(await logouts.list({ userId: USER }, 10), []);
  await db.transaction((tx) => logouts.note(tx, { kind: "session", id: "u1" }));
  const [notice, ...more] = await logouts.list({ userId: USER }, 10);
  assert.deepEqual([notice?.clientId, notice?.sid, notice?.state, more.length], ["told", "sid-u1", "queued", 0]);
  const [claimed, again] = [await logouts.claim(10), await logouts.claim(10)];
  assert.deepEqual([claimed.length, again.length], [1, 0], "one process has it");
  for (const one of claimed) assert.equal(await logouts.settle(one, { failure: "503" }), "queued");
  const [late] = await logouts.list({ clientId: "told" }, 10);
  assert.ok(late !== undefined && late.dueAt.getTime() > Date.now() && late.error === "503");
});

test("a sign-out and its notice are one transaction over one connection: what cannot be kept is told to nobody", async () => {
  await startSession("u2", OTHER);
  await db.query("alter table revocations rename to revocations_away");
  for (const what of [
    { kind: "user", id: OTHER },
    { kind: "session", id: "u2" },
  ] as const) {
    await assert.rejects(revocations.end(what));
    assert.deepEqual(await logouts.list({ userId: OTHER }, 10), [], "nobody was told");
    assert.notEqual(await grants.sessions.findByUid("u2"), undefined, "and the session goes on");
  }
  await db.query("alter table revocations_away rename to revocations");
  await db.query("alter table logout_notices rename to logout_notices_away");
  await assert.rejects(revocations.end({ kind: "user", id: OTHER }));
  await db.query("alter table logout_notices_away rename to logout_notices");
  const [row] = await db.query("select 1 from revocations where key = $1", [OTHER]);
  assert.equal(row, undefined, "no cut-off without its notice");
  await revocations.end({ kind: "user", id: OTHER });
  assert.equal((await logouts.list({ userId: OTHER }, 10)).length, 1);
  assert.equal(await grants.sessions.findByUid("u2"), undefined);
});

test("while the expiring store is away what ends a person's access is written all the same", async () => {
  const store = async () => {
    throw unavailable("Redis: away");
  };
  const deaf = createLogouts({ db, log, store, isTold: async () => true });
  await db.transaction((tx) => deaf.note(tx, { kind: "user", id: USER }));
  assert.ok(lines.some((line) => line.includes("apps were not told")));
});
