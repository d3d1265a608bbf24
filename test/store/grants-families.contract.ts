/** The contract of the refresh families in the expiring store. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "../../src/clock.ts";
import { randomText } from "../../src/secrets.ts";
import {
  type Family,
  type FamilyStore,
  type GrantStore,
  SPENDS_KEPT,
  type Standing,
  standing,
} from "../../src/store/grants.ts";
import { AFTER_SHORT_MS, type Contract, LONG_SECONDS, openAlone, SHORT_SECONDS } from "./grants-ground.ts";

const T0 = 1_700_000_000_000;
const WINDOW_MS = 10_000;
/** What Redis may hold because of one family (the bar of the design), and a row without its index entry. */
const BYTES_MAX = { redis: 400, postgres: 1000 };

/** A family that was spent at these moments (milliseconds after T0), then asked for a generation at a moment. */
const STANDINGS: readonly (readonly [spends: readonly number[], generation: number, atMs: number, Standing])[] = [
  [[], 0, 0, "current"],
  [[], 1, 0, "unknown"],
  [[], -1, 0, "unknown"],
  [[0], 1, 0, "current"],
  [[0], 0, 0, "replayed"],
  [[0], 0, WINDOW_MS - 1, "replayed"],
  [[0], 0, WINDOW_MS, "reused"],
  [[0, 100], 0, 200, "refused"],
  [[0, 100], 0, 99 + WINDOW_MS, "refused"],
  [[0, 100], 0, 100 + WINDOW_MS, "reused"],
  [[0, 100], 1, 99 + WINDOW_MS, "replayed"],
  [[0, 100, 20_000], 0, 20_001, "reused"],
  [[0, 100, 20_000], 1, 20_001, "refused"],
  [[0, 100, 20_000], 2, 20_001, "replayed"],
  [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0, 10, "refused"],
  [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0, 1 + WINDOW_MS, "refused"],
  [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0, 3 + WINDOW_MS, "reused"],
  [[0, 1, 2, 3, 4, 5, 6, 7, 8, 20_000], 0, 20_001, "reused"],
  [[500, 0], 1, 400, "replayed"],
];

async function spent(
  families: FamilyStore,
  id: string,
  moments: readonly number[],
  windowMs = WINDOW_MS,
): Promise<void> {
  await families.start(id, { clientId: "app" }, LONG_SECONDS);
  for (const [generation, moment] of moments.entries()) {
    assert.equal(await families.spend(id, generation, { nowMs: T0 + moment, windowMs }), "current");
  }
}

export function familiesContract(contract: Contract): void {
  test("a family begins at generation 0 and comes back as it was", async (t) => {
    const { families } = (await openAlone(t, contract)).store;
    assert.equal(await families.find("id"), undefined);
    assert.equal(await families.spend("id", 0, { nowMs: T0, windowMs: WINDOW_MS }), "unknown");
    await families.start("id", { clientId: "app", "\u0000": "\ud800" }, LONG_SECONDS);
    assert.deepEqual(await families.find("id"), {
      generation: 0,
      spentAt: [],
      payload: { clientId: "app", "\u0000": "\ud800" },
    });
    assert.equal(await families.spend("id", 0, { nowMs: T0, windowMs: WINDOW_MS }), "current");
    await families.start("id", { late: true }, LONG_SECONDS);
    assert.equal((await families.find("id"))?.generation, 1, "a second start rolls nothing back");
  });

  for (const [moments, generation, atMs, stands] of STANDINGS) {
    const name = `generation ${generation}, ${atMs} ms after the first spend`;
    test(`spent at [${moments.join(", ")}] ms, ${name}: ${stands}`, async (t) => {
      const { families } = (await openAlone(t, contract)).store;
      await spent(families, "id", moments);
      const before = await families.find("id");
      assert.equal(await families.spend("id", generation, { nowMs: T0 + atMs, windowMs: WINDOW_MS }), stands);
      const after = await families.find("id");
      if (stands === "current") assert.equal(after?.generation, moments.length + 1);
      else assert.deepEqual(after, before, "everything but current changes nothing");
    });
  }

  test("without a window a loser whose clock is behind the winner's is no tab to be served again", async (t) => {
    const { families } = (await openAlone(t, contract)).store;
    await spent(families, "id", [500], 0);
    for (const atMs of [0, 499, 500, 501]) {
      assert.equal(await families.spend("id", 0, { nowMs: T0 + atMs, windowMs: 0 }), "reused", `${atMs} ms`);
    }
  });

  test("every answer is the one of `standing`, for families of arbitrary pasts", async (t) => {
    const { families } = (await openAlone(t, contract)).store;
    await Promise.all(Array.from({ length: 16 }, (_, seed) => compare(families, `id-${seed}`, seed)));
  });

  test("a payload is saved at the family's generation alone", async (t) => {
    const { families } = (await openAlone(t, contract)).store;
    await spent(families, "id", [0, 10]);
    for (const generation of [0, 1, 3, -1, 1.5, Number.NaN]) {
      assert.equal(await families.save("id", generation, { rolled: "back" }, LONG_SECONDS), false);
    }
    assert.equal(await families.save("id", 2, { clientId: "app", exp: 5 }, LONG_SECONDS), true);
    const family = await families.find("id");
    assert.deepEqual(family?.payload, { clientId: "app", exp: 5 });
    assert.deepEqual(family?.spentAt, [T0 + 10, T0]);
    for (const generation of [1.5, Number.NaN, Number.MAX_SAFE_INTEGER]) {
      assert.equal(await families.spend("id", generation, { nowMs: T0, windowMs: WINDOW_MS }), "unknown");
    }
  });

  test("an ended family is unknown, and no late write brings it back", async (t) => {
    const { families } = (await openAlone(t, contract)).store;
    await spent(families, "id", [0]);
    await families.end("id");
    await families.end("id");
    assert.equal(await families.save("id", 1, {}, LONG_SECONDS), false);
    assert.equal(await families.spend("id", 1, { nowMs: T0, windowMs: WINDOW_MS }), "unknown");
    assert.equal(await families.find("id"), undefined);
  });

  test("spending keeps a family's end; saving sets it, also nearer", async (t) => {
    const { families } = (await openAlone(t, contract)).store;
    await families.start("spent", {}, SHORT_SECONDS);
    await families.spend("spent", 0, { nowMs: T0, windowMs: WINDOW_MS });
    await families.start("longer", {}, SHORT_SECONDS);
    await families.save("longer", 0, {}, LONG_SECONDS);
    await families.start("shorter", {}, LONG_SECONDS);
    await families.save("shorter", 0, {}, SHORT_SECONDS);
    await sleep(AFTER_SHORT_MS);
    assert.equal(await families.spend("spent", 1, { nowMs: T0, windowMs: WINDOW_MS }), "unknown");
    assert.equal(await families.save("spent", 1, {}, LONG_SECONDS), false);
    assert.equal(await families.find("shorter"), undefined);
    assert.notEqual(await families.find("longer"), undefined);
    await families.start("spent", {}, LONG_SECONDS);
    assert.equal((await families.find("spent"))?.generation, 0);
  });

  test("a family with every other kind of payload comes back as it was", async (t) => {
    const { families } = (await openAlone(t, contract)).store;
    const payloads = [
      usualPayload(),
      { ...usualPayload(), rar: [{ type: "x" }], extra: { "a b": null } },
      oddPayload(),
    ];
    for (const [index, payload] of payloads.entries()) {
      await families.start(`id-${index}`, payload, LONG_SECONDS);
      assert.deepEqual((await families.find(`id-${index}`))?.payload, payload);
    }
  });

  test(`${contract.rotations} rotations leave one record, no larger than the first`, async (t) => {
    const { store, ground } = await openAlone(t, contract);
    const payload = usualPayload();
    await store.families.start("id", payload, LONG_SECONDS);
    const first = await ground.size();
    await rotate(store, payload, contract.rotations);
    assert.equal(await ground.count(), 1);
    const family = await store.families.find("id");
    assert.equal(family?.generation, contract.rotations);
    assert.ok(family.spentAt.length <= SPENDS_KEPT);
    const bytes = await ground.size();
    t.diagnostic(`a family takes ${first} bytes, ${bytes} after ${contract.rotations} rotations within its window`);
    assert.ok(bytes <= BYTES_MAX[store.engine], `${bytes} bytes`);
  });
}

/** All within one window, the last ones with the payload written again as a refresh does: no record is larger. */
async function rotate({ families }: GrantStore, payload: Record<string, unknown>, rotations: number): Promise<void> {
  for (let generation = 0; generation < rotations; generation += 1) {
    const stands = await families.spend("id", generation, { nowMs: T0 + generation, windowMs: WINDOW_MS });
    assert.equal(stands, "current");
    if (generation >= rotations - 5) {
      assert.equal(
        await families.save("id", generation + 1, { ...payload, iat: 1_700_000_000 + generation }, LONG_SECONDS),
        true,
      );
    }
  }
}

/** Drives a family and a copy in memory through the same past, then asks both for every generation at several moments. */
async function compare(families: FamilyStore, id: string, seed: number): Promise<void> {
  const random = createRandom(seed);
  const windowMs = [0, 1000, WINDOW_MS, 60_000][seed % 4] ?? WINDOW_MS;
  let model: Family = { generation: 0, spentAt: [], payload: {} };
  let at = T0;
  await families.start(id, {}, LONG_SECONDS);
  for (let spend = random(14); spend > 0; spend -= 1) {
    at += random(2) === 0 ? random(300) : random(windowMs + 5000);
    await families.spend(id, model.generation, { nowMs: at, windowMs });
    model = { ...model, generation: model.generation + 1, spentAt: [at, ...model.spentAt].slice(0, SPENDS_KEPT) };
  }
  for (const later of [0, random(windowMs + 1), windowMs - 1, windowMs, windowMs + random(20_000)]) {
    for (let generation = -1; generation <= model.generation + 1; generation += 1) {
      if (generation === model.generation) continue;
      const time = { nowMs: at + later, windowMs };
      const context = `${id}: ${JSON.stringify(model.spentAt)}, generation ${generation} at ${time.nowMs}`;
      assert.equal(await families.spend(id, generation, time), standing(model, generation, time), context);
    }
  }
  assert.equal((await families.find(id))?.generation, model.generation);
}

/** Small and repeatable, so that a failure can be run again (the minimal standard generator). */
function createRandom(seed: number): (below: number) => number {
  let state = seed + 1;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % Math.max(below, 1);
  };
}

/** What oidc-provider keeps of a refresh token with the scopes of a usual sign-in, and a nonce of 43 characters. */
function usualPayload(): Record<string, unknown> {
  return {
    iat: 1_700_000_000,
    exp: 1_701_209_600,
    accountId: "0f8fad5b-d9cb-469f-a165-70867728950e",
    amr: ["pwd"],
    authTime: 1_700_000_000,
    claims: {},
    clientId: "c_8kHq2VbYt0aXwZ3nR5mJ1g",
    expiresWithSession: false,
    grantId: randomText(),
    gty: "authorization_code refresh_token",
    iiat: 1_700_000_000,
    kind: "RefreshToken",
    nonce: randomText(),
    scope: "openid profile email offline_access",
    sessionUid: randomText(),
  };
}

/** Values next to the borders of what is packed tightly. */
function oddPayload(): Record<string, unknown> {
  return {
    accountId: "0F8FAD5B-D9CB-469F-A165-70867728950E",
    acr: "",
    amr: [],
    authTime: 4_294_967_296,
    claims: { id_token: { email: { essential: true } } },
    clientId: "https://client.example/metadata?é=1",
    exp: -1,
    expiresWithSession: null,
    grantId: "abc",
    iat: 0.5,
    jkt: "-_-_",
    nonce: "n".repeat(300),
    resource: ["https://api.example/a", "https://api.example/b"],
    rotations: 0,
    scope: "openid  profile",
    sessionUid: "x".repeat(129),
    sid: "openid",
    unknown: "openid email",
    "\u0000": "\ud800",
  };
}
