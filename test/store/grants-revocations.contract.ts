/** The contract of revoking in the expiring store: what ends what, whatever is written late, and finding what a user or a client has. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "../../src/clock.ts";
import { sha256 } from "../../src/secrets.ts";
import {
  type GrantStore,
  type JsonObject,
  type Owner,
  type Revocation,
  storeKey,
  TOMBSTONE,
  type UserAtClient,
} from "../../src/store/grants.ts";
import { AFTER_SHORT_MS, type Contract, LONG_SECONDS, openAlone, openAt, SHORT_SECONDS } from "./grants-ground.ts";

const T0 = 1_700_000_000_000;
const maya = { userId: "maya", clientId: "notes" };
const grantOf = (more: JsonObject = {}): JsonObject => ({
  accountId: "maya",
  clientId: "notes",
  madeAtMs: T0,
  ...more,
});
/** What a caller may know of a Grant that it asks for: nothing, part of it, all, or something wrong. */
const HINTS = [undefined, {}, { userId: "maya" }, { clientId: "notes" }, maya, { userId: "tom", clientId: "board" }];

/** Found, whatever the caller knows; every way must say the same. */
async function isFound(store: GrantStore, id: string): Promise<boolean> {
  const found = await Promise.all([
    store.find("Grant", id),
    ...HINTS.map((hint) => (hint === undefined ? store.findGrant(id) : store.findGrant(id, hint))),
  ]);
  const answers = new Set(found.map((record) => record !== undefined));
  assert.equal(answers.size, 1, `the ways to ask for ${id} differ`);
  return answers.has(true);
}

/** Which Grant a cut-off at T0 + 1000 ends. */
const CUTS: readonly (readonly [name: string, kind: "user" | "client", times: JsonObject, isEnded: boolean])[] = [
  ["a user's, made before", "user", { madeAtMs: T0 + 999 }, true],
  ["a user's, made at that moment", "user", { madeAtMs: T0 + 1000 }, true],
  ["a user's, made after", "user", { madeAtMs: T0 + 1001 }, false],
  ["a user's, made after it out of a sign-in before it", "user", { madeAtMs: T0 + 5000, signedInAtMs: T0 + 999 }, true],
  ["a user's, of a sign-in after it", "user", { madeAtMs: T0 + 5000, signedInAtMs: T0 + 1001 }, false],
  ["a user's, without a time", "user", { madeAtMs: undefined }, true],
  ["a client's, made before", "client", { madeAtMs: T0 + 999 }, true],
  ["a client's, made after it out of a sign-in before it", "client", { madeAtMs: T0 + 1001, signedInAtMs: T0 }, false],
];

/** A signed-in session of Maya's at one client. */
async function signIn(store: GrantStore, uid: string, more: JsonObject = {}, ttl = LONG_SECONDS): Promise<void> {
  const fields = { accountId: "maya", loginTs: T0 / 1000, signedInAtMs: T0, ...more };
  const set = { notes: { grantId: `grant-${uid}` } };
  assert.ok(await store.sessions.save(`id-${uid}`, { uid, isNew: true, fields, set, removed: [] }, ttl));
}
const uids = async (store: GrantStore, of: Owner, limit = 100) =>
  (await store.sessions.list(of, limit)).map(({ uid }) => uid).sort();

const hashes = async (store: GrantStore, of: Owner | UserAtClient) =>
  (await store.listGrants(of, 100)).map(({ hash }) => hash).sort();

const revocation = (kind: Revocation["kind"], key: string, beforeMs = T0): Revocation => {
  return { kind, key, beforeMs, expiresAtMs: Date.now() + LONG_SECONDS * 1000 };
};

/** Ends whatever this user or client had at that moment or before it. */
function cut(store: GrantStore, kind: "user" | "client", id: string, beforeMs: number, ttl = LONG_SECONDS) {
  return store.plant([{ ...revocation(kind, id, beforeMs), expiresAtMs: Date.now() + ttl * 1000 }]);
}

export function revocationsContract(contract: Contract): void {
  for (const [name, kind, times, isEnded] of CUTS) {
    test(`a cut-off ${isEnded ? "ends" : "spares"} a Grant: ${name}`, async (t) => {
      const { store } = await openAlone(t, contract);
      await store.put("Grant", "id", grantOf(times), LONG_SECONDS);
      await store.put("Grant", "other", grantOf({ accountId: "tom", clientId: "board", ...times }), LONG_SECONDS);
      assert.equal(await isFound(store, "id"), true);
      await cut(store, kind, kind === "user" ? "maya" : "notes", T0 + 1000);
      assert.equal(await isFound(store, "id"), !isEnded);
      assert.equal(await isFound(store, "other"), true);
    });
  }

  test("a cut-off is seen by every process at once, and covers what is written late", async (t) => {
    const { store, ground } = await openAlone(t, contract);
    const other = await openAt(t, ground.place);
    await store.put("Grant", "id", grantOf(), LONG_SECONDS);
    await cut(store, "user", "maya", T0);
    assert.equal(await isFound(other, "id"), false);
    await other.put("Grant", "id", grantOf({ madeAtMs: T0 + 9000 }), LONG_SECONDS);
    assert.equal(await isFound(store, "id"), false, "a Grant does not grow young by being written again");
    await other.put("Grant", "late", grantOf({ madeAtMs: T0 + 9000, signedInAtMs: T0 }), LONG_SECONDS);
    assert.equal(await isFound(store, "late"), false);
    await other.put("Grant", "new", grantOf({ madeAtMs: T0 + 1 }), LONG_SECONDS);
    assert.equal(await isFound(store, "new"), true);
  });

  test("of two cut-offs the later moment and the later end stand", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.put("Grant", "id", grantOf({ madeAtMs: T0 + 500 }), LONG_SECONDS);
    await cut(store, "user", "maya", T0 + 1000);
    await cut(store, "user", "maya", T0, SHORT_SECONDS);
    await cut(store, "client", "board", T0 + 1000, SHORT_SECONDS);
    await store.put("Grant", "board", grantOf({ clientId: "board" }), LONG_SECONDS);
    await sleep(AFTER_SHORT_MS);
    assert.equal(await isFound(store, "id"), false);
    await store.put("Grant", "tom", grantOf({ accountId: "tom", clientId: "board" }), LONG_SECONDS);
    assert.equal(await isFound(store, "tom"), true, "one whose time is over cuts nothing");
  });

  test("what is not kept here is asked for by its owners and its grant", async (t) => {
    const { store } = await openAlone(t, contract);
    const jwt = { ...maya, grantId: "g" };
    assert.equal(await store.isEnded(jwt, T0), false);
    await cut(store, "user", "maya", T0);
    await cut(store, "client", "board", T0);
    await store.endGrant("ended", LONG_SECONDS);
    assert.equal(await store.isEnded(jwt, T0), true);
    assert.equal(await store.isEnded(jwt, T0 + 1), false);
    assert.equal(await store.isEnded({ clientId: "board" }, T0), true);
    assert.equal(await store.isEnded({ clientId: "notes" }, T0), false);
    assert.equal(await store.isEnded({ grantId: "ended" }, T0 + 9), true);
    assert.equal(await store.isEnded({}, 0), false);
    // A user's cut-off is measured against the sign-in, a client's against the token itself.
    assert.equal(await store.isEnded({ userId: "maya" }, T0 + 9, T0), true);
    assert.equal(await store.isEnded({ userId: "maya" }, T0, T0 + 1), false);
    assert.equal(await store.isEnded({ clientId: "board" }, T0 + 1, T0), false);
    const token = { ...maya, grantId: "g", tokenId: "jti" };
    assert.equal(await store.isEnded(token, T0 + 1), false);
    await store.plant([revocation("token", storeKey(TOMBSTONE, "jti"))]);
    assert.equal(await store.isEnded(token, T0 + 1), true);
    assert.equal(await store.isEnded({ ...token, tokenId: "other" }, T0 + 1), false);
  });

  test("a session whose sign-in lies at or before the cut-off is found by no way, a later one by all", async (t) => {
    const { store } = await openAlone(t, contract);
    await signIn(store, "old", { signedInAtMs: T0 + 1000 });
    await signIn(store, "seconds", { signedInAtMs: undefined, loginTs: T0 / 1000 + 1 });
    await signIn(store, "new", { signedInAtMs: T0 + 1001 });
    await signIn(store, "tom", { accountId: "tom" });
    await signIn(store, "nobody", { accountId: undefined, loginTs: undefined, signedInAtMs: undefined });
    await cut(store, "user", "maya", T0 + 1000);
    for (const uid of ["old", "seconds", "new", "tom", "nobody"]) {
      const isAlive = uid === "new" || uid === "tom" || uid === "nobody";
      assert.equal((await store.sessions.findById(`id-${uid}`)) !== undefined, isAlive, uid);
      for (const userId of [undefined, "maya", "tom"]) {
        assert.equal((await store.sessions.findByUid(uid, userId)) !== undefined, isAlive, `${uid}, ${userId}`);
      }
    }
    assert.deepEqual(await uids(store, { userId: "maya" }), ["new"]);
    assert.deepEqual(await uids(store, { clientId: "notes" }), ["new", "tom"]);
  });

  test("sessions are listed by user and by client, as they are now", async (t) => {
    const { store } = await openAlone(t, contract);
    for (const uid of ["a", "b", "c", "d", "e"]) await signIn(store, uid);
    await signIn(store, "tom", { accountId: "tom" });
    const change = { isNew: false, fields: { accountId: "maya", signedInAtMs: T0 }, set: {}, removed: [] };
    await store.sessions.save("id-b", { ...change, uid: "b", removed: ["notes"] }, LONG_SECONDS);
    await store.sessions.save("id-c", { ...change, uid: "c", set: { board: {} } }, LONG_SECONDS);
    await store.sessions.end("id-d");
    await store.sessions.save("id-e", { ...change, uid: "e", fields: { accountId: "tom" } }, LONG_SECONDS);
    for (let again = 0; again < 2; again += 1) {
      assert.deepEqual(await uids(store, { userId: "maya" }), ["a", "b", "c"]);
      assert.deepEqual(await uids(store, { userId: "tom" }), ["e", "tom"]);
      assert.deepEqual(await uids(store, { clientId: "notes" }), ["a", "c", "tom"]);
      assert.deepEqual(await uids(store, { clientId: "board" }), ["c"]);
    }
    const [record] = await store.sessions.list({ clientId: "board" }, 1);
    assert.deepEqual(record?.authorizations, { notes: { grantId: "grant-c" }, board: {} });
    assert.equal((await uids(store, { userId: "maya" }, 2)).length, 2);
    assert.deepEqual(await uids(store, { userId: "never" }), []);
  });

  test("whatever a user or a client has ends at once, sessions and Grants, and is in no list any more; nobody else's does", async (t) => {
    const { store } = await openAlone(t, contract);
    for (let index = 0; index < 12; index += 1) await signIn(store, `m${index}`);
    await signIn(store, "tom", { accountId: "tom" });
    await store.put("Grant", "maya", grantOf(), LONG_SECONDS);
    await store.put("Grant", "tom", grantOf({ accountId: "tom" }), LONG_SECONDS);
    await store.put("Grant", "board", grantOf({ accountId: "tom", clientId: "board" }), LONG_SECONDS);
    assert.equal((await uids(store, { userId: "maya" })).length, 12);
    await cut(store, "user", "maya", T0);
    assert.deepEqual(await uids(store, { userId: "maya" }), []);
    assert.deepEqual(await uids(store, { clientId: "notes" }), ["tom"]);
    assert.equal(await store.sessions.findById("id-m3"), undefined);
    assert.equal(await store.sessions.findByUid("m3"), undefined);
    assert.deepEqual(await hashes(store, { userId: "maya" }), []);
    assert.deepEqual(await hashes(store, { clientId: "notes" }), [sha256("tom")]);
    await cut(store, "client", "notes", T0);
    assert.deepEqual(await hashes(store, { clientId: "notes" }), []);
    assert.deepEqual(await hashes(store, { userId: "tom" }), [sha256("board")]);
    assert.deepEqual(await uids(store, { userId: "tom" }), ["tom"], "the person stays signed in");
  });

  test("a session that refresh tokens keep alive stays in the lists", async (t) => {
    const { store } = await openAlone(t, contract);
    await signIn(store, "kept", {}, SHORT_SECONDS);
    await signIn(store, "gone", {}, SHORT_SECONDS);
    await store.sessions.prolong("kept", LONG_SECONDS);
    await sleep(AFTER_SHORT_MS + 1000);
    assert.deepEqual(await uids(store, { userId: "maya" }), ["kept"]);
    assert.deepEqual(await uids(store, { clientId: "notes" }), ["kept"]);
  });

  test("Grants are listed by user and by client while they live, and can be ended by what the list says", async (t) => {
    const { store } = await openAlone(t, contract);
    for (const id of ["a", "b", "c"]) await store.put("Grant", id, grantOf(), LONG_SECONDS);
    await store.put("Grant", "board", grantOf({ clientId: "board" }), LONG_SECONDS);
    await store.put("Grant", "tom", grantOf({ accountId: "tom" }), LONG_SECONDS);
    await store.put("Grant", "short", grantOf(), SHORT_SECONDS);
    await store.endGrant("a", LONG_SECONDS);
    await sleep(AFTER_SHORT_MS);
    assert.deepEqual(await hashes(store, { userId: "maya" }), ["b", "c", "board"].map(sha256).sort());
    assert.deepEqual(await hashes(store, { clientId: "notes" }), ["b", "c", "tom"].map(sha256).sort());
    assert.deepEqual(await hashes(store, maya), ["b", "c"].map(sha256).sort());
    assert.deepEqual(await hashes(store, { userId: "tom", clientId: "board" }), []);
    assert.equal((await store.listGrants({ userId: "maya" }, 1)).length, 1);
    assert.equal((await store.listGrants(maya, 1)).length, 1);
    await store.plant([revocation("grant", sha256("b"))]);
    assert.equal(await isFound(store, "b"), false);
    assert.deepEqual(await hashes(store, { userId: "maya" }), ["c", "board"].map(sha256).sort());
    await cut(store, "client", "notes", T0);
    assert.deepEqual(await hashes(store, { userId: "maya" }), [sha256("board")]);
    assert.deepEqual(await hashes(store, { clientId: "notes" }), []);
  });

  test("every kind of revocation can be planted, as often as one likes, also before what it ends is there", async (t) => {
    const { store } = await openAlone(t, contract);
    const all = [
      revocation("grant", sha256("grant")),
      revocation("session", sha256("session")),
      revocation("token", storeKey("AccessToken", "token")),
      revocation("user", "maya"),
      revocation("client", "board"),
    ];
    await store.put("Grant", "grant", grantOf({ accountId: "tom" }), LONG_SECONDS);
    await signIn(store, "session", { accountId: "tom" });
    await store.put("AccessToken", "token", {}, LONG_SECONDS);
    for (let again = 0; again < 2; again += 1) {
      await store.plant(all);
      await store.put("Grant", "grant", grantOf({ accountId: "tom" }), LONG_SECONDS);
      await store.put("AccessToken", "token", {}, LONG_SECONDS);
      await store.put("Grant", "cut", grantOf(), LONG_SECONDS);
      await store.put("Grant", "board", grantOf({ accountId: "tom", clientId: "board" }), LONG_SECONDS);
      for (const id of ["grant", "cut", "board"]) assert.equal(await isFound(store, id), false, id);
      assert.equal(await store.sessions.findById("id-session"), undefined);
      assert.equal(await store.find("AccessToken", "token"), undefined);
    }
    await store.put("Grant", "new", grantOf({ madeAtMs: T0 + 1 }), LONG_SECONDS);
    assert.equal(await isFound(store, "new"), true);
    await store.plant([]);
  });

  test(`what a user had ends with it: ${contract.sessions} sessions leave nothing behind`, async (t) => {
    const { store, ground } = await openAlone(t, contract);
    for (let from = 0; from < contract.sessions; from += 100) {
      const some = Array.from({ length: 100 }, (_, index) => `s${from + index}`);
      await Promise.all(some.map((uid) => signIn(store, uid, {}, SHORT_SECONDS)));
    }
    await signIn(store, "long", {}, LONG_SECONDS);
    await store.put("Grant", "grant", grantOf(), LONG_SECONDS);
    assert.deepEqual(await ground.endless(), []);
    // Pointers and indexes outlive their session by as much again.
    await sleep(2 * SHORT_SECONDS * 1000 + AFTER_SHORT_MS);
    await signIn(store, "last", {}, LONG_SECONDS);
    while ((await store.sweep(10_000)) > 0);
    assert.deepEqual(await uids(store, { userId: "maya" }, 10), ["last", "long"]);
    assert.ok((await ground.dump()).split("s10").length === 1, "nothing names a session that ended");
  });
}
