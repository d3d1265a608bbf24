/** What the other tests stand on: a client that keeps cookies as a browser does, forms, waiting, shifted time, stores of one's own. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import { createLog } from "../src/log.ts";
import { openDb } from "../src/store/db.ts";
import { CHECKOUT, LOADER, programUrl, SERVICES_VARIABLE } from "./ladder.ts";
import {
  atEnd,
  chromium,
  cookieJarClient,
  decodeEntities,
  eventually,
  form,
  testDatabase,
  testRedis,
  withoutChromium,
  withoutRedis,
} from "./support.ts";

const run = promisify(execFile);
const log = createLog({ level: "silent", pretty: false });

/** A server that answers by a table of paths and tells what it was asked. */
async function serve(
  answers: Readonly<Record<string, { status?: number; headers?: Record<string, string | string[]>; body?: string }>>,
) {
  const asked: { line: string; headers: IncomingMessage["headers"]; body: string }[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    asked.push({
      line: `${request.method} ${request.url}`,
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    });
    const { status = 200, headers = {}, body = "" } = answers[request.url?.split("?")[0] ?? ""] ?? { status: 404 };
    response.writeHead(status, headers).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(async () => server.close());
  return { base: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

test("the client keeps cookies by path, drops expired ones, and does not follow redirects by itself", async () => {
  const { base, asked } = await serve({
    "/in": {
      status: 303,
      headers: { location: "/deep/page", "set-cookie": ["all=1; Path=/", "deep=2; Path=/deep; HttpOnly"] },
    },
    "/deep/page": { headers: { "set-cookie": "all=; Path=/; Max-Age=0" }, body: "here" },
    "/after": {},
  });
  const client = cookieJarClient(base);
  const first = await client.get("/in");
  assert.equal(first.status, 303);
  assert.equal(first.location, `${base}/deep/page`);
  assert.equal((await client.follow(first)).text, "here");
  await client.get("/deeper");
  assert.deepEqual(
    asked.map(({ headers }) => headers.cookie),
    [undefined, "deep=2; all=1", undefined],
  );
});

test("the client stops at a redirect to another origin and at a redirect loop", async () => {
  const { base } = await serve({
    "/out": { status: 303, headers: { location: "https://app.example/cb?code=x" } },
    "/loop": { status: 303, headers: { location: "/loop" } },
  });
  const client = cookieJarClient(base);
  assert.equal((await client.follow(await client.get("/out"))).location, "https://app.example/cb?code=x");
  await assert.rejects(async () => client.follow(await client.get("/loop")), /redirects/);
});

test("the client refuses what a browser refuses: prefixed cookies without what the prefix promises", async () => {
  const bad = [
    "__Host-a=1; Path=/",
    "__Host-a=1; Secure; Path=/deep",
    "__Secure-a=1; Path=/",
    "a=1; Domain=example.com",
  ];
  for (const header of bad) assert.throws(() => cookieJarClient("https://id.example").setCookie(header), header);
  const client = cookieJarClient("https://id.example");
  client.setCookie("__Host-a=1; Secure; Path=/; HttpOnly; SameSite=Lax");
  assert.equal(client.cookies.size, 1);
});

test("the client goes to the given place and says the name of the issuer", async () => {
  const { base, asked } = await serve({ "/x": {} });
  const port = Number(new URL(base).port);
  await cookieJarClient("http://id.example", { connectTo: { host: "127.0.0.1", port } }).get("/x?y=1");
  assert.equal(asked[0]?.headers.host, "id.example");
  assert.equal(asked[0]?.line, "GET /x?y=1");
});

test("a form is sent as a browser sends it, with what was hidden in it and where it came from", async () => {
  const page = `<form action="/other"><button>No</button></form>
    <form method="post" action="/act?a=1&amp;b=2"><input type="hidden" name="csrf" value="x&quot;y&#39;&#x26;">
    <input name=email value='a@b.example'><input type="checkbox" name="keep" checked><input type="checkbox" name="not">
    <select name="lang"><option value="en"><option value="de" selected></select><textarea name="note">a &lt; b</textarea>
    <button name="decision" value="allow">Yes</button><button name="decision" value="deny">No</button></form>`;
  const { base, asked } = await serve({ "/page": { body: page }, "/act": {} });
  const found = form(page, "csrf");
  assert.deepEqual(found.fields, { csrf: "x\"y'&", email: "a@b.example", keep: "on", lang: "de", note: "a < b" });
  assert.deepEqual(
    found.buttons.map(({ value }) => value),
    ["allow", "deny"],
  );
  const client = cookieJarClient(base);
  await client.submit(await client.get("/page"), { decision: "allow", email: "c@d.example" }, { match: "csrf" });
  const sent = asked[1];
  assert.equal(sent?.line, "POST /act?a=1&b=2");
  assert.equal(sent?.headers.origin, base);
  assert.equal(sent?.headers["sec-fetch-site"], "same-origin");
  assert.equal(new URLSearchParams(sent?.body).get("csrf"), "x\"y'&");
  assert.equal(new URLSearchParams(sent?.body).get("decision"), "allow");
  assert.equal(new URLSearchParams(sent?.body).get("email"), "c@d.example");
  assert.throws(() => form("<p>none</p>"), /no form/);
  assert.equal(decodeEntities("&amp;lt;"), "&lt;");
});

test("waiting ends with the value, and at the deadline with the last error", async () => {
  let count = 0;
  const countToFour = (): number | false => {
    count += 1;
    return count > 3 && count;
  };
  assert.equal(await eventually(countToFour), 4);
  await assert.rejects(() => eventually(() => false, 50), /did not become true/);
  await assert.rejects(() => eventually(() => Promise.reject(new Error("still down")), 50), /still down/);
});

test("each caller gets a migrated database of its own", async (t) => {
  const [one, two] = [await testDatabase(t), await testDatabase(t)];
  const [first, second] = [one, two].map(({ connection }) => openDb({ connection, max: 1, log }));
  assert.ok(first !== undefined && second !== undefined);
  try {
    await first.query("create table only_here (x int)");
    const tables =
      "select to_regclass('only_here') is not null as here, to_regclass('schema_migrations') is not null as migrated";
    assert.deepEqual(await first.query(tables), [{ here: true, migrated: true }]);
    assert.deepEqual(await second.query(tables), [{ here: false, migrated: true }]);
    // The URL leads to the same place as the parts.
    const byUrl = openDb({ connection: { connectionString: one.url }, max: 1, log });
    assert.deepEqual(await byUrl.query("select current_database() as name"), [{ name: one.name }]);
    await byUrl.close();
  } finally {
    await Promise.all([first.close(), second.close()]);
  }
});

test("each caller gets an empty Redis database of its own", { skip: await withoutRedis() }, async () => {
  const [one, two] = [await testRedis(), await testRedis()];
  assert.ok(one !== undefined && two !== undefined);
  assert.notEqual(one.prefix, two.prefix);
  const [first, second] = [new Redis(one.url), new Redis(two.url)];
  await first.set("only", "here");
  assert.equal(await second.get("only"), null);
  assert.equal(await first.get("only"), "here");
  first.disconnect();
  second.disconnect();
});

test("the browser opens a page of a server on this machine", { skip: await withoutChromium() }, async () => {
  const { base } = await serve({ "/": { headers: { "content-type": "text/html" }, body: "<h1>Signet</h1>" } });
  const context = await (await chromium()).newContext();
  const page = await context.newPage();
  await page.goto(base);
  assert.equal(await page.textContent("h1"), "Signet");
  await context.close();
});

test("a process with shifted time has it everywhere, and durations go on", async () => {
  const code = `
    const { execFileSync } = require("node:child_process");
    const began = performance.now();
    setTimeout(() => console.log(JSON.stringify({
      now: Date.now(), made: new Date().getTime(), text: Date.parse(Date()), again: new (new Date().constructor)().getTime(),
      fixed: new Date(5).getTime(), utc: Date.UTC(1970, 0, 2), isDate: new Date() instanceof Date && new Date(1).constructor === Date,
      file: require("node:fs").statSync(".").mtime instanceof Date, waited: performance.now() - began,
    })), 20)`;
  const env = { PATH: process.env["PATH"], SHIFT_TIME_SECONDS: "86400" };
  const args = [...LOADER, "--import", programUrl("test/shift-time.ts"), "-e", code];
  const before = Date.now() + 86_400_000;
  const { stdout } = await run(process.execPath, args, { cwd: CHECKOUT, env });
  const after = Date.now() + 86_400_000;
  const said = JSON.parse(stdout) as Record<string, number | boolean>;
  for (const name of ["now", "made", "again"])
    assert.ok(Number(said[name]) >= before && Number(said[name]) <= after, name);
  assert.ok(Math.abs(Number(said["text"]) - Number(said["now"])) < 2000);
  assert.deepEqual([said["fixed"], said["utc"], said["isDate"], said["file"]], [5, 86_400_000, true, true]);
  assert.ok(Number(said["waited"]) < 10_000);
});

test("the runner refuses to be content when no test ran", async () => {
  const env = { ...process.env };
  delete env[SERVICES_VARIABLE];
  delete env["NODE_TEST_CONTEXT"];
  const found = run(process.execPath, ["--import", "tsx", "test/run.ts", "--long", "no-such-file"], {
    cwd: CHECKOUT,
    env,
  });
  await assert.rejects(found, (error: { code?: number; stdout?: string }) => {
    assert.equal(error.code, 1);
    assert.match(error.stdout ?? "", /no test ran/);
    return true;
  });
});
