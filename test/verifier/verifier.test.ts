/** The verifier for resource servers: packed, installed into an empty folder and used there; every refusal, at the server as well; its middleware; its patience. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import express from "express";
import { fastify } from "fastify";
import { decodeJwt, decodeProtectedHeader } from "jose";
import Koa from "koa";
import * as openid from "openid-client";
import { basic } from "../flows/faults.ts";
import { API, beginJourney, type Journey, signIn, tokensOf } from "../flows/journey.ts";
import { CHECKOUT } from "../ladder.ts";
import { atEnd, engines, eventually, freePort } from "../support.ts";
import { type Forge, refusals } from "./refusals.ts";

type Library = typeof import("../../verifier/src/verifier.ts");
const run = promisify(execFile);

/** The package as `npm pack` makes it, in a folder that holds nothing else but jose, packed from what is installed here: no registry is asked. */
const packed = (async (): Promise<{ folder: string; library: Library }> => {
  const folder = await mkdtemp(join(tmpdir(), "signet-verifier-"));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const pack = async (from: string): Promise<string> => {
    const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", folder], {
      cwd: join(CHECKOUT, from),
    });
    const [made] = JSON.parse(stdout.slice(stdout.indexOf("["))) as { filename: string }[];
    return `./${made?.filename}`;
  };
  const [verifier, jose] = [await pack("verifier"), await pack("node_modules/jose")];
  await writeFile(join(folder, "package.json"), '{"type":"module"}');
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", "--no-package-lock", jose, verifier], {
    cwd: folder,
  });
  const entry = join(folder, "node_modules", "signet-verifier", "dist", "verifier.js");
  return { folder, library: (await import(pathToFileURL(entry).href)) as Library };
})();
packed.catch(() => undefined);

async function withForge(
  journey: Journey,
): Promise<Forge & { readonly visits: () => number; readonly api: { id: string; secret: string | undefined } }> {
  const tokens = await tokensOf(journey.client(), await journey.party(journey.web), { scope: "openid read:things" });
  const { kid = "" } = decodeProtectedHeader(tokens.access_token);
  const { db, vault } = journey.service;
  const [row] = await db.query<{ sealed: string }>(
    "select sealed_private_jwk as sealed from signing_keys where kid = $1",
    [kid],
  );
  const jwk = JSON.parse(vault.open(row?.sealed ?? "", `signing_keys:${kid}`)) as Record<string, string>;
  const key = createPrivateKey({ key: jwk, format: "jwk" });
  let visits = 0;
  const trap = await listen((_request, response) => {
    visits += 1;
    response.end("{}");
  });
  return {
    issuer: journey.issuer,
    audience: API,
    key,
    kid,
    publicPem: createPublicKey(key).export({ type: "spki", format: "pem" }).toString(),
    good: tokens.access_token,
    claims: decodeJwt(tokens.access_token),
    idToken: tokens.id_token ?? "",
    trapUrl: trap.url,
    visits: () => visits,
    api: await journey.register({ client_type: "resource-server", client_name: "Things", apis: [{ identifier: API }] }),
  };
}

test("the package depends on jose alone and is used from an empty folder", async () => {
  const { folder } = await packed;
  const manifest = JSON.parse(await readFile(join(folder, "node_modules/signet-verifier/package.json"), "utf8"));
  assert.deepEqual(Object.keys(manifest.dependencies), ["jose"]);
  assert.deepEqual((await readdir(join(folder, "node_modules"))).filter((name) => !name.startsWith(".")).sort(), [
    "jose",
    "signet-verifier",
  ]);
  const { issuer, machine, party } = await journeyOf("postgres");
  const port = await freePort();
  const guide = await readFile(join(CHECKOUT, "guides", "services-and-apis.md"), "utf8");
  const program = /^```js verified\.mjs\n([\s\S]*?)^```/m.exec(guide)?.[1];
  assert.ok(program !== undefined, "the guide has the program");
  await writeFile(join(folder, "api.mjs"), program);
  const child = start(join(folder, "api.mjs"), { ISSUER: issuer, AUDIENCE: API, PORT: String(port) });
  const url = `http://127.0.0.1:${port}/`;
  const bare = await eventually(() => fetch(url).catch(() => undefined), 20_000);
  assert.deepEqual([bare.status, bare.headers.get("www-authenticate")], [401, `Bearer realm="${API}"`]);
  const { access_token: token } = await openid.clientCredentialsGrant(await party(machine));
  const answer = await fetch(url, { headers: { Authorization: `Bearer ${token}` } });
  assert.deepEqual([answer.status, await answer.text()], [200, machine.id]);
  child.kill("SIGKILL");
});

for (const { engine, skip } of await engines()) {
  test(`every token that is none is refused with its reason, by the verifier and by the server, and nothing is asked or logged for it (${engine})`, {
    skip,
  }, async () => {
    const { library } = await packed;
    const journey = await journeyOf(engine);
    const forge = await withForge(journey);
    const verifier = library.createVerifier({ issuer: journey.issuer, audience: API });
    const { subject, scopes } = await verifier.verify(forge.good, { scope: "read:things" });
    assert.deepEqual([subject, [...scopes]], [journey.userId, ["read:things"]]);
    const ask = (token: string) => journey.client().post("/introspect", { token }, basic(forge.api));
    assert.equal((await ask(forge.good)).json()["active"], true);
    const rows = refusals(forge);
    assert.ok(rows.length > 30);
    for (const { name, token, says, status = 200 } of rows) {
      const refusal = await verifier.authorize(`Bearer ${token}`).catch((error: unknown) => error);
      assert.ok(refusal instanceof library.Refusal, name);
      assert.equal(refusal.code, "invalid_token", name);
      assert.match(refusal.message, says, name);
      assert.match(
        refusal.headers(API)["WWW-Authenticate"] ?? "",
        /^Bearer realm="[^"]+", error="invalid_token", error_description="[^"]+"$/,
      );
      const answer = await ask(token);
      assert.equal(answer.status, status, name);
      if (status === 200) assert.equal(answer.text, '{"active":false}', name);
      const info = await journey.client().get("/userinfo", { authorization: `Bearer ${token.slice(0, 8000)}` });
      assert.equal(info.status, 401, name);
    }
    assert.equal(forge.visits(), 0, "nobody looked where a token points");
    const log = journey.lines.join("\n");
    const secrets = rows.flatMap(({ token }) => token.split(".").slice(1)).filter((part) => part.length > 30);
    for (const secret of secrets) assert.equal(log.includes(secret.slice(0, 512)), false);
  });

  test(`with introspection a revoked token is refused, an opaque one is taken, and nobody is let in without an answer (${engine})`, {
    skip,
  }, async () => {
    const { library } = await packed;
    const journey = await journeyOf(engine);
    const { api } = await withForge(journey);
    const { issuer } = journey;
    const introspection = { clientId: api.id, clientSecret: api.secret ?? "" };
    const config = await journey.party(journey.machine);
    const [{ access_token: revoked }, { access_token: later }] = [
      await openid.clientCredentialsGrant(config),
      await openid.clientCredentialsGrant(config),
    ];
    const open = () => library.createVerifier({ issuer, audience: API, introspection });
    const patient = open();
    assert.equal((await patient.verify(later)).clientId, journey.machine.id);
    for (const token of [revoked, later]) await openid.tokenRevocation(config, token);
    await assert.rejects(patient.verify(revoked), { code: "invalid_token" });
    assert.ok(await patient.verify(later), "the answer of a moment ago");
    await assert.rejects(open().verify(later), { code: "invalid_token" });
    assert.ok(
      await library.createVerifier({ issuer, audience: API }).verify(later),
      "the signature alone knows of no revocation",
    );
    const opaque = "urn:example:opaque";
    await journey.service.apis.create(
      { identifier: opaque, name: "O", scopes: [{ scope: "o" }], token_format: "opaque" },
      { kind: "system" },
    );
    const { id, secret = "" } = await journey.register({
      client_type: "resource-server",
      client_name: "O",
      apis: [{ identifier: opaque }],
    });
    const service = await journey.register({
      client_type: "service",
      client_name: "S",
      apis: [{ identifier: opaque }],
    });
    const { access_token: token } = await openid.clientCredentialsGrant(await journey.party(service));
    const taker = library.createVerifier({
      issuer,
      audience: opaque,
      introspection: { clientId: id, clientSecret: secret },
    });
    assert.deepEqual([...(await taker.verify(token, { scope: "o" })).scopes], ["o"]);
    await assert.rejects(patient.verify(token), { code: "invalid_token" });
    await assert.rejects(library.createVerifier({ issuer, audience: opaque }).verify(token), { code: "invalid_token" });
    const wrong = library.createVerifier({
      issuer,
      audience: opaque,
      introspection: { clientId: id, clientSecret: "wrong" },
    });
    await assert.rejects(wrong.verify(token), { code: "temporarily_unavailable" });
  });
}

test("the web app, the app in the browser and the service get tokens for two APIs, each good at one and refused at the other", async () => {
  const { library } = await packed;
  const journey = await journeyOf("postgres");
  const { issuer, register, userId, service } = journey;
  const other = "https://notes.example/two";
  await service.apis.create({ identifier: other, name: "Two", scopes: [{ scope: "two" }] }, { kind: "system" });
  const apis = [{ identifier: API, scopes: ["read:things"] }, { identifier: other }];
  const callback = "https://two.example/cb";
  const people = { redirect_uris: [callback], apis };
  const [things, notes] = [API, other].map((audience) => library.createVerifier({ issuer, audience }));
  assert.ok(things !== undefined && notes !== undefined);
  const check = async (tokens: { things: string; notes: string }, subject: string): Promise<void> => {
    assert.equal((await things.verify(tokens.things, { scope: "read:things" })).subject, subject);
    assert.equal((await notes.verify(tokens.notes, { scope: "two" })).subject, subject);
    await assert.rejects(things.verify(tokens.notes), { code: "invalid_token" });
    await assert.rejects(notes.verify(tokens.things), { code: "invalid_token" });
  };
  for (const type of ["web", "spa"]) {
    const config = await journey.party(await register({ client_type: type, client_name: type, ...people }));
    const first = await tokensWith(journey, config, { redirectUri: callback, resources: [API, other], first: API });
    const second = await openid.refreshTokenGrant(config, first.refresh_token ?? "", { resource: other });
    await check({ things: first.access_token, notes: second.access_token }, userId);
  }
  const machine = await register({ client_type: "service", client_name: "Both", apis });
  const config = await journey.party(machine);
  await assert.rejects(openid.clientCredentialsGrant(config), { error: "invalid_target" });
  const [one, two] = [
    await openid.clientCredentialsGrant(config, { resource: API }),
    await openid.clientCredentialsGrant(config, { resource: other }),
  ];
  await check({ things: one.access_token, notes: two.access_token }, machine.id);
});

test("Express, Fastify and Koa answer as RFC 6750 section 3 says, and hand the token on", async () => {
  const { library } = await packed;
  const { issuer, machine, party } = await journeyOf("postgres");
  const verifier = library.createVerifier({ issuer, audience: API });
  const needs = { scope: "read:things" };
  const app = express();
  app.get("/", library.expressAuth(verifier, needs), (request, response) => {
    response.send((request as typeof request & { auth: { clientId: string } }).auth.clientId);
  });
  app.get(
    "/more",
    library.expressAuth(verifier, { scope: "read:things write:things" }),
    (_request, response) => void response.send("no"),
  );
  app.get("/role", library.expressAuth(verifier, { role: "editor" }), (_request, response) => void response.send("no"));
  const koa = new Koa();
  const guards: Record<string, ReturnType<Library["koaAuth"]>> = {
    "/": library.koaAuth(verifier, needs),
    "/more": library.koaAuth(verifier, { scope: ["read:things", "write:things"] }),
    "/role": library.koaAuth(verifier, { role: ["editor"] }),
  };
  koa.use((ctx, next) => guards[ctx.path]?.(ctx, next));
  koa.use((ctx) => {
    ctx.body = (ctx.state["auth"] as { clientId: string }).clientId;
  });
  const fast = fastify();
  fast.get(
    "/",
    { onRequest: library.fastifyAuth(verifier, needs) },
    async (request) => (request as typeof request & { auth: { clientId: string } }).auth.clientId,
  );
  fast.get(
    "/more",
    { onRequest: library.fastifyAuth(verifier, { scope: "read:things write:things" }) },
    async () => "no",
  );
  fast.get("/role", { onRequest: library.fastifyAuth(verifier, { role: "editor" }) }, async () => "no");
  atEnd(() => fast.close());
  const urls = [
    (await listen(app)).url,
    (await listen(koa.callback())).url,
    await fast.listen({ port: 0, host: "127.0.0.1" }),
  ];
  const { access_token: token } = await openid.clientCredentialsGrant(await party(machine));
  const realm = `Bearer realm="${API}"`;
  for (const base of urls) {
    const get = (path: string, authorization?: string) =>
      fetch(new URL(path, base), authorization === undefined ? {} : { headers: { authorization } });
    const rows = [
      [await get("/"), 401, realm, "unauthorized"],
      [await get("/", "Basic eDp5"), 401, realm, "unauthorized"],
      [await get("/", "Bearer a b"), 400, `${realm}, error="invalid_request"`, "invalid_request"],
      [await get("/", "Bearer nothing"), 401, `${realm}, error="invalid_token"`, "invalid_token"],
      [await get("/more", `Bearer ${token}`), 403, `${realm}, error="insufficient_scope"`, "insufficient_scope"],
      [await get("/role", `Bearer ${token}`), 403, `${realm}, error="insufficient_scope"`, "insufficient_scope"],
    ] as const;
    for (const [answer, status, challenge, error] of rows) {
      const said = answer.headers.get("www-authenticate") ?? "";
      assert.deepEqual([answer.status, said.startsWith(challenge)], [status, true], `${base} ${said}`);
      assert.equal(((await answer.json()) as { error: string }).error, error);
    }
    assert.match(rows[4][0].headers.get("www-authenticate") ?? "", /scope="read:things write:things"$/);
    const good = await get("/", `bearer ${token}`);
    assert.deepEqual([good.status, await good.text()], [200, machine.id]);
  }
});

test("keys are read once, again for an unknown kid after a while, and never in a hurry from a server that is down", async (t) => {
  const { library } = await packed;
  const { issuer, machine, party } = await journeyOf("postgres");
  const { access_token: token } = await openid.clientCredentialsGrant(await party(machine));
  const asked: string[] = [];
  let isDown = true;
  const counted = (url: string, init: RequestInit): Promise<Response> => {
    asked.push(new URL(url).pathname);
    return isDown ? Promise.reject(new Error("down")) : fetch(url, init);
  };
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() });
  const verifier = library.createVerifier({ issuer, audience: API, fetch: counted });
  for (let attempt = 0; attempt < 5; attempt += 1)
    await assert.rejects(verifier.verify(token), { code: "temporarily_unavailable", status: 503 });
  assert.equal(asked.length, 1, "one attempt, then a pause");
  isDown = false;
  t.mock.timers.setTime(Date.now() + 1100);
  await Promise.all(Array.from({ length: 10 }, () => verifier.verify(token)));
  assert.deepEqual(asked.slice(1), ["/.well-known/oauth-authorization-server", "/jwks"]);
  const unknown = `${Buffer.from('{"alg":"ES256","typ":"at+jwt","kid":"new"}').toString("base64url")}.${token.split(".").slice(1).join(".")}`;
  for (let attempt = 0; attempt < 5; attempt += 1)
    await assert.rejects(verifier.verify(unknown), { code: "invalid_token" });
  assert.equal(asked.length, 3, "the keys are a moment old");
  t.mock.timers.setTime(Date.now() + 11_000);
  for (let attempt = 0; attempt < 5; attempt += 1)
    await assert.rejects(verifier.verify(unknown), { code: "invalid_token" });
  assert.equal(asked.length, 4, "read once more, not five times");
  isDown = true;
  t.mock.timers.setTime(Date.now() + 301_000);
  assert.ok(await verifier.verify(token), "known keys go on while the issuer is away");
});

test("a verifier that could not be safe is not made", async () => {
  const { library } = await packed;
  const good = { issuer: "https://id.example", audience: API };
  for (const wrong of [
    { issuer: "http://id.example" },
    { issuer: "id.example" },
    { audience: "" },
    { algorithms: ["none"] },
    { algorithms: ["HS256"] },
    { algorithms: [] },
    { clockToleranceSeconds: 600 },
  ])
    assert.throws(() => library.createVerifier({ ...good, ...wrong }), TypeError, JSON.stringify(wrong));
  const liar = await listen(
    (_request, response) =>
      void response.end(JSON.stringify({ issuer: "https://other.example", jwks_uri: "https://other.example/jwks" })),
  );
  const verifier = library.createVerifier({ issuer: liar.url, audience: API });
  await assert.rejects(verifier.verify("e30.e30.e30"), { code: "invalid_token" });
  const header = Buffer.from('{"alg":"ES256","typ":"at+jwt"}').toString("base64url");
  await assert.rejects(verifier.verify(`${header}.e30.AAAA`), { code: "temporarily_unavailable" });
});

/** The code flow for several APIs, the first token for one of them. */
async function tokensWith(
  journey: Journey,
  config: openid.Configuration,
  { redirectUri, resources, first }: { redirectUri: string; resources: readonly string[]; first: string },
) {
  const scope = "openid read:things two";
  const walked = await signIn(journey.client(), config, { redirectUri, resources, scope });
  const expected = { pkceCodeVerifier: walked.verifier, expectedNonce: walked.nonce, expectedState: walked.state };
  return openid.authorizationCodeGrant(config, walked.callback, expected, { resource: first });
}

const journeys = new Map<string, Promise<Journey>>();
function journeyOf(engine: "redis" | "postgres"): Promise<Journey> {
  const known = journeys.get(engine) ?? beginJourney(engine);
  journeys.set(engine, known);
  return known;
}

async function listen(handler: Parameters<typeof createServer>[1]): Promise<{ url: string; server: Server }> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(async () => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  return { url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`, server };
}

function start(file: string, env: Readonly<Record<string, string>>): ChildProcess {
  const child = spawn(process.execPath, [file], { env: { PATH: process.env["PATH"] ?? "", ...env }, stdio: "ignore" });
  atEnd(async () => void child.kill("SIGKILL"));
  return child;
}
