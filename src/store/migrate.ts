/** Migrations: plain SQL files, applied once each, in order, in a transaction, under one lock, with a checksum that finds an edited file. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { now } from "../clock.ts";
import { unavailable } from "../errors.ts";
import { sha256Hex } from "../secrets.ts";
import type { Db, Queries } from "./db.ts";
import { codeOf } from "./db-errors.ts";

/** Any constant does, as long as no other program on this database uses it: the first bytes of "signet". */
const LOCK_ID = 0x7369_676e;
const FILE_NAME = /^\d{3}-[a-z0-9-]+\.sql$/;
/** A lock on a table that others use is waited for this long, so that a migration never stops the traffic (T-REL-15). */
const LOCK_TIMEOUT = "3s";
/** Another process that migrates is waited for this long, and one file may work this long: an index on a large table takes its time. */
const PATIENCE_MS = 600_000;
/** A lock that was not free (SQLSTATE 55P03) is; whoever starts tries again. */
const LOCK_NOT_AVAILABLE = "55P03";
/** Failures that the file itself is to blame for, though at other times they would mean that the database is not as it should be. */
const FAULTS_OF_THE_FILE = new Set(["42P01", "57014"]);

/** The files and the database disagree; the message names the file. Nothing was changed. */
export class MigrationError extends Error {}

export interface MigrationState {
  readonly name: string;
  readonly state: "applied" | "pending";
  readonly appliedAt?: Date;
}

/** Applies what is pending and returns the names. Two processes at once: the second waits, then finds nothing to do. */
export async function migrate(db: Db, directory: string): Promise<readonly string[]> {
  const files = await readMigrations(directory);
  const applied: string[] = [];
  // Each file has a transaction of its own, so that one that fails undoes itself alone; the lock is taken anew for each.
  for (const file of files) {
    const isNew = await db.transaction((tx) => applyOnce(tx, file, files), { patienceMs: PATIENCE_MS });
    if (isNew) applied.push(file.name);
  }
  return applied;
}

async function applyOnce(tx: Queries, file: MigrationFile, files: readonly MigrationFile[]): Promise<boolean> {
  await prepare(tx);
  const known = await appliedMigrations(tx);
  checkHistory(files, known);
  if (known.has(file.name)) return false;
  await tx.query(`set local lock_timeout = '${LOCK_TIMEOUT}'`);
  await tx.query(file.sql).catch((error: unknown) => {
    throw faultOf(file, error);
  });
  await tx.query("insert into schema_migrations (name, checksum, applied_at) values ($1, $2, $3)", [
    file.name,
    file.checksum,
    now(),
  ]);
  return true;
}

/** Names the file. A database that went away keeps its own error, and so does a lock that was not free: both pass by themselves. */
function faultOf(file: MigrationFile, error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const cause = error.cause instanceof Error ? error.cause : error;
  const state = codeOf(cause);
  if (state === LOCK_NOT_AVAILABLE) {
    return unavailable(`${file.name}: a table was not free within ${LOCK_TIMEOUT}; nothing was changed, run it again`);
  }
  if (cause !== error && !FAULTS_OF_THE_FILE.has(state)) return error;
  return new MigrationError(`${file.name} failed and was undone (${state || "no SQLSTATE"}): ${cause.message}`);
}

/** What is applied and what is pending, without changing anything. Throws MigrationError when a file was edited or is missing. */
export async function migrationStatus(db: Db, directory: string): Promise<readonly MigrationState[]> {
  const files = await readMigrations(directory);
  const [table] = await db.query<{ exists: boolean }>("select to_regclass('schema_migrations') is not null as exists");
  const known = table?.exists === true ? await appliedMigrations(db) : new Map<string, Applied>();
  checkHistory(files, known);
  return files.map(({ name }) => {
    const row = known.get(name);
    return row === undefined ? { name, state: "pending" } : { name, state: "applied", appliedAt: row.appliedAt };
  });
}

interface MigrationFile {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

interface Applied {
  readonly checksum: string;
  readonly appliedAt: Date;
}

async function readMigrations(directory: string): Promise<readonly MigrationFile[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith(".sql")).sort();
  return Promise.all(
    names.map(async (name) => {
      if (!FILE_NAME.test(name)) throw new MigrationError(`${name}: a migration is named NNN-what.sql`);
      const sql = await readFile(join(directory, name), "utf8");
      return { name, sql, checksum: sha256Hex(sql) };
    }),
  );
}

async function prepare(tx: Queries): Promise<void> {
  // Another process may be at work on a large table: this wait has the patience of a migration, not that of a page.
  await tx.query(`set local lock_timeout = ${PATIENCE_MS}`);
  await noticeDeath(tx);
  await tx.query("select pg_advisory_xact_lock($1)", [LOCK_ID]);
  await tx.query(
    "create table if not exists schema_migrations (name text primary key, checksum text not null, applied_at timestamptz not null)",
  );
}

/** A server would work on a statement to its end, locks in hand, although the process that sent it was killed; so it looks now and then. */
async function noticeDeath(tx: Queries): Promise<void> {
  await tx.query("savepoint looks");
  // Not every system can look: a server on one that cannot refuses the setting.
  const refused = await tx.query("set local client_connection_check_interval = '1s'").then(
    () => false,
    () => true,
  );
  await tx.query(refused ? "rollback to savepoint looks" : "release savepoint looks");
}

async function appliedMigrations(queries: Queries): Promise<ReadonlyMap<string, Applied>> {
  const rows = await queries.query<{ name: string; checksum: string; applied_at: Date }>(
    "select name, checksum, applied_at from schema_migrations",
  );
  return new Map(rows.map((row) => [row.name, { checksum: row.checksum, appliedAt: row.applied_at }]));
}

/** History is never rewritten: an edited or a missing file means that this checkout and this database do not belong together. */
function checkHistory(files: readonly MigrationFile[], known: ReadonlyMap<string, Applied>): void {
  const byName = new Map(files.map((file) => [file.name, file]));
  for (const [name, applied] of known) {
    const file = byName.get(name);
    if (file === undefined) {
      throw new MigrationError(
        `${name} was applied to this database, but the file is missing here: run the Signet version that brought it, or a newer one`,
      );
    }
    if (file.checksum !== applied.checksum) {
      throw new MigrationError(
        `${name} was edited after it was applied: restore the file and put the change into a new migration`,
      );
    }
  }
  // A number that is missing or stands twice is a file that was lost, or two that were written side by side.
  for (const [index, { name }] of files.entries()) {
    const number = String(index + 1).padStart(3, "0");
    if (!name.startsWith(number)) {
      throw new MigrationError(
        `${name} stands where ${number}-….sql should: numbers begin with 001 and leave none out`,
      );
    }
  }
}
