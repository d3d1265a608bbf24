/** APIs: registered resource servers. An access token is made for one of them, with its scopes, its lifetime and in its format. */
import { changesBetween } from "../audit/changes.ts";
import type { Actor, AuditEvent, RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import { createCache } from "../store/cache.ts";
import { type Db, isUniqueViolation, type Queries } from "../store/db.ts";
import type { Notices } from "../store/notices.ts";
import { quoted } from "../text.ts";
import type { AccessTokenAlgorithm, TokenFormat } from "./format.ts";
import * as sql from "./queries.ts";
import { type ApiChange, identifierFault, parseApiChange, parseApiInput, TOKEN_LIFETIME_SECONDS } from "./schema.ts";
import type { ApiScope } from "./scope.ts";

export { type ApiAccess, grantableScopes } from "./access.ts";
export type { ApiScope } from "./scope.ts";

/** Clients cache what they may ask for at an API, so they listen to this channel too. The payload is the id. */
const CHANNEL = "apis";
const PAGE_MAX = 200;
/** So many clients are named when their API is deleted. */
const CLIENTS_NAMED_MAX = 1000;
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export interface Api {
  readonly id: string;
  /** An absolute URI (RFC 8707): the `resource` of requests and the `aud` of tokens, compared letter by letter. */
  readonly identifier: string;
  readonly name: string;
  /** 60 to 86400. */
  readonly tokenLifetimeSeconds: number;
  readonly tokenFormat: TokenFormat;
  /** Of JWTs; an opaque token is not signed. */
  readonly signingAlgorithm: AccessTokenAlgorithm;
  /** Whether a refresh token brings new tokens for it. */
  readonly allowsRefresh: boolean;
  /** Whether a token carries only what its holder's roles hold, too. */
  readonly isScopedByRole: boolean;
  /** Whether a token names those of its holder's roles that hold something here. */
  readonly hasRolesClaim: boolean;
  /** Signet's own; its scopes are not for administrators to change. */
  readonly isBuiltin: boolean;
  /** In the order in which a consent page shows them. */
  readonly scopes: readonly ApiScope[];
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface Apis {
  /** Input with the wire's names (schema.ts). Throws api_invalid, api_identifier_taken. */
  create(input: unknown, by: Actor): Promise<Api>;
  /** From the cache: at most 30 s old, at most a second while notices arrive. */
  find(identifier: string): Promise<Api | undefined>;
  /** From the cache, too. */
  findById(id: string): Promise<Api | undefined>;
  /** Every scope that some API has. From the cache, too. */
  scopeNames(): Promise<ReadonlySet<string>>;
  /** By identifier; `after` is the last identifier of the page before, `query` a part of identifier or name. */
  list(page: { readonly limit: number; readonly after?: string; readonly query?: string }): Promise<readonly Api[]>;
  /** Everything but the identifier. `scopes` replaces the list; a scope that is gone is taken from every client. */
  update(id: string, change: unknown, by: Actor, check?: Check): Promise<Api>;
  /** Returns the clients that lose it. */
  delete(id: string, by: Actor, check?: Check): Promise<readonly { readonly id: string; readonly name: string }[]>;
}

/** Looks at the API under its lock and throws to leave it as it is. */
export type Check = (before: Api) => void;

interface Context {
  readonly db: Db;
  readonly notices: Notices;
  readonly record: RecordEvent;
}

export function createApis({ db, notices, record }: Context): Apis {
  const { byIdentifier, byId, names, forget } = createCaches(db);
  notices.subscribe(CHANNEL, forget);
  notices.onReconnect(forget);

  /** Runs the change; afterwards this process serves the new state at once, without waiting for its own notice. */
  const change = async <T>(work: (tx: Queries) => Promise<{ id: string; result: T }>): Promise<T> => {
    try {
      return await db.transaction(async (tx) => {
        const { id, result } = await work(tx);
        await notices.publish(tx, CHANNEL, id);
        return result;
      });
    } finally {
      // Also when it failed: a connection that broke during the commit does not tell whether the change is there.
      forget();
    }
  };

  return {
    async create(input, by) {
      const { identifier, scopes, ...wanted } = parseApiInput(input);
      return change(async (tx) => {
        const settings = settingsOf(wanted);
        const id = await insert(tx, { identifier, ...settings });
        await sql.replaceScopes(tx, id, scopes);
        const result = await read(tx, id);
        const changes = changesBetween(undefined, presentApi(result));
        const data = { identifier, scopes: scopes.map(({ scope }) => scope) };
        await record(tx, { ...event("api.created", id, by, data), changes });
        return { id, result };
      });
    },
    async find(identifier) {
      return identifierFault(identifier) === undefined ? byIdentifier.get(identifier) : undefined;
    },
    async findById(id) {
      return ID.test(id) ? byId.get(id) : undefined;
    },
    scopeNames: async () => (await names.get("")) ?? new Set(),
    list: (page) => list(db, page),
    async update(id, patch, by, check) {
      const { scopes, ...wanted } = parseApiChange(patch);
      return change(async (tx) => {
        const before = await lock(tx, id);
        check?.(before);
        if (before.isBuiltin && Object.keys(patch as object).some((name) => name !== "token_lifetime"))
          throw new AppError("api_builtin", "Only its token_lifetime can be changed.");
        const settings = settingsOf(wanted, before);
        await sql.updateApi(tx, { id, ...settings }, now());
        if (scopes !== undefined) await sql.replaceScopes(tx, id, scopes);
        const { identifier } = before;
        const result = await read(tx, id);
        const changes = changesBetween(presentApi(before), presentApi(result));
        const data = { identifier, fields: Object.keys(patch as object) };
        await record(tx, { ...event("api.updated", id, by, data), changes });
        return { id, result };
      });
    },
    delete: async (id, by, check) =>
      change(async (tx) => {
        const before = await lock(tx, id);
        check?.(before);
        const { identifier, isBuiltin } = before;
        if (isBuiltin) throw new AppError("api_builtin");
        const clients = await sql.selectClientsOfApi(tx, id, CLIENTS_NAMED_MAX);
        await sql.deleteApi(tx, id);
        const changes = changesBetween(presentApi(before), undefined);
        const data = { identifier, clients: clients.map((client) => client.id) };
        await record(tx, { ...event("api.deleted", id, by, data), changes });
        return { id, result: clients };
      }),
  };
}

function createCaches(db: Db) {
  const byIdentifier = createCache<Api>({ load: (identifier) => sql.selectApi(db, identifier) });
  const byId = createCache<Api>({ load: (id) => sql.selectApiById(db, id) });
  const names = createCache<ReadonlySet<string>>({ load: async () => new Set(await sql.selectScopeNames(db)) });
  return {
    byIdentifier,
    byId,
    names,
    // There are few APIs and they change seldom: forgetting all is simpler than knowing which names an id had.
    forget(): void {
      byIdentifier.clear();
      byId.clear();
      names.clear();
    },
  };
}

/** In the names of the wire. */
export function presentApi(api: Api): Record<string, unknown> {
  return {
    id: api.id,
    identifier: api.identifier,
    name: api.name,
    scopes: api.scopes,
    token_lifetime: api.tokenLifetimeSeconds,
    token_format: api.tokenFormat,
    ...(api.tokenFormat === "jwt" ? { signing_alg: api.signingAlgorithm } : {}),
    allow_refresh: api.allowsRefresh,
    scopes_by_role: api.isScopedByRole,
    roles_claim: api.hasRolesClaim,
    ...(api.isBuiltin ? { builtin: true } : {}),
    created_at: api.createdAt.toISOString(),
    updated_at: api.updatedAt.toISOString(),
  };
}

/** What was given, over what was there. A new API gives everything. */
function settingsOf(given: Omit<ApiChange, "scopes">, before?: Api): sql.ApiSettings {
  return {
    name: given.name ?? before?.name ?? "",
    tokenLifetimeSeconds: given.token_lifetime ?? before?.tokenLifetimeSeconds ?? TOKEN_LIFETIME_SECONDS,
    tokenFormat: given.token_format ?? before?.tokenFormat ?? "jwt",
    signingAlgorithm: given.signing_alg ?? before?.signingAlgorithm ?? "ES256",
    allowsRefresh: given.allow_refresh ?? before?.allowsRefresh ?? true,
    isScopedByRole: given.scopes_by_role ?? before?.isScopedByRole ?? false,
    hasRolesClaim: given.roles_claim ?? before?.hasRolesClaim ?? false,
  };
}

async function insert(tx: Queries, api: sql.ApiSettings & Pick<Api, "identifier">): Promise<string> {
  try {
    return await sql.insertApi(tx, api, now());
  } catch (error) {
    if (isUniqueViolation(error)) throw new AppError("api_identifier_taken", quoted(api.identifier));
    throw error;
  }
}

async function list(
  db: Db,
  { limit, after, query }: { limit: number; after?: string; query?: string },
): Promise<readonly Api[]> {
  if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_MAX) {
    throw new AppError("api_invalid", `limit: it lies between 1 and ${PAGE_MAX}.`);
  }
  // Postgres takes no NUL in a text, and nothing that is stored holds one.
  if (query?.includes("\0") === true || after?.includes("\0") === true) return [];
  return sql.selectApis(db, { limit, after, query });
}

async function lock(tx: Queries, id: string): Promise<Api> {
  if (!ID.test(id) || !(await sql.lockApi(tx, id))) throw new AppError("api_unknown", quoted(id));
  return read(tx, id);
}

/** The API as this transaction has left it. */
async function read(tx: Queries, id: string): Promise<Api> {
  const api = await sql.selectApiById(tx, id);
  if (api === undefined) throw new Error("an API vanished inside its own transaction");
  return api;
}

function event(name: AuditEvent["name"], id: string, actor: Actor, data: NonNullable<AuditEvent["data"]>): AuditEvent {
  return { name, actor, subject: { kind: "api", id }, data };
}
