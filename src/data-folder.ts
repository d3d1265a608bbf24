/** The data folder of development: what production takes from its environment is made here on the first start, readable for its owner alone. */
import { chownSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, parseSecretKey } from "./config.ts";
import { randomKey, randomText } from "./secrets.ts";

const SECRET_KEY_FILE = "secret-key";
const DEMO_FILE = "demo.json";
const FILE_MODE = 0o600;
/** As root the database runs under an unprivileged account, which must pass the folder but read nothing in it. */
const FOLDER_MODE_OF_ROOT = 0o711;
const FOLDER_MODE = 0o700;

/** The folder, and whose checkout it belongs to: what root makes there is given to that person, so that both can start the server in turns. */
export interface DataFolder {
  readonly dir: string;
  readonly checkoutDir: string;
}

/** The secret key of this folder, made when there is none. It never replaces one: what it sealed would be lost. */
export function developmentSecretKey(folder: DataFolder): Buffer {
  const file = join(folder.dir, SECRET_KEY_FILE);
  write(folder, file, `${randomKey().toString("hex")}\n`, "once");
  const key = parseSecretKey(readFileSync(file, "utf8").trim());
  if (key === undefined)
    throw new ConfigError(`${file} does not hold a secret key. If nothing was sealed with it, delete the file.`);
  return key;
}

/** What the demo made in this folder's database: ids only, no secret. */
export interface DemoIds {
  /** Present until everything is made and its password was shown. */
  readonly isBegun?: boolean;
  readonly clientId: string;
  readonly apiIdentifier: string;
  readonly email: string;
}

export function readDemoIds(folder: DataFolder): DemoIds | undefined {
  try {
    return JSON.parse(readFileSync(join(folder.dir, DEMO_FILE), "utf8")) as DemoIds;
  } catch {
    // No file, or one that somebody edited: then there is no demo, and none is made in a database that holds something.
    return undefined;
  }
}

export function writeDemoIds(folder: DataFolder, ids: DemoIds): void {
  write(folder, join(folder.dir, DEMO_FILE), `${JSON.stringify(ids)}\n`, "anew");
}

/** A file is there whole or not at all, whoever reads it meanwhile and whenever this process dies. "once" leaves one that exists as it is. */
function write(folder: DataFolder, file: string, text: string, how: "once" | "anew"): void {
  const isRoot = process.geteuid?.() === 0;
  const owner = isRoot ? statSync(folder.checkoutDir) : undefined;
  const made = mkdirSync(folder.dir, { recursive: true, mode: owner?.uid === 0 ? FOLDER_MODE_OF_ROOT : FOLDER_MODE });
  if (owner !== undefined && made !== undefined) chownSync(folder.dir, owner.uid, owner.gid);
  const draft = `${file}.${randomText()}`;
  writeFileSync(draft, text, { mode: FILE_MODE, flag: "wx" });
  try {
    if (owner !== undefined) chownSync(draft, owner.uid, owner.gid);
    if (how === "anew") renameSync(draft, file);
    // Fails when the file exists, so of two first starts one makes the key and both read the same.
    else linkSync(draft, file);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}
