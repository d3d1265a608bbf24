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
/** No refresh token lives longer. */
export const REFRESH_ABSOLUTE_MAX_SECONDS = 90 * DAY;
/** With what is left when a code is given, the Grant outlives every token that may come of it; a tombstone that lives as long is never missed too early. */
export const GRANT_SECONDS_LEFT = REFRESH_ABSOLUTE_MAX_SECONDS + HOUR;
/** A day more, so that whoever visits an app all the time has it prolonged, and written, once a day. */
export const GRANT_SECONDS = GRANT_SECONDS_LEFT + DAY;
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
