/** Hostile rows at the authorization endpoint and at sign-out: what a browser can be made to send. */
import { bare, csp, type Expected, json, type Pairs, page, type Row, SCRIPT, to } from "./hostile.ts";
import { CHALLENGE, confusedJwt, type Ground, signedJwt, unsignedJwt } from "./hostile-ground.ts";
import { API, CALLBACK } from "./journey.ts";

const WEB = "Harbor Notes";
/** The redirect URI was checked, so the answers of this sign-in may post to it. */
const AT_WEB = { "content-security-policy": csp("https://app.example") };
const STARTED: Expected = { ...to(/^\/interaction\/[\w-]{21,64}$/), headers: AT_WEB };
const UNKNOWN_APP = page(400, "error.app_unknown.title");
const UNKNOWN_PLACE = page(400, "error.redirect_uri_unknown.title", WEB);
const REFUSED = page(400, "error.request_refused.title", WEB);
const UNREADABLE = page(400, "error.request_malformed.title");

type Changes = Readonly<Record<string, string | readonly string[] | undefined>>;

/** The right request of the web app with changes: undefined leaves a parameter out, a list sends it several times. */
function authorize(g: Ground, changes: Changes = {}): string {
  return `/authorize?${encode(requestOf(g, changes))}`;
}

function requestOf(g: Ground, changes: Changes): Pairs {
  const right: Changes = {
    response_type: "code",
    client_id: g.journey.web.id,
    redirect_uri: CALLBACK,
    scope: "openid",
    state: "s1",
    code_challenge: CHALLENGE,
    code_challenge_method: "S256",
    ...changes,
  };
  return Object.entries(right).flatMap(([name, value]) =>
    value === undefined ? [] : (typeof value === "string" ? [value] : value).map((each) => [name, each] as const),
  );
}

function encode(pairs: Pairs): string {
  return new URLSearchParams(pairs.map(([name, value]): [string, string] => [name, value])).toString();
}

/** The error reaches the app. */
function back(g: Ground, error: string, state: string | null = "s1"): Expected {
  return { status: 303, back: { error, ...(state === null ? {} : { state }), uri: CALLBACK, iss: g.issuer } };
}

function backScope(g: Ground, scope: string): Expected {
  return { status: 303, back: { error: "invalid_scope", state: "s1", scope, uri: CALLBACK, iss: g.issuer } };
}

export function authorizeRows(g: Ground): Row[] {
  const rows: Row[] = [];
  const add = (name: string, changes: Changes, expect: Expected): void => {
    rows.push({ name, path: authorize(g, changes), expect });
  };
  add("the right request", {}, STARTED);
  // RFC 6749 section 4.1.2.1: without a known client and its registered address nothing is redirected.
  add("no client_id", { client_id: undefined }, UNKNOWN_REQUEST);
  add("an empty client_id", { client_id: "" }, UNKNOWN_REQUEST);
  add("an unknown client_id", { client_id: "cl_unknown" }, UNKNOWN_APP);
  add("a client_id that stands twice", { client_id: [g.journey.web.id, g.journey.web.id] }, UNKNOWN_REQUEST);
  add("a disabled client", { client_id: g.disabled.id }, UNKNOWN_APP);
  add("a client_id of statements", { client_id: "' or 1=1 --" }, UNKNOWN_APP);
  add("a client_id with NUL", { client_id: "cl_\0" }, UNKNOWN_APP);
  add("a client_id of markup", { client_id: SCRIPT }, UNKNOWN_APP);
  add("a client_id of look-alike letters", { client_id: g.journey.web.id.replace("c", "с") }, UNKNOWN_APP);
  add("a client_id in capitals", { client_id: g.journey.web.id.toUpperCase() }, UNKNOWN_APP);
  add("a client_id named like a prototype", { client_id: "__proto__" }, UNKNOWN_APP);
  add("a client_id of 4,000 characters", { client_id: "c".repeat(4000) }, UNKNOWN_APP);
  add("no redirect_uri", { redirect_uri: undefined }, REFUSED);
  add("an empty redirect_uri", { redirect_uri: "" }, REFUSED);
  add("a redirect_uri that stands twice", { redirect_uri: [CALLBACK, CALLBACK] }, REFUSED);
  add("a redirect_uri of another client", { redirect_uri: "https://other.example/cb" }, UNKNOWN_PLACE);
  // RFC 6749 section 4.1.2.1: everything else goes back to the app.
  add("no response_type", { response_type: undefined }, back(g, "invalid_request"));
  for (const type of ["token", "id_token", "code id_token", "none", "CODE", SCRIPT])
    add(`response_type ${type}`, { response_type: type }, typeOf(g, type));
  add("response_type twice", { response_type: ["code", "code"] }, back(g, "invalid_request"));
  add("a state that stands twice", { state: ["s1", "s2"] }, back(g, "invalid_request", null));
  add("no state", { state: undefined }, STARTED);
  add("a state of 2,048 characters", { state: "s".repeat(2048) }, STARTED);
  add("a state of 2,049 characters", { state: "s".repeat(2049) }, UNREADABLE);
  add("a state of markup", { state: SCRIPT, prompt: "none" }, back(g, "login_required", SCRIPT));
  add(
    "a state of lines",
    { state: "a\r\nSet-Cookie: x=1", prompt: "none" },
    back(g, "login_required", "a\r\nSet-Cookie: x=1"),
  );
  add("a state with NUL", { state: "\0", prompt: "none" }, back(g, "login_required", "\0"));
  add("a state in many scripts", { state: "ключ 鍵 🔑", prompt: "none" }, back(g, "login_required", "ключ 鍵 🔑"));
  add("an invalid scope", { scope: 'openid "' }, back(g, "invalid_scope"));
  add("a scope with NUL", { scope: "openid \0" }, back(g, "invalid_scope"));
  add("a scope of markup", { scope: `openid ${SCRIPT}` }, back(g, "invalid_scope"));
  add("a scope of 2,000 words", { scope: "openid a ".repeat(700).trim() }, STARTED);
  add("a scope that nobody knows", { scope: "openid nothing:known" }, STARTED);
  add("a scope that nobody knows, without openid", { scope: "nothing:known" }, backScope(g, "nothing:known"));
  add("a scope that nobody knows beside one of an API", { scope: "openid read:things x" }, backScope(g, "x"));
  add("a scope of an API that was not granted", { scope: "openid write:things" }, backScope(g, "write:things"));
  add("a scope of the administration", { scope: "openid users:write" }, backScope(g, "users:write"));
  add("a scope that stands twice", { scope: ["openid", "email"] }, back(g, "invalid_request"));
  add("no scope", { scope: undefined }, STARTED);
  add("an empty scope", { scope: "" }, STARTED);
  add("a scope as a list", { scope: undefined, "scope[]": ["openid", "email"] }, STARTED);
  add("a redirect_uri as a list", { redirect_uri: undefined, "redirect_uri[]": CALLBACK }, REFUSED);
  add("unknown parameters", { __proto__: "x", constructor: "y", toString: "z", "a[b]": "c" }, STARTED);
  add("prompt none with another", { prompt: "none login" }, back(g, "invalid_request"));
  add("an unknown prompt", { prompt: "everything" }, back(g, "invalid_request"));
  add("a prompt of inherited names", { prompt: "constructor" }, back(g, "invalid_request"));
  add("prompt none without a session", { prompt: "none" }, back(g, "login_required"));
  for (const age of ["-1", "1.5", "many", "9".repeat(40)])
    add(`max_age ${age}`, { max_age: age }, back(g, "invalid_request"));
  // The library reads the number as JavaScript does; it is one all the same.
  add("max_age in another notation", { max_age: "1e3" }, STARTED);
  add("request", { request: "e30.e30." }, back(g, "request_not_supported"));
  add("request_uri", { request_uri: "https://evil.example/r" }, back(g, "request_uri_not_supported"));
  add("registration", { registration: "{}" }, back(g, "registration_not_supported"));
  add("an unknown response_mode", { response_mode: "carrier_pigeon" }, back(g, "unsupported_response_mode"));
  add("response_mode web_message", { response_mode: "web_message" }, back(g, "unsupported_response_mode"));
  add("response_mode of inherited names", { response_mode: "constructor" }, back(g, "unsupported_response_mode"));
  add("an API that is not the client's", { resource: "https://evil.example/" }, back(g, "invalid_target"));
  add("a resource that is no address", { resource: "things" }, back(g, "invalid_target"));
  add("a resource with a fragment", { resource: `${API}#x` }, back(g, "invalid_target"));
  add(
    "twenty resources",
    { resource: Array.from({ length: 20 }, (_, n) => `https://evil.example/${n}`) },
    back(g, "invalid_target"),
  );
  for (const [what, hint] of hints(g))
    add(`id_token_hint ${what}`, { id_token_hint: hint }, back(g, "invalid_request"));
  add("a login_hint of markup", { login_hint: SCRIPT }, STARTED);
  add("a login_hint of 4,000 characters", { login_hint: "a".repeat(4000) }, STARTED);
  add("ui_locales of markup", { ui_locales: SCRIPT }, STARTED);
  add("10,000 parameters", { state: undefined, p: Array.from({ length: 10_000 }, () => "") }, bare(431));
  add("101 parameters", { p: Array.from({ length: 94 + 1 }, () => "1") }, UNREADABLE);
  add("an address of 9,000 characters", { nonce: "n".repeat(8500) }, page(414, "error.request_malformed.title"));
  rows.push(...encodings(g), ...cookieRows(g), ...postRows(g));
  return rows;
}

const UNKNOWN_REQUEST = page(400, "error.interaction_gone.title");

/** Types that would give a token by the address answer in the fragment (OAuth 2.0 Multiple Response Types section 5). */
function typeOf(g: Ground, type: string): Expected {
  if (!/token/.test(type)) return back(g, "unsupported_response_type");
  const why = "error_description=unsupported+response_type+requested";
  const iss = encodeURIComponent(g.issuer);
  return to(`${CALLBACK}#error=unsupported_response_type&${why}&state=s1&iss=${iss}`);
}

function encodings(g: Ground): Row[] {
  const base = authorize(g, { state: undefined });
  const rows: Row[] = [
    ["%zz", "&state=%zz", back(g, "login_required", "%zz")],
    ["half an escape", "&state=%", back(g, "login_required", "%")],
    ["half a UTF-8 sequence", "&state=%C3", back(g, "login_required", "\ufffd")],
    ["an encoded surrogate", "&state=%ED%A0%80", back(g, "login_required", "\ufffd\ufffd\ufffd")],
    ["an overlong slash", "&state=%C0%AF", back(g, "login_required", "\ufffd\ufffd")],
    ["only separators", "&&&=&=&state=a", back(g, "login_required", "a")],
  ].map(([name, more, expect]) => ({
    name: `a state of ${name}`,
    path: `${base}&prompt=none${more}`,
    expect: expect as Expected,
  }));
  for (const path of [
    "/AUTHORIZE",
    "/%61uthorize",
    "/authorize/",
    "/authorize%2f",
    "/./authorize",
    "/authorize;x=1",
    "/authorize/a/b",
    "/authorize/..%2ftoken",
  ])
    rows.push({
      name: `the path ${path}`,
      path: authorize(g).replace("/authorize", path),
      expect: page(404, "error.page_not_found.title"),
    });
  for (const path of ["//authorize", "//evil.example/authorize", "/\\evil.example/authorize", "/\\/evil.example"])
    rows.push({ name: `the path ${path}`, path: authorize(g).replace("/authorize", path), expect: UNREADABLE });
  rows.push({
    name: "the resume of a sign-in that never was",
    path: "/authorize/aaaaaaaaaaaaaaaaaaaaa",
    expect: page(400, "error.interaction_gone.title"),
  });
  rows.push({
    name: "the resume of a script",
    path: "/authorize/%3Cscript%3Ealert(1)",
    expect: page(404, "error.page_not_found.title"),
  });
  return rows;
}

/** No cookie of ours that was tampered with is a session, and none is a fault (T-SESS-10). */
function cookieRows(g: Ground): Row[] {
  const path = authorize(g, { prompt: "none", scope: "openid profile email" });
  const value = g.sessionId;
  const signature = /signet_session\.sig=([^;]*)/.exec(g.cookie)?.[1] ?? "";
  const none = back(g, "login_required");
  const iss = encodeURIComponent(g.issuer).replaceAll(".", "\\.");
  const signedIn: Expected = {
    ...to(new RegExp(`^https://app\\.example/callback\\?code=[\\w-]{43}&state=s1&iss=${iss}$`)),
    headers: AT_WEB,
  };
  const rows: [string, string, Expected][] = [
    ["as it was given", g.cookie, signedIn],
    ["without its signature", `signet_session=${value}`, none],
    [
      "with the signature of another value",
      `signet_session=${value.slice(0, -1)}_; signet_session.sig=${signature}`,
      none,
    ],
    ["signed with another key", `signet_session=${value}; signet_session.sig=${"A".repeat(signature.length)}`, none],
    ["with an empty signature", `signet_session=${value}; signet_session.sig=`, none],
    ["twice, the false one first", `signet_session=false; ${g.cookie}`, none],
    ["twice, the right one first", `${g.cookie}; signet_session=false`, signedIn],
    ["of 8 KiB", `signet_session=${"a".repeat(8192)}; signet_session.sig=${signature}`, none],
    ["of markup", `signet_session=${SCRIPT}; signet_session.sig=${signature}`, none],
    ["without an equals sign", "signet_session", none],
    ["of separators", ";;;=;=,;", none],
    ["of a pattern's parts", "signet_session=((((((((((((((; signet_session.sig=.*+?^$", none],
    ["of broken escapes", `signet_session=%zz%; signet_session.sig=%`, none],
    ["of an interaction", `signet_interaction=${value}; signet_interaction.sig=${signature}`, none],
  ];
  return rows.map(([name, cookie, expect]) => ({
    name: `a session cookie ${name}`,
    path,
    headers: [["Cookie", cookie]],
    expect,
  }));
}

/** OpenID Connect Core section 3.1.2.1: POST is the same request; it goes on by GET, so that the cookies of this browser count. */
function postRows(g: Ground): Row[] {
  const form = requestOf(g, {});
  const path = "/authorize";
  const broken = "--x\r\nContent-Disposition: form-data; name=client_id\r\n\r\nabc";
  const type = (value: string): Pairs => [["Content-Type", value]];
  return [
    { name: "the right request as a form", path, form, expect: to(authorize(g)) },
    { name: "no form at all", path, method: "POST", expect: page(415, "error.request_malformed.title") },
    { name: "an empty form", path, form: [], expect: to("/authorize?") },
    {
      name: "JSON",
      path,
      body: "{}",
      headers: type("application/json"),
      expect: page(415, "error.request_malformed.title"),
    },
    {
      name: "a broken multipart body",
      path,
      body: broken,
      headers: type("multipart/form-data; boundary=x"),
      expect: page(415, "error.request_malformed.title"),
    },
    {
      name: "a multipart body without a boundary",
      path,
      body: broken,
      headers: type("multipart/form-data"),
      expect: page(415, "error.request_malformed.title"),
    },
    { name: "a client_id twice in a form", path, form: [...form, ["client_id", g.other.id]], expect: UNREADABLE },
    {
      name: "101 fields",
      path,
      form: Array.from({ length: 101 }, (_, n) => [`p${n}`, ""] as const),
      expect: UNREADABLE,
    },
    {
      name: "a form of a megabyte",
      path,
      body: `state=${"s".repeat(1024 * 1024)}`,
      headers: type("application/x-www-form-urlencoded"),
      expect: page(413, "error.request_malformed.title"),
    },
    {
      name: "a form that does not fit an address",
      path,
      form: [...form, ["nonce", "n".repeat(9000)]],
      expect: page(413, "error.request_malformed.title"),
    },
    {
      name: "a compressed form",
      path,
      body: "x",
      headers: [...type("application/x-www-form-urlencoded"), ["Content-Encoding", "gzip"]],
      expect: page(415, "error.request_malformed.title"),
    },
    { name: "PUT", path, method: "PUT", expect: page405("GET, HEAD, POST") },
    { name: "DELETE", path, method: "DELETE", expect: page405("GET, HEAD, POST") },
    {
      name: "OPTIONS from a foreign origin",
      path,
      method: "OPTIONS",
      headers: [
        ["Origin", "https://evil.example"],
        ["Access-Control-Request-Method", "GET"],
      ],
      expect: page405("GET, HEAD, POST", { "access-control-allow-origin": null }),
    },
    { name: "HEAD", path: authorize(g), method: "HEAD", expect: STARTED },
    {
      name: "a foreign origin",
      path: authorize(g),
      headers: [["Origin", "https://evil.example"]],
      expect: { ...STARTED, headers: { ...AT_WEB, "access-control-allow-origin": null } },
    },
    {
      name: "a caller that wants JSON",
      path: authorize(g, { client_id: "cl_unknown" }),
      headers: [["Accept", "application/json"]],
      expect: json(400, "invalid_client"),
    },
  ];
}

export function page405(allow: string, headers: Expected["headers"] = {}): Expected {
  const refused = page(405, "error.method_not_allowed.title");
  return { ...refused, headers: { ...refused.headers, allow, ...headers } };
}

/** What is no ID token of ours for this client (T-JWT-1 to T-JWT-8 at the hint; an expired one of ours is taken, OpenID Connect Core section 3.1.2.1). */
function hints(g: Ground): [string, string][] {
  const [header = "", payload = "", signature = ""] = g.tokens.id.split(".");
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, unknown>;
  const kid = (JSON.parse(Buffer.from(header, "base64url").toString()) as { kid: string }).kid;
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return [
    ["that is garbage", "garbage"],
    ["of dots", "..."],
    ["of markup", SCRIPT],
    ["without an algorithm", unsignedJwt({ alg: "none" }, claims)],
    ["signed with the client's key", signedJwt(g.keyed.key, { alg: "ES256" }, claims)],
    ["signed with our public key as a secret", confusedJwt("-----BEGIN PUBLIC KEY-----", claims)],
    ["with an unknown kid", `${part({ alg: "RS256", kid: "../../dev/null" })}.${payload}.${signature}`],
    [
      "with a key in its header",
      signedJwt(g.keyed.key, { alg: "ES256", jwk: g.keyed.key.export({ format: "jwk" }), kid }, claims),
    ],
    ["without its signature", `${header}.${payload}.`],
    ["with changed claims", `${header}.${part({ ...claims, sub: "somebody" })}.${signature}`],
    [
      "10,000 levels deep",
      `${header}.${Buffer.from("[".repeat(2500) + "]".repeat(2500)).toString("base64url")}.${signature}`,
    ],
    ["that is an access token for an API", g.tokens.api],
    ["that is an opaque access token", g.tokens.access],
  ];
}

/** OpenID Connect RP-Initiated Logout 1.0. */
export function logoutRows(g: Ground): Row[] {
  const rows: Row[] = [];
  const add = (name: string, query: Pairs, expect: Expected, headers: Pairs = []): void => {
    rows.push({ name, path: `/logout?${encode(query)}`, headers, expect });
  };
  const quiet = quietSignOut(g);
  const asked = { ...page(200, "logout.title") };
  const signedIn: Pairs = [["Cookie", g.cookie]];
  const evil = "https://evil.example/";
  add("nobody signed in", [], quiet);
  add("a session", [], asked, signedIn);
  add("an unregistered address without a client", [["post_logout_redirect_uri", evil]], asked, signedIn);
  for (const uri of [
    evil,
    "https://app.example/x",
    "https://app.example",
    "https://app.example/?a",
    "//app.example/",
    "javascript:alert(1)",
    "/",
    SCRIPT,
  ])
    add(
      `the unregistered address ${uri}`,
      [
        ["client_id", g.journey.web.id],
        ["post_logout_redirect_uri", uri],
      ],
      REFUSED,
      signedIn,
    );
  add("an unknown client", [["client_id", "cl_unknown"]], UNKNOWN_APP, signedIn);
  add("a disabled client", [["client_id", g.disabled.id]], UNKNOWN_APP, signedIn);
  add(
    "a client that is not the hint's",
    [
      ["client_id", g.other.id],
      ["id_token_hint", g.tokens.id],
    ],
    page(400, "error.interaction_gone.title"),
    signedIn,
  );
  add(
    "a state that stands twice",
    [
      ["state", "a"],
      ["state", "b"],
    ],
    page(400, "error.interaction_gone.title"),
    signedIn,
  );
  add("a state of markup", [["state", SCRIPT]], asked, signedIn);
  for (const [what, hint] of hints(g))
    add(`id_token_hint ${what}`, [["id_token_hint", hint]], hintAtLogout(what), signedIn);
  add("a hint for nobody", [["id_token_hint", unsignedJwt({ alg: "none" }, { aud: null })]], UNKNOWN_APP, signedIn);
  add(
    "a hint for a list",
    [["id_token_hint", unsignedJwt({ alg: "none" }, { aud: [g.journey.web.id] })]],
    UNKNOWN_APP,
    signedIn,
  );
  rows.push(
    { name: "a form that signs out", path: "/logout", form: [["state", "a b"]], expect: to("/logout?state=a+b") },
    { name: "PUT", path: "/logout", method: "PUT", expect: page405("GET, HEAD, POST") },
    {
      name: "the confirmation without a token",
      path: "/logout/confirm",
      form: [["logout", "yes"]],
      headers: signedIn,
      expect: page(400, "error.interaction_gone.title"),
    },
    {
      name: "the confirmation with a foreign token",
      path: "/logout/confirm",
      form: [
        ["logout", "yes"],
        ["xsrf", "f".repeat(48)],
      ],
      headers: signedIn,
      expect: page(400, "error.interaction_gone.title"),
    },
    { name: "the confirmation by GET", path: "/logout/confirm", expect: page405("POST") },
    {
      name: "the confirmation as JSON",
      path: "/logout/confirm",
      body: "{}",
      headers: [["Content-Type", "application/json"]],
      expect: page(415, "error.request_malformed.title"),
    },
    { name: "the end for an unknown client", path: "/logout/success?client_id=x", expect: UNKNOWN_APP },
    { name: "the end", path: "/logout/success", expect: page(200, "logout_done.title") },
    { name: "the end by POST", path: "/logout/success", method: "POST", expect: page405("GET, HEAD") },
  );
  return rows;
}

/** The library's page that confirms by itself: nobody is there who could be asked. */
export function quietSignOut(g: Ground): Expected {
  return {
    status: 200,
    headers: {
      "content-type": "text/html; charset=utf-8",
      // The library puts the policy together anew, with the one script of its page.
      "content-security-policy": csp(undefined, SUBMITTING_SCRIPT).replaceAll("; ", ";"),
    },
    body: submittingPage(`${g.issuer}/logout/confirm`),
  };
}

const SUBMITTING_SCRIPT = "sha256-RdUNylKSz5sOn0fkU1eqAq2AfjeUgGQlHsNg7gbsfrU=";

/** To the letter, but for the random token. */
function submittingPage(action: string): RegExp {
  const exactly = (text: string): string => text.replace(/[.*+?^${}()[\]\\/]/g, "\\$&");
  const [before, after] = [
    `<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge">
  <title>Submitting Callback</title>
  <script>
    document.addEventListener('DOMContentLoaded', function () { document.forms[0].submit() });
  </script>
</head>
<body>
  <form method="post" action="${action}">
    <input type="hidden" name="xsrf" value="`,
    `"/>
<input type="hidden" name="logout" value="yes"/>
    <noscript>
      Your browser does not support JavaScript or you've disabled it.<br/>
      <button autofocus type="submit">Continue</button>
    </noscript>
  </form>
</body>
</html>`,
  ];
  return new RegExp(`^${exactly(before)}[0-9a-f]{48}${exactly(after)}$`);
}

function hintAtLogout(what: string): Expected {
  return what === "that is an access token for an API" ? UNKNOWN_APP : page(400, "error.interaction_gone.title");
}

/** RFC 6749 section 3.1.2.3 and RFC 9700 section 2.1: the registered string and nothing that looks like it. */
export function redirectRows(g: Ground): Row[] {
  const at = (redirect: string, mode?: string): string => authorize(g, { redirect_uri: redirect, response_mode: mode });
  const rows: Row[] = WEB_VARIANTS.flatMap((uri) => [
    { name: `web: ${JSON.stringify(uri)}`, path: at(uri), expect: UNKNOWN_PLACE },
    { name: `web, form_post: ${JSON.stringify(uri)}`, path: at(uri, "form_post"), expect: UNKNOWN_PLACE },
  ]);
  const native = (uri: string): string =>
    authorize(g, { client_id: g.desktop.id, redirect_uri: uri, scope: "openid", prompt: "none" });
  for (const uri of NATIVE_RIGHT)
    rows.push({
      name: `native, taken: ${uri}`,
      path: native(uri),
      expect: { status: 303, back: { error: "login_required", state: "s1", uri, iss: g.issuer } },
    });
  for (const uri of NATIVE_WRONG)
    rows.push({
      name: `native: ${uri}`,
      path: native(uri),
      expect: page(400, "error.redirect_uri_unknown.title", "Harbor Desk"),
    });
  return rows;
}

const WEB_VARIANTS = [
  ...[
    "https://app.example/callback/",
    "https://app.example/Callback",
    "https://APP.example/callback",
    "HTTPS://app.example/callback",
  ],
  ...["http://app.example/callback", "https://app.example:443/callback", "https://app.example:8443/callback"],
  ...[
    "https://app.example/callback?x=1",
    "https://app.example/callback?",
    "https://app.example/callback#x",
    "https://app.example/callback#",
  ],
  ...[
    "https://app.example/x/../callback",
    "https://app.example/callback/..;/evil",
    "https://app.example/callback/%2f..%2f",
    "https://app.example/%63allback",
  ],
  ...[
    "https://app.example.evil.example/callback",
    "https://evil.example@app.example/callback",
    "https://app.example@evil.example/callback",
    "https://app.example@@evil.example/callback",
  ],
  ...[
    "https://app.example\\@evil.example/callback",
    "https://evil.example\\app.example/callback",
    "https://app.example/callback\0",
    "https://app.example/callback ",
  ],
  ...[
    " https://app.example/callback",
    "https://app.example/callback\n",
    "\thttps://app.example/callback",
    "https://app.ex\tample/callback",
  ],
  ...[
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "//app.example/callback",
    "/callback",
    "callback",
  ],
  ...[
    "https://*.example/callback",
    "https://xn--app-example.example/callback",
    "https://app。example/callback",
    "https://аpp.example/callback",
  ],
  ...[
    "https://app.example./callback",
    "https:app.example/callback",
    "https:///app.example/callback",
    "https:/app.example/callback",
    "https://app.example//callback",
  ],
];
/** RFC 8252 section 7.3: any port on the loopback addresses; section 7.1: the scheme as it was registered. */
const NATIVE_RIGHT = [
  "http://127.0.0.1/cb",
  "http://127.0.0.1:1/cb",
  "http://127.0.0.1:65535/cb",
  "http://[::1]/cb",
  "http://[::1]:5000/cb",
  "com.example.desk:/cb",
];
const NATIVE_WRONG = [
  ...[
    "http://127.0.0.1:80/cb/",
    "http://127.0.0.1/CB",
    "http://127.0.0.1/cb?x=1",
    "http://127.0.0.1:99999/cb",
    "http://127.0.0.1:-1/cb",
  ],
  ...[
    "http://127.0.0.2/cb",
    "http://127.1/cb",
    "http://0x7f000001/cb",
    "http://2130706433/cb",
    "http://0.0.0.0/cb",
    "http://localhost/cb",
    "http://localhost:5000/cb",
  ],
  ...[
    "http://user@127.0.0.1/cb",
    "http://127.0.0.1@evil.example/cb",
    "https://127.0.0.1/cb",
    "http://[::1%25lo]/cb",
    "http://[::ffff:127.0.0.1]/cb",
    "http://[0:0:0:0:0:0:0:1]/cb",
  ],
  ...[
    "com.example.desk://cb",
    "COM.example.desk:/cb",
    "com.example.desk:/cb/",
    "com.example.desk:cb",
    "com.example.evil:/cb",
    "http://127.0.0.1.evil.example/cb",
  ],
];

/** RFC 7636 and RFC 9700 section 2.1.1: S256 and nothing less. */
export function pkceRows(g: Ground): Row[] {
  const refused = back(g, "invalid_request");
  const rows: [string, Changes, Expected][] = [
    ["no challenge", { code_challenge: undefined, code_challenge_method: undefined }, refused],
    ["plain", { code_challenge_method: "plain" }, refused],
    ["no method", { code_challenge_method: undefined }, refused],
    ["an empty method", { code_challenge_method: "" }, refused],
    ["a method in small letters", { code_challenge_method: "s256" }, refused],
    ["another method", { code_challenge_method: "S512" }, refused],
    ["a method without a challenge", { code_challenge: undefined }, refused],
    ["an empty challenge", { code_challenge: "" }, refused],
    ["42 characters", { code_challenge: "a".repeat(42) }, refused],
    ["44 characters", { code_challenge: "a".repeat(44) }, STARTED],
    ["129 characters", { code_challenge: "a".repeat(129) }, refused],
    ["other letters", { code_challenge: `${"a".repeat(42)}=` }, refused],
    ["a challenge that stands twice", { code_challenge: [CHALLENGE, CHALLENGE] }, refused],
    ["a method that stands twice", { code_challenge_method: ["S256", "S256"] }, refused],
  ];
  const spa = { client_id: g.journey.spa.id, redirect_uri: "https://spa.example/cb" };
  const atSpa: Expected = {
    status: 303,
    back: { error: "invalid_request", state: "s1", uri: spa.redirect_uri, iss: g.issuer },
  };
  return [
    ...rows.map(([name, changes, expect]) => ({ name, path: authorize(g, changes), expect })),
    {
      name: "a public client without a challenge",
      path: authorize(g, { ...spa, code_challenge: undefined, code_challenge_method: undefined }),
      expect: atSpa,
    },
  ];
}
