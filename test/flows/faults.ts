/** Faults: a Postgres and a Redis of a test's own that it may kill, stop and start again, and what clients see meanwhile, with the time it took. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { chmod, mkdtemp, open, readFile, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createLog } from "../../src/log.ts";
import { randomText } from "../../src/secrets.ts";
import { type EmbeddedPostgres, openEmbeddedPostgres } from "../../src/store/embedded-postgres.ts";
import { asOwner, CHECKOUT, type Connection, freePort, postgresUrl, redisBinary } from "../ladder.ts";
import { type Answer, atEnd, type Client, eventually } from "../support.ts";
import { API, CALLBACK, type Journey, type Registered } from "./journey.ts";

const run = promisify(execFile);
const quiet = createLog({ level: "silent", pretty: false });

/** A question to a store is several steps where the control is one. */
const CONTROLS = 3;

/** A store that the test may do anything to. */
export interface Victim {
  /** For DATABASE_URL or REDIS_URL. */
  readonly url: string;
  /** Refuses connections: the process is gone. */
  kill(): Promise<void>;
  /** Hangs: connections stay open and nothing is answered. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Starts it again, with what it has on disk. */
  start(): Promise<void>;
}

export interface OwnPostgres extends Victim {
  readonly connection: Connection;
  /** Where it keeps everything; with `diskMb` a disk of its own. */
  readonly place: string;
}

/** A cluster of this file's own; nobody starts it again but the test. With `diskMb`, which takes root, it has a disk of its own. */
export async function ownPostgres({ diskMb }: { diskMb?: number } = {}): Promise<OwnPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), "signet-test-fault-"));
  await chmod(dataDir, 0o711);
  const begin = (): Promise<EmbeddedPostgres> =>
    openEmbeddedPostgres({ dataDir, checkoutDir: CHECKOUT, log: quiet, durable: true, supervise: false });
  let current = await begin();
  const { host, port, user, password, database } = current.connection;
  const place = current.place;
  if (diskMb !== undefined) {
    await current.close();
    await moveToDisk(place, diskMb);
    current = await begin();
  }
  const postmaster = async (): Promise<number> =>
    Number((await readFile(join(place, "data", "postmaster.pid"), "utf8")).split("\n")[0]);
  const signal = async (name: NodeJS.Signals): Promise<void> => {
    const pid = await postmaster();
    for (const one of [pid, ...(await childrenOf(pid)).map((child) => child.pid)]) send(one, name);
  };
  const victim: OwnPostgres = {
    place,
    connection: { host, port, user, password, database },
    url: postgresUrl({ host, port, user, password, database }),
    async kill() {
      const pid = await postmaster().catch(() => 0);
      const children = await childrenOf(pid);
      send(pid, "SIGKILL");
      // Until this process has heard of the end, too: `start` would take the dead one for a running one.
      const isGone = (): boolean => [pid, ...children.map((child) => child.pid)].every((one) => !send(one, 0));
      await eventually(() => isGone() && !current.isRunning(), 10_000);
    },
    freeze: () => signal("SIGSTOP"),
    thaw: () => signal("SIGCONT"),
    async start() {
      if (current.isRunning()) return;
      // What it still holds would keep this process from ending.
      await current.close();
      current = await begin();
    },
  };
  atEnd(async () => {
    await victim.thaw().catch(() => undefined);
    await current.close();
    if (diskMb !== undefined) await run("umount", [place]);
    await rm(dataDir, { recursive: true, force: true });
    await rm(place, { recursive: true, force: true });
  });
  return victim;
}

/** The folder with all its owners and modes, on a disk of its own at the same place. */
async function moveToDisk(place: string, diskMb: number): Promise<void> {
  const aside = await mkdtemp(join(tmpdir(), "signet-test-disk-"));
  await run("cp", ["-a", `${place}/.`, aside]);
  await run("mount", ["-t", "tmpfs", "-o", `size=${diskMb}m`, "tmpfs", place]);
  await run("cp", ["-a", `${aside}/.`, place]);
  await rm(aside, { recursive: true, force: true });
}

export interface OwnRedis extends Victim {
  readonly port: number;
  readonly folder: string;
}

/** A Redis of this file's own, on one port and one folder whatever happens to it; undefined where no binary is found. With `diskMb`, which takes root, the folder is a disk of its own. */
export async function ownRedisVictim(
  args: readonly string[] = [],
  { diskMb }: { diskMb?: number } = {},
): Promise<OwnRedis | undefined> {
  const found = await redisBinary();
  if (found === undefined) return undefined;
  const [folder, port] = [await mkdtemp(join(tmpdir(), "signet-test-fault-redis-")), await freePort()];
  if (diskMb !== undefined) await run("mount", ["-t", "tmpfs", "-o", `size=${diskMb}m`, "tmpfs", folder]);
  let pid = 0;
  const victim: OwnRedis = {
    port,
    folder,
    url: `redis://127.0.0.1:${port}/0`,
    async kill() {
      send(pid, "SIGKILL");
      await eventually(() => !send(pid, 0), 5000);
    },
    freeze: async () => void send(pid, "SIGSTOP"),
    thaw: async () => void send(pid, "SIGCONT"),
    async start() {
      if (send(pid, 0)) return;
      const place = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""];
      const child = spawn(found.binary, [...place, ...args], {
        stdio: "ignore",
        env: { ...process.env, ...found.env },
      });
      child.unref();
      pid = child.pid ?? 0;
      await eventually(() => ping(port), 10_000);
    },
  };
  await victim.start();
  atEnd(async () => {
    send(pid, "SIGKILL");
    if (diskMb !== undefined) {
      await eventually(() => !send(pid, 0), 5000);
      await run("umount", [folder]);
    }
    await rm(folder, { recursive: true, force: true });
  });
  return victim;
}

/** A file that takes all the room there is. */
export async function fillDisk(path: string): Promise<void> {
  const file = await open(path, "w");
  const block = Buffer.alloc(64 * 1024);
  try {
    for (let size = block.length; size >= 1; ) {
      try {
        await file.write(block.subarray(0, size));
      } catch (error) {
        assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
        size = Math.floor(size / 2);
      }
    }
  } finally {
    await file.close();
  }
}

/** A way to a port of this machine that can be cut: then no byte passes, in connections that stand and in new ones, and nobody is told. */
export async function startLink(port: number): Promise<{ url: string; cut(): void; mend(): void }> {
  let isCut = false;
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect({ port, host: "127.0.0.1" });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("data", (chunk) => void (isCut ? undefined : to.write(chunk)));
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}/0`,
    cut: () => {
      isCut = true;
    },
    // What was lost on the way is lost: those connections are of no use any more.
    mend: () => {
      isCut = false;
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function ping(port: number): Promise<boolean> {
  const { Redis } = await import("ioredis");
  const client = new Redis({ port, host: "127.0.0.1", lazyConnect: true, retryStrategy: () => null });
  client.on("error", () => undefined);
  try {
    await client.connect();
    return (await client.ping()) === "PONG";
  } finally {
    client.disconnect();
  }
}

/** Processes whose parent this one is. */
export async function childrenOf(parent: number): Promise<readonly { pid: number; command: string }[]> {
  const { stdout } = await run("ps", ["-axo", "pid=,ppid=,command="]);
  return [...stdout.matchAll(/^\s*(\d+)\s+(\d+)\s+(.*)$/gm)]
    .filter(([, , ppid]) => Number(ppid) === parent)
    .map(([, pid, , command = ""]) => ({ pid: Number(pid), command }));
}

/** Whether the process was there to get the signal. */
export function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  if (pid <= 1) return false;
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** An environment for `startSignet({ beside: { env }, env })` on stores that no ladder knows. */
export async function environmentOn(stores: { DATABASE_URL: string; REDIS_URL?: string }, port?: number) {
  const own = port ?? (await freePort());
  const dataDir = await mkdtemp(join(tmpdir(), "signet-test-data-"));
  atEnd(() => rm(dataDir, { recursive: true, force: true }));
  return {
    // As an operator runs it: what developers see beside an error is not shown.
    NODE_ENV: "production",
    SHUTDOWN_DELAY: "0",
    ISSUER: `http://127.0.0.1:${own}`,
    HOST: "127.0.0.1",
    PORT: String(own),
    MANAGEMENT_PORT: String(await freePort()),
    SECRET_KEY: randomText(),
    DATA_DIR: dataDir,
    LOG_LEVEL: "info",
    LOG_FORMAT: "json",
    ...stores,
  };
}

/** A fresh, empty database of this cluster. */
export async function emptyDatabase(postgres: OwnPostgres, name: string): Promise<Connection & { url: string }> {
  await asOwner(postgres.connection, (client) => client.query(`create database ${name}`));
  const connection = { ...postgres.connection, database: name };
  return { ...connection, url: postgresUrl(connection) };
}

export interface Probe {
  readonly name: string;
  readonly ask: () => Promise<Answer>;
  readonly check: (answer: Answer) => void;
}

export interface Seen {
  readonly name: string;
  readonly status: number;
  readonly ms: number;
}

/**
 * Asks everything at once, checks each answer, and holds each time against the bound. A question that needs no store runs beside
 * them: what it takes is the machine's own slowness and is granted to all.
 */
export async function askAll(
  title: string,
  probes: readonly Probe[],
  options: { boundMs: number; control: () => Promise<Answer> },
): Promise<readonly Seen[]> {
  const timed = async (ask: () => Promise<Answer>): Promise<{ answer: Answer; ms: number }> => {
    const began = performance.now();
    const answer = await ask();
    return { answer, ms: Math.round(performance.now() - began) };
  };
  let isOver = false;
  let slowness = 0;
  const controls = (async () => {
    while (!isOver) {
      slowness = Math.max(slowness, (await timed(options.control)).ms);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  const seen = await Promise.all(
    probes.map(async ({ name, ask, check }) => {
      const { answer, ms } = await timed(ask);
      return { name, check, answer, ms };
    }),
  );
  isOver = true;
  await controls;
  const rows = seen.map(({ name, answer, ms }) => ({ name, status: answer.status, ms }));
  console.log(`# ${title} (bound ${options.boundMs} ms, control ${slowness} ms)`);
  for (const { name, status, ms } of rows) console.log(`#   ${name.padEnd(34)} ${status} ${String(ms).padStart(5)} ms`);
  for (const { name, check, answer, ms } of seen) {
    try {
      check(answer);
    } catch (error) {
      const reason = error instanceof Error ? error.message : "";
      const { status, location = "", text } = answer;
      throw new Error(`${title}, ${name}: ${reason}\n${status} ${location} ${text.slice(0, 400)}`);
    }
    assert.ok(
      ms <= options.boundMs + CONTROLS * slowness,
      `${title}, ${name}: ${ms} ms, the control took ${slowness} ms`,
    );
  }
  return rows;
}

/** Asks until it is answered with this status; says how long that took. */
export async function backAfter(
  title: string,
  boundMs: number,
  ask: () => Promise<{ status: number }>,
  status = 200,
): Promise<void> {
  const began = performance.now();
  await eventually(async () => {
    const answer = await ask();
    if (answer.status !== status) throw new Error(`still ${answer.status}`);
    return true;
  }, boundMs);
  console.log(`#   ${title}: back after ${Math.round(performance.now() - began)} ms (bound ${boundMs} ms)`);
}

/** 503 as a program reads it. */
export function isRetryLater(answer: Answer): void {
  assert.equal(answer.status, 503);
  const seconds = Number(answer.headers["retry-after"]);
  assert.ok(seconds >= 1 && seconds <= 5, `Retry-After: ${answer.headers["retry-after"]}`);
  assert.match(answer.headers["content-type"] ?? "", /^application\/json/);
  assert.equal(answer.json()["error"], "temporarily_unavailable");
  saysNothingInside(answer);
}

/** 503 as a person reads it: a page with an id that is in the logs. */
export function isRetryPage(answer: Answer): void {
  assert.equal(answer.status, 503);
  assert.ok(Number(answer.headers["retry-after"]) >= 1);
  assert.match(answer.headers["content-type"] ?? "", /^text\/html/);
  assert.ok(answer.text.includes(String(answer.headers["x-request-id"])), "the page shows the request's id");
  saysNothingInside(answer);
}

/** The client hears of it at its own address, which was validated before. */
export function redirectsUnavailable(answer: Answer): void {
  assert.equal(answer.status, 303);
  const url = new URL(answer.location ?? "");
  assert.equal(url.searchParams.get("error"), "temporarily_unavailable");
  assert.ok(url.searchParams.has("state") && url.searchParams.has("iss"));
  saysNothingInside(answer);
}

export function isFine(answer: Answer): void {
  assert.equal(answer.status, 200);
}

/** No stack, no SQL, no place of a store leaves the process. */
export function saysNothingInside(answer: Answer): void {
  assert.doesNotMatch(
    answer.text + JSON.stringify(answer.headers),
    /\bat .*\.[jt]s:\d|node_modules|node:internal|ECONNREFUSED|ENOENT|select |insert |PGSQL|:6379|redis:\/\/|postgres:\/\//,
  );
}

export function basic(client: { id: string; secret: string | undefined }): { authorization: string } {
  return { authorization: `Basic ${Buffer.from(`${client.id}:${client.secret ?? ""}`).toString("base64")}` };
}

/** A page of a sign-in that waits for its password. */
export async function openSignIn(client: Client, url: string): Promise<Answer> {
  const page = await client.follow(await client.get(url));
  assert.ok(page.text.includes('name="password"'), page.text.slice(0, 500));
  return page;
}

/** Where a sign-in at this client begins. */
export function authorizeUrl(journey: Pick<Journey, "issuer" | "web">, clientId = journey.web.id): string {
  const query = new URLSearchParams({
    client_id: clientId,
    response_type: "code",
    redirect_uri: CALLBACK,
    scope: "openid",
    state: "xyz",
    code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    code_challenge_method: "S256",
  });
  return `${journey.issuer}/authorize?${query}`;
}

export function machineToken(at: Client, machine: Registered): Promise<Answer> {
  return at.post("/token", { grant_type: "client_credentials", scope: "read:things", resource: API }, basic(machine));
}

/** Readiness is looked at four times a second at most: a look from before the fault must not answer for it. */
export function letLooksAge(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 300));
}
