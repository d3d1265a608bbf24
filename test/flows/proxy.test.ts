/** Signet in production behind nginx with TLS, on the very snippet of config/proxies: the flow, the cookies, the addresses, and what callers forge. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import * as openid from "openid-client";
import { CHECKOUT } from "../ladder.ts";
import {
  type Answer,
  atEnd,
  type Client,
  cookieJarClient,
  eventually,
  form,
  freePort,
  withoutRedis,
} from "../support.ts";
import { beginJourney, CALLBACK, EMAIL, type Journey, PASSWORD, signIn, title } from "./journey.ts";

const HOST = "id.example.com";
const ISSUER = `https://${HOST}`;
/** Callers on the loopback interface, so that nginx sees addresses which differ from its own; one of them guesses passwords. */
const [CALLER, NEIGHBOUR, GUESSER] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"] as const;
const FORGED = {
  "x-forwarded-for": "203.0.113.7, 203.0.113.8",
  "x-forwarded-host": "evil.example",
  "x-forwarded-proto": "http",
  "x-forwarded-port": "8080",
  "x-real-ip": "203.0.113.9",
  forwarded: "for=203.0.113.7;host=evil.example;proto=http",
};
const execute = promisify(execFile);

interface Proxy {
  readonly tlsPort: number;
  readonly plainPort: number;
  readonly certificate: string;
}

interface Ground extends Journey {
  readonly proxy: Proxy;
  /** A browser at its own address, whose every byte goes through nginx. */
  visitor(from?: string): Client;
}

const skip = await withoutNginx();
const ground = skip === false ? begin() : undefined;
const opened = async (): Promise<Ground> => {
  if (ground === undefined) throw new Error("skipped");
  return ground;
};

test("the whole flow through nginx: tokens, userinfo, refresh, introspection, revocation, signing out", {
  skip,
}, async () => {
  const { web, userId, visitor } = await opened();
  const config = await discover(visitor(), web.id, openid.ClientSecretBasic(web.secret ?? ""));
  const browser = visitor();
  const walked = await signIn(browser, config);
  assert.equal(walked.pages.length, 2);
  assert.equal(walked.callback.searchParams.get("iss"), ISSUER);
  const tokens = await openid.authorizationCodeGrant(config, walked.callback, {
    pkceCodeVerifier: walked.verifier,
    expectedNonce: walked.nonce,
    expectedState: walked.state,
    idTokenExpected: true,
  });
  assert.equal(tokens.claims()?.iss, ISSUER);
  assert.equal((await openid.fetchUserInfo(config, tokens.access_token, userId)).email, EMAIL);
  const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
  assert.equal((await openid.tokenIntrospection(config, renewed.access_token))["iss"], ISSUER);
  await openid.tokenRevocation(config, renewed.refresh_token ?? "");
  await assert.rejects(openid.refreshTokenGrant(config, renewed.refresh_token ?? ""), { error: "invalid_grant" });
  const home = "https://app.example/";
  const leaving = openid.buildEndSessionUrl(config, {
    id_token_hint: renewed.id_token ?? "",
    post_logout_redirect_uri: home,
    state: "bye",
  });
  const asked = await browser.get(leaving.href);
  assert.match(asked.text, /data-answered/);
  const left = await browser.submit(asked, { logout: "yes" }, { match: "xsrf" });
  assert.equal(left.location, `${home}?state=bye`);
});

test("every address that Signet writes is the issuer's, whatever is forged (T-HOST-3)", { skip }, async () => {
  const { web, visitor } = await opened();
  for (const headers of [{}, FORGED]) {
    for (const name of ["openid-configuration", "oauth-authorization-server"]) {
      const metadata = (await visitor().get(`/.well-known/${name}`, headers)).json();
      for (const [member, value] of Object.entries(metadata))
        if (typeof value === "string")
          assert.ok(value === ISSUER || value.startsWith(`${ISSUER}/`), `${member}: ${value}`);
    }
    const browser = visitor();
    const begun = await browser.get(await authorizeUrl(web.id), headers);
    assert.ok(begun.location?.startsWith(`${ISSUER}/interaction/`), begun.location);
    const page = await browser.get(begun.location ?? "", headers);
    assert.equal(page.status, 200);
    for (const said of [page.text, JSON.stringify(page.headers), JSON.stringify(begun.headers)])
      assert.doesNotMatch(said, /evil\.example|http:\/\/id\.|:3000|127\.0\.0\.1/);
    assert.match(page.text, new RegExp(HOST));
    assert.equal(page.headers["strict-transport-security"], "max-age=63072000; includeSubDomains");
    for (const cookie of begun.headers["set-cookie"] ?? []) assert.match(cookie, /; secure/i);
    const refused = await browser.get("/userinfo", headers);
    assert.match(refused.headers["www-authenticate"] ?? "", new RegExp(`^Bearer realm="${ISSUER}"`));
  }
});

test("the account through nginx: signing in, the profile, the language, a session elsewhere, signing out; whatever is forged", {
  skip,
}, async () => {
  const { visitor, userId, service } = await opened();
  const signInAs = async (browser: Client, to: string): Promise<Answer> => {
    const page = await browser.follow(await browser.get(`/account/sign-in?to=${to}`, FORGED));
    const who = { email: EMAIL, password: PASSWORD };
    const done = await browser.submit(page, who, { match: 'name="password"', headers: FORGED });
    return browser.follow(done);
  };
  /** Stays at the issuer, sets only cookies for TLS, and says nothing of what was forged. */
  const mustBeOurs = (answer: Answer, path: string): void => {
    assert.deepEqual([answer.status, answer.url], [200, ISSUER + path], title(answer));
    assert.doesNotMatch(answer.text + JSON.stringify(answer.headers), /evil\.example|http:\/\/id\.|:3000|203\.0\.113/);
    for (const cookie of answer.headers["set-cookie"] ?? []) assert.match(cookie, /^__(Host|Secure)-.*; secure/i);
  };
  const [here, there] = [visitor(CALLER), visitor(NEIGHBOUR)];
  const profile = await signInAs(here, "profile");
  mustBeOurs(profile, "/account/profile");
  const home = await signInAs(there, "home");
  mustBeOurs(home, "/account");
  const fields = { name: "Maya of Harbor" };
  const saved = await here.submit(profile, fields, { match: "/account/profile", headers: FORGED });
  assert.equal(saved.location, `${ISSUER}/account?done=profile`);
  mustBeOurs(await here.follow(saved), "/account?done=profile");
  assert.equal((await service.users.find(userId))?.claims.name, "Maya of Harbor");
  const spoken = await here.submit(await here.get("/account"), { language: "de" }, { match: "/account/language" });
  assert.match((await here.follow(spoken)).text, /<html[^>]* lang="de"/);
  const ended = await here.submit(await here.get("/account"), {}, { match: '"/account/sessions/end"' });
  assert.equal(ended.location, `${ISSUER}/account?done=session`);
  assert.match(
    (await there.get("/account")).text,
    /Nobody is signed in/,
    "the session behind the other address is over",
  );
  // A form that comes from elsewhere is refused, though it comes through the same proxy.
  const account = await here.get("/account");
  const foreign = { match: "/account/sign-out", headers: { origin: "https://evil.example" } };
  assert.equal((await here.submit(account, {}, foreign)).status, 403);
  const left = await here.submit(account, {}, { match: "/account/sign-out", headers: { origin: ISSUER } });
  assert.equal(left.status, 303, left.text);
  assert.match((await here.get("/account")).text, /Niemand ist angemeldet/);
  const next = await visitor().get("/account", FORGED);
  mustBeOurs(next, "/account");
});

test("cookies have the prefixes that bind them to host and scheme (T-SESS-1)", { skip }, async () => {
  const { web, visitor } = await opened();
  const browser = visitor();
  const config = await discover(visitor(), web.id, openid.ClientSecretBasic(web.secret ?? ""));
  const begun = await browser.get(await authorizeUrl(web.id));
  const interaction = (begun.headers["set-cookie"] ?? []).map((header) => header.toLowerCase());
  const uid = new URL(begun.location ?? "").pathname;
  assert.ok(interaction.length >= 2);
  for (const header of interaction) {
    assert.match(header, /^__secure-signet_(interaction|resume)(\.sig)?=/);
    assert.match(header, /; httponly/);
    assert.match(header, /; samesite=lax/);
    assert.doesNotMatch(header, /; domain=/);
    assert.ok(/; path=\/(interaction|authorize)\/[\w-]+;/.test(header), header);
  }
  assert.ok(interaction.some((header) => header.includes(`path=${uid.toLowerCase()};`)));
  await signIn(browser, config);
  const session = [...browser.cookies.values()].filter(({ name }) => name.startsWith("__Host-"));
  assert.deepEqual(session.map(({ name }) => name).sort(), [
    "__Host-signet_device",
    "__Host-signet_session",
    "__Host-signet_session.sig",
  ]);
  for (const cookie of session) assert.deepEqual([cookie.path, cookie.isSecure, cookie.isHttpOnly], ["/", true, true]);
});

test("the log and the limits see the caller's true address, not the one it claims (T-RL-4)", {
  skip,
}, async () => {
  const { web, lines, visitor } = await opened();
  const addressOf = (path: string): unknown =>
    lines.map((line) => JSON.parse(line) as Record<string, unknown>).findLast((line) => line["path"] === path)?.[
      "address"
    ];
  for (const from of [CALLER, NEIGHBOUR]) {
    await visitor(from).get("/health/live", FORGED);
    assert.equal(addressOf("/health/live"), from);
  }
  // One address tries many accounts, and claims another address each time.
  const browser = visitor(GUESSER);
  const page = await browser.follow(await browser.get(await authorizeUrl(web.id)));
  const attempt = async (by: Client, on: typeof page, index: number): Promise<number> => {
    const headers = { ...FORGED, "x-forwarded-for": `203.0.113.${index}`, "x-real-ip": `203.0.113.${index}` };
    const who = { email: `nobody-${index}@lindqvist.example`, password: "not the right password" };
    return (await by.submit(on, who, { match: 'name="password"', headers })).status;
  };
  const statuses: number[] = [];
  for (let index = 0; index < 25 && !statuses.includes(429); index += 1)
    statuses.push(await attempt(browser, page, index));
  assert.deepEqual([statuses.length, statuses.at(-1)], [21, 429], "20 failures are free, the next is throttled");
  const neighbour = visitor(NEIGHBOUR);
  const theirs = await neighbour.follow(await neighbour.get(await authorizeUrl(web.id)));
  assert.equal(await attempt(neighbour, theirs, 99), 401, "the neighbour is not throttled with it");
});

test("long heads pass both ways, longer ones are refused by a 4xx and never a 502", { skip }, async () => {
  const { web, visitor } = await opened();
  const config = await discover(visitor(), web.id, openid.ClientSecretBasic(web.secret ?? ""));
  const browser = visitor();
  // The longest state that is taken, of letters that are three characters long in an address.
  const state = '"'.repeat(2048);
  const walked = await signIn(browser, config, { parameters: { state } });
  assert.equal(
    walked.callback.searchParams.get("state"),
    state,
    "it stands in a Location of more than 7,000 characters",
  );
  const posted = await browser.get(await authorizeUrl(web.id, { state, response_mode: "form_post" }));
  assert.equal(form(posted.text).fields["state"], state);
  const cookie = `other=${"c".repeat(8000)}`;
  assert.equal((await visitor().get("/health/ready", { cookie })).status, 200);
  for (const headers of [{ cookie: `${cookie}${"c".repeat(20_000)}` }, { "x-long": "x".repeat(15_000), cookie }]) {
    const { status } = await visitor().get("/health/ready", headers);
    assert.ok([400, 414, 431].includes(status), `${status}`);
  }
  for (const length of [10_000, 30_000])
    assert.equal((await visitor().get(`/authorize?state=${"s".repeat(length)}`)).status, 414);
  const body = `token=${"x".repeat(100_000)}`;
  const big = await visitor().request({ method: "POST", url: "/token", body });
  assert.equal(big.status, 413);
});

test("http leads to https, and other hosts get nothing", { skip }, async () => {
  const { visitor, proxy } = await opened();
  const plain = await rawHead(
    proxy.plainPort,
    `GET /account?x=1 HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`,
  );
  assert.match(plain, /^HTTP\/1\.1 308 /);
  assert.match(plain, new RegExp(`\r\nLocation: ${ISSUER}/account\\?x=1\r\n`));
  const foreign = await visitor().request({ method: "GET", url: "/account", headers: { host: "evil.example" } });
  assert.equal(foreign.status, 421);
  assert.doesNotMatch(foreign.text, /href="https?:\/\/evil/);
  const port = await visitor().request({ method: "GET", url: "/health/live", headers: { host: `${HOST}:8443` } });
  assert.equal(port.status, 200, "nginx passes the name without its port");
});

// --- nginx ---------------------------------------------------------------------------------------------------------

/** The reason for the skip, or false. */
async function withoutNginx(): Promise<string | false> {
  for (const [command, ...args] of [
    ["nginx", "-v"],
    ["openssl", "version"],
  ] as const) {
    const isThere = await execute(command, args).then(
      () => true,
      () => false,
    );
    if (!isThere) return `no nginx: ${command} is not in PATH`;
  }
  return false;
}

async function begin(): Promise<Ground> {
  const engine = (await withoutRedis()) === false ? "redis" : "postgres";
  const journey = await beginJourney(engine, { NODE_ENV: "production", ISSUER, TRUST_PROXY: "1" });
  const proxy = await startNginx(journey.port);
  return {
    ...journey,
    proxy,
    visitor: (from = CALLER) => {
      const connectTo = {
        host: "127.0.0.1",
        port: proxy.tlsPort,
        localAddress: from,
        ca: proxy.certificate,
        servername: HOST,
      };
      return cookieJarClient(ISSUER, { connectTo });
    },
  };
}

/** Runs the snippet as it stands, but for the places that its first lines say to replace, and for ports that need no rights. */
async function startNginx(signetPort: number): Promise<Proxy> {
  const dir = await mkdtemp(join(tmpdir(), "signet-nginx-"));
  atEnd(() => rm(dir, { recursive: true, force: true }));
  const [certificate, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  const subject = ["-subj", `/CN=${HOST}`, "-addext", `subjectAltName=DNS:${HOST}`, "-days", "2"];
  const made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate];
  await execute("openssl", ["req", "-x509", ...made, ...subject]);
  const [tlsPort, plainPort] = [await freePort(), await freePort()];
  let snippet = await readFile(join(CHECKOUT, "config/proxies/nginx.conf"), "utf8");
  for (const [placeholder, value] of [
    ["listen 443 ssl;", `listen 127.0.0.1:${tlsPort} ssl;`],
    ["listen 80;", `listen 127.0.0.1:${plainPort};`],
    ["/etc/ssl/certs/id.example.com.pem", certificate],
    ["/etc/ssl/private/id.example.com.key", key],
    ["server 127.0.0.1:3000;", `server 127.0.0.1:${signetPort};`],
  ] as const) {
    assert.ok(snippet.includes(placeholder), placeholder);
    snippet = snippet.replace(placeholder, value);
  }
  await writeFile(join(dir, "signet.conf"), snippet);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const main = `
    ${process.getuid?.() === 0 ? "user root;" : ""}
    daemon off; worker_processes 1; pid nginx.pid; error_log stderr warn;
    events {}
    http { access_log off; ${temporary.map((name) => `${name}_temp_path ${name};`).join(" ")} include signet.conf; }`;
  await writeFile(join(dir, "nginx.conf"), main);
  const child = spawn("nginx", ["-p", dir, "-c", "nginx.conf", "-e", "stderr"], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.on("exit", () => resolve()));
  atEnd(async () => {
    child.kill("SIGTERM");
    await ended;
  });
  await eventually(async () => {
    assert.equal(child.exitCode, null, `nginx ended: ${said}`);
    await rawHead(plainPort, `GET / HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`);
    return true;
  });
  return { tlsPort, plainPort, certificate: await readFile(certificate, "utf8") };
}

function rawHead(port: number, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(request));
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    socket.on("error", reject);
    socket.on("close", () => resolve(text));
  });
}

// --- A relying party behind the same proxy -------------------------------------------------------------------------

async function discover(via: Client, clientId: string, auth: openid.ClientAuth): Promise<openid.Configuration> {
  const customFetch: openid.CustomFetch = async (url, { method, headers, body }) => {
    const sent = body === null || body === undefined ? {} : { body: String(body) };
    const answer = await via.request({ method, url, headers: Object.fromEntries(new Headers(headers)), ...sent });
    const type = answer.headers["content-type"];
    return new Response(answer.status === 204 ? null : answer.text, {
      status: answer.status,
      headers: type === undefined ? {} : { "content-type": type },
    });
  };
  return openid.discovery(new URL(ISSUER), clientId, undefined, auth, { [openid.customFetch]: customFetch });
}

async function authorizeUrl(clientId: string, more: Readonly<Record<string, string>> = {}): Promise<string> {
  const parameters = {
    client_id: clientId,
    response_type: "code",
    redirect_uri: CALLBACK,
    scope: "openid",
    code_challenge: await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier()),
    code_challenge_method: "S256",
    ...more,
  };
  return `/authorize?${new URLSearchParams(parameters)}`;
}
