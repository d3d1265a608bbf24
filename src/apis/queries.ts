/** SQL of APIs and their scopes. */
import type { Queries } from "../store/db.ts";
import type { ApiScope } from "./scope.ts";

export interface ApiRow {
  readonly id: string;
  readonly identifier: string;
  readonly name: string;
  readonly tokenLifetimeSeconds: number;
  readonly scopes: readonly ApiScope[];
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

type Raw = {
  id: string;
  identifier: string;
  name: string;
  token_lifetime_seconds: number;
  scopes: ApiScope[];
  created_at: Date;
  updated_at: Date;
};

const SELECT = `
  select a.id, a.identifier, a.name, a.token_lifetime_seconds, a.created_at, a.updated_at,
    coalesce((select jsonb_agg(jsonb_build_object('scope', s.scope, 'description', s.description) order by s.position)
      from api_scopes s where s.api_id = a.id), '[]') as scopes
  from apis a`;

export async function selectApi(queries: Queries, identifier: string): Promise<ApiRow | undefined> {
  const [row] = await queries.query<Raw>(`${SELECT} where a.identifier = $1`, [identifier]);
  return row === undefined ? undefined : toRow(row);
}

export async function selectApiById(queries: Queries, id: string): Promise<ApiRow | undefined> {
  const [row] = await queries.query<Raw>(`${SELECT} where a.id = $1`, [id]);
  return row === undefined ? undefined : toRow(row);
}

/** By identifier. `after` is the identifier of the last API of the page before. */
export async function selectApis(
  queries: Queries,
  page: { readonly limit: number; readonly after: string | undefined; readonly query: string | undefined },
): Promise<ApiRow[]> {
  const rows = await queries.query<Raw>(
    `${SELECT}
     where ($1::text is null or a.identifier > $1)
       and ($2::text is null or strpos(lower(a.identifier), lower($2)) > 0 or strpos(lower(a.name), lower($2)) > 0)
     order by a.identifier limit $3`,
    [page.after ?? null, page.query ?? null, page.limit],
  );
  return rows.map(toRow);
}

/** Holds the API until the transaction ends; clients that are being bound to it wait, or are waited for. */
export async function lockApi(tx: Queries, id: string): Promise<boolean> {
  const rows = await tx.query("select 1 from apis where id = $1 for update", [id]);
  return rows.length > 0;
}

/** Returns the id. */
export async function insertApi(
  tx: Queries,
  api: Pick<ApiRow, "identifier" | "name" | "tokenLifetimeSeconds">,
  at: Date,
): Promise<string> {
  const [row] = await tx.query<{ id: string }>(
    `insert into apis (id, identifier, name, token_lifetime_seconds, created_at, updated_at)
     values (gen_random_uuid(), $1, $2, $3, $4, $4) returning id`,
    [api.identifier, api.name, api.tokenLifetimeSeconds, at],
  );
  if (row === undefined) throw new Error("an insert returned nothing");
  return row.id;
}

export async function updateApi(
  tx: Queries,
  api: Pick<ApiRow, "id" | "name" | "tokenLifetimeSeconds">,
  at: Date,
): Promise<void> {
  await tx.query("update apis set name = $2, token_lifetime_seconds = $3, updated_at = $4 where id = $1", [
    api.id,
    api.name,
    api.tokenLifetimeSeconds,
    at,
  ]);
}

/** Scopes that stay are kept in place: deleting one takes it from every client, which is meant only for those that go. */
export async function replaceScopes(tx: Queries, apiId: string, scopes: readonly ApiScope[]): Promise<void> {
  const names = scopes.map(({ scope }) => scope);
  const descriptions = scopes.map(({ description }) => description);
  await tx.query("delete from api_scopes where api_id = $1 and scope <> all ($2::text[])", [apiId, names]);
  await tx.query(
    `insert into api_scopes (api_id, scope, description, position)
     select $1, scope, description, position from unnest($2::text[], $3::text[]) with ordinality as s (scope, description, position)
     on conflict (api_id, scope) do update set description = excluded.description, position = excluded.position`,
    [apiId, names, descriptions],
  );
}

export async function deleteApi(tx: Queries, id: string): Promise<void> {
  await tx.query("delete from apis where id = $1", [id]);
}

/** Who may ask for the API's tokens, or is bound to it; at most `limit`, so that a list stays a list. */
export async function selectClientsOfApi(
  queries: Queries,
  id: string,
  limit: number,
): Promise<{ id: string; name: string }[]> {
  return queries.query<{ id: string; name: string }>(
    `select c.id, c.name from client_apis ca join clients c on c.id = ca.client_id
     where ca.api_id = $1 order by c.name, c.id limit $2`,
    [id, limit],
  );
}

function toRow(raw: Raw): ApiRow {
  return {
    id: raw.id,
    identifier: raw.identifier,
    name: raw.name,
    tokenLifetimeSeconds: raw.token_lifetime_seconds,
    scopes: raw.scopes,
    createdAt: raw.created_at,
    updatedAt: raw.updated_at,
  };
}
