/** Clients: the applications that may ask for tokens. Every change is one transaction with its audit event and its notice. */
import { changesBetween } from "../audit/changes.ts";
import type { Actor, AuditEvent, RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Revocations } from "../revocations/revocation.ts";
import { randomText } from "../secrets.ts";
import { createCache } from "../store/cache.ts";
import type { Db, Queries } from "../store/db.ts";
import type { Notices } from "../store/notices.ts";
import { quoted } from "../text.ts";
import { type ClientPage, isClientId, listRows } from "./list.ts";
import { type ClientMetadata, type ClientSettings, type ClientType, needsSecret, resolveClient } from "./metadata.ts";
import { presentClient, READ_ONLY_FIELDS } from "./present.ts";
import type { ClientApi, ClientRow } from "./queries.ts";
import * as sql from "./queries.ts";
import { parseClientChange, parseClientInput } from "./schema.ts";
import { type ClientSecret, makeClientSecret, OVERLAP_SECONDS, planExpiry, planRotation } from "./secret.ts";
import { defaultSettings, originsOf } from "./settings.ts";
import { checkIntrospected, findApis } from "./wanted-apis.ts";

export type { ClientMetadata, ClientSettings, ClientType } from "./metadata.ts";
export { presentClient, toProviderMetadata } from "./present.ts";
export type { ClientApi } from "./queries.ts";
export { type ClientSecret, isClientSecret } from "./secret.ts";

/** The clients that changed, or an API that clients ask for: what is cached about them goes. */
const CHANNEL = "clients";
const API_CHANNEL = "apis";
/** Starts with letters, so that an id is never read as a flag; letters, digits, - and _ need no escaping anywhere. */
const ID_PREFIX = "cl_";
const ID_BYTES = 20;

export interface Client {
  readonly id: string;
  readonly type: ClientType;
  readonly name: string;
  readonly isDisabled: boolean;
  /** RFC 7591 wire names, defaults filled in. */
  readonly metadata: ClientMetadata;
  readonly settings: ClientSettings;
  readonly apis: readonly ClientApi[];
  /** The live ones, oldest first. */
  readonly secrets: readonly ClientSecret[];
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface Clients {
  /** Input with the wire's names (schema.ts). Throws client_invalid, client_redirect_uri_invalid, api_unknown. */
  register(input: unknown, by: Actor): Promise<{ readonly client: Client; readonly secret?: string }>;
  /** From the cache: at most 30 s old, at most a second while notices arrive. Disabled clients too. */
  find(id: string): Promise<Client | undefined>;
  /** Not from the cache, but over the connection of the caller's transaction: whoever holds one must not wait for a second. */
  findWithin(tx: Queries, id: string): Promise<Client | undefined>;
  /** The oldest first; `after` is the last id of the page before, `query` an id or the beginning of the name. */
  list(page: ClientPage): Promise<readonly Client[]>;
  /** A merge patch (RFC 7396) of what presentClient shows: null takes the type's default again. The result passes every rule of `register`. */
  update(id: string, change: unknown, by: Actor, check?: Check): Promise<Client>;
  /** The old secrets live for the overlap, 24 h unless said otherwise; 0 ends them at once. */
  rotateSecret(
    id: string,
    options: { readonly overlapSeconds?: number },
    by: Actor,
  ): Promise<{ readonly client: Client; readonly secret: string; readonly secretId: string }>;
  /** Lets one secret end so many seconds from now, or sooner if it does anyway; 0 ends it at once. Throws client_unknown, secret_unknown. */
  expireSecret(id: string, secret: { readonly id: string; readonly inSeconds: number }, by: Actor): Promise<Client>;
  /** Disabling also ends whatever was issued to the client, again if it is disabled already. */
  setDisabled(id: string, isDisabled: boolean, by: Actor, check?: Check): Promise<Client>;
  /** Its consents go with it, and whatever was issued to it. */
  delete(id: string, by: Actor, check?: Check): Promise<void>;
}

/** Looks at the client under its lock and throws to leave it as it is. */
export type Check = (before: Client) => void;

interface Context {
  readonly db: Db;
  readonly notices: Notices;
  readonly record: RecordEvent;
  readonly revocations: Revocations;
  readonly isDevelopment: boolean;
}

export function createClients(options: Context): Clients {
  const { db, notices, revocations } = options;
  const cache = createCache<Client>({ load: (id) => readClient(db, id) });
  notices.subscribe(CHANNEL, (id) => cache.drop(id));
  notices.subscribe(API_CHANNEL, () => cache.clear());
  notices.onReconnect(() => cache.clear());

  /** Runs the change; afterwards this process serves the new state at once, without waiting for its own notice. */
  const change = async <T>(id: string, work: (tx: Queries) => Promise<T>): Promise<T> => {
    try {
      return await db.transaction(async (tx) => {
        const result = await work(tx);
        await notices.publish(tx, CHANNEL, id);
        return result;
      });
    } finally {
      // Also when it failed: a connection that broke during the commit does not tell whether the change is there.
      cache.drop(id);
    }
  };

  return {
    register: (input, by) => register(options, change, input, by),
    async find(id) {
      return isClientId(id) ? cache.get(id) : undefined;
    },
    findWithin: async (tx, id) => (isClientId(id) ? readClient(tx, id) : undefined),
    list: async (page) => (await listRows(db, page)).map(toClient),
    update: async (id, patch, by, check) => change(checked(id), (tx) => update(options, tx, { id, patch, by, check })),
    rotateSecret: async (id, { overlapSeconds = OVERLAP_SECONDS }, by) =>
      change(checked(id), (tx) => rotate(options, tx, { id, overlapSeconds, by })),
    expireSecret: async (id, secret, by) =>
      change(checked(id), (tx) =>
        expireSecret(options, tx, { id, secretId: secret.id, inSeconds: secret.inSeconds, by }),
      ),
    setDisabled: async (id, isDisabled, by, check) => {
      const changed = await change(checked(id), async (tx) => {
        const client = await lock(tx, id);
        check?.(client);
        if (isDisabled) await revocations.write(tx, { kind: "client", id });
        if (client.isDisabled === isDisabled) return client;
        await sql.updateDisabled(tx, id, isDisabled, now());
        await options.record(tx, event(isDisabled ? "client.disabled" : "client.enabled", id, by));
        return present(tx, id);
      });
      if (isDisabled) await revocations.carryOut({ kind: "client", id });
      return changed;
    },
    async delete(id, by, check) {
      await change(checked(id), async (tx) => {
        const client = await lock(tx, id);
        check?.(client);
        await sql.deleteClient(tx, id);
        await revocations.write(tx, { kind: "client", id });
        const data = { name: client.name, type: client.type };
        const changes = changesBetween(presentClient(client), undefined);
        await options.record(tx, { ...event("client.deleted", id, by, data), changes });
      });
      await revocations.carryOut({ kind: "client", id });
    },
  };
}

type Change = <T>(id: string, work: (tx: Queries) => Promise<T>) => Promise<T>;

async function register({ isDevelopment, record }: Context, change: Change, input: unknown, by: Actor) {
  const resolved = resolveClient(parseClientInput(input), { isDevelopment });
  const id = `${ID_PREFIX}${randomText(ID_BYTES)}`;
  const made = needsSecret(resolved.metadata) ? makeClientSecret() : undefined;
  const client = await change(id, async (tx) => {
    const apis = await findApis(tx, resolved);
    await checkIntrospected(tx, resolved.settings.introspectApis);
    const at = now();
    await sql.insertClient(tx, { id, ...resolved }, at);
    await sql.replaceClientApis(tx, id, apis);
    if (made !== undefined) await sql.insertSecret(tx, id, made, at);
    const registered = await present(tx, id);
    const changes = changesBetween(undefined, presentClient(registered));
    const data = { name: resolved.name, type: resolved.type };
    await record(tx, { ...event("client.created", id, by, data), changes });
    return registered;
  });
  return { client, ...(made === undefined ? {} : { secret: made.secret }) };
}

async function update(
  { isDevelopment, record }: Context,
  tx: Queries,
  what: { id: string; patch: unknown; by: Actor; check: Check | undefined },
) {
  const { id, by } = what;
  const patch = parseClientChange(what.patch);
  const before = await lock(tx, id);
  what.check?.(before);
  const type = patch["client_type"];
  if (type !== undefined && type !== before.type) {
    throw new AppError("client_invalid", "client_type: it cannot be changed; register another client.");
  }
  const resolved = resolveClient(parseClientInput(merge(before, patch)), { isDevelopment });
  const apis = await findApis(tx, resolved);
  if (Object.hasOwn(patch, "introspect_apis")) await checkIntrospected(tx, resolved.settings.introspectApis);
  const at = now();
  await sql.updateClient(tx, { id, ...resolved }, at);
  await sql.replaceClientApis(tx, id, apis);
  // A secret that the client's method does not use would come alive again with the next change of the method.
  if (!needsSecret(resolved.metadata)) await sql.endSecrets(tx, id, at, at);
  const after = await present(tx, id);
  const changes = changesBetween(presentClient(before), presentClient(after));
  await record(tx, { ...event("client.updated", id, by, { fields: Object.keys(patch) }), changes });
  return after;
}

async function rotate({ record }: Context, tx: Queries, what: { id: string; overlapSeconds: number; by: Actor }) {
  const { id, overlapSeconds, by } = what;
  const client = await lock(tx, id);
  if (!needsSecret(client.metadata)) throw new AppError("client_has_no_secret");
  const at = now();
  const { until } = planRotation(client.secrets, { overlapSeconds, now: at });
  const { secret, ...kept } = makeClientSecret();
  await sql.endSecrets(tx, id, until, at);
  const secretId = await sql.insertSecret(tx, id, kept, at);
  await record(tx, event("client.secret_added", id, by, { secret_id: secretId, overlap_seconds: overlapSeconds }));
  return { client: await present(tx, id), secret, secretId };
}

async function expireSecret(
  { record }: Context,
  tx: Queries,
  what: { id: string; secretId: string; inSeconds: number; by: Actor },
): Promise<Client> {
  const { id, secretId, inSeconds, by } = what;
  const client = await lock(tx, id);
  if (!client.secrets.some((secret) => secret.id === secretId)) throw new AppError("secret_unknown", quoted(secretId));
  const at = now();
  await sql.endSecrets(tx, id, planExpiry(inSeconds, at), at, secretId);
  await record(tx, event("client.secret_expired", id, by, { secret_id: secretId, seconds: inSeconds }));
  return present(tx, id);
}

/** The stored client in the names of the wire, the patch on top. */
function merge(before: Client, patch: Readonly<Record<string, unknown>>): unknown {
  const stored = presentClient(before);
  for (const name of READ_ONLY_FIELDS) delete stored[name];
  const { redirect_uris: uris, scope = "" } = before.metadata;
  // Origins that were taken from the redirects follow them.
  if (before.type === "spa" && before.settings.webOrigins.join(" ") === originsOf(uris).join(" ")) {
    delete stored["web_origins"];
  }
  // A scope that its API has given up since then must not stand in the way of another change.
  const askable = new Set([...scope.split(" "), ...before.apis.flatMap((api) => api.scopes)]);
  if (before.settings.optionalScopes.length > 0) {
    stored["optional_scopes"] = before.settings.optionalScopes.filter((name) => askable.has(name));
  }
  return Object.fromEntries(Object.entries({ ...stored, ...patch }).filter(([, value]) => value !== null));
}

async function readClient(queries: Queries, id: string): Promise<Client | undefined> {
  const row = await sql.selectClient(queries, id, now());
  return row === undefined ? undefined : toClient(row);
}

/** The client as this transaction has left it. */
async function present(tx: Queries, id: string): Promise<Client> {
  const client = await readClient(tx, id);
  if (client === undefined) throw new Error("a client vanished inside its own transaction");
  return client;
}

async function lock(tx: Queries, id: string): Promise<Client> {
  if (!(await sql.lockClient(tx, id))) throw new AppError("client_unknown", id);
  return present(tx, id);
}

function toClient(row: ClientRow): Client {
  // A setting that is younger than the row has its default.
  return { ...row, settings: { ...defaultSettings(row.type), ...row.settings } };
}

/** An id that cannot be one is unknown before the database is asked. */
function checked(id: string): string {
  if (!isClientId(id)) throw new AppError("client_unknown", quoted(id));
  return id;
}

function event(name: AuditEvent["name"], id: string, actor: Actor, data?: NonNullable<AuditEvent["data"]>): AuditEvent {
  return { name, actor, subject: { kind: "client", id }, ...(data === undefined ? {} : { data }) };
}
