/** Lifetimes of the expiring store: what a caller asks for becomes what an engine can take, the same for both engines. */

/** Ten years: longer than any record lives, and far from where a store's own arithmetic overflows. */
const LIFETIME_SECONDS_MAX = 315_360_000;

/**
 * Whole seconds from 1 on. A clock that was set back, or a record that ended on its way here, may ask for zero or less:
 * it lives one second, since a store takes no such lifetime and a record without an end must not exist (T-REL-19).
 */
export function lifetimeSeconds(ttlSeconds: number): number {
  if (!Number.isFinite(ttlSeconds)) throw new Error("a record of the expiring store needs a lifetime");
  return Math.min(Math.max(Math.ceil(ttlSeconds), 1), LIFETIME_SECONDS_MAX);
}
