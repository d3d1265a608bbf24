/** Revocations in the durable store: a row stands or falls with its change, names no secret, is heard of by other processes, and ends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { now, secondsAfter } from "../../src/clock.ts";
import { obeyNotices, type Revoked } from "../../src/revocations/revocation.ts";
import { sha256 } from "../../src/secrets.ts";
import { type Revocation, storeKey } from "../../src/store/grants.ts";
import { eventually, testDatabase } from "../support.ts";
import { LONGEST_SECONDS, revocationGround } from "./ground.ts";

const { connection } = await testDatabase();
const { db, grants, revocations } = await revocationGround(connection);
const EVER = new Date(0);
/** More than are read at once. */
const MANY = 2300;

async function all(since = EVER): Promise<readonly Revocation[]> {
  const rows: Revocation[] = [];
  for await (const page of revocations.written(since)) rows.push(...page);
  return rows;
}
const rowOf = async (key: string): Promise<Revocation | undefined> => (await all()).find((row) => row.key === key);

const KINDS: readonly (readonly [what: Revoked, key: string])[] = [
  [{ kind: "grant", id: "grant-1" }, sha256("grant-1")],
  [{ kind: "session", id: "uid-1" }, sha256("uid-1")],
  [{ kind: "token", model: "AccessToken", id: "token-1", seconds: 60 }, storeKey("AccessToken", "token-1")],
  [{ kind: "user", id: "user-1" }, "user-1"],
  [{ kind: "client", id: "client-1" }, "client-1"],
];
for (const [what, key] of KINDS) {
  test(`a revocation is kept, by hash where its name is a secret, until what it covers has ended: ${what.kind}`, async () => {
    const before = Date.now();
    await revocations.end(what);
    const row = await rowOf(key);
    assert.equal(row?.kind, what.kind);
    assert.ok(row.beforeMs >= before && row.beforeMs <= Date.now());
    const leastSeconds = what.kind === "token" ? what.seconds : LONGEST_SECONDS;
    assert.ok(row.expiresAtMs >= before + leastSeconds * 1000);
  });
}

test("what is ended is ended in the expiring store when the call returns", async () => {
  const made = { accountId: "maya", clientId: "notes", madeAtMs: Date.now() };
  for (const id of ["a", "b", "c"]) await grants.put("Grant", id, made, 60);
  await revocations.end({ kind: "grant", id: "a" });
  assert.equal(await grants.findGrant("a"), undefined);
  assert.notEqual(await grants.findGrant("b"), undefined);
  await revocations.end({ kind: "user", id: "maya" });
  assert.equal(await grants.findGrant("b"), undefined);
  await grants.put("Grant", "d", { ...made, madeAtMs: Date.now() + 1 }, 60);
  assert.notEqual(await grants.findGrant("d"), undefined, "what comes afterwards is not touched");
});

test("a row stands or falls with its change", async () => {
  const change = db.transaction(async (tx) => {
    await revocations.write(tx, { kind: "user", id: "undone" });
    throw new Error("the change failed");
  });
  await assert.rejects(change, /the change failed/);
  assert.equal(await rowOf("undone"), undefined);
});

test("a cut-off that was written but not carried out is carried out by the processes that hear of it", async () => {
  const other = await revocationGround(connection);
  obeyNotices(other.notices, other.grants);
  await db.transaction((tx) => revocations.write(tx, { kind: "user", id: "heard" }));
  await eventually(() => other.grants.isEnded({ userId: "heard" }, Date.now() - 60_000), 2000);
});

test("what a process left undone is carried out by the next one that starts", async () => {
  await revocations.write(db, { kind: "session", id: "left" });
  await revocations.write(db, { kind: "grant", id: "left" });
  assert.equal(await grants.isEnded({ grantId: "left" }, Date.now()), false);
  grants.doubt();
  await eventually(() => grants.isEnded({ grantId: "left" }, Date.now()), 5000);
});

test("carried out after the commit, a cut-off covers whoever signed in before it was seen", async () => {
  await revocations.write(db, { kind: "user", id: "late" });
  const written = (await rowOf("late"))?.beforeMs ?? 0;
  const signedInAtMs = written + 1;
  while (Date.now() <= signedInAtMs);
  await revocations.carryOut({ kind: "user", id: "late" });
  assert.ok(((await rowOf("late"))?.beforeMs ?? 0) >= signedInAtMs, "in the row");
  assert.equal(await grants.isEnded({ userId: "late" }, signedInAtMs), true, "and in the store");
});

test("rows are read in the order in which they were written, from a moment on, page by page; those that ended are not, and go", async () => {
  const from = secondsAfter(now(), 3600);
  await db.query(
    `insert into revocations (kind, key, before, written_at, expires_at)
     select 'grant', 'many-' || n, $1, $1::timestamptz + n * interval '1 ms', $1::timestamptz + case when n % 2 = 0 then interval '1 h' else interval '-2 h' end
     from generate_series(1, ${MANY * 2}) as n`,
    [from],
  );
  const rows = await all(from);
  assert.equal(rows.length, MANY);
  assert.deepEqual(
    rows.map(({ key }) => key),
    Array.from({ length: MANY }, (_, index) => `many-${(index + 1) * 2}`),
  );
  assert.equal((await all(new Date(from.getTime() + MANY))).length, MANY / 2 + 1);
  assert.equal(await revocations.sweep(100), 100);
  assert.equal(await revocations.sweep(MANY * 2), MANY - 100);
  assert.equal(await revocations.sweep(100), 0);
  assert.equal((await all(from)).length, MANY);
});
