/** The first start as a person lives it: the command of `npm start`, its printed block, and the demo app in a browser; then the demo app's own edges. */
import assert from "node:assert/strict";
import { type ChildProcess, fork, spawn } from "node:child_process";
import { chmodSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { exportJWK, generateKeyPair, type JWTHeaderParameters, type JWTPayload, SignJWT } from "jose";
import type { Page } from "playwright-core";
import { createApi } from "../../demo/api.ts";
import { CHECKOUT, LOADER, programFile } from "../ladder.ts";
import { atEnd, chromium, eventually, freePort, withoutChromium } from "../support.ts";

/** A first start makes a database; on a busy machine that takes its time. */
const START_MS = 60_000;
/** Issue 2: SIGTERM ends it within 15 s. */
const STOP_MS = 15_000;
const STEP_MS = 15_000;

interface Started {
  readonly child: ChildProcess;
  readonly appUrl: string;
  readonly issuer: string;
  readonly email: string;
  readonly password: string;
  /** Where the block says that the data lies. */
  readonly place: string;
  output(): string;
}

/** `npm start`'s command in a process group of its own, once its block is there and the demo app answers. */
async function start(): Promise<Started> {
  const dataDir = await mkdtemp(join(tmpdir(), "signet-demo-"));
  // As root the database runs as somebody else, who must be able to pass this folder to find its own.
  chmodSync(dataDir, 0o711);
  const [port, demoPort, managementPort] = [await freePort(), await freePort(), await freePort()];
  const issuer = `http://localhost:${port}`;
  const child = spawn(process.execPath, ["--import", "tsx", "demo/start.ts"], {
    cwd: CHECKOUT,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: process.env["HOME"] ?? "",
      DATA_DIR: dataDir,
      ISSUER: issuer,
      DEMO_PORT: String(demoPort),
      MANAGEMENT_PORT: String(managementPort),
    },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  atEnd(() => rm(dataDir, { recursive: true, force: true }));
  atEnd(() => endGroup(child));
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const printed = (label: string): string => new RegExp(`^  ${label} +(\\S+)`, "m").exec(text)?.[1] ?? "";
  await eventually(() => child.exitCode !== null || printed("Production") !== "", START_MS);
  assert.equal(child.exitCode, null, text);
  const appUrl = printed("Demo app");
  await eventually(async () => (await fetch(appUrl)).ok, START_MS);
  return {
    child,
    appUrl,
    issuer: printed("Issuer"),
    email: printed("Demo person"),
    password: printed("Password"),
    place: printed("Data"),
    output: () => text,
  };
}

/** After a failed test, too, nothing stays: asked first, so that the server takes its database with it. */
async function endGroup(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) return;
  child.kill("SIGTERM");
  await eventually(() => child.exitCode !== null || child.signalCode !== null, STOP_MS).catch(() => undefined);
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // The group is empty, as it should be.
  }
}

/** Of the group that the process leads, whoever has not ended; on machines without /proc the leader alone is looked at. */
function aliveInGroup(leader: number): readonly number[] {
  if (process.platform !== "linux") return isAlive(leader) ? [leader] : [];
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => statOf(pid)?.group === leader && isAlive(pid));
}

/** A process that ended and was not reaped yet is not alive. */
function isAlive(pid: number): boolean {
  if (process.platform === "linux") return !["Z", "X", undefined].includes(statOf(pid)?.state);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function statOf(pid: number): { readonly state: string | undefined; readonly group: number } | undefined {
  try {
    // The name in parentheses may hold anything, so the fields are counted from behind it.
    const [state, , group] = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return { state, group: Number(group) };
  } catch {
    return undefined;
  }
}

/** Nothing that opens a door is in what a person sees: no JWT, no refresh token, no client secret. */
function assertNoToken(text: string, where: string): void {
  assert.doesNotMatch(text, /eyJ[\w-]+\.[\w-]+\.[\w-]|sgn_(rt|cs|at)_/, where);
}

async function signIn(page: Page, { appUrl, email, password }: Started): Promise<void> {
  await page.goto(appUrl);
  await page.getByRole("link", { name: "Sign in with Signet" }).click();
  await page.fill('[name="email"]', email);
  await page.fill('[name="password"]', password);
  await page
    .locator("form", { has: page.locator('[name="password"]') })
    .locator('[type="submit"]')
    .click();
  await page.waitForSelector('[name="decision"]');
}

test("npm start, then the demo app: sign in, consent, tokens, an API call, refresh, sign out, and a clean end", {
  skip: await withoutChromium(),
}, async () => {
  const started = await start();
  const { child, appUrl, issuer, place } = started;
  assert.equal(started.email, "demo@example.com");
  assert.ok(started.password.length >= 20, "the password is generated");
  const postmaster = Number.parseInt(readFileSync(join(place, "data", "postmaster.pid"), "utf8"), 10);
  assert.ok(isAlive(postmaster));
  // The pages work without JavaScript, so that is how they are walked.
  const context = await (await chromium()).newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_MS);
  const foreign: string[] = [];
  page.on("request", (request) => {
    if (![appUrl, issuer].includes(new URL(request.url()).origin)) foreign.push(request.url());
  });

  await signIn(page, started);
  assert.equal(new URL(page.url()).origin, issuer);
  await page.locator('[name="decision"][value="deny"]').click();
  await page.getByText("You said no").waitFor();
  assert.match((await page.textContent("main")) ?? "", /access_denied/);

  await page.getByRole("link", { name: "Show me the choice again" }).click();
  await page.locator('[name="decision"][value="allow"]').click();
  await page.getByRole("heading", { name: "Hello, Dana Demo" }).waitFor();
  assert.equal(page.url(), `${appUrl}/`);
  const cookie = (await context.cookies(appUrl)).find(({ name }) => name === "signet_demo");
  assert.deepEqual([cookie?.httpOnly, cookie?.sameSite], [true, "Lax"]);
  const shown = (await page.textContent("main")) ?? "";
  for (const said of ["demo@example.com", "at+jwt", "ES256", "notes:read", `${appUrl}/api`, issuer]) {
    assert.ok(shown.includes(said), `${said} is not on the page:\n${shown}`);
  }
  assertNoToken(await page.content(), "the page of a signed-in person");
  // What /userinfo and the ID token say is about one person.
  const subjects = await page.locator('tr:has(th code:text-is("sub")) td').allInnerTexts();
  assert.equal(subjects.length, 3, "ID token, userinfo and access token");
  assert.equal(new Set(subjects).size, 1);

  const tokenId = page.locator('tr:has(th code:text-is("jti")) td');
  const first = await tokenId.textContent();
  await page.getByRole("button", { name: "Call the API" }).click();
  await page.getByRole("heading", { name: "The API answered 200" }).waitFor();
  await page.getByRole("button", { name: "Refresh" }).click();
  await page.getByRole("heading", { name: "The tokens are new" }).waitFor();
  assert.notEqual(await tokenId.textContent(), first);
  await page.getByRole("button", { name: "Call the API" }).click();
  await page.getByRole("heading", { name: "The API answered 200" }).waitFor();
  assert.match((await page.textContent("#result")) ?? "", /Seed potatoes/);

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(`${issuer}/logout**`);
  await page.locator("form", { hasText: "Sign out" }).locator('[type="submit"]').first().click();
  await page.getByRole("link", { name: "Sign in with Signet" }).waitFor();
  assert.equal(page.url(), `${appUrl}/`);
  // Signed out at Signet, too: it asks who is there.
  await page.getByRole("link", { name: "Sign in with Signet" }).click();
  await page.waitForSelector('[name="password"]');
  await context.close();
  assert.deepEqual(foreign, [], "no other host was asked");

  const began = performance.now();
  const ended = new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
  process.kill(child.pid ?? 0, "SIGTERM");
  assert.equal(await ended, 0);
  assert.ok(performance.now() - began < STOP_MS, `it took ${Math.round(performance.now() - began)} ms`);
  await eventually(() => aliveInGroup(child.pid ?? 0).length === 0 && !isAlive(postmaster));
  for (const url of [appUrl, issuer]) await assert.rejects(fetch(url), TypeError, `${url} still answers`);
  assertNoToken(started.output(), "the terminal");
});

/** The demo app alone, as demo/start.ts forks it, beside an issuer that does not answer. */
async function forkApp(port: number): Promise<{ child: ChildProcess; output(): string; exit: Promise<number | null> }> {
  const child = fork(programFile("demo/app.ts"), {
    execArgv: [...LOADER],
    env: {
      PATH: process.env["PATH"],
      PORT: String(port),
      ISSUER: `http://localhost:${await freePort()}`,
      CLIENT_ID: "cl_demo",
      CLIENT_SECRET: "a-secret-of-nobody",
      API: `http://localhost:${port}/api`,
      API_SCOPE: "notes:read",
    },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  atEnd(async () => child.kill("SIGKILL"));
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const exit = new Promise<number | null>((resolve) => child.once("exit", resolve));
  return { child, output: () => text, exit };
}

test("the demo app answers what is foreign or broken in words, and ends with whoever started it", async () => {
  const port = await freePort();
  const app = await forkApp(port);
  const url = `http://localhost:${port}`;
  await eventually(async () => (await fetch(url)).ok, START_MS);
  const ask = (path: string, init: RequestInit = {}) => fetch(url + path, { redirect: "manual", ...init });
  for (const [path, init, status, code] of [
    ["/login", {}, 502, "issuer_unreachable"],
    ["/callback?state=made-up&error=oops&error_description=%3Cb%3Esay+this", {}, 400, "state_unknown"],
    ["/callback", {}, 400, "state_unknown"],
    ["/call-api", { method: "POST" }, 403, "origin_foreign"],
    ["/refresh", { method: "POST", headers: { Origin: "http://localhost:1" } }, 403, "origin_foreign"],
    ["/logout", { method: "POST", headers: { Origin: "null" } }, 403, "origin_foreign"],
    ["/logout", {}, 404, "not_found"],
    ["/nothing", {}, 404, "not_found"],
    ["//elsewhere.example/", {}, 404, "not_found"],
  ] as const) {
    const answer = await ask(path, init);
    const text = await answer.text();
    assert.equal(answer.status, status, path);
    assert.ok(text.includes(`<code class="code">${code}</code>`), `${path}: ${text}`);
    assert.ok(!text.includes("say this"), "what a stranger wrote is not shown");
    assert.match(answer.headers.get("Content-Security-Policy") ?? "", /default-src 'none'.*frame-ancestors 'none'/);
  }
  const notSignedIn = await ask("/refresh", { method: "POST", headers: { Origin: url } });
  assert.deepEqual([notSignedIn.status, notSignedIn.headers.get("Location")], [303, "/"]);
  const otherName = await fetch(`http://127.0.0.1:${port}/login`, { redirect: "manual" });
  assert.deepEqual([otherName.status, otherName.headers.get("Location")], [303, `${url}/`]);
  const api = await ask("/api/notes", { headers: { Authorization: "Bearer abc" } });
  assert.deepEqual([api.status, api.headers.get("Retry-After")], [503, "2"], "no keys, no verdict");

  const second = await forkApp(port);
  assert.equal(await second.exit, 1);
  assert.equal(second.output(), `The demo app did not start: port ${port} is in use: set DEMO_PORT to a free one.\n`);
  app.child.disconnect();
  assert.equal(await app.exit, 0);
});

test("the demo's API takes what is signed for it, and tells everything else why not", async () => {
  const { issuer, audience, url, sign, otherKey } = await apiBesideIssuer();
  const now = Math.floor(Date.now() / 1000);
  const claims: JWTPayload = {
    ...{ iss: issuer, aud: audience, sub: "person", client_id: "app", jti: "1", scope: "openid notes:read" },
    ...{ iat: now, exp: now + 60 },
  };
  const { sub: _sub, ...nobody } = claims;
  const good = await sign(claims);
  const [head = "", , signature = ""] = good.split(".");
  const forged = Buffer.from(JSON.stringify({ ...claims, sub: "somebody else" })).toString("base64url");
  const none = `${Buffer.from('{"alg":"none","typ":"at+jwt"}').toString("base64url")}.${good.split(".")[1]}.`;
  const invalid = /^Bearer realm="notes", error="invalid_token", error_description="[^"]+"$/;
  const bare = /^Bearer realm="notes"$/;
  for (const [what, authorization, status, challenge] of [
    ["a good token", `Bearer ${good}`, 200, undefined],
    ["the scheme in small letters", `bearer ${good}`, 200, undefined],
    ["the long form of the type", `Bearer ${await sign(claims, { typ: "application/at+jwt" })}`, 200, undefined],
    ["no header", undefined, 401, bare],
    ["another scheme", "Basic YTpi", 401, bare],
    ["a header that holds no token", "Bearer", 400, /error="invalid_request"/],
    ["two tokens", `Bearer ${good} ${good}`, 400, /error="invalid_request"/],
    ["text that is no JWT", "Bearer abc", 401, invalid],
    ["alg none", `Bearer ${none}`, 401, invalid],
    ["changed claims", `Bearer ${head}.${forged}.${signature}`, 401, invalid],
    ["a key of somebody else", `Bearer ${await sign(claims, {}, otherKey)}`, 401, invalid],
    ["an unknown key id", `Bearer ${await sign(claims, { kid: "unknown" })}`, 401, invalid],
    ["an ID token", `Bearer ${await sign(claims, { typ: "JWT" })}`, 401, invalid],
    ["another audience", `Bearer ${await sign({ ...claims, aud: "https://other.example" })}`, 401, invalid],
    ["another issuer", `Bearer ${await sign({ ...claims, iss: `${issuer}/` })}`, 401, invalid],
    ["an expired token", `Bearer ${await sign({ ...claims, exp: now - 60 })}`, 401, invalid],
    ["a token for nobody", `Bearer ${await sign(nobody)}`, 401, invalid],
    [
      "a scope that only begins alike",
      `Bearer ${await sign({ ...claims, scope: "notes:readwrite" })}`,
      403,
      /scope="n/,
    ],
    ["no scope", `Bearer ${await sign({ ...claims, scope: undefined })}`, 403, /error="insufficient_scope"/],
  ] as const) {
    const answer = await fetch(url, authorization === undefined ? {} : { headers: { Authorization: authorization } });
    const body = (await answer.json()) as { notes?: unknown[]; token?: JWTPayload };
    assert.equal(answer.status, status, `${what}: ${JSON.stringify(body)}`);
    assert.equal(Array.isArray(body.notes), status === 200, what);
    const said = answer.headers.get("WWW-Authenticate");
    if (challenge === undefined) assert.equal(said, null, what);
    else assert.match(said ?? "", challenge, what);
  }
  const posted = await fetch(url, { method: "POST" });
  assert.deepEqual([posted.status, posted.headers.get("Allow")], [405, "GET"]);
  assert.equal((await fetch(`${url}/more`)).status, 404);
});

/** An issuer that publishes one ES256 key, and the demo's API beside it. */
async function apiBesideIssuer() {
  const [key, other] = [await generateKeyPair("ES256"), await generateKeyPair("ES256")];
  const jwk = { ...(await exportJWK(key.publicKey)), kid: "k1", use: "sig", alg: "ES256" };
  const server = createServer((request, response) => {
    const { port } = server.address() as AddressInfo;
    const issuer = `http://127.0.0.1:${port}`;
    const documents: Readonly<Record<string, object>> = {
      "/.well-known/openid-configuration": { issuer, jwks_uri: `${issuer}/jwks` },
      "/jwks": { keys: [jwk] },
    };
    const document = documents[request.url ?? ""];
    if (document === undefined) void api(request, response);
    else response.end(JSON.stringify(document));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(async () => {
    server.close();
    server.closeAllConnections();
  });
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const audience = `${issuer}/api`;
  const api = createApi({ issuer, audience, scope: "notes:read" });
  const sign = (claims: JWTPayload, header: Partial<JWTHeaderParameters> = {}, by = key.privateKey): Promise<string> =>
    new SignJWT(claims).setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: "k1", ...header }).sign(by);
  return { issuer, audience, url: `${audience}/notes`, sign, otherKey: other.privateKey };
}
