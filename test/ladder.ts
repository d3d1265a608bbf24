/** The ladder: finds or starts the services the tests need, each once. A real Postgres, a real Redis, a real Chromium, or a reason why not. */
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import pg from "pg";
import { createLog } from "../src/log.ts";
import { randomText } from "../src/secrets.ts";
import { openDb } from "../src/store/db.ts";
import { migrate } from "../src/store/migrate.ts";

/** The checkout: the folder above this file's, or above the tree that `npm test` compiles the files into. */
export const CHECKOUT = checkoutAbove(import.meta.dirname);
const MIGRATIONS = join(CHECKOUT, "migrations");
/** Every file that asks gets a database number of its own from a Redis we start; 16, the default, would be too few for one run. */
const REDIS_DATABASES = 1024;
const START_MS = 10_000;
const DOWNLOAD_MS = 120_000;
/** Any constant does: two runs on one server build the template one after the other. */
const TEMPLATE_LOCK = 0x7465_7374;
/** Where the runner tells its test files what it found; absent, a file that runs alone climbs the ladder itself. */
export const SERVICES_VARIABLE = "SIGNET_TEST_SERVICES";
const CHROMIUM_NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
const DEBIAN_PACKAGES = [
  "redis-server",
  "redis-tools",
  "libjemalloc2",
  "liblua5.1-0",
  "liblzf1",
  "lua-bitop",
  "lua-cjson",
  "libatomic1",
];

function checkoutAbove(folder: string): string {
  return existsSync(join(folder, "package.json")) ? folder : checkoutAbove(dirname(folder));
}

/** Where one of our files lies for a process started from here: in `npm test` its compiled form, else the file itself. */
export function programFile(path: string): string {
  const isCompiled = import.meta.filename.endsWith(".js");
  return isCompiled ? join(import.meta.dirname, "..", path.replace(/\.ts$/, ".js")) : join(CHECKOUT, path);
}

/** The same for an import. */
export const programUrl = (path: string): string => pathToFileURL(programFile(path)).href;

/** What Node needs to run such a file: nothing once it is compiled. */
export const LOADER: readonly string[] = import.meta.filename.endsWith(".js") ? [] : ["--import", "tsx"];

/** Node's arguments for one of our programs, the preloads first. */
export function nodeArgs(path: string, preloads: readonly string[] = []): readonly string[] {
  return [...LOADER, ...preloads.flatMap((preload) => ["--import", programUrl(preload)]), programFile(path)];
}

export interface Connection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}
export interface FoundPostgres {
  readonly found: string;
  readonly version: string;
  readonly connection: Connection;
  /** The migrated database that test files clone; nobody may be connected to it. */
  readonly template: string;
}
export interface FoundRedis {
  readonly found: string;
  readonly version: string;
  readonly url: string;
  readonly databases: number;
}
export interface FoundChromium {
  readonly found: string;
  readonly version: string;
}
export interface Missing {
  readonly missing: string;
}
export interface Services {
  readonly postgres: FoundPostgres;
  readonly redis: FoundRedis | Missing;
  readonly chromium: FoundChromium | Missing;
}
/** What was opened, and how it is closed. Closing twice is harmless. */
export interface Opened<T> {
  readonly service: T;
  close(): Promise<void>;
}

const run = promisify(execFile);

/** Everything at once, for the runner. */
export async function openLadder(): Promise<Opened<Services>> {
  const [postgres, redis, chromium] = await Promise.all([openPostgres(), openRedis(), findChromium()]);
  return {
    service: { postgres: postgres.service, redis: redis.service, chromium },
    close: async () => {
      await Promise.all([postgres.close(), redis.close()]);
    },
  };
}

/** Postgres: TEST_DATABASE_URL, the embedded one, docker. There is no skip: without a Postgres nothing is tested. */
export async function openPostgres(): Promise<Opened<FoundPostgres>> {
  const given = process.env["TEST_DATABASE_URL"];
  const opened =
    given === undefined || given === ""
      ? await startPostgres()
      : { service: { found: "TEST_DATABASE_URL", connection: parsePostgresUrl(given) }, close: async () => undefined };
  try {
    const { found, connection } = opened.service;
    const { version, template } = await prepare(connection);
    return { service: { found, version, connection, template }, close: opened.close };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** Redis: TEST_REDIS_URL, a binary on PATH, docker, Debian's packages unpacked into .cache; else a reason. */
export async function openRedis(): Promise<Opened<FoundRedis | Missing>> {
  const given = process.env["TEST_REDIS_URL"];
  if (given !== undefined && given !== "") {
    return { service: await describeRedis("TEST_REDIS_URL", given), close: async () => undefined };
  }
  const binary = onPath(["redis-server", "valkey-server"]);
  if (binary !== undefined) return startRedis({ binary, env: {}, found: binary });
  if (await hasDocker()) return startRedisContainer();
  if (process.env["TEST_FETCH_REDIS"] === "0") return nothing("no redis-server on PATH, and TEST_FETCH_REDIS is 0");
  try {
    return await startRedis({ ...(await unpackDebianRedis()), found: "Debian's packages, unpacked" });
  } catch (error) {
    return nothing(`no redis-server on PATH, no docker, and Debian's packages: ${firstLine(error)}`);
  }
}

/** Chromium: CHROMIUM_PATH, then the names that distributions use; the shell first, which takes half the CPU (measured: 6.5 s for 14.8 s). */
export async function findChromium(): Promise<FoundChromium | Missing> {
  const path = process.env["CHROMIUM_PATH"] ?? onPath(CHROMIUM_NAMES);
  if (path === undefined) return { missing: `none of ${CHROMIUM_NAMES.join(", ")} is on PATH` };
  try {
    const { stdout } = await run(path, ["--version"], { timeout: START_MS });
    return { found: path, version: /[\d.]{3,}/.exec(stdout)?.[0] ?? stdout.trim() };
  } catch (error) {
    return { missing: `${path} does not run: ${firstLine(error)}` };
  }
}

/** A Redis of its own for a test that stops, fills or empties it. `args` are redis-server's, such as ["--appendonly", "yes"]. */
export async function startRedis(options: {
  binary: string;
  env: Readonly<Record<string, string>>;
  found: string;
  args?: readonly string[];
}): Promise<Opened<FoundRedis>> {
  const folder = await mkdtemp(join(tmpdir(), "signet-test-redis-"));
  const port = await freePort();
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--logfile", join(folder, "log")];
  const quiet = ["--save", "", "--appendonly", "no", "--databases", String(REDIS_DATABASES)];
  const child = spawn(options.binary, [...args, ...quiet, ...(options.args ?? [])], {
    stdio: "ignore",
    detached: true,
    env: { ...process.env, ...options.env },
  });
  child.on("error", () => undefined);
  child.unref();
  const guard = startWatchdog({ pids: [child.pid ?? 0], pidFiles: [], folders: [folder], commands: [] });
  try {
    return { service: await describeRedis(options.found, `redis://127.0.0.1:${port}/0`), close: guard };
  } catch (error) {
    const log = await readFile(join(folder, "log"), "utf8").catch(() => "");
    await guard();
    throw new Error(`${options.binary} did not start: ${firstLine(error)} ${log.slice(-500)}`);
  }
}

/** The command that starts this ladder's Redis, for tests that need one to kill; undefined when only a URL or a container is there. */
export async function redisBinary(): Promise<{ binary: string; env: Readonly<Record<string, string>> } | undefined> {
  const binary = onPath(["redis-server", "valkey-server"]);
  if (binary !== undefined) return { binary, env: {} };
  return process.env["TEST_FETCH_REDIS"] === "0" ? undefined : unpackDebianRedis().catch(() => undefined);
}

/** A port that was free a moment ago. Whoever binds it next may lose it to another: bind at once, and to loopback. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/** The connection as a URL that any parser takes; a socket's folder stands in `host`, as libpq has it. */
export function postgresUrl(connection: Connection): string {
  const { host, port, user, password, database } = connection;
  const authority = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
  const place = host.startsWith("/")
    ? `localhost:${port}/${database}?host=${encodeURIComponent(host)}`
    : `${host}:${port}/${database}`;
  return `postgres://${authority}@${place}`;
}

/** Runs one statement as the owner of the server, on a connection of its own. */
export async function asOwner<T>(connection: Connection, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ ...connection, connectionTimeoutMillis: START_MS });
  client.on("error", () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** The first of these programs on PATH that may be executed, with its folder. */
export function onPath(names: readonly string[]): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  const candidates = names.flatMap((name) => folders.map((folder) => join(folder, name)));
  return candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

async function startPostgres(): Promise<Opened<{ found: string; connection: Connection }>> {
  const folder = await mkdtemp(join(tmpdir(), "signet-test-postgres-"));
  // The database's own uid must be able to pass this folder on its way to its files.
  await chmod(folder, 0o711);
  const pidFiles = [join(folder, "postgres", "data", "postmaster.pid"), join(folder, "data", "postmaster.pid")];
  // The watchdog comes first: a runner killed while the database starts must not leave one behind.
  const guard = startWatchdog({ pids: [], pidFiles, folders: [folder], commands: [] });
  try {
    const log = createLog({ level: "error", pretty: true, sink: process.stderr });
    const { openEmbeddedPostgres } = await import("../src/store/embedded-postgres.ts");
    const embedded = await openEmbeddedPostgres({ dataDir: folder, checkoutDir: CHECKOUT, log, durable: false });
    const close = async (): Promise<void> => {
      await embedded.close();
      await guard();
      // Usually below the folder that is gone by now; elsewhere when the temporary directory itself is closed to the database's uid.
      await rm(embedded.place, { recursive: true, force: true });
    };
    const { host, port, user, password, database } = embedded.connection;
    const found = `embedded (${embedded.kind})`;
    return { service: { found, connection: { host, port, user, password, database } }, close };
  } catch (error) {
    await guard();
    if (await hasDocker()) return startPostgresContainer();
    throw error;
  }
}

async function startPostgresContainer(): Promise<Opened<{ found: string; connection: Connection }>> {
  const password = randomText();
  const args = ["-e", `POSTGRES_PASSWORD=${password}`, "postgres:18-alpine", "-c", "fsync=off"];
  const container = await startContainer(5432, args);
  const connection = {
    host: "127.0.0.1",
    port: container.service,
    user: "postgres",
    password,
    database: "postgres",
  };
  return { service: { found: "docker postgres:18-alpine", connection }, close: container.close };
}

async function startRedisContainer(): Promise<Opened<FoundRedis>> {
  const args = ["redis:7-alpine", "redis-server", "--save", "", "--databases", String(REDIS_DATABASES)];
  const container = await startContainer(6379, args);
  const url = `redis://127.0.0.1:${container.service}/0`;
  return { service: await describeRedis("docker redis:7-alpine", url), close: container.close };
}

async function startContainer(port: number, args: readonly string[]): Promise<Opened<number>> {
  const started = await run("docker", ["run", "-d", "--rm", "-p", `127.0.0.1::${port}`, ...args], {
    timeout: DOWNLOAD_MS,
  });
  const id = started.stdout.trim();
  const close = startWatchdog({ pids: [], pidFiles: [], folders: [], commands: [["docker", "rm", "-f", id]] });
  const published = await run("docker", ["port", id, String(port)]);
  return { service: Number(/:(\d+)\s*$/m.exec(published.stdout)?.[1]), close };
}

async function hasDocker(): Promise<boolean> {
  if (onPath(["docker"]) === undefined) return false;
  return run("docker", ["version", "--format", "{{.Server.Version}}"], { timeout: 3000 }).then(
    ({ stdout }) => /^\d/.test(stdout),
    () => false,
  );
}

/** Debian's Redis without installing it: packages downloaded and unpacked into one tree, which stays in .cache for the next run. */
async function unpackDebianRedis(): Promise<{ binary: string; env: Readonly<Record<string, string>> }> {
  const tree = join(CHECKOUT, ".cache", `test-redis-${process.arch}`);
  if ((await readdir(tree).catch(() => [])).length === 0) {
    if (onPath(["apt-get"]) === undefined || onPath(["dpkg"]) === undefined) throw new Error("this is not a Debian");
    await mkdir(dirname(tree), { recursive: true });
    const making = await mkdtemp(`${tree}-`);
    try {
      await downloadDebianPackages(making);
      const packages = (await readdir(making)).filter((name) => name.endsWith(".deb"));
      for (const name of packages) await run("dpkg", ["-x", join(making, name), join(making, "tree")]);
      // Another run may have been quicker; its tree is as good as ours.
      await rename(join(making, "tree"), tree).catch(() => undefined);
    } finally {
      await rm(making, { recursive: true, force: true });
    }
  }
  const files = await readdir(tree, { recursive: true });
  const libraries = files.filter((name) => basename(name).includes(".so")).map((name) => dirname(join(tree, name)));
  return {
    binary: join(tree, "usr", "bin", "redis-server"),
    env: { LD_LIBRARY_PATH: [...new Set(libraries)].join(delimiter) },
  };
}

async function downloadDebianPackages(folder: string): Promise<void> {
  const download = () => run("apt-get", ["download", "-q", ...DEBIAN_PACKAGES], { cwd: folder, timeout: DOWNLOAD_MS });
  try {
    await download();
  } catch (error) {
    // A fresh image has no package lists; only root may fetch them.
    if (process.getuid?.() !== 0) throw error;
    await run("apt-get", ["update", "-q"], { timeout: DOWNLOAD_MS });
    await download();
  }
}

async function describeRedis(found: string, url: string): Promise<FoundRedis> {
  const redis = new Redis(url, {
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    connectTimeout: 1000,
  });
  redis.on("error", () => undefined);
  try {
    await within(START_MS, async () => {
      if (redis.status === "end" || redis.status === "wait") await redis.connect();
      await redis.ping();
    });
    const info = await redis.info();
    const version = /^(?:valkey|redis)_version:(.*)\r?$/m.exec(info)?.[1]?.trim() ?? "unknown";
    const databases = await redis.config("GET", "databases").then(
      (pair) => Number(Array.isArray(pair) ? pair[1] : Object.values(pair as Record<string, string>)[0]),
      () => 16,
    );
    return { found, version, url, databases };
  } finally {
    redis.disconnect();
  }
}

/** Drops what dead runs left, then builds the template unless it is there; two runs at once build it once. */
async function prepare(connection: Connection): Promise<{ version: string; template: string }> {
  const template = `signet_template_${await migrationsHash()}`;
  // A container answers a while after it was started; only this is waited for, a migration that fails is said at once.
  await within(START_MS, () => asOwner(connection, (client) => client.query("select 1")));
  return asOwner(connection, async (client) => {
    const server = await client.query<{ server_version: string }>("show server_version");
    await client.query("select pg_advisory_lock($1)", [TEMPLATE_LOCK]);
    await sweep(client);
    const known = await client.query("select 1 from pg_database where datname = $1", [template]);
    if (known.rowCount === 0) await buildTemplate(client, connection, template);
    return { version: server.rows[0]?.server_version ?? "unknown", template };
  });
}

async function buildTemplate(client: pg.Client, connection: Connection, template: string): Promise<void> {
  const making = `t_template_${process.pid}_0`;
  await client.query(`drop database if exists ${making}`);
  await client.query(`create database ${making}`);
  const log = createLog({ level: "error", pretty: true, sink: process.stderr });
  const db = openDb({ connection: { ...connection, database: making }, max: 1, log });
  try {
    await migrate(db, MIGRATIONS);
  } finally {
    await db.close();
  }
  // A template that is half migrated never has the name that others look for.
  await client.query(`alter database ${making} rename to ${template}`);
}

/** Databases of runs that ended without dropping theirs: their process is gone and nobody is connected. */
async function sweep(client: pg.Client): Promise<void> {
  const left = await client.query<{ datname: string }>(
    "select datname from pg_database d where datname ~ '^t_[a-z0-9_]+_[0-9]+_[0-9]+$' and not exists (select 1 from pg_stat_activity a where a.datname = d.datname)",
  );
  for (const { datname } of left.rows) {
    const pid = Number(datname.split("_").at(-2));
    if (!isAlive(pid)) await client.query(`drop database if exists ${datname}`);
  }
}

async function migrationsHash(): Promise<string> {
  const names = (await readdir(MIGRATIONS)).filter((name) => name.endsWith(".sql")).sort();
  const hash = createHash("sha256");
  for (const name of names) hash.update(`${name}\0`).update(await readFile(join(MIGRATIONS, name)));
  return hash.digest("hex").slice(0, 12);
}

interface Remains {
  readonly pids: readonly number[];
  /** Files whose first line is a process id. */
  readonly pidFiles: readonly string[];
  readonly folders: readonly string[];
  readonly commands: readonly (readonly string[])[];
}

/** Runs in a process of its own: it waits for the end of its standard input, which comes also when its parent is killed, and then cleans up. */
const WATCHDOG = `
const { readFileSync, rmSync } = require("node:fs");
const { spawnSync } = require("node:child_process");
const remains = JSON.parse(process.argv[1]);
const send = (pid, signal) => { try { process.kill(pid, signal); return true; } catch { return false; } };
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
process.stdin.resume();
process.stdin.on("end", async () => {
  const pids = [...remains.pids];
  for (const file of remains.pidFiles) {
    try { pids.push(Number(readFileSync(file, "utf8").split("\\n")[0])); } catch {}
  }
  const alive = pids.filter((pid) => pid > 1 && send(pid, "SIGCONT") && send(pid, "SIGINT"));
  for (let round = 0; round < 100 && alive.some((pid) => send(pid, 0)); round += 1) await new Promise((done) => setTimeout(done, 50));
  for (const pid of alive) send(pid, "SIGKILL");
  for (const [command, ...args] of remains.commands) spawnSync(command, args);
  for (const folder of remains.folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});
`;

/** Starts the watchdog; the function that comes back makes it do its work now, and waits. */
function startWatchdog(remains: Remains): () => Promise<void> {
  const child = spawn(process.execPath, ["-e", WATCHDOG, JSON.stringify(remains)], {
    stdio: ["pipe", "ignore", "inherit"],
    detached: true,
    env: { PATH: process.env["PATH"] ?? "" },
  });
  const ended = new Promise<void>((resolve) => {
    child.on("exit", () => resolve());
    child.on("error", () => resolve());
  });
  child.stdin.on("error", () => undefined);
  child.unref();
  if ("unref" in child.stdin && typeof child.stdin.unref === "function") child.stdin.unref();
  return async () => {
    child.ref();
    child.stdin.end();
    await ended;
  };
}

function parsePostgresUrl(text: string): Connection {
  const url = new URL(text);
  return {
    host: url.searchParams.get("host") ?? decodeURIComponent(url.hostname),
    port: Number(url.port === "" ? "5432" : url.port),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)),
  };
}

function nothing(reason: string): Opened<Missing> {
  return { service: { missing: reason }, close: async () => undefined };
}

/** Repeats until it succeeds or the time is over; then the last error is thrown. */
async function within<T>(milliseconds: number, attempt: () => Promise<T>): Promise<T> {
  const end = performance.now() + milliseconds;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n", 2).join(" ").slice(0, 300);
}
