/** SQL of users and their roles; imported by this room alone. */
import type { Queries } from "../store/db.ts";
import type { StandardClaims } from "./schema.ts";

/** A type, not an interface, so that it is a row for the driver too. */
export type UserRow = {
  readonly id: string;
  readonly email: string;
  readonly email_canonical: string;
  readonly email_verified: boolean;
  readonly password_hash: string | null;
  readonly claims: StandardClaims;
  readonly disabled_at: Date | null;
  readonly language: string | null;
  readonly terms: Readonly<Record<string, string>> | null;
  readonly delete_at: Date | null;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly roles: readonly string[];
};

/** What a change may write. */
export type UserColumns = Pick<UserRow, "email" | "email_canonical" | "email_verified" | "claims">;

const COLUMNS = `u.id, u.email, u.email_canonical, u.email_verified, u.password_hash, u.claims, u.disabled_at, u.language, u.terms, u.delete_at,
  u.created_at, u.updated_at, array(select r.role from user_roles r where r.user_id = u.id order by r.role) as roles`;

export async function findRow(queries: Queries, id: string): Promise<UserRow | undefined> {
  const [row] = await queries.query<UserRow>(`select ${COLUMNS} from users u where u.id = $1`, [id]);
  return row;
}

export async function findRowByEmail(queries: Queries, canonical: string): Promise<UserRow | undefined> {
  const [row] = await queries.query<UserRow>(`select ${COLUMNS} from users u where u.email_canonical = $1`, [
    canonical,
  ]);
  return row;
}

/** The row stays as it is until the transaction ends. */
export async function lockRow(tx: Queries, id: string): Promise<UserRow | undefined> {
  await tx.query("select 1 from users where id = $1 for update", [id]);
  return findRow(tx, id);
}

/** In order of creation. */
export async function selectRows(
  queries: Queries,
  filter: { limit: number; after?: { createdAt: Date; id: string } | undefined },
): Promise<UserRow[]> {
  return queries.query<UserRow>(
    `select ${COLUMNS} from users u
     where ($1::timestamptz is null or (u.created_at, u.id) > ($1::timestamptz, $2::uuid))
     order by u.created_at, u.id limit $3`,
    [filter.after?.createdAt ?? null, filter.after?.id ?? null, filter.limit],
  );
}

/** By what users are found, in this order: each has an index of its own, in the order of the signs (migrations 003 and 010). */
export const SEARCHED = ["u.email_canonical", "lower(u.claims->>'name')", "lower(u.claims->>'family_name')"] as const;
const HAS_VALUE = ["true", "u.claims->>'name' is not null", "u.claims->>'family_name' is not null"] as const;

/** Users whose value of this kind begins so, and who were not found by one before it. One range of one index, however many there are. */
export async function searchRows(
  queries: Queries,
  call: { kind: number; prefix: string; after: { key: string; id: string } | undefined; limit: number },
): Promise<(UserRow & { readonly found: string })[]> {
  const { kind, after, limit } = call;
  const pattern = `${call.prefix.replace(/[\\%_]/g, "\\$&")}%`;
  const value = SEARCHED[kind] ?? "";
  const before = SEARCHED.slice(0, kind).map((other) => `and coalesce(${other} not like lower($1), true)`);
  return queries.query<UserRow & { found: string }>(
    `select ${COLUMNS}, ${value} as found from users u
     where ${HAS_VALUE[kind]} and ${value} like lower($1) ${before.join(" ")}
       and ($2::text is null or (${value} ~>=~ $2 and (${value} ~>~ $2 or u.id > $3::uuid)))
     order by ${value} using ~<~, u.id limit $4`,
    [pattern, after?.key ?? null, after?.id ?? null, limit],
  );
}

/** Returns the id, which is random and never given to anybody else. */
export async function insertUser(
  tx: Queries,
  user: UserColumns & { readonly password_hash: string | null },
  at: Date,
): Promise<string> {
  const [row] = await tx.query<{ id: string }>(
    `insert into users (id, email, email_canonical, email_verified, password_hash, claims, created_at, updated_at)
     values (gen_random_uuid(), $1, $2, $3, $4, $5::jsonb, $6, $6) returning id`,
    [user.email, user.email_canonical, user.email_verified, user.password_hash, JSON.stringify(user.claims), at],
  );
  if (row === undefined) throw new Error("the new user has no row");
  return row.id;
}

export async function updateUser(tx: Queries, user: UserColumns & { readonly id: string }, at: Date): Promise<void> {
  await tx.query(
    `update users set email = $2, email_canonical = $3, email_verified = $4, claims = $5::jsonb, updated_at = $6
     where id = $1`,
    [user.id, user.email, user.email_canonical, user.email_verified, JSON.stringify(user.claims), at],
  );
}

export async function updateDisabled(tx: Queries, id: string, disabledAt: Date | null, at: Date): Promise<void> {
  await tx.query("update users set disabled_at = $2, updated_at = $3 where id = $1", [id, disabledAt, at]);
}

export async function updatePassword(tx: Queries, id: string, hash: string): Promise<boolean> {
  const rows = await tx.query("update users set password_hash = $2 where id = $1 returning id", [id, hash]);
  return rows.length > 0;
}

/** Only while the old hash still stands: a password that was changed meanwhile is not undone. */
export async function replaceHash(
  queries: Queries,
  id: string,
  hashes: { readonly old: string; readonly replacement: string },
): Promise<void> {
  await queries.query("update users set password_hash = $3 where id = $1 and password_hash = $2", [
    id,
    hashes.old,
    hashes.replacement,
  ]);
}

export async function insertRole(tx: Queries, id: string, role: string, at: Date): Promise<void> {
  await tx.query(
    "insert into user_roles (user_id, role, granted_at) values ($1, $2, $3) on conflict (user_id, role) do nothing",
    [id, role, at],
  );
}

export async function deleteRole(tx: Queries, id: string, role: string): Promise<void> {
  await tx.query("delete from user_roles where user_id = $1 and role = $2", [id, role]);
}

export async function hasOwnerRow(queries: Queries): Promise<boolean> {
  const [row] = await queries.query<{ exists: boolean }>(
    "select exists (select 1 from user_roles where role = 'owner') as exists",
  );
  return row?.exists === true;
}

/** Whether somebody else is an owner and can sign in. */
export async function hasOtherOwner(tx: Queries, id: string): Promise<boolean> {
  const [row] = await tx.query<{ exists: boolean }>(
    `select exists (
       select 1 from user_roles r join users u on u.id = r.user_id
       where r.role = 'owner' and u.id <> $1 and u.disabled_at is null
     ) as exists`,
    [id],
  );
  return row?.exists === true;
}

export async function countRows(queries: Queries): Promise<number> {
  const [row] = await queries.query<{ count: number }>("select count(*)::int as count from users");
  return row?.count ?? 0;
}

/** What the person chose or accepted; what is undefined stays. */
export async function updatePerson(
  tx: Queries,
  id: string,
  person: { readonly language?: string | undefined; readonly terms?: string | undefined },
): Promise<void> {
  await tx.query(
    "update users set language = coalesce($2, language), terms = coalesce($3::jsonb, terms) where id = $1",
    [id, person.language ?? null, person.terms ?? null],
  );
}

/** Whatever the person knew opens nothing any more. */
export async function clearPassword(tx: Queries, id: string): Promise<void> {
  await tx.query("update users set password_hash = null where id = $1", [id]);
}

/** Null takes the wish to be deleted back. Returns whether that changed anything. */
export async function updateDeletion(tx: Queries, id: string, deleteAt: Date | null): Promise<boolean> {
  const rows = await tx.query(
    "update users set delete_at = $2 where id = $1 and (delete_at is null) <> ($2::timestamptz is null) returning 1",
    [id, deleteAt],
  );
  return rows.length > 0;
}

export async function selectDue(queries: Queries, at: Date, limit: number): Promise<readonly { id: string }[]> {
  return queries.query<{ id: string }>("select id from users where delete_at <= $1 order by delete_at limit $2", [
    at,
    limit,
  ]);
}

/** Roles, links and devices go with the row. */
export async function deleteUser(tx: Queries, id: string): Promise<void> {
  await tx.query("delete from users where id = $1", [id]);
}

export type LinkRow = {
  readonly kind: string;
  readonly user_id: string | null;
  readonly email: string | null;
  readonly data: Readonly<Record<string, string>>;
  readonly created_at: Date;
};

const LINK_COLUMNS = "kind, user_id, email, data, created_at";

export async function insertLink(
  tx: Queries,
  link: Omit<LinkRow, "data"> & { readonly token_hash: string; readonly data: string; readonly expires_at: Date },
): Promise<void> {
  await tx.query(
    `insert into user_links (token_hash, kind, user_id, email, data, created_at, expires_at)
     values ($1, $2, $3, $4, $5::jsonb, $6, $7)`,
    [link.token_hash, link.kind, link.user_id, link.email, link.data, link.created_at, link.expires_at],
  );
}

export async function deleteLinks(tx: Queries, of: { userId: string | null; kind: string }): Promise<void> {
  await tx.query("delete from user_links where user_id = $1 and kind = $2", [of.userId, of.kind]);
}

export async function findLink(
  queries: Queries,
  link: { readonly tokenHash: string; readonly kind: string; readonly at: Date },
): Promise<LinkRow | undefined> {
  const [row] = await queries.query<LinkRow>(
    `select ${LINK_COLUMNS} from user_links where token_hash = $1 and kind = $2 and expires_at > $3`,
    [link.tokenHash, link.kind, link.at],
  );
  return row;
}

/** One caller gets it. */
export async function takeLink(
  tx: Queries,
  link: { readonly tokenHash: string; readonly kind: string; readonly at: Date },
): Promise<LinkRow | undefined> {
  const [row] = await tx.query<LinkRow>(
    `delete from user_links where token_hash = $1 and kind = $2 and expires_at > $3 returning ${LINK_COLUMNS}`,
    [link.tokenHash, link.kind, link.at],
  );
  return row;
}

export async function deleteEnded(queries: Queries, at: Date, limit: number): Promise<number> {
  const links = await queries.query(
    "delete from user_links where token_hash in (select token_hash from user_links where expires_at <= $1 limit $2) returning 1",
    [at, limit],
  );
  return links.length;
}
