/** SQL of the consents. */
import type { Queries } from "../store/db.ts";
import type { Consent, GivenConsent } from "./consent.ts";

export async function selectConsents(
  queries: Queries,
  who: { userId: string; clientId: string },
): Promise<readonly Consent[]> {
  return queries.query<{ resource: string; granted: string[]; refused: string[] }>(
    "select resource, granted, refused from consents where user_id = $1 and client_id = $2 order by resource",
    [who.userId, who.clientId],
  );
}

/** Adds to what was granted; the newest decision about a scope is the one that counts. Two tabs at once: the row lock of the conflict merges both. */
export async function upsertConsent(
  tx: Queries,
  who: { userId: string; clientId: string },
  decision: Consent,
  at: Date,
): Promise<void> {
  await tx.query(
    `insert into consents as kept (user_id, client_id, resource, granted, refused, created_at, updated_at)
     values ($1, $2, $3, $4, $5, $6, $6)
     on conflict (user_id, client_id, resource) do update set
       granted = array(select unnest(kept.granted) except select unnest(excluded.refused) union select unnest(excluded.granted)),
       refused = array(select unnest(kept.refused) except select unnest(excluded.granted) union select unnest(excluded.refused)),
       updated_at = excluded.updated_at`,
    [who.userId, who.clientId, decision.resource, decision.granted, decision.refused, at],
  );
}

export async function selectOfUser(queries: Queries, userId: string, limit: number): Promise<readonly GivenConsent[]> {
  const rows = await queries.query<{
    client_id: string;
    resource: string;
    granted: string[];
    refused: string[];
    created_at: Date;
    updated_at: Date;
  }>(
    `select client_id, resource, granted, refused, created_at, updated_at from consents where user_id = $1
     order by updated_at desc, client_id, resource limit $2`,
    [userId, limit],
  );
  return rows.map(({ client_id, created_at, updated_at, ...row }) => ({
    ...row,
    clientId: client_id,
    createdAt: created_at,
    updatedAt: updated_at,
  }));
}

export async function deleteConsents(tx: Queries, who: { userId: string; clientId: string }): Promise<void> {
  await tx.query("delete from consents where user_id = $1 and client_id = $2", [who.userId, who.clientId]);
}

export async function deleteOfUser(tx: Queries, userId: string): Promise<void> {
  await tx.query("delete from consents where user_id = $1", [userId]);
}
