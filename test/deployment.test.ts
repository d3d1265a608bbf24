/** The files that operators copy, held against the configuration: every variable is known, what production needs is set, nothing is left to chance. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readConfig } from "../src/config.ts";
import { knownNames } from "../src/environment.ts";
import { randomText } from "../src/secrets.ts";
import { CHECKOUT } from "./ladder.ts";

const REQUIRED = ["NODE_ENV", "ISSUER", "DATABASE_URL", "SECRET_KEY"];
const read = (name: string): string => readFileSync(join(CHECKOUT, name), "utf8");
const dockerfile = read("Dockerfile");
const compose = read("docker-compose.yml");
/** What the compose file leaves to whoever starts it. */
const GIVEN: Readonly<Record<string, string>> = {
  ISSUER: "https://id.example.com",
  POSTGRES_PASSWORD: "f3b1c2",
  SECRET_KEY: randomText(),
};

/** NAME=value, one a line; a # before the name shows a setting that stays at its default. */
function parseEnv(text: string): readonly { name: string; value: string; isSet: boolean }[] {
  return text.split("\n").flatMap((line, index) => {
    if (line.trim() === "" || /^# /.test(line)) return [];
    const [, mark, name, value] = /^(#?)([A-Z][A-Z0-9_]*)=(.*)$/.exec(line) ?? [];
    assert.ok(name !== undefined && value !== undefined, `line ${index + 1} is no setting: ${line}`);
    return [{ name, value, isSet: mark === "" }];
  });
}

/** The lines of one service's block, with the indentation taken away. */
function serviceBlock(name: string): string {
  const lines = compose.split("\n");
  const start = lines.indexOf(`  ${name}:`);
  assert.notEqual(start, -1, `there is no service ${name}`);
  const length = lines.slice(start + 1).findIndex((line) => /^ {0,2}\S/.test(line));
  return lines
    .slice(start + 1, length === -1 ? undefined : start + 1 + length)
    .map((line) => line.slice(4))
    .join("\n");
}

/** `environment:` as a map, with ${NAME}, ${NAME:-default} and ${NAME:?message} put in as compose does. */
function environmentOf(service: string, given: Readonly<Record<string, string>>): Record<string, string> {
  const block = /^environment:\n((?: {2}.*\n?)+)/m.exec(serviceBlock(service))?.[1] ?? "";
  const rows = [...block.matchAll(/^ {2}([A-Z][A-Z0-9_]*): (.*)$/gm)].map(([, name = "", text = ""]) => {
    const value = text
      .replace(/^"(.*)"$/, "$1")
      .replace(/\$\{([A-Z_]+)(?::([-?])([^}]*))?\}/g, (_, variable: string, kind: string | undefined, rest: string) => {
        const found = given[variable];
        if (found !== undefined) return found;
        assert.equal(kind, "-", `${variable} has no value: ${rest}`);
        return rest;
      });
    return [name, value] as const;
  });
  assert.equal(rows.length, block.trim().split("\n").length, `every line of ${service}'s environment is NAME: value`);
  return Object.fromEntries(rows);
}

/** The images of the compose file, or those that the Dockerfile begins with. */
const imagesOf = (text: string): readonly string[] =>
  [...text.matchAll(/^\s*(?:image:|FROM)\s+(\S+)/gm)].map(([, image = ""]) => image);

test("the production example names every setting once, and sets what production needs", () => {
  const rows = parseEnv(read("config/production.env.example"));
  const names = rows.map(({ name }) => name);
  assert.deepEqual([...new Set(names)].length, names.length, "a name stands twice");
  const wanted = knownNames().filter((name) => !name.endsWith("_FILE"));
  assert.deepEqual([...names].sort(), [...wanted].sort());
  const set = rows.filter(({ isSet }) => isSet).map(({ name }) => name);
  for (const name of REQUIRED) assert.ok(set.includes(name), name);
});

test("the production example is refused until its placeholders are filled in, and taken then", () => {
  const rows = parseEnv(read("config/production.env.example")).filter(({ isSet }) => isSet);
  const env = Object.fromEntries(rows.map(({ name, value }) => [name, value]));
  assert.throws(() => readConfig(env), /DATABASE_URL still holds the placeholder[\s\S]*SECRET_KEY is not set/);
  const url = env["DATABASE_URL"]?.replace("CHANGE-ME", "f3b1c2");
  const config = readConfig({ ...env, DATABASE_URL: url, SECRET_KEY: randomText() });
  assert.deepEqual([config.isProduction, config.issuer], [true, "https://id.example.com"]);
});

test("a setting that the example leaves out stands there with its default, and can be put in as it stands", () => {
  const rows = parseEnv(read("config/production.env.example"));
  const env = { NODE_ENV: "production", ISSUER: "https://id.example.com", SECRET_KEY: randomText() };
  const filled = (value: string): string => value.replace("CHANGE-ME", "f3b1c2");
  const base = readConfig({ ...env, DATABASE_URL: "postgres://db.example.com/signet" });
  const optional = rows.filter(({ isSet }) => !isSet);
  const all = Object.fromEntries(optional.map(({ name, value }) => [name, filled(value)]));
  const config = readConfig({ ...env, DATABASE_URL: "postgres://db.example.com/signet", ...all });
  const { migrationDatabaseUrl: _, redisUrls: __, embeddedPostgres: ___, secretKeys, ...rest } = config;
  const { migrationDatabaseUrl: _a, redisUrls: _b, embeddedPostgres: _c, secretKeys: wanted, ...defaults } = base;
  assert.deepEqual([rest, secretKeys], [defaults, wanted]);
});

test("the development file states what development uses when nothing is set", () => {
  const rows = parseEnv(read("config/development.env"));
  for (const { name } of rows) assert.ok(knownNames().includes(name), name);
  const env = Object.fromEntries(rows.map(({ name, value }) => [name, value]));
  assert.deepEqual(readConfig(env), readConfig({}));
});

test("README's table of settings names every one of them and no other", () => {
  const section = /## Configuration\n([\s\S]*?)\n## /.exec(read("README.md"))?.[1] ?? "";
  const table = section.split("\n").filter((line) => line.startsWith("| `"));
  const names = table.flatMap((line) =>
    [...(line.split("|")[1] ?? "").matchAll(/`([A-Z_]+)`/g)].map(([, name]) => name),
  );
  const wanted = knownNames().filter((name) => !name.endsWith("_FILE") && name !== "NODE_ENV");
  assert.deepEqual([...names].sort(), [...wanted].sort());
});

test("the compose file gives Signet known variables only, and a production configuration that is taken", () => {
  const env = environmentOf("signet", GIVEN);
  for (const name of Object.keys(env)) assert.ok(knownNames().includes(name), `${name} is no variable of Signet`);
  for (const name of REQUIRED) assert.ok(name in env, name);
  const config = readConfig(env);
  assert.deepEqual([config.isProduction, config.issuer, config.port], [true, "https://id.example.com", 3000]);
  assert.equal(config.databaseUrl, "postgres://signet:f3b1c2@postgres/signet");
  assert.deepEqual(config.redisUrls, ["redis://redis:6379"]);
  assert.deepEqual(config.trustProxy, { kind: "hops", hops: 1 });
  // Mails go to the mailbox beside it until the operator names a mail server.
  assert.deepEqual([config.smtpUrl, config.signUp], ["smtp://mailpit:1025", "on"]);
  const own = readConfig(environmentOf("signet", { ...GIVEN, SMTP_URL: "smtps://mail.example.com" }));
  assert.equal(own.smtpUrl, "smtps://mail.example.com");
  assert.match(serviceBlock("signet"), /^ {2}- "127\.0\.0\.1:3000:3000"$/m, "TLS and the public stand in front of it");
});

test("the compose file has no default for a secret and for the issuer", () => {
  for (const name of ["ISSUER", "SECRET_KEY", "POSTGRES_PASSWORD"]) {
    const uses = [...compose.matchAll(new RegExp(`\\$\\{${name}([^}]*)\\}`, "g"))].map(([, rest]) => rest ?? "");
    assert.ok(uses.length > 0 && uses.every((rest) => rest.startsWith(":?")), name);
    const { [name]: _, ...others } = GIVEN;
    assert.throws(() => ["signet", "postgres"].map((service) => environmentOf(service, others)), new RegExp(name));
  }
});

test("every service has a health check and restarts, what is kept has a volume, and Signet waits until the others are healthy", () => {
  const names = [...(compose.split(/^services:$/m)[1]?.split(/^volumes:$/m)[0] ?? "").matchAll(/^ {2}([a-z]+):$/gm)];
  assert.deepEqual(names.map(([, name]) => name).sort(), ["mailpit", "postgres", "redis", "signet"]);
  for (const [, service = ""] of names) {
    const block = serviceBlock(service);
    assert.match(block, /^healthcheck:\n {2}test: \["CMD/m, service);
    assert.match(block, /^restart: unless-stopped$/m, service);
    if (service === "signet") continue;
    // Mails are for looking at; what is not read by then is gone with the container.
    const isKept = service !== "mailpit";
    assert.equal(new RegExp(`^volumes:\\n {2}- ${service}:/`, "m").test(block), isKept, service);
    assert.match(serviceBlock("signet"), new RegExp(`^ {2}${service}: \\{ condition: service_healthy \\}$`, "m"));
  }
  assert.match(serviceBlock("signet"), /^read_only: true$/m);
  assert.match(serviceBlock("signet"), /^ {2}test: \["CMD", "node", "dist\/main\.js", "doctor", "--live"\]$/m);
  assert.match(serviceBlock("mailpit"), /^ {2}- "127\.0\.0\.1:8025:8025"$/m, "whoever reads the mails gets in");
  // T-REL-7: a Redis that evicts drops live tokens; one without its log forgets them when it is restarted.
  assert.match(serviceBlock("redis"), /"--appendonly", "yes".*"--maxmemory-policy", "noeviction"/);
});

test("every image is pinned to a major version that Signet supports", () => {
  const majors: Readonly<Record<string, number>> = { node: 20, postgres: 15, redis: 7, "axllent/mailpit": 1 };
  const images = [...imagesOf(compose), ...imagesOf(dockerfile)];
  assert.deepEqual([...new Set(images.map((image) => image.split(":")[0]))].sort(), Object.keys(majors).sort());
  for (const image of images) {
    const [, name = "", major = ""] = /^([a-z/]+):v?(\d+)(?:\.\d+)*(-[a-z]+)*$/.exec(image) ?? [];
    assert.ok(Number(major) >= (majors[name] ?? Number.POSITIVE_INFINITY), `${image} is not pinned to a major`);
  }
});

test("the image runs compiled code as an ordinary user, with production dependencies only", () => {
  const stages = dockerfile.split(/^FROM /m).slice(1);
  const last = stages.at(-1) ?? "";
  assert.equal(stages.length, 2, "what compiles is not what runs");
  const user = /^USER (\S+)$/m.exec(last)?.[1];
  assert.ok(user !== undefined && !["root", "0"].includes(user));
  assert.match(last, /^ENV NODE_ENV=production$/m);
  assert.match(last, /^CMD \["node", "dist\/main\.js", "serve"\]$/m);
  assert.match(dockerfile, /npm (ci|install) --omit=dev --omit=optional\n/);
  // The words after RUN hold no secret, and the last stage installs nothing.
  assert.doesNotMatch(last, /^RUN /m);
});

test("the image holds what the program reads beside itself, and its health check asks a path that exists", () => {
  const last = dockerfile.split(/^FROM /m).at(-1) ?? "";
  for (const folder of ["migrations", "views"]) assert.match(last, new RegExp(`^COPY ${folder} ${folder}$`, "m"));
  for (const [, from = ""] of dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)) {
    for (const name of from.split(" "))
      assert.ok(existsSync(join(CHECKOUT, name)), `${name} is not there to be copied`);
  }
  const check = /^HEALTHCHECK .*$/m.exec(last)?.[0] ?? "";
  assert.match(check, /doctor", "--live"|\/health\/live/);
});
