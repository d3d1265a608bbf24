/** The rules of the limits as plain arithmetic: a tally, a time, a verdict. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SIGN_IN_BY_ADDRESS, SIGN_IN_BY_USER, type WindowRule } from "../../src/limits/rules.ts";
import {
  admitByAddress,
  admitByUser,
  countInWindow,
  EMPTY,
  secondsKept,
  settleByAddress,
  settleByUser,
  type Tally,
} from "../../src/limits/tally.ts";

const TEN_A_MINUTE: WindowRule = { name: "ten_a_minute", max: 10, windowSeconds: 60 };

const START = Date.UTC(2026, 0, 1);
const SECOND = 1000;

/** So many failures in a row, each admitted and failed at the given moment. */
function failed(times: number, nowMs: number, tally: Tally = EMPTY): Tally {
  let result = tally;
  for (let index = 0; index < times; index += 1) {
    const attempt = { id: `f${index}`, nowMs };
    const verdict = admitByUser(result, SIGN_IN_BY_USER, attempt);
    assert.equal(verdict.kind, "admitted");
    if (verdict.kind === "admitted") result = settleByUser(verdict.tally, attempt, "failed");
  }
  return result;
}

test("T-LOGIN-3: five failures are free, then the delay doubles from 1 s to 15 minutes, with one attempt after each", () => {
  let [tally, nowMs] = [failed(5, START), START];
  const delays: number[] = [];
  for (let index = 0; index < 13; index += 1) {
    const early = admitByUser(tally, SIGN_IN_BY_USER, { id: "early", nowMs });
    assert.equal(early.kind, "refused");
    const seconds = early.kind === "refused" ? early.retryAfterSeconds : 0;
    delays.push(seconds);
    const last = admitByUser(tally, SIGN_IN_BY_USER, { id: "last", nowMs: nowMs + seconds * SECOND - 1 });
    assert.deepEqual(last, { kind: "refused", retryAfterSeconds: 1 });
    nowMs += seconds * SECOND;
    tally = failed(1, nowMs, tally);
  }
  assert.deepEqual(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
});

test("T-LOGIN-3: two attempts at the end of a delay: one is tried, the other waits for its outcome", () => {
  const first = admitByUser(failed(5, START), SIGN_IN_BY_USER, { id: "a", nowMs: START + SECOND });
  assert.ok(first.kind === "admitted");
  assert.equal(admitByUser(first.tally, SIGN_IN_BY_USER, { id: "b", nowMs: START + SECOND }).kind, "wait");
});

test("free failures are forgotten after 15 minutes, delays only after a day", () => {
  const four = failed(4, START);
  assert.equal(admitByUser(four, SIGN_IN_BY_USER, { id: "x", nowMs: START + 900 * SECOND }).kind, "admitted");
  assert.equal(failed(5, START + 900 * SECOND, four).failures, 5);
  const seven = { ...failed(5, START), failures: 7 };
  const waited = failed(1, START + 3600 * SECOND, seven);
  assert.deepEqual(admitByUser(waited, SIGN_IN_BY_USER, { id: "x", nowMs: START + 3600 * SECOND }), {
    kind: "refused",
    retryAfterSeconds: 8,
  });
  assert.equal(failed(5, START + 86_400 * SECOND, seven).failures, 5);
});

test("T-LOGIN-9: a success ends the series, whatever else is open", () => {
  const four = failed(4, START);
  const open = admitByUser(four, SIGN_IN_BY_USER, { id: "right", nowMs: START });
  assert.ok(open.kind === "admitted");
  assert.equal(admitByUser(open.tally, SIGN_IN_BY_USER, { id: "next", nowMs: START }).kind, "wait");
  const after = settleByUser(open.tally, { id: "right", nowMs: START }, "succeeded");
  assert.deepEqual({ failures: after.failures, open: after.open }, { failures: 0, open: {} });
});

test("an abandoned attempt leaves no trace, a second report of the same adds none", () => {
  const open = admitByUser(EMPTY, SIGN_IN_BY_USER, { id: "a", nowMs: START });
  assert.ok(open.kind === "admitted");
  const after = settleByUser(open.tally, { id: "a", nowMs: START }, "abandoned");
  assert.deepEqual({ failures: after.failures, open: after.open }, { failures: 0, open: {} });
});

test("T-LOGIN-4: an attempt that was never settled counts as failed, also when its tally is read much later", () => {
  let tally: Tally = EMPTY;
  for (const id of ["a", "b", "c", "d", "e"]) {
    const verdict = admitByUser(tally, SIGN_IN_BY_USER, { id, nowMs: START });
    assert.ok(verdict.kind === "admitted");
    tally = verdict.tally;
  }
  assert.equal(admitByUser(tally, SIGN_IN_BY_USER, { id: "f", nowMs: START + 9 * SECOND }).kind, "wait");
  const refused = admitByUser(tally, SIGN_IN_BY_USER, { id: "f", nowMs: START + 10 * SECOND });
  assert.deepEqual(refused, { kind: "refused", retryAfterSeconds: 1 });
  assert.ok(secondsKept(tally, SIGN_IN_BY_USER) >= SIGN_IN_BY_USER.keepSeconds);
});

test("a tally is kept as long as it says something", () => {
  assert.ok(secondsKept(EMPTY, SIGN_IN_BY_USER) <= 10);
  assert.ok(secondsKept(failed(1, START), SIGN_IN_BY_USER) >= 900);
  assert.equal(secondsKept(failed(5, START), SIGN_IN_BY_USER), 86_400);
});

test("T-LOGIN-10: an address has 20 failures in ten minutes, and a success gives its place back", () => {
  let tally: Tally = EMPTY;
  const go = (id: string, outcome: "failed" | "succeeded"): void => {
    const verdict = admitByAddress(tally, SIGN_IN_BY_ADDRESS, { id, nowMs: START });
    assert.ok(verdict.kind === "admitted", id);
    tally = settleByAddress(verdict.tally, { id, nowMs: START }, outcome);
  };
  for (let index = 0; index < 19; index += 1) go(`f${index}`, "failed");
  for (let index = 0; index < 30; index += 1) go(`s${index}`, "succeeded");
  go("last", "failed");
  const refused = admitByAddress(tally, SIGN_IN_BY_ADDRESS, { id: "x", nowMs: START + 100 * SECOND });
  assert.deepEqual(refused, { kind: "refused", retryAfterSeconds: 500 });
  assert.equal(admitByAddress(tally, SIGN_IN_BY_ADDRESS, { id: "x", nowMs: START + 600 * SECOND }).kind, "admitted");
});

test("an address has 300 sign-ins in ten minutes, right ones too", () => {
  let tally: Tally = EMPTY;
  for (let index = 0; index < 300; index += 1) {
    const attempt = { id: `s${index}`, nowMs: START };
    const verdict = admitByAddress(tally, SIGN_IN_BY_ADDRESS, attempt);
    assert.ok(verdict.kind === "admitted");
    tally = settleByAddress(verdict.tally, attempt, "succeeded");
  }
  assert.equal(admitByAddress(tally, SIGN_IN_BY_ADDRESS, { id: "x", nowMs: START }).kind, "refused");
});

test("an address whose places are all being hashed waits", () => {
  let tally: Tally = EMPTY;
  for (let index = 0; index < 20; index += 1) {
    const verdict = admitByAddress(tally, SIGN_IN_BY_ADDRESS, { id: `s${index}`, nowMs: START });
    assert.ok(verdict.kind === "admitted");
    tally = verdict.tally;
  }
  assert.equal(admitByAddress(tally, SIGN_IN_BY_ADDRESS, { id: "x", nowMs: START }).kind, "wait");
});

test("a window takes its number, then tells how long it lasts", () => {
  let tally: Tally = EMPTY;
  for (let index = 0; index < 10; index += 1) {
    const counted = countInWindow(tally, TEN_A_MINUTE, START + index * SECOND);
    assert.ok(counted.tally !== undefined && counted.retryAfterSeconds === undefined);
    tally = counted.tally;
  }
  assert.equal(countInWindow(tally, TEN_A_MINUTE, START + 20 * SECOND).retryAfterSeconds, 40);
  assert.equal(countInWindow(tally, TEN_A_MINUTE, START + 60 * SECOND).retryAfterSeconds, undefined);
});
