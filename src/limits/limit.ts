/** Limits: an attempt is counted before the work, in the store that all processes share; if that is down, in this process. */
import { monotonicMs, now, sleep } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Log } from "../log.ts";
import { randomText, sha256 } from "../secrets.ts";
import { type Counters, createMemoryCounters } from "../store/counters.ts";
import { addressSubject } from "./address.ts";
import { SIGN_IN_BY_ADDRESS, SIGN_IN_BY_USER, UNSETTLED_SECONDS, type WindowRule } from "./rules.ts";
import {
  admitByAddress,
  admitByUser,
  countInWindow,
  EMPTY,
  type Outcome,
  secondsKept,
  settleByAddress,
  settleByUser,
  type Tally,
  type Verdict,
} from "./tally.ts";
import { createWatch, type OnUnusual, type Watch } from "./unusual.ts";

/** An attempt that was admitted and counted. The first report holds, later ones are ignored; without one it counts as failed after ten seconds. */
export interface Attempt {
  /** The password was right: the user's failures are forgotten, the address gets its place back. */
  succeed(): Promise<void>;
  fail(): Promise<void>;
  /** Nothing was tried (the hasher was busy): no failure, no success. */
  abandon(): Promise<void>;
}

export interface SignInSubject {
  /** The canonical form of what was typed; counted under its hash while the user is not known. */
  readonly identifier: string;
  readonly userId?: string | undefined;
  /** Of the client, any spelling. */
  readonly address: string;
  /** A browser that this user has signed in with before: its attempts are counted by themselves, so that nobody else's keep it out (T-LOGIN-7). */
  readonly device?: string | undefined;
}

export interface Limits {
  /** Call it before hashing. Throws AppError login_throttled with the seconds to wait. */
  beginSignIn(subject: SignInSubject): Promise<Attempt>;
  /** Counts one; the seconds to wait when the limit was reached before, else undefined. */
  hit(rule: WindowRule, subject: string): Promise<number | undefined>;
}

interface Room {
  readonly shared: Counters;
  readonly memory: Counters;
  readonly log: Log;
  /** Sees every outcome, on whatever path a password was tried. */
  readonly watch: Watch;
  /** One change at a time for each key: processes race for a key, calls inside one do not. */
  readonly turns: Map<string, Promise<unknown>>;
  /** Those who wait for an attempt on the key to be settled. */
  readonly waiting: Map<string, Set<() => void>>;
  downUntilMs: number;
}

interface Subject {
  readonly key: string;
  ttlSeconds(tally: Tally): number;
  admit(tally: Tally, attempt: { id: string; nowMs: number }): Verdict;
  settle(tally: Tally, attempt: { id: string; nowMs: number }, outcome: Outcome): Tally;
}

/** An attempt that finds the limit full of attempts still being hashed waits so long for them. */
const WAIT_MS = 3000;
/** Reports of this process wake those who wait; what other processes report is seen by looking again. */
const LOOK_AGAIN_MS = 200;
/** As many as may wait for a hash. */
const WAITING_MAX = 50;
/** More lost races in a row than an honest rush brings. */
const SWAPS_MAX = 40;
const SWAP_PAUSE_MS_MAX = 10;
/** While the shared store is down it is asked again this often, and not by every request. */
const DOWN_MS = 2000;

export function createLimits(options: { counters: Counters; log: Log; onUnusual?: OnUnusual }): Limits {
  const hit: Limits["hit"] = (rule, subject) =>
    change(room, { key: keyOf(rule.name, subject), ttlSeconds: () => rule.windowSeconds }, (stored) => {
      const { tally, retryAfterSeconds } = countInWindow(stored, rule, now().getTime());
      return { tally, result: retryAfterSeconds };
    });
  const room: Room = {
    watch: createWatch({ hit, log: options.log, onUnusual: options.onUnusual }),
    shared: options.counters,
    memory: createMemoryCounters(),
    log: options.log,
    turns: new Map(),
    waiting: new Map(),
    downUntilMs: 0,
  };
  return { beginSignIn: (subject) => beginSignIn(room, subject), hit };
}

async function beginSignIn(room: Room, subject: SignInSubject): Promise<Attempt> {
  const giveUpAt = monotonicMs() + WAIT_MS;
  const id = randomText(9);
  const [address, user] = [byAddress(subject), byUser(subject)];
  try {
    await admit(room, address, { id, giveUpAt });
    await admit(room, user, { id, giveUpAt }).catch(async (error: unknown) => {
      await settle(room, address, id, "abandoned");
      throw error;
    });
  } catch (error) {
    await room.watch.refused(subject);
    throw error;
  }
  let isSettled = false;
  const report = async (outcome: Outcome): Promise<void> => {
    if (isSettled) return;
    isSettled = true;
    await Promise.all([settle(room, user, id, outcome), settle(room, address, id, outcome)]);
    if (outcome !== "abandoned") await room.watch.settled(subject, outcome);
  };
  return { succeed: () => report("succeeded"), fail: () => report("failed"), abandon: () => report("abandoned") };
}

function byUser({ identifier, userId, device }: SignInSubject): Subject {
  const lane = device === undefined ? "" : `:device:${device}`;
  const subject = userId === undefined ? `identifier:${identifier}` : `user:${userId}${lane}`;
  return {
    key: keyOf(SIGN_IN_BY_USER.name, subject),
    ttlSeconds: (tally) => secondsKept(tally, SIGN_IN_BY_USER),
    admit: (tally, attempt) => admitByUser(tally, SIGN_IN_BY_USER, attempt),
    settle: settleByUser,
  };
}

function byAddress({ address }: SignInSubject): Subject {
  return {
    key: keyOf(SIGN_IN_BY_ADDRESS.name, addressSubject(address)),
    ttlSeconds: () => SIGN_IN_BY_ADDRESS.windowSeconds + UNSETTLED_SECONDS,
    admit: (tally, attempt) => admitByAddress(tally, SIGN_IN_BY_ADDRESS, attempt),
    settle: settleByAddress,
  };
}

/** A store's key says neither who signed in nor from where. */
function keyOf(rule: string, subject: string): string {
  return `${rule}:${sha256(subject)}`;
}

async function admit(room: Room, subject: Subject, call: { id: string; giveUpAt: number }): Promise<void> {
  for (;;) {
    const verdict = await change(room, subject, (stored) => {
      const found = subject.admit(stored, { id: call.id, nowMs: now().getTime() });
      return { tally: found.kind === "admitted" ? found.tally : undefined, result: found };
    });
    if (verdict.kind === "admitted") return;
    if (verdict.kind === "refused") throw throttled(verdict.retryAfterSeconds);
    if (monotonicMs() >= call.giveUpAt) throw throttled(1);
    await settledOrLater(room, subject.key);
  }
}

async function settle(room: Room, subject: Subject, id: string, outcome: Outcome): Promise<void> {
  try {
    await change(room, subject, (stored) => {
      const tally = subject.settle(stored, { id, nowMs: now().getTime() }, outcome);
      return { tally, result: undefined };
    });
  } catch (error) {
    // It stays open and will count as failed; the answer to the person does not depend on it.
    room.log.warn("the outcome of a sign-in was not counted", { error: error instanceof Error ? error.message : "" });
  }
  for (const wake of room.waiting.get(subject.key) ?? []) wake();
}

/** Waits until an attempt on the key is settled here, or it is time to look again. */
async function settledOrLater(room: Room, key: string): Promise<void> {
  const waiting = room.waiting.get(key) ?? new Set();
  if (waiting.size >= WAITING_MAX) throw throttled(1);
  const woken = new AbortController();
  const wake = (): void => woken.abort();
  room.waiting.set(key, waiting.add(wake));
  await sleep(LOOK_AGAIN_MS, woken.signal);
  waiting.delete(wake);
  if (waiting.size === 0 && room.waiting.get(key) === waiting) room.waiting.delete(key);
}

interface Step<T> {
  /** Undefined: nothing is to be written. */
  readonly tally: Tally | undefined;
  readonly result: T;
}

/** Reads, decides, and writes if nobody else wrote meanwhile; if so, decides again. */
function change<T>(
  room: Room,
  { key, ttlSeconds }: Pick<Subject, "key" | "ttlSeconds">,
  step: (stored: Tally) => Step<T>,
): Promise<T> {
  return inTurn(room, key, () =>
    withCounters(room, async (counters) => {
      for (let tries = 0; tries < SWAPS_MAX; tries += 1) {
        const current = await counters.read(key);
        const { tally, result } = step(current === undefined ? EMPTY : (JSON.parse(current) as Tally));
        if (tally === undefined) return result;
        if (await counters.swap(key, { current, next: JSON.stringify(tally) }, ttlSeconds(tally))) return result;
        await sleep(Math.min(tries, SWAP_PAUSE_MS_MAX));
      }
      throw throttled(1);
    }),
  );
}

function inTurn<T>(room: Room, key: string, work: () => Promise<T>): Promise<T> {
  const mine = (room.turns.get(key) ?? Promise.resolve()).then(work);
  const over = mine.then(
    () => undefined,
    () => undefined,
  );
  room.turns.set(key, over);
  void over.then(() => {
    if (room.turns.get(key) === over) room.turns.delete(key);
  });
  return mine;
}

/** Never open: while the shared store does not answer, this process counts for itself (T-RL-8). */
async function withCounters<T>(room: Room, work: (counters: Counters) => Promise<T>): Promise<T> {
  if (monotonicMs() >= room.downUntilMs) {
    try {
      return await work(room.shared);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== "store_unavailable") throw error;
      room.downUntilMs = monotonicMs() + DOWN_MS;
      room.log.warn("limits are counted in this process: the shared store does not answer", { error: error.message });
    }
  }
  return work(room.memory);
}

function throttled(retryAfterSeconds: number): AppError {
  return new AppError("login_throttled", undefined, retryAfterSeconds);
}
