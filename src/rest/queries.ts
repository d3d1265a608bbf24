/** SQL of the requests whose answer is given again. */
import type { Queries } from "../store/db.ts";

export type RequestRow = {
  readonly key_hash: string;
  readonly request_hash: string;
  readonly status: number | null;
  readonly sealed_answer: string | null;
};

/** Takes the key for one caller at a time; undefined: somebody has it. One that has ended is taken over. */
export async function claimRequest(
  queries: Queries,
  request: { readonly keyHash: string; readonly requestHash: string; readonly at: Date; readonly until: Date },
): Promise<boolean> {
  const rows = await queries.query(
    `insert into idempotent_requests as kept (key_hash, request_hash, created_at, expires_at) values ($1, $2, $3, $4)
     on conflict (key_hash) do update set request_hash = excluded.request_hash, status = null, sealed_answer = null,
       created_at = excluded.created_at, expires_at = excluded.expires_at
     where kept.expires_at <= $3
     returning 1`,
    [request.keyHash, request.requestHash, request.at, request.until],
  );
  return rows.length > 0;
}

export async function findRequest(queries: Queries, keyHash: string): Promise<RequestRow | undefined> {
  const [row] = await queries.query<RequestRow>(
    "select key_hash, request_hash, status, sealed_answer from idempotent_requests where key_hash = $1",
    [keyHash],
  );
  return row;
}

export async function settleRequest(
  queries: Queries,
  keyHash: string,
  answer: { readonly status: number; readonly sealed: string; readonly until: Date },
): Promise<void> {
  await queries.query(
    "update idempotent_requests set status = $2, sealed_answer = $3, expires_at = $4 where key_hash = $1",
    [keyHash, answer.status, answer.sealed, answer.until],
  );
}

/** Nothing was done: the key is free again. */
export async function releaseRequest(queries: Queries, keyHash: string): Promise<void> {
  await queries.query("delete from idempotent_requests where key_hash = $1 and status is null", [keyHash]);
}

export async function deleteEndedRequests(queries: Queries, at: Date, limit: number): Promise<number> {
  const rows = await queries.query(
    `delete from idempotent_requests where key_hash in (
       select key_hash from idempotent_requests where expires_at <= $1 limit $2 for update skip locked
     ) returning 1`,
    [at, limit],
  );
  return rows.length;
}

/** For the command that seals all anew. */
export async function selectSealedAnswers(
  queries: Queries,
): Promise<readonly { readonly id: string; readonly sealed: string }[]> {
  return queries.query(
    "select key_hash as id, sealed_answer as sealed from idempotent_requests where sealed_answer is not null for update",
    [],
  );
}

export async function updateSealedAnswer(queries: Queries, id: string, sealed: string): Promise<void> {
  await queries.query("update idempotent_requests set sealed_answer = $2 where key_hash = $1", [id, sealed]);
}
