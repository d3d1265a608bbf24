/** The contract of the expiring store, the same for every engine: `contract(name, open)` is called by one test file per engine. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { sleep } from "../../src/clock.ts";
import { randomText } from "../../src/secrets.ts";
import type { GrantStore, JsonObject } from "../../src/store/grants.ts";
import { familiesContract } from "./grants-families.contract.ts";
import { createNaive, openPlace, type Place, RACES, runRounds, startRacers } from "./grants-races.ts";
import { sessionsContract } from "./grants-sessions.contract.ts";

/** An empty store of a test's own, and what only its engine can tell about it. */
export interface Ground {
  readonly place: Place;
  /** Everything that is kept, as text. */
  dump(): Promise<string>;
  /** Whatever is kept without an end. */
  endless(): Promise<readonly string[]>;
  /** How many records there are, also those that ended and were not swept yet. */
  count(): Promise<number>;
  /** Bytes of the one record that there is. */
  size(): Promise<number>;
}

export interface Contract {
  readonly name: string;
  readonly skip: string | false;
  /** How often one family is rotated; each time is one statement or two. */
  readonly rotations: number;
  ground(): Promise<Ground>;
}

const ROUNDS = 25;
const PARALLEL = 8;
/** A lifetime that ends while the test waits, and one that does not. */
export const SHORT_SECONDS = 1;
export const LONG_SECONDS = 60;
/** After this much of real time what had the short lifetime has ended. */
export const AFTER_SHORT_MS = 1300;

/** Payloads that engines stumble over. */
const PAYLOADS: readonly (readonly [name: string, payload: JsonObject])[] = [
  ["empty", {}],
  ["nested", { openid: { scope: "openid email", claims: ["sub"] }, list: [1, 2.5, null, true, "x"], none: null }],
  ["with NUL", { "na\u0000me": "va\u0000lue", deep: { "\u0000": "\u0000" } }],
  ["with every kind of text", { text: "žluťoučký 漢字 👩‍👩‍👧 \u2028 \\u0000 \" ' \r\n", ключ: "значение" }],
  ["with half a character", { lone: "a\ud800b", "\udfff": "\udfff" }],
  ["with names of an object's own members", JSON.parse('{"__proto__":{"a":1},"constructor":"c","toString":"t"}')],
  ["large", { text: "ř".repeat(60_000) }],
];

/** A store on a ground of its own; closed with the test. */
export async function openAlone(t: TestContext, contract: Contract): Promise<{ store: GrantStore; ground: Ground }> {
  const ground = await contract.ground();
  return { store: await openAt(t, ground.place), ground };
}

export async function openAt(t: TestContext, place: Place): Promise<GrantStore> {
  const store = await openPlace(place);
  t.after(() => store.close());
  return store;
}

export function contract(contract: Contract): void {
  describe(`${contract.name}: records`, { skip: contract.skip, concurrency: 4 }, () => recordsContract(contract));
  describe(`${contract.name}: Grants`, { skip: contract.skip, concurrency: 4 }, () => grantsContract(contract));
  describe(`${contract.name}: sessions`, { skip: contract.skip, concurrency: 4 }, () => sessionsContract(contract));
  describe(`${contract.name}: families`, { skip: contract.skip, concurrency: 4 }, () => familiesContract(contract));
  describe(`${contract.name}: the whole store`, { skip: contract.skip }, () => wholeContract(contract));
}

function recordsContract(contract: Contract): void {
  for (const [name, payload] of PAYLOADS) {
    test(`a payload comes back as it was: ${name}`, async (t) => {
      const { store } = await openAlone(t, contract);
      await store.put("AccessToken", "id", payload, LONG_SECONDS);
      assert.deepEqual(await store.find("AccessToken", "id"), { payload, isConsumed: false });
      await store.put("AccessToken", "id", { written: "over" }, LONG_SECONDS);
      assert.deepEqual((await store.find("AccessToken", "id"))?.payload, { written: "over" });
    });
  }

  test("an id may be any text, and one model's id is nothing to another model", async (t) => {
    const { store } = await openAlone(t, contract);
    for (const id of ["", "a:b", "\u0000", "漢".repeat(3000), "'; drop table users; --", "*"]) {
      await store.put("AuthorizationCode", id, { id }, LONG_SECONDS);
      assert.deepEqual((await store.find("AuthorizationCode", id))?.payload, { id });
      assert.equal(await store.find("RefreshToken", id), undefined);
      assert.equal(await store.consume("RefreshToken", id), "unknown");
      assert.equal(await store.take("AccessToken", id), undefined);
      await store.remove("AccessToken", id);
      assert.deepEqual((await store.find("AuthorizationCode", id))?.payload, { id });
    }
    assert.equal(await store.find("AuthorizationCode", "never"), undefined);
  });

  test("a record is consumed once, and shows it until its own end", async (t) => {
    const { store, ground } = await openAlone(t, contract);
    assert.equal(await store.consume("AuthorizationCode", "code"), "unknown");
    assert.equal(await ground.count(), 0, "looking makes no record");
    await store.put("AuthorizationCode", "code", { a: 1 }, SHORT_SECONDS);
    assert.equal(await store.consume("AuthorizationCode", "code"), "won");
    assert.equal(await store.consume("AuthorizationCode", "code"), "lost");
    assert.deepEqual(await store.find("AuthorizationCode", "code"), { payload: { a: 1 }, isConsumed: true });
    await sleep(AFTER_SHORT_MS);
    assert.equal(await store.find("AuthorizationCode", "code"), undefined, "consuming did not lengthen its life");
    assert.equal(await store.consume("AuthorizationCode", "code"), "unknown");
  });

  test("a late write makes no consumed record new, and no shorter", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.put("DeviceCode", "id", { a: 1 }, LONG_SECONDS);
    await store.consume("DeviceCode", "id");
    await store.put("DeviceCode", "id", { a: 2 }, SHORT_SECONDS);
    assert.equal(await store.consume("DeviceCode", "id"), "lost");
    await sleep(AFTER_SHORT_MS);
    assert.deepEqual(await store.find("DeviceCode", "id"), { payload: { a: 2 }, isConsumed: true });
  });

  test("a late write brings nothing back that was removed or taken", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.put("Interaction", "removed", { a: 1 }, LONG_SECONDS);
    await store.put("Interaction", "taken", { a: 1 }, LONG_SECONDS);
    await store.remove("Interaction", "removed");
    await store.remove("Interaction", "removed");
    assert.deepEqual((await store.take("Interaction", "taken"))?.payload, { a: 1 });
    for (const id of ["removed", "taken"]) {
      await store.put("Interaction", id, { a: 2 }, LONG_SECONDS);
      assert.equal(await store.find("Interaction", id), undefined);
      assert.equal(await store.take("Interaction", id), undefined);
      assert.equal(await store.consume("Interaction", id), "unknown");
    }
  });

  test("taking gives a consumed record too, with its mark", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.put("DeviceCode", "id", { a: 1 }, LONG_SECONDS);
    await store.consume("DeviceCode", "id");
    assert.deepEqual(await store.take("DeviceCode", "id"), { payload: { a: 1 }, isConsumed: true });
  });

  test("a record ends by itself, for every way to it, and its id may then begin anew", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.put("DeviceCode", "id", { a: 1 }, SHORT_SECONDS, { userCode: "BCDF-GHJK" });
    assert.deepEqual((await store.findByUserCode("DeviceCode", "BCDF-GHJK"))?.payload, { a: 1 });
    await store.put("Interaction", "taken", { a: 1 }, SHORT_SECONDS);
    await store.take("Interaction", "taken");
    await sleep(AFTER_SHORT_MS);
    assert.equal(await store.find("DeviceCode", "id"), undefined);
    assert.equal(await store.findByUserCode("DeviceCode", "BCDF-GHJK"), undefined);
    assert.equal(await store.take("DeviceCode", "id"), undefined);
    assert.equal(await store.consume("DeviceCode", "id"), "unknown");
    for (const [model, id] of [
      ["DeviceCode", "id"],
      ["Interaction", "taken"],
    ] as const) {
      await store.put(model, id, { a: 2 }, LONG_SECONDS);
      assert.deepEqual(await store.find(model, id), { payload: { a: 2 }, isConsumed: false });
    }
  });

  test("a later write sets a new end", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.put("Interaction", "longer", {}, SHORT_SECONDS);
    await store.put("Interaction", "longer", {}, LONG_SECONDS);
    await store.put("Interaction", "shorter", {}, LONG_SECONDS);
    await store.put("Interaction", "shorter", {}, SHORT_SECONDS);
    await sleep(AFTER_SHORT_MS);
    assert.notEqual(await store.find("Interaction", "longer"), undefined);
    assert.equal(await store.find("Interaction", "shorter"), undefined);
  });

  test("a user code finds its record, at its own model alone, also after another write", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.put("DeviceCode", "id", { a: 1 }, LONG_SECONDS, { userCode: "WDJB-MJHT" });
    assert.equal(await store.findByUserCode("DeviceCode", "WDJB-MJHX"), undefined);
    assert.equal(await store.findByUserCode("AuthorizationCode", "WDJB-MJHT"), undefined);
    await store.put("DeviceCode", "id", { a: 2 }, LONG_SECONDS);
    await store.consume("DeviceCode", "id");
    assert.deepEqual(await store.findByUserCode("DeviceCode", "WDJB-MJHT"), { payload: { a: 2 }, isConsumed: true });
    await store.remove("DeviceCode", "id");
    assert.equal(await store.findByUserCode("DeviceCode", "WDJB-MJHT"), undefined);
  });

  test("a claim is granted once until its time is over, for each purpose", async (t) => {
    const { store } = await openAlone(t, contract);
    assert.equal(await store.claim("assertion", "jti", SHORT_SECONDS), true);
    assert.equal(await store.claim("assertion", "jti", LONG_SECONDS), false);
    assert.equal(await store.claim("proof", "jti", LONG_SECONDS), true);
    await sleep(AFTER_SHORT_MS);
    assert.equal(await store.claim("assertion", "jti", LONG_SECONDS), true);
    assert.equal(await store.claim("assertion", "jti", LONG_SECONDS), false);
  });

  test("no lifetime is negative, and a record without one is a mistake", async (t) => {
    const { store, ground } = await openAlone(t, contract);
    for (const seconds of [0, -3600, 0.2]) await store.put("AccessToken", String(seconds), {}, seconds);
    assert.equal(await store.claim("assertion", "jti", -1), true);
    assert.deepEqual(await ground.endless(), []);
    for (const seconds of [Number.NaN, Number.POSITIVE_INFINITY]) {
      await assert.rejects(store.put("AccessToken", "id", {}, seconds), /lifetime/);
    }
    await store.put("AccessToken", "far", {}, Number.MAX_SAFE_INTEGER);
    assert.notEqual(await store.find("AccessToken", "far"), undefined);
  });
}

const person = { accountId: "user", clientId: "app" };
/** What is stored, what is written over it, what must be there then. */
const MERGES: readonly (readonly [name: string, stored: JsonObject, newer: JsonObject, merged: JsonObject])[] = [
  [
    "scopes, claims and resources are united",
    { openid: { scope: "openid email", claims: ["sub"] }, resources: { "https://a.example": "read" } },
    {
      openid: { scope: "openid profile", claims: ["name"] },
      resources: { "https://a.example": "write", "https://b.example": "x" },
    },
    {
      openid: { scope: "openid email profile", claims: ["sub", "name"] },
      resources: { "https://a.example": "read write", "https://b.example": "x" },
    },
  ],
  [
    "what was rejected stays rejected",
    { openid: { scope: "openid" }, rejected: { openid: { scope: "email", claims: ["email"] } } },
    { openid: { scope: "openid profile" }, rejected: { resources: { "https://a.example": "write" } } },
    {
      openid: { scope: "openid profile" },
      rejected: { openid: { scope: "email", claims: ["email"] }, resources: { "https://a.example": "write" } },
    },
  ],
  [
    "what is granted now is no longer rejected",
    {
      openid: { scope: "openid" },
      rejected: { openid: { scope: "email" }, resources: { "https://a.example": "w r" } },
    },
    { openid: { scope: "openid email" }, resources: { "https://a.example": "w" } },
    {
      openid: { scope: "openid email" },
      resources: { "https://a.example": "w" },
      rejected: { resources: { "https://a.example": "r" } },
    },
  ],
  [
    "what is rejected now is no longer granted",
    { openid: { scope: "openid email" }, resources: { "https://a.example": "w" } },
    { openid: { scope: "openid" }, rejected: { openid: { scope: "email" }, resources: { "https://a.example": "w" } } },
    {
      openid: { scope: "openid" },
      rejected: { openid: { scope: "email" }, resources: { "https://a.example": "w" } },
    },
  ],
  [
    "names of an object's own members are names like others",
    JSON.parse('{"resources":{"__proto__":"a","constructor":"b"}}'),
    JSON.parse('{"resources":{"__proto__":"c","toString":"d"}}'),
    JSON.parse('{"resources":{"__proto__":"a c","constructor":"b","toString":"d"}}'),
  ],
  ["the later end stands", { exp: 2000, iat: 1 }, { exp: 1000, iat: 2 }, { exp: 2000, iat: 2 }],
  [
    "another person's Grant is not mixed in",
    { openid: { scope: "openid" } },
    { accountId: "other" },
    { accountId: "other" },
  ],
];

function grantsContract(contract: Contract): void {
  for (const [name, stored, newer, merged] of MERGES) {
    test(`a Grant is merged: ${name}`, async (t) => {
      const { store } = await openAlone(t, contract);
      await store.put("Grant", "id", { ...person, ...stored }, LONG_SECONDS);
      await store.put("Grant", "id", { ...person, ...newer }, SHORT_SECONDS);
      assert.deepEqual((await store.find("Grant", "id"))?.payload, { ...person, ...merged });
    });
  }

  test("consents that add to one Grant at once lose nothing, and a Grant is never shortened", async (t) => {
    const { store, ground } = await openAlone(t, contract);
    const other = await openAt(t, ground.place);
    for (let round = 0; round < ROUNDS; round += 1) {
      const scopes = Array.from({ length: PARALLEL }, (_, index) => `scope-${index}`);
      const writes = scopes.map((scope, index) =>
        (index % 2 === 0 ? store : other).put(
          "Grant",
          `grant-${round}`,
          { ...person, openid: { scope: `openid ${scope}` } },
          index === 0 ? LONG_SECONDS : SHORT_SECONDS,
        ),
      );
      await Promise.all(writes);
      const openid = (await store.find("Grant", `grant-${round}`))?.payload["openid"] as { scope: string };
      assert.deepEqual(openid.scope.split(" ").sort(), ["openid", ...scopes]);
    }
    await sleep(AFTER_SHORT_MS);
    assert.notEqual(await store.find("Grant", "grant-0"), undefined);
  });

  test("an ended Grant is not found again, whatever is written late", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.put("Grant", "id", person, LONG_SECONDS);
    await store.put("AccessToken", "token", {}, LONG_SECONDS, { grantId: "id" });
    await store.put("AccessToken", "id", { a: 1 }, LONG_SECONDS);
    await store.put("Grant", "other", person, LONG_SECONDS);
    // The library ends a grant once for each kind of token, all at once.
    await Promise.all(Array.from({ length: 6 }, () => store.endGrant("id", LONG_SECONDS)));
    await store.put("Grant", "id", person, LONG_SECONDS);
    assert.equal(await store.find("Grant", "id"), undefined);
    assert.notEqual(await store.find("Grant", "other"), undefined);
    assert.deepEqual((await store.find("AccessToken", "id"))?.payload, { a: 1 }, "the same id of another model");
  });

  test("a Grant that was ended before it was written is not found either", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.endGrant("id", LONG_SECONDS);
    await store.endGrant("id", SHORT_SECONDS);
    await sleep(AFTER_SHORT_MS);
    await store.put("Grant", "id", person, LONG_SECONDS);
    assert.equal(await store.find("Grant", "id"), undefined, "and the longer tombstone counts");
  });
}

function wholeContract(contract: Contract): void {
  const rounds = { rounds: ROUNDS, parallel: PARALLEL };
  for (const race of RACES) {
    test(`${race.name}: of ${PARALLEL} callers with two clients one wins, ${ROUNDS} times`, async (t) => {
      const { store, ground } = await openAlone(t, contract);
      const winners = await runRounds(race, { stores: [store, await openAt(t, ground.place)], ...rounds });
      assert.deepEqual(winners, Array(ROUNDS).fill(1));
    });
    test(`${race.name}: a store that looks first and writes then is found out`, async (t) => {
      const { store } = await openAlone(t, contract);
      const winners = await runRounds(race, { stores: [createNaive(store)], ...rounds });
      assert.ok(winners.some((won) => won > 1));
    });
  }

  test(`of the callers in two processes one wins, ${ROUNDS} times; a naive store is found out`, async (t) => {
    const racers = await startRacers((await contract.ground()).place, 2);
    t.after(racers.close);
    for (const race of RACES) {
      const winners: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        winners.push(await racers.run(race, { parallel: PARALLEL / 2, isNaive: false }));
      }
      assert.deepEqual(winners, Array(ROUNDS).fill(1), race.name);
      let [naive, tries] = [0, 0];
      for (; naive <= 1 && tries < ROUNDS; tries += 1) {
        naive = await racers.run(race, { parallel: PARALLEL / 2, isNaive: true });
      }
      t.diagnostic(
        `${race.name}: 0 double wins in ${ROUNDS} rounds; the naive store: ${naive} winners in round ${tries}`,
      );
      assert.ok(naive > 1, race.name);
    }
  });

  test("no record is without an end, and no dump shows an id", async (t) => {
    const { store, ground } = await openAlone(t, contract);
    const secrets = await useEverything(store);
    assert.deepEqual(await ground.endless(), []);
    assert.ok((await ground.count()) >= secrets.length);
    const dump = await ground.dump();
    for (const [name, secret] of secrets) assert.ok(!dump.includes(secret), `the dump shows the ${name}`);
  });

  test("after their time all records are gone, and a sweep keeps to its limit", async (t) => {
    const { store, ground } = await openAlone(t, contract);
    await useEverything(store, SHORT_SECONDS);
    await store.put("AccessToken", "kept", {}, LONG_SECONDS);
    await sleep(AFTER_SHORT_MS);
    const before = await ground.count();
    const first = await store.sweep(2);
    assert.ok(first <= 2);
    assert.equal(await ground.count(), before - first);
    await store.sweep(1000);
    assert.equal(await store.sweep(1000), 0);
    assert.notEqual(await store.find("AccessToken", "kept"), undefined);
  });

  test("the check of a store that works passes", async (t) => {
    const { store } = await openAlone(t, contract);
    await store.check();
  });
}

/** Every kind of record, by every operation that writes; the secrets by which they are found. */
async function useEverything(
  store: GrantStore,
  ttl = LONG_SECONDS,
): Promise<readonly (readonly [name: string, secret: string])[]> {
  const [live, used, taken, grant, family, cookie, jti] = Array.from({ length: 7 }, () => randomText());
  if (!live || !used || !taken || !grant || !family || !cookie || !jti) throw new Error("there is no randomness");
  const userCode = randomText().slice(0, 9);
  await store.put("DeviceCode", live, { scope: "openid" }, ttl, { userCode, grantId: grant });
  await store.put("DeviceCode", live, { scope: "openid email" }, ttl);
  await store.put("AuthorizationCode", used, {}, ttl);
  await store.consume("AuthorizationCode", used);
  await store.put("AuthorizationCode", used, {}, ttl);
  await store.put("Interaction", taken, {}, ttl);
  await store.take("Interaction", taken);
  await store.claim("assertion", jti, ttl);
  await store.families.start(family, { clientId: "app" }, ttl);
  await store.families.spend(family, 0, { nowMs: Date.now(), windowMs: 10_000 });
  await store.families.save(family, 1, { clientId: "app" }, ttl);
  const change = { uid: "uid", isNew: true, fields: { accountId: "user" }, set: { app: { sid: "s" } }, removed: [] };
  await store.sessions.save(cookie, change, ttl);
  await store.sessions.save(`${cookie}2`, { ...change, isNew: false }, ttl);
  await store.sessions.forget(cookie, 1);
  await store.sessions.prolong("uid", ttl);
  await store.put("Grant", grant, person, ttl);
  await store.put("Grant", grant, person, ttl);
  await store.endGrant(grant, ttl);
  return Object.entries({ live, used, taken, userCode, jti, family, cookie, grant });
}
