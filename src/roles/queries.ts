/** SQL of roles, of what they hold and of who holds them. */
import type { Queries, Row } from "../store/db.ts";
import type { Permission } from "./schema.ts";

export interface RoleRow {
  readonly name: string;
  readonly description: string;
  readonly isBuiltin: boolean;
  readonly permissions: readonly Permission[];
}

/** A user or a service client. */
export interface Holder {
  readonly kind: "user" | "client";
  readonly id: string;
}

/** One role of a holder at one API. */
export interface HeldRow {
  readonly role: string;
  readonly apiId: string;
  readonly scopes: readonly string[];
}

const SELECT = `
  select r.name, r.description, r.is_builtin,
    coalesce((select jsonb_agg(jsonb_build_object('identifier', p.identifier, 'scopes', p.scopes) order by p.identifier) from (
      select a.identifier, jsonb_agg(rs.scope order by s.position) as scopes
      from role_scopes rs join apis a on a.id = rs.api_id join api_scopes s on s.api_id = rs.api_id and s.scope = rs.scope
      where rs.role = r.name group by a.identifier) p), '[]') as permissions
  from roles r`;
const TABLES = {
  user: { table: "user_roles", column: "user_id", type: "uuid" },
  client: { table: "client_roles", column: "client_id", type: "text" },
} as const;

interface Raw extends Row {
  readonly name: string;
  readonly description: string;
  readonly is_builtin: boolean;
  readonly permissions: Permission[];
}

export async function selectRole(queries: Queries, name: string): Promise<RoleRow | undefined> {
  const [row] = await queries.query<Raw>(`${SELECT} where r.name = $1`, [name]);
  return row === undefined ? undefined : toRow(row);
}

/** The built-in ones first, then by name. */
export async function selectRoles(queries: Queries, limit: number): Promise<RoleRow[]> {
  const rows = await queries.query<Raw>(`${SELECT} order by r.is_builtin desc, r.name limit $1`, [limit]);
  return rows.map(toRow);
}

export async function countRoles(queries: Queries): Promise<number> {
  const [row] = await queries.query<{ count: number }>("select count(*)::int as count from roles");
  return row?.count ?? 0;
}

/** Holds the role until the transaction ends. */
export async function lockRole(tx: Queries, name: string): Promise<boolean> {
  return (await tx.query("select 1 from roles where name = $1 for update", [name])).length > 0;
}

export async function insertRole(tx: Queries, role: Pick<RoleRow, "name" | "description">): Promise<void> {
  await tx.query("insert into roles (name, description, is_builtin) values ($1, $2, false)", [
    role.name,
    role.description,
  ]);
}

export async function updateDescription(tx: Queries, name: string, description: string): Promise<void> {
  await tx.query("update roles set description = $2 where name = $1", [name, description]);
}

export async function deleteRole(tx: Queries, name: string): Promise<void> {
  await tx.query("delete from roles where name = $1", [name]);
}

export async function replacePermissions(
  tx: Queries,
  role: string,
  permissions: readonly { readonly apiId: string; readonly scopes: readonly string[] }[],
): Promise<void> {
  await tx.query("delete from role_scopes where role = $1", [role]);
  for (const { apiId, scopes } of permissions)
    await tx.query(
      "insert into role_scopes (role, api_id, scope) select $1, $2::uuid, scope from unnest($3::text[]) as scope",
      [role, apiId, scopes],
    );
}

/** The APIs of these identifiers with their scopes, held against change until the transaction ends. */
export async function lockApis(
  tx: Queries,
  identifiers: readonly string[],
): Promise<{ id: string; identifier: string; scopes: string[] }[]> {
  await tx.query("select 1 from apis where identifier = any ($1) order by id for share", [identifiers]);
  return tx.query<{ id: string; identifier: string; scopes: string[] }>(
    `select a.id, a.identifier, array(select s.scope from api_scopes s where s.api_id = a.id order by s.position) as scopes
     from apis a where a.identifier = any ($1)`,
    [identifiers],
  );
}

/** Locks the holder; what is undefined does not exist. The type is a client's. */
export async function lockHolder(tx: Queries, { kind, id }: Holder): Promise<{ type: string } | undefined> {
  const statement =
    kind === "user"
      ? "select 'user' as type from users where id = $1 for update"
      : "select type from clients where id = $1 for update";
  const [row] = await tx.query<{ type: string }>(statement, [id]);
  return row;
}

export async function selectNames(queries: Queries, { kind, id }: Holder): Promise<string[]> {
  const { table, column } = TABLES[kind];
  const rows = await queries.query<{ role: string }>(`select role from ${table} where ${column} = $1 order by role`, [
    id,
  ]);
  return rows.map(({ role }) => role);
}

/** False: the holder had it already. */
export async function insertHolding(tx: Queries, { kind, id }: Holder, role: string, at: Date): Promise<boolean> {
  const { table, column } = TABLES[kind];
  const rows = await tx.query(
    `insert into ${table} (${column}, role, granted_at) values ($1, $2, $3) on conflict do nothing returning 1`,
    [id, role, at],
  );
  return rows.length > 0;
}

/** False: the holder did not have it. */
export async function deleteHolding(tx: Queries, { kind, id }: Holder, role: string): Promise<boolean> {
  const { table, column } = TABLES[kind];
  return (await tx.query(`delete from ${table} where ${column} = $1 and role = $2 returning 1`, [id, role])).length > 0;
}

/** What the holder's roles hold, all of it. */
export async function selectHeld(queries: Queries, { kind, id }: Holder): Promise<HeldRow[]> {
  const { table, column, type } = TABLES[kind];
  const rows = await queries.query<{ role: string; api_id: string; scopes: string[] }>(
    `select h.role, rs.api_id, array_agg(rs.scope) as scopes
     from ${table} h join role_scopes rs on rs.role = h.role where h.${column} = $1::${type}
     group by h.role, rs.api_id order by h.role, rs.api_id`,
    [id],
  );
  return rows.map((row) => ({ role: row.role, apiId: row.api_id, scopes: row.scopes }));
}

/** So many hold it. */
export async function countHolders(queries: Queries, role: string): Promise<number> {
  const [row] = await queries.query<{ count: number }>(
    `select ((select count(*) from user_roles where role = $1) + (select count(*) from client_roles where role = $1))::int as count`,
    [role],
  );
  return row?.count ?? 0;
}

/** Whether somebody else is an owner and can sign in. */
export async function hasOtherOwner(tx: Queries, userId: string): Promise<boolean> {
  const rows = await tx.query(
    `select 1 from user_roles r join users u on u.id = r.user_id
     where r.role = 'owner' and u.id <> $1 and u.disabled_at is null limit 1`,
    [userId],
  );
  return rows.length > 0;
}

function toRow(raw: Raw): RoleRow {
  return { name: raw.name, description: raw.description, isBuiltin: raw.is_builtin, permissions: raw.permissions };
}
