/** The server on its own Postgres: the database dies and comes back, the server is killed and loses nothing, a second start says what is the matter. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CHECKOUT, nodeArgs } from "../ladder.ts";
import { atEnd, cookieJarClient, eventually, freePort } from "../support.ts";
import { isRetryLater, send } from "./faults.ts";

const START_MS = 90_000;
const dataDir = await mkdtemp(join(tmpdir(), "signet-test-own-"));
await chmod(dataDir, 0o711);
atEnd(() => rm(dataDir, { recursive: true, force: true, maxRetries: 5 }));
const port = await freePort();
const env = {
  PATH: process.env["PATH"] ?? "",
  HOME: process.env["HOME"] ?? "",
  ISSUER: `http://127.0.0.1:${port}`,
  HOST: "127.0.0.1",
  PORT: String(port),
  MANAGEMENT_PORT: String(await freePort()),
  DATA_DIR: dataDir,
  LOG_FORMAT: "json",
};
const at = cookieJarClient(env.ISSUER);

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<number | NodeJS.Signals | null>;
  output(): string;
}

function start(args: readonly string[], more: Readonly<Record<string, string>> = {}, input?: string): Started {
  const child = spawn(process.execPath, [...nodeArgs("src/main.ts"), ...args], {
    cwd: CHECKOUT,
    env: { ...env, ...more },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
  }
  child.stdin.end(input);
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.on("close", (code, signal) => resolve(code ?? signal));
  });
  return { child, ended, output: () => text };
}

async function serve(): Promise<Started> {
  const server = start(["serve"]);
  atEnd(async () => {
    server.child.kill("SIGTERM");
    await server.ended;
  });
  await eventually(async () => {
    assert.equal(server.child.exitCode, null, server.output());
    return (await at.get("/health/ready")).status === 200;
  }, START_MS);
  return server;
}

async function postmaster(): Promise<number> {
  const names = await readdir(dataDir, { recursive: true });
  const file = names.find((name) => name.endsWith("postmaster.pid"));
  return file === undefined ? 0 : Number((await readFile(join(dataDir, file), "utf8")).split("\n")[0]);
}

let server = await serve();
let userId = "";

test("the database of the running server is killed: 503 meanwhile, then it is back by itself (T-REL-8)", async () => {
  const user = start(
    ["user", "create", "--email", "kept@example.com", "--password-file", "-", "--json"],
    {},
    "a long pass phrase to keep\n",
  );
  assert.equal(await user.ended, 0, user.output());
  userId = /"id": "([^"]+)"/.exec(user.output())?.[1] ?? "";
  assert.notEqual(userId, "");
  const pid = await postmaster();
  assert.ok(pid > 1);
  const began = performance.now();
  send(pid, "SIGKILL");
  // No client is known yet, so the database has to be asked.
  const ask = () =>
    at.post("/token", {
      grant_type: "client_credentials",
      client_id: `cl_${Math.random().toString(36).slice(2)}`,
      client_secret: "x",
    });
  const seen = await eventually(async () => {
    const answer = await ask();
    return answer.status === 503 ? answer : undefined;
  }, 5000);
  isRetryLater(seen);
  await eventually(async () => (await ask()).status === 401, 10_000);
  await eventually(async () => (await at.get("/health/ready")).status === 200, 10_000);
  console.log(`# the embedded database was back after ${Math.round(performance.now() - began)} ms`);
  assert.notEqual(await postmaster(), pid);
});

test("a second start beside the running server says so and ends with 1; beside a stranger it says that", async () => {
  const second = start(["serve"]);
  assert.equal(await second.ended, 1);
  assert.match(second.output(), new RegExp(`Signet is already running on port ${port}`));
  assert.doesNotMatch(second.output(), /\bat .*\.[jt]s:\d/);
  assert.equal((await at.get("/health/ready")).status, 200, "the first is not touched");
  const stranger = createServer((_request, response) => response.end("hello"));
  const taken = await new Promise<number>((resolve) => {
    stranger.listen(0, "127.0.0.1", () => {
      const address = stranger.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
  const third = start(["serve"], { ISSUER: `http://127.0.0.1:${taken}`, PORT: String(taken) });
  assert.equal(await third.ended, 1);
  assert.match(third.output(), new RegExp(`Port ${taken} is in use by another program`));
  stranger.close();
});

test("the server is killed and started again: what was acknowledged is there", async () => {
  server.child.kill("SIGKILL");
  assert.equal(await server.ended, "SIGKILL");
  const began = performance.now();
  server = await serve();
  console.log(`# started again after SIGKILL in ${Math.round(performance.now() - began)} ms`);
  const found = start(["user", "get", "kept@example.com", "--json"]);
  assert.equal(await found.ended, 0, found.output());
  assert.ok(found.output().includes(userId));
  server.child.kill("SIGTERM");
  assert.equal(await server.ended, 0);
});
