/** SQL of the revocations. */
import type { Queries } from "../store/db.ts";
import type { Revocation } from "../store/grants.ts";

/** Where a page ended: rows are read in the order in which they were written. */
export interface Place {
  readonly writtenAt: Date;
  readonly kind: string;
  readonly key: string;
}

/** Written again, the later moments stand. */
export async function upsertRevocation(queries: Queries, revocation: Revocation, writtenAt: Date): Promise<void> {
  await queries.query(
    `insert into revocations as kept (kind, key, before, written_at, expires_at) values ($1, $2, $3, $4, $5)
     on conflict (kind, key) do update set
       before = greatest(kept.before, excluded.before),
       written_at = greatest(kept.written_at, excluded.written_at),
       expires_at = greatest(kept.expires_at, excluded.expires_at)`,
    [revocation.kind, revocation.key, new Date(revocation.beforeMs), writtenAt, new Date(revocation.expiresAtMs)],
  );
}

/** Those that have not ended at that moment. */
export async function selectRevocations(
  queries: Queries,
  page: { readonly after: Place; readonly at: Date; readonly limit: number },
): Promise<readonly (Revocation & Place)[]> {
  const rows = await queries.query<{
    kind: Revocation["kind"];
    key: string;
    before: Date;
    written_at: Date;
    expires_at: Date;
  }>(
    `select kind, key, before, written_at, expires_at from revocations
     where (written_at, kind, key) > ($1, $2, $3) and expires_at > $4
     order by written_at, kind, key limit $5`,
    [page.after.writtenAt, page.after.kind, page.after.key, page.at, page.limit],
  );
  return rows.map((row) => ({
    kind: row.kind,
    key: row.key,
    beforeMs: row.before.getTime(),
    expiresAtMs: row.expires_at.getTime(),
    writtenAt: row.written_at,
  }));
}

/** Passes over rows that somebody holds; returns how many were removed. */
export async function deleteExpired(queries: Queries, at: Date, limit: number): Promise<number> {
  const rows = await queries.query(
    `delete from revocations where (kind, key) in (
       select kind, key from revocations where expires_at <= $1 order by expires_at limit $2 for update skip locked
     ) returning 1`,
    [at, limit],
  );
  return rows.length;
}
