/** The cache in process: what was loaded serves until a notice drops it, or until it is too old to be trusted without one. */
import { monotonicMs } from "../clock.ts";

/** Decision 10: what a lost notice should have dropped is served no longer than this. */
const MAX_AGE_MS = 30_000;
const MAX_ENTRIES = 10_000;
/**
 * From a third of its age on an entry is loaded again in the background while it still serves. So an entry in use is young
 * when Postgres goes away, and lasts the longer through the outage (T-REL-8); nobody waits for the reload.
 */
const REFRESH_FRACTION = 1 / 3;
/** "There is no such thing" is remembered only briefly, and apart: a flood of made-up keys evicts nothing that is real. */
const ABSENT_AGE_MS_MAX = 5000;
const ABSENT_ENTRIES_MAX = 1000;
/** While the store is away, an entry asks for it this often at most, not with every request. */
const RETRY_MS = 1000;

export interface Cache<T> {
  /** The cached value, or the loaded one; undefined when there is none. Throws what the load throws, unless an entry young enough serves. */
  get(key: string): Promise<T | undefined>;
  drop(key: string): void;
  clear(): void;
}

export function createCache<T>(options: {
  load: (key: string) => Promise<T | undefined>;
  maxAgeMs?: number;
  maxEntries?: number;
}): Cache<T> {
  const { load, maxAgeMs = MAX_AGE_MS, maxEntries = MAX_ENTRIES } = options;
  const present = createShelf<T>(maxEntries);
  const absent = createShelf<undefined>(Math.min(maxEntries, ABSENT_ENTRIES_MAX));
  const absentAgeMs = Math.min(maxAgeMs, ABSENT_AGE_MS_MAX);
  /** One load per key. A drop forgets the running one: it may have read the state before the change, so its result is not kept. */
  const loading = new Map<string, Promise<T | undefined>>();

  const drop = (key: string): void => {
    loading.delete(key);
    present.delete(key);
    absent.delete(key);
  };
  const keep = (key: string, value: T | undefined, at: number): void => {
    drop(key);
    if (value === undefined) absent.set(key, { value: undefined, at, triedAt: at });
    else present.set(key, { value, at, triedAt: at });
  };
  const reload = (key: string): Promise<T | undefined> => {
    const known = loading.get(key);
    if (known !== undefined) return known;
    // The age counts from before the load: that is the moment of which the value is certainly true.
    const at = monotonicMs();
    const running: Promise<T | undefined> = load(key).then(
      (value) => {
        if (loading.get(key) === running) keep(key, value, at);
        return value;
      },
      (error: unknown) => {
        if (loading.get(key) === running) loading.delete(key);
        throw error;
      },
    );
    loading.set(key, running);
    return running;
  };

  return {
    async get(key) {
      const time = monotonicMs();
      const entry = present.get(key);
      if (entry !== undefined && time - entry.at < maxAgeMs) {
        if (
          time - entry.at > maxAgeMs * REFRESH_FRACTION &&
          time - entry.triedAt >= Math.min(RETRY_MS, maxAgeMs / 10)
        ) {
          entry.triedAt = time;
          // Nobody waits for this reload; if it goes on failing, the first caller whose entry is too old gets the error.
          reload(key).catch(() => undefined);
        }
        return entry.value;
      }
      const missing = absent.get(key);
      if (missing !== undefined && time - missing.at < absentAgeMs) return undefined;
      return reload(key);
    },
    drop,
    clear() {
      loading.clear();
      present.clear();
      absent.clear();
    },
  };
}

interface Entry<T> {
  readonly value: T;
  readonly at: number;
  triedAt: number;
}

/**
 * A map of at most so many entries that forgets what was not used for long. Two halves: what is used moves into the young one; when
 * that is full, it becomes the old one, and what nobody used meanwhile goes. Moving the used key to the end of one Map instead
 * would cost 30 µs a hit with 10,000 entries (measured): a Map walks over the traces of its deleted keys.
 */
function createShelf<T>(maxEntries: number) {
  const halfMax = Math.max(1, Math.floor(maxEntries / 2));
  let young = new Map<string, Entry<T>>();
  let old = new Map<string, Entry<T>>();
  const set = (key: string, entry: Entry<T>): void => {
    if (young.size >= halfMax && !young.has(key)) {
      old = young;
      young = new Map();
    }
    young.set(key, entry);
  };
  return {
    set,
    get(key: string): Entry<T> | undefined {
      const entry = young.get(key);
      if (entry !== undefined) return entry;
      const rescued = old.get(key);
      if (rescued !== undefined) set(key, rescued);
      return rescued;
    },
    delete(key: string): void {
      young.delete(key);
      old.delete(key);
    },
    clear(): void {
      young = new Map();
      old = new Map();
    },
  };
}
