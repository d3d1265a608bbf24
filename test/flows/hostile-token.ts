/** Hostile rows at the endpoints that programs call: token, userinfo, introspection, revocation. */
import { createPublicKey, generateKeyPairSync, randomUUID } from "node:crypto";
import {
  challenge,
  type Expected,
  json,
  type Members,
  notAllowed,
  type Pairs,
  type Row,
  SCRIPT,
  says,
} from "./hostile.ts";
import { confusedJwt, type Ground, signedJwt, unsignedJwt, VERIFIER } from "./hostile-ground.ts";
import { API, CALLBACK, EMAIL } from "./journey.ts";

const FORM = ["Content-Type", "application/x-www-form-urlencoded"] as const;
const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const INVALID_REQUEST = json(400, "invalid_request");
const INVALID_GRANT = json(400, "invalid_grant");
const UNSUPPORTED_TYPE = json(415, "invalid_request");
const TOO_LARGE = json(413, "invalid_request");
const MOMENT = /^1[789]\d{8}$/;
const OPAQUE = /^[\w-]{43}$/;
const JWT = /^[\w-]{20,}\.[\w-]{20,}\.[\w-]{86,342}$/;
const REFRESH = /^sgn_rt_\d{1,6}_\d{1,9}_[\w-]{65}$/;
/** RFC 6749 section 5.1. */
const ISSUED = says({ access_token: JWT, expires_in: 600, scope: "read:things", token_type: "Bearer" });

function issuedTo(scope: string): Expected {
  const opened = { access_token: OPAQUE, id_token: JWT, refresh_token: REFRESH };
  return says({ ...opened, expires_in: 600, scope, token_type: "Bearer" });
}

/** RFC 6749 section 5.2: whoever tried with the header hears there what was wrong. */
function invalidClient({ issuer }: Ground, isByHeader = false): Expected {
  const why = isByHeader ? (["invalid_client", "client authentication failed"] as const) : undefined;
  return json(401, "invalid_client", { "www-authenticate": challenge("Basic", issuer, why) });
}

/** Client authentication is one thing at three endpoints: RFC 6749 section 2.3, RFC 7009 section 2.1, RFC 7662 section 2.1. */
export function authenticationRows(g: Ground, path: "/token" | "/introspect" | "/revoke"): Row[] {
  const { web, spa } = g.journey;
  const { id, secret = "" } = web;
  const [INVALID_CLIENT, INVALID_BASIC] = [invalidClient(g), invalidClient(g, true)];
  const payload: Pairs = path === "/token" ? [["grant_type", "client_credentials"]] : [["token", g.tokens.access]];
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  const rows: Row[] = [];
  const basic = (name: string, value: string, expect: Expected): void => {
    rows.push({ name: `Basic ${name}`, path, form: payload, headers: [["Authorization", value]], expect });
  };
  const body = (name: string, fields: Pairs, expect: Expected, headers: Pairs = []): void => {
    rows.push({ name, path, form: [...payload, ...fields], headers, expect });
  };
  basic("with a wrong secret", `Basic ${base64(`${id}:wrong`)}`, INVALID_BASIC);
  basic("of an unknown client", `Basic ${base64(`cl_unknown:${secret}`)}`, INVALID_BASIC);
  basic("of a disabled client", g.basic(g.disabled)[1], INVALID_BASIC);
  basic("without a colon", `Basic ${base64(id)}`, INVALID_REQUEST);
  basic("with an empty secret", `Basic ${base64(`${id}:`)}`, INVALID_REQUEST);
  basic("with an empty client", `Basic ${base64(`:${secret}`)}`, INVALID_CLIENT);
  basic("that is no base64", "Basic %%%", INVALID_REQUEST);
  basic("that is cut in base64", `Basic ${base64(`${id}:${secret}`).slice(0, -3)}x=`, INVALID_REQUEST);
  basic("without credentials", "Basic", INVALID_REQUEST);
  basic("with three parts", `Basic ${base64(`${id}:${secret}`)} x`, INVALID_REQUEST);
  basic("with NUL", `Basic ${base64(`${id}:${secret}\0`)}`, INVALID_REQUEST);
  basic("with a broken escape", `Basic ${base64(`${id}:%zz`)}`, INVALID_REQUEST);
  basic("in other letters", `Basic ${base64(`${id}:ключ`)}`, INVALID_REQUEST);
  basic("of 12,000 characters", `Basic ${base64("a".repeat(9000))}`, INVALID_REQUEST);
  basic("replaced by Bearer", `Bearer ${secret}`, INVALID_REQUEST);
  basic("replaced by Digest", 'Digest username="x"', INVALID_REQUEST);
  body("no authentication at all", [], INVALID_CLIENT);
  body("a confidential client that only names itself", [["client_id", id]], INVALID_CLIENT);
  body("an unknown client that only names itself", [["client_id", "cl_unknown"]], INVALID_CLIENT);
  body("a client_id with NUL", [["client_id", "cl_\0"]], INVALID_CLIENT);
  body(
    "a client_id that stands twice",
    [
      ["client_id", id],
      ["client_id", id],
    ],
    INVALID_REQUEST,
  );
  body("a client_id as a list", [["client_id[]", id]], INVALID_CLIENT);
  body(
    "a wrong secret in the form",
    [
      ["client_id", id],
      ["client_secret", "wrong"],
    ],
    INVALID_CLIENT,
  );
  body(
    "a secret that stands twice",
    [
      ["client_id", id],
      ["client_secret", secret],
      ["client_secret", secret],
    ],
    INVALID_REQUEST,
  );
  body("a secret without a client", [["client_secret", secret]], INVALID_CLIENT);
  body(
    "a secret for a public client",
    [
      ["client_id", spa.id],
      ["client_secret", "x"],
    ],
    INVALID_CLIENT,
  );
  body(
    "Basic and a secret in the form",
    [
      ["client_id", id],
      ["client_secret", secret],
    ],
    INVALID_REQUEST,
    [g.basic(web)],
  );
  body("Basic and another client_id", [["client_id", g.other.id]], INVALID_REQUEST, [g.basic(web)]);
  body(
    "an assertion and Basic",
    [
      ["client_assertion", g.assertion()],
      ["client_assertion_type", JWT_BEARER],
    ],
    INVALID_REQUEST,
    [g.basic(web)],
  );
  rows.push(
    {
      name: "credentials in the address",
      path: `${path}?client_id=${id}&client_secret=${secret}`,
      form: payload,
      expect: INVALID_CLIENT,
    },
    { name: "no body", path, method: "POST", headers: [g.basic(web)], expect: INVALID_REQUEST },
    {
      name: "JSON",
      path,
      body: "{}",
      headers: [g.basic(web), ["Content-Type", "application/json"]],
      expect: UNSUPPORTED_TYPE,
    },
    {
      name: "a multipart body",
      path,
      body: "--x--",
      headers: [g.basic(web), ["Content-Type", "multipart/form-data; boundary=x"]],
      expect: UNSUPPORTED_TYPE,
    },
    { name: "a body of no type", path, body: "token=x", headers: [g.basic(web)], expect: UNSUPPORTED_TYPE },
    {
      name: "a type of nonsense",
      path,
      body: "token=x",
      headers: [g.basic(web), ["Content-Type", ";;=/"]],
      expect: UNSUPPORTED_TYPE,
    },
    {
      name: "a compressed body",
      path,
      body: "x",
      headers: [g.basic(web), FORM, ["Content-Encoding", "gzip"]],
      expect: UNSUPPORTED_TYPE,
    },
    {
      name: "a body of a megabyte",
      path,
      body: `token=${"x".repeat(1024 * 1024)}`,
      headers: [g.basic(web), FORM],
      expect: TOO_LARGE,
    },
    {
      name: "a body of a megabyte without its length",
      path,
      body: `token=${"x".repeat(1024 * 1024)}`,
      isChunked: true,
      headers: [g.basic(web), FORM],
      expect: TOO_LARGE,
    },
    {
      name: "a body of 33 kB without its length",
      path,
      body: `token=${"x".repeat(33 * 1024)}`,
      isChunked: true,
      headers: [g.basic(web), FORM],
      expect: TOO_LARGE,
    },
    {
      name: "10,000 parameters",
      path,
      body: "a=&".repeat(10_000),
      headers: [g.basic(web), FORM],
      expect: INVALID_REQUEST,
    },
    { name: "GET", path, expect: notAllowed("POST, OPTIONS") },
    { name: "PUT", path, method: "PUT", expect: notAllowed("POST, OPTIONS") },
    {
      name: "a method override",
      path,
      headers: [["X-HTTP-Method-Override", "POST"]],
      expect: notAllowed("POST, OPTIONS"),
    },
    {
      name: "another spelling of the path",
      path: path.toUpperCase(),
      form: payload,
      expect: json404(path.toUpperCase()),
    },
    { name: "a slash at the end", path: `${path}/`, form: payload, expect: json404(`${path}/`) },
    {
      name: "an escape in the path",
      path: path.replace(/^\/./, (start) => `/%${start.charCodeAt(1).toString(16)}`),
      form: payload,
      expect: json404(""),
    },
    {
      name: "a foreign origin and an unknown client",
      path,
      form: [...payload, ["client_id", "cl_unknown"]],
      headers: [["Origin", "https://evil.example"]],
      expect: { ...INVALID_CLIENT, headers: { ...INVALID_CLIENT.headers, "access-control-allow-origin": null } },
    },
    {
      name: "a foreign origin",
      path,
      form: payload,
      headers: [g.basic(web), ["Origin", "https://evil.example"]],
      expect: { ...INVALID_REQUEST, headers: { ...INVALID_REQUEST.headers, "access-control-allow-origin": null } },
    },
    {
      name: "the origin null",
      path,
      form: [...payload, ["client_id", spa.id]],
      headers: [["Origin", "null"]],
      expect: { ...INVALID_REQUEST, headers: { ...INVALID_REQUEST.headers, "access-control-allow-origin": null } },
    },
  );
  return rows;
}

/** Addresses that are not ours are pages for browsers, whatever they look like. */
function json404(path: string): Expected {
  void path;
  return { status: 404, page: "error.page_not_found.title", headers: { "content-type": "text/html; charset=utf-8" } };
}

/** Assertions of clients: RFC 7523 section 3 with one audience, T-JWT-1 to -8 and T-DOS-3. */
export function assertionRows(g: Ground): Row[] {
  const path = "/token";
  const INVALID_CLIENT = invalidClient(g);
  const now = Math.floor(Date.now() / 1000);
  const rows: Row[] = [];
  const send = (name: string, assertion: string, expect: Expected, more: Pairs = []): void => {
    const form: Pairs = [
      ["grant_type", "client_credentials"],
      ["client_assertion", assertion],
      ["client_assertion_type", JWT_BEARER],
      ...more,
    ];
    rows.push({ name, path, form, expect });
  };
  const claims = { iss: g.keyed.id, sub: g.keyed.id, aud: g.issuer, jti: randomUUID(), exp: now + 60 };
  const pem = createPublicKey(g.keyed.key).export({ type: "spki", format: "pem" }).toString();
  const once = g.assertion();
  send("the right one", once, ISSUED);
  send("the right one again", once, INVALID_CLIENT);
  send("the right one and its client_id", g.assertion(), ISSUED, [["client_id", g.keyed.id]]);
  send("another client_id beside it", g.assertion(), INVALID_REQUEST, [["client_id", g.other.id]]);
  send("without an algorithm", unsignedJwt({ alg: "none" }, claims), INVALID_CLIENT);
  send("signed with the public key as a secret", confusedJwt(pem, claims), INVALID_CLIENT);
  send("with another algorithm", g.assertion({}, { alg: "RS256" }), INVALID_CLIENT);
  send("with an unknown kid", g.assertion({}, { kid: "k2" }), INVALID_CLIENT);
  send("with a path as kid", g.assertion({}, { kid: "../../../dev/null" }), INVALID_CLIENT);
  send("with a statement as kid", g.assertion({}, { kid: "' union select 1 --" }), INVALID_CLIENT);
  send("with an object as kid", g.assertion({}, { kid: {} }), INVALID_CLIENT);
  send("with a critical header", g.assertion({}, { crit: ["b64"], b64: false }), INVALID_CLIENT);
  // RFC 7515 sections 4.1.2, 4.1.3, 4.1.5: what a JWT says about its own key proves nothing, so it is not looked at.
  const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const own = stranger.publicKey.export({ format: "jwk" });
  const foreign = (header: object): string => signedJwt(stranger.privateKey, { alg: "ES256", ...header }, claims);
  send("with a stranger's key in its header", foreign({ jwk: own }), INVALID_CLIENT);
  send("with a stranger's key at an address", foreign({ jku: `${g.issuer}/jwks` }), INVALID_CLIENT);
  send("with a stranger's certificate", foreign({ x5u: `${g.issuer}/x`, x5c: ["AAAA"] }), INVALID_CLIENT);
  send("with a key's address that is not needed", g.assertion({}, { jku: "https://evil.example/jwks" }), ISSUED);
  send("with its signature stripped", `${g.assertion().split(".").slice(0, 2).join(".")}.`, INVALID_CLIENT);
  send(
    "with a signature of zeros",
    `${g.assertion().split(".").slice(0, 2).join(".")}.${"A".repeat(86)}`,
    INVALID_CLIENT,
  );
  send("expired", g.assertion({ exp: now - 60 }), INVALID_CLIENT);
  send("without an end", g.assertion({ exp: undefined }), INVALID_CLIENT);
  send("with an end in words", g.assertion({ exp: "soon" }), INVALID_CLIENT);
  send("with an endless end", g.assertion({ exp: 1e300 }), INVALID_CLIENT);
  send("that lives six minutes", g.assertion({ exp: now + 360 }), INVALID_CLIENT);
  send("that is not valid yet", g.assertion({ nbf: now + 120 }), INVALID_CLIENT);
  send("issued in the future", g.assertion({ iat: now + 120 }), INVALID_CLIENT);
  send("without a jti", g.assertion({ jti: undefined }), INVALID_CLIENT);
  send("with an object as jti", g.assertion({ jti: { a: 1 } }), INVALID_CLIENT);
  send("with a jti of 10,000 characters", g.assertion({ jti: "j".repeat(10_000) }), ISSUED);
  send("with a jti of NUL", g.assertion({ jti: `\0${randomUUID()}` }), ISSUED);
  send("for the token endpoint as audience", g.assertion({ aud: `${g.issuer}/token` }), INVALID_CLIENT);
  send("for a list of audiences", g.assertion({ aud: [g.issuer] }), INVALID_CLIENT);
  send("for another issuer", g.assertion({ aud: "https://evil.example" }), INVALID_CLIENT);
  send("without an audience", g.assertion({ aud: undefined }), INVALID_CLIENT);
  send("of another issuer", g.assertion({ iss: "cl_unknown" }), INVALID_CLIENT);
  send("about an unknown client", g.assertion({ sub: "cl_unknown" }), INVALID_CLIENT);
  send("about NUL", g.assertion({ sub: "\0" }), INVALID_CLIENT);
  send("about a lone surrogate", g.assertion({ sub: "\ud800" }), INVALID_CLIENT);
  send("about an object", g.assertion({ sub: { $ne: null } }), INVALID_CLIENT);
  send("about a list", g.assertion({ sub: [g.keyed.id] }), INVALID_CLIENT);
  send("about nobody", g.assertion({ sub: undefined }), INVALID_CLIENT);
  send(
    "about a client with a secret",
    signedJwt(g.keyed.key, { alg: "ES256" }, { ...claims, iss: g.journey.web.id, sub: g.journey.web.id }),
    INVALID_CLIENT,
  );
  send("garbage", "garbage", INVALID_REQUEST);
  send("dots", "..", INVALID_REQUEST);
  send("markup", SCRIPT, INVALID_REQUEST);
  send("an ID token", g.tokens.id, INVALID_CLIENT);
  send("a header of 20 kB", signedJwt(g.keyed.key, { alg: "ES256", x: "x".repeat(20_000) }, claims), ISSUED);
  send(
    "10,000 levels deep",
    `${part({ alg: "ES256" })}.${Buffer.from(`{"sub":${"[".repeat(5000)}${"]".repeat(5000)}}`).toString("base64url")}.AAAA`,
    INVALID_CLIENT,
  );
  send(
    "a password hash of a billion rounds",
    `${part({ alg: "PBES2-HS512+A256KW", enc: "A256GCM", p2c: 1_000_000_000, p2s: "AAAA" })}.AAAA.AAAA.AAAA.AAAA`,
    INVALID_REQUEST,
  );
  rows.push(
    {
      name: "no type",
      path,
      form: [
        ["grant_type", "client_credentials"],
        ["client_assertion", g.assertion()],
      ],
      expect: INVALID_REQUEST,
    },
    {
      name: "another type",
      path,
      form: [
        ["grant_type", "client_credentials"],
        ["client_assertion", g.assertion()],
        ["client_assertion_type", "saml"],
      ],
      expect: INVALID_REQUEST,
    },
    {
      name: "a type alone",
      path,
      form: [
        ["grant_type", "client_credentials"],
        ["client_assertion_type", JWT_BEARER],
      ],
      expect: INVALID_CLIENT,
    },
    {
      name: "two assertions",
      path,
      form: [
        ["grant_type", "client_credentials"],
        ["client_assertion", g.assertion()],
        ["client_assertion", g.assertion()],
        ["client_assertion_type", JWT_BEARER],
      ],
      expect: INVALID_REQUEST,
    },
  );
  return rows;
}

function part(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

/** RFC 6749 section 5.2, grant by grant. The code lives 60 seconds, so it is fetched when the rows are made. */
export async function grantRows(g: Ground): Promise<Row[]> {
  const { web, spa, machine } = g.journey;
  const path = "/token";
  const rows: Row[] = [];
  const send = (name: string, form: Pairs, expect: Expected, client: Pairs = [g.basic(web)]): void => {
    rows.push({ name, path, form, headers: client, expect });
  };
  const of = (type: string, more: Readonly<Record<string, string | undefined>> = {}): Pairs =>
    Object.entries({ grant_type: type, ...more }).filter((pair): pair is [string, string] => pair[1] !== undefined);
  const [code, spent] = [await g.code(), await g.code()];
  const redeem = (changes: Readonly<Record<string, string | undefined>> = {}): Pairs =>
    of("authorization_code", { code, redirect_uri: CALLBACK, code_verifier: VERIFIER, ...changes });
  const asOther: Pairs = [g.basic(g.other)];
  const asMachine: Pairs = [g.basic(machine)];
  const unauthorized = json(400, "unauthorized_client");
  const unsupported = json(400, "unsupported_grant_type");
  send("no grant_type", [], INVALID_REQUEST);
  send("an empty grant_type", of(""), INVALID_REQUEST);
  send("a grant_type that stands twice", [...of("refresh_token"), ...of("refresh_token")], INVALID_REQUEST);
  for (const type of [
    "password",
    "implicit",
    "urn:ietf:params:oauth:grant-type:device_code",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "constructor",
    "__proto__",
    SCRIPT,
    "x".repeat(5000),
  ])
    send(
      `grant_type ${type.slice(0, 60)}`,
      of(type, { username: "maya@lindqvist.example", password: "x" }),
      unsupported,
    );
  send("client_credentials by a client of people", of("client_credentials"), unauthorized);
  send(
    "authorization_code by a service",
    of("authorization_code", { code, redirect_uri: CALLBACK }),
    unauthorized,
    asMachine,
  );
  send("refresh_token by a service", of("refresh_token", { refresh_token: g.tokens.refresh }), unauthorized, asMachine);
  send("client_credentials by a public client", of("client_credentials", { client_id: spa.id }), unauthorized, []);
  send("no code", redeem({ code: undefined }), INVALID_REQUEST);
  send("an empty code", redeem({ code: "" }), INVALID_REQUEST);
  send("an unknown code", redeem({ code: "c".repeat(43) }), INVALID_GRANT);
  send("a code of NUL", redeem({ code: "\0" }), INVALID_GRANT);
  send("a code of markup", redeem({ code: SCRIPT }), INVALID_GRANT);
  send("a code of 20,000 characters", redeem({ code: "c".repeat(20_000) }), INVALID_GRANT);
  send("a code cut by a letter", redeem({ code: code.slice(0, -1) }), INVALID_GRANT);
  send("a code with a letter more", redeem({ code: `${code}A` }), INVALID_GRANT);
  send("a code in the other case", redeem({ code: swapCase(code) }), INVALID_GRANT);
  send("two codes", [...redeem(), ["code", code]], INVALID_REQUEST);
  send("another client's code", redeem(), INVALID_GRANT, asOther);
  send("no redirect_uri", redeem({ redirect_uri: undefined }), INVALID_REQUEST);
  send("another redirect_uri", redeem({ redirect_uri: "https://app.example/callback/" }), INVALID_GRANT);
  send("no verifier", redeem({ code_verifier: undefined }), INVALID_GRANT);
  send("an empty verifier", redeem({ code_verifier: "" }), INVALID_GRANT);
  send("a wrong verifier", redeem({ code_verifier: "w".repeat(43) }), INVALID_GRANT);
  send("a verifier of 42 characters", redeem({ code_verifier: "v".repeat(42) }), INVALID_REQUEST);
  send("a verifier of 129 characters", redeem({ code_verifier: "v".repeat(129) }), INVALID_REQUEST);
  send("a verifier of other letters", redeem({ code_verifier: `${"v".repeat(42)}é` }), INVALID_REQUEST);
  send("a refresh token as a code", redeem({ code: g.tokens.refresh }), INVALID_GRANT);
  send("an access token as a code", redeem({ code: g.tokens.access }), INVALID_GRANT);
  send("a session as a code", redeem({ code: g.sessionId }), INVALID_GRANT);
  send("a code as a refresh token", of("refresh_token", { refresh_token: code }), INVALID_GRANT);
  send("a resource that was not granted", redeem({ code: spent, resource: API }), json(400, "invalid_target"));
  send("the right code, after all that", redeem(), issuedTo("openid profile email"));
  send("the right code again", redeem(), INVALID_GRANT);
  send("a code that was used up by a wrong resource", redeem({ code: spent }), INVALID_GRANT);
  const refresh = (token: string, more: Readonly<Record<string, string>> = {}): Pairs =>
    of("refresh_token", { refresh_token: token, ...more });
  send("no refresh token", of("refresh_token"), INVALID_REQUEST);
  send("an unknown refresh token", refresh("r".repeat(43)), INVALID_GRANT);
  send("a refresh token of NUL", refresh("\0"), INVALID_GRANT);
  send("a refresh token cut by a letter", refresh(g.tokens.refresh.slice(0, -1)), INVALID_GRANT);
  send("a refresh token with a letter more", refresh(`${g.tokens.refresh}A`), INVALID_GRANT);
  send("a refresh token in the other case", refresh(swapCase(g.tokens.refresh)), INVALID_GRANT);
  send(
    "a refresh token of a later generation",
    refresh(g.tokens.refresh.replace(/^(sgn_rt_\d+_)\d+/, "$19")),
    INVALID_GRANT,
  );
  send("a refresh token of another key", refresh(g.tokens.refresh.replace(/^sgn_rt_\d+/, "sgn_rt_999")), INVALID_GRANT);
  send("another client's refresh token", refresh(g.tokens.refresh), INVALID_GRANT, asOther);
  send("a session as a refresh token", refresh(g.sessionId), INVALID_GRANT);
  send("an access token as a refresh token", refresh(g.tokens.access), INVALID_GRANT);
  send("an ID token as a refresh token", refresh(g.tokens.id), INVALID_GRANT);
  send("a wider scope", refresh(g.tokens.refresh, { scope: "openid profile email phone" }), json(400, "invalid_scope"));
  send("an invalid scope", refresh(g.tokens.refresh, { scope: 'openid "' }), json(400, "invalid_scope"));
  send("an API that was not granted", refresh(g.tokens.refresh, { resource: API }), json(400, "invalid_target"));
  send("two refresh tokens", [...refresh(g.tokens.refresh), ["refresh_token", "x"]], INVALID_REQUEST);
  send("the right refresh token, after all that", refresh(g.tokens.refresh, { scope: "openid" }), issuedTo("openid"));
  const machineRows: [string, Readonly<Record<string, string>>, Expected][] = [
    ["a scope that nobody granted", { scope: "write:things" }, json(400, "invalid_scope")],
    ["an OpenID scope", { scope: "openid" }, json(400, "invalid_scope")],
    ["10,000 scopes", { scope: "a ".repeat(10_000).trim() }, json(400, "invalid_scope")],
    ["an invalid scope", { scope: "read:things\0" }, json(400, "invalid_scope")],
    ["another API", { resource: "https://evil.example/" }, json(400, "invalid_target")],
    ["a resource that is no address", { resource: "things" }, json(400, "invalid_target")],
    ["a resource that only looks alike", { resource: `${API}/` }, json(400, "invalid_target")],
  ];
  for (const [name, more, expect] of machineRows)
    send(`a service asks ${name}`, of("client_credentials", more), expect, asMachine);
  send(
    "a service asks an API of its own and another",
    [...of("client_credentials", { resource: API }), ["resource", "https://evil.example/"]],
    json(400, "invalid_target"),
    asMachine,
  );
  return rows;
}

export function userinfoRows(g: Ground): Row[] {
  const path = "/userinfo";
  const rows: Row[] = [];
  const bearer = (name: string, value: string, expect: Expected): void => {
    rows.push({ name, path, headers: [["Authorization", value]], expect });
  };
  const refused = (status: number, error: string, why: string): Expected =>
    json(status, error, { "www-authenticate": challenge("Bearer", g.issuer, [error, why]) });
  const invalid = refused(401, "invalid_token", "invalid token provided");
  const malformed = (why: string): Expected => refused(400, "invalid_request", why);
  const [noToken, twoWays] = [
    // RFC 6750 section 3.1: without credentials no error code stands in the header.
    json(401, "invalid_token", { "www-authenticate": challenge("Bearer", g.issuer) }),
    malformed("access token must only be provided using one mechanism"),
  ];
  const person = personOf(g);
  const { access, api, machine, id, refresh } = g.tokens;
  const [header = "", payload = ""] = api.split(".");
  const claims = {
    iss: g.issuer,
    sub: g.journey.userId,
    aud: g.issuer,
    exp: Math.floor(Date.now() / 1000) + 60,
    scope: "openid",
    client_id: g.journey.web.id,
  };
  bearer("the right token", `Bearer ${access}`, person);
  bearer("the right token, scheme in small letters", `bearer ${access}`, person);
  rows.push({ name: "no token", path, expect: noToken });
  bearer("a scheme alone", "Bearer", malformed("invalid authorization header value format"));
  bearer("two tokens", `Bearer ${access} ${access}`, malformed("invalid authorization header value format"));
  bearer("Basic", `Basic ${access}`, malformed("authorization header scheme must be `Bearer`"));
  bearer("DPoP", `DPoP ${access}`, malformed("`DPoP` header not provided"));
  bearer("an unknown token", `Bearer ${"x".repeat(43)}`, invalid);
  bearer("a token cut by a letter", `Bearer ${access.slice(0, -1)}`, invalid);
  bearer("a token with a letter more", `Bearer ${access}A`, invalid);
  bearer("a token in the other case", `Bearer ${swapCase(access)}`, invalid);
  bearer(
    "a token written with escapes",
    `Bearer ${[...access].map((c) => `%${c.charCodeAt(0).toString(16)}`).join("")}`,
    invalid,
  );
  bearer("a token of markup", `Bearer ${SCRIPT}`, invalid);
  bearer("a token of 12,000 characters", `Bearer ${"x".repeat(12_000)}`, invalid);
  bearer("a token named like a prototype", "Bearer __proto__", invalid);
  bearer("a token for an API", `Bearer ${api}`, invalid);
  bearer("a service's token", `Bearer ${machine}`, invalid);
  bearer("an ID token", `Bearer ${id}`, invalid);
  bearer("a refresh token", `Bearer ${refresh}`, invalid);
  bearer("a session", `Bearer ${g.sessionId}`, invalid);
  bearer("a JWT without an algorithm", `Bearer ${unsignedJwt({ alg: "none", typ: "at+jwt" }, claims)}`, invalid);
  bearer(
    "a JWT signed by a client",
    `Bearer ${signedJwt(g.keyed.key, { alg: "ES256", typ: "at+jwt" }, claims)}`,
    invalid,
  );
  bearer("a JWT without its signature", `Bearer ${header}.${payload}.`, invalid);
  bearer(
    "a JWT with a header of 10 kB",
    `Bearer ${part({ alg: "ES256", x: "x".repeat(7000) })}.${payload}.AAAA`,
    invalid,
  );
  rows.push(
    {
      name: "a token in the address",
      path: `${path}?access_token=${access}`,
      expect: malformed("access tokens must not be provided via query parameter"),
    },
    {
      name: "a token in the address and the header",
      path: `${path}?access_token=${access}`,
      headers: [["Authorization", `Bearer ${access}`]],
      expect: twoWays,
    },
    { name: "a token in a form", path, form: { access_token: access }, expect: person },
    {
      name: "a token in a form and the header",
      path,
      form: { access_token: access },
      headers: [["Authorization", `Bearer ${access}`]],
      expect: twoWays,
    },
    {
      name: "two tokens in a form",
      path,
      form: [
        ["access_token", access],
        ["access_token", access],
      ],
      expect: malformed("'access_token' parameter must not be provided twice"),
    },
    {
      name: "a form by POST without anything",
      path,
      method: "POST",
      expect: noToken,
    },
    {
      name: "POST with the token in the header",
      path,
      method: "POST",
      headers: [["Authorization", `Bearer ${access}`]],
      expect: person,
    },
    {
      name: "JSON",
      path,
      body: JSON.stringify({ access_token: access }),
      headers: [["Content-Type", "application/json"]],
      expect: UNSUPPORTED_TYPE,
    },
    {
      name: "a form of a megabyte",
      path,
      body: `access_token=${"x".repeat(1024 * 1024)}`,
      headers: [FORM],
      expect: TOO_LARGE,
    },
    {
      name: "a cookie alone",
      path,
      headers: [["Cookie", g.cookie]],
      expect: noToken,
    },
    { name: "PUT", path, method: "PUT", expect: notAllowed("GET, HEAD, POST, OPTIONS") },
    {
      name: "a foreign origin",
      path,
      headers: [
        ["Authorization", `Bearer ${access}`],
        ["Origin", "https://evil.example"],
      ],
      expect: closed(malformed(`origin https://evil.example not allowed for client: ${g.journey.web.id}`)),
    },
    { name: "a browser", path, headers: [["Accept", "text/html"]], expect: noToken },
  );
  return rows;
}

/** OpenID Connect Core section 5.3.2, as `profile email` covers it. */
export function personOf({ journey }: Ground): Expected {
  const names = { name: "Maya Lindqvist", given_name: "Maya", family_name: "Lindqvist", locale: "en" };
  return says({ sub: journey.userId, ...names, updated_at: MOMENT, email: EMAIL, email_verified: true });
}

/** No page of another origin reads it. */
function closed(expect: Expected): Expected {
  return { ...expect, headers: { ...expect.headers, "access-control-allow-origin": null } };
}

const INACTIVE = says('{"active":false}');

/** What introspection says of a living token (RFC 7662 section 2.2); a person's token for userinfo and their refresh token belong to a session. */
function activeOf(g: Ground, kind: "person" | "service" | "userinfo" | "refresh"): Expected {
  const { web, machine, userId } = g.journey;
  const isService = kind === "service";
  const clientId = isService ? machine.id : web.id;
  const common: Members = {
    active: true,
    sub: isService ? clientId : userId,
    client_id: clientId,
    iss: g.issuer,
    iat: MOMENT,
    exp: MOMENT,
  };
  const signedIn: Members = { auth_time: MOMENT, acr: "urn:signet:acr:1fa", amr: ["pwd"] };
  const ofApi: Members = { aud: API, jti: OPAQUE, scope: "read:things", token_type: "Bearer" };
  const ofSession: Members = { sid: OPAQUE, scope: "openid profile email" };
  switch (kind) {
    case "service":
      return says({ ...common, ...ofApi });
    case "person":
      return says({ ...common, ...ofApi, ...signedIn });
    case "userinfo":
      return says({ ...common, ...ofSession, token_type: "Bearer" });
    default:
      return says({ ...common, ...ofSession });
  }
}

/** RFC 7662 and RFC 7009 beyond client authentication. */
export function introspectionRows(g: Ground): Row[] {
  const asWeb: Pairs = [g.basic(g.journey.web)];
  const asOther: Pairs = [g.basic(g.other)];
  const { access, refresh, id, api } = g.tokens;
  const inactive = INACTIVE;
  const active = activeOf(g, "userinfo");
  const done: Expected = { status: 200, body: "", headers: { "content-type": null } };
  const unsupported = json(400, "unsupported_token_type");
  const ask = (name: string, form: Pairs, expect: Expected, headers = asWeb): Row => ({
    name: `introspect: ${name}`,
    path: "/introspect",
    form,
    headers,
    expect,
  });
  const revoke = (name: string, form: Pairs, expect: Expected, headers = asWeb): Row => ({
    name: `revoke: ${name}`,
    path: "/revoke",
    form,
    headers,
    expect,
  });
  const both = (name: string, form: Pairs, expect: readonly [Expected, Expected]): Row[] => [
    ask(name, form, expect[0]),
    revoke(name, form, expect[1]),
  ];
  const charset: Pairs = [...asWeb, ["Content-Type", "application/x-www-form-urlencoded; charset=nonsense"]];
  return [
    ask("a character set that nobody knows", [["token", "x"]], inactive, charset),
    revoke("a character set that nobody knows", [["token", "x"]], done, charset),
    ...both("no token", [], [INVALID_REQUEST, INVALID_REQUEST]),
    ...both("an empty token", [["token", ""]], [INVALID_REQUEST, INVALID_REQUEST]),
    ...both(
      "two tokens",
      [
        ["token", access],
        ["token", access],
      ],
      [INVALID_REQUEST, INVALID_REQUEST],
    ),
    ...both("a token as a list", [["token[]", access]], [INVALID_REQUEST, INVALID_REQUEST]),
    ...both("an unknown token", [["token", "x".repeat(43)]], [inactive, done]),
    ...both("a token of NUL", [["token", "\0"]], [inactive, done]),
    ...both("a token of markup", [["token", SCRIPT]], [inactive, done]),
    ...both("a token of 20,000 characters", [["token", "x".repeat(20_000)]], [inactive, done]),
    ...both("a token named like a prototype", [["token", "__proto__"]], [inactive, done]),
    ...both("a session", [["token", g.sessionId]], [inactive, done]),
    ...introspectApiRows(g, ask),
    revoke("a token for an API", [["token", api]], done),
    ask("a token for an API after it was revoked", [["token", api]], inactive, [g.basic(g.resourceServer)]),
    // RFC 7009 section 2.2.1 has an error for what this server does not revoke; RFC 7662 section 2.2 has one answer for all that is no token of ours.
    ...both("an ID token", [["token", id]], [inactive, unsupported]),
    ask(
      "a wrong hint",
      [
        ["token", access],
        ["token_type_hint", "refresh_token"],
      ],
      active,
    ),
    ask(
      "an unknown hint",
      [
        ["token", access],
        ["token_type_hint", "constructor"],
      ],
      active,
    ),
    ask(
      "two hints",
      [
        ["token", access],
        ["token_type_hint", "a"],
        ["token_type_hint", "b"],
      ],
      INVALID_REQUEST,
    ),
    ask("the own refresh token", [["token", refresh]], activeOf(g, "refresh")),
    ask("another client's access token", [["token", access]], inactive, asOther),
    ask("another client's refresh token", [["token", refresh]], inactive, asOther),
    ask("the own access token", [["token", access]], active),
    // RFC 7009 section 2.1: the request is refused and the client is told; the token lives.
    revoke("another client's access token", [["token", access]], INVALID_REQUEST, asOther),
    revoke("another client's refresh token", [["token", refresh]], INVALID_REQUEST, asOther),
    ask("the own access token after others tried to revoke it", [["token", access]], active),
    revoke("the own access token", [["token", access]], done),
    revoke("the own access token again", [["token", access]], done),
    ask("the own access token after it was revoked", [["token", access]], inactive),
  ];
}

/** RFC 7662 section 4: a token for an API is for that API and whom an administrator allowed, not for the client that carries it. */
function introspectApiRows(
  g: Ground,
  ask: (name: string, form: Pairs, expect: Expected, headers?: Pairs) => Row,
): readonly Row[] {
  const { api, machine, access, refresh } = g.tokens;
  const inactive = INACTIVE;
  const [person, ofService] = [activeOf(g, "person"), activeOf(g, "service")];
  const asApi: Pairs = [g.basic(g.resourceServer)];
  const { web, machine: service, spa } = g.journey;
  return [
    ask("a person's token for an API, by the API", [["token", api]], person, asApi),
    ask("a service's token for an API, by the API", [["token", machine]], ofService, asApi),
    ask("a token for an API, by whom an administrator allowed", [["token", api]], person, [g.basic(g.gateway)]),
    ask("a token for an API, by the client that carries it", [["token", api]], inactive, [g.basic(web)]),
    ask("a service's token for an API, by the service", [["token", machine]], inactive, [g.basic(service)]),
    ask("a token for an API, by another client", [["token", api]], inactive, [g.basic(g.other)]),
    ask("a token for userinfo, by an API", [["token", access]], inactive, asApi),
    ask("a refresh token, by an API", [["token", refresh]], inactive, asApi),
    ask(
      "a token for an API, by a client that proves nothing",
      [
        ["token", api],
        ["client_id", spa.id],
      ],
      inactive,
      [],
    ),
  ];
}

function swapCase(text: string): string {
  return [...text].map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase())).join("");
}
