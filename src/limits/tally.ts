/** Tallies: what is remembered of one subject, and what follows from it. Pure functions of a tally and a time; where it is kept is no matter here. */
import { type AddressRule, type DelayRule, UNSETTLED_SECONDS, type WindowRule } from "./rules.ts";

export interface Tally {
  readonly failures: number;
  /** Milliseconds since 1970, 0 while there was no failure. */
  readonly failedAt: number;
  /** Everything admitted since the window began, whatever became of it. */
  readonly attempts: number;
  readonly windowAt: number;
  /** Attempts that were admitted and whose outcome is not known yet; the number is when they count as failed. */
  readonly open: Readonly<Record<string, number>>;
}

/** admitted: counted, go on. wait: full, but of attempts that may yet succeed. refused: come back later. */
export type Verdict =
  | { readonly kind: "admitted"; readonly tally: Tally }
  | { readonly kind: "wait" }
  | { readonly kind: "refused"; readonly retryAfterSeconds: number };

export type Outcome = "succeeded" | "failed" | "abandoned";

export const EMPTY: Tally = { failures: 0, failedAt: 0, attempts: 0, windowAt: 0, open: {} };

/** Free failures first; then one attempt at a time, each after a delay that doubles (T-LOGIN-3). */
export function admitByUser(stored: Tally, rule: DelayRule, attempt: { id: string; nowMs: number }): Verdict {
  const { id, nowMs } = attempt;
  const tally = forget(closeOverdue(stored, nowMs), rule, nowMs);
  const open = Object.keys(tally.open).length;
  if (tally.failures < rule.freeFailures) {
    if (tally.failures + open >= rule.freeFailures) return { kind: "wait" };
    return { kind: "admitted", tally: opened(tally, id, nowMs) };
  }
  const nextAt = tally.failedAt + delaySeconds(tally.failures, rule) * 1000;
  if (nowMs < nextAt) return { kind: "refused", retryAfterSeconds: secondsUntil(nextAt, nowMs) };
  return open > 0 ? { kind: "wait" } : { kind: "admitted", tally: opened(tally, id, nowMs) };
}

/** A success ends the series of failures (T-LOGIN-9). */
export function settleByUser(stored: Tally, attempt: { id: string; nowMs: number }, outcome: Outcome): Tally {
  const tally = settled(stored, attempt, outcome);
  return outcome === "succeeded" ? { ...tally, failures: 0, failedAt: 0 } : tally;
}

/** All attempts and all failures of a window that begins with the first (T-LOGIN-10). */
export function admitByAddress(stored: Tally, rule: AddressRule, attempt: { id: string; nowMs: number }): Verdict {
  const { id, nowMs } = attempt;
  const tally = inWindow(closeOverdue(stored, nowMs), rule.windowSeconds, nowMs);
  if (tally.failures >= rule.failuresMax || tally.attempts >= rule.attemptsMax) {
    return {
      kind: "refused",
      retryAfterSeconds: secondsUntil(tally.windowAt + rule.windowSeconds * 1000, nowMs),
    };
  }
  if (tally.failures + Object.keys(tally.open).length >= rule.failuresMax) return { kind: "wait" };
  return { kind: "admitted", tally: opened(tally, id, nowMs) };
}

/** A success gives back its own place and forgives nothing: one good account must not pay for guesses at others. */
export function settleByAddress(stored: Tally, attempt: { id: string; nowMs: number }, outcome: Outcome): Tally {
  return settled(stored, attempt, outcome);
}

/** Counts one; or, when the window is full, the seconds until the next and nothing to write. */
export function countInWindow(
  stored: Tally,
  rule: WindowRule,
  nowMs: number,
): { readonly tally: Tally | undefined; readonly retryAfterSeconds: number | undefined } {
  const tally = inWindow(stored, rule.windowSeconds, nowMs);
  if (tally.attempts < rule.max) {
    return { tally: { ...tally, attempts: tally.attempts + 1 }, retryAfterSeconds: undefined };
  }
  const endsAt = tally.windowAt + rule.windowSeconds * 1000;
  return { tally: undefined, retryAfterSeconds: secondsUntil(endsAt, nowMs) };
}

/** How long a user's tally is worth keeping, open attempts taken as failures. Most are of people who signed in at once: those go soon. */
export function secondsKept(tally: Tally, rule: DelayRule): number {
  const failures = tally.failures + Object.keys(tally.open).length;
  if (failures >= rule.freeFailures) return rule.keepSeconds;
  return failures > 0 ? rule.forgetSeconds + UNSETTLED_SECONDS : UNSETTLED_SECONDS;
}

/** 1, 2, 4 ... seconds from the last free failure on. */
function delaySeconds(failures: number, rule: DelayRule): number {
  const doublings = Math.min(failures - rule.freeFailures, 30);
  return Math.min(rule.delaySecondsMax, 2 ** doublings);
}

function forget(tally: Tally, rule: DelayRule, nowMs: number): Tally {
  const seconds = tally.failures < rule.freeFailures ? rule.forgetSeconds : rule.keepSeconds;
  return nowMs - tally.failedAt < seconds * 1000 ? tally : { ...tally, failures: 0, failedAt: 0 };
}

function inWindow(tally: Tally, windowSeconds: number, nowMs: number): Tally {
  const isRunning = nowMs - tally.windowAt < windowSeconds * 1000;
  return isRunning ? tally : { ...tally, failures: 0, failedAt: 0, attempts: 0, windowAt: nowMs };
}

function opened(tally: Tally, id: string, nowMs: number): Tally {
  const open = { ...tally.open, [id]: nowMs + UNSETTLED_SECONDS * 1000 };
  return { ...tally, attempts: tally.attempts + 1, open };
}

/** Also where the attempt is not open here (it began in another store): its failure counts all the same. */
function settled(stored: Tally, attempt: { id: string; nowMs: number }, outcome: Outcome): Tally {
  const { [attempt.id]: _, ...open } = stored.open;
  if (outcome !== "failed") return { ...stored, open };
  return { ...stored, open, failures: stored.failures + 1, failedAt: attempt.nowMs };
}

/** Whoever was admitted and never reported counts as failed: a crash must not make guesses free. */
function closeOverdue(tally: Tally, nowMs: number): Tally {
  const overdue = Object.values(tally.open).filter((at) => at <= nowMs);
  if (overdue.length === 0) return tally;
  const open = Object.fromEntries(Object.entries(tally.open).filter(([, at]) => at > nowMs));
  const failedAt = Math.max(tally.failedAt, ...overdue);
  return { ...tally, open, failures: tally.failures + overdue.length, failedAt };
}

function secondsUntil(moment: number, nowMs: number): number {
  return Math.max(1, Math.ceil((moment - nowMs) / 1000));
}
