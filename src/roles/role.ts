/** Roles: named sets of scopes of APIs that users and service clients hold. What an API's tokens carry "by role" comes from here, at the next token. */
import { changesBetween } from "../audit/changes.ts";
import type { Actor, AuditEvent, RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import { createCache } from "../store/cache.ts";
import { type Db, isUniqueViolation, type Queries } from "../store/db.ts";
import { takeLock } from "../store/locks.ts";
import type { Notices } from "../store/notices.ts";
import { quoted } from "../text.ts";
import type { HeldRow, Holder, RoleRow } from "./queries.ts";
import * as sql from "./queries.ts";
import { isRoleName, type Permission, parseRoleChange, parseRoleInput } from "./schema.ts";

export type { HeldRow as HeldRole, Holder, RoleRow as Role } from "./queries.ts";
export type { Permission } from "./schema.ts";

/** The tables tell of every change themselves (migration 007). */
const CHANNEL = "roles";
const ROLES_MAX = 500;
/** Their names together still fit into a token. */
const HELD_MAX = 20;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const CLIENT_ID = /^[A-Za-z0-9_-]{1,64}$/;

export interface Roles {
  /** Input with the wire's names (schema.ts). Throws role_invalid, role_name_taken, api_unknown. */
  create(input: unknown, by: Actor): Promise<RoleRow>;
  find(name: string): Promise<RoleRow | undefined>;
  /** All of them, the built-in ones first. */
  list(): Promise<readonly RoleRow[]>;
  /** `permissions` replaces the whole list. Throws role_unknown, role_builtin, role_invalid, api_unknown. */
  update(name: string, change: unknown, by: Actor, check?: Check): Promise<RoleRow>;
  /** Taken from all who held it; returns how many. */
  delete(name: string, by: Actor, check?: Check): Promise<number>;
  /** Returns the roles that the holder then has. Throws role_unknown, user_unknown, client_unknown, role_holder_invalid. */
  grant(holder: Holder, name: string, by: Actor): Promise<readonly string[]>;
  /** Throws the same, and user_last_owner. */
  revoke(holder: Holder, name: string, by: Actor): Promise<readonly string[]>;
  names(holder: Holder): Promise<readonly string[]>;
  /** What the holder's roles hold. From the cache: at most a second old while notices arrive, 30 s otherwise. */
  held(holder: Holder): Promise<readonly HeldRow[]>;
}

/** Looks at the role under its lock and throws to leave it as it is. */
export type Check = (before: RoleRow) => void;

interface Context {
  readonly db: Db;
  readonly notices: Notices;
  readonly record: RecordEvent;
}

export function createRoles({ db, notices, record }: Context): Roles {
  const cache = createCache<readonly HeldRow[]>({ load: (key) => sql.selectHeld(db, holderOf(key)) });
  notices.subscribe(CHANNEL, () => cache.clear());
  notices.onReconnect(() => cache.clear());
  const change = async <T>(work: (tx: Queries) => Promise<T>): Promise<T> => {
    try {
      return await db.transaction(work);
    } finally {
      // This process serves the new state at once, also when it does not know whether the commit arrived.
      cache.clear();
    }
  };
  return {
    create: (input, by) => change((tx) => create(tx, record, input, by)),
    find: async (name) => (isRoleName(name) ? sql.selectRole(db, name) : undefined),
    list: () => sql.selectRoles(db, ROLES_MAX),
    async update(name, patch, by, check) {
      const { description, permissions } = parseRoleChange(patch);
      return change(async (tx) => {
        const before = await lock(tx, name);
        check?.(before);
        if (description !== undefined) await sql.updateDescription(tx, name, description);
        if (permissions !== undefined) await sql.replacePermissions(tx, name, await resolve(tx, permissions));
        const after = await read(tx, name);
        const changes = changesBetween(presentRole(before), presentRole(after));
        await record(tx, { ...event("role.updated", by, name, { fields: Object.keys(patch as object) }), changes });
        return after;
      });
    },
    delete: async (name, by, check) =>
      change(async (tx) => {
        const before = await lock(tx, name);
        check?.(before);
        const changes = changesBetween(presentRole(before), undefined);
        const holders = await sql.countHolders(tx, name);
        await sql.deleteRole(tx, name);
        await record(tx, { ...event("role.deleted", by, name, { holders }), changes });
        return holders;
      }),
    grant: async (holder, name, by) => change((tx) => give(tx, record, { holder, name, by })),
    revoke: async (holder, name, by) => change((tx) => take(tx, record, { holder, name, by })),
    names: async (holder) => (isId(holder) ? sql.selectNames(db, holder) : []),
    held: async (holder) => (isId(holder) ? ((await cache.get(`${holder.kind}:${holder.id}`)) ?? []) : []),
  };
}

/** Which scopes of this API the roles hold. */
export function scopesAt(held: readonly HeldRow[], apiId: string): ReadonlySet<string> {
  return new Set(held.filter((row) => row.apiId === apiId).flatMap((row) => row.scopes));
}

/** The names of the roles that hold something at this API. */
export function rolesAt(held: readonly HeldRow[], apiId: string): readonly string[] {
  return [...new Set(held.filter((row) => row.apiId === apiId).map((row) => row.role))];
}

/** In the names of the wire. */
export function presentRole(role: RoleRow): Record<string, unknown> {
  const { name, description, permissions, isBuiltin } = role;
  return { name, description, permissions, ...(isBuiltin ? { builtin: true } : {}) };
}

async function create(tx: Queries, record: RecordEvent, input: unknown, by: Actor): Promise<RoleRow> {
  const { name, description = name, permissions } = parseRoleInput(input);
  if ((await sql.countRoles(tx)) >= ROLES_MAX) throw new AppError("role_invalid", `There are ${ROLES_MAX} roles.`);
  try {
    await sql.insertRole(tx, { name, description });
  } catch (error) {
    if (isUniqueViolation(error)) throw new AppError("role_name_taken", quoted(name));
    throw error;
  }
  await sql.replacePermissions(tx, name, await resolve(tx, permissions));
  const made = await read(tx, name);
  const changes = changesBetween(undefined, presentRole(made));
  await record(tx, { ...event("role.created", by, name, { permissions: permissions.flatMap(named) }), changes });
  return made;
}

interface Holding {
  readonly holder: Holder;
  readonly name: string;
  readonly by: Actor;
}

async function give(tx: Queries, record: RecordEvent, { holder, name, by }: Holding): Promise<readonly string[]> {
  const { type } = await checkHolding(tx, holder, name);
  if (holder.kind === "client" && type !== "service")
    throw new AppError(
      "role_holder_invalid",
      `A ${type} client acts for people: roles are theirs. Give them to the people.`,
    );
  if (holder.kind === "client" && name === "owner") throw new AppError("role_holder_invalid", "An owner is a person.");
  const before = await sql.selectNames(tx, holder);
  if (!before.includes(name) && before.length >= HELD_MAX)
    throw new AppError("role_holder_invalid", `Nobody holds more than ${HELD_MAX} roles.`);
  if (await sql.insertHolding(tx, holder, name, now()))
    await record(tx, holdingEvent("role.granted", by, holder, name));
  return sql.selectNames(tx, holder);
}

async function take(tx: Queries, record: RecordEvent, { holder, name, by }: Holding): Promise<readonly string[]> {
  await checkHolding(tx, holder, name);
  const isHeld = (await sql.selectNames(tx, holder)).includes(name);
  // An installation without an owner who can sign in would have no way back through its pages.
  if (isHeld && name === "owner" && !(await sql.hasOtherOwner(tx, holder.id))) throw new AppError("user_last_owner");
  if (await sql.deleteHolding(tx, holder, name)) await record(tx, holdingEvent("role.revoked", by, holder, name));
  return sql.selectNames(tx, holder);
}

/** Locks both; the owners' lock first, in the order in which the room of users takes them. */
async function checkHolding(tx: Queries, holder: Holder, name: string): Promise<{ type: string }> {
  if (!isRoleName(name)) throw new AppError("role_unknown", quoted(name));
  if (name === "owner") await takeLock(tx, "owners");
  const found = isId(holder) ? await sql.lockHolder(tx, holder) : undefined;
  if (found === undefined)
    throw new AppError(holder.kind === "user" ? "user_unknown" : "client_unknown", quoted(holder.id));
  if ((await sql.selectRole(tx, name)) === undefined) throw new AppError("role_unknown", quoted(name));
  return found;
}

/** Throws api_unknown, role_invalid. */
async function resolve(tx: Queries, permissions: readonly Permission[]) {
  const identifiers = permissions.map(({ identifier }) => identifier).filter((text) => !text.includes("\0"));
  const apis = identifiers.length === 0 ? [] : await sql.lockApis(tx, identifiers);
  return permissions.map(({ identifier, scopes }) => {
    const api = apis.find((candidate) => candidate.identifier === identifier);
    if (api === undefined) throw new AppError("api_unknown", `permissions: ${quoted(identifier)}.`);
    const unknown = scopes.find((scope) => !api.scopes.includes(scope));
    if (unknown !== undefined)
      throw new AppError("role_invalid", `permissions: ${quoted(unknown)} is not a scope of ${identifier}.`);
    return { apiId: api.id, scopes: [...new Set(scopes)] };
  });
}

async function lock(tx: Queries, name: string): Promise<RoleRow> {
  if (!isRoleName(name) || !(await sql.lockRole(tx, name))) throw new AppError("role_unknown", quoted(name));
  const role = await read(tx, name);
  if (role.isBuiltin) throw new AppError("role_builtin", name);
  return role;
}

async function read(tx: Queries, name: string): Promise<RoleRow> {
  const role = await sql.selectRole(tx, name);
  if (role === undefined) throw new Error("a role vanished inside its own transaction");
  return role;
}

function isId({ kind, id }: Holder): boolean {
  return kind === "user" ? UUID.test(id) : CLIENT_ID.test(id);
}

function holderOf(key: string): Holder {
  const [kind, id = ""] = key.split(":");
  return { kind: kind === "user" ? "user" : "client", id };
}

function named({ identifier, scopes }: Permission): readonly string[] {
  return scopes.map((scope) => `${identifier}=${scope}`);
}

function event(
  name: AuditEvent["name"],
  actor: Actor,
  role: string,
  data: NonNullable<AuditEvent["data"]>,
): AuditEvent {
  return { name, actor, subject: { kind: "role", id: role }, data };
}

function holdingEvent(
  name: "role.granted" | "role.revoked",
  actor: Actor,
  { kind, id }: Holder,
  role: string,
): AuditEvent {
  return { name, actor, subject: { kind, id }, data: { role } };
}
