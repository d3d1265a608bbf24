/** The app: opens every room that commands use, in the order in which they need one another. What the server adds to it is service.ts. */
import { join, resolve } from "node:path";
import { type Activity, createActivity } from "./activity/activity.ts";
import { type Apis, createApis } from "./apis/api.ts";
import { type Actor, record } from "./audit/event.ts";
import { createSealer, type Sealer } from "./audit/sealer.ts";
import { createTrail, type Trail } from "./audit/trail.ts";
import { type Clients, createClients } from "./clients/client.ts";
import type { Config } from "./config.ts";
import { type Consents, createConsents } from "./consents/consent.ts";
import { type DataFolder, developmentSecretKey } from "./data-folder.ts";
import { createFailures, type Failures } from "./failures/failure.ts";
import { createOutgoing } from "./http/outgoing.ts";
import { createKeys, type Keys } from "./keys/administration.ts";
import { type LongestUse, openMacKey } from "./keys/mac-key.ts";
import type { Log } from "./log.ts";
import { createMails, type Mails, SEALED_MAILS } from "./mail/message.ts";
import { GRANT_SECONDS, REFRESH_ABSOLUTE_MAX_SECONDS, SESSION_REMEMBERED_SECONDS } from "./oidc/lifetimes.ts";
import { FORM_SECONDS } from "./pages/csrf.ts";
import { loadTexts } from "./pages/texts.ts";
import { SEALED_ANSWERS } from "./rest/idempotency.ts";
import { createRevocations, type Revocations } from "./revocations/revocation.ts";
import { createRoles, type Roles } from "./roles/role.ts";
import { createDevices, type Devices } from "./sessions/device.ts";
import { createLogouts, type Logouts } from "./sessions/logout.ts";
import { createSessions, type Sessions } from "./sessions/session.ts";
import { createSetup, type Setup } from "./setup/setup.ts";
import { createSignUps, SEALED_CODES, type SignUps } from "./sign-ups/sign-up.ts";
import { type Db, type DbConnection, openDb, type Queries } from "./store/db.ts";
import { type EmbeddedPostgres, openEmbeddedPostgres } from "./store/embedded-postgres.ts";
import type { GrantStore, RevocationSource } from "./store/grants.ts";
import { migrate, migrationStatus } from "./store/migrate.ts";
import { type Notices, openNotices } from "./store/notices.ts";
import { breachedList, type IsBreached } from "./users/breached.ts";
import { createDeletions, type Deletions } from "./users/deletion.ts";
import { createEmailChanges, type EmailChanges } from "./users/email-change.ts";
import { openHasher } from "./users/hasher.ts";
import { type LazyHasher, lazyHasher } from "./users/lazy-hasher.ts";
import type { Letters } from "./users/letter.ts";
import { createRecoveries, type Recoveries } from "./users/recovery.ts";
import { createUsers, type Users } from "./users/user.ts";
import { createVault, type Vault } from "./vault.ts";

/** Beside `src` or `dist`: views, migrations, and the checkout that the data folder belongs to. */
export const ROOT_DIR = resolve(import.meta.dirname, "..");
const MIGRATIONS_DIR = join(ROOT_DIR, "migrations");
/** Keys of one deployment's Redis, which others may share. */
export const REDIS_PREFIX = "signet:";
/** How long something that a random key made is in use: so long the key verifies after it was replaced. */
export const LONGEST_USE: LongestUse = {
  cookie: SESSION_REMEMBERED_SECONDS,
  refresh_token: REFRESH_ABSOLUTE_MAX_SECONDS,
  form: FORM_SECONDS,
  dpop_nonce: 300,
  pairwise: 0,
  audit: 0,
};

export interface App {
  readonly config: Config;
  readonly log: Log;
  readonly db: Db;
  /** Where the database is, for whoever needs a connection of its own. */
  readonly connection: DbConnection;
  readonly embedded: EmbeddedPostgres | undefined;
  readonly users: Users;
  readonly clients: Clients;
  readonly apis: Apis;
  readonly roles: Roles;
  readonly keys: Keys;
  /** The audit trail, to be read and verified. */
  readonly trail: Trail;
  readonly sealer: Sealer;
  readonly failures: Failures;
  readonly activity: Activity;
  readonly setup: Setup;
  readonly vault: Vault;
  readonly notices: Notices;
  readonly hasher: LazyHasher;
  readonly revocations: Revocations;
  readonly mails: Mails;
  readonly logouts: Logouts;
  readonly sessions: Sessions;
  readonly devices: Devices;
  readonly consents: Consents;
  readonly signUps: SignUps;
  readonly recoveries: Recoveries;
  readonly emailChanges: EmailChanges;
  readonly deletions: Deletions;
  readonly letters: Letters;
  /** Takes back what a person allowed an app, and ends what it has; returns how many Grants. */
  revokeApp(userId: string, clientId: string, by: Actor): Promise<number>;
  /** Opens the expiring store at the first call; the app closes it. */
  openGrants(): Promise<GrantStore>;
  close(): Promise<void>;
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
    const grants = grantsOpener({ config, log, db, written: (since) => revocations.written(since) });
    opened.unshift(() => grants.close());
    // An app that has no address for it is not told; the clients are opened below, and nothing ends before they are.
    const isTold = async (tx: Queries, id: string) =>
      (await clients.findWithin(tx, id))?.metadata.backchannel_logout_uri !== undefined;
    const logouts = createLogouts({ db, log, store: grants.open, isTold });
    const revocations = createRevocations({
      ...{ db, notices, store: grants.open, longestSeconds: GRANT_SECONDS },
      beforeEnd: logouts.note,
    });
    const users = createUsers({
      db,
      hasher,
      record,
      revocations,
      issuerName: config.brandName,
      isBreached: breached(config, log),
    });
    const clients = createClients({ db, notices, record, revocations, isDevelopment: !config.isProduction });
    const apis = createApis({ db, notices, record });
    const roles = createRoles({ db, notices, record });
    const keyParts = { db, vault, notices, record, times: config.keyTimes, longestUse: LONGEST_USE };
    const keys = createKeys({ ...keyParts, sealedPlaces: [SEALED_MAILS, SEALED_CODES, SEALED_ANSWERS] });
    const setup = createSetup({ db, users, record });
    const people = openPeople({ config, db, vault, users, revocations, store: grants.open });
    return {
      config,
      log,
      db,
      connection,
      embedded,
      vault,
      notices,
      hasher,
      revocations,
      logouts,
      ...people,
      openGrants: grants.open,
      users,
      clients,
      apis,
      roles,
      keys,
      ...openRecords({ config, log, db, vault, keys }),
      setup,
      close: () => closeAll(opened),
    };
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

/** What people do with their accounts, on pages and by an administrator's commands. */
function openPeople(parts: {
  config: Config;
  db: Db;
  vault: Vault;
  users: Users;
  revocations: Revocations;
  store: () => Promise<GrantStore>;
}) {
  const { config, db, vault, users, revocations, store } = parts;
  const { issuer } = config;
  const mails = createMails({ db, vault });
  const letters = { mails, issuer };
  const devices = createDevices({ db });
  const consents = createConsents({ db, record });
  const base = { db, letters, record, revocations };
  const sessions = createSessions({ store, revocations, record });
  return {
    sessions,
    async revokeApp(userId: string, clientId: string, by: Actor): Promise<number> {
      await db.transaction((tx) => consents.withdraw(tx, { userId, clientId }, by));
      // Afterwards: a sign-in that still read the consent has its grant by now.
      return sessions.endGrants({ userId, clientId });
    },
    mails,
    letters,
    devices,
    consents,
    signUps: createSignUps({ db, users, mails, vault, record, issuer }),
    recoveries: createRecoveries({ ...base, users, forgetDevices: devices.forgetAll }),
    emailChanges: createEmailChanges(base),
    deletions: createDeletions({ ...base, forget: consents.forget }),
  };
}

/** What is kept of what happened. */
function openRecords(parts: { config: Config; log: Log; db: Db; vault: Vault; keys: Keys }) {
  const { config, log, db, vault, keys } = parts;
  const sealKeys = async () =>
    (await keys.list()).secrets.flatMap((row) => (row.purpose === "audit" ? [openMacKey(row, vault)] : []));
  return {
    trail: createTrail({ db, keys: sealKeys }),
    failures: createFailures({ db, log, words: lazyWords() }),
    activity: createActivity({ db }),
    sealer: createSealer({ db, log, retentionSeconds: config.auditRetentionSeconds }),
  };
}

/** Read by the first who asks for words: most commands do not. */
function lazyWords() {
  let catalogues: ReturnType<typeof loadTexts> | undefined;
  return (account: string) => {
    catalogues ??= loadTexts(join(ROOT_DIR, "views"));
    return catalogues.choose({ account });
  };
}

/** Asked by whoever sets a password, the command line too. */
function breached(config: Config, log: Log): IsBreached | undefined {
  const url = config.breachedPasswordsUrl;
  if (url === undefined) return undefined;
  const outgoing = createOutgoing({ allow: config.outboundAllow, isDevelopment: !config.isProduction });
  return breachedList({ url, ask: outgoing.fetch, log });
}

/** The expiring store, opened by whoever needs it first: commands that revoke nothing neither load an engine nor wait for one. */
function grantsOpener(options: { config: Config; log: Log; db: Db; written: RevocationSource }): {
  open(): Promise<GrantStore>;
  close(): Promise<void>;
} {
  const { config, log, db, written: revocations } = options;
  const openOnce = async (): Promise<GrantStore> => {
    if (config.redisUrls === undefined) {
      return (await import("./store/grants-postgres.ts")).openPostgresGrants({ db, log, revocations });
    }
    const { openRedisGrants } = await import("./store/grants-redis.ts");
    return openRedisGrants({ urls: config.redisUrls, prefix: REDIS_PREFIX, log, revocations });
  };
  let opened: Promise<GrantStore> | undefined;
  return {
    open() {
      opened ??= openOnce();
      return opened;
    },
    close: async () => (await opened)?.close(),
  };
}

export type Closing = () => Promise<void> | undefined;

/** The last opened is closed first: each one is put in front. */
export async function closeAll(closings: readonly Closing[]): Promise<void> {
  for (const close of closings) await close();
}
