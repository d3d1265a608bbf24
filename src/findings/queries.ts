/** SQL of the findings: it only reads, a few rows each. */
import type { Queries, Row } from "../store/db.ts";

export interface WeakClient {
  readonly id: string;
  readonly name: string;
}

type Weak<More = unknown> = Row & WeakClient & More;

export async function selectPkceOptional(queries: Queries, limit: number): Promise<readonly WeakClient[]> {
  return queries.query<Weak>(
    `select id, name from clients where disabled_at is null and settings->>'isPkceOptional' = 'true'
     order by created_at, id limit $1`,
    [limit],
  );
}

/** Clients whose last secret ends soon. */
export async function selectEnding(
  queries: Queries,
  { at, before, limit }: { at: Date; before: Date; limit: number },
): Promise<readonly (WeakClient & { readonly moment: Date })[]> {
  return queries.query<Weak<{ moment: Date }>>(
    `select c.id, c.name, max(s.expires_at) as moment from client_secrets s join clients c on c.id = s.client_id
     where c.disabled_at is null and (s.expires_at is null or s.expires_at > $1)
     group by c.id having bool_and(s.expires_at is not null) and max(s.expires_at) < $2 order by 3, 1 limit $3`,
    [at, before, limit],
  );
}

/** Clients whose newest secret was made long ago. */
export async function selectOld(
  queries: Queries,
  { at, before, limit }: { at: Date; before: Date; limit: number },
): Promise<readonly (WeakClient & { readonly moment: Date })[]> {
  return queries.query<Weak<{ moment: Date }>>(
    `select c.id, c.name, max(s.created_at) as moment from client_secrets s join clients c on c.id = s.client_id
     where c.disabled_at is null and (s.expires_at is null or s.expires_at > $1)
     group by c.id having max(s.created_at) < $2 order by 3, 1 limit $3`,
    [at, before, limit],
  );
}

/** Apps of the web whose people come back over plain http. Native apps do so by the book (RFC 8252 section 7.3). */
export async function selectPlainRedirects(
  queries: Queries,
  limit: number,
): Promise<readonly (WeakClient & { readonly uri: string })[]> {
  return queries.query<Weak<{ uri: string }>>(
    `select c.id, c.name, min(uri) as uri from clients c, jsonb_array_elements_text(coalesce(c.metadata->'redirect_uris', '[]')) as uri
     where c.disabled_at is null and c.type in ('web', 'spa') and starts_with(uri, 'http://')
     group by c.id order by c.created_at, c.id limit $1`,
    [limit],
  );
}

export async function countFailedMails(queries: Queries, since: Date): Promise<number> {
  const [row] = await queries.query<{ count: number }>(
    "select count(*)::int as count from mails where state = 'failed' and created_at >= $1",
    [since],
  );
  return row?.count ?? 0;
}

/** Who can sign in. */
export async function countOwners(queries: Queries): Promise<number> {
  const [row] = await queries.query<{ count: number }>(
    `select count(*)::int as count from user_roles r join users u on u.id = r.user_id
     where r.role = 'owner' and u.disabled_at is null`,
  );
  return row?.count ?? 0;
}
