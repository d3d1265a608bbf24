/** Configuration: the one reader of the environment. Every fault is found before anything starts, and all are said in one message. */
import { readFileSync } from "node:fs";
import type { z } from "zod";
import {
  environmentTable,
  knownNames,
  parseSecretKey,
  SECRET_NAMES,
  type TrustProxy,
  valueFault,
} from "./environment.ts";
import { type KeyTimes, keyTimeFaults } from "./key-times.ts";

export type { TrustProxy };
export { parseSecretKey };

/** A longer file is no secret, but something else that a name points to by mistake. */
const SECRET_FILE_CHARS_MAX = 64 * 1024;
const FOLDER_NAMES = ["PATH", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] as const;
const PORT_DEFAULT = 3000;
/** Shorter names have too many neighbours: USER is close to ISSUER, HOME to HOST. */
const MISSPELLED_CHARS_MIN = 6;
const MISSPELLED_LONG_CHARS_MIN = 10;

export type Environment = Readonly<Record<string, string | undefined>>;

export interface Config {
  readonly isProduction: boolean;
  readonly issuer: string;
  readonly port: number;
  readonly host: string;
  readonly managementPort: number;
  readonly managementHost: string;
  /** Absent: the embedded Postgres (development only). */
  readonly databaseUrl: string | undefined;
  readonly migrationDatabaseUrl: string | undefined;
  readonly databasePoolMax: number;
  readonly embeddedPostgres: "npm" | "system" | undefined;
  /** Absent: what expires lives in Postgres. Several: the nodes of a Redis Cluster. */
  readonly redisUrls: readonly string[] | undefined;
  /** Absent in development until the data folder gave one. */
  readonly secretKeys: readonly Buffer[] | undefined;
  readonly keyTimes: KeyTimes;
  /** Older events leave the audit trail, a sealed batch at a time. */
  readonly auditRetentionSeconds: number;
  readonly trustProxy: TrustProxy;
  readonly shutdownDelaySeconds: number;
  readonly outboundAllow: readonly string[];
  /** Absent: development shows mails on a page, production sends none. */
  readonly smtpUrl: string | undefined;
  readonly mailFrom: string;
  /** Whether strangers may sign up. */
  readonly signUp: "on" | "off" | "invitation";
  /** Whether a sign-in may be remembered on a device beyond the ordinary limits of a session. */
  readonly mayRemember: boolean;
  readonly termsUrl: string | undefined;
  readonly privacyUrl: string | undefined;
  /** Whose pages for people are closed; and, where there are any, whose alone are open. */
  readonly denyNetworks: readonly string[];
  readonly allowNetworks: readonly string[];
  /** The list of stolen passwords that new ones are held against; absent: none is asked. */
  readonly breachedPasswordsUrl: string | undefined;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
  readonly isLogPretty: boolean;
  readonly dataDir: string;
  readonly brandName: string;
  readonly demoPort: number;
  /** Where the embedded Postgres looks for programs and folders of this machine, and nothing else of the environment. */
  readonly folders: Readonly<Record<string, string | undefined>>;
}

/** The environment cannot be used; the message lists every fault, one a line. */
export class ConfigError extends Error {}

/** Reads and checks everything. Throws ConfigError with every fault. */
export function readConfig(env: Environment, isTerminal = false): Config {
  const faults: string[] = [];
  const isProduction = env["NODE_ENV"] === "production";
  const values = withFiles(env, faults);
  for (const name of knownNames()) {
    const found = valueFault(name, values[name] ?? "");
    if (found !== undefined) faults.push(found);
  }
  if (isProduction) faults.push(...missingInProduction(values));
  if (isProduction) faults.push(...withoutMail(values));
  const parsed = environmentTable(isProduction).safeParse(values);
  if (!parsed.success) faults.push(...parsed.error.issues.map(({ message }) => message));
  else faults.push(...keyTimeFaults(keyTimesOf(parsed.data)));
  if (!parsed.success || faults.length > 0) throw configError(faults, misspelledNames(env));
  const read = parsed.data;
  const listenPort = read.PORT ?? portOf(read.ISSUER);
  return Object.freeze({
    isProduction,
    issuer: read.ISSUER?.origin ?? `http://localhost:${listenPort}`,
    port: listenPort,
    host: read.HOST ?? (isProduction ? "0.0.0.0" : "127.0.0.1"),
    managementPort: read.MANAGEMENT_PORT,
    managementHost: read.MANAGEMENT_HOST,
    databaseUrl: read.DATABASE_URL,
    migrationDatabaseUrl: read.MIGRATION_DATABASE_URL,
    databasePoolMax: read.DATABASE_POOL_MAX,
    embeddedPostgres: read.EMBEDDED_POSTGRES,
    redisUrls: read.REDIS_URL,
    secretKeys: read.SECRET_KEY,
    keyTimes: keyTimesOf(read),
    auditRetentionSeconds: read.AUDIT_RETENTION,
    trustProxy: read.TRUST_PROXY,
    shutdownDelaySeconds: read.SHUTDOWN_DELAY,
    outboundAllow: read.OUTBOUND_ALLOW,
    smtpUrl: read.SMTP_URL,
    mailFrom: read.MAIL_FROM ?? `no-reply@${new URL(read.ISSUER ?? "http://localhost").hostname}`,
    signUp: read.SIGN_UP ?? (isProduction && read.SMTP_URL === undefined ? "off" : "on"),
    mayRemember: read.REMEMBER_ME === "on",
    termsUrl: read.TERMS_URL,
    privacyUrl: read.PRIVACY_URL,
    denyNetworks: read.DENY_NETWORKS,
    allowNetworks: read.ALLOW_NETWORKS,
    breachedPasswordsUrl: read.BREACHED_PASSWORDS_URL,
    logLevel: read.LOG_LEVEL,
    isLogPretty: read.LOG_FORMAT === undefined ? isTerminal && !isProduction : read.LOG_FORMAT === "pretty",
    dataDir: read.DATA_DIR,
    brandName: read.BRAND_NAME,
    demoPort: read.DEMO_PORT,
    folders: Object.fromEntries(FOLDER_NAMES.map((name) => [name, env[name]])),
  });
}

/** Names in the environment that look like one of ours with a typing error; the start prints them as a warning. */
export function misspelledNames(env: Environment): readonly string[] {
  const known = knownNames();
  return Object.keys(env).flatMap((name) => {
    if (known.includes(name)) return [];
    const meant = known.find((candidate) => isMisspelled(name, candidate));
    return meant === undefined ? [] : [`${name} is not read; did you mean ${meant}?`];
  });
}

function keyTimesOf(read: z.output<ReturnType<typeof environmentTable>>): KeyTimes {
  return {
    rotationSeconds: read.KEY_ROTATION_PERIOD,
    announceSeconds: read.KEY_ANNOUNCE_TIME,
    cacheSeconds: read.JWKS_CACHE_TIME,
    stalenessSeconds: read.KEY_STALENESS,
    skewSeconds: read.KEY_CLOCK_SKEW,
    hintSeconds: read.KEY_HINT_TIME,
    secretRotationSeconds: read.MAC_ROTATION_PERIOD,
    tokenSecondsMax: read.TOKEN_LIFETIME_MAX,
  };
}

function isMisspelled(name: string, meant: string): boolean {
  const flat = (text: string): string => text.replaceAll("_", "").toUpperCase();
  if (name === `SIGNET_${meant}`) return true;
  const [given, wanted] = [flat(name), flat(meant)];
  // Without capitals and without an underscore it is somebody else's variable: npm and shells set many.
  if (given === wanted) return wanted !== meant || name.toUpperCase() === name;
  const shorter = Math.min(given.length, wanted.length);
  if (shorter < MISSPELLED_CHARS_MIN) return false;
  return editsBetween(given, wanted) <= (shorter < MISSPELLED_LONG_CHARS_MIN ? 1 : 2);
}

/** Letters to add, drop or replace until one text is the other (Levenshtein). */
function editsBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [index, letter] of [...a].entries()) {
    const next = [index + 1];
    for (const [column, other] of [...b].entries()) {
      const replaced = (row[column] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function withFiles(env: Environment, faults: string[]): Record<string, string | undefined> {
  // An empty value is what a compose file gives for a variable that nobody set: it counts as absent.
  const values: Record<string, string | undefined> = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== ""),
  );
  for (const name of SECRET_NAMES) {
    const file = values[`${name}_FILE`];
    if (file === undefined) continue;
    if (values[name] !== undefined) faults.push(`${name} and ${name}_FILE are both set: keep one`);
    else values[name] = readSecretFile(`${name}_FILE`, file, faults);
  }
  return values;
}

function readSecretFile(name: string, file: string, faults: string[]): string | undefined {
  try {
    const text = readFileSync(file, "utf8").trim();
    if (text !== "" && text.length <= SECRET_FILE_CHARS_MAX) return text;
    faults.push(text === "" ? `${name} names an empty file` : `${name} names a file that is too large for a secret`);
  } catch (error) {
    faults.push(
      `${name} cannot be read: ${error instanceof Error && "code" in error ? String(error.code) : "unknown"}`,
    );
  }
  return undefined;
}

function portOf(issuer: URL | undefined): number {
  // Behind TLS the port of the issuer is the proxy's, so Signet listens on 3000; on plain http the two are one.
  return issuer?.protocol === "http:" && issuer.port !== "" ? Number(issuer.port) : PORT_DEFAULT;
}

/** What development makes for itself; a file that cannot be read is its own fault. */
function missingInProduction(values: Environment): readonly string[] {
  const isMissing = (name: string): boolean => values[name] === undefined && values[`${name}_FILE`] === undefined;
  const rows: readonly (readonly [string, string])[] = [
    ["ISSUER", "production needs the one public URL, such as https://id.example.com"],
    ["DATABASE_URL", "production needs a Postgres of its own, such as postgres://signet:…@db.example.com/signet"],
    ["SECRET_KEY", "make one with: openssl rand -hex 32"],
  ];
  return rows.filter(([name]) => isMissing(name)).map(([name, words]) => `${name} is not set: ${words}`);
}

/** Nobody could prove an address. */
function withoutMail(values: Environment): readonly string[] {
  const isMail = values["SMTP_URL"] !== undefined || values["SMTP_URL_FILE"] !== undefined;
  const wanted = values["SIGN_UP"] ?? "off";
  return isMail || wanted === "off" ? [] : [`SIGN_UP is ${wanted}, which needs SMTP_URL: addresses are proven by mail`];
}

function configError(faults: readonly string[], hints: readonly string[]): ConfigError {
  const lines = [...new Set([...faults, ...hints])].map((line) => `  - ${line}`);
  return new ConfigError(`The configuration cannot be used:\n${lines.join("\n")}`);
}
