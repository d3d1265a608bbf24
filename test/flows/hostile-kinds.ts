/** Hostile rows of every kind (oversized, doubled, array-shaped, NUL, broken encodings, wrong types and methods) at sign-out, userinfo and the public documents. */
import {
  bare,
  challenge,
  type Expected,
  headOf,
  json,
  notAllowed,
  type Pairs,
  page,
  type Row,
  says,
  to,
} from "./hostile.ts";
import { page405, quietSignOut } from "./hostile-authorize.ts";
import { CHALLENGE, type Ground, signedJwt } from "./hostile-ground.ts";
import { DOCUMENT, documentsOf } from "./hostile-pages.ts";
import { personOf } from "./hostile-token.ts";

const FORM = ["Content-Type", "application/x-www-form-urlencoded"] as const;
const MEGABYTE = "x".repeat(1024 * 1024);
const GONE = page(400, "error.interaction_gone.title");
const UNKNOWN_APP = page(400, "error.app_unknown.title");
const REFUSED = page(400, "error.request_refused.title", "Harbor Notes");
const [UNREADABLE, TOO_LARGE, TOO_LONG, UNSUPPORTED] = [
  page(400, "error.request_malformed.title"),
  page(413, "error.request_malformed.title"),
  page(414, "error.request_malformed.title"),
  page(415, "error.request_malformed.title"),
];
const JSON_TYPE = "application/json; charset=utf-8";
const FORMAT = "invalid authorization header value format";
const METHODS = "GET, HEAD, POST, OPTIONS";
const READING = "GET, HEAD, OPTIONS";
const NOT_FOUND = page(404, "error.page_not_found.title");
const ASKED = page(200, "logout.title");
/** A preflight says what may be sent, not what may be read; the answer to the request itself is what counts (Fetch standard, section 3.2). */
function preflight(method: string, headers: Expected["headers"]): Expected {
  const allowed = { "access-control-allow-origin": "https://evil.example", "access-control-allow-methods": method };
  return { status: 204, body: "", headers: { "content-type": null, ...allowed, ...headers } };
}
const DOCUMENT_PREFLIGHT = { "cross-origin-resource-policy": "cross-origin" };
const FAULTY = (status: number): Expected => json(status, "invalid_request");

export function logoutKindRows(g: Ground): Row[] {
  const web = g.journey.web.id;
  const home = "https://app.example/";
  const cookie: Pairs = [["Cookie", g.cookie]];
  const ask = (name: string, query: string, expect: Expected, headers: Pairs = cookie): Row => ({
    name: `/logout ${name}`,
    path: `/logout${query}`,
    headers,
    expect,
  });
  const send = (name: string, more: Partial<Row>, expect: Expected, path = "/logout"): Row => ({
    name: `${path} by POST, ${name}`,
    path,
    expect,
    ...more,
  });
  const quiet = quietSignOut(g);
  const [header = "", payload = "", signature = ""] = g.tokens.id.split(".");
  const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, unknown>;
  const foreign = signedJwt(g.keyed.key, { alg: "ES256", typ: "JWT" }, { ...claims, iss: "https://evil.example" });
  return [
    ask("with an address of 9,000 characters", `?state=${"s".repeat(9000)}`, TOO_LONG),
    ask("with a hint of 7,000 characters", `?id_token_hint=${header}.${"a".repeat(7000)}.${signature}`, GONE),
    ask("with 101 parameters", `?${"a=1&".repeat(101)}`, UNREADABLE),
    ask("with 10,000 parameters", `?${"a&".repeat(10_000)}`, bare(431)),
    ask("with a client_id twice", `?client_id=${web}&client_id=${web}`, GONE),
    ask(
      "with an address twice",
      `?client_id=${web}&post_logout_redirect_uri=${home}&post_logout_redirect_uri=${home}`,
      GONE,
    ),
    ask("with a hint twice", `?id_token_hint=${g.tokens.id}&id_token_hint=${g.tokens.id}`, GONE),
    ask("with a client_id as a list", `?client_id[]=${web}`, ASKED),
    ask("with a client_id as an object", `?client_id[$ne]=x`, ASKED),
    ask("with an address as a list", `?client_id=${web}&post_logout_redirect_uri[]=https://evil.example/`, ASKED),
    ask("with everything empty", "?client_id=&post_logout_redirect_uri=&id_token_hint=&state=", ASKED),
    ask("with separators alone", "?&&=&=&", ASKED),
    ask("with a client_id of NUL", "?client_id=%00", UNKNOWN_APP),
    ask("with an address of NUL", `?client_id=${web}&post_logout_redirect_uri=${home}%00`, REFUSED),
    ask("with an address of lines", `?client_id=${web}&post_logout_redirect_uri=${home}%0d%0aSet-Cookie:x=1`, REFUSED),
    ask("with a hint of NUL", "?id_token_hint=%00", GONE),
    ask("with a lone surrogate", "?client_id=%ED%A0%80", UNKNOWN_APP),
    ask("with half a character", "?client_id=%C3", UNKNOWN_APP),
    ask("with invalid percent-encoding", "?client_id=%zz", UNKNOWN_APP),
    ask("with a client named like a prototype", "?client_id=__proto__", UNKNOWN_APP),
    ask("with a hint of another issuer", `?id_token_hint=${foreign}`, GONE),
    ask("with another client's hint", `?id_token_hint=${g.tokens.id}&client_id=${g.keyed.id}`, GONE),
    ask("with a refresh token as its hint", `?id_token_hint=${g.tokens.refresh}`, GONE),
    ask("with a service's token as its hint", `?id_token_hint=${g.tokens.machine}`, UNKNOWN_APP),
    ask("with ui_locales of markup", `?ui_locales=%22%3E%3Cscript%3Ealert(1)%3C/script%3E`, ASKED),
    ask("with a tampered session", "", quiet, [["Cookie", `signet_session=${g.sessionId}; signet_session.sig=x`]]),
    ask("with a session of 8 KiB", "", quiet, [["Cookie", `signet_session=${"a".repeat(8192)}`]]),
    ask("with a cookie of separators", "", quiet, [["Cookie", ";;=;,"]]),
    { name: "/logout by HEAD", path: "/logout", method: "HEAD", headers: cookie, expect: headOf(200) },
    {
      name: "/logout by DELETE",
      path: "/logout",
      method: "DELETE",
      headers: cookie,
      expect: page405("GET, HEAD, POST"),
    },
    {
      name: "/logout by OPTIONS from a foreign origin",
      path: "/logout",
      method: "OPTIONS",
      headers: [
        ["Origin", "https://evil.example"],
        ["Access-Control-Request-Method", "POST"],
      ],
      expect: page405("GET, HEAD, POST"),
    },
    ...["/LOGOUT", "/logout/", "/log%6fut", "/logout;x", "/logout/Confirm", "/logout/confirm/", "/logout/success/"].map(
      (path): Row => ({ name: `the path ${path}`, path, expect: NOT_FOUND }),
    ),
    send("nothing", { method: "POST" }, UNSUPPORTED),
    send("JSON", { body: "{}", headers: [["Content-Type", "application/json"]] }, UNSUPPORTED),
    send(
      "broken multipart",
      { body: "--x\r\n", headers: [["Content-Type", "multipart/form-data; boundary=x"]] },
      UNSUPPORTED,
    ),
    send("no type", { body: "state=a" }, UNSUPPORTED),
    send("a type of nonsense", { body: "state=a", headers: [["Content-Type", ";;=/"]] }, UNSUPPORTED),
    send("something compressed", { body: "state=a", headers: [FORM, ["Content-Encoding", "gzip"]] }, UNSUPPORTED),
    send("a megabyte", { body: `state=${MEGABYTE}`, headers: [FORM] }, TOO_LARGE),
    send("a megabyte without its length", { body: `state=${MEGABYTE}`, isChunked: true, headers: [FORM] }, TOO_LARGE),
    send("101 fields", { form: Array.from({ length: 101 }, (_, n) => [`p${n}`, ""] as const) }, UNREADABLE),
    send("a field twice", { body: "state=a&state=b", headers: [FORM] }, UNREADABLE),
    send("a form that does not fit an address", { form: { state: "s".repeat(9000) } }, TOO_LARGE),
    send("invalid percent-encoding", { body: "state=%zz%C3", headers: [FORM] }, to("/logout?state=%25zz%EF%BF%BD")),
    send("NUL and a lone surrogate", { form: { state: "\0\ud800" } }, to("/logout?state=%00%EF%BF%BD")),
    ...["/logout/confirm"].flatMap((path) => [
      send("nothing", { method: "POST", headers: cookie }, GONE, path),
      send("a megabyte", { body: `xsrf=${MEGABYTE}`, headers: [...cookie, FORM] }, TOO_LARGE, path),
      send("a megabyte, chunked", { body: `xsrf=${MEGABYTE}`, isChunked: true, headers: [FORM] }, TOO_LARGE, path),
      send("a field twice", { body: "xsrf=a&xsrf=b", headers: [...cookie, FORM] }, GONE, path),
      send("a field as a list", { form: { "xsrf[]": "a" }, headers: cookie }, GONE, path),
      send("NUL", { form: { xsrf: "\0", logout: "\0" }, headers: cookie }, GONE, path),
      send("no session", { form: { xsrf: CHALLENGE, logout: "yes" } }, GONE, path),
      send("something compressed", { body: "x", headers: [FORM, ["Content-Encoding", "br"]] }, UNSUPPORTED, path),
    ]),
    { name: "/logout/success twice", path: `/logout/success?client_id=${web}&client_id=${web}`, expect: UNKNOWN_APP },
    { name: "/logout/success of NUL", path: "/logout/success?client_id=%00", expect: UNKNOWN_APP },
    { name: "/logout/success of markup", path: "/logout/success?client_id=%3Cscript%3Ealert(1)", expect: UNKNOWN_APP },
    {
      name: "/logout/success as a list",
      path: `/logout/success?client_id[]=${web}`,
      expect: page(200, "logout_done.title"),
    },
    {
      name: "/logout/success of 9,000 characters",
      path: `/logout/success?client_id=${"c".repeat(9000)}`,
      expect: TOO_LONG,
    },
  ];
}

export function userinfoKindRows(g: Ground): Row[] {
  const path = "/userinfo";
  const { access } = g.tokens;
  const bearer = ["Authorization", `Bearer ${access}`] as const;
  const row = (name: string, more: Partial<Row>, expect: Expected): Row => ({
    name: `/userinfo ${name}`,
    path,
    expect,
    ...more,
  });
  const refused = (status: number, error: string, why: string): Expected =>
    json(status, error, { "www-authenticate": challenge("Bearer", g.issuer, [error, why]) });
  const malformed = (why: string): Expected => refused(400, "invalid_request", why);
  const invalid = refused(401, "invalid_token", "invalid token provided");
  const noToken = json(401, "invalid_token", { "www-authenticate": challenge("Bearer", g.issuer) });
  const person = personOf(g);
  // An app has to learn that its token has ended, and a token that is none names no app whose origins could be asked: the refusal says nothing else.
  const readable = (expect: Expected): Expected => ({
    ...expect,
    headers: { ...expect.headers, "access-control-allow-origin": "https://evil.example" },
  });
  return [
    row(
      "with an address of 9,000 characters",
      { path: `${path}?x=${"x".repeat(9000)}`, headers: [bearer] },
      FAULTY(414),
    ),
    row("with 101 parameters", { path: `${path}?${"a=1&".repeat(101)}`, headers: [bearer] }, FAULTY(400)),
    row("with 10,000 parameters", { path: `${path}?${"a&".repeat(10_000)}`, headers: [bearer] }, bare(431)),
    row("with unknown parameters", { path: `${path}?__proto__=1&schema=openid&a[b]=c`, headers: [bearer] }, person),
    row("with invalid percent-encoding", { path: `${path}?a=%zz&b=%C3&c=%00`, headers: [bearer] }, person),
    row("with an empty token in the address", { path: `${path}?access_token=` }, noToken),
    row(
      "with two tokens in the address",
      { path: `${path}?access_token=a&access_token=b` },
      malformed("'access_token' parameter must not be provided twice"),
    ),
    row("with a token as a list in the address", { path: `${path}?access_token[]=${access}` }, noToken),
    row("with two Authorization headers", { headers: [["Authorization", "Bearer x"], bearer] }, invalid),
    row("with an empty Authorization", { headers: [["Authorization", ""]] }, noToken),
    row("with Bearer and nothing", { headers: [["Authorization", "Bearer  "]] }, malformed(FORMAT)),
    row("with letters beyond ASCII", { headers: [["Authorization", "Bearer \xe9\xff"]] }, invalid),
    row("with a token in quotes", { headers: [["Authorization", `Bearer "${access}"`]] }, invalid),
    row("with a tab", { headers: [["Authorization", `Bearer\t${access}`]] }, malformed(FORMAT)),
    row("with an empty token in a form", { form: { access_token: "" } }, noToken),
    row("with a token as a list in a form", { form: { "access_token[]": access } }, noToken),
    row("with a token of NUL", { form: { access_token: "\0" } }, invalid),
    row("with a token of a lone surrogate", { form: { access_token: "\ud800" } }, invalid),
    row("with broken encoding in a form", { body: "access_token=%zz%C3", headers: [FORM] }, invalid),
    row(
      "with 101 fields",
      { form: Array.from({ length: 101 }, (_, n) => [`p${n}`, ""] as const), headers: [bearer] },
      person,
    ),
    row("with 10,000 fields", { body: "a=&".repeat(10_000), headers: [bearer, FORM] }, person),
    row(
      "with a megabyte without its length",
      { body: `a=${MEGABYTE}`, isChunked: true, headers: [bearer, FORM] },
      FAULTY(413),
    ),
    row("with a megabyte beside the token", { body: `a=${MEGABYTE}`, headers: [bearer, FORM] }, FAULTY(413)),
    row(
      "with broken multipart",
      { body: "--x", headers: [bearer, ["Content-Type", "multipart/form-data"]] },
      FAULTY(415),
    ),
    row("with XML", { body: "<a/>", headers: [bearer, ["Content-Type", "application/xml"]] }, FAULTY(415)),
    row("with a body of no type", { body: "access_token=x", headers: [bearer] }, FAULTY(415)),
    row("with a type of nonsense", { body: "a=b", headers: [bearer, ["Content-Type", ";;=/"]] }, FAULTY(415)),
    row("with something compressed", { body: "x", headers: [bearer, FORM, ["Content-Encoding", "gzip"]] }, FAULTY(415)),
    row(
      "with a character set that nobody knows",
      {
        form: { access_token: access },
        headers: [["Content-Type", "application/x-www-form-urlencoded; charset=nonsense"]],
      },
      person,
    ),
    row("by HEAD", { method: "HEAD", headers: [bearer] }, headOf(200, JSON_TYPE)),
    row(
      "by HEAD without a token",
      { method: "HEAD" },
      headOf(401, JSON_TYPE, { "www-authenticate": challenge("Bearer", g.issuer) }),
    ),
    row("by DELETE", { method: "DELETE", headers: [bearer] }, notAllowed(METHODS)),
    row(
      "by a method override",
      { method: "PATCH", headers: [bearer, ["X-HTTP-Method-Override", "GET"]] },
      notAllowed(METHODS),
    ),
    row(
      "from the origin null",
      { headers: [bearer, ["Origin", "null"]] },
      malformed(`origin null not allowed for client: ${g.journey.web.id}`),
    ),
    row(
      "from a foreign origin with a false token",
      {
        headers: [
          ["Authorization", "Bearer x"],
          ["Origin", "https://evil.example"],
        ],
      },
      readable(invalid),
    ),
    row(
      "asked before by a foreign origin",
      {
        method: "OPTIONS",
        headers: [
          ["Origin", "https://evil.example"],
          ["Access-Control-Request-Method", "GET"],
          ["Access-Control-Request-Headers", "authorization"],
        ],
      },
      preflight("GET,POST", { "access-control-allow-headers": "authorization" }),
    ),
    ...["/USERINFO", "/userinfo/", "/user%69nfo", "/userinfo;x", "/userinfo%00", "/userinfo/.."].map((other) =>
      row(`at ${other}`, { path: other, headers: [bearer] }, NOT_FOUND),
    ),
  ];
}

export async function documentKindRows(g: Ground): Promise<Row[]> {
  return (await documentsOf(g)).flatMap(({ path, text, type }) => {
    const right = says(text, { ...DOCUMENT, "content-type": type });
    const unchanged: Expected = { status: 304, body: "", headers: { ...DOCUMENT, "content-type": null } };
    // Below /.well-known/ programs ask, elsewhere people.
    const absent = path === "/jwks" ? NOT_FOUND : FAULTY(404);
    const row = (name: string, more: Partial<Row>, expect: Expected): Row => ({
      name: `${path} ${name}`,
      path,
      expect,
      ...more,
    });
    return [
      row("with an address of 9,000 characters", { path: `${path}?x=${"x".repeat(9000)}` }, FAULTY(414)),
      row("with 101 parameters", { path: `${path}?${"a=1&".repeat(101)}` }, FAULTY(400)),
      row("with 10,000 parameters", { path: `${path}?${"a&".repeat(10_000)}` }, bare(431)),
      row("with a parameter twice", { path: `${path}?a=1&a=2` }, right),
      row("with invalid percent-encoding", { path: `${path}?a=%zz&b=%C3&c=%00&d=%ED%A0%80` }, right),
      row("with NUL in its path", { path: `${path}%00` }, absent),
      row("with a dot segment", { path: `${path}/..;/token` }, absent),
      row("with another ending", { path: `${path}.json` }, absent),
      row("with a false token", { headers: [["Authorization", "Bearer x"]] }, right),
      row("with malformed Basic", { headers: [["Authorization", "Basic %%%"]] }, right),
      row("with a malformed cookie", { headers: [["Cookie", ";;=;signet_session=%zz%"]] }, right),
      row("with a condition", { headers: [["If-None-Match", "*"]] }, unchanged),
      row("with a condition of nonsense", { headers: [["If-Modified-Since", "yesterday"]] }, right),
      row("with a range", { headers: [["Range", "bytes=0-1"]] }, right),
      row("with a body", { method: "GET", body: `a=${"x".repeat(1000)}`, headers: [FORM] }, right),
      row("with a body of 40 kB", { method: "GET", body: "x".repeat(40_000), headers: [FORM] }, FAULTY(413)),
      row("by POST with JSON", { body: "{}", headers: [["Content-Type", "application/json"]] }, notAllowed(READING)),
      row("by PUT", { method: "PUT" }, notAllowed(READING)),
      row("by DELETE", { method: "DELETE" }, notAllowed(READING)),
      row(
        "by a method override",
        { method: "PATCH", headers: [["X-HTTP-Method-Override", "GET"]] },
        notAllowed(READING),
      ),
      row(
        "asked before by a foreign origin",
        {
          method: "OPTIONS",
          headers: [
            ["Origin", "https://evil.example"],
            ["Access-Control-Request-Method", "GET"],
          ],
        },
        preflight("GET", DOCUMENT_PREFLIGHT),
      ),
      row(
        "asked before with credentials",
        {
          method: "OPTIONS",
          headers: [
            ["Origin", "https://evil.example"],
            ["Access-Control-Request-Method", "PUT"],
            ["Access-Control-Request-Headers", "authorization"],
          ],
        },
        preflight("GET", { ...DOCUMENT_PREFLIGHT, "access-control-allow-headers": "authorization" }),
      ),
    ];
  });
}
