/** SQL of clients, their secrets and the APIs that they may ask for. */
import type { Queries } from "../store/db.ts";
import type { ClientMetadata, ClientSettings, ClientType } from "./metadata.ts";
import type { ClientSecret } from "./secret.ts";

export interface ClientRow {
  readonly id: string;
  readonly type: ClientType;
  readonly name: string;
  readonly metadata: ClientMetadata;
  readonly settings: Partial<ClientSettings>;
  readonly isDisabled: boolean;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly secrets: readonly ClientSecret[];
  readonly apis: readonly ClientApi[];
}

/** An API that a client may ask for, with the scopes it may ask for there. */
export interface ClientApi {
  readonly apiId: string;
  readonly identifier: string;
  readonly scopes: readonly string[];
  /** Meant when a request names no resource. */
  readonly isDefault: boolean;
}

export interface ApiRow {
  readonly id: string;
  readonly identifier: string;
  readonly scopes: readonly string[];
}

type Written = Pick<ClientRow, "id" | "name" | "metadata" | "settings">;
type Raw = {
  id: string;
  type: ClientType;
  name: string;
  metadata: ClientMetadata;
  settings: Partial<ClientSettings>;
  disabled_at: Date | null;
  created_at: Date;
  updated_at: Date;
  secrets: { id: string; hint: string; hash: string; created_at: string; expires_at: string | null }[];
  apis: { api_id: string; identifier: string; is_default: boolean; scopes: string[] }[];
};

/** Everything about a client in one statement, $1 being the time at which its secrets must live. */
const SELECT = `
  select c.id, c.type, c.name, c.metadata, c.settings, c.disabled_at, c.created_at, c.updated_at,
    coalesce((select jsonb_agg(jsonb_build_object('id', s.id, 'hint', s.hint, 'hash', s.secret_hash,
        'created_at', s.created_at, 'expires_at', s.expires_at) order by s.created_at, s.id)
      from client_secrets s where s.client_id = c.id and (s.expires_at is null or s.expires_at > $1)), '[]') as secrets,
    coalesce((select jsonb_agg(jsonb_build_object('api_id', a.id, 'identifier', a.identifier, 'is_default', ca.is_default,
        'scopes', (select coalesce(jsonb_agg(cs.scope order by s.position), '[]')
          from client_api_scopes cs join api_scopes s on s.api_id = cs.api_id and s.scope = cs.scope
          where cs.client_id = ca.client_id and cs.api_id = ca.api_id)) order by a.identifier)
      from client_apis ca join apis a on a.id = ca.api_id where ca.client_id = c.id), '[]') as apis
  from clients c`;

export async function selectClient(queries: Queries, id: string, at: Date): Promise<ClientRow | undefined> {
  const [row] = await queries.query<Raw>(`${SELECT} where c.id = $2`, [at, id]);
  return row === undefined ? undefined : toRow(row);
}

/** The oldest first. `after` is the id of the last client of the page before. */
export async function selectClients(
  queries: Queries,
  page: { readonly limit: number; readonly after: string | undefined; readonly afterAt: Date | undefined },
  at: Date,
): Promise<ClientRow[]> {
  const rows = await queries.query<Raw>(
    `${SELECT}
     where ($2::text is null or (c.created_at, c.id) > (coalesce($4::timestamptz, (select created_at from clients where id = $2)), $2))
     order by c.created_at, c.id limit $3`,
    [at, page.after ?? null, page.limit, page.afterAt ?? null],
  );
  return rows.map(toRow);
}

/** Those whose name begins so, in the order of their names: one range of one index, however many there are. `after` is the last one of the page before. */
export async function searchClients(
  queries: Queries,
  page: {
    readonly limit: number;
    readonly prefix: string;
    readonly after: { readonly id: string; readonly name: string } | undefined;
  },
  at: Date,
): Promise<ClientRow[]> {
  const pattern = `${page.prefix.replace(/[\\%_]/g, "\\$&")}%`;
  const rows = await queries.query<Raw>(
    `${SELECT}
     where lower(c.name) like lower($2)
       and ($3::text is null or (lower(c.name) ~>=~ lower($4) and (lower(c.name) ~>~ lower($4) or c.id > $3)))
     order by lower(c.name) using ~<~, c.id limit $5`,
    [at, pattern, page.after?.id ?? null, page.after?.name ?? null, page.limit],
  );
  return rows.map(toRow);
}

/** Holds the client until the transaction ends, so that two changes come one after the other. */
export async function lockClient(tx: Queries, id: string): Promise<boolean> {
  const rows = await tx.query("select 1 from clients where id = $1 for update", [id]);
  return rows.length > 0;
}

export async function insertClient(tx: Queries, client: Written & { readonly type: ClientType }, at: Date) {
  await tx.query(
    `insert into clients (id, type, name, metadata, settings, created_at, updated_at)
     values ($1, $2, $3, $4::jsonb, $5::jsonb, $6, $6)`,
    [client.id, client.type, client.name, JSON.stringify(client.metadata), JSON.stringify(client.settings), at],
  );
}

export async function updateClient(tx: Queries, client: Written, at: Date): Promise<void> {
  await tx.query(
    "update clients set name = $2, metadata = $3::jsonb, settings = $4::jsonb, updated_at = $5 where id = $1",
    [client.id, client.name, JSON.stringify(client.metadata), JSON.stringify(client.settings), at],
  );
}

export async function updateDisabled(tx: Queries, id: string, isDisabled: boolean, at: Date): Promise<void> {
  await tx.query("update clients set disabled_at = $2, updated_at = $3 where id = $1", [
    id,
    isDisabled ? at : null,
    at,
  ]);
}

export async function deleteClient(tx: Queries, id: string): Promise<void> {
  await tx.query("delete from clients where id = $1", [id]);
}

/** Returns the id of the new secret. */
export async function insertSecret(
  tx: Queries,
  clientId: string,
  secret: { readonly hash: string; readonly hint: string },
  at: Date,
): Promise<string> {
  const [row] = await tx.query<{ id: string }>(
    `insert into client_secrets (id, client_id, secret_hash, hint, created_at)
     values (gen_random_uuid(), $1, $2, $3, $4) returning id`,
    [clientId, secret.hash, secret.hint, at],
  );
  if (row === undefined) throw new Error("an insert returned nothing");
  return row.id;
}

/** Lets every secret of the client, or the one, end at that time, unless it ends sooner; those that have ended by `at` are removed. */
export async function endSecrets(
  tx: Queries,
  clientId: string,
  until: Date,
  at: Date,
  secretId: string | null = null,
): Promise<void> {
  await tx.query(
    `update client_secrets set expires_at = $2
     where client_id = $1 and (expires_at is null or expires_at > $2) and ($3::uuid is null or id = $3::uuid)`,
    [clientId, until, secretId],
  );
  await tx.query("delete from client_secrets where client_id = $1 and expires_at <= $2", [clientId, at]);
}

/** The APIs of these identifiers with their scopes, held against change until the transaction ends. */
export async function lockApis(tx: Queries, identifiers: readonly string[]): Promise<ApiRow[]> {
  // Two statements: one that waits for the lock goes on with the scopes that it saw before it waited.
  await tx.query("select 1 from apis where identifier = any ($1) order by id for share", [identifiers]);
  return tx.query<{ id: string; identifier: string; scopes: string[] }>(
    `select a.id, a.identifier,
       array(select s.scope from api_scopes s where s.api_id = a.id order by s.position) as scopes
     from apis a where a.identifier = any ($1)`,
    [identifiers],
  );
}

/** Replaces what the client may ask for. */
export async function replaceClientApis(
  tx: Queries,
  clientId: string,
  apis: readonly { readonly id: string; readonly scopes: readonly string[]; readonly isDefault: boolean }[],
): Promise<void> {
  await tx.query("delete from client_apis where client_id = $1", [clientId]);
  for (const api of apis) {
    await tx.query("insert into client_apis (client_id, api_id, is_default) values ($1, $2, $3)", [
      clientId,
      api.id,
      api.isDefault,
    ]);
    await tx.query(
      "insert into client_api_scopes (client_id, api_id, scope) select $1, $2, scope from unnest($3::text[]) as scope",
      [clientId, api.id, api.scopes],
    );
  }
}

function toRow(raw: Raw): ClientRow {
  return {
    id: raw.id,
    type: raw.type,
    name: raw.name,
    metadata: raw.metadata,
    settings: raw.settings,
    isDisabled: raw.disabled_at !== null,
    createdAt: raw.created_at,
    updatedAt: raw.updated_at,
    secrets: raw.secrets.map((secret) => ({
      id: secret.id,
      hint: secret.hint,
      hash: secret.hash,
      createdAt: new Date(secret.created_at),
      ...(secret.expires_at === null ? {} : { expiresAt: new Date(secret.expires_at) }),
    })),
    apis: raw.apis.map((api) => ({
      apiId: api.api_id,
      identifier: api.identifier,
      scopes: api.scopes,
      isDefault: api.is_default,
    })),
  };
}
