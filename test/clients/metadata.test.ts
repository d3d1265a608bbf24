/** What a client may be registered with: defaults by type, contradictions, and everything hostile or unknown that is refused by name. */
import assert from "node:assert/strict";
import { generateKeyPairSync, type JsonWebKey } from "node:crypto";
import { test } from "node:test";
import { type ResolvedClient, resolveClient } from "../../src/clients/metadata.ts";
import { parseClientInput } from "../../src/clients/schema.ts";

const resolve = (input: unknown, isDevelopment = false): ResolvedClient =>
  resolveClient(parseClientInput(input), { isDevelopment });
const web = { client_type: "web", client_name: "Web", redirect_uris: ["https://rp.example.com/cb"] };
const spa = { client_type: "spa", client_name: "Spa", redirect_uris: ["https://spa.example.com/cb"] };
const native = { client_type: "native", client_name: "Native", redirect_uris: ["com.example.app:/cb"] };
const service = { client_type: "service", client_name: "Service" };
const api = { identifier: "https://api.example.com" };
const resourceServer = { client_type: "resource-server", client_name: "Api", apis: [api] };
const publicJwk = (type: "rsa" | "ec" | "ed25519", size: number | string = 2048): JsonWebKey => {
  const pair =
    type === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: Number(size) })
      : type === "ec"
        ? generateKeyPairSync("ec", { namedCurve: String(size) })
        : generateKeyPairSync("ed25519");
  return pair.publicKey.export({ format: "jwk" });
};

test("each type has its defaults", () => {
  const scope = "openid profile email phone address offline_access";
  const table = [
    [web, "client_secret_basic", ["authorization_code", "refresh_token"], ["code"], "web", scope],
    [spa, "none", ["authorization_code", "refresh_token"], ["code"], "web", scope],
    [native, "none", ["authorization_code", "refresh_token"], ["code"], "native", scope],
    [service, "client_secret_basic", ["client_credentials"], [], "web", undefined],
    [resourceServer, "client_secret_basic", [], [], "web", undefined],
  ] as const;
  for (const [input, method, grants, responses, application, expectedScope] of table) {
    const { metadata } = resolve(input);
    assert.equal(metadata.token_endpoint_auth_method, method);
    assert.deepEqual(metadata.grant_types, grants);
    assert.deepEqual(metadata.response_types, responses);
    assert.equal(metadata.application_type, application);
    assert.equal(metadata.scope, expectedScope);
    assert.equal(metadata.id_token_signed_response_alg, "RS256");
    assert.equal(metadata.subject_type, "public");
    assert.equal(metadata.require_auth_time, false);
  }
});

test("settings have the defaults of decision 15, and a browser app may call from where it redirects to", () => {
  assert.deepEqual(resolve(web).settings, {
    isFirstParty: false,
    webOrigins: [],
    refreshWindowSeconds: 10,
    refreshIdleSeconds: 14 * 86_400,
    refreshAbsoluteSeconds: 90 * 86_400,
    isPkceOptional: false,
    optionalScopes: [],
    introspectApis: [],
  });
  const settings = resolve({
    ...spa,
    redirect_uris: ["https://spa.example.com/cb", "https://spa.example.com/silent", "https://b.example/cb"],
  }).settings;
  assert.deepEqual(settings.webOrigins, ["https://spa.example.com", "https://b.example"]);
  assert.equal(settings.refreshAbsoluteSeconds, 30 * 86_400);
  assert.deepEqual(resolve({ ...spa, web_origins: [] }).settings.webOrigins, []);
});

test("a single API is the default, several have none unless one is named", () => {
  const [a, b] = [{ identifier: "https://a.example" }, { identifier: "https://b.example" }];
  const defaults = (apis: unknown): readonly boolean[] => resolve({ ...web, apis }).apis.map((one) => one.isDefault);
  assert.deepEqual(defaults([a]), [true]);
  assert.deepEqual(defaults([{ ...a, default: false }]), [false]);
  assert.deepEqual(defaults([a, b]), [false, false]);
  assert.deepEqual(defaults([a, { ...b, default: true }]), [false, true]);
});

const accepted: readonly (readonly [string, Record<string, unknown>])[] = [
  ["a confidential client with client_secret_post", { ...web, token_endpoint_auth_method: "client_secret_post" }],
  ["a client without refresh tokens", { ...web, grant_types: ["authorization_code"] }],
  ["a client excused from PKCE", { ...web, pkce_optional: true }],
  ["a name in any script, with joiners", { ...web, client_name: "پروژه‌ها 👩‍💻 Ünïcode" }],
  [
    "keys by address",
    { ...web, token_endpoint_auth_method: "private_key_jwt", jwks_uri: "https://rp.example.com/jwks" },
  ],
  ["an optional scope of OpenID", { ...web, optional_scopes: ["email"] }],
  ["empty lists where a service has none", { ...service, redirect_uris: [], response_types: [] }],
  [
    "every descriptive field",
    {
      ...web,
      client_uri: "https://rp.example.com",
      logo_uri: "https://rp.example.com/logo.svg",
      tos_uri: "https://rp.example.com/tos",
      policy_uri: "https://rp.example.com/privacy",
      contacts: ["ops@rp.example.com"],
      software_id: "4NRB1-0XZABZI9E6-5SM3R",
      software_version: "2.2",
      default_max_age: 3600,
      require_auth_time: true,
      initiate_login_uri: "https://rp.example.com/login",
      id_token_signed_response_alg: "ES256",
      subject_type: "public",
      post_logout_redirect_uris: ["https://rp.example.com/bye"],
    },
  ],
];
for (const [what, input] of accepted)
  test(`accepted: ${what}`, () => assert.equal(resolve(input).name, input["client_name"]));

const refused: readonly (readonly [string, unknown, RegExp])[] = [
  ["no object", null, /one JSON object/],
  ["a list", [], /one JSON object/],
  ["no type", { client_name: "x" }, /client_type/],
  ["no name", { ...web, client_name: undefined }, /client_name is missing/],
  ["an empty name", { ...web, client_name: "" }, /client_name/],
  ["a blank name", { ...web, client_name: "  " }, /client_name/],
  ["a long name", { ...web, client_name: "x".repeat(101) }, /client_name/],
  ["a name that turns the direction", { ...web, client_name: "Bank\u202egnp.exe" }, /client_name/],
  ["a name with an invisible letter", { ...web, client_name: "Ba\u200bnk" }, /client_name/],
  ["a name with a line feed", { ...web, client_name: "a\nb" }, /client_name/],
  ["a name with NUL", { ...web, client_name: "a\0b" }, /client_name/],
  ["a name with half a surrogate pair", { ...web, client_name: "a\ud800b" }, /client_name/],
  ["an unknown field", { ...web, redirect_uri: "https://x.example" }, /"redirect_uri" is not a field/],
  [
    "a prototype",
    JSON.parse('{"client_type":"web","client_name":"x","__proto__":{"first_party":true}}'),
    /"__proto__"/,
  ],
  ["a client id of the caller's choice", { ...web, client_id: "mine" }, /Signet chooses/],
  ["a secret of the caller's choice", { ...web, client_secret: "x" }, /Signet makes/],
  ["back-channel logout", { ...web, backchannel_logout_uri: "https://127.0.0.1/bc" }, /backchannel_logout_uri: /],
  ["PAR", { ...web, require_pushed_authorization_requests: true }, /require_pushed_authorization_requests: /],
  ["a sector identifier", { ...web, sector_identifier_uri: "https://x.example" }, /sector_identifier_uri: /],
  ["pairwise subjects", { ...web, subject_type: "pairwise" }, /subject_type/],
  ["encryption", { ...web, id_token_encrypted_response_alg: "RSA-OAEP" }, /id_token_encrypted_response_alg: /],
  ["signed userinfo", { ...web, userinfo_signed_response_alg: "RS256" }, /userinfo_signed_response_alg: /],
  ["alg none", { ...web, id_token_signed_response_alg: "none" }, /id_token_signed_response_alg/],
  ["HS256", { ...web, id_token_signed_response_alg: "HS256" }, /id_token_signed_response_alg/],
  ["the password grant", { ...web, grant_types: ["authorization_code", "password"] }, /grant_types/],
  ["the implicit grant", { ...web, grant_types: ["implicit"] }, /grant_types/],
  ["another response type", { ...web, response_types: ["code id_token"] }, /response_types/],
  ["no response type", { ...web, response_types: [] }, /response_types/],
  ["a secret by HMAC", { ...web, token_endpoint_auth_method: "client_secret_jwt" }, /token_endpoint_auth_method/],
  ["a web client without authentication", { ...web, token_endpoint_auth_method: "none" }, /token_endpoint_auth_method/],
  [
    "a browser app with a secret",
    { ...spa, token_endpoint_auth_method: "client_secret_basic" },
    /token_endpoint_auth_method/,
  ],
  ["a native app with client credentials", { ...native, grant_types: ["client_credentials"] }, /grant_types/],
  ["a browser app called native", { ...spa, application_type: "native" }, /application_type/],
  ["a browser app excused from PKCE", { ...spa, pkce_optional: true }, /pkce_optional/],
  ["a native app excused from PKCE", { ...native, pkce_optional: true }, /pkce_optional/],
  ["a service with redirects", { ...service, redirect_uris: ["https://x.example/cb"] }, /redirect_uris/],
  ["a service with scopes of OpenID", { ...service, scope: "openid" }, /scope/],
  ["a service that signs people in", { ...service, grant_types: ["authorization_code"] }, /grant_types/],
  ["a service that skips consent", { ...service, first_party: true }, /first_party/],
  ["a service with origins", { ...service, web_origins: ["https://x.example"] }, /web_origins/],
  ["a service with refresh tokens", { ...service, refresh_idle: 60 }, /refresh_idle/],
  ["a resource server without API", { ...resourceServer, apis: [] }, /exactly one API/],
  [
    "a resource server with two",
    { ...resourceServer, apis: [api, { identifier: "https://b.example" }] },
    /exactly one API/,
  ],
  ["a resource server with scopes", { ...resourceServer, apis: [{ ...api, scopes: ["a"] }] }, /no scopes/],
  ["a resource server with a grant", { ...resourceServer, grant_types: ["client_credentials"] }, /grant_types/],
  ["an API twice", { ...web, apis: [api, api] }, /twice/],
  [
    "two defaults",
    {
      ...web,
      apis: [
        { ...api, default: true },
        { identifier: "https://b.example", default: true },
      ],
    },
    /only one/,
  ],
  ["an API with an unknown member", { ...web, apis: [{ ...api, scope: "x" }] }, /apis\[0\]/],
  ["a scope with a quote", { ...web, apis: [{ ...api, scopes: ['a"b'] }] }, /apis\[0\]\.scopes\[0\]/],
  ["a scope of an API among OpenID's", { ...web, scope: "openid read:things" }, /scope/],
  ["openid as optional", { ...web, optional_scopes: ["openid"] }, /optional_scopes/],
  [
    "an optional scope that is not asked for",
    { ...web, scope: "openid", optional_scopes: ["email"] },
    /optional_scopes/,
  ],
  ["a logo that is a script", { ...web, logo_uri: "JaVaScRiPt:alert(1)" }, /logo_uri/],
  ["a page on http", { ...web, client_uri: "http://rp.example.com" }, /client_uri/],
  ["a login page on http", { ...web, initiate_login_uri: "http://localhost/login" }, /initiate_login_uri/],
  ["keys on http", { ...web, jwks_uri: "http://rp.example.com/jwks" }, /jwks_uri/],
  ["keys at a private address", { ...web, jwks_uri: "https://192.168.1.1/jwks" }, /jwks_uri/],
  ["private_key_jwt without keys", { ...web, token_endpoint_auth_method: "private_key_jwt" }, /jwks/],
  ["a contact that is no address", { ...web, contacts: ["x"] }, /contacts\[0\]/],
  ["a negative age", { ...web, default_max_age: -1 }, /default_max_age/],
  ["a window of 61 seconds", { ...web, refresh_window: 61 }, /refresh_window/],
  ["a number as text", { ...web, refresh_idle: "60" }, /refresh_idle/],
  ["half a second", { ...web, refresh_idle: 1.5 }, /refresh_idle/],
  ["an origin with a path", { ...spa, web_origins: ["https://x.example/a"] }, /web_origins/],
  [
    "21 origins",
    { ...spa, web_origins: Array.from({ length: 21 }, (_, index) => `https://a${index}.example`) },
    /web_origins/,
  ],
  ["redirects that are no list", { ...web, redirect_uris: "https://rp.example.com/cb" }, /redirect_uris/],
];
for (const [what, input, reason] of refused) {
  test(`refused: ${what}`, () => assert.throws(() => resolve(input), { code: "client_invalid", message: reason }));
}

const refusedRedirects: readonly (readonly [string, unknown])[] = [
  ["no redirect URI", { ...web, redirect_uris: [] }],
  ["none at all", { client_type: "spa", client_name: "x" }],
  ["one bad among good ones", { ...web, redirect_uris: ["https://rp.example.com/cb", "https://rp.example.com/cb#x"] }],
  ["a script", { ...web, redirect_uris: ["javascript:alert(1)"] }],
  ["a bad one after signing out", { ...web, post_logout_redirect_uris: ["https://*.example.com/"] }],
  ["http in production", { ...web, redirect_uris: ["http://localhost:3000/cb"] }],
  ["a private-use scheme for a web client", { ...web, redirect_uris: ["com.example.app:/cb"] }],
];
for (const [what, input] of refusedRedirects) {
  test(`refused redirects: ${what}`, () =>
    assert.throws(() => resolve(input), { code: "client_redirect_uri_invalid" }));
}
test("21 redirect URIs are too many, 20 are not", () => {
  const uris = (count: number): string[] =>
    Array.from({ length: count }, (_, index) => `https://rp.example.com/${index}`);
  assert.equal(resolve({ ...web, redirect_uris: uris(20) }).metadata.redirect_uris.length, 20);
  assert.throws(() => resolve({ ...web, redirect_uris: uris(21) }), {
    code: "client_invalid",
    message: /redirect_uris/,
  });
});
test("what may be http in development says so", () => {
  const input = { ...web, redirect_uris: ["http://localhost:3001/cb"], client_uri: "http://localhost:3001" };
  assert.equal(resolve(input, true).name, "Web");
});

test("keys: public ones of sufficient size, and nothing but what verifies is kept", () => {
  const withKeys = (...keys: unknown[]): ResolvedClient =>
    resolve({ ...web, token_endpoint_auth_method: "private_key_jwt", jwks: { keys } });
  const good = [publicJwk("rsa"), publicJwk("ec", "P-256"), publicJwk("ec", "P-521"), publicJwk("ed25519")];
  assert.equal(withKeys(...good).metadata.jwks?.keys.length, 4);
  const [kept] =
    withKeys({ ...publicJwk("ec", "P-256"), kid: "1", use: "sig", x5c: ["AAAA"], extra: { a: 1 } }).metadata.jwks
      ?.keys ?? [];
  assert.deepEqual(Object.keys(kept ?? {}).sort(), ["crv", "kid", "kty", "use", "x", "y"]);
  const privateKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  const table: readonly (readonly [unknown, RegExp])[] = [
    [privateKey, /private/],
    [{ kty: "oct", k: "c2VjcmV0" }, /private or secret/],
    [{ kty: "oct" }, /kty/],
    [publicJwk("rsa", 1024), /1024 bits/],
    [{ ...publicJwk("rsa"), e: "AQ" }, /exponent/],
    [publicJwk("ec", "secp256k1"), /curve/],
    [{ ...publicJwk("ec", "P-256"), y: publicJwk("ec", "P-256").y }, /not a valid key/],
    [{ ...publicJwk("ec", "P-256"), use: "enc" }, /use/],
    [{ kty: "RSA", n: "x".repeat(1401), e: "AQAB" }, /n /],
    [{ kty: "RSA" }, /not a valid key/],
    ["AAAA", /jwks/],
  ];
  for (const [key, reason] of table) {
    assert.throws(() => withKeys(key), { code: "client_invalid", message: reason }, JSON.stringify(key));
  }
  assert.throws(() => withKeys(...Array.from({ length: 21 }, () => good[1])), { message: /more than 20/ });
  assert.throws(() => withKeys(), { code: "client_invalid" });
  assert.throws(() => resolve({ ...web, jwks: { keys: good }, jwks_uri: "https://rp.example.com/jwks" }), {
    code: "client_invalid",
    message: /excludes jwks_uri/,
  });
});
