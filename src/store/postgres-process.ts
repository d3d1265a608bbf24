/** The processes of the embedded database: initdb, the postmaster, and the small commands that ask what works. The only file of this room that spawns. */
import { execFile, spawn } from "node:child_process";
import { open, readFile, readlink, realpath, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { monotonicMs, sleep } from "../clock.ts";
import { type Account, EmbeddedPostgresError, exists, hasCode, type Owner, openLog } from "./postgres-owner.ts";

/** The port is part of the socket's name only; nothing listens on the network. */
export const SOCKET_PORT = 5432;
/** initdb takes half a second here; a slow disk may need many times that. */
const INITDB_TIMEOUT_MS = 120_000;
/** `postgres --version` takes 4 ms. */
const COMMAND_TIMEOUT_MS = 10_000;
/** Fast shutdown takes 8 to 19 ms; a longer checkpoint is left to finish by itself. */
const STOP_TIMEOUT_MS = 5_000;
const STOP_POLL_MS = 10;
/** The log is set aside at a start once it is this large, so that it never grows without bound. */
const LOG_BYTES_MAX = 1024 * 1024;
const TAIL_LINES = 10;
const TAIL_BYTES = 8 * 1024;
/** Where programs lie when nobody says otherwise. */
export const PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Everything that a start of the database needs to know. */
export interface Cluster {
  /** Holds data, socket, password, log, binaries, home and used. */
  readonly dir: string;
  /** Where the socket lies: below `dir`, or elsewhere if that path is too long for a socket. */
  readonly socketDir: string;
  /** The TCP port on 127.0.0.1, on Windows alone. */
  readonly tcpPort: number | undefined;
  readonly owner: Owner;
  /** False only in the tests' own clusters: nothing acknowledged may be lost anywhere else. */
  readonly isDurable: boolean;
  readonly searchPath: string;
}

export interface Postmaster {
  readonly pid: number;
  hasExited(): boolean;
  /** What it wrote to the log since it was started, cut to the last lines. */
  said(): Promise<string>;
}

export interface CommandResult {
  /** The exit code; undefined if the command could not be started or was ended by a signal. */
  readonly code: number | undefined;
  readonly output: string;
  /** The errno name of a command that could not be started, for example EACCES. */
  readonly errno: string | undefined;
}

/** Runs a short command as that account and waits for it. It never throws: how a command fails is what its callers ask. */
export function runAs(
  account: Account | undefined,
  command: { readonly file: string; readonly args: readonly string[]; readonly searchPath: string },
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const options = { cwd: "/", env: childEnvironment(command.searchPath), timeout: COMMAND_TIMEOUT_MS, ...account };
    try {
      execFile(command.file, [...command.args], options, (error, stdout, stderr) => {
        const code = error === null ? 0 : error.code;
        const output = `${stdout}${stderr}`.trim();
        resolve({ code: typeof code === "number" ? code : undefined, output, errno: errnoOf(code) });
      });
    } catch (error) {
      // Some errnos (EACCES among them) are thrown at once instead of being handed to the callback.
      resolve({ code: undefined, output: String(error), errno: errnoOf((error as { code?: unknown }).code) });
    }
  });
}

/** initdb refuses an account without a name; a checkout mounted into a container may belong to one. */
export async function hasName(account: Account): Promise<boolean> {
  return (await runAs(account, { file: "id", args: ["-un"], searchPath: PATH_DEFAULT })).code === 0;
}

/** Makes the cluster's files. The password is read from a file, because standard input cannot be opened by name for another account. */
export async function initCluster(bin: string, cluster: Cluster, passwordFile: string): Promise<void> {
  const args = ["-D", dataOf(cluster), "-U", "signet", "-A", "scram-sha-256", "--pwfile", passwordFile];
  args.push("-E", "UTF8", "--locale=C", "--no-instructions", ...(cluster.isDurable ? [] : ["-N"]));
  const log = await openLog(join(cluster.dir, "log"), cluster.owner);
  try {
    const failure = await new Promise<string | undefined>((resolve) => {
      const child = spawn(join(bin, "initdb"), args, {
        cwd: "/",
        env: childEnvironment(cluster.searchPath),
        stdio: ["ignore", log.fd, log.fd],
        timeout: INITDB_TIMEOUT_MS,
        ...accountOf(cluster.owner),
      });
      child.on("error", (error) => resolve(error.message));
      child.on("exit", (code, signal) => resolve(code === 0 ? undefined : `it ended with ${signal ?? `code ${code}`}`));
    });
    if (failure !== undefined) {
      throw new EmbeddedPostgresError(`initdb could not make the database: ${failure}.\n${await tailLog(cluster.dir)}`);
    }
  } finally {
    await log.close();
  }
}

/** Starts the postmaster in a group of its own, so that Ctrl-C reaches it only through us, after the server has drained. */
export async function startPostmaster(bin: string, cluster: Cluster): Promise<Postmaster> {
  await removeStaleLock(dataOf(cluster));
  await boundLog(cluster.dir);
  const log = await openLog(join(cluster.dir, "log"), cluster.owner);
  try {
    const { size } = await log.stat();
    const child = spawn(join(bin, "postgres"), postmasterArguments(cluster), {
      cwd: "/",
      detached: true,
      env: childEnvironment(cluster.searchPath),
      stdio: ["ignore", log.fd, log.fd],
      ...accountOf(cluster.owner),
    });
    let failure: string | undefined;
    child.on("error", (error) => {
      failure = error.message;
    });
    child.unref();
    return {
      pid: child.pid ?? -1,
      hasExited: () => failure !== undefined || child.exitCode !== null || child.signalCode !== null,
      said: async () => [failure, await tailLog(cluster.dir, size)].filter(Boolean).join("\n"),
    };
  } finally {
    await log.close();
  }
}

/** The pid of the postmaster that runs on this data folder; undefined if none does. */
export async function findPostmaster(dataDir: string): Promise<number | undefined> {
  const lock = await readLock(dataDir);
  return lock !== undefined && (await isPostmaster(lock.pid, dataDir)) ? lock.pid : undefined;
}

/** Fast shutdown: open transactions are rolled back, everything committed is written. Waits a bounded time; true if it has ended. */
export async function stopPostmaster(dataDir: string): Promise<boolean> {
  const pid = await findPostmaster(dataDir);
  if (pid === undefined) return true;
  signalProcess(pid, "SIGINT");
  const deadline = monotonicMs() + STOP_TIMEOUT_MS;
  while (monotonicMs() < deadline) {
    // It takes its lock file away a moment before it ends.
    if (!(await isPostmaster(pid, dataDir))) return true;
    await sleep(STOP_POLL_MS);
  }
  return false;
}

/** In tests only: a child that ends the postmaster once this process is gone, however it went. Ends by itself when told to. */
export function watchOver(pid: number, owner: Owner): () => void {
  const script = 'read -r word; [ "$word" = leave ] || kill -INT "$1"';
  const child = spawn("/bin/sh", ["-c", script, "sh", String(pid)], {
    cwd: "/",
    detached: true,
    env: childEnvironment(PATH_DEFAULT),
    stdio: ["pipe", "ignore", "ignore"],
    ...accountOf(owner),
  });
  child.on("error", () => undefined);
  child.stdin.on("error", () => undefined);
  child.unref();
  // A pipe to a child is a socket here, and would keep this process alive.
  if ("unref" in child.stdin && typeof child.stdin.unref === "function") child.stdin.unref();
  return () => child.stdin.end("leave\n");
}

/** The last ten lines of the log: the cause of nearly every failed start (shared memory, seccomp, a full disk) stands there. */
export async function tailLog(dir: string, fromByte = 0): Promise<string> {
  const path = join(dir, "log");
  if (!(await exists(path))) return "";
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const start = Math.max(Math.min(fromByte, size), size - TAIL_BYTES);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - start), 0, size - start, start);
    return buffer.subarray(0, bytesRead).toString("utf8").trimEnd().split("\n").slice(-TAIL_LINES).join("\n");
  } finally {
    await file.close();
  }
}

export function dataOf(cluster: { readonly dir: string }): string {
  return join(cluster.dir, "data");
}

function postmasterArguments(cluster: Cluster): string[] {
  const network =
    cluster.tcpPort === undefined
      ? ["-k", cluster.socketDir, "-p", String(SOCKET_PORT), "-c", "listen_addresses="]
      : ["-p", String(cluster.tcpPort), "-c", "listen_addresses=127.0.0.1"];
  const settings = ["unix_socket_permissions=0700", "logging_collector=off"];
  // Statements and the values in a row that failed would put people's addresses into the log.
  settings.push("log_min_error_statement=panic", "log_error_verbosity=terse");
  if (!cluster.isDurable) settings.push("fsync=off", "synchronous_commit=off", "full_page_writes=off");
  return ["-D", dataOf(cluster), ...network, ...settings.flatMap((setting) => ["-c", setting])];
}

/** Built, not stripped: whatever else is set around us (PGDATA, LD_PRELOAD, a foreign locale) never reaches the children. */
function childEnvironment(searchPath: string): Record<string, string> {
  return { PATH: searchPath, LC_ALL: "C", TZ: "UTC" };
}

function accountOf(owner: Owner): Partial<Account> {
  return owner.isRoot ? owner.server : {};
}

async function readLock(dataDir: string): Promise<{ readonly pid: number; readonly text: string } | undefined> {
  try {
    const text = await readFile(join(dataDir, "postmaster.pid"), "utf8");
    const pid = Number.parseInt(text, 10);
    return pid > 1 ? { pid, text } : undefined;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "EACCES")) return undefined;
    throw error;
  }
}

/**
 * After a reboot the pid in the lock file may belong to any process, and a killed postmaster that nobody reaped still has its pid.
 * So /proc is asked for its name and state, and for its working folder (a postmaster's is its data folder) where we may read that:
 * root without SYS_PTRACE, as in a container, may not, and must not take a living postmaster for a dead one.
 */
async function isPostmaster(pid: number, dataDir: string): Promise<boolean> {
  if (process.platform !== "linux") return signalProcess(pid, 0);
  try {
    const status = await readFile(`/proc/${pid}/status`, "utf8");
    const { uid } = await stat(dataDir);
    const isAlive = status.startsWith("Name:\tpostgres\n") && !/^State:\s*[ZX]/m.test(status);
    // The folder's owner could write any pid there: root signals none but that owner's own processes.
    if (!isAlive || /^Uid:\s+(\d+)/m.exec(status)?.[1] !== String(uid)) return false;
    return (await readlink(`/proc/${pid}/cwd`)) === (await realpath(dataDir));
  } catch (error) {
    if (hasCode(error, "EACCES", "EPERM")) return true;
    if (hasCode(error, "ENOENT", "ESRCH")) return false;
    throw error;
  }
}

/** Postgres refuses to start while any process has the pid in its lock file; one that is proven not to be a postmaster must not block it for ever. */
async function removeStaleLock(dataDir: string): Promise<void> {
  const lock = await readLock(dataDir);
  if (lock === undefined || (await isPostmaster(lock.pid, dataDir)) || process.platform !== "linux") return;
  // Another process may have started the database in this moment: then the file has changed and is not touched.
  if ((await readLock(dataDir))?.text === lock.text) await unlink(join(dataDir, "postmaster.pid")).catch(ignoreAbsent);
}

async function boundLog(dir: string): Promise<void> {
  const path = join(dir, "log");
  if ((await exists(path)) && (await stat(path)).size > LOG_BYTES_MAX) await rename(path, `${path}.1`);
}

/** Whether no process has that pid any more; one of another account still counts as there. */
export function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return hasCode(error, "ESRCH");
  }
}

function signalProcess(pid: number, signal: "SIGINT" | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if (hasCode(error, "ESRCH", "EPERM")) return false;
    throw error;
  }
}

function ignoreAbsent(error: unknown): void {
  if (!hasCode(error, "ENOENT")) throw error;
}

function errnoOf(code: unknown): string | undefined {
  return typeof code === "string" ? code : undefined;
}
