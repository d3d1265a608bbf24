/** The contract of the expiring store as a whole: what happens once happens once, everything ends, nothing shows an id. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "../../src/clock.ts";
import { randomText } from "../../src/secrets.ts";
import type { GrantStore } from "../../src/store/grants.ts";
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
import { createNaive, RACES, runRounds, startRacers } from "./grants-races.ts";

export function wholeContract(contract: Contract): void {
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
  await store.put("Grant", grant, { clientId: "app" }, ttl);
  await store.put("Grant", grant, { clientId: "app" }, ttl);
  await store.endGrant(grant, ttl);
  return Object.entries({ live, used, taken, userCode, jti, family, cookie, grant });
}
