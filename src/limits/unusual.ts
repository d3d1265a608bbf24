/** What an attack looks like from here: one network at many accounts, many attempts at one account, more failures than people make. */
import type { RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import type { Log } from "../log.ts";
import { addressSubject } from "./address.ts";
import type { Limits, SignInSubject } from "./limit.ts";
import { BURST_ON_ACCOUNT, FAILURE_RATE, SPRAY_FROM_NETWORK, UNUSUAL_ONCE } from "./rules.ts";

/** spraying: of a network. burst: on an account. failure_rate: of this process as a whole. */
export type Unusual = "spraying" | "burst" | "failure_rate";

/** Called once in a window for each network, account or process. */
export type OnUnusual = (kind: Unusual, subject: SignInSubject) => Promise<void>;

export interface Watch {
  settled(subject: SignInSubject, outcome: "succeeded" | "failed"): Promise<void>;
  /** A limit was full: nothing was tried. */
  refused(subject: SignInSubject): Promise<void>;
}

interface Room {
  readonly hit: Limits["hit"];
  readonly onUnusual: OnUnusual;
  /** All sign-ins of this process in the running window. Every process sees its share, so nothing is shared: one key for all would be a queue. */
  readonly all: { attempts: number; failures: number; startedAtMs: number };
}

export function createWatch(options: { hit: Limits["hit"]; log: Log; onUnusual: OnUnusual | undefined }): Watch {
  const { log, onUnusual } = options;
  if (onUnusual === undefined) return { settled: async () => undefined, refused: async () => undefined };
  const room: Room = { hit: options.hit, onUnusual, all: { attempts: 0, failures: 0, startedAtMs: 0 } };
  // Whether the sign-in is answered never depends on whether it could be watched.
  const guarded = async (look: Promise<void>): Promise<void> =>
    look.catch((error: unknown) =>
      log.warn("a sign-in was not watched", { error: error instanceof Error ? error.message : "unknown" }),
    );
  return {
    async settled(subject, outcome) {
      countAll(room, outcome);
      if (outcome === "failed") await guarded(lookAtFailure(room, subject));
    },
    refused: (subject) => guarded(lookAtBurst(room, subject)),
  };
}

async function lookAtFailure(room: Room, subject: SignInSubject): Promise<void> {
  await lookAtBurst(room, subject);
  await lookForSpraying(room, subject);
  const { attempts, failures } = room.all;
  if (attempts < FAILURE_RATE.attemptsMin || failures / attempts <= FAILURE_RATE.shareMax) return;
  await tellOnce(room, "failure_rate", { key: "", subject });
}

async function lookAtBurst(room: Room, subject: SignInSubject): Promise<void> {
  const key = accountOf(subject);
  if ((await room.hit(BURST_ON_ACCOUNT, key)) !== undefined) await tellOnce(room, "burst", { key, subject });
}

/** An account counts once for its network: a person who mistypes ten times sprays nothing. */
async function lookForSpraying(room: Room, subject: SignInSubject): Promise<void> {
  const key = addressSubject(subject.address);
  if ((await room.hit(UNUSUAL_ONCE, `${key} ${accountOf(subject)}`)) !== undefined) return;
  if ((await room.hit(SPRAY_FROM_NETWORK, key)) !== undefined) await tellOnce(room, "spraying", { key, subject });
}

async function tellOnce(room: Room, kind: Unusual, about: { key: string; subject: SignInSubject }): Promise<void> {
  if ((await room.hit(UNUSUAL_ONCE, `${kind} ${about.key}`)) === undefined) await room.onUnusual(kind, about.subject);
}

function countAll({ all }: Room, outcome: "succeeded" | "failed"): void {
  const nowMs = now().getTime();
  if (nowMs - all.startedAtMs >= FAILURE_RATE.windowSeconds * 1000)
    Object.assign(all, { attempts: 0, failures: 0, startedAtMs: nowMs });
  all.attempts += 1;
  if (outcome === "failed") all.failures += 1;
}

/** All spellings of one account are one. */
function accountOf({ userId, identifier }: SignInSubject): string {
  return userId === undefined ? `identifier:${identifier}` : `user:${userId}`;
}

/** On the metrics, and on the trail with what is known of it. */
export function tellUnusual(parts: {
  readonly metrics: { readonly unusual: { inc(labels: { kind: Unusual }): void } };
  readonly recordAlone: (event: Parameters<RecordEvent>[1]) => Promise<void>;
}): OnUnusual {
  return async (kind, { address, userId }) => {
    parts.metrics.unusual.inc({ kind });
    await parts.recordAlone({
      name: "sign_in.unusual",
      actor: { kind: "anonymous", address },
      ...(kind === "burst" && userId !== undefined ? { subject: { kind: "user", id: userId } } : {}),
      data: { kind },
    });
  };
}
