/** The app: opens every room in the order in which they need one another. `App` is what commands use, `Service` what the server adds to it. */
import { join, resolve } from "node:path";
import { type Apis, createApis } from "./apis/api.ts";
import { type AuditEvent, record } from "./audit/event.ts";
import { type Clients, createClients } from "./clients/client.ts";
import { now } from "./clock.ts";
import type { Config } from "./config.ts";
import { type Consents, createConsents } from "./consents/consent.ts";
import { type DataFolder, developmentSecretKey } from "./data-folder.ts";
import type { HealthCheck } from "./http/management.ts";
import { createOutgoing } from "./http/outgoing.ts";
import { loadSigningKeys } from "./keys/key.ts";
import { loadMacKeys, type MacKeys } from "./keys/mac-key.ts";
import { createLimits, type Limits } from "./limits/limit.ts";
import type { Log } from "./log.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { createAdapterFactory } from "./oidc/adapter.ts";
import { type Engine, openEngine } from "./oidc/engine.ts";
import { listen, type Reuse } from "./oidc/events.ts";
import { enginePages, showError } from "./oidc/pages.ts";
import { buildProvider } from "./oidc/provider.ts";
import { type Assets, loadAssets } from "./pages/assets.ts";
import { type Csrf, createCsrf } from "./pages/csrf.ts";
import { type Catalogues, loadTexts } from "./pages/texts.ts";
import { createViews, type Views } from "./pages/views.ts";
import { sha256 } from "./secrets.ts";
import { createSetup, type Setup } from "./setup/setup.ts";
import type { Counters } from "./store/counters.ts";
import { openPostgresCounters } from "./store/counters-postgres.ts";
import { openRedisCounters } from "./store/counters-redis.ts";
import { type Db, type DbConnection, openDb } from "./store/db.ts";
import { type EmbeddedPostgres, openEmbeddedPostgres } from "./store/embedded-postgres.ts";
import type { GrantStore } from "./store/grants.ts";
import { openPostgresGrants } from "./store/grants-postgres.ts";
import { openRedisGrants } from "./store/grants-redis.ts";
import { migrate, migrationStatus } from "./store/migrate.ts";
import { type Notices, openNotices } from "./store/notices.ts";
import { openHasher } from "./users/hasher.ts";
import { type LazyHasher, lazyHasher } from "./users/lazy-hasher.ts";
import { createUsers, type Users } from "./users/user.ts";
import { createVault, type Vault } from "./vault.ts";

/** Beside `src` or `dist`: views, migrations, and the checkout that the data folder belongs to. */
const ROOT_DIR = resolve(import.meta.dirname, "..");
const MIGRATIONS_DIR = join(ROOT_DIR, "migrations");
const VIEWS_DIR = join(ROOT_DIR, "views");
/** Keys of one deployment's Redis, which others may share. */
const REDIS_PREFIX = "signet:";

export interface App {
  readonly config: Config;
  readonly log: Log;
  readonly db: Db;
  readonly embedded: EmbeddedPostgres | undefined;
  readonly users: Users;
  readonly clients: Clients;
  readonly apis: Apis;
  readonly setup: Setup;
  readonly vault: Vault;
  readonly notices: Notices;
  readonly hasher: LazyHasher;
  close(): Promise<void>;
}

export interface Service extends App {
  readonly metrics: Metrics;
  readonly grants: GrantStore;
  readonly counters: Counters;
  readonly limits: Limits;
  readonly engine: Engine;
  readonly csrf: Csrf;
  readonly views: Views;
  readonly catalogues: Catalogues;
  readonly assets: Assets;
  readonly macKeys: MacKeys;
  readonly checks: readonly HealthCheck[];
  readonly consents: Consents;
  /** Records an event that has no change of its own beside it. */
  readonly recordAlone: (event: AuditEvent) => Promise<void>;
}

export function dataFolder(config: Config): DataFolder {
  return { dir: resolve(config.dataDir), checkoutDir: ROOT_DIR };
}

/** Where the durable store is: DATABASE_URL, or in development the Postgres that Signet starts itself. */
export async function openDatabase(
  config: Config,
  log: Log,
): Promise<{ connection: DbConnection; embedded: EmbeddedPostgres | undefined }> {
  if (config.databaseUrl !== undefined)
    return { connection: { connectionString: config.databaseUrl }, embedded: undefined };
  const embedded = await openEmbeddedPostgres({
    dataDir: resolve(config.dataDir),
    checkoutDir: ROOT_DIR,
    kind: config.embeddedPostgres,
    log,
    environment: config.folders,
  });
  return { connection: embedded.connection, embedded };
}

/** Applies what is pending, with the rights of MIGRATION_DATABASE_URL where there is one. */
export async function migrateDatabase(config: Config, db: Db, log: Log): Promise<readonly string[]> {
  if (config.migrationDatabaseUrl === undefined) return migrate(db, MIGRATIONS_DIR);
  const migrator = openDb({
    connection: { connectionString: config.migrationDatabaseUrl },
    max: 1,
    log,
    name: "signet migrate",
  });
  try {
    return await migrate(migrator, MIGRATIONS_DIR);
  } finally {
    await migrator.close();
  }
}

export function databaseStatus(db: Db): ReturnType<typeof migrationStatus> {
  return migrationStatus(db, MIGRATIONS_DIR);
}

/** What a command needs. Hashing is opened by the first password, since most commands see none. */
export async function openApp(config: Config, log: Log): Promise<App> {
  const { connection, embedded } = await openDatabase(config, log);
  const db = openDb({ connection, max: config.databasePoolMax, log });
  const hasher = lazyHasher(() => openHasher({ log }));
  const opened: Closing[] = [() => hasher.close(), () => db.close(), () => embedded?.close()];
  try {
    await migrateDatabase(config, db, log);
    const vault = createVault(config.secretKeys ?? [developmentSecretKey(dataFolder(config))]);
    const notices = await openNotices({ connection, log });
    opened.unshift(() => notices.close());
    const users = createUsers({ db, hasher, record, issuerName: config.brandName });
    const clients = createClients({ db, notices, record, isDevelopment: !config.isProduction });
    const apis = createApis({ db, notices, record });
    const setup = createSetup({ db, users, record });
    return {
      config,
      log,
      db,
      embedded,
      vault,
      notices,
      hasher,
      users,
      clients,
      apis,
      setup,
      close: () => closeAll(opened),
    };
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

/** What the server adds: the engine, its stores, its pages. It closes the app, too. */
export async function openService(app: App): Promise<Service> {
  const { config, log, db, vault } = app;
  const opened: Closing[] = [() => app.close()];
  try {
    await app.hasher.open();
    const metrics = createMetrics();
    const redis = config.redisUrls === undefined ? undefined : { urls: config.redisUrls, prefix: REDIS_PREFIX, log };
    const grants = redis === undefined ? openPostgresGrants({ db, log }) : await openRedisGrants(redis);
    opened.unshift(() => grants.close());
    const counters = redis === undefined ? openPostgresCounters(db) : await openRedisCounters(redis);
    opened.unshift(() => counters.close());
    const macKeys = await loadMacKeys({ db, vault });
    const assets = loadAssets(VIEWS_DIR);
    const catalogues = loadTexts(VIEWS_DIR);
    const isDevelopment = !config.isProduction;
    const brand = { name: config.brandName };
    const views = createViews({
      viewsDir: VIEWS_DIR,
      assets,
      brand,
      issuerHost: new URL(config.issuer).host,
      isDevelopment,
    });
    const base = {
      ...app,
      metrics,
      grants,
      counters,
      macKeys,
      assets,
      catalogues,
      views,
      consents: createConsents({ db, record }),
    };
    const engine = await openEngineOver(base);
    return {
      ...base,
      engine,
      limits: createLimits({ counters, log }),
      csrf: createCsrf(() => macKeys.form.map(({ key }) => key)),
      recordAlone: (event) => recordAlone(app, event),
      checks: [
        { name: "postgres", check: async () => void (await db.query("select 1")) },
        { name: "expiring store", check: () => grants.check() },
      ],
      close: () => closeAll(opened),
    };
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

type EngineBase = Omit<Service, "engine" | "limits" | "csrf" | "checks" | "recordAlone">;

function openEngineOver(base: EngineBase): Promise<Engine> {
  const { config, log, db, vault, metrics, clients, users, apis, consents, grants, macKeys } = base;
  const pages = { views: base.views, catalogues: base.catalogues, clients, users, isDevelopment: !config.isProduction };
  const adapter = createAdapterFactory({
    clients,
    grants,
    keys: macKeys.refresh_token,
    nowMs: () => now().getTime(),
    windowMs: async (clientId) => ((await clients.find(clientId))?.settings.refreshWindowSeconds ?? 0) * 1000,
    onCodeReuse: (reuse) => noteReuse(base, "code", reuse),
  });
  return openEngine({
    clients,
    metrics,
    isDevelopment: !config.isProduction,
    show: showError(pages),
    build: async () => {
      const provider = buildProvider({
        issuer: config.issuer,
        adapter,
        users,
        clients,
        apis,
        consents,
        signingKeys: await loadSigningKeys({ db, vault, record }),
        cookieKeys: macKeys.cookie.map(({ key }) => key.toString("base64url")),
        refreshKeys: macKeys.refresh_token,
        pages: enginePages(pages),
        outgoing: createOutgoing({ allow: config.outboundAllow, isDevelopment: !config.isProduction }),
      });
      listen(provider, {
        log,
        metrics,
        onReuse: (what, reuse) => noteReuse(base, what, reuse),
        onSignOut: (userId, from) => {
          const user = { kind: "user", id: userId } as const;
          void recordAlone(base, { name: "sign_out", actor: { ...user, ...from }, subject: user });
        },
      });
      return provider;
    },
  });
}

/** A sign of theft: counted, and on the audit trail with the grant that was ended. */
function noteReuse(
  base: Pick<EngineBase, "db" | "log" | "metrics">,
  what: "code" | "refresh_token",
  reuse: Reuse,
): void {
  base.metrics.reuse.inc({ what });
  void recordAlone(base, {
    name: what === "code" ? "code.reuse_detected" : "token.reuse_detected",
    actor: { kind: "client", id: reuse.clientId, address: reuse.address, requestId: reuse.requestId },
    subject: { kind: "grant", id: sha256(reuse.grantId) },
  });
}

/** An event beside which nothing changes in Postgres. A trail that cannot be written must not refuse a sign-in; the log says that it was not. */
async function recordAlone(app: Pick<App, "db" | "log">, event: AuditEvent): Promise<void> {
  try {
    await record(app.db, event);
  } catch (error) {
    app.log.error("an audit event was not recorded", {
      event: event.name,
      error: error instanceof Error ? error.message : "unknown",
    });
  }
}

type Closing = () => Promise<void> | undefined;

async function closeAll(closings: readonly Closing[]): Promise<void> {
  for (const close of closings) await close();
}
