/** The cluster of the embedded database: made aside and put in place whole, or opened with what it remembers of its making. */
import { lstat, readdir, readFile, rename, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { randomText } from "../secrets.ts";
import { type Binaries, type BinariesKind, type BinariesSearch, findBinaries, majorOf } from "./postgres-binaries.ts";
import type { PostgresConnection } from "./postgres-connection.ts";
import {
  EmbeddedPostgresError,
  hasCode,
  makeFolder,
  passableMode,
  readOwned,
  trustedUids,
  writeOwned,
} from "./postgres-owner.ts";
import { checkPlace, ensureSocketFolder, rememberHome, rememberPlace, type Surroundings } from "./postgres-place.ts";
import { type Cluster, dataOf, initCluster, isGone, runAs, SOCKET_PORT } from "./postgres-process.ts";

/** The database's password: 24 random bytes, known to this folder alone. */
const PASSWORD_BYTES = 24;
/** What made the folder; it asks for the same again, so that an upgrade of the machine's package never meets a folder it cannot open. */
const MEMORY_FILE = "binaries";

interface Memory {
  readonly kind: BinariesKind;
  readonly version: string;
  readonly directory: string;
  readonly source: string;
}

export interface OpenCluster {
  readonly cluster: Cluster;
  readonly connection: PostgresConnection;
  readonly kind: BinariesKind;
  /** The binaries that open this folder; looked for only when it has to be started. */
  binaries(): Promise<Binaries>;
}

/** Makes the cluster beside its place and renames it there, so that the place is whole or absent. If another process was faster, its cluster stays and ours goes. */
export async function createCluster(
  around: Surroundings,
  made: { readonly dir: string; readonly binaries: Binaries; readonly isDurable: boolean },
): Promise<void> {
  const { owner } = around;
  await removeUnfinished(made.dir, around);
  const dir = `${made.dir}.init-${process.pid}-${randomText(6)}`;
  const password = randomText(PASSWORD_BYTES);
  try {
    await makeFolder(dir, owner.files, passableMode(owner), owner);
    await makeFolder(join(dir, "data"), owner.server, 0o700, owner);
    await makeFolder(join(dir, "socket"), owner.server, 0o700, owner);
    await writeOwned(join(dir, "password"), password, owner.files, owner);
    await writeOwned(join(dir, "used"), "", owner.files, owner);
    if (!owner.isPosix) await writeOwned(join(dir, "port"), String(await freePort()), owner.files, owner);
    await writeMemory(dir, made.binaries, around);
    await rememberHome(around, dir);
    const passwordFile = join(dir, "password.once");
    await writeOwned(passwordFile, password, owner.server, owner);
    const cluster = { ...clusterOf(dir, around, made.isDurable), socketDir: join(dir, "socket"), tcpPort: undefined };
    await initCluster(made.binaries.bin, cluster, passwordFile);
    await rm(passwordFile);
    await rememberPlace(around, made.dir);
    await rename(dir, made.dir);
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    if (!hasCode(error, "ENOTEMPTY", "EEXIST")) throw error;
  }
}

/** Opens the place for starting and connecting, after every check of it. Starts nothing. */
export async function openCluster(
  around: Surroundings,
  wanted: { readonly dir: string; readonly search: BinariesSearch; readonly isDurable: boolean },
): Promise<OpenCluster> {
  const { dir, search } = wanted;
  await checkPlace(dir, around.owner);
  const memory = await readMemory(dir, around);
  if (search.kind !== undefined && search.kind !== memory.kind) {
    throw new EmbeddedPostgresError(
      `${dir} was made with EMBEDDED_POSTGRES=${memory.kind} (${memory.source}), and ${search.kind} is asked for now. ` +
        "Unset EMBEDDED_POSTGRES, or set DATA_DIR to another folder to begin with an empty database.",
    );
  }
  const password = await readOwned(join(dir, "password"), around.owner);
  if (password === undefined)
    throw new EmbeddedPostgresError(`${join(dir, "password")} is missing: the database cannot be opened without it.`);
  const socketDir = await ensureSocketFolder(dir, around);
  const port = around.owner.isPosix ? undefined : Number(await readOwned(join(dir, "port"), around.owner));
  const cluster = { ...clusterOf(dir, around, wanted.isDurable), socketDir, tcpPort: port };
  return {
    cluster,
    connection: {
      host: port === undefined ? socketDir : "127.0.0.1",
      port: port ?? SOCKET_PORT,
      user: "signet",
      password,
      database: "signet",
      ssl: false,
    },
    kind: memory.kind,
    binaries: () => findSameBinaries(around, search, cluster, memory),
  };
}

/** The same kind and major that made the folder. A newer minor is taken and remembered. */
async function findSameBinaries(
  around: Surroundings,
  search: BinariesSearch,
  cluster: Cluster,
  memory: Memory,
): Promise<Binaries> {
  const major = (await dataMajor(cluster)) ?? majorOf(memory.version);
  await checkReach(around, cluster);
  try {
    const found = await findBinaries({ ...search, kind: memory.kind, major });
    if (found.bin !== memory.directory || found.version !== memory.version)
      await writeMemory(cluster.dir, found, around);
    return found;
  } catch (error) {
    if (!(error instanceof EmbeddedPostgresError)) throw error;
    throw new EmbeddedPostgresError(
      `${cluster.dir} holds a database of PostgreSQL ${major}, made with ${memory.source}. Nothing in it was changed. ` +
        `To open it, install exactly ${memory.source}; to begin with an empty one, set DATA_DIR to another folder.\n${error.message}`,
    );
  }
}

/** A checkout that was moved below a closed folder: said before Postgres fails with less. */
async function checkReach(around: Surroundings, cluster: Cluster): Promise<void> {
  if (!around.owner.isRoot) return;
  const args = ["-c", 'cd "$1" && cd "$2"', "sh", dataOf(cluster), cluster.socketDir];
  const result = await runAs(around.owner.server, { file: "/bin/sh", args, searchPath: around.searchPath });
  if (result.code === 0) return;
  throw new EmbeddedPostgresError(
    `uid ${around.owner.server.uid}, which the database runs as, cannot pass the folders above ${dataOf(cluster)} ` +
      "(was the checkout moved?). Let others pass them (chmod o+x), or move it back.",
  );
}

async function dataMajor(cluster: Cluster): Promise<string | undefined> {
  try {
    const text = (await readFile(join(dataOf(cluster), "PG_VERSION"), "utf8")).trim();
    return /^\d{2}$/.test(text) ? text : undefined;
  } catch (error) {
    if (hasCode(error, "ENOENT"))
      throw new EmbeddedPostgresError(`${cluster.dir} is not a database of Signet: it was not touched.`);
    throw error;
  }
}

async function writeMemory(dir: string, binaries: Binaries, around: Surroundings): Promise<void> {
  const { kind, version, source, bin } = binaries;
  const memory: Memory = { kind, version, source, directory: bin };
  await writeOwned(join(dir, MEMORY_FILE), `${JSON.stringify(memory)}\n`, around.owner.files, around.owner);
}

async function readMemory(dir: string, around: Surroundings): Promise<Memory> {
  const text = await readOwned(join(dir, MEMORY_FILE), around.owner);
  const damaged = new EmbeddedPostgresError(`${join(dir, MEMORY_FILE)} is missing or damaged: ${dir} is not opened.`);
  if (text === undefined) throw damaged;
  try {
    const { kind, version, source, directory } = JSON.parse(text) as Record<string, unknown>;
    const isKind = kind === "npm" || kind === "system";
    if (isKind && typeof version === "string" && typeof source === "string" && typeof directory === "string") {
      return { kind, version, source, directory };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw damaged;
}

/** What a start that was killed has left: only ours, and only if its process is gone. */
async function removeUnfinished(dir: string, around: Surroundings): Promise<void> {
  const parent = dirname(dir);
  for (const name of await readdir(parent)) {
    if (!name.startsWith(`${basename(dir)}.init-`)) continue;
    const path = join(parent, name);
    const pid = Number(name.slice(basename(dir).length + ".init-".length).split("-")[0]);
    const found = await lstat(path).catch(() => undefined);
    const isOurs =
      found?.isDirectory() === true && (!around.owner.isPosix || trustedUids(around.owner).includes(found.uid));
    if (isOurs && pid > 1 && isGone(pid)) await rm(path, { recursive: true, force: true });
  }
}

function clusterOf(
  dir: string,
  around: Surroundings,
  isDurable: boolean,
): Pick<Cluster, "dir" | "owner" | "isDurable" | "searchPath"> {
  return { dir, owner: around.owner, isDurable, searchPath: around.searchPath };
}

/** A port that nobody uses now; Windows has no socket that the driver can use. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
