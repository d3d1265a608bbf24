/** Signing keys: made on first start, sealed in Postgres, published as the JWKS. All instances on one database read the same ones. */
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from "jose";
import type { RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import type { Db, Queries } from "../store/db.ts";
import type { Vault } from "../vault.ts";
import { insertSigningKey, lockKeys, type SigningKeyRow, selectSigningKeys } from "./queries.ts";

/** One key per algorithm in use: ID tokens default to RS256 because standard clients expect it, access tokens to ES256. */
export const SIGNING_ALGORITHMS = ["RS256", "ES256"] as const;
/** A longer RSA key costs five times as much per signature and gives nothing that 90 days of use would need. */
const RSA_BITS = 2048;

export interface SigningKey {
  readonly kid: string;
  readonly algorithm: string;
  /** With the private members; it never leaves the process. */
  readonly privateJwk: JWK;
  readonly publicJwk: JWK;
}

/** Reads the keys, making what is missing. Two processes at once: one makes them, the other reads them. Throws VaultError when SECRET_KEY does not open one. */
export async function loadSigningKeys(options: {
  db: Db;
  vault: Vault;
  record: RecordEvent;
}): Promise<readonly SigningKey[]> {
  const known = await selectSigningKeys(options.db);
  const isComplete = SIGNING_ALGORITHMS.every((algorithm) => known.some((key) => key.algorithm === algorithm));
  const rows = isComplete ? known : await options.db.transaction((tx) => createMissing(tx, options));
  return rows.map((row) => open(row, options.vault));
}

/** Opens every key without making any. Throws VaultError when SECRET_KEY does not open one. */
export async function checkSealedKeys(options: {
  db: Db;
  vault: Vault;
}): Promise<{ count: number; isCurrent: boolean }> {
  const rows = await selectSigningKeys(options.db);
  for (const row of rows) open(row, options.vault);
  return { count: rows.length, isCurrent: rows.every((row) => options.vault.isCurrent(row.sealedPrivateJwk)) };
}

async function createMissing(
  tx: Queries,
  options: { vault: Vault; record: RecordEvent },
): Promise<readonly SigningKeyRow[]> {
  await lockKeys(tx);
  const known = await selectSigningKeys(tx);
  for (const algorithm of SIGNING_ALGORITHMS) {
    if (known.some((key) => key.algorithm === algorithm)) continue;
    const key = await createSigningKey(algorithm, options.vault);
    await insertSigningKey(tx, key);
    await options.record(tx, {
      name: "key.created",
      actor: { kind: "system" },
      subject: { kind: "key", id: key.kid },
      data: { algorithm },
    });
  }
  return selectSigningKeys(tx);
}

async function createSigningKey(algorithm: string, vault: Vault): Promise<SigningKeyRow> {
  const pair = await generateKeyPair(algorithm, { modulusLength: RSA_BITS, extractable: true });
  const publicPart = await exportJWK(pair.publicKey);
  // The thumbprint (RFC 7638) names the key, so that two keys never share a kid.
  const kid = await calculateJwkThumbprint(publicPart);
  const publicJwk = { ...publicPart, kid, alg: algorithm, use: "sig" };
  const privateJwk = { ...(await exportJWK(pair.privateKey)), kid, alg: algorithm, use: "sig" };
  return {
    kid,
    algorithm,
    publicJwk,
    sealedPrivateJwk: vault.seal(JSON.stringify(privateJwk), context(kid)),
    createdAt: now(),
  };
}

function open(row: SigningKeyRow, vault: Vault): SigningKey {
  const privateJwk = JSON.parse(vault.open(row.sealedPrivateJwk, context(row.kid))) as JWK;
  return { kid: row.kid, algorithm: row.algorithm, privateJwk, publicJwk: row.publicJwk };
}

/** Binds the sealed text to its row: copied into another row it does not open. */
function context(kid: string): string {
  return `signing_keys:${kid}`;
}
