/** Lifetimes of what the engine makes, in seconds. */
import { LONGEST_SESSION_SECONDS } from "../key-times.ts";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;

export const CODE_SECONDS = MINUTE;
export const ACCESS_TOKEN_SECONDS = 10 * MINUTE;
export const ID_TOKEN_SECONDS = 10 * MINUTE;
export const INTERACTION_SECONDS = 10 * MINUTE;
/** A visit after this pause asks for the password; it never ends refresh tokens (decision 16). */
export const SESSION_IDLE_SECONDS = 30 * MINUTE;
export const SESSION_ABSOLUTE_SECONDS = 12 * HOUR;
/** "Stay signed in on this device": no idle limit, and this absolute one. */
export const SESSION_REMEMBERED_SECONDS = LONGEST_SESSION_SECONDS;
/** No refresh token lives longer, so a Grant and a tombstone that live as long are never missed too early. */
export const REFRESH_ABSOLUTE_MAX_SECONDS = 90 * DAY;
export const GRANT_SECONDS = REFRESH_ABSOLUTE_MAX_SECONDS;
/** Clocks of instances and clients differ; tokens are accepted, and records kept, this much longer. */
export const CLOCK_TOLERANCE_SECONDS = 15;
/** A second tab may hold the session id that was just replaced; a sign-in replaces it at once (session fixation). */
export const SESSION_ALIAS_SECONDS = 10;
/** An assertion that lives longer is refused, so that its jti need not be remembered longer (RFC 7523 section 3). */
export const ASSERTION_SECONDS_MAX = 5 * MINUTE;

/** A refresh token ends at its idle limit, and at the absolute limit of its sign-in, whichever comes first; at least one second. */
export function refreshSeconds(limits: { idleSeconds: number; absoluteSeconds: number; ageSeconds: number }): number {
  return Math.max(1, Math.min(limits.idleSeconds, limits.absoluteSeconds - limits.ageSeconds));
}
