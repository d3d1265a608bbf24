/** Client secrets: 256 random bits with a scannable prefix, shown once, kept as SHA-256; several may live while one replaces the other. */
import { secondsAfter } from "../clock.ts";
import { AppError } from "../errors.ts";
import { isEqualSecret, newSecret, sha256 } from "../secrets.ts";

export const SECRET_PREFIX = "sgn_cs";
/** The old one, the new one, and one more for a deployment that was caught half way. */
export const LIVE_SECRETS_MAX = 3;
export const OVERLAP_SECONDS = 86_400;
export const OVERLAP_SECONDS_MAX = 30 * 86_400;
/** So many last characters tell a person which secret is meant; the other 250 bits stay unknown. */
const HINT_CHARS = 4;

/** What is kept of a secret. */
export interface ClientSecret {
  readonly id: string;
  /** Its last four characters. */
  readonly hint: string;
  /** SHA-256, base64url. */
  readonly hash: string;
  readonly createdAt: Date;
  /** Absent: it lives until it is rotated. */
  readonly expiresAt?: Date | undefined;
}

/** A new secret and what is kept of it; the text itself is handed out once and forgotten. */
export function makeClientSecret(): { readonly secret: string; readonly hash: string; readonly hint: string } {
  const secret = newSecret(SECRET_PREFIX);
  return { secret, hash: sha256(secret), hint: secret.slice(-HINT_CHARS) };
}

/** Whether the text is one of the client's live secrets. All are compared, each in constant time, whatever the first one says. */
export function isClientSecret(
  client: { readonly secrets: readonly ClientSecret[] },
  presented: string,
  now: Date,
): boolean {
  const hash = sha256(presented);
  let isKnown = false;
  for (const secret of client.secrets) {
    const isLive = secret.expiresAt === undefined || secret.expiresAt > now;
    if (isEqualSecret(secret.hash, hash) && isLive) isKnown = true;
  }
  return isKnown;
}

/** What becomes of the present secrets when another is added: `until` is when they end, at the latest. Throws client_secrets_too_many, client_invalid. */
export function planRotation(
  secrets: readonly ClientSecret[],
  options: { readonly overlapSeconds: number; readonly now: Date },
): { readonly until: Date } {
  const { overlapSeconds, now } = options;
  if (!Number.isInteger(overlapSeconds) || overlapSeconds < 0 || overlapSeconds > OVERLAP_SECONDS_MAX) {
    throw new AppError("client_invalid", `overlap: it lies between 0 and ${OVERLAP_SECONDS_MAX} seconds.`);
  }
  const live = secrets.filter((secret) => secret.expiresAt === undefined || secret.expiresAt > now);
  if (overlapSeconds > 0 && live.length >= LIVE_SECRETS_MAX) {
    throw new AppError("client_secrets_too_many", "An overlap of 0 ends all the old ones at once.");
  }
  return { until: secondsAfter(now, overlapSeconds) };
}

/** When a secret ends that an administrator lets end. Throws client_invalid. */
export function planExpiry(inSeconds: number, at: Date): Date {
  if (!Number.isInteger(inSeconds) || inSeconds < 0 || inSeconds > OVERLAP_SECONDS_MAX) {
    throw new AppError("client_invalid", `expires_in: it lies between 0 and ${OVERLAP_SECONDS_MAX} seconds.`);
  }
  return secondsAfter(at, inSeconds);
}
