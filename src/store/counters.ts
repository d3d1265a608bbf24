/** Counters: small values that expire and that many processes change at once. One seam, three engines; what a value means is known in limits/. */
import { now } from "../clock.ts";

export interface Counters {
  readonly engine: "redis" | "postgres" | "memory";
  /** Undefined when there is none, or when it expired. */
  read(key: string): Promise<string | undefined>;
  /**
   * Writes `next` if the value is still `current` (undefined: there is none), atomically, to live for so many seconds.
   * False: somebody else was faster and nothing was written.
   */
  swap(
    key: string,
    values: { readonly current: string | undefined; readonly next: string },
    ttlSeconds: number,
  ): Promise<boolean>;
  /** Removes what expired, at most so many; 0 where the engine does it itself. */
  sweep(limit: number): Promise<number>;
  /** Throws AppError store_unavailable when the engine does not answer. */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** A counter is a few hundred bytes, so this is some ten megabytes. When there are more, the oldest goes. */
const MEMORY_KEYS_MAX = 50_000;

/** Of one process and gone with it: what takes over while the shared store is down, so that a limit is never simply off. */
export function createMemoryCounters(): Counters {
  const kept = new Map<string, { readonly value: string; readonly expiresAt: number }>();
  const find = (key: string): string | undefined => {
    const found = kept.get(key);
    if (found === undefined || found.expiresAt > now().getTime()) return found?.value;
    kept.delete(key);
    return undefined;
  };
  return {
    engine: "memory",
    read: async (key) => find(key),
    async swap(key, { current, next }, ttlSeconds) {
      if (find(key) !== current) return false;
      // Deleted first, so that the order of the map is the order of writing.
      kept.delete(key);
      kept.set(key, { value: next, expiresAt: now().getTime() + ttlSeconds * 1000 });
      const [oldest] = kept.keys();
      if (kept.size > MEMORY_KEYS_MAX && oldest !== undefined) kept.delete(oldest);
      return true;
    },
    async sweep(limit) {
      const expired = [...kept].filter(([, { expiresAt }]) => expiresAt <= now().getTime()).slice(0, limit);
      for (const [key] of expired) kept.delete(key);
      return expired.length;
    },
    check: async () => undefined,
    close: async () => kept.clear(),
  };
}
