/** The plan: which step of its life each key has to take at a moment. It only reads and decides; rotation.ts carries it out. */
import { secondsAfter } from "../clock.ts";
import { type KeyTimes, overlapSeconds, publishedSeconds, secretAnnounceSeconds } from "../key-times.ts";
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "./key.ts";
import { type LongestUse, MAC_PURPOSES, type MacPurpose, NEVER_ROTATED } from "./mac-key.ts";
import type { KeyRows, MacKeyRow, SigningKeyRow } from "./queries.ts";

export type Step =
  /** Without `activatesAt` it signs at once: nobody can know an older key. */
  | { readonly do: "make"; readonly algorithm: SigningAlgorithm; readonly activatesAt: Date | undefined }
  | { readonly do: "activate" | "retire" | "unpublish" | "remove"; readonly key: SigningKeyRow }
  | { readonly do: "make secret"; readonly purpose: MacPurpose; readonly version: number; readonly activatesAt?: Date }
  | { readonly do: "activate secret" | "retire secret" | "remove secret"; readonly key: MacKeyRow };

export interface PlanRules {
  readonly times: KeyTimes;
  readonly longestUse: LongestUse;
}

/** In the order in which the steps have to be taken. */
export function planOf(rows: KeyRows, rules: PlanRules): readonly Step[] {
  return [
    ...SIGNING_ALGORITHMS.flatMap((algorithm) => planAlgorithm(rows, algorithm, rules.times)),
    ...rows.signing.flatMap((key) => planOldKey(key, rows.at, rules.times)),
    ...MAC_PURPOSES.flatMap((purpose) => planPurpose(rows, purpose, rules)),
  ];
}

/** When the next key of an algorithm begins to sign, as far as is known. */
export function nextRotationAt(rows: readonly SigningKeyRow[], algorithm: string, times: KeyTimes): Date | undefined {
  const own = rows.filter((key) => key.algorithm === algorithm);
  const announced = own.find(({ state }) => state === "announced");
  const active = own.find(({ state }) => state === "active");
  if (announced?.activatesAt !== undefined) return announced.activatesAt;
  return active?.activatedAt === undefined ? undefined : secondsAfter(active.activatedAt, times.rotationSeconds);
}

/** When a key that no longer signs leaves the JWKS. */
export function unpublishesAt(key: SigningKeyRow, times: KeyTimes): Date | undefined {
  return key.retiredAt === undefined
    ? undefined
    : secondsAfter(key.retiredAt, publishedSeconds(times, key.tokenSeconds));
}

/** When nothing that the key signed is of use to anybody, not even as a hint. */
export function removesAt(key: SigningKeyRow, times: KeyTimes): Date | undefined {
  if (key.retiredAt === undefined) return undefined;
  const seconds = Math.max(publishedSeconds(times, key.tokenSeconds), times.hintSeconds + times.skewSeconds);
  return secondsAfter(key.retiredAt, seconds);
}

function planAlgorithm(rows: KeyRows, algorithm: SigningAlgorithm, times: KeyTimes): readonly Step[] {
  const { at } = rows;
  const own = rows.signing.filter((key) => key.algorithm === algorithm);
  const active = own.find(({ state }) => state === "active");
  const announced = own.find(({ state }) => state === "announced");
  const inTime = secondsAfter(at, times.announceSeconds);
  if (announced !== undefined) {
    if (announced.activatesAt === undefined || announced.activatesAt > at) return [];
    return [
      ...(active === undefined ? [] : [{ do: "retire", key: active } as const]),
      { do: "activate", key: announced },
    ];
  }
  // On the very first start nobody has fetched a JWKS; later an algorithm that is new is announced like any other key.
  if (active === undefined)
    return [{ do: "make", algorithm, activatesAt: rows.signing.length === 0 ? undefined : inTime }];
  const dueAt = secondsAfter(active.activatedAt ?? active.createdAt, times.rotationSeconds - times.announceSeconds);
  return dueAt <= at ? [{ do: "make", algorithm, activatesAt: inTime }] : [];
}

function planOldKey(key: SigningKeyRow, at: Date, times: KeyTimes): readonly Step[] {
  const [unpublished, removed] = [unpublishesAt(key, times), removesAt(key, times)];
  if (key.state === "retired" && unpublished !== undefined && unpublished <= at) return [{ do: "unpublish", key }];
  if (key.state === "kept" && removed !== undefined && removed <= at) return [{ do: "remove", key }];
  return [];
}

function planPurpose(rows: KeyRows, purpose: MacPurpose, { times, longestUse }: PlanRules): readonly Step[] {
  const { at } = rows;
  const own = rows.secrets.filter((key) => key.purpose === purpose);
  const active = own.find(({ state }) => state === "active");
  const announced = own.find(({ state }) => state === "announced");
  const version = Math.max(0, ...own.map((key) => key.version)) + 1;
  if (active === undefined && announced === undefined) return [{ do: "make secret", purpose, version }];
  if (NEVER_ROTATED.has(purpose)) return [];
  const overlap = overlapSeconds(times, longestUse[purpose]);
  const steps: Step[] = own
    .filter((key) => key.state === "retired" && key.retiredAt !== undefined)
    .filter((key) => secondsAfter(key.retiredAt ?? at, overlap) <= at)
    .map((key) => ({ do: "remove secret", key }));
  const inTime = secondsAfter(at, secretAnnounceSeconds(times));
  if (announced?.activatesAt !== undefined && announced.activatesAt <= at) {
    if (active !== undefined) steps.push({ do: "retire secret", key: active });
    steps.push({ do: "activate secret", key: announced });
  } else if (announced === undefined && active !== undefined) {
    const early = times.secretRotationSeconds - secretAnnounceSeconds(times);
    if (secondsAfter(active.activatedAt ?? active.createdAt, early) <= at)
      steps.push({ do: "make secret", purpose, version, activatesAt: inTime });
  }
  return steps;
}
