/** The contract of the sessions in the expiring store. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "../../src/clock.ts";
import { sha256 } from "../../src/secrets.ts";
import type { JsonObject, SessionChange, SessionStore } from "../../src/store/grants.ts";
import {
  AFTER_SHORT_MS,
  type Contract,
  LONG_SECONDS,
  openAlone,
  openAt,
  ROUNDS,
  SHORT_SECONDS,
} from "./grants-ground.ts";

/** Of a person who is signed in, with one app. */
const fields = { accountId: "user", loginTs: 1_700_000_000, amr: ["pwd"] };
const first: SessionChange = { uid: "uid", isNew: true, fields, set: { app: { sid: "1" } }, removed: [], seenAt: 100 };
const later = (change: Partial<SessionChange> = {}): SessionChange => ({
  ...first,
  isNew: false,
  set: {},
  seenAt: undefined,
  ...change,
});
const authorizations = async (sessions: SessionStore): Promise<JsonObject | undefined> =>
  (await sessions.findByUid("uid"))?.authorizations;

export function sessionsContract(contract: Contract): void {
  test("a session is found by its id and by its uid, as it was saved", async (t) => {
    const { sessions } = (await openAlone(t, contract)).store;
    assert.equal(await sessions.findById("id"), undefined);
    assert.equal(await sessions.save("id", first, LONG_SECONDS), true);
    const session = { uid: "uid", fields, authorizations: { app: { sid: "1" } }, seenAt: 100 };
    assert.deepEqual(await sessions.findById("id"), session);
    assert.deepEqual(await sessions.findByUid("uid"), session);
    assert.equal(await sessions.findById("uid"), undefined);
    assert.equal(await sessions.findByUid("id"), undefined);
  });

  test("any text is kept, in uid, fields, client id and authorization", async (t) => {
    const { sessions } = (await openAlone(t, contract)).store;
    for (const text of ["\u0000", "a\ud800b", "漢字 👩‍👩‍👧", "+", "-1:x", "__proto__", "constructor"]) {
      const set = Object.fromEntries([[text, { [text]: text }]]);
      const change = { ...first, uid: text, fields: { accountId: text, [`f${text}`]: text }, set };
      assert.equal(await sessions.save(text, change, LONG_SECONDS), true);
      assert.deepEqual(await sessions.findById(text), {
        uid: text,
        fields: change.fields,
        authorizations: set,
        seenAt: 100,
      });
      await sessions.save(text, { ...change, isNew: false, set: {}, removed: [text] }, LONG_SECONDS);
      assert.deepEqual((await sessions.findById(text))?.authorizations, {});
    }
  });

  test("a change touches what it names, and keeps the rest", async (t) => {
    const { sessions } = (await openAlone(t, contract)).store;
    await sessions.save("id", { ...first, set: { app: { sid: "1" }, other: { sid: "2" } } }, LONG_SECONDS);
    await sessions.save("id", later({ set: { third: { sid: "3" } }, removed: ["other", "never"] }), LONG_SECONDS);
    assert.deepEqual(await authorizations(sessions), { app: { sid: "1" }, third: { sid: "3" } });
    assert.equal((await sessions.findByUid("uid"))?.seenAt, 100, "no visit was counted");
    await sessions.save(
      "id",
      later({ fields: { ...fields, acr: "2" }, set: { app: { sid: "9" } }, seenAt: 200 }),
      LONG_SECONDS,
    );
    assert.deepEqual(await sessions.findByUid("uid"), {
      uid: "uid",
      fields: { ...fields, acr: "2" },
      authorizations: { app: { sid: "9" }, third: { sid: "3" } },
      seenAt: 200,
    });
  });

  test(`two tabs that save at once both keep what they added, ${ROUNDS} times`, async (t) => {
    const { store, ground } = await openAlone(t, contract);
    const other = await openAt(t, ground.place);
    await store.sessions.save("id", first, LONG_SECONDS);
    for (let round = 0; round < ROUNDS; round += 1) {
      const clients = Array.from({ length: 4 }, (_, index) => `app-${round}-${index}`);
      const saves = clients.map((clientId, index) => {
        const change = later({ set: { [clientId]: { grantId: clientId } }, removed: [`app-${round - 1}-${index}`] });
        return (index % 2 === 0 ? store : other).sessions.save(`id-${index}`, change, LONG_SECONDS);
      });
      assert.deepEqual(await Promise.all(saves), [true, true, true, true]);
      assert.deepEqual(Object.keys((await authorizations(store.sessions)) ?? {}).sort(), ["app", ...clients]);
    }
  });

  test("another person's session replaces the record whole", async (t) => {
    const { sessions } = (await openAlone(t, contract)).store;
    await sessions.save("id", first, LONG_SECONDS);
    await sessions.save("id2", later({ fields: { accountId: "other" }, set: { mine: { sid: "2" } } }), SHORT_SECONDS);
    const session = await sessions.findById("id2");
    assert.deepEqual(session?.fields, { accountId: "other" });
    assert.deepEqual(session?.authorizations, { mine: { sid: "2" } });
    assert.ok(session !== undefined && session.seenAt > 1_700_000_000, "the other one's visit is not this one's");
    await sessions.save("id2", later({ fields: {}, set: {} }), LONG_SECONDS);
    assert.deepEqual((await sessions.findById("id2"))?.authorizations, {}, "nobody is another person, too");
  });

  test("an ended session is found under none of its ids, and no late write brings it back", async (t) => {
    const { store } = await openAlone(t, contract);
    const { sessions } = store;
    const ended = { kind: "session", key: sha256("uid"), beforeMs: 0, expiresAtMs: Date.now() + 60_000 } as const;
    const ends = [() => sessions.end("id"), () => sessions.end("id2"), () => store.plant([ended])];
    for (const end of ends) {
      assert.equal(await sessions.save("id", first, LONG_SECONDS), true);
      await sessions.save("id2", later(), LONG_SECONDS);
      await end();
      await end();
      assert.equal(await sessions.save("id", later({ set: { app: { sid: "late" } } }), LONG_SECONDS), false);
      assert.equal(await sessions.save("id3", later(), LONG_SECONDS), false);
      await sessions.prolong("uid", LONG_SECONDS);
      for (const id of ["id", "id2", "id3"]) assert.equal(await sessions.findById(id), undefined);
      assert.equal(await sessions.findByUid("uid"), undefined);
    }
    await sessions.end("never");
    assert.equal(await sessions.save("id", later({ uid: "never" }), LONG_SECONDS), false);
  });

  test("a replaced id answers for its window, then never again", async (t) => {
    const { sessions } = (await openAlone(t, contract)).store;
    await sessions.save("old", first, LONG_SECONDS);
    await sessions.save("new", later(), LONG_SECONDS);
    await sessions.forget("old", SHORT_SECONDS);
    assert.equal((await sessions.findById("old"))?.uid, "uid");
    // A second tab that still holds the old id: what it did counts, but its id is not made valid again.
    assert.equal(await sessions.save("old", later({ set: { tab: { sid: "2" } } }), LONG_SECONDS), true);
    await sessions.prolong("uid", LONG_SECONDS * 2);
    await sleep(AFTER_SHORT_MS);
    assert.equal(await sessions.findById("old"), undefined);
    assert.equal(await sessions.save("old", later({ set: { slow: { sid: "3" } } }), LONG_SECONDS), true);
    assert.equal(await sessions.findById("old"), undefined);
    await sessions.end("old");
    const session = await sessions.findById("new");
    assert.deepEqual(Object.keys(session?.authorizations ?? {}).sort(), ["app", "slow", "tab"]);
  });

  test("an id that is forgotten at once is dead at once, so that a planted one is worth nothing after sign-in", async (t) => {
    const { sessions } = (await openAlone(t, contract)).store;
    await sessions.save("planted", { ...first, fields: {} }, LONG_SECONDS);
    await sessions.forget("planted", LONG_SECONDS);
    await sessions.save("new", later(), LONG_SECONDS);
    await sessions.forget("planted", 0);
    assert.equal(await sessions.findById("planted"), undefined);
    await sessions.save("planted", later(), LONG_SECONDS);
    await sessions.forget("planted", LONG_SECONDS);
    assert.equal(await sessions.findById("planted"), undefined, "nor does forgetting it again give it a window");
    assert.equal((await sessions.findById("new"))?.uid, "uid");
    await sessions.forget("never", LONG_SECONDS);
    assert.equal(await sessions.findById("never"), undefined);
  });

  test("a session ends by itself, and may then begin anew", async (t) => {
    const { sessions } = (await openAlone(t, contract)).store;
    await sessions.save("id", first, SHORT_SECONDS);
    await sleep(AFTER_SHORT_MS);
    assert.equal(await sessions.findByUid("uid"), undefined);
    assert.equal(await sessions.findById("id"), undefined);
    assert.equal(await sessions.save("id", later(), LONG_SECONDS), false);
    await sessions.prolong("uid", LONG_SECONDS);
    assert.equal(await sessions.findByUid("uid"), undefined);
    await sessions.save("id", { ...first, set: {}, seenAt: 300 }, LONG_SECONDS);
    assert.deepEqual(await sessions.findById("id"), { uid: "uid", fields, authorizations: {}, seenAt: 300 });
  });

  test("neither saving nor prolonging shortens a session; prolonging keeps it, and the way to it, alive", async (t) => {
    const { sessions } = (await openAlone(t, contract)).store;
    for (const uid of ["saved", "prolonged", "both"]) {
      const ttl = uid === "saved" ? LONG_SECONDS : SHORT_SECONDS;
      await sessions.save(`id-${uid}`, { ...first, uid }, ttl);
    }
    await sessions.save("id-saved", later({ uid: "saved" }), SHORT_SECONDS);
    await sessions.prolong("saved", SHORT_SECONDS);
    await sessions.prolong("prolonged", LONG_SECONDS);
    await sessions.prolong("both", LONG_SECONDS);
    await sessions.save("id2-both", later({ uid: "both" }), SHORT_SECONDS);
    await sleep(AFTER_SHORT_MS);
    for (const uid of ["saved", "prolonged", "both"]) {
      assert.equal((await sessions.findByUid(uid))?.uid, uid);
      assert.equal((await sessions.findById(`id-${uid}`))?.uid, uid);
    }
    assert.equal((await sessions.findById("id2-both"))?.uid, "both");
  });
}
