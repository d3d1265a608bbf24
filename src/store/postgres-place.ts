/** The place of the embedded database: DATA_DIR/postgres, unless a trial shows that it cannot work there; found again after the checkout has moved. */
import { lstat, mkdir, readdir, realpath, rename, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { basename, dirname, isAbsolute, join, relative } from "node:path";
import { now } from "../clock.ts";
import { randomText, sha256 } from "../secrets.ts";
import {
  checkFolder,
  EmbeddedPostgresError,
  ensureFolder,
  exists,
  makeFolder,
  type Owner,
  passableMode,
  readOwned,
  trustedUids,
  writeOwned,
} from "./postgres-owner.ts";
import { runAs, SOCKET_PORT, stopPostmaster } from "./postgres-process.ts";

/** Linux takes 107 bytes for a socket's path and macOS 103; Postgres makes a lock file beside it with a longer name. */
const SOCKET_PATH_BYTES_MAX = 100;
/** What root keeps outside the checkout. */
const ROOT_STATE = "/var/lib/signet";
/** Emptied at boot, or swept of old files. */
const TEMPORARY = ["/tmp", "/var/tmp", "/dev/shm", "/run"];
const HASH_HEX = 16;
/** More databases set aside on one day than anybody will have. */
const SET_ASIDE_MAX = 100;
/** The file in DATA_DIR that names a place elsewhere, and the file in the place that names its DATA_DIR. */
const PATH_FILE = "postgres.path";
const HOME_FILE = "home";

export interface Surroundings {
  /** Real paths. */
  readonly dataDir: string;
  readonly checkoutDir: string;
  readonly owner: Owner;
  readonly dataHome: string | undefined;
  readonly runtimeDir: string | undefined;
  readonly searchPath: string;
}

export interface Place {
  readonly dir: string;
  readonly notes: readonly string[];
}

/** Makes DATA_DIR if it is not there (its secrets are files of mode 0600), checks it if it is, and returns its real path. */
export async function ensureDataDir(dataDir: string, owner: Owner): Promise<string> {
  if (await exists(dataDir)) {
    await checkFolder(dataDir, owner.isRoot ? trustedUids(owner) : [owner.files.uid], owner);
    return realpath(dataDir);
  }
  await mkdir(dirname(dataDir), { recursive: true });
  await ensureFolder(dataDir, owner.files, passableMode(owner), owner);
  return realpath(dataDir);
}

/** The place that this DATA_DIR has already; undefined if it has none. */
export async function findPlace(around: Surroundings): Promise<Place | undefined> {
  const named = (await readOwned(join(around.dataDir, PATH_FILE), around.owner))?.trim();
  if (named !== undefined) return findNamedPlace(around, named);
  const dir = join(around.dataDir, "postgres");
  return (await exists(dir)) ? { dir, notes: temporaryNotes(dir) } : undefined;
}

/** Where a new cluster shall lie: the first place where a trial works. What another DATA_DIR left behind there is set aside. */
export async function choosePlace(around: Surroundings): Promise<Place> {
  const inDataDir = join(around.dataDir, "postgres");
  const cause = await tryFolder(around, around.dataDir);
  if (cause === undefined) return { dir: inDataDir, notes: temporaryNotes(inDataDir) };
  const state = around.owner.isRoot ? ROOT_STATE : join(around.dataHome ?? join(homedir(), ".local/share"), "signet");
  const notes = [`The database does not lie in ${inDataDir}, because ${cause}.`];
  if (isTemporary(state)) {
    throw new EmbeddedPostgresError(
      `${notes[0]} ${state} is emptied by a reboot. Set DATA_DIR to a folder of your own.`,
    );
  }
  await ensureState(state, around.owner);
  const fallbackCause = await tryFolder(around, state);
  if (fallbackCause !== undefined)
    throw new EmbeddedPostgresError(`${notes[0]} Nor can it lie in ${state}, because ${fallbackCause}.`);
  const dir = join(state, placeHash(around));
  if ((await exists(dir)) && !(await isNamed(dir, around.owner))) notes.push(await setAside(dir, around.owner));
  return { dir, notes };
}

/** Writes down, before the place exists, that it belongs to this DATA_DIR: so a start that is killed in between loses nothing. */
export async function rememberPlace(around: Surroundings, dir: string): Promise<void> {
  if (dirname(dir) === around.dataDir) return;
  await writeOwned(join(around.dataDir, PATH_FILE), `${dir}\n`, around.owner.files, around.owner);
}

/** The place remembers its DATA_DIR, so that one whose DATA_DIR was deleted is never opened with another secret. */
export async function rememberHome(around: Surroundings, dir: string): Promise<void> {
  await writeOwned(join(dir, HOME_FILE), `${around.dataDir}\n`, around.owner.files, around.owner);
}

/** Every folder on the way is ours, real, and closed to others; else the database is not touched. */
export async function checkPlace(dir: string, owner: Owner): Promise<void> {
  await checkFolder(dirname(dir), trustedUids(owner), owner);
  await checkFolder(dir, [owner.files.uid], owner);
  await checkFolder(join(dir, "data"), [owner.server.uid], owner, 0o700);
}

/** The folder of the socket, made if need be: in the place, or elsewhere if that path is longer than a socket's can be. */
export async function ensureSocketFolder(dir: string, around: Surroundings): Promise<string> {
  const { owner } = around;
  const inPlace = join(dir, "socket");
  if (!owner.isPosix) return inPlace;
  const folder = isShortEnough(inPlace) ? inPlace : await distantSocketFolder(dir, around);
  if (!(await exists(folder))) await ensureFolder(folder, owner.server, 0o700, owner);
  await checkFolder(folder, [owner.server.uid], owner, 0o700);
  return folder;
}

/** Beside the clusters and not in one, so that a cluster made there later finds its name free. */
async function distantSocketFolder(dir: string, around: Surroundings): Promise<string> {
  const { owner } = around;
  const name = `${hash([dir])}.socket`;
  const tooLong = `The path of the database's socket below ${dir} is longer than ${SOCKET_PATH_BYTES_MAX} bytes`;
  if (owner.isRoot) {
    await ensureState(ROOT_STATE, owner);
    return join(ROOT_STATE, name);
  }
  const runtime = around.runtimeDir;
  if (runtime === undefined || !isAbsolute(runtime) || !(await exists(runtime))) {
    throw new EmbeddedPostgresError(
      `${tooLong}, and there is no XDG_RUNTIME_DIR to put it in. Set DATA_DIR to a shorter path.`,
    );
  }
  await checkFolder(runtime, [owner.files.uid], owner);
  const folder = join(runtime, `signet-${name}`);
  if (!isShortEnough(folder))
    throw new EmbeddedPostgresError(`${tooLong}, and so is ${folder}. Set DATA_DIR to a shorter path.`);
  return folder;
}

async function findNamedPlace(around: Surroundings, dir: string): Promise<Place | undefined> {
  const file = join(around.dataDir, PATH_FILE);
  if (!isAbsolute(dir)) throw new EmbeddedPostgresError(`${file} does not hold an absolute path.`);
  if (!(await exists(dir))) {
    const aside = await setAsideNames(dir);
    if (aside.length === 0) return undefined;
    throw new EmbeddedPostgresError(
      `${file} names ${dir}, which was set aside as ${aside.join(", ")}. Rename it back, or delete ${file} to begin with an empty database.`,
    );
  }
  const notes = [`The database lies in ${dir}, as ${file} says.`];
  await checkFolder(dir, [around.owner.files.uid], around.owner);
  const home = (await readOwned(join(dir, HOME_FILE), around.owner))?.trim();
  if (home !== around.dataDir) {
    if (await isNamed(dir, around.owner)) {
      throw new EmbeddedPostgresError(
        `${dir} is the database of ${home}. Delete ${file} to begin with an empty database here.`,
      );
    }
    notes.push(`It was made for ${home ?? "another folder"}, which has moved.`);
    await rememberHome(around, dir);
  }
  return { dir, notes };
}

/** Whether the DATA_DIR that the place remembers still names it. */
async function isNamed(dir: string, owner: Owner): Promise<boolean> {
  const home = (await readOwned(join(dir, HOME_FILE), owner))?.trim();
  if (home === undefined || !isAbsolute(home) || !(await exists(home))) return false;
  return (await readOwned(join(home, PATH_FILE), owner))?.trim() === dir;
}

/** The secret that opens such a database went with its DATA_DIR; it is kept for whoever still has it, and never opened. */
async function setAside(dir: string, owner: Owner): Promise<string> {
  await checkFolder(dir, [owner.files.uid], owner);
  await stopPostmaster(join(dir, "data"));
  const day = now().toISOString().slice(0, 10);
  for (let count = 1; count <= SET_ASIDE_MAX; count += 1) {
    const target = `${dir}.abandoned-${day}${count === 1 ? "" : `-${count}`}`;
    if (await exists(target)) continue;
    await rename(dir, target);
    return `An earlier database whose DATA_DIR is gone was set aside as ${target}.`;
  }
  throw new EmbeddedPostgresError(`More than ${SET_ASIDE_MAX} databases were set aside beside ${dir} today.`);
}

async function setAsideNames(dir: string): Promise<readonly string[]> {
  const parent = dirname(dir);
  if (!(await exists(parent))) return [];
  const names = await readdir(parent);
  return names.filter((name) => name.startsWith(`${basename(dir)}.abandoned-`)).map((name) => join(parent, name));
}

/** Tries as the database's account what the database will do below this folder. Says in half a sentence why it cannot; undefined if it can. */
async function tryFolder(around: Surroundings, parent: string): Promise<string | undefined> {
  const { owner } = around;
  if (!owner.isPosix) return undefined;
  const trial = join(parent, `postgres.trial-${process.pid}-${randomText(6)}`);
  try {
    const folder = join(trial, "t");
    await makeFolder(trial, owner.files, passableMode(owner), owner);
    await makeFolder(folder, owner.server, 0o700, owner);
    const script = 'cd "$1" || exit 3; mkdir -m 0700 made && : >made/file';
    const account = owner.isRoot ? owner.server : undefined;
    const args = ["-c", script, "sh", folder];
    const result = await runAs(account, { file: "/bin/sh", args, searchPath: around.searchPath });
    if (result.code === 3)
      return `uid ${owner.server.uid}, which the database runs as, cannot pass the folders above ${parent}`;
    if (result.code !== 0)
      return `uid ${owner.server.uid} cannot work in ${parent} (${result.output.split("\n")[0] ?? result.errno})`;
    const made = await lstat(join(folder, "made"));
    if ((made.mode & 0o777) !== 0o700 || made.uid !== owner.server.uid)
      return `the file system of ${parent} keeps no owners and modes`;
    return await trySocket(join(folder, "made", "s"), parent);
  } catch (error) {
    return `a trial folder in ${parent} failed (${error instanceof Error ? error.message : String(error)})`;
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

async function trySocket(path: string, parent: string): Promise<string | undefined> {
  // A path that is too long proves nothing about the file system; that socket will lie elsewhere anyway.
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) return undefined;
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    return undefined;
  } catch (error) {
    return `the file system of ${parent} has no sockets (${error instanceof Error ? error.message : String(error)})`;
  } finally {
    server.close();
  }
}

function isShortEnough(socketDir: string): boolean {
  return Buffer.byteLength(join(socketDir, `.s.PGSQL.${SOCKET_PORT}`)) <= SOCKET_PATH_BYTES_MAX;
}

/** With a DATA_DIR of its own a checkout may have several databases: both paths tell them apart. */
function placeHash(around: Surroundings): string {
  const isDefault = around.dataDir === join(around.checkoutDir, ".data");
  return hash(isDefault ? [around.checkoutDir] : [around.checkoutDir, around.dataDir]);
}

function hash(paths: readonly string[]): string {
  return Buffer.from(sha256(paths.join("\0")), "base64url")
    .toString("hex")
    .slice(0, HASH_HEX);
}

function temporaryNotes(dir: string): readonly string[] {
  return isTemporary(dir) ? [`${dir} lies in a temporary folder: a reboot or a sweep of old files empties it.`] : [];
}

function isTemporary(path: string): boolean {
  return [...TEMPORARY, tmpdir()].some((folder) => {
    const below = relative(folder, path);
    return !below.startsWith("..") && !isAbsolute(below);
  });
}

/** Root's state is passable for the accounts its databases run as; a person's is closed. */
async function ensureState(state: string, owner: Owner): Promise<void> {
  await mkdir(dirname(state), { recursive: true });
  const self = owner.isRoot ? { uid: 0, gid: 0 } : owner.files;
  await ensureFolder(state, self, owner.isRoot ? 0o711 : 0o700, owner);
}
