/** SQL of APIs and their scopes. */
import type { Parameter, Queries } from "../store/db.ts";
import type { AccessTokenAlgorithm, TokenFormat } from "./format.ts";
import type { ApiScope } from "./scope.ts";

/** What an administrator may change; the scopes have a table of their own. */
export interface ApiSettings {
  readonly name: string;
  readonly tokenLifetimeSeconds: number;
  readonly tokenFormat: TokenFormat;
  readonly signingAlgorithm: AccessTokenAlgorithm;
  readonly allowsRefresh: boolean;
  readonly isScopedByRole: boolean;
  readonly hasRolesClaim: boolean;
}

export interface ApiRow extends ApiSettings {
  readonly id: string;
  readonly identifier: string;
  readonly isBuiltin: boolean;
  readonly scopes: readonly ApiScope[];
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

type Raw = {
  id: string;
  identifier: string;
  name: string;
  token_lifetime_seconds: number;
  token_format: TokenFormat;
  signing_alg: AccessTokenAlgorithm;
  allows_refresh: boolean;
  scopes_by_role: boolean;
  roles_claim: boolean;
  is_builtin: boolean;
  scopes: ApiScope[];
  created_at: Date;
  updated_at: Date;
};

const SELECT = `
  select a.id, a.identifier, a.name, a.token_lifetime_seconds, a.token_format, a.signing_alg, a.allows_refresh, a.scopes_by_role, a.roles_claim,
    a.is_builtin, a.created_at, a.updated_at,
    coalesce((select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('scope', s.scope, 'description', s.description,
        'descriptions', nullif(s.descriptions, '{}'))) order by s.position)
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

/** Each once. There are as many as administrators have written down. */
export async function selectScopeNames(queries: Queries): Promise<string[]> {
  const rows = await queries.query<{ scope: string }>("select distinct scope from api_scopes", []);
  return rows.map(({ scope }) => scope);
}

/** Holds the API until the transaction ends; clients that are being bound to it wait, or are waited for. */
export async function lockApi(tx: Queries, id: string): Promise<boolean> {
  const rows = await tx.query("select 1 from apis where id = $1 for update", [id]);
  return rows.length > 0;
}

/** Returns the id. */
export async function insertApi(tx: Queries, api: ApiSettings & Pick<ApiRow, "identifier">, at: Date): Promise<string> {
  const [row] = await tx.query<{ id: string }>(
    `insert into apis (id, identifier, name, token_lifetime_seconds, token_format, signing_alg, allows_refresh, scopes_by_role, roles_claim,
       created_at, updated_at)
     values (gen_random_uuid(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $9) returning id`,
    [api.identifier, ...valuesOf(api), at],
  );
  if (row === undefined) throw new Error("an insert returned nothing");
  return row.id;
}

export async function updateApi(tx: Queries, api: ApiSettings & Pick<ApiRow, "id">, at: Date): Promise<void> {
  await tx.query(
    `update apis set name = $2, token_lifetime_seconds = $3, token_format = $4, signing_alg = $5, allows_refresh = $6, scopes_by_role = $7,
       roles_claim = $8, updated_at = $9
     where id = $1`,
    [api.id, ...valuesOf(api), at],
  );
}

/** Scopes that stay are kept in place: deleting one takes it from every client, which is meant only for those that go. */
export async function replaceScopes(tx: Queries, apiId: string, scopes: readonly ApiScope[]): Promise<void> {
  const names = scopes.map(({ scope }) => scope);
  const words = scopes.map(({ description }) => description);
  const byLanguage = scopes.map(({ descriptions = {} }) => JSON.stringify(descriptions));
  await tx.query("delete from api_scopes where api_id = $1 and scope <> all ($2::text[])", [apiId, names]);
  await tx.query(
    `insert into api_scopes (api_id, scope, description, descriptions, position)
     select $1, scope, description, descriptions::jsonb, position
     from unnest($2::text[], $3::text[], $4::text[]) with ordinality as s (scope, description, descriptions, position)
     on conflict (api_id, scope) do update set
       description = excluded.description, descriptions = excluded.descriptions, position = excluded.position`,
    [apiId, names, words, byLanguage],
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

/** In the order of the columns. */
function valuesOf(api: ApiSettings): readonly Parameter[] {
  return [
    api.name,
    api.tokenLifetimeSeconds,
    api.tokenFormat,
    api.signingAlgorithm,
    api.allowsRefresh,
    api.isScopedByRole,
    api.hasRolesClaim,
  ];
}

function toRow(raw: Raw): ApiRow {
  return {
    id: raw.id,
    identifier: raw.identifier,
    name: raw.name,
    tokenLifetimeSeconds: raw.token_lifetime_seconds,
    tokenFormat: raw.token_format,
    signingAlgorithm: raw.signing_alg,
    allowsRefresh: raw.allows_refresh,
    isScopedByRole: raw.scopes_by_role,
    hasRolesClaim: raw.roles_claim,
    isBuiltin: raw.is_builtin,
    scopes: raw.scopes,
    createdAt: raw.created_at,
    updatedAt: raw.updated_at,
  };
}
