/** SQL of the set-up links. */
import type { Queries } from "../store/db.ts";

/** The newest link is the only one: an older one that was printed somewhere dies with it. */
export async function replaceSetupLink(
  tx: Queries,
  link: { tokenHash: string; createdAt: Date; expiresAt: Date },
): Promise<void> {
  await tx.query("delete from setup_links");
  await tx.query("insert into setup_links (token_hash, created_at, expires_at) values ($1, $2, $3)", [
    link.tokenHash,
    link.createdAt,
    link.expiresAt,
  ]);
}

export async function hasSetupLink(queries: Queries, tokenHash: string, at: Date): Promise<boolean> {
  const rows = await queries.query("select 1 from setup_links where token_hash = $1 and expires_at > $2", [
    tokenHash,
    at,
  ]);
  return rows.length > 0;
}

/** Uses the link up; of two at once one gets it. */
export async function takeSetupLink(tx: Queries, tokenHash: string, at: Date): Promise<boolean> {
  const rows = await tx.query(
    "delete from setup_links where token_hash = $1 and expires_at > $2 returning token_hash",
    [tokenHash, at],
  );
  return rows.length > 0;
}
