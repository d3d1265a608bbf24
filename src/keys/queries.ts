/** SQL of the signing keys and of the random keys. Private parts are sealed before they come here. */
import type { Queries } from "../store/db.ts";

/** Serialises the making of keys among instances: "signet" and "keys", read as a number. */
const LOCK_ID = 0x7369_6b79;

export interface SigningKeyRow {
  readonly kid: string;
  readonly algorithm: string;
  readonly publicJwk: Readonly<Record<string, unknown>>;
  readonly sealedPrivateJwk: string;
  readonly createdAt: Date;
}

export interface MacKeyRow {
  readonly id: string;
  readonly purpose: string;
  readonly version: number;
  readonly sealedKey: string;
}

export async function lockKeys(tx: Queries): Promise<void> {
  await tx.query("select pg_advisory_xact_lock($1)", [LOCK_ID]);
}

export async function selectSigningKeys(queries: Queries): Promise<readonly SigningKeyRow[]> {
  const rows = await queries.query<{
    kid: string;
    algorithm: string;
    public_jwk: Record<string, unknown>;
    sealed_private_jwk: string;
    created_at: Date;
  }>(
    "select kid, algorithm, public_jwk, sealed_private_jwk, created_at from signing_keys order by created_at desc, kid",
  );
  return rows.map((row) => ({
    kid: row.kid,
    algorithm: row.algorithm,
    publicJwk: row.public_jwk,
    sealedPrivateJwk: row.sealed_private_jwk,
    createdAt: row.created_at,
  }));
}

export async function insertSigningKey(tx: Queries, key: SigningKeyRow): Promise<void> {
  await tx.query(
    "insert into signing_keys (kid, algorithm, public_jwk, sealed_private_jwk, created_at) values ($1, $2, $3::jsonb, $4, $5)",
    [key.kid, key.algorithm, JSON.stringify(key.publicJwk), key.sealedPrivateJwk, key.createdAt],
  );
}

export async function selectMacKeys(queries: Queries): Promise<readonly MacKeyRow[]> {
  const rows = await queries.query<{ id: string; purpose: string; version: number; sealed_key: string }>(
    "select id, purpose, version, sealed_key from mac_keys order by purpose, version desc",
  );
  return rows.map((row) => ({ id: row.id, purpose: row.purpose, version: row.version, sealedKey: row.sealed_key }));
}

export async function insertMacKey(tx: Queries, key: MacKeyRow, createdAt: Date): Promise<void> {
  await tx.query("insert into mac_keys (id, purpose, version, sealed_key, created_at) values ($1, $2, $3, $4, $5)", [
    key.id,
    key.purpose,
    key.version,
    key.sealedKey,
    createdAt,
  ]);
}
