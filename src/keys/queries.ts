/** SQL of the signing keys and of the random keys. Private parts are sealed before they come here. */

import type { Queries, Row } from "../store/db.ts";
import { readDatabaseClock } from "../store/postgres-facts.ts";

export type SigningKeyState = "announced" | "active" | "retired" | "kept" | "revoked";
export type MacKeyState = "announced" | "active" | "retired";

export interface SigningKeyRow {
  readonly kid: string;
  readonly algorithm: string;
  readonly publicJwk: Readonly<Record<string, unknown>>;
  /** Absent once the key was revoked. */
  readonly sealedPrivateJwk: string | undefined;
  readonly origin: "made" | "imported";
  readonly state: SigningKeyState;
  readonly createdAt: Date;
  /** Of an announced key: when it may sign, at the earliest. */
  readonly activatesAt: Date | undefined;
  readonly activatedAt: Date | undefined;
  readonly retiredAt: Date | undefined;
  readonly unpublishedAt: Date | undefined;
  readonly revokedAt: Date | undefined;
  /** The longest life of a token that the key may have signed. */
  readonly tokenSeconds: number;
}

export interface MacKeyRow {
  readonly id: string;
  readonly purpose: string;
  readonly version: number;
  readonly sealedKey: string;
  readonly state: MacKeyState;
  readonly createdAt: Date;
  readonly activatesAt: Date | undefined;
  readonly activatedAt: Date | undefined;
  readonly retiredAt: Date | undefined;
}

/** All keys at one moment; the moment is of the database's clock. */
export interface KeyRows {
  readonly at: Date;
  readonly signing: readonly SigningKeyRow[];
  readonly secrets: readonly MacKeyRow[];
}

export async function selectKeys(queries: Queries): Promise<KeyRows> {
  return {
    at: await readDatabaseClock(queries),
    signing: await selectSigningKeys(queries),
    secrets: await selectMacKeys(queries),
  };
}

async function selectSigningKeys(queries: Queries): Promise<readonly SigningKeyRow[]> {
  const rows = await queries.query<Row>(
    `select kid, algorithm, public_jwk, sealed_private_jwk, origin, state, created_at, activates_at, activated_at, retired_at,
       unpublished_at, revoked_at, token_seconds
     from signing_keys order by created_at desc, kid`,
  );
  return rows.map((row) => ({
    kid: row["kid"] as string,
    algorithm: row["algorithm"] as string,
    publicJwk: row["public_jwk"] as Record<string, unknown>,
    sealedPrivateJwk: (row["sealed_private_jwk"] as string | null) ?? undefined,
    origin: row["origin"] as SigningKeyRow["origin"],
    state: row["state"] as SigningKeyState,
    createdAt: row["created_at"] as Date,
    activatesAt: momentOf(row, "activates_at"),
    activatedAt: momentOf(row, "activated_at"),
    retiredAt: momentOf(row, "retired_at"),
    unpublishedAt: momentOf(row, "unpublished_at"),
    revokedAt: momentOf(row, "revoked_at"),
    tokenSeconds: row["token_seconds"] as number,
  }));
}

export async function insertSigningKey(tx: Queries, key: SigningKeyRow): Promise<void> {
  await tx.query(
    `insert into signing_keys (kid, algorithm, public_jwk, sealed_private_jwk, origin, state, created_at, activates_at, activated_at,
       retired_at, unpublished_at, revoked_at, token_seconds)
     values ($1, $2, $3::jsonb, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
    [
      key.kid,
      key.algorithm,
      JSON.stringify(key.publicJwk),
      key.sealedPrivateJwk ?? null,
      key.origin,
      key.state,
      key.createdAt,
      key.activatesAt ?? null,
      key.activatedAt ?? null,
      key.retiredAt ?? null,
      key.unpublishedAt ?? null,
      key.revokedAt ?? null,
      key.tokenSeconds,
    ],
  );
}

export async function activateSigningKey(tx: Queries, kid: string, at: Date): Promise<void> {
  await tx.query("update signing_keys set state = 'active', activated_at = $2 where kid = $1", [kid, at]);
}

export async function retireSigningKey(tx: Queries, kid: string, at: Date): Promise<void> {
  await tx.query("update signing_keys set state = 'retired', retired_at = $2 where kid = $1", [kid, at]);
}

export async function unpublishSigningKey(tx: Queries, kid: string, at: Date): Promise<void> {
  await tx.query("update signing_keys set state = 'kept', unpublished_at = $2 where kid = $1", [kid, at]);
}

/** The private part goes with the same statement; the public one stays, so that nobody takes the key in again. */
export async function revokeSigningKey(tx: Queries, kid: string, at: Date): Promise<void> {
  await tx.query(
    "update signing_keys set state = 'revoked', revoked_at = $2, sealed_private_jwk = null where kid = $1",
    [kid, at],
  );
}

export async function deleteSigningKey(tx: Queries, kid: string): Promise<void> {
  await tx.query("delete from signing_keys where kid = $1", [kid]);
}

/** What may sign longer-lived tokens from now on stays published that much longer; nothing is ever shortened. */
export async function raiseTokenSeconds(tx: Queries, seconds: number): Promise<void> {
  await tx.query(
    "update signing_keys set token_seconds = $1 where state in ('announced', 'active') and token_seconds < $1",
    [seconds],
  );
}

export async function updateSealedSigningKey(tx: Queries, kid: string, sealed: string): Promise<void> {
  await tx.query("update signing_keys set sealed_private_jwk = $2 where kid = $1 and state <> 'revoked'", [
    kid,
    sealed,
  ]);
}

async function selectMacKeys(queries: Queries): Promise<readonly MacKeyRow[]> {
  const rows = await queries.query<Row>(
    `select id, purpose, version, sealed_key, state, created_at, activates_at, activated_at, retired_at
     from mac_keys order by purpose, version desc`,
  );
  return rows.map((row) => ({
    id: row["id"] as string,
    purpose: row["purpose"] as string,
    version: row["version"] as number,
    sealedKey: row["sealed_key"] as string,
    state: row["state"] as MacKeyState,
    createdAt: row["created_at"] as Date,
    activatesAt: momentOf(row, "activates_at"),
    activatedAt: momentOf(row, "activated_at"),
    retiredAt: momentOf(row, "retired_at"),
  }));
}

export async function insertMacKey(tx: Queries, key: MacKeyRow): Promise<void> {
  await tx.query(
    `insert into mac_keys (id, purpose, version, sealed_key, state, created_at, activates_at, activated_at, retired_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [
      key.id,
      key.purpose,
      key.version,
      key.sealedKey,
      key.state,
      key.createdAt,
      key.activatesAt ?? null,
      key.activatedAt ?? null,
      key.retiredAt ?? null,
    ],
  );
}

export async function activateMacKey(tx: Queries, id: string, at: Date): Promise<void> {
  await tx.query("update mac_keys set state = 'active', activated_at = $2 where id = $1", [id, at]);
}

export async function retireMacKey(tx: Queries, id: string, at: Date): Promise<void> {
  await tx.query("update mac_keys set state = 'retired', retired_at = $2 where id = $1", [id, at]);
}

export async function deleteMacKey(tx: Queries, id: string): Promise<void> {
  await tx.query("delete from mac_keys where id = $1", [id]);
}

export async function updateSealedMacKey(tx: Queries, id: string, sealed: string): Promise<void> {
  await tx.query("update mac_keys set sealed_key = $2 where id = $1", [id, sealed]);
}

function momentOf(row: Row, column: string): Date | undefined {
  return (row[column] as Date | null) ?? undefined;
}
