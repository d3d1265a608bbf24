/** One refresh family rotated 5,000 times over HTTP: what Redis holds because of it, summed by MEMORY USAGE, as the difference to the same sign-in without a refresh token. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Redis } from "ioredis";
import * as openid from "openid-client";
import { sleep } from "../../src/clock.ts";
import { beginJourney, CALLBACK, type Journey, signIn, tokensOf } from "../flows/journey.ts";
import { eventually, ownRedis, withoutRedis } from "../support.ts";

const ROTATIONS = 5000;
/** Goal P5: a key per family, whatever its age. */
const FAMILY_BYTES_MAX = 400;
const SAMPLE_EVERY = 250;
const WINDOW_MS = 10_000;
/** No record lives longer than the longest Grant, and its tolerance. */
const TTL_SECONDS_MAX = 92 * 86_400;
const TOLERANCE_SECONDS = 15;
const DAY_SECONDS = 86_400;
/**
 * Redis counts by the machine's own clock, which nobody can shift: so what every key has left is held against what it may have. A session of
 * twelve hours, its pointer and its place in the lists outlive it by as much again, a day at most; a Grant outlives the longest family by an hour, and
 * by the day after which the next visit prolongs it.
 */
const TTL_SECONDS_BY_MODEL: Readonly<Record<string, number>> = {
  ".f": 14 * DAY_SECONDS + TOLERANCE_SECONDS,
  Grant: 91 * DAY_SECONDS + 3600 + TOLERANCE_SECONDS,
  ".s": DAY_SECONDS / 2 + TOLERANCE_SECONDS,
  ".sid": DAY_SECONDS + 2 * TOLERANCE_SECONDS,
  ".of-user": 92 * DAY_SECONDS,
  ".of-client": 92 * DAY_SECONDS,
  // One for all of Redis, by which an older state that was put back is known.
  epoch: DAY_SECONDS,
};
const SCOPE = "openid profile email offline_access";
/** An opaque access token is a record of its own for its ten minutes, with a refresh token or without. */
const ACCESS_TOKEN = "AccessToken";

interface Key {
  readonly name: string;
  readonly model: string;
  readonly bytes: number;
  readonly ttlSeconds: number;
}

async function keysOf(redis: Redis): Promise<readonly Key[]> {
  const names: string[] = [];
  for await (const page of redis.scanStream({ match: "signet:*", count: 1000 })) names.push(...(page as string[]));
  return Promise.all(
    [...new Set(names)].map(async (name) => ({
      name,
      model: name.split(":")[1] ?? "",
      bytes: Number(await redis.memory("USAGE", name, "SAMPLES", 0)),
      ttlSeconds: await redis.ttl(name),
    })),
  );
}

/** Keys end between two reads; those that are still there have an end. */
function checkEnds(keys: readonly Key[]): void {
  const endless = keys.filter(({ ttlSeconds }) => ttlSeconds === -1 || ttlSeconds > TTL_SECONDS_MAX);
  assert.deepEqual(endless, [], "records without an end");
}

function bytesByModel(keys: readonly Key[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { model, bytes } of keys) sums.set(model, (sums.get(model) ?? 0) + bytes);
  return sums;
}

/** What lasts: without the access tokens, which end by themselves, the marks of what was used up on the way, and the counters of the limits. */
function lasting(keys: readonly Key[]): readonly Key[] {
  return keys.filter(({ model }) => ![ACCESS_TOKEN, "AuthorizationCode", "Interaction", ".counter"].includes(model));
}

const sum = (keys: readonly Key[]): number => keys.reduce((total, { bytes }) => total + bytes, 0);

/** A sign-in in an empty store; its tokens, and every key that is there because of it. */
async function measured(journey: Journey, redis: Redis, grantTypes: readonly string[]) {
  const client = await journey.register({
    client_type: "web",
    client_name: "Ledger",
    redirect_uris: [CALLBACK],
    grant_types: grantTypes,
  });
  const config = await journey.party(client);
  await redis.flushdb();
  const signedIn = await signIn(journey.client(), config, { scope: SCOPE, parameters: { prompt: "consent" } });
  assert.equal(signedIn.nonce.length, 43);
  const tokens = await openid.authorizationCodeGrant(config, signedIn.callback, {
    pkceCodeVerifier: signedIn.verifier,
    expectedNonce: signedIn.nonce,
    expectedState: signedIn.state,
    idTokenExpected: true,
  });
  const keys = await keysOf(redis);
  checkEnds(keys);
  return { config, tokens, keys };
}

/** A family that may rest a second: Redis itself ends it, when its second and the tolerance of clocks are over. */
async function runOut(journey: Journey, redis: Redis): Promise<void> {
  const client = await journey.register({
    ...{ client_type: "web", client_name: "Brief", redirect_uris: [CALLBACK], refresh_idle: 1 },
  });
  const before = new Set((await keysOf(redis)).map(({ name }) => name));
  await tokensOf(journey.client(), await journey.party(client), { scope: SCOPE, parameters: { prompt: "consent" } });
  const begun = performance.now();
  const families = async (): Promise<number> =>
    (await keysOf(redis)).filter(({ name, model }) => model === ".f" && !before.has(name)).length;
  assert.equal(await families(), 1);
  await eventually(async () => (await families()) === 0, (TOLERANCE_SECONDS + 5) * 1000);
  console.log(
    `family: one that may rest a second was gone ${((performance.now() - begun) / 1000).toFixed(1)} s after its sign-in`,
  );
}

test(`a family rotated ${ROTATIONS} times is one small record (redis)`, { skip: await withoutRedis() }, async () => {
  const own = await ownRedis();
  assert.ok(own !== undefined);
  const redis = new Redis(own.url);
  try {
    const journey = await beginJourney("redis", { REDIS_URL: own.url, LOG_LEVEL: "warn" });
    const without = await measured(journey, redis, ["authorization_code"]);
    assert.equal(without.tokens.refresh_token, undefined);
    const { config, tokens, keys } = await measured(journey, redis, ["authorization_code", "refresh_token"]);
    const base = sum(lasting(without.keys));
    let token = tokens.refresh_token ?? "";
    assert.match(token, /^sgn_rt_/);
    const count = lasting(keys).length;
    const report = (when: string, now: readonly Key[]): number => {
      const bytes = sum(lasting(now)) - base;
      const models = [...bytesByModel(lasting(now))].map(([model, size]) => `${model} ${size}`).join(", ");
      console.log(`family: ${when}: ${bytes} bytes because of it (${models})`);
      return bytes;
    };
    report("the same sign-in without a refresh token", without.keys);
    report("at the sign-in", keys);
    const rotate = async (): Promise<void> => {
      const next = await openid.refreshTokenGrant(config, token);
      assert.notEqual(next.refresh_token, token);
      token = next.refresh_token ?? "";
    };
    await rotate();
    await sleep(WINDOW_MS + 500);
    // Sizes are compared as numbers with a text: a failing expression would be looked up in the source for minutes.
    const isSmall = (bytes: number): void =>
      assert.equal(bytes <= FAMILY_BYTES_MAX, true, `${bytes} bytes because of one family`);
    isSmall(report("after 1 rotation, outside the window", await keysOf(redis)));
    const begun = performance.now();
    for (let rotations = 1; rotations < ROTATIONS; rotations += 1) {
      await rotate();
      if (rotations % SAMPLE_EVERY !== 0) continue;
      const now = await keysOf(redis);
      checkEnds(now);
      assert.equal(lasting(now).length, count, "no key is added by rotating");
      isSmall(sum(lasting(now)) - base);
    }
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    await sleep(WINDOW_MS + 500);
    const last = await keysOf(redis);
    checkEnds(last);
    isSmall(report(`after ${ROTATIONS} rotations in ${seconds} s, outside the window`, last));
    await rotate();
    const quiet = await keysOf(redis);
    isSmall(report("after one more", quiet));
    assert.equal(lasting(quiet).length, count);
    const late = lasting(quiet).filter(({ model, ttlSeconds }) => ttlSeconds > (TTL_SECONDS_BY_MODEL[model] ?? 0));
    assert.deepEqual(late, [], "each key ends by itself, no later than what it is for");
    await runOut(journey, redis);
  } finally {
    redis.disconnect();
  }
});
