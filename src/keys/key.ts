/** Signing keys: how one is made, named, sealed and opened. All instances on one database use the same ones. */
import { createPrivateKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { calculateJwkThumbprint, type JWK } from "jose";
import { type Vault, VaultError } from "../vault.ts";
import type { SigningKeyRow } from "./queries.ts";

/** One key signs per algorithm: ID tokens default to RS256 because standard clients expect it, access tokens are ES256, a client may choose EdDSA. */
export const SIGNING_ALGORITHMS = ["RS256", "ES256", "EdDSA"] as const;
export type SigningAlgorithm = (typeof SIGNING_ALGORITHMS)[number];
/** A longer RSA key costs five times as much per signature and gives nothing that 90 days of use would need. */
const RSA_BITS = 2048;

export interface SigningKey {
  readonly kid: string;
  readonly algorithm: string;
  /** With the private members; it never leaves the process. */
  readonly privateJwk: JWK;
  readonly publicJwk: JWK;
}

/** What a new row needs of a key: its name, its public part, and its private part sealed for that row. */
export interface KeyMaterial {
  readonly kid: string;
  readonly publicJwk: Readonly<Record<string, unknown>>;
  readonly sealedPrivateJwk: string;
}

/** A new key pair. It takes a moment (RSA), so it is made before anything is locked. */
export async function makeSigningKey(algorithm: SigningAlgorithm, vault: Vault): Promise<KeyMaterial> {
  return sealKey(algorithm, await generate(algorithm), vault);
}

/** Names the key by its thumbprint (RFC 7638), so that two keys never share a kid, unless it has a name already. A name never begins like a flag. */
export async function sealKey(
  algorithm: SigningAlgorithm,
  key: KeyObject,
  vault: Vault,
  named?: string,
): Promise<KeyMaterial> {
  const whole = key.export({ format: "jwk" }) as JWK;
  const publicPart = publicPartOf(whole);
  const kid = named ?? (await calculateJwkThumbprint(publicPart)).replace(/^-/, "_");
  const more = { kid, alg: algorithm, use: "sig" };
  return {
    kid,
    publicJwk: { ...publicPart, ...more },
    sealedPrivateJwk: vault.seal(JSON.stringify({ ...whole, ...more }), signingKeyContext(kid)),
  };
}

/** Throws VaultError that names the key when SECRET_KEY does not open it; undefined for a revoked key, whose private part is gone. */
export function openSigningKey(row: SigningKeyRow, vault: Vault): SigningKey | undefined {
  if (row.sealedPrivateJwk === undefined) return undefined;
  const plain = openNamed(vault, row.sealedPrivateJwk, {
    context: signingKeyContext(row.kid),
    what: `the signing key ${row.kid} (${row.algorithm})`,
  });
  return { kid: row.kid, algorithm: row.algorithm, privateJwk: JSON.parse(plain) as JWK, publicJwk: row.publicJwk };
}

/** Opens a sealed text and says which one it was when that fails. */
export function openNamed(vault: Vault, sealed: string, of: { context: string; what: string }): string {
  try {
    return vault.open(sealed, of.context);
  } catch (error) {
    if (error instanceof VaultError) throw new VaultError(`${of.what} is ${error.message}`);
    throw error;
  }
}

/** Binds the sealed text to its row: copied into another row it does not open. */
export function signingKeyContext(kid: string): string {
  return `signing_keys:${kid}`;
}

/** The members of RFC 7518 section 6 that are public; whatever else a key holds stays behind. */
export function publicPartOf(jwk: JWK): JWK {
  const members = (["kty", "crv", "x", "y", "n", "e"] as const).flatMap((name) =>
    jwk[name] === undefined ? [] : [[name, jwk[name]] as const],
  );
  return Object.fromEntries(members) as JWK;
}

/** Through node:crypto, since Web Crypto warns of Ed25519 on Node 20. */
async function generate(algorithm: SigningAlgorithm): Promise<KeyObject> {
  const pair = promisify(generateKeyPair);
  if (algorithm === "RS256") return (await pair("rsa", { modulusLength: RSA_BITS })).privateKey;
  if (algorithm === "ES256") return (await pair("ec", { namedCurve: "P-256" })).privateKey;
  return (await pair("ed25519")).privateKey;
}

/** The private key of a JWK; throws what Node throws when it is none. */
export function privateKeyOf(jwk: JWK): KeyObject {
  return createPrivateKey({ key: jwk as Record<string, unknown>, format: "jwk" });
}
