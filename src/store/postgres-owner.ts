/**
 * The owner of the embedded database: which accounts it runs and stores as, and the checks that a folder or file is ours.
 * Without them another account of the machine could plant a database that root then starts.
 */
import { constants } from "node:fs";
import { chmod, type FileHandle, lstat, mkdir, open, rename, stat } from "node:fs/promises";
import { randomText } from "../secrets.ts";

/** The largest file of ours that is read whole: paths, a password and a few lines of JSON. */
const FILE_BYTES_MAX = 64 * 1024;

/** A reason why the embedded database cannot be used, told as a sentence with the way out. There is nothing secret in it. */
export class EmbeddedPostgresError extends Error {}

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Postgres refuses uid 0. This is "nobody" on every Linux; it is shared with other daemons, so the database asks it for a password too. */
const UNPRIVILEGED: Account = { uid: 65534, gid: 65534 };

export interface Owner {
  /** Owns the folders and files around the database: the owner of the checkout, so that root and that person can take turns. */
  readonly files: Account;
  /** Runs initdb and postgres; owns the data and the socket. */
  readonly server: Account;
  /** Whether this process is root and gives the children to another account. */
  readonly isRoot: boolean;
  /** Windows has neither uids nor modes: every check of them is left out there. */
  readonly isPosix: boolean;
}

export async function findOwner(checkoutDir: string): Promise<Owner> {
  const [uid, gid] = [process.geteuid?.(), process.getegid?.()];
  if (uid === undefined || gid === undefined) {
    const nobody = { uid: -1, gid: -1 };
    return { files: nobody, server: nobody, isRoot: false, isPosix: false };
  }
  const self = { uid, gid };
  if (uid !== 0) return { files: self, server: self, isRoot: false, isPosix: true };
  const checkout = await stat(checkoutDir);
  const owner = { uid: checkout.uid, gid: checkout.gid };
  const server = owner.uid === 0 ? UNPRIVILEGED : owner;
  return { files: owner, server, isRoot: true, isPosix: true };
}

/** As root: the same files, but the database runs as "nobody". */
export function unprivileged(owner: Owner): Owner {
  return { ...owner, server: UNPRIVILEGED };
}

/** As root: whoever the data belongs to runs the database, if that is one of the two accounts that a start of ours would have given it to. */
export async function ownerOfData(dataDir: string, owner: Owner): Promise<Owner> {
  const isNobodys = owner.isRoot && (await lstat(dataDir)).uid === UNPRIVILEGED.uid;
  return isNobodys ? unprivileged(owner) : owner;
}

/** The mode of a folder of ours that the database must pass but not list: open for passing only if it runs as somebody else. */
export function passableMode(owner: Owner): number {
  return owner.files.uid === owner.server.uid ? 0o700 : 0o711;
}

/** Makes a folder that must not exist yet, whatever the umask. Owner and mode are set on the open folder, so that nobody swaps it for a link between. */
export async function makeFolder(path: string, account: Account, mode: number, owner: Owner): Promise<void> {
  await mkdir(path, { mode });
  if (!owner.isPosix) return;
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    if (owner.isRoot) await folder.chown(account.uid, account.gid);
    await folder.chmod(mode);
  } finally {
    await folder.close();
  }
}

/** As makeFolder, but a folder that exists is checked instead. */
export async function ensureFolder(path: string, account: Account, mode: number, owner: Owner): Promise<void> {
  try {
    await makeFolder(path, account, mode, owner);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
    await checkFolder(path, [account.uid], owner);
  }
}

/** A real directory, of one of these accounts, that nobody else can write; `mode` asks for exactly that mode. Says what is wrong, and changes nothing. */
export async function checkFolder(path: string, uids: readonly number[], owner: Owner, mode?: number): Promise<void> {
  const found = await lstat(path);
  if (!found.isDirectory())
    throw new EmbeddedPostgresError(`${path} is not a real folder (a link, perhaps): it is not used.`);
  if (!owner.isPosix) return;
  if (!uids.includes(found.uid)) {
    throw new EmbeddedPostgresError(
      `${path} belongs to uid ${found.uid}, not to uid ${uids.join(" or ")}: it is not used and nothing in it was changed.`,
    );
  }
  const bits = found.mode & 0o777;
  if ((bits & 0o022) !== 0 || (mode !== undefined && bits !== mode)) {
    const wanted = mode === undefined ? "no write permission for group and others" : `mode ${mode.toString(8)}`;
    throw new EmbeddedPostgresError(`${path} has mode ${bits.toString(8)}, not ${wanted}: it is not used.`);
  }
}

/** The uids whose folders and files around the database are believed: the owner of the checkout, and root, who can change everything anyway. */
export function trustedUids(owner: Owner): readonly number[] {
  return [owner.files.uid, 0];
}

/** The text of a file of ours; undefined if there is none. A link, another owner or a file that others can write is refused. */
export async function readOwned(path: string, owner: Owner): Promise<string | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | noFollow());
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw hasCode(error, "ELOOP") ? new EmbeddedPostgresError(`${path} is a link: it is not read.`) : error;
  }
  try {
    const found = await file.stat();
    const isOurs = !owner.isPosix || (trustedUids(owner).includes(found.uid) && (found.mode & 0o022) === 0);
    if (!found.isFile() || !isOurs || found.size > FILE_BYTES_MAX) {
      throw new EmbeddedPostgresError(
        `${path} is not a file of ours (uid ${found.uid}, mode ${(found.mode & 0o777).toString(8)}).`,
      );
    }
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

/** Writes a file of mode 0600 whole or not at all: beside it first, then renamed. */
export async function writeOwned(path: string, text: string, account: Account, owner: Owner): Promise<void> {
  const beside = `${path}.${process.pid}.${randomText(6)}`;
  const file = await open(beside, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | noFollow(), 0o600);
  try {
    await file.writeFile(text);
    if (owner.isRoot) await file.chown(account.uid, account.gid);
    if (owner.isPosix) await file.chmod(0o600);
  } finally {
    await file.close();
  }
  await rename(beside, path);
}

/** Opens a log for appending: 0600, never through a link, and never a second name of somebody's file. */
export async function openLog(path: string, owner: Owner): Promise<FileHandle> {
  const file = await open(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | noFollow(), 0o600);
  try {
    const found = await file.stat();
    if (!found.isFile() || found.nlink !== 1) throw new EmbeddedPostgresError(`${path} is not a file of ours.`);
    if (owner.isRoot) await file.chown(owner.files.uid, owner.files.gid);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Opens a copied file or folder for everybody's reading, and closes it for everybody's writing. */
export async function openForReading(path: string, isFolder: boolean, isExecutable: boolean): Promise<void> {
  await chmod(path, isFolder || isExecutable ? 0o755 : 0o644);
}

export async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR")) return false;
    throw error;
  }
}

export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}

function noFollow(): number {
  // Windows has no such flag; there the constant is absent.
  return (constants.O_NOFOLLOW as number | undefined) ?? 0;
}
