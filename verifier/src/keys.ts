/** The issuer's keys: kept, read again when they are old or a token names one that is not there, and never because of where a token points. */
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";
import { type Fetch, type Metadata, patient, readJson } from "./remote.ts";

/** Signet announces a key longer than this before it signs. */
const FRESH_MS = 5 * 60_000;
/** An unknown `kid` makes the keys be read again this often at most, however many tokens name one. */
const UNKNOWN_KID_MS = 10_000;
/** While the issuer cannot be reached, known keys go on for so long. */
const STALE_MS_MAX = 24 * 3_600_000;

interface KeySet {
  readonly key: JWTVerifyGetKey;
  readonly readAt: number;
}

/** The keys could not be read: nothing can be said of any token. */
export class KeysUnavailable extends Error {}

export function issuerKeys(fetch: Fetch, metadata: () => Promise<Metadata>): JWTVerifyGetKey {
  let known: KeySet | undefined;
  const read = patient(async () => {
    const document = await readJson(fetch, (await metadata()).jwksUri);
    known = { key: createLocalJWKSet(document as unknown as JSONWebKeySet), readAt: Date.now() };
    return known;
  });
  const current = async (): Promise<KeySet> => {
    const age = known === undefined ? Number.POSITIVE_INFINITY : Date.now() - known.readAt;
    if (known !== undefined && age < FRESH_MS) return known;
    return read().catch((error: unknown) => {
      if (known !== undefined && age < STALE_MS_MAX) return known;
      throw new KeysUnavailable("the issuer's keys cannot be read", { cause: error });
    });
  };
  return async (header, token) => {
    const keys = await current();
    try {
      return await keys.key(header, token);
    } catch (error) {
      const mayBeNew = error instanceof errors.JWKSNoMatchingKey && Date.now() - keys.readAt >= UNKNOWN_KID_MS;
      if (!mayBeNew) throw error;
      // A failure to read says nothing new about the token: its key is not among the known ones.
      const again = await read().catch(() => keys);
      return again.key(header, token);
    }
  };
}
