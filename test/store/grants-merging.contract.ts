/** The contract of Grants in the expiring store: writes are merged, an end is final. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "../../src/clock.ts";
import type { JsonObject } from "../../src/store/grants.ts";
import {
  AFTER_SHORT_MS,
  type Contract,
  LONG_SECONDS,
  openAlone,
  openAt,
  PARALLEL,
  ROUNDS,
  SHORT_SECONDS,
} from "./grants-ground.ts";

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

export function mergingContract(contract: Contract): void {
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
