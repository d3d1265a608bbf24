/** Public keys that a client registers for private_key_jwt: which kinds and sizes are strong enough, and cheap enough to verify. */
import { createPublicKey, type JsonWebKey, type KeyObject } from "node:crypto";
import type { PublicJwk } from "./schema.ts";

const RSA_BITS_MIN = 2048;
/** A larger modulus makes every request of this client slow for everybody. */
const RSA_BITS_MAX = 8192;
/** 65537 in practice. An exponent of 1 verifies anything, a long one costs as much as a private operation. */
const RSA_EXPONENT_MIN = 3n;
const RSA_EXPONENT_MAX = 0xffff_ffffn;
const CURVES: Readonly<Record<string, readonly string[]>> = { EC: ["P-256", "P-384", "P-521"], OKP: ["Ed25519"] };

/** What is wrong with a public key, as the end of a sentence; undefined when it may be registered. RFC 7518 section 6, RFC 8037. */
export function publicKeyFault(jwk: PublicJwk): string | undefined {
  const curves = CURVES[jwk.kty];
  if (curves !== undefined && !curves.includes(jwk.crv ?? "")) return `has another curve than ${curves.join(", ")}`;
  const key = importKey(jwk);
  if (key === undefined) return "is not a valid key of its kind";
  return jwk.kty === "RSA" ? rsaFault(key) : undefined;
}

function rsaFault(key: KeyObject): string | undefined {
  const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (modulusLength < RSA_BITS_MIN || modulusLength > RSA_BITS_MAX) {
    return `has ${modulusLength} bits: RSA keys have ${RSA_BITS_MIN} to ${RSA_BITS_MAX}`;
  }
  const isFit = publicExponent >= RSA_EXPONENT_MIN && publicExponent <= RSA_EXPONENT_MAX && publicExponent % 2n === 1n;
  return isFit ? undefined : "has a public exponent that is not safe: use 65537";
}

function importKey(jwk: PublicJwk): KeyObject | undefined {
  try {
    return createPublicKey({ key: jwk as JsonWebKey, format: "jwk" });
  } catch {
    // Whatever the library dislikes about it: a point beside the curve, a missing member, other characters than base64url.
    return undefined;
  }
}
