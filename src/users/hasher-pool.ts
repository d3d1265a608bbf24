/** The hashing children as a pool: who waits, who works, when a call is given up, when a child is ended and started again. */
import { sleep } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { HashCall, HashReply } from "./hasher-child.ts";

/** A queue that is longer than this cannot be worked off in the time that people are asked to wait. */
const QUEUE_MAX = 50;
/** Places of their own, ahead of all others, for people on devices that they have used before: whoever floods the queue holds none of those. */
const AHEAD_MAX = 10;
/** A sign-in is answered before three seconds are over: waiting and hashing together take this, the page around them has the rest. */
const ANSWER_MS = 2500;
/** A child that has not answered one call in this time hangs; a hash takes 20 to 50 ms, and up to a second beside saturated cores. */
const HANG_MS = 2000;
/** The first call also pays for the pages that the child touches for the first time; on a busy machine an impatient end would never let one begin. */
const FIRST_CALL_MS = 20_000;
/** A child that is not ready after this time never will be. */
const READY_MS = 30_000;
/** A child that dies at once is not started in a tight loop. */
const RESTART_MS_MIN = 50;
const RESTART_MS_MAX = 5000;
const RETRY_AFTER_SECONDS = 2;

export interface Pool {
  /** Throws AppError hasher_busy: the queue is full, the time is over, or the child that worked on it died. */
  run(call: HashCall, isAhead?: boolean): Promise<HashReply>;
  queued(): number;
  close(): Promise<void>;
}

/** A child process, seen from here. */
export interface ChildHandle {
  readonly pid: number | undefined;
  send(call: HashCall): void;
  /** Ends it at once, also when it is stopped; resolves when it is gone. */
  kill(): Promise<void>;
}

export interface ChildEvents {
  onReply(reply: HashReply): void;
  onGone(reason: string): void;
}

interface Job {
  readonly call: HashCall;
  readonly settled: AbortController;
  resolve(reply: HashReply): void;
  reject(error: AppError): void;
}

interface Child {
  readonly handle: ChildHandle;
  isReady: boolean;
  hasAnswered: boolean;
  job: Job | undefined;
  /** Aborted when the child has done what it is being waited for: becoming ready, then each call. */
  awaited: AbortController;
}

interface State {
  readonly log: Log;
  readonly size: number;
  readonly start: (events: ChildEvents) => ChildHandle;
  readonly waiting: Job[];
  readonly ahead: Job[];
  readonly children: Set<Child>;
  readonly resting: AbortController;
  restartMs: number;
  isResting: boolean;
  isClosed: boolean;
}

export function createPool(options: { log: Log; size: number; start: (events: ChildEvents) => ChildHandle }): Pool {
  const state: State = {
    ...options,
    waiting: [],
    ahead: [],
    children: new Set(),
    resting: new AbortController(),
    restartMs: RESTART_MS_MIN,
    isResting: false,
    isClosed: false,
  };
  pump(state);
  return {
    run: (call, isAhead = false) => enqueue(state, call, isAhead),
    queued: () => state.ahead.length + state.waiting.length,
    async close() {
      state.isClosed = true;
      state.resting.abort();
      const children = [...state.children];
      const waiting = [...state.ahead.splice(0), ...state.waiting.splice(0)];
      const jobs = [...waiting, ...children.flatMap((child) => child.job ?? [])];
      for (const job of jobs) refuse(job, "the hasher is closed");
      for (const child of children) child.awaited.abort();
      await Promise.all(children.map((child) => child.handle.kill()));
    },
  };
}

function enqueue(state: State, call: HashCall, isAhead: boolean): Promise<HashReply> {
  const [queue, places] = isAhead ? [state.ahead, AHEAD_MAX] : [state.waiting, QUEUE_MAX];
  return new Promise((resolve, reject) => {
    const job: Job = { call, settled: new AbortController(), resolve, reject };
    if (state.isClosed) return refuse(job, "the hasher is closed");
    if (queue.length >= places) return refuse(job, "the queue is full");
    queue.push(job);
    void sleep(ANSWER_MS, job.settled.signal).then(() => {
      if (job.settled.signal.aborted) return;
      const index = queue.indexOf(job);
      if (index >= 0) queue.splice(index, 1);
      refuse(job, "no child was free in time");
    });
    pump(state);
  });
}

/** Gives waiting calls to idle children. One child is always there; more are started when calls wait and all others work. */
function pump(state: State): void {
  if (state.isClosed) return;
  for (const child of state.children) {
    if (!child.isReady || child.job !== undefined) continue;
    const job = state.ahead.shift() ?? state.waiting.shift();
    if (job === undefined) break;
    give(child, job);
  }
  const isStarting = [...state.children].some((child) => !child.isReady);
  const isWanted = state.children.size === 0 || (state.ahead.length + state.waiting.length > 0 && !isStarting);
  if (isWanted && !state.isResting && state.children.size < state.size) addChild(state);
}

function addChild(state: State): void {
  const handle = state.start({
    onReply: (reply) => take(state, child, reply),
    onGone: (reason) => lose(state, child, reason),
  });
  const child: Child = { handle, isReady: false, hasAnswered: false, job: undefined, awaited: new AbortController() };
  state.children.add(child);
  endUnlessAnswered(child, READY_MS);
}

function give(child: Child, job: Job): void {
  child.job = job;
  child.awaited = new AbortController();
  child.handle.send(job.call);
  endUnlessAnswered(child, child.hasAnswered ? HANG_MS : FIRST_CALL_MS);
}

/** The caller may have been answered earlier; the child is judged by its own time. */
function endUnlessAnswered(child: Child, milliseconds: number): void {
  const { signal } = child.awaited;
  void sleep(milliseconds, signal).then(() => {
    if (!signal.aborted) void child.handle.kill();
  });
}

function take(state: State, child: Child, reply: HashReply): void {
  child.awaited.abort();
  if (reply.kind === "ready") {
    child.isReady = true;
    state.log.debug("a hashing child is ready", { pid: child.handle.pid });
  } else {
    const { job } = child;
    child.job = undefined;
    child.hasAnswered = true;
    state.restartMs = RESTART_MS_MIN;
    if (job?.call.id === reply.id) settle(job, reply);
  }
  pump(state);
}

/** The call that the child worked on fails closed; those that wait are served by the next child if it comes in time. */
function lose(state: State, child: Child, reason: string): void {
  if (!state.children.delete(child) || state.isClosed) return;
  child.awaited.abort();
  state.log.error("a hashing child ended; another is started", { pid: child.handle.pid, reason });
  if (child.job !== undefined) refuse(child.job, "the hashing child ended");
  state.isResting = true;
  void sleep(state.restartMs, state.resting.signal).then(() => {
    state.isResting = false;
    pump(state);
  });
  state.restartMs = Math.min(state.restartMs * 2, RESTART_MS_MAX);
}

function settle(job: Job, reply: HashReply): void {
  job.settled.abort();
  job.resolve(reply);
}

function refuse(job: Job, reason: string): void {
  job.settled.abort();
  job.reject(new AppError("hasher_busy", reason, RETRY_AFTER_SECONDS));
}
