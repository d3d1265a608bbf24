/** What is measured: Signet as it runs in production, and the controls, each a process pinned to the server's core. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openApp } from "../src/app.ts";
import type { Actor } from "../src/audit/event.ts";
import { readConfig } from "../src/config.ts";
import { createLog } from "../src/log.ts";
import { randomText } from "../src/secrets.ts";
import { CHECKOUT, freePort } from "../test/ladder.ts";
import { Connection, pause } from "./load.ts";
import { API, CALLBACK, MACHINE, PASSWORD, SECRET, WEB } from "./names.ts";

const READY_MS = 60_000;
const STOP_MS = 16_000;
const BY: Actor = { kind: "system", id: "bench" };
/** Behind a proxy that ends TLS, as in production: the issuer is https and the proxy says who asks. */
const ISSUER = "https://id.bench.example";

export interface Credentials {
  readonly id: string;
  readonly secret: string;
}

/** The clients of an installation. */
export interface Furnished {
  readonly web: Credentials;
  readonly machine: Credentials;
}

export interface Target {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  readonly issuer: string;
  /** What every request carries. */
  readonly headers: Readonly<Record<string, string>>;
  readonly web: Credentials;
  readonly machine: Credentials;
  /** One person per virtual user. */
  email(user: number): string;
  stop(): Promise<void>;
}

export interface Pinning {
  /** The core of the servers; undefined where there is no taskset or only one core. */
  readonly server: number | undefined;
}

export interface SignetPlace {
  readonly name: string;
  readonly databaseUrl: string;
  readonly redisUrl: string | undefined;
  readonly secretKey: string;
}

const emailOf = (user: number): string => `person-${user}@bench.example`;

/** Puts people, an API and clients into the database, through the same rooms as the command line. */
export async function furnish(place: SignetPlace, people: number): Promise<Furnished> {
  const config = readConfig({ ...environment(place), PORT: "0", MANAGEMENT_PORT: "0" });
  const app = await openApp(config, createLog({ level: "error", pretty: false }));
  try {
    for (let user = 0; user < people; user += 1)
      await app.users.create({ email: emailOf(user), password: PASSWORD, isEmailVerified: true }, BY);
    await app.apis.create(
      { identifier: API, name: "Things", scopes: [{ scope: "read:things", description: "See" }] },
      BY,
    );
    const apis = [{ identifier: API, scopes: ["read:things"], default: true }];
    const register = async (metadata: object): Promise<Credentials> => {
      const { client, secret = "" } = await app.clients.register(metadata, BY);
      return { id: client.id, secret };
    };
    return {
      web: await register({ client_type: "web", client_name: "Web", redirect_uris: [CALLBACK] }),
      machine: await register({ client_type: "service", client_name: "Machine", apis, introspect_apis: [API] }),
    };
  } finally {
    await app.close();
  }
}

function environment(place: SignetPlace): Record<string, string> {
  return {
    NODE_ENV: "production",
    ISSUER,
    HOST: "127.0.0.1",
    DATABASE_URL: place.databaseUrl,
    ...(place.redisUrl === undefined ? {} : { REDIS_URL: place.redisUrl }),
    SECRET_KEY: place.secretKey,
    TRUST_PROXY: "1",
    SHUTDOWN_DELAY: "0",
  };
}

/** The compiled server, access log to a file, limits, audit and headers on: nothing is switched off for the measurement. */
export async function startSignet(options: {
  place: SignetPlace;
  clients: Furnished;
  pinning: Pinning;
  folder: string;
  nodeArgs?: readonly string[];
}): Promise<Target> {
  const { place, clients, pinning, folder, nodeArgs = [] } = options;
  const [port, managementPort] = [await freePort(), await freePort()];
  const env = {
    ...environment(place),
    PORT: String(port),
    MANAGEMENT_PORT: String(managementPort),
    DATA_DIR: join(folder, "data"),
  };
  const log = join(folder, `${place.name.replace(/\W+/g, "-")}-${port}.log`);
  const child = start([...nodeArgs, "dist/main.js", "serve"], { pinning, env, log });
  const target: Target = {
    name: place.name,
    port,
    pid: child.pid ?? 0,
    issuer: ISSUER,
    headers: { host: new URL(ISSUER).host, "x-forwarded-proto": "https" },
    ...clients,
    email: emailOf,
    stop: () => stop(child),
  };
  await ready(target, child, "/health/ready", log);
  return target;
}

export async function startProvider(kind: "opaque" | "jwt", pinning: Pinning, folder: string): Promise<Target> {
  const name = kind === "jwt" ? "bare, memory, ES256 JWT" : "bare, memory, RS256 opaque";
  return startControl({ name, script: "provider.ts", args: (port) => [port, ISSUER, kind], pinning, folder });
}

export async function startHash(pinning: Pinning, folder: string): Promise<Target> {
  return startControl({ name: "one hash alone", script: "hash.ts", args: (port) => [port], pinning, folder });
}

export async function startStatic(files: readonly string[], pinning: Pinning, folder: string): Promise<Target> {
  const args = (port: string): readonly string[] => [port, ...files];
  return startControl({ name: "static node:http", script: "static.ts", args, pinning, folder });
}

async function startControl(options: {
  name: string;
  script: string;
  args: (port: string) => readonly string[];
  pinning: Pinning;
  folder: string;
}): Promise<Target> {
  const { name, script, args, pinning, folder } = options;
  const port = await freePort();
  const log = join(folder, `${script}-${port}.log`);
  const command = ["--import", "tsx", join("bench", "controls", script), ...args(String(port))];
  const child = start(command, { pinning, env: { NODE_ENV: "production" }, log });
  const target: Target = {
    name,
    port,
    pid: child.pid ?? 0,
    issuer: ISSUER,
    headers: { host: new URL(ISSUER).host, "x-forwarded-proto": "https" },
    web: { id: WEB, secret: SECRET },
    machine: { id: MACHINE, secret: SECRET },
    email: emailOf,
    stop: () => stop(child),
  };
  await ready(target, child, "/jwks", log);
  return target;
}

function start(
  args: readonly string[],
  options: { pinning: Pinning; env: Readonly<Record<string, string>>; log: string },
): ChildProcess {
  const { pinning, env, log } = options;
  const file = openSync(log, "a");
  const [command, ...rest] =
    pinning.server === undefined
      ? [process.execPath, ...args]
      : ["taskset", "-c", String(pinning.server), process.execPath, ...args];
  return spawn(command ?? process.execPath, rest, {
    cwd: CHECKOUT,
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", ...env },
    stdio: ["ignore", file, file],
  });
}

async function ready(target: Target, child: ChildProcess, path: string, log: string): Promise<void> {
  const end = performance.now() + READY_MS;
  for (;;) {
    const connection = new Connection(target.port, target.headers);
    const answer = await connection.send({ method: "GET", path }).catch(() => undefined);
    connection.close();
    if (answer?.status === 200) return;
    if (child.exitCode !== null || performance.now() > end)
      throw new Error(`${target.name} did not get ready; it wrote to ${log}`);
    await pause(50);
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGTERM");
  const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await ended;
  clearTimeout(late);
}

/** A folder for logs and data, gone at the end. */
export function scratch(): { readonly folder: string; readonly secretKey: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), "signet-bench-"));
  return { folder, secretKey: randomText(), remove: () => rmSync(folder, { recursive: true, force: true }) };
}
