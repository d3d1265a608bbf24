/** The plan of keys: ten years are lived through hour by hour, and at each hour every rule of a key's life holds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { secondsAfter } from "../../src/clock.ts";
import {
  announceSecondsMin,
  KEY_TIMES,
  type KeyTimes,
  keyTimeFaults,
  LONGEST_SESSION_SECONDS,
} from "../../src/key-times.ts";
import { SIGNING_ALGORITHMS } from "../../src/keys/key.ts";
import { MAC_PURPOSES } from "../../src/keys/mac-key.ts";
import { nextRotationAt, planOf, type Step } from "../../src/keys/plan.ts";
import type { KeyRows, MacKeyRow, SigningKeyRow } from "../../src/keys/queries.ts";
import { SESSION_REMEMBERED_SECONDS } from "../../src/oidc/lifetimes.ts";

const DAY = 86_400;
const LONGEST_USE = { cookie: 30 * DAY, refresh_token: 90 * DAY, form: 7200, dpop_nonce: 300, pairwise: 0, audit: 0 };
const START = new Date("2026-01-01T00:00:00Z");
const NONE = {
  activatesAt: undefined,
  activatedAt: undefined,
  retiredAt: undefined,
  unpublishedAt: undefined,
  revokedAt: undefined,
};
let names = 0;

/** What rotation.ts does to the rows, without a database. */
function after(rows: KeyRows, step: Step, times: KeyTimes): KeyRows {
  const { at, signing, secrets } = rows;
  const change = (kid: string, patch: Partial<SigningKeyRow>): KeyRows => ({
    ...rows,
    signing: signing.map((row) => (row.kid === kid ? { ...row, ...patch } : row)),
  });
  const changeSecret = (id: string, patch: Partial<MacKeyRow>): KeyRows => ({
    ...rows,
    secrets: secrets.map((row) => (row.id === id ? { ...row, ...patch } : row)),
  });
  names += 1;
  switch (step.do) {
    case "make": {
      const begun = step.activatesAt === undefined ? { state: "active", activatedAt: at } : { state: "announced" };
      const row = { kid: `k${names}`, algorithm: step.algorithm, publicJwk: {}, sealedPrivateJwk: "", origin: "made" };
      const made = { ...NONE, ...row, activatesAt: step.activatesAt, ...begun, createdAt: at };
      return { ...rows, signing: [{ ...made, tokenSeconds: times.tokenSecondsMax } as SigningKeyRow, ...signing] };
    }
    case "activate":
      return change(step.key.kid, { state: "active", activatedAt: at });
    case "retire":
      return change(step.key.kid, { state: "retired", retiredAt: at });
    case "unpublish":
      return change(step.key.kid, { state: "kept", unpublishedAt: at });
    case "remove":
      return { ...rows, signing: signing.filter(({ kid }) => kid !== step.key.kid) };
    case "make secret": {
      const begun = step.activatesAt === undefined ? { state: "active", activatedAt: at } : { state: "announced" };
      const { purpose, version, activatesAt } = step;
      const made = { ...NONE, id: `s${names}`, purpose, version, sealedKey: "", activatesAt, ...begun, createdAt: at };
      return { ...rows, secrets: [made as MacKeyRow, ...secrets] };
    }
    case "activate secret":
      return changeSecret(step.key.id, { state: "active", activatedAt: at });
    case "retire secret":
      return changeSecret(step.key.id, { state: "retired", retiredAt: at });
    case "remove secret":
      return { ...rows, secrets: secrets.filter(({ id }) => id !== step.key.id) };
  }
}

function secondsBetween(from: Date | undefined, to: Date): number {
  assert.ok(from !== undefined);
  return (to.getTime() - from.getTime()) / 1000;
}

/** Lives from the start on; `awake` says at which moments anybody looks. */
function live(times: KeyTimes, options: { stepSeconds: number; steps: number; awake?: (step: number) => boolean }) {
  let rows: KeyRows = { at: START, signing: [], secrets: [] };
  const taken: { readonly at: Date; readonly step: Step }[] = [];
  for (let index = 0; index < options.steps; index += 1) {
    rows = { ...rows, at: secondsAfter(START, index * options.stepSeconds) };
    if (options.awake?.(index) === false) continue;
    for (const step of planOf(rows, { times, longestUse: LONGEST_USE })) {
      if (step.do === "activate") checkActivation(step.key, rows.at, times);
      if (step.do === "unpublish")
        assert.ok(
          secondsBetween(step.key.retiredAt, rows.at) >=
            step.key.tokenSeconds + times.stalenessSeconds + times.skewSeconds,
        );
      if (step.do === "remove") assert.ok(secondsBetween(step.key.retiredAt, rows.at) >= times.hintSeconds);
      if (step.do === "activate secret")
        assert.ok(secondsBetween(step.key.createdAt, rows.at) >= times.stalenessSeconds + times.skewSeconds);
      if (step.do === "remove secret")
        assert.ok(
          secondsBetween(step.key.retiredAt, rows.at) >= LONGEST_USE[step.key.purpose as keyof typeof LONGEST_USE],
        );
      rows = after(rows, step, times);
      taken.push({ at: rows.at, step });
    }
    for (const algorithm of SIGNING_ALGORITHMS) {
      const active = rows.signing.filter((row) => row.algorithm === algorithm && row.state === "active");
      assert.equal(active.length, 1, `${algorithm} at ${rows.at.toISOString()}`);
    }
    for (const purpose of MAC_PURPOSES)
      assert.equal(rows.secrets.filter((row) => row.purpose === purpose && row.state === "active").length, 1);
  }
  return { rows, taken };
}

function checkActivation(key: SigningKeyRow, at: Date, times: KeyTimes): void {
  assert.ok(secondsBetween(key.createdAt, at) >= times.announceSeconds);
  assert.ok(secondsBetween(key.createdAt, at) >= announceSecondsMin(times));
}

test("ten years: one key signs per algorithm at every hour, each was announced, and every old one went in its time", () => {
  const { rows, taken } = live(KEY_TIMES, { stepSeconds: 3600, steps: 10 * 365 * 24 });
  const count = (what: Step["do"]): number => taken.filter(({ step }) => step.do === what).length;
  const rotations = Math.floor((10 * 365) / 90);
  assert.ok(count("activate") >= 3 * (rotations - 1) && count("activate") <= 3 * rotations, `${count("activate")}`);
  // Active, perhaps the successor, and what is not 30 days old: the tables do not grow.
  assert.ok(rows.signing.length <= 9, `${rows.signing.length} rows`);
  assert.ok(rows.secrets.length <= 16, `${rows.secrets.length} rows`);
  assert.equal(rows.secrets.filter(({ purpose }) => purpose === "pairwise").length, 1);
  assert.equal(
    rows.secrets.find(({ purpose }) => purpose === "pairwise")?.version,
    1,
    "the salt of pairwise subjects stays",
  );
  assert.ok(count("activate secret") > 100);
});

test("whoever slept through a rotation announces first, however late it is", () => {
  // Nobody runs for a year from day 60 on: the key is long overdue, and still nothing unannounced signs.
  const awake = (hour: number): boolean => hour < 60 * 24 || hour > 425 * 24;
  const { taken } = live(KEY_TIMES, { stepSeconds: 3600, steps: 500 * 24, awake });
  const made = taken.find(({ step }) => step.do === "make" && step.activatesAt !== undefined);
  const activated = taken.find(({ step }) => step.do === "activate");
  assert.ok(made !== undefined && activated !== undefined);
  assert.ok(secondsBetween(made.at, activated.at) >= KEY_TIMES.announceSeconds);
});

test("an algorithm that is new to an installation is announced, since others know its JWKS already", () => {
  const old = live(KEY_TIMES, { stepSeconds: 3600, steps: 1 }).rows;
  const rows = { ...old, signing: old.signing.filter(({ algorithm }) => algorithm !== "EdDSA") };
  const steps = planOf(rows, { times: KEY_TIMES, longestUse: LONGEST_USE });
  assert.deepEqual(steps, [
    { do: "make", algorithm: "EdDSA", activatesAt: secondsAfter(START, KEY_TIMES.announceSeconds) },
  ]);
});

test("the next rotation is known: when the successor was announced for, else the end of the period", () => {
  const { rows } = live(KEY_TIMES, { stepSeconds: 3600, steps: 1 });
  assert.deepEqual(nextRotationAt(rows.signing, "ES256", KEY_TIMES), secondsAfter(START, 90 * DAY));
  const later = live(KEY_TIMES, { stepSeconds: 3600, steps: 24 * 89 + 1 }).rows;
  assert.deepEqual(nextRotationAt(later.signing, "ES256", KEY_TIMES), secondsAfter(START, 90 * DAY));
  assert.equal(nextRotationAt([], "ES256", KEY_TIMES), undefined);
});

test("times that cannot be together are refused, each with the name of what to change", () => {
  assert.deepEqual(keyTimeFaults(KEY_TIMES), []);
  const refused: readonly (readonly [Partial<KeyTimes>, RegExp])[] = [
    [{ announceSeconds: 600 }, /^KEY_ANNOUNCE_TIME is at least 690 s/],
    [{ cacheSeconds: 86_400 }, /^KEY_ANNOUNCE_TIME/],
    [{ rotationSeconds: DAY }, /^KEY_ROTATION_PERIOD is longer than KEY_ANNOUNCE_TIME/],
    [{ secretRotationSeconds: 90 }, /^MAC_ROTATION_PERIOD is longer than 90 s/],
    [{ hintSeconds: 29 * DAY }, /^KEY_HINT_TIME is at least 30d/],
  ];
  for (const [change, fault] of refused) {
    const faults = keyTimeFaults({ ...KEY_TIMES, ...change });
    assert.equal(faults.length, 1, String(fault));
    assert.match(faults[0] ?? "", fault);
  }
  assert.equal(LONGEST_SESSION_SECONDS, SESSION_REMEMBERED_SECONDS, "the longest session is one number");
});
