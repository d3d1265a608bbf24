/** SQL of the sign-ups. */
import type { Queries } from "../store/db.ts";

export type SignUpRow = {
  readonly id: string;
  readonly email: string;
  readonly is_taken: boolean;
  readonly password_hash: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly language: string;
  readonly sealed_code: string;
  readonly code_failures: number;
  readonly browser_hash: string;
  readonly interaction_uid: string | null;
  readonly request: Readonly<Record<string, string>> | null;
  readonly terms: Readonly<Record<string, string>> | null;
  readonly user_id: string | null;
  readonly used_at: Date | null;
};

const COLUMNS = `id, email, is_taken, password_hash, claims, language, sealed_code, code_failures, browser_hash, interaction_uid, request,
  terms, user_id, used_at`;

export async function insertSignUp(
  tx: Queries,
  row: Omit<SignUpRow, "code_failures" | "user_id" | "used_at" | "claims" | "request" | "terms"> & {
    readonly email_canonical: string;
    readonly token_hash: string;
    readonly claims: string;
    readonly request: string | null;
    readonly terms: string | null;
    readonly created_at: Date;
    readonly expires_at: Date;
  },
): Promise<void> {
  await tx.query(
    `insert into sign_ups (id, email, email_canonical, is_taken, password_hash, claims, language, token_hash, sealed_code,
       browser_hash, interaction_uid, request, terms, created_at, expires_at)
     values ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11, $12::jsonb, $13::jsonb, $14, $15)`,
    [
      ...[row.id, row.email, row.email_canonical, row.is_taken, row.password_hash, row.claims, row.language],
      ...[row.token_hash, row.sealed_code, row.browser_hash, row.interaction_uid, row.request, row.terms],
      ...[row.created_at, row.expires_at],
    ],
  );
}

export async function findById(queries: Queries, id: string, at: Date): Promise<SignUpRow | undefined> {
  const [row] = await queries.query<SignUpRow>(`select ${COLUMNS} from sign_ups where id = $1 and expires_at > $2`, [
    id,
    at,
  ]);
  return row;
}

export async function findByToken(queries: Queries, tokenHash: string, at: Date): Promise<SignUpRow | undefined> {
  const [row] = await queries.query<SignUpRow>(
    `select ${COLUMNS} from sign_ups where token_hash = $1 and expires_at > $2 and not is_taken`,
    [tokenHash, at],
  );
  return row;
}

/** Counted before anything is compared, so that of many guesses at once no more than `max` are looked at. */
export async function countAttempt(queries: Queries, id: string, max: number): Promise<boolean> {
  const rows = await queries.query(
    "update sign_ups set code_failures = code_failures + 1 where id = $1 and code_failures < $2 returning 1",
    [id, max],
  );
  return rows.length > 0;
}

/** One of two at once: the other finds it proven. */
export async function markProven(tx: Queries, id: string, userId: string): Promise<boolean> {
  const rows = await tx.query("update sign_ups set user_id = $2 where id = $1 and user_id is null returning 1", [
    id,
    userId,
  ]);
  return rows.length > 0;
}

export async function markUsed(queries: Queries, id: string, at: Date): Promise<string | undefined> {
  const [row] = await queries.query<{ user_id: string }>(
    `update sign_ups set used_at = $2 where id = $1 and used_at is null and user_id is not null and expires_at > $2
     returning user_id`,
    [id, at],
  );
  return row?.user_id;
}

export async function deleteEnded(queries: Queries, at: Date, limit: number): Promise<number> {
  const rows = await queries.query(
    "delete from sign_ups where id in (select id from sign_ups where expires_at <= $1 limit $2) returning 1",
    [at, limit],
  );
  return rows.length;
}

/** The codes that are waited for, for the command that seals all anew. */
export async function selectSealed(
  queries: Queries,
): Promise<readonly { readonly id: string; readonly sealed: string }[]> {
  return queries.query("select id, sealed_code as sealed from sign_ups for update", []);
}

export async function updateSealed(queries: Queries, id: string, sealed: string): Promise<void> {
  await queries.query("update sign_ups set sealed_code = $2 where id = $1", [id, sealed]);
}
