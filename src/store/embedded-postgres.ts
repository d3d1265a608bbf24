/**
 * The embedded Postgres, for trying and developing: with no DATABASE_URL Signet starts one itself, from npm's binaries or the machine's.
 * It is made once, then started or reused, brought back if it dies, and stopped by the last process that leaves. Its neighbours: postgres-owner
 * (accounts and checks), -place (where it lies), -binaries, -cluster (making and opening), -process (children), -connection, -keeper (while it runs).
 */
import { lstat, realpath } from "node:fs/promises";
import { join, resolve } from "node:path";
import { now, secondsAfter } from "../clock.ts";
import type { Log } from "../log.ts";
import { type BinariesKind, type BinariesSearch, findBinaries } from "./postgres-binaries.ts";
import { createCluster, type OpenCluster, openCluster } from "./postgres-cluster.ts";
import { type PostgresConnection, serverVersion } from "./postgres-connection.ts";
import { keepRunning, reach, stopIfIdle } from "./postgres-keeper.ts";
import { exists, findOwner, ownerOfData, unprivileged } from "./postgres-owner.ts";
import { choosePlace, ensureDataDir, findPlace, type Place, type Surroundings } from "./postgres-place.ts";
import { findPostmaster, hasName, PATH_DEFAULT } from "./postgres-process.ts";

export { EmbeddedPostgresError } from "./postgres-owner.ts";
export type { PostgresConnection };

/** A process says every minute that it uses the database; after this time without a word it was killed. */
const IDLE_SECONDS_MAX = 600;

/** Where the launcher looks and what it may use. The configuration hands over the environment; without it, conventional folders are used. */
export interface EmbeddedPostgresOptions {
  readonly dataDir: string;
  readonly checkoutDir: string;
  /** EMBEDDED_POSTGRES: only these binaries. */
  readonly kind?: BinariesKind | undefined;
  readonly log: Log;
  /** False only in the tests' own clusters: a crash of the machine may cost what was committed, and the database ends with its process. */
  readonly durable?: boolean;
  /** The node_modules folder to look in. */
  readonly packageDir?: string;
  /** Whether it is started again when it dies. */
  readonly supervise?: boolean;
  /** PATH, XDG_DATA_HOME, XDG_CACHE_HOME and XDG_RUNTIME_DIR are read, nothing else. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

export interface EmbeddedPostgres {
  /** Database, user and password; fits the driver's configuration. */
  readonly connection: PostgresConnection;
  /** The folder of the cluster, for the printed block. */
  readonly place: string;
  /** Sentences to print: why it lies elsewhere, that a reboot empties it. */
  readonly notes: readonly string[];
  /** The server's version, for example 18.4. */
  readonly version: string;
  readonly kind: BinariesKind;
  isRunning(): boolean;
  /** Close your own pools first: the last one out stops the database, and whoever has a connection is still in. */
  close(): Promise<void>;
}

/** Makes, starts or reuses the database of this DATA_DIR. Throws EmbeddedPostgresError with the cause and the way out; it never deletes and never opens what is not ours. */
export async function openEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const around = await surroundingsOf(options);
  const place = (await findPlace(around)) ?? (await createPlace(around, options));
  const open = await openPlace(place, around, options);
  const reached = await reach(open);
  const version = await serverVersion(reached.client);
  const keeper = keepRunning(reached, { open, log: options.log, isSupervised: options.supervise ?? true });
  return { connection: open.connection, place: place.dir, notes: place.notes, version, kind: open.kind, ...keeper };
}

/** Called by every command that needs no database: stops the one of this DATA_DIR if it runs, nobody is connected and nobody has used it for ten minutes. */
export async function stopIdleEmbeddedPostgres(
  options: Omit<EmbeddedPostgresOptions, "durable" | "supervise">,
): Promise<boolean> {
  if (!(await exists(resolve(options.dataDir)))) return false;
  const around = await surroundingsOf(options);
  const place = await findPlace(around);
  if (place === undefined || (await findPostmaster(join(place.dir, "data"))) === undefined) return false;
  const used = await lstat(join(place.dir, "used"));
  if (secondsAfter(used.mtime, IDLE_SECONDS_MAX) > now()) return false;
  return stopIfIdle(await openPlace(place, around, options));
}

async function createPlace(found: Surroundings, options: EmbeddedPostgresOptions): Promise<Place> {
  const { owner } = found;
  const isNameless = owner.isRoot && !(await hasName(owner.server));
  const around = isNameless ? { ...found, owner: unprivileged(owner) } : found;
  const binaries = await findBinaries(searchOf(options, around));
  const place = await choosePlace(around);
  if (!(await exists(place.dir))) {
    await createCluster(around, { dir: place.dir, binaries, isDurable: options.durable ?? true });
  }
  return place;
}

async function openPlace(place: Place, found: Surroundings, options: EmbeddedPostgresOptions): Promise<OpenCluster> {
  const around = { ...found, owner: await ownerOfData(join(place.dir, "data"), found.owner) };
  const search = searchOf(options, around);
  return openCluster(around, { dir: place.dir, search, isDurable: options.durable ?? true });
}

async function surroundingsOf(
  options: Pick<EmbeddedPostgresOptions, "dataDir" | "checkoutDir" | "environment">,
): Promise<Surroundings> {
  const checkoutDir = await realpath(options.checkoutDir);
  const owner = await findOwner(checkoutDir);
  const environment = options.environment ?? {};
  return {
    dataDir: await ensureDataDir(resolve(options.dataDir), owner),
    checkoutDir,
    owner,
    dataHome: environment["XDG_DATA_HOME"],
    runtimeDir: environment["XDG_RUNTIME_DIR"],
    searchPath: environment["PATH"] ?? PATH_DEFAULT,
  };
}

function searchOf(options: Omit<EmbeddedPostgresOptions, "log">, around: Surroundings): BinariesSearch {
  return {
    owner: around.owner,
    kind: options.kind,
    major: undefined,
    packageDir: options.packageDir,
    searchPath: around.searchPath,
    cacheHome: options.environment?.["XDG_CACHE_HOME"],
  };
}
