/** What test files share: a database and a Redis of their own, servers in and out of process, a browser, a client with a cookie jar. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, type TestContext } from "node:test";
import { Redis } from "ioredis";
import type { Browser } from "playwright-core";
import { readConfig } from "../src/config.ts";
import { createLog } from "../src/log.ts";
import { randomText } from "../src/secrets.ts";
import {
  asOwner,
  CHECKOUT,
  type Connection,
  type FoundPostgres,
  type FoundRedis,
  findChromium,
  freePort,
  type Missing,
  nodeArgs,
  openPostgres,
  openRedis,
  postgresUrl,
  redisBinary,
  SERVICES_VARIABLE,
  type Services,
  startRedis,
} from "./ladder.ts";

export { freePort, postgresUrl } from "./ladder.ts";

/** Ten times what a start takes on a machine at rest, and more: tests run beside one another. */
const READY_MS = 60_000;
const STOP_MS = 16_000;
/** How often a condition is looked at again. */
const POLL_MS = 20;
const REDIRECTS_MAX = 20;
const CHROMIUM_FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// --- Services and their clean-up -------------------------------------------------------------------------------

const given: Services | undefined = parseServices(process.env[SERVICES_VARIABLE]);
const cleanups: (() => Promise<unknown>)[] = [];
after(async () => {
  // The last opened is closed first: servers before their database, databases before their cluster.
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Runs the function when the tests of this file are over, also when they failed; the last one registered runs first. */
export function atEnd(cleanup: () => Promise<unknown>): void {
  cleanups.push(cleanup);
}

function once<T>(open: () => Promise<T>): () => Promise<T> {
  let opened: Promise<T> | undefined;
  return () => {
    opened ??= open();
    return opened;
  };
}

const postgres = once(async (): Promise<FoundPostgres> => {
  if (given !== undefined) return given.postgres;
  const opened = await openPostgres();
  atEnd(opened.close);
  return opened.service;
});
const redis = once(async (): Promise<FoundRedis | Missing> => {
  if (given !== undefined) return given.redis;
  const opened = await openRedis();
  atEnd(opened.close);
  return opened.service;
});
const chromiumFound = once(async () => given?.chromium ?? findChromium());

/** `test(name, { skip: await withoutRedis() }, ...)`: the reason for the skip, or false. */
export async function withoutRedis(): Promise<string | false> {
  const found = await redis();
  return "missing" in found ? `no Redis: ${found.missing}` : false;
}

/** `test(name, { skip: await withoutChromium() }, ...)`: the reason for the skip, or false. */
export async function withoutChromium(): Promise<string | false> {
  const found = await chromiumFound();
  return "missing" in found ? `no Chromium: ${found.missing}` : false;
}

export type Engine = "redis" | "postgres";

/** Both engines of the expiring store: `for (const { engine, skip } of await engines()) test(`... (${engine})`, { skip }, ...)`. */
export async function engines(): Promise<readonly { engine: Engine; skip: string | false }[]> {
  return [
    { engine: "postgres", skip: false },
    { engine: "redis", skip: await withoutRedis() },
  ];
}

// --- Stores ----------------------------------------------------------------------------------------------------

export interface TestDatabase {
  readonly name: string;
  readonly connection: Connection;
  /** For DATABASE_URL. */
  readonly url: string;
  drop(): Promise<void>;
}

let databases = 0;

/** A fresh clone of the migrated template; dropped at the end of the given test, or of the file. */
export async function testDatabase(owner?: TestContext | string): Promise<TestDatabase> {
  const { connection, template } = await postgres();
  databases += 1;
  const file = typeof owner === "string" ? owner : basename(process.argv[1] ?? "alone").replace(/\.test\.[jt]s$/, "");
  const slug = file.toLowerCase().replace(/[^a-z0-9]+/g, "_");
  const name = `t_${slug.slice(0, 36)}_${process.pid}_${databases}`;
  await asOwner(connection, (client) => client.query(`create database "${name}" template ${template}`));
  const own = { ...connection, database: name };
  const drop = async (): Promise<void> => {
    await asOwner(connection, (client) => client.query(`drop database if exists "${name}" with (force)`));
  };
  if (typeof owner === "object") owner.after(drop);
  else atEnd(drop);
  return { name, connection: own, url: postgresUrl(own), drop };
}

export interface TestRedis {
  /** For REDIS_URL: a database number that nobody else uses. */
  readonly url: string;
  /** For code that takes a prefix; no other call gets the same. */
  readonly prefix: string;
}

/** A Redis database of this call's own, emptied at the end; undefined where there is no Redis (skip by `withoutRedis`). */
export async function testRedis(): Promise<TestRedis | undefined> {
  const found = await redis();
  if ("missing" in found) return undefined;
  const admin = new Redis(found.url, { maxRetriesPerRequest: 1 });
  try {
    const database = await claimDatabase(admin, found.databases);
    const url = new URL(found.url);
    url.pathname = `/${database}`;
    atEnd(() => releaseDatabase(url.href, found.url, database));
    return { url: url.href, prefix: `t${randomText(6)}:` };
  } finally {
    admin.disconnect();
  }
}

/** An empty database number that is marked as ours in database 0; the mark ends by itself if we are killed. */
async function claimDatabase(admin: Redis, count: number): Promise<number> {
  for (let number = 1; number < count; number += 1) {
    const claimed = await admin.set(`signet-test:${number}`, process.pid, "EX", 3600, "NX");
    if (claimed === null) continue;
    await admin.select(number);
    const size = await admin.dbsize();
    await admin.select(0);
    if (size === 0) return number;
  }
  throw new Error(`all ${count} databases of the test Redis are taken or in use`);
}

async function releaseDatabase(url: string, admin: string, number: number): Promise<void> {
  for (const [where, ...command] of [
    [url, "flushdb"],
    [admin, "del", `signet-test:${number}`],
  ] as const) {
    const client = new Redis(where, { maxRetriesPerRequest: 1 });
    await client.call(command[0], ...command.slice(1));
    client.disconnect();
  }
}

/** A Redis process of this test's own, to be stopped, killed or filled; undefined where no binary is found. `args` are redis-server's. */
export async function ownRedis(
  args: readonly string[] = [],
): Promise<(FoundRedis & { close(): Promise<void> }) | undefined> {
  const binary = await redisBinary();
  if (binary === undefined) return undefined;
  const opened = await startRedis({ ...binary, found: "own", args });
  atEnd(opened.close);
  return { ...opened.service, close: opened.close };
}

// --- Servers ---------------------------------------------------------------------------------------------------

export interface SignetOptions {
  readonly engine: Engine;
  /** Over the environment that is built here. */
  readonly env?: Readonly<Record<string, string>>;
  /** A second process of the same installation: same issuer, stores and secret, another port. */
  readonly beside?: { readonly env: Readonly<Record<string, string>> };
}

export interface Signet {
  readonly issuer: string;
  /** Where it listens; beside another server this is not where the issuer's URL leads. */
  readonly port: number;
  readonly managementUrl: string;
  readonly env: Readonly<Record<string, string>>;
  /** A client with an empty cookie jar that talks to this very process. */
  client(): Client;
}

/** A server in this process. `lines` is its log; close it earlier if the test wants to. */
export async function startSignet(options: SignetOptions) {
  const env = await signetEnvironment(options);
  const lines: string[] = [];
  const config = readConfig(env);
  const log = createLog({ level: config.logLevel, pretty: false, sink: { write: (line) => void lines.push(line) } });
  // Loaded here, so that a file which tests one store does not load the whole server.
  const { startServer } = await import("../src/server.ts");
  const server = await startServer(config, log);
  const close = once(() => server.close());
  atEnd(close);
  return { ...describe(env), service: server.service, health: server.health, config, lines, close };
}

export interface SpawnedSignet extends Signet {
  readonly child: ChildProcess;
  /** Everything it wrote so far, both streams. */
  output(): string;
  /** Sends the signal and waits for the end; the exit code, or the signal's name. */
  stop(signal?: NodeJS.Signals): Promise<number | NodeJS.Signals>;
}

/** The same as a process of its own, ready to answer. `shiftTimeSeconds` moves its clock. */
export async function spawnSignet(options: SignetOptions & { shiftTimeSeconds?: number }): Promise<SpawnedSignet> {
  const env = await signetEnvironment(options);
  const shift = options.shiftTimeSeconds ?? 0;
  const preloads = shift === 0 ? [] : ["test/shift-time.ts"];
  const child = spawn(process.execPath, [...nodeArgs("src/main.ts", preloads), "serve"], {
    cwd: CHECKOUT,
    // Built, not inherited: what the machine happens to set must not decide a test.
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: process.env["HOME"] ?? "",
      SHIFT_TIME_SECONDS: String(shift),
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.on("exit", (code, signal) => resolve(code ?? signal ?? 1));
    child.on("error", () => resolve(127));
  });
  const stop = async (signal: NodeJS.Signals = "SIGTERM"): Promise<number | NodeJS.Signals> => {
    child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    return ended.finally(() => clearTimeout(late));
  };
  atEnd(() => stop("SIGKILL"));
  const signet = describe(env);
  await eventually(async () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Ended(`the server ended:\n${text}`);
    return (await signet.client().get("/health/ready")).status === 200;
  }, READY_MS).catch((error: Error) => {
    throw new Error(`the server did not get ready: ${error.message}\n${text}`);
  });
  return { ...signet, child, output: () => text, stop };
}

async function signetEnvironment(options: SignetOptions): Promise<Record<string, string>> {
  const [port, managementPort] = [await freePort(), await freePort()];
  const ports = { PORT: String(port), MANAGEMENT_PORT: String(managementPort) };
  if (options.beside !== undefined) return { ...options.beside.env, ...ports, ...options.env };
  const dataDir = await mkdtemp(join(tmpdir(), "signet-test-data-"));
  atEnd(() => rm(dataDir, { recursive: true, force: true }));
  const database = await testDatabase();
  const store = options.engine === "redis" ? await testRedis() : undefined;
  if (options.engine === "redis" && store === undefined) throw new Error("there is no Redis: skip by withoutRedis()");
  return {
    NODE_ENV: "development",
    ISSUER: `http://127.0.0.1:${port}`,
    HOST: "127.0.0.1",
    ...ports,
    DATABASE_URL: database.url,
    ...(store === undefined ? {} : { REDIS_URL: store.url }),
    SECRET_KEY: randomText(),
    DATA_DIR: dataDir,
    LOG_LEVEL: "info",
    LOG_FORMAT: "json",
    ...options.env,
  };
}

function describe(env: Readonly<Record<string, string>>): Signet {
  const issuer = env["ISSUER"] ?? "";
  const port = Number(env["PORT"]);
  return {
    issuer,
    port,
    managementUrl: `http://127.0.0.1:${env["MANAGEMENT_PORT"] ?? ""}`,
    env,
    client: () => cookieJarClient(issuer, { connectTo: { host: "127.0.0.1", port } }),
  };
}

// --- Browser ---------------------------------------------------------------------------------------------------

/** The machine's Chromium, one for the file; a page per test comes from `browser.newContext()`. Skip by `withoutChromium`. */
export const chromium = once(async (): Promise<Browser> => {
  const found = await chromiumFound();
  if ("missing" in found) throw new Error(`there is no Chromium (${found.missing}): skip by withoutChromium()`);
  // Loaded here: most files open no browser, and the package takes half a second.
  const { chromium: launcher } = await import("playwright-core");
  const browser = await launcher.launch({ executablePath: found.found, args: CHROMIUM_FLAGS, headless: true });
  atEnd(() => browser.close());
  return browser;
});

// --- Commands --------------------------------------------------------------------------------------------------

/** What a command is given to speak with, and what it has said so far. */
export function listen(stdin = "") {
  const said = { out: "", err: "" };
  const io = {
    out: (text: string) => {
      said.out += text;
    },
    err: (text: string) => {
      said.err += text;
    },
    readStdin: async () => stdin,
  };
  return { io, said };
}

// --- A client as strict as a browser, where it matters -----------------------------------------------------------

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Of the request. */
  readonly url: string;
  /** The target of a redirect, absolute. */
  readonly location: string | undefined;
  json(): Record<string, unknown>;
}

export type Fields = Readonly<Record<string, string | readonly string[]>> | readonly (readonly [string, string])[];
type Headers = Readonly<Record<string, string | readonly string[]>>;

export interface RequestOptions {
  readonly method: string;
  /** Relative to the client's base. */
  readonly url: string;
  readonly headers?: Headers;
  readonly body?: string | Buffer;
}

export interface Form {
  /** As written in the page; empty means the page's own URL. */
  readonly action: string;
  readonly method: string;
  /** What a browser would send before anybody typed: hidden, text, checked boxes, selected options; no buttons. */
  readonly fields: Record<string, string>;
  readonly buttons: readonly { readonly name: string; readonly value: string }[];
  readonly html: string;
}

interface Cookie {
  readonly name: string;
  readonly value: string;
  readonly path: string;
  readonly isSecure: boolean;
  readonly isHttpOnly: boolean;
  readonly expiresAt: number | undefined;
}

export interface Client {
  readonly cookies: ReadonlyMap<string, Cookie>;
  clearCookies(): void;
  /** Puts a cookie in as if the server had set it: a Set-Cookie header's value. */
  setCookie(header: string): void;
  request(options: RequestOptions): Promise<Answer>;
  get(url: string, headers?: Headers): Promise<Answer>;
  post(url: string, fields: Fields, headers?: Headers): Promise<Answer>;
  /** Goes along redirects inside the base's origin; stops at a page, or at a redirect that leads elsewhere. */
  follow(answer: Answer): Promise<Answer>;
  /** Fills and sends a form of the page as a browser does, Origin and Sec-Fetch-Site included; `match` picks the form by a text in it. */
  submit(
    page: Answer,
    fields?: Readonly<Record<string, string | readonly string[]>>,
    options?: { match?: string; headers?: Headers },
  ): Promise<Answer>;
}

/** Redirects are answers, cookies are kept, nothing is retried. `connectTo` is where the bytes go, whatever the URL says. */
export function cookieJarClient(base: string, options: { connectTo?: { host: string; port: number } } = {}): Client {
  const jar = new Map<string, Cookie>();
  const origin = new URL(base).origin;
  const client: Client = {
    cookies: jar,
    clearCookies: () => jar.clear(),
    setCookie: (header) => keepCookie(jar, header, new URL(base)),
    async request({ method, url, headers = {}, body }) {
      const target = new URL(url, base);
      const cookie = cookieHeader(jar, target);
      const sent = { ...(cookie === "" ? {} : { cookie }), ...headers };
      const answer = await exchange({ method, target, headers: sent, body, connectTo: options.connectTo });
      for (const header of answer.headers["set-cookie"] ?? []) keepCookie(jar, header, target);
      return answer;
    },
    get: (url, headers = {}) => client.request({ method: "GET", url, headers }),
    post: (url, fields, headers = {}) =>
      client.request({
        method: "POST",
        url,
        headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
        body: encode(fields),
      }),
    async follow(answer) {
      let last = answer;
      for (let hop = 0; hop < REDIRECTS_MAX; hop += 1) {
        if (last.location === undefined || new URL(last.location).origin !== origin) return last;
        last = await client.get(last.location);
      }
      throw new Error(`more than ${REDIRECTS_MAX} redirects, the last to ${last.location}`);
    },
    submit(page, fields = {}, { match, headers = {} } = {}) {
      const found = form(page.text, match);
      const target = new URL(found.action === "" ? page.url : found.action, page.url);
      const values = { ...found.fields, ...fields };
      const browser = { origin: new URL(page.url).origin, referer: page.url, "sec-fetch-site": "same-origin" };
      if (found.method !== "post") {
        target.search = encode(values);
        return client.get(target.href, headers);
      }
      return client.post(target.href, values, { ...browser, ...headers });
    },
  };
  return client;
}

/** The first form of the page, or the first that contains `match`. Throws when there is none. */
export function form(html: string, match?: string): Form {
  const forms = [...html.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)];
  const found = forms.find(([whole]) => match === undefined || whole.includes(match));
  if (found === undefined)
    throw new Error(`no form${match === undefined ? "" : ` with ${match}`} in:\n${html.slice(0, 2000)}`);
  const [whole, attributes = "", inner = ""] = found;
  const fields: Record<string, string> = {};
  for (const [, tag = ""] of inner.matchAll(/<input\b([^>]*)>/gi)) {
    const { name, value, type = "text", ...rest } = readAttributes(tag);
    if (name === undefined || "disabled" in rest || ["submit", "button", "image", "reset"].includes(type)) continue;
    if (["checkbox", "radio"].includes(type)) {
      if ("checked" in rest) fields[name] = value ?? "on";
      continue;
    }
    fields[name] = value ?? "";
  }
  for (const [, tag = "", text = ""] of inner.matchAll(/<textarea\b([^>]*)>([\s\S]*?)<\/textarea>/gi)) {
    const { name } = readAttributes(tag);
    if (name !== undefined) fields[name] = decodeEntities(text);
  }
  for (const [, tag = "", list = ""] of inner.matchAll(/<select\b([^>]*)>([\s\S]*?)<\/select>/gi)) {
    const { name } = readAttributes(tag);
    const choices = [...list.matchAll(/<option\b([^>]*)>/gi)].map(([, option = ""]) => readAttributes(option));
    if (name !== undefined)
      fields[name] = (choices.find((choice) => "selected" in choice) ?? choices[0])?.["value"] ?? "";
  }
  const buttons = [...inner.matchAll(/<button\b([^>]*)>/gi)].map(([, tag = ""]) => readAttributes(tag));
  const { action = "", method = "get" } = readAttributes(attributes);
  return {
    action,
    method: method.toLowerCase(),
    fields,
    buttons: buttons.map(({ name = "", value = "" }) => ({ name, value })),
    html: whole,
  };
}

/** Text of an attribute or element as the browser reads it. */
export function decodeEntities(text: string): string {
  const named: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };
  return text.replace(/&(#x?[0-9a-f]+|[a-z]+);/gi, (whole, code: string) => {
    if (!code.startsWith("#")) return named[code.toLowerCase()] ?? whole;
    return String.fromCodePoint(/^#x/i.test(code) ? Number.parseInt(code.slice(2), 16) : Number(code.slice(1)));
  });
}

/** Looks again until the condition gives something truthy, and returns it; at the deadline the last error, or that it never came. */
export async function eventually<T>(
  condition: () => T | Promise<T>,
  deadlineMs = 5000,
): Promise<Exclude<T, false | undefined | null | 0 | "">> {
  const end = performance.now() + deadlineMs;
  let failure: Error = new Error(`it did not become true within ${deadlineMs} ms`);
  for (;;) {
    try {
      const value = await condition();
      if (value) return value as Exclude<T, false | undefined | null | 0 | "">;
    } catch (error) {
      if (error instanceof Ended || !(error instanceof Error)) throw error;
      failure = error;
    }
    if (performance.now() > end) throw failure;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** No use waiting any longer. */
class Ended extends Error {}

// --- Private ---------------------------------------------------------------------------------------------------

function parseServices(text: string | undefined): Services | undefined {
  return text === undefined ? undefined : (JSON.parse(text) as Services);
}

function exchange(options: {
  method: string;
  target: URL;
  headers: Headers;
  body: string | Buffer | undefined;
  connectTo: { host: string; port: number } | undefined;
}): Promise<Answer> {
  const { method, target, body, connectTo } = options;
  const send = target.protocol === "https:" ? httpsRequest : httpRequest;
  const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
  const headers = { host: target.host, ...length, ...options.headers };
  const place = connectTo ?? { host: target.hostname.replace(/^\[|\]$/g, ""), port: target.port };
  return new Promise((resolve, reject) => {
    const request = send(
      { ...place, method, path: target.pathname + target.search, headers: toOutgoing(headers), agent: false },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          const { location } = response.headers;
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text,
            url: target.href,
            location: location === undefined ? undefined : new URL(location, target).href,
            json: () => JSON.parse(text) as Record<string, unknown>,
          });
        });
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

function toOutgoing(headers: Headers): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, typeof value === "string" ? value : [...value]]),
  );
}

function encode(fields: Fields): string {
  const isList = (value: Fields): value is readonly (readonly [string, string])[] => Array.isArray(value);
  const pairs = isList(fields)
    ? fields
    : Object.entries(fields).flatMap(([name, value]) =>
        (typeof value === "string" ? [value] : value).map((one) => [name, one] as const),
      );
  return new URLSearchParams(pairs.map(([name, value]): [string, string] => [name, value])).toString();
}

function cookieHeader(jar: Map<string, Cookie>, target: URL): string {
  const fits = ({ path }: Cookie): boolean =>
    target.pathname === path || target.pathname.startsWith(path.endsWith("/") ? path : `${path}/`);
  const isTrustworthy = target.protocol === "https:" || ["127.0.0.1", "localhost", "[::1]"].includes(target.hostname);
  return [...jar.values()]
    .filter((cookie) => fits(cookie) && (!cookie.isSecure || isTrustworthy))
    .filter(({ expiresAt }) => expiresAt === undefined || expiresAt > Date.now())
    .sort((a, b) => b.path.length - a.path.length)
    .map(({ name, value }) => `${name}=${value}`)
    .join("; ");
}

/** RFC 6265 section 5.3 as far as one host goes, and the name prefixes of its successor: what a browser refuses is a fault of the server. */
function keepCookie(jar: Map<string, Cookie>, header: string, from: URL): void {
  const [pair = "", ...rest] = header.split(";").map((part) => part.trim());
  const split = pair.indexOf("=");
  const [name, value] = [pair.slice(0, split), pair.slice(split + 1)];
  const attributes = Object.fromEntries(
    rest.map((part) => {
      const [key = "", ...text] = part.split("=");
      return [key.toLowerCase(), text.join("=")];
    }),
  );
  const path = attributes["path"]?.startsWith("/") === true ? attributes["path"] : defaultPath(from.pathname);
  const isSecure = "secure" in attributes;
  if ("domain" in attributes) throw new Error(`a cookie of ours has no Domain: ${header}`);
  if (name.startsWith("__Host-") && (!isSecure || path !== "/")) throw new Error(`a browser refuses this: ${header}`);
  if (name.startsWith("__Secure-") && !isSecure) throw new Error(`a browser refuses this: ${header}`);
  const expiresAt =
    attributes["max-age"] !== undefined
      ? Date.now() + Number(attributes["max-age"]) * 1000
      : attributes["expires"] === undefined
        ? undefined
        : Date.parse(attributes["expires"]);
  const key = `${name};${path}`;
  if (expiresAt !== undefined && expiresAt <= Date.now()) jar.delete(key);
  else jar.set(key, { name, value, path, isSecure, isHttpOnly: "httponly" in attributes, expiresAt });
}

function defaultPath(pathname: string): string {
  const end = pathname.lastIndexOf("/");
  return end <= 0 ? "/" : pathname.slice(0, end);
}

function readAttributes(tag: string): Record<string, string> {
  const found = tag.matchAll(/([^\s"'<>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+)))?/g);
  return Object.fromEntries(
    [...found].map(([, name = "", double, single, bare]) => [
      name.toLowerCase(),
      decodeEntities(double ?? single ?? bare ?? ""),
    ]),
  );
}
