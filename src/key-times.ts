/** Key times: how long keys are announced, sign, stay published and are kept, how each follows from the others, and which of them cannot be together. */

/** All in seconds. */
export interface KeyTimes {
  /** How long a signing key signs. */
  readonly rotationSeconds: number;
  /** How long a key is published before it signs. */
  readonly announceSeconds: number;
  /** How long a resource server may keep the JWKS (`max-age`), and once more while it cannot fetch it (`stale-if-error`). */
  readonly cacheSeconds: number;
  /** How long an instance goes on with keys that it could not confirm in the database. */
  readonly stalenessSeconds: number;
  /** By how much the clocks of instances and resource servers may differ. */
  readonly skewSeconds: number;
  /** How long a key that no longer signs still verifies ID tokens that come back as hints. */
  readonly hintSeconds: number;
  /** How long a random key (cookies, refresh tokens, forms) makes. */
  readonly secretRotationSeconds: number;
  /** No signed token lives longer. */
  readonly tokenSecondsMax: number;
}

/** "Stay signed in on this device": an ID token of the first day may end the session on the last one. */
export const LONGEST_SESSION_SECONDS = 30 * 86_400;
/** A request takes at most this long, and ends with the keys that it began with. */
const IN_FLIGHT_SECONDS = 15;
/** Notices may be lost: an instance looks by itself this many times within the staleness, so that one failed look stops nothing. */
const LOOKS_PER_STALENESS = 6;

export const KEY_TIMES: KeyTimes = {
  rotationSeconds: 90 * 86_400,
  announceSeconds: 86_400,
  cacheSeconds: 300,
  stalenessSeconds: 30,
  skewSeconds: 60,
  hintSeconds: LONGEST_SESSION_SECONDS,
  secretRotationSeconds: 30 * 86_400,
  tokenSecondsMax: 86_400,
};

/** How often an instance asks the database for its keys without having been told. */
export function pollSeconds(times: KeyTimes): number {
  return times.stalenessSeconds / LOOKS_PER_STALENESS;
}

/**
 * The shortest time of announcement: an instance publishes a new key at the latest when its old keys are stale, and a resource server
 * fetched the JWKS a moment before that, and could not fetch it again.
 */
export function announceSecondsMin(times: KeyTimes): number {
  return 2 * times.cacheSeconds + times.stalenessSeconds + times.skewSeconds;
}

/** How long a resource server may go on with a key that was revoked: a copy that could not be fetched again serves once more its time. */
export function believedSeconds(times: KeyTimes): number {
  return 2 * times.cacheSeconds + times.stalenessSeconds;
}

/** Every instance has to know a random key before one of them makes something with it. */
export function secretAnnounceSeconds(times: KeyTimes): number {
  return times.stalenessSeconds + times.skewSeconds;
}

/** How long after it stopped signing a key has to be published: an instance that missed it signs a little longer, and its last token lives. */
export function publishedSeconds(times: KeyTimes, tokenSeconds: number): number {
  return lastUseSeconds(times) + tokenSeconds + times.skewSeconds;
}

/** How long after it was replaced a random key verifies: what it made last lives `longestUseSeconds`. */
export function overlapSeconds(times: KeyTimes, longestUseSeconds: number): number {
  return lastUseSeconds(times) + longestUseSeconds + times.skewSeconds;
}

/** How long after it was replaced a key may still be used, by an instance that was not told. */
function lastUseSeconds(times: KeyTimes): number {
  return times.stalenessSeconds + IN_FLIGHT_SECONDS;
}

/** Which times cannot be together; each line names the variable to change. */
export function keyTimeFaults(times: KeyTimes): readonly string[] {
  const announceMin = announceSecondsMin(times);
  const secretMin = secretAnnounceSeconds(times);
  const rows: readonly (readonly [boolean, string])[] = [
    [
      times.announceSeconds >= announceMin,
      `KEY_ANNOUNCE_TIME is at least ${announceMin} s: twice JWKS_CACHE_TIME, KEY_STALENESS and KEY_CLOCK_SKEW together, or a resource server meets a key that it cannot know`,
    ],
    [
      times.rotationSeconds > times.announceSeconds,
      "KEY_ROTATION_PERIOD is longer than KEY_ANNOUNCE_TIME: the successor is announced while the key signs",
    ],
    [
      times.secretRotationSeconds > secretMin,
      `MAC_ROTATION_PERIOD is longer than ${secretMin} s: KEY_STALENESS and KEY_CLOCK_SKEW together`,
    ],
    [
      times.hintSeconds >= LONGEST_SESSION_SECONDS,
      "KEY_HINT_TIME is at least 30d, as long as the longest session: a person must be able to sign out with the ID token of its first day",
    ],
  ];
  return rows.filter(([isRight]) => !isRight).map(([, fault]) => fault);
}
