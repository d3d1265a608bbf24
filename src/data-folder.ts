/** The data folder of development: what production takes from its environment is made here on the first start, readable for its owner alone. */
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, parseSecretKey } from "./config.ts";

const SECRET_KEY_FILE = "secret-key";
const DEMO_FILE = "demo.json";

/** The secret key of this folder, made when there is none. It never replaces one: what it sealed would be lost. */
export function developmentSecretKey(dataDir: string): Buffer {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const file = join(dataDir, SECRET_KEY_FILE);
  try {
    // "wx" fails when the file exists, so of two first starts one makes the key and both read the same.
    writeFileSync(file, `${randomBytes(32).toString("hex")}\n`, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  const key = parseSecretKey(readFileSync(file, "utf8").trim());
  if (key === undefined)
    throw new ConfigError(`${file} does not hold a secret key. If nothing was sealed with it, delete the file.`);
  return key;
}

/** What the demo made in this folder's database: ids only, no secret. */
export interface DemoIds {
  readonly clientId: string;
  readonly apiIdentifier: string;
  readonly email: string;
}

export function readDemoIds(dataDir: string): DemoIds | undefined {
  try {
    return JSON.parse(readFileSync(join(dataDir, DEMO_FILE), "utf8")) as DemoIds;
  } catch {
    // No file, or one that somebody edited: then there is no demo, and none is made in a database that holds something.
    return undefined;
  }
}

export function writeDemoIds(dataDir: string, ids: DemoIds): void {
  const file = join(dataDir, DEMO_FILE);
  writeFileSync(file, `${JSON.stringify(ids)}\n`, { mode: 0o600 });
  chmodSync(file, 0o600);
}
