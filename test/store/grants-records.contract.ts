/** The contract of the single records in the expiring store: one token, one step, one claim. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "../../src/clock.ts";
import type { JsonObject } from "../../src/store/grants.ts";
import { AFTER_SHORT_MS, type Contract, LONG_SECONDS, openAlone, SHORT_SECONDS } from "./grants-ground.ts";

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

export function recordsContract(contract: Contract): void {
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
