/** The edges of every answer: whose Host, which proxy, which origin, which headers; what discovery promises; who calls with a key of its own. */
import assert from "node:assert/strict";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { mock, test } from "node:test";
import * as openid from "openid-client";
import { type Answer, atEnd, type Client, cookieJarClient, engines, form, startSignet } from "../support.ts";
import { SCRIPT, SECURITY_HEADERS } from "./hostile.ts";
import { CHALLENGE, signedJwt, VERIFIER } from "./hostile-ground.ts";
import {
  API,
  beginJourney,
  CALLBACK,
  EMAIL,
  furnish,
  type Journey,
  PASSWORD,
  type Registered,
  signIn,
  tokensOf,
} from "./journey.ts";

const EVIL = "https://evil.example";
const SPA_ORIGIN = "https://spa.example";
const BROWSER = { accept: "text/html,*/*;q=0.8" };
const DOCUMENTS = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"];
/** Every endpoint and page, with a method that it takes. */
const PLACES: readonly (readonly [string, string])[] = [
  ...[...DOCUMENTS, "/jwks", "/authorize", "/userinfo", "/logout", "/logout/success"].map(
    (path) => ["GET", path] as const,
  ),
  ...["/authorize", "/token", "/introspect", "/revoke", "/userinfo", "/logout", "/logout/confirm"].map(
    (path) => ["POST", path] as const,
  ),
  ...["/", "/account", "/setup", `/interaction/${"a".repeat(21)}`, "/nowhere", "/favicon.ico"].map(
    (path) => ["GET", path] as const,
  ),
  ...["/account/sign-out", "/setup", `/interaction/${"a".repeat(21)}/login`].map((path) => ["POST", path] as const),
  ...["sign-in", "return", "activity", "profile", "password", "email", "delete", "data", "email/confirm/x"].map(
    (name) => ["GET", `/account/${name}`] as const,
  ),
  ...["profile", "language", "password", "email", "delete", "sessions/end", "sessions/end-all", "apps/revoke"].map(
    (name) => ["POST", `/account/${name}`] as const,
  ),
  ...["/signup", "/signup/check", "/recover", "/recover/sent", "/mailbox"].map((path) => ["GET", path] as const),
  ...["/sign-up/x", "/recover/x", "/not-me/x"].flatMap((path) => [["GET", path] as const, ["POST", path] as const]),
  ...["/signup/check", "/signup/continue", "/recover", "/account/email/confirm/x"].map(
    (path) => ["POST", path] as const,
  ),
  ["GET", `/interaction/${"a".repeat(21)}/signup`],
  ["POST", `/interaction/${"a".repeat(21)}/signup`],
];

const journey = beginJourney("postgres");

function authorizeUrl(client: Registered, more: Readonly<Record<string, string>> = {}): string {
  return `/authorize?${new URLSearchParams({
    response_type: "code",
    client_id: client.id,
    redirect_uri: CALLBACK,
    scope: "openid",
    state: "s1",
    code_challenge: CHALLENGE,
    code_challenge_method: "S256",
    ...more,
  })}`;
}

/** A page of a sign-in may send its form on to the app, and the library adds the hash of a script of its own. */
const POLICY =
  /^default-src 'none'; ?style-src 'self'; ?img-src 'self' data:; ?script-src 'self'(?: 'sha256-[\w+/=]{44}')?; ?form-action 'self'(?: https:\/\/app\.example)?; ?base-uri 'none'; ?frame-ancestors 'none'$/;

function assertHeaders(
  answer: Answer,
  place: string,
  more: Readonly<Record<string, string | RegExp | null>> = {},
): void {
  for (const [name, wanted] of Object.entries({ ...SECURITY_HEADERS, "content-security-policy": POLICY, ...more })) {
    const is = answer.headers[name];
    if (wanted === null) assert.equal(is, undefined, `${place}: ${name}`);
    else if (typeof wanted === "string") assert.equal(is, wanted, `${place}: ${name}`);
    else assert.match(String(is), wanted, `${place}: ${name}`);
  }
}

// --- Host and proxies --------------------------------------------------------------------------------------------

test("a foreign Host is 421 at every endpoint and stands in no answer (T-HOST-1)", async () => {
  const { client } = await journey;
  for (const [method, url] of PLACES) {
    for (const accept of [BROWSER.accept, "application/json"]) {
      const answer = await client().request({ method, url, headers: { host: "evil.example", accept } });
      assert.equal(answer.status, 421, `${method} ${url}`);
      assert.equal(JSON.stringify([answer.text, answer.headers]).includes("evil"), false, `${method} ${url}`);
      assertHeaders(answer, url);
      assert.equal(answer.headers["set-cookie"], undefined);
    }
  }
  // Probes carry an address; what they see depends on nothing.
  assert.equal((await client().get("/health/live", { host: "10.1.2.3:3000" })).status, 200);
});

test("a browser at another name of this machine gets the page with the right link, a program the refusal", async () => {
  const { client, issuer, port } = await journey;
  for (const host of [`localhost:${port}`, "localhost", `[::1]:${port}`, "127.0.0.1"]) {
    const answer = await client().get("/account?ui_locales=en", { ...BROWSER, host });
    assert.equal(answer.status, 421, host);
    assert.match(answer.text, new RegExp(`href="${issuer}/account\\?ui_locales=en"`), host);
    const program = await client().get("/account", { accept: "application/json", host });
    assert.deepEqual([program.status, program.json()["error"]], [421, "invalid_request"]);
    const posted = await client().request({ method: "POST", url: "/token", headers: { host } });
    assert.deepEqual([posted.status, posted.json()["error"]], [421, "invalid_request"]);
  }
});

test("a peer that is not trusted is believed nothing that it forwards (T-RL-1, T-HOST-2)", async () => {
  const { client, issuer, lines } = await journey;
  const spoofed = {
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "https",
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-port": "444",
    forwarded: "for=6.6.6.6;host=evil.example;proto=https",
    "x-real-ip": "6.6.6.6",
    "x-original-url": "/admin",
    "x-rewrite-url": "/admin",
  };
  const [plain, told] = await Promise.all([client().get("/jwks"), client().get("/jwks", spoofed)]);
  assert.equal(told.text, plain.text);
  for (const path of DOCUMENTS) {
    const answer = await client().get(path, spoofed);
    assert.equal(answer.text, (await client().get(path)).text);
    assert.equal(answer.text.includes("evil"), false);
  }
  const before = lines.length;
  const started = await client().get(authorizeUrl((await journey).web), spoofed);
  assert.match(started.location ?? "", new RegExp(`^${issuer}/interaction/`));
  assert.equal(
    started.headers["set-cookie"]?.some((cookie) => /secure/i.test(cookie)),
    false,
  );
  const logged = lines.slice(before).map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    logged.filter(({ msg }) => msg === "request").map(({ address }) => address),
    ["127.0.0.1"],
  );
});

for (const [trust, forwarded, acts] of [
  ["1", "6.6.6.6, 7.7.7.7, 203.0.113.5", "203.0.113.5"],
  ["127.0.0.0/8,10.0.0.0/8", "6.6.6.6, 203.0.113.5, 10.0.0.7", "203.0.113.5"],
] as const) {
  test(`behind TLS and a trusted proxy (${trust}) the issuer's words stand (T-RL-4, T-HOST-2, T-HOST-3, T-HOST-5)`, async () => {
    const issuer = "https://id.example";
    // The first is as an operator runs it.
    const mode = trust === "1" ? { NODE_ENV: "production", SHUTDOWN_DELAY: "0" } : {};
    const signet = await startSignet({ engine: "postgres", env: { ISSUER: issuer, TRUST_PROXY: trust, ...mode } });
    const { web, spa, lines, port } = await furnish(signet);
    // The proxy ends TLS and speaks HTTP to us, with the Host that the browser named.
    const client = (): Client => cookieJarClient("http://id.example", { connectTo: { host: "127.0.0.1", port } });
    const proxied = { "x-forwarded-proto": "https", "x-forwarded-for": forwarded };
    const lies = [
      {},
      { "x-forwarded-proto": "http" },
      { "x-forwarded-proto": "javascript" },
      { "x-forwarded-host": "evil.example", forwarded: "host=evil.example" },
    ];
    for (const lie of lies) {
      const document = await client().get(DOCUMENTS[0] ?? "", { ...proxied, ...lie });
      const urls = Object.entries(document.json()).filter(
        ([name]) => /endpoint|issuer|jwks_uri/.test(name) && !/supported/.test(name),
      );
      for (const [name, url] of urls) assert.ok(String(url).startsWith(issuer), `${name} is ${url}`);
      const answer = await client().get(authorizeUrl(web), { ...proxied, ...lie });
      assert.match(answer.location ?? "", /^https?:\/\/id\.example\/interaction\//);
      const cookies = answer.headers["set-cookie"] ?? [];
      assert.ok(cookies.length >= 2);
      for (const cookie of cookies) {
        assert.match(cookie, /^__(Secure|Host)-signet_/);
        assert.match(cookie, /; secure(;|$)/i);
        assert.match(cookie, /; httponly(;|$)/i);
        assert.match(cookie, /; samesite=lax(;|$)/i);
        assert.equal(/domain=/i.test(cookie), false);
      }
      assertHeaders(answer, "https", { "strict-transport-security": "max-age=63072000; includeSubDomains" });
    }
    const addresses = async (xff: string): Promise<unknown> => {
      const before = lines.length;
      await client().get("/account", { "x-forwarded-proto": "https", "x-forwarded-for": xff });
      return lines
        .slice(before)
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .find(({ msg }) => msg === "request")?.["address"];
    };
    assert.equal(await addresses(forwarded), acts);
    assert.equal(await addresses("a"), "127.0.0.1");
    assert.equal((await client().get("/account", { ...proxied, host: "evil.example" })).status, 421);
    assert.equal((await client().get("/account", { ...proxied, host: "id.example:443" })).status, 200);
    await assertReasons({ web, spa, isShown: trust !== "1" }, client(), proxied);
    await signet.close();
  });
}

// --- Reasons for developers ------------------------------------------------------------------------------------------

/** What a developer reads about a refused request in development, and what of it a stranger reads in production: nothing. */
async function assertReasons(
  { web, spa, isShown }: { web: Registered; spa: Registered; isShown: boolean },
  client: Client,
  proxied: Readonly<Record<string, string>> = {},
): Promise<void> {
  const long = `https://app.example/${"x".repeat(2000)}`;
  const leaving = (uri: string): string =>
    `/logout?${new URLSearchParams({ client_id: web.id, post_logout_redirect_uri: uri })}`;
  const rows: readonly (readonly [string, string, readonly string[]])[] = [
    [
      authorizeUrl(web, { redirect_uri: `${CALLBACK}/` }),
      `redirect_uri ${CALLBACK}/ is not registered for client ${web.id}; registered is ${CALLBACK}.`,
      [`${CALLBACK}/`, CALLBACK],
    ],
    [authorizeUrl(web, { redirect_uri: SCRIPT }), `redirect_uri ${SCRIPT} is not registered`, ["alert(1)", CALLBACK]],
    [authorizeUrl(web, { redirect_uri: long }), `redirect_uri ${long.slice(0, 200)}… is not registered`, [CALLBACK]],
    [authorizeUrl(web, { redirect_uri: "" }), `'redirect_uri'; registered is ${CALLBACK}.`, [CALLBACK]],
    [
      authorizeUrl({ id: "nobody", secret: undefined }),
      "client_id nobody is not registered at this server.",
      ["nobody"],
    ],
    [`/logout?client_id=nobody`, "client_id nobody is not registered at this server.", ["nobody"]],
    [
      leaving("https://evil.example/out"),
      `post_logout_redirect_uri https://evil.example/out is not registered for client ${web.id}; registered is https://app.example/.`,
      ["evil.example/out"],
    ],
  ];
  for (const [url, reason, hidden] of rows) {
    const answer = await client.get(url, { ...BROWSER, ...proxied });
    assert.equal(answer.status, 400, url);
    const told = /<details class="developer">[\s\S]*<\/details>/.exec(answer.text)?.[0] ?? "";
    assert.ok(told.length > 50 && told.length < 1200, `the developer's part has ${told.length} characters: ${url}`);
    const text = told.replace(/<[^>]*>/g, " ").replace(/&(lt|gt|quot|amp|#39);/g, (entity) => ENTITIES[entity] ?? "");
    assert.equal(text.includes(reason), isShown, `${url}: ${text}`);
    assert.equal(answer.text.includes("<script>alert"), false, "it is text");
    if (isShown) continue;
    for (const value of hidden) assert.equal(answer.text.includes(value), false, `${url}: ${value} stands on the page`);
  }
  const body = { grant_type: "refresh_token", client_id: spa.id, refresh_token: "x" };
  const refused = await client.post("/token", body, { ...proxied, origin: EVIL });
  const description = String(refused.json()["error_description"]);
  assert.deepEqual([refused.status, refused.headers["access-control-allow-origin"]], [400, undefined]);
  assert.equal(description.includes(`; registered is ${SPA_ORIGIN}.`), isShown, description);
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&amp;": "&",
  "&#39;": "'",
};

test("in development the page says what is registered, cut to a bound and as text", async () => {
  const { web, spa, client, register, service } = await journey;
  await assertReasons({ web, spa, isShown: true }, client());
  const many = Array.from({ length: 12 }, (_, index) => `https://many.example/${index}`);
  const app = await register({ client_type: "web", client_name: "Many", redirect_uris: many });
  const page = await client().get(authorizeUrl(app), BROWSER);
  assert.match(page.text, /registered are https:\/\/many\.example\/0, .*\/9 and 2 more\./);
  await service.clients.setDisabled(app.id, true, { kind: "system", id: "test" });
  const disabled = await client().get(authorizeUrl(app), BROWSER);
  assert.match(disabled.text, new RegExp(`client_id ${app.id} is disabled`));
});

// --- Origins ------------------------------------------------------------------------------------------------------

test("origins: who may read what (T-CORS-1)", async () => {
  const { client, web, spa, party } = await journey;
  const tokens = await tokensOf(client(), await party(spa), { redirectUri: `${SPA_ORIGIN}/cb`, scope: "openid" });
  const bearer = { authorization: `Bearer ${tokens.access_token}` };
  const allowed = async (
    method: string,
    url: string,
    origin: string,
    more: { headers?: Record<string, string>; body?: string } = {},
  ) => {
    const type = more.body === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" };
    const answer = await client().request({
      method,
      url,
      headers: { origin, ...type, ...more.headers },
      ...(more.body === undefined ? {} : { body: more.body }),
    });
    assert.equal(answer.headers["access-control-allow-credentials"], undefined, `${method} ${url}`);
    return {
      status: answer.status,
      origin: answer.headers["access-control-allow-origin"],
      exposed: answer.headers["access-control-expose-headers"],
    };
  };
  for (const path of [...DOCUMENTS, "/jwks"]) {
    for (const origin of [EVIL, SPA_ORIGIN, "null"]) assert.equal((await allowed("GET", path, origin)).origin, "*");
  }
  const refresh = `grant_type=refresh_token&client_id=${spa.id}&refresh_token=x`;
  const endpoints = [
    ["POST", "/token", { body: refresh }],
    ["POST", "/revoke", { body: `token=x&client_id=${spa.id}` }],
    ["POST", "/introspect", { body: `token=x&client_id=${spa.id}` }],
    ["GET", "/userinfo", { headers: bearer }],
  ] as const;
  for (const [method, url, sent] of endpoints) {
    assert.equal((await allowed(method, url, SPA_ORIGIN, sent)).origin, SPA_ORIGIN, url);
    for (const origin of [
      EVIL,
      "null",
      "https://spa.example.evil.example",
      "http://spa.example",
      "https://SPA.example",
      `${SPA_ORIGIN}:8443`,
    ]) {
      const refused = await allowed(method, url, origin, sent);
      assert.deepEqual([refused.status, refused.origin], [400, undefined], `${url} from ${origin}`);
    }
  }
  assert.equal((await allowed("POST", "/token", SPA_ORIGIN, { body: refresh })).exposed, "WWW-Authenticate");
  // A confidential client's redirects are servers: its origin reads nothing.
  const secret = { authorization: `Basic ${Buffer.from(`${web.id}:${web.secret}`).toString("base64")}` };
  assert.equal(
    (await allowed("POST", "/token", "https://app.example", { body: "grant_type=client_credentials", headers: secret }))
      .origin,
    undefined,
  );
  // No preflight tells who asks, so it is answered to all and says nothing; pages have none.
  for (const [path, methods] of [
    ["/token", "POST"],
    ["/revoke", "POST"],
    ["/introspect", "POST"],
    ["/userinfo", "GET,POST"],
    ["/jwks", "GET"],
  ] as const) {
    const answer = await client().request({
      method: "OPTIONS",
      url: path,
      headers: {
        origin: EVIL,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
      },
    });
    assert.deepEqual(
      [answer.status, answer.text, answer.headers["access-control-allow-methods"]],
      [204, "", methods],
      path,
    );
    assert.equal(answer.headers["access-control-allow-credentials"], undefined);
  }
  for (const [method, url] of PLACES.filter(
    ([, path]) => !/well-known|jwks|token|userinfo|introspect|revoke/.test(path),
  )) {
    for (const origin of [EVIL, SPA_ORIGIN, "null"]) {
      assert.equal((await allowed(method, url, origin)).origin, undefined, `${method} ${url}`);
      assert.equal(
        (await allowed("OPTIONS", url, origin, { headers: { "access-control-request-method": method } })).origin,
        undefined,
        `OPTIONS ${url}`,
      );
    }
  }
});

// --- Headers ------------------------------------------------------------------------------------------------------

test("every page and every answer carries the security headers (T-HDR-1)", async () => {
  const { client, web, native, party, service } = await journey;
  const browser = client();
  const page = async (
    name: string,
    answer: Answer,
    more: Parameters<typeof assertHeaders>[2] = {},
  ): Promise<Answer> => {
    assertHeaders(answer, name, { "content-type": "text/html; charset=utf-8", ...more });
    // No page asks another host for anything (decision 21).
    for (const [, url = ""] of answer.text.matchAll(/(?:src|href)="([^"]*)"/g)) {
      const isOurs = url.startsWith("/") && !url.startsWith("//");
      assert.ok(
        isOurs || /^#|^https:\/\/app\.example/.test(url) || url.startsWith((await journey).issuer),
        `${name} asks for ${url}`,
      );
    }
    return answer;
  };
  const leadsToApp = { "content-security-policy": /form-action 'self' https:\/\/app\.example; base-uri/ };
  const login = await page(
    "sign-in",
    await browser.follow(await browser.get(authorizeUrl(web, { scope: "openid phone" }), BROWSER)),
    leadsToApp,
  );
  const wrong = await page(
    "sign-in, wrong",
    await browser.submit(login, { email: EMAIL, password: "wrong" }, { match: 'name="password"', headers: BROWSER }),
    leadsToApp,
  );
  assert.equal(wrong.status, 401);
  const consent = await browser.follow(
    await browser.submit(wrong, { email: EMAIL, password: PASSWORD }, { match: 'name="password"', headers: BROWSER }),
  );
  await page("consent", consent, leadsToApp);
  await browser.submit(consent, { decision: "allow" }, { match: 'value="allow"', headers: BROWSER });
  await page(
    "accounts",
    await browser.follow(await browser.get(authorizeUrl(web, { prompt: "select_account" }), BROWSER)),
    leadsToApp,
  );
  const scheme = { redirect_uri: "com.example.pocket:/cb" };
  await page(
    "consent of a native app",
    await browser.follow(await browser.get(authorizeUrl(native, scheme), BROWSER)),
    {
      "content-security-policy": /form-action 'self' com\.example\.pocket:; base-uri/,
    },
  );
  await signIn(browser, await party(web), { scope: "openid" });
  await page("account", await browser.get("/account", BROWSER));
  await page("sign-out", await browser.get("/logout", BROWSER));
  await page("signed out", await browser.get("/logout/success", BROWSER));
  const posting = await browser.get(authorizeUrl(web, { response_mode: "form_post" }), BROWSER);
  await page("form_post", posting, {
    "content-security-policy":
      /script-src 'self' 'sha256-[\w+/=]+'; ?form-action 'self' https:\/\/app\.example; ?base-uri/,
  });
  for (const [name, url] of [
    ["unknown app", "/authorize?client_id=x"],
    ["not found", "/nowhere"],
    ["set-up gone", "/setup?token=x"],
    ["sign-in gone", "/interaction/aaaaaaaaaaaaaaaaaaaaa"],
    ["recover", "/recover"],
    ["recover, sent", "/recover/sent"],
    ["mailbox", "/mailbox"],
    ["link gone", "/not-me/x"],
  ] as const)
    await page(name, await client().get(url, BROWSER));
  await page(
    "sign-up",
    await browser.follow(await browser.get(authorizeUrl(web, { prompt: "create" }), BROWSER)),
    leadsToApp,
  );
  for (const name of ["activity", "profile", "password", "email", "delete"])
    assert.equal((await page(name, await browser.get(`/account/${name}`, BROWSER))).status, 200, name);
  const taken = await browser.get("/account/data", BROWSER);
  assert.equal(taken.headers["content-disposition"], 'attachment; filename="account.json"');
  assertHeaders(taken, "data", { "content-type": "application/json; charset=utf-8" });
  for (const [method, url] of PLACES) {
    const answer = await client().request({ method, url, headers: BROWSER });
    const isDocument = url === "/jwks" || url.startsWith("/.well-known/");
    if (!isDocument) assertHeaders(answer, `${method} ${url}`);
  }
  const token = (await service.setup.makeToken()) ?? "";
  const setup = await page("set-up", await client().get(`/setup?token=${token}`, BROWSER));
  assert.equal(setup.status, 200);
  const documents = {
    "cache-control": "public, max-age=300, stale-if-error=300",
    "cross-origin-resource-policy": "cross-origin",
  };
  for (const path of [...DOCUMENTS, "/jwks"]) assertHeaders(await client().get(path), path, documents);
  for (const [, path = ""] of login.text.matchAll(/(?:src|href)="(\/assets\/[^"]*)"/g)) {
    const asset = await client().get(path);
    assert.equal(asset.status, 200, path);
    assertHeaders(asset, path, {
      "cache-control": "public, max-age=31536000, immutable",
      "content-type": /^(text\/css|image\/svg\+xml|text\/javascript)/,
    });
  }
});

// --- What discovery promises --------------------------------------------------------------------------------------

test("discovery promises what there is and nothing else (RFC 8414 section 2, OpenID Connect Discovery section 3)", async () => {
  const { client, issuer } = await journey;
  const [first, second] = await Promise.all(DOCUMENTS.map((path) => client().get(path)));
  assert.equal(first?.text, second?.text);
  const { scopes_supported, claims_supported, ...metadata } = first?.json() ?? {};
  assert.deepEqual(metadata, {
    issuer,
    acr_values_supported: ["urn:signet:acr:1fa"],
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/jwks`,
    introspection_endpoint: `${issuer}/introspect`,
    revocation_endpoint: `${issuer}/revoke`,
    end_session_endpoint: `${issuer}/logout`,
    authorization_response_iss_parameter_supported: true,
    claims_parameter_supported: true,
    claim_types_supported: ["normal"],
    prompt_values_supported: ["none", "login", "consent", "select_account", "create"],
    backchannel_logout_supported: true,
    backchannel_logout_session_supported: true,
    code_challenge_methods_supported: ["S256"],
    grant_types_supported: ["authorization_code", "refresh_token", "client_credentials"],
    id_token_signing_alg_values_supported: ["RS256", "ES256", "EdDSA"],
    request_uri_parameter_supported: false,
    response_modes_supported: ["form_post", "fragment", "query"],
    response_types_supported: ["code"],
    subject_types_supported: ["public"],
    token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
    token_endpoint_auth_signing_alg_values_supported: ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"],
    ui_locales_supported: ["en", "de"],
  });
  assert.ok(Array.isArray(scopes_supported) && scopes_supported.includes("openid"));
  assert.ok(Array.isArray(claims_supported) && claims_supported.includes("sub"));
  for (const [name, value] of Object.entries(metadata)) {
    if (!/_endpoint$|jwks_uri/.test(name)) continue;
    assert.notEqual((await client().get(String(value), BROWSER)).status, 404, name);
  }
  for (const path of ["/par", "/register", "/device_authorization", "/device", "/backchannel"])
    for (const method of ["GET", "POST"])
      assert.equal((await client().request({ method, url: path })).status, 404, path);
  for (const path of [...DOCUMENTS, "/jwks"]) {
    const [head, get] = [await client().request({ method: "HEAD", url: path }), await client().get(path)];
    const { date: _d, "x-request-id": _r, ...headers } = get.headers;
    const { date: _e, "x-request-id": _s, ...same } = head.headers;
    assert.deepEqual([head.status, head.text, same], [200, "", headers]);
  }
});

test("an answer names us, on success and on error, in the address and in a form (RFC 9207 section 2, T-XSS-2)", async () => {
  const { client, web, party, issuer } = await journey;
  const browser = client();
  await signIn(browser, await party(web), { scope: "openid" });
  const fieldsOf = (answer: Answer): Record<string, string> => form(answer.text, CALLBACK).fields;
  const queryOf = (answer: Answer): Record<string, string> =>
    Object.fromEntries(new URL(answer.location ?? "").searchParams);
  for (const [mode, read, status] of [
    ["query", queryOf, 303],
    ["form_post", fieldsOf, 200],
  ] as const) {
    const good = await browser.get(authorizeUrl(web, { response_mode: mode }), BROWSER);
    const { code, ...rest } = read(good);
    assert.equal(good.status, status, mode);
    assert.match(code ?? "", /^[\w-]{43}$/);
    assert.deepEqual(rest, { state: "s1", iss: issuer });
    const bad = await browser.get(authorizeUrl(web, { response_mode: mode, prompt: "bogus", state: SCRIPT }), BROWSER);
    const { error_description: _, ...told } = read(bad);
    assert.deepEqual(told, { error: "invalid_request", state: SCRIPT, iss: issuer });
    assert.equal(bad.text.includes("<script>alert"), false);
  }
});

test("a page speaks the language that the app asks for, as far as we have it, and shows no other (T-XSS-6)", async () => {
  const { client, web } = await journey;
  const languageOf = async (locales: string): Promise<string> => {
    const browser = client();
    const page = await browser.follow(await browser.get(authorizeUrl(web, { ui_locales: locales }), BROWSER));
    assert.equal(page.text.includes("alert(1)"), false);
    return /<html lang="([^"]*)"/.exec(page.text)?.[1] ?? "";
  };
  for (const [locales, language] of [
    ["de", "de"],
    ["fr de en", "de"],
    ["de-AT", "de"],
    ["DE", "de"],
    ["fr", "en"],
    [SCRIPT, "en"],
    ["x".repeat(2000), "en"],
    ["../../etc", "en"],
  ] as const)
    assert.equal(await languageOf(locales), language, locales.slice(0, 40));
});

// --- Clients with keys of their own -------------------------------------------------------------------------------

async function listen(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("a client signs with a key that it publishes, and with no other (RFC 7523 section 3)", async () => {
  const { client, register, issuer } = await journey;
  const keys = ["k1", "k2"].map((kid) => ({ kid, ...generateKeyPairSync("ec", { namedCurve: "P-256" }) }));
  let published = keys.slice(0, 1);
  const origin = await listen((request, response) => {
    if (request.url === "/hangs") return;
    if (request.url === "/gone") return void response.writeHead(404).end();
    if (request.url === "/moved") return void response.writeHead(302, { location: "/jwks" }).end();
    if (request.url === "/words")
      return void response.writeHead(200, { "content-type": "application/json" }).end("no keys");
    if (request.url === "/huge")
      return void response.writeHead(200, { "content-type": "application/json" }).end(Buffer.alloc(10 * 1024 * 1024));
    const jwks = {
      keys: published.map(({ kid, publicKey }) => ({
        ...publicKey.export({ format: "jwk" }),
        kid,
        use: "sig",
        alg: "ES256",
      })),
    };
    response.writeHead(200, { "content-type": "application/jwk-set+json" }).end(JSON.stringify(jwks));
  });
  const service = (path: string): Promise<Registered> =>
    register({
      client_type: "service",
      client_name: `Keys at ${path}`,
      token_endpoint_auth_method: "private_key_jwt",
      jwks_uri: `${origin}${path}`,
      apis: [{ identifier: API, scopes: ["read:things"], default: true }],
    });
  const ask = async ({ id }: Registered, key: (typeof keys)[number] | undefined): Promise<Answer> => {
    if (key === undefined) throw new Error("there is no such key");
    const claims = { iss: id, sub: id, aud: issuer, jti: randomUUID(), exp: Math.floor(Date.now() / 1000) + 60 };
    const assertion = signedJwt(key.privateKey, { alg: "ES256", kid: key.kid }, claims);
    return client().post("/token", {
      grant_type: "client_credentials",
      client_assertion: assertion,
      client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    });
  };
  const right = await service("/jwks");
  assert.equal((await ask(right, keys[0])).status, 200);
  assert.deepEqual(errorOf(await ask(right, keys[1])), [401, "invalid_client"]);
  published = keys;
  assert.equal((await ask(await service("/jwks?new"), keys[1])).status, 200);
  for (const path of ["/gone", "/moved", "/words", "/huge", "/hangs"]) {
    const begin = performance.now();
    assert.deepEqual(errorOf(await ask(await service(path), keys[0])), [401, "invalid_client"], path);
    assert.ok(performance.now() - begin < 4000, path);
  }
});

function errorOf(answer: Answer): [number, unknown] {
  return [answer.status, answer.json()["error"]];
}

// --- Forms of a sign-in -------------------------------------------------------------------------------------------

test("a sign-in form is read exactly or refused: size, type, fields, step, browser (T-LOGIN-12, T-LOGIN-15, T-LOGIN-16, T-LOGIN-17)", async () => {
  const { client, web } = await journey;
  const browser = client();
  const login = await browser.follow(await browser.get(authorizeUrl(web), BROWSER));
  const { action, fields } = form(login.text, 'name="password"');
  const right: [string, string][] = [
    ...Object.entries(fields).filter(([name]) => !["email", "password"].includes(name)),
    ["email", EMAIL],
    ["password", PASSWORD],
  ];
  const encoded = (pairs: [string, string][]): string => new URLSearchParams(pairs).toString();
  const send = async (body: string, headers: Record<string, string> = {}, who: Client = browser): Promise<number> => {
    const answer = await who.request({
      method: "POST",
      url: action,
      headers: { ...BROWSER, "content-type": "application/x-www-form-urlencoded", ...headers },
      body,
    });
    assertHeaders(answer, action, { "content-type": "text/html; charset=utf-8" });
    assert.equal(answer.text.includes(PASSWORD), false);
    return answer.status;
  };
  const rows: readonly (readonly [string, number, string, Record<string, string>?])[] = [
    ["a body over the limit", 413, encoded([...right, ["more", "x".repeat(33 * 1024)]])],
    ["JSON", 415, JSON.stringify(Object.fromEntries(right)), { "content-type": "application/json" }],
    ["multipart", 415, "--x--", { "content-type": "multipart/form-data; boundary=x" }],
    ["a password twice", 400, encoded([...right, ["password", "x"]])],
    ["an e-mail twice", 400, encoded([...right, ["email", "x"]])],
    ["a password of 5 kB", 400, encoded([...right.slice(0, -1), ["password", "x".repeat(5000)]])],
    ["no token", 403, encoded(right.filter(([name]) => name !== "csrf"))],
    [
      "a foreign token",
      403,
      encoded(right.map(([name, value]) => [name, name === "csrf" ? value.replace(/.$/, "_") : value])),
    ],
    ["another origin", 403, encoded(right), { origin: EVIL }],
    ["the origin null", 403, encoded(right), { origin: "null" }],
    ["another site", 403, encoded(right), { "sec-fetch-site": "cross-site" }],
    ["a neighbour of the site", 403, encoded(right), { "sec-fetch-site": "same-site" }],
    ["an e-mail as a list", 400, encoded(right.map(([name, value]) => [name === "email" ? "email[]" : name, value]))],
  ];
  for (const [name, status, body, headers] of rows) assert.equal(await send(body, headers), status, name);
  // Another browser, and this browser at another sign-in's address: the cookie decides, and it does not fit.
  assert.equal(await send(encoded(right), {}, client()), 400);
  const second = await browser.follow(await browser.get(authorizeUrl(web), BROWSER));
  const other = form(second.text, 'name="password"');
  const crossed = [...browser.cookies.values()].find(
    ({ path, name }) => name === "signet_interaction" && action.startsWith(path),
  );
  assert.notEqual(other.action, action);
  browser.setCookie(
    `signet_interaction=${[...browser.cookies.values()].find(({ path }) => other.action.startsWith(path) && path !== "/")?.value}; path=${crossed?.path}`,
  );
  assert.equal(await send(encoded(right)), 400);
  // The right form, still; and once it was used the step is over.
  const sent = await browser.submit(second, { email: EMAIL, password: PASSWORD }, { match: 'name="password"' });
  await browser.follow(sent);
  const late = await browser.post(other.action, Object.fromEntries(Object.entries(other.fields)), BROWSER);
  assert.ok([303, 400].includes(late.status));
});

test("an interaction cookie that was tampered with opens no step (T-SESS-10)", async () => {
  const { client, web } = await journey;
  const browser = client();
  const login = await browser.follow(await browser.get(authorizeUrl(web, { login_hint: SCRIPT }), BROWSER));
  assert.equal(login.status, 200);
  const path = new URL(login.url).pathname;
  const find = (name: string): string =>
    [...browser.cookies.values()].find((cookie) => cookie.name === name)?.value ?? "";
  const [value, signature] = [find("signet_interaction"), find("signet_interaction.sig")];
  assert.ok(value !== "" && signature !== "");
  const stranger = `${value.slice(0, -1)}${value.endsWith("A") ? "B" : "A"}`;
  const rows: readonly (readonly [string, number, string])[] = [
    ["as it was given", 200, `signet_interaction=${value}; signet_interaction.sig=${signature}`],
    ["without a signature", 400, `signet_interaction=${value}`],
    ["with an empty one", 400, `signet_interaction=${value}; signet_interaction.sig=`],
    ["with another key's", 400, `signet_interaction=${value}; signet_interaction.sig=${"A".repeat(signature.length)}`],
    ["changed", 400, `signet_interaction=${stranger}; signet_interaction.sig=${signature}`],
    [
      "twice, the false one first",
      400,
      `signet_interaction=x; signet_interaction=${value}; signet_interaction.sig=${signature}`,
    ],
    ["of 8 KiB", 400, `signet_interaction=${"a".repeat(8192)}; signet_interaction.sig=${signature}`],
    ["of separators", 400, ";;=;signet_interaction;="],
  ];
  for (const [name, status, cookie] of rows)
    assert.equal((await client().get(path, { ...BROWSER, cookie })).status, status, name);
});

test("what an app says about a person is shown as text (T-XSS-3)", async () => {
  const { client, web } = await journey;
  const browser = client();
  for (const hint of [SCRIPT, "' onfocus=alert(1) '", "#{7*7}", "{{7*7}}", "</title><script>alert(1)</script>"]) {
    const page = await browser.follow(await browser.get(authorizeUrl(web, { login_hint: hint }), BROWSER));
    assert.equal(form(page.text, 'name="password"').fields["email"], hint);
    assert.equal(page.text.includes("<script>alert"), false);
  }
});

// --- What is cheap stays cheap -------------------------------------------------------------------------------------

test("absurd scopes and tokens are refused quickly (T-DOS-1, T-DOS-3)", async () => {
  const { client, web, machine, spa } = await journey;
  const basic = ({ id, secret }: Registered) => ({
    authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`,
  });
  const words = "a ".repeat(10_000).trim();
  const deep = Buffer.from(`{"aud":${"[".repeat(5_000)}${"]".repeat(5_000)}}`).toString("base64url");
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const requests: readonly (readonly [string, number, () => Promise<Answer>])[] = [
    [
      "10,000 words",
      400,
      () => client().post("/token", { grant_type: "client_credentials", scope: words }, basic(machine)),
    ],
    [
      "50 KiB of scope",
      413,
      () => client().post("/token", { grant_type: "client_credentials", scope: "a".repeat(50 * 1024) }, basic(machine)),
    ],
    ["10,000 words at sign-in", 413, () => client().post("/authorize", { client_id: web.id, scope: words })],
    [
      "10,000 words for a refresh",
      400,
      () =>
        client().post("/token", { grant_type: "refresh_token", client_id: spa.id, refresh_token: "x", scope: words }),
    ],
    [
      "a hint 5,000 levels deep",
      413,
      () => client().post("/logout", { id_token_hint: `${part({ alg: "RS256" })}.${deep}.AA` }),
    ],
    [
      "a header of 12 kB",
      401,
      () =>
        client().get("/userinfo", { authorization: `Bearer ${part({ alg: "ES256", x: "x".repeat(8_000) })}.AA.AA` }),
    ],
    [
      "a key derived a billion times",
      401,
      () =>
        client().get("/userinfo", {
          authorization: `Bearer ${part({ alg: "PBES2-HS512+A256KW", p2c: 1e9 })}.AA.AA.AA.AA`,
        }),
    ],
    [
      "an unencoded payload",
      401,
      () =>
        client().get("/userinfo", {
          authorization: `Bearer ${part({ alg: "ES256", b64: false, crit: ["b64"] })}.AA.AA`,
        }),
    ],
    ["50 KiB of token", 413, () => client().post("/userinfo", { access_token: "x".repeat(50 * 1024) })],
  ];
  for (const [name, status, send] of requests) {
    const begin = performance.now();
    assert.equal((await send()).status, status, name);
    // An order of magnitude above the bound of 50 ms, so that a busy machine fails no right program.
    assert.ok(performance.now() - begin < 500, name);
  }
});

// --- Codes ---------------------------------------------------------------------------------------------------------

for (const { engine, skip } of await engines()) {
  let opened: Promise<Journey> | undefined;
  const own = (): Promise<Journey> => {
    opened ??= engine === "postgres" ? journey : beginJourney(engine);
    return opened;
  };
  const redeem = async ({ client, web }: Journey, code: string): Promise<Answer> =>
    client().post(
      "/token",
      { grant_type: "authorization_code", code, redirect_uri: CALLBACK, code_verifier: VERIFIER },
      { authorization: `Basic ${Buffer.from(`${web.id}:${web.secret}`).toString("base64")}` },
    );
  const freshCode = async ({ client, web, party }: Journey): Promise<string> => {
    const { callback } = await signIn(client(), await party(web), {
      scope: "openid",
      parameters: { code_challenge: CHALLENGE },
    });
    return callback.searchParams.get("code") ?? "";
  };

  test(`a code that comes twice takes its tokens with it (RFC 6749 section 4.1.2, ${engine})`, { skip }, async () => {
    const now = await own();
    const code = await freshCode(now);
    const issued = (await redeem(now, code)).json();
    const bearer = { authorization: `Bearer ${String(issued["access_token"])}` };
    assert.equal((await now.client().get("/userinfo", bearer)).status, 200);
    assert.deepEqual(errorOf(await redeem(now, code)), [400, "invalid_grant"]);
    assert.deepEqual(errorOf(await now.client().get("/userinfo", bearer)), [401, "invalid_token"]);
    const config = await now.party(now.web);
    await assert.rejects(openid.refreshTokenGrant(config, String(issued["refresh_token"])), { error: "invalid_grant" });
  });

  test(`a code ends after a minute (RFC 6749 section 4.1.2, ${engine})`, { skip }, async () => {
    const now = await own();
    const [first, second] = [await freshCode(now), await freshCode(now)];
    const shifted = async (seconds: number, code: string): Promise<Answer> => {
      mock.timers.enable({ apis: ["Date"], now: Date.now() + seconds * 1000 });
      try {
        return await redeem(now, code);
      } finally {
        mock.timers.reset();
      }
    };
    assert.equal((await shifted(50, first)).status, 200);
    assert.deepEqual(errorOf(await shifted(80, second)), [400, "invalid_grant"]);
  });

  test(`one assertion sent eight times at once signs one client in (T-RACE-3, ${engine})`, { skip }, async () => {
    const { register, issuer, client } = await own();
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const { id } = await register({
      client_type: "service",
      client_name: "Races",
      token_endpoint_auth_method: "private_key_jwt",
      jwks: { keys: [publicKey.export({ format: "jwk" })] },
      apis: [{ identifier: API, scopes: ["read:things"], default: true }],
    });
    for (let round = 0; round < 5; round += 1) {
      const claims = { iss: id, sub: id, aud: issuer, jti: randomUUID(), exp: Math.floor(Date.now() / 1000) + 60 };
      const body = {
        grant_type: "client_credentials",
        client_assertion: signedJwt(privateKey, { alg: "ES256" }, claims),
        client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      };
      const answers = await Promise.all(Array.from({ length: 8 }, () => client().post("/token", body)));
      assert.deepEqual(answers.map(({ status }) => status).sort(), [200, ...Array<number>(7).fill(401)]);
    }
  });
}
