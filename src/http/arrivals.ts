/** Arrivals: how a request of the doctor arrived behind the proxy, kept under the random word that it carried until others push it out. */
import type { Arrival } from "../findings.ts";
import { randomText } from "../secrets.ts";

/** The doctor asks at once for what it sent; more than these are strangers' guesses, and push one another out. */
const KEPT_MAX = 16;
/** 128 random bits: nobody asks for another one's arrival. */
const WORD_BYTES = 16;
const WORD = /^[\w-]{22}$/;
/** What is forwarded is whatever a stranger wrote. */
const FORWARDED_CHARS_MAX = 200;
export const PROBE_HEADER = "x-signet-probe";

export interface Arrivals {
  /** Does nothing without a word of the doctor's kind. */
  note(word: string, arrival: Arrival): void;
  find(word: string): Arrival | undefined;
}

export function createArrivals(): Arrivals {
  const kept = new Map<string, Arrival>();
  return {
    note(word, arrival) {
      if (!WORD.test(word) || kept.has(word)) return;
      const oldest = kept.keys().next().value;
      if (kept.size >= KEPT_MAX && oldest !== undefined) kept.delete(oldest);
      const cut = (text: string): string => text.slice(0, FORWARDED_CHARS_MAX);
      kept.set(word, { ...arrival, scheme: cut(arrival.scheme), forwardedFor: cut(arrival.forwardedFor) });
    },
    find: (word) => kept.get(word),
  };
}

export function newProbeWord(): string {
  return randomText(WORD_BYTES);
}
