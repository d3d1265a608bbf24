/** Migrations: plain SQL files, applied once each, in order, in a transaction, under one lock, with a checksum that finds an edited file. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { now } from "../clock.ts";
import { sha256Hex } from "../secrets.ts";
import type { Db, Queries } from "./db.ts";

/** Any constant does, as long as no other program on this database uses it: the first bytes of "signet". */
const LOCK_ID = 0x7369_676e;
const FILE_NAME = /^\d{3}-[a-z0-9-]+\.sql$/;
/** A lock on a table that others use is waited for this long, so that a migration never stops the traffic (T-REL-15). */
const LOCK_TIMEOUT = "3s";

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
    const isNew = await db.transaction(async (tx) => {
      await prepare(tx);
      const known = await appliedMigrations(tx);
      checkHistory(files, known);
      if (known.has(file.name)) return false;
      await tx.query(`set local lock_timeout = '${LOCK_TIMEOUT}'`);
      await tx.query(file.sql);
      await tx.query("insert into schema_migrations (name, checksum, applied_at) values ($1, $2, $3)", [
        file.name,
        file.checksum,
        now(),
      ]);
      return true;
    });
    if (isNew) applied.push(file.name);
  }
  return applied;
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
  // The lock waits for another process that migrates; its statements are bounded, and so is this wait.
  await tx.query("set local statement_timeout = '60s'");
  await tx.query("select pg_advisory_xact_lock($1)", [LOCK_ID]);
  await tx.query(
    "create table if not exists schema_migrations (name text primary key, checksum text not null, applied_at timestamptz not null)",
  );
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
}
