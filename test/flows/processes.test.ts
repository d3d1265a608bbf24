/** Processes: two on one database agree and hear of each other's changes; one stops without a failed request, ends when it must, and survives a closed output. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { Agent, request } from "node:http";
import { test } from "node:test";
import * as openid from "openid-client";
import { openApp } from "../../src/app.ts";
import type { Actor } from "../../src/audit/event.ts";
import { readConfig } from "../../src/config.ts";
import { createLog } from "../../src/log.ts";
import { asOwner, CHECKOUT, nodeArgs } from "../ladder.ts";
import { atEnd, eventually, type SpawnedSignet, spawnSignet, testDatabase } from "../support.ts";
import { basic, environmentOn } from "./faults.ts";
import { API, CALLBACK, EMAIL, PASSWORD, signIn } from "./journey.ts";

const BY: Actor = { kind: "command", id: "processes-test" };
/** Throws where nobody catches it, when it is told to. */
const FAULT = `--import=data:text/javascript,${encodeURIComponent("process.on('SIGUSR2',()=>{throw new Error('a planted failure')})")}`;

const database = await testDatabase();
await asOwner(database.connection, (client) => client.query("drop schema public cascade; create schema public"));
const env: Record<string, string> = {
  ...(await environmentOn({ DATABASE_URL: database.url })),
  NODE_ENV: "development",
  NODE_OPTIONS: FAULT,
};
const pair = Promise.all([
  spawnSignet({ engine: "postgres", beside: { env }, env: { PORT: env["PORT"] ?? "", SHUTDOWN_DELAY: "2" } }),
  spawnSignet({ engine: "postgres", beside: { env } }),
]);
/** As the command line does it, in a third process: this one. */
const rooms = pair.then(async () => {
  const app = await openApp(readConfig(env), createLog({ level: "error", pretty: true, sink: process.stderr }));
  atEnd(() => app.close());
  await app.apis.create(
    { identifier: API, name: "Things", scopes: [{ scope: "read:things", description: "Read" }] },
    BY,
  );
  return app;
});

async function machine(name: string): Promise<{ id: string; secret: string }> {
  const { clients } = await rooms;
  const apis = [{ identifier: API, scopes: ["read:things"], default: true }];
  const { client, secret = "" } = await clients.register({ client_type: "service", client_name: name, apis }, BY);
  return { id: client.id, secret };
}

async function tokenStatus(at: SpawnedSignet, client: { id: string; secret: string }): Promise<number> {
  return (await at.client().post("/token", { grant_type: "client_credentials" }, basic(client))).status;
}

test("two processes that start at once on an empty database both come up and publish the same keys (T-REL-14)", async () => {
  const [one, two] = await pair;
  const keys = await Promise.all([one, two].map(async (at) => (await at.client().get("/jwks")).text));
  assert.equal(keys[0], keys[1]);
  assert.equal((JSON.parse(keys[0] ?? "") as { keys: unknown[] }).keys.length, 3);
});

test("a change of a client is heard by every process within a second, and what is refused is refused at once", async () => {
  const [one, two] = await pair;
  const { clients } = await rooms;
  const client = await machine("Changed");
  assert.deepEqual([await tokenStatus(one, client), await tokenStatus(two, client)], [200, 200]);
  await clients.setDisabled(client.id, true, BY);
  const began = performance.now();
  for (const at of [one, two]) {
    await eventually(async () => (await tokenStatus(at, client)) === 401, 5000);
  }
  const ms = Math.round(performance.now() - began);
  console.log(`# a disabled client was refused by both after ${ms} ms`);
  assert.ok(ms < 3000, `${ms} ms`);
  await clients.setDisabled(client.id, false, BY);
  await eventually(async () => (await tokenStatus(two, client)) === 200, 5000);
});

test("a disabled user gets nothing from the next request on, whichever process it meets", async () => {
  const [one, two] = await pair;
  const { clients, users } = await rooms;
  const user = await users.create({ email: EMAIL, password: PASSWORD }, BY);
  const { client, secret } = await clients.register(
    { client_type: "web", client_name: "App", redirect_uris: [CALLBACK] },
    BY,
  );
  const auth = openid.ClientSecretBasic(secret ?? "");
  const config = await openid.discovery(new URL(one.issuer), client.id, {}, auth, {
    execute: [openid.allowInsecureRequests],
  });
  const signedIn = await signIn(one.client(), config, { scope: "openid offline_access" });
  const tokens = await openid.authorizationCodeGrant(config, signedIn.callback, {
    pkceCodeVerifier: signedIn.verifier,
    expectedNonce: signedIn.nonce,
    expectedState: signedIn.state,
  });
  const credentials = basic({ id: client.id, secret });
  const userinfo = (at: SpawnedSignet) =>
    at.client().get("/userinfo", { authorization: `Bearer ${tokens.access_token}` });
  const refresh = (at: SpawnedSignet) =>
    at.client().post("/token", { grant_type: "refresh_token", refresh_token: tokens.refresh_token ?? "" }, credentials);
  for (const at of [one, two]) assert.equal((await userinfo(at)).status, 200);
  await users.setDisabled(user.id, true, BY);
  for (const at of [two, one]) {
    assert.equal((await userinfo(at)).status, 401);
    const refused = await refresh(at);
    assert.deepEqual([refused.status, refused.json()["error"]], [400, "invalid_grant"]);
  }
});

/** One request on a connection that is kept; whether the answer asked for it to be closed. */
function ask(
  at: SpawnedSignet,
  agent: Agent,
  client: { id: string; secret: string },
): Promise<{ status: number; isClosing: boolean }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: "127.0.0.1",
        port: at.port,
        agent,
        method: "POST",
        path: "/token",
        headers: {
          host: new URL(at.issuer).host,
          "content-type": "application/x-www-form-urlencoded",
          ...basic(client),
        },
      },
      (response) => {
        response.resume();
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, isClosing: response.headers.connection === "close" }),
        );
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end("grant_type=client_credentials");
  });
}

test("SIGTERM under load: unready at once, every connection is told to close, no request fails, exit 0 in time (T-REL-13)", async () => {
  const [one, two] = await pair;
  const client = await machine("Load");
  let [asked, isOver] = [0, false];
  const failures: string[] = [];
  // Each worker has one connection, as a balancer has; told to close, it goes to the other process.
  const worker = async (): Promise<"moved" | "never"> => {
    let [at, moved]: [SpawnedSignet, "moved" | "never"] = [one, "never"];
    let agent = new Agent({ keepAlive: true, maxSockets: 1 });
    while (!isOver) {
      asked += 1;
      const answer = await ask(at, agent, client).catch((error: Error) => ({ status: 0, isClosing: false, error }));
      if (answer.status !== 200)
        failures.push(
          `${at === one ? "stopping" : "other"}: ${answer.status} ${"error" in answer ? answer.error.message : ""}`,
        );
      if (answer.isClosing && at === one) {
        agent.destroy();
        [at, moved, agent] = [two, "moved", new Agent({ keepAlive: true, maxSockets: 1 })];
      }
    }
    agent.destroy();
    return moved;
  };
  const workers = Array.from({ length: 6 }, worker);
  await eventually(() => asked > 12, 10_000);
  const began = performance.now();
  const ending = one.stop("SIGTERM");
  await eventually(async () => (await one.client().get("/health/ready")).status === 503, 1900);
  const unready = Math.round(performance.now() - began);
  assert.equal((await one.client().get("/health/live")).status, 200, "those who are here are still served");
  const code = await ending;
  const ms = Math.round(performance.now() - began);
  isOver = true;
  const moved = await Promise.all(workers);
  console.log(
    `# unready after ${unready} ms, exit ${code} after ${ms} ms (delay 2000 ms); ${asked} requests, ${failures.length} failed`,
  );
  assert.deepEqual(failures, []);
  assert.ok(moved.every((outcome) => outcome === "moved"));
  assert.equal(code, 0);
  assert.ok(ms >= 2000 && ms < 15_000);
});

test("a failure that nobody caught is logged, and the process ends with 1; no stack leaves it (T-REL-33)", async () => {
  const [, two] = await pair;
  // A request that was on its way is answered or cut off; either way it tells nothing.
  const pending = two
    .client()
    .get("/jwks")
    .then(
      ({ text }) => text,
      (error: Error) => error.message,
    );
  const began = performance.now();
  const code = await two.stop("SIGUSR2");
  const ms = Math.round(performance.now() - began);
  console.log(`# exit ${code} after ${ms} ms`);
  assert.equal(code, 1);
  assert.ok(ms < 6000);
  assert.doesNotMatch(await pending, /planted|\bat .*\.[jt]s:\d/);
  assert.ok(two.output().includes("a failure that nobody caught ends the server"));
  assert.ok(two.output().includes("a planted failure"));
});

test("with its output closed the server goes on; a second signal ends it at once (T-REL-21)", async () => {
  const own = await environmentOn({ DATABASE_URL: database.url });
  const child = spawn(process.execPath, [...nodeArgs("src/main.ts"), "serve"], {
    cwd: CHECKOUT,
    env: { PATH: process.env["PATH"] ?? "", ...own, SECRET_KEY: env["SECRET_KEY"] ?? "", SHUTDOWN_DELAY: "10" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  atEnd(async () => void child.kill("SIGKILL"));
  const ended = new Promise<number | null>((resolve) => child.on("exit", (code) => resolve(code)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  child.stdout.destroy();
  child.stderr.destroy();
  const { cookieJarClient } = await import("../support.ts");
  const at = cookieJarClient(own.ISSUER);
  await eventually(async () => (await at.get("/health/ready")).status === 200, 30_000);
  for (let count = 0; count < 20; count += 1) assert.equal((await at.get("/jwks")).status, 200);
  child.kill("SIGTERM");
  await eventually(async () => (await at.get("/health/ready")).status === 503, 5000);
  const began = performance.now();
  child.kill("SIGTERM");
  assert.equal(await ended, 1);
  const ms = Math.round(performance.now() - began);
  console.log(`# the second signal ended it after ${ms} ms, the delay was 10000 ms`);
  assert.ok(ms < 3000);
});
