/** Hostile rows at the pages where people sign up, recover, and look after their account: doors, links, forms. */
import { type Expected, headOf, type Pairs, page, type Row, SCRIPT, to } from "./hostile.ts";
import { page405 } from "./hostile-authorize.ts";
import type { Ground } from "./hostile-ground.ts";

const FORM = ["Content-Type", "application/x-www-form-urlencoded"] as const;
const GONE = page(400, "error.interaction_gone.title");
const FOREIGN = page(403, "error.form_foreign.title");
const LINK_GONE = page(404, "error.link_gone.title");
const NOT_FOUND = page(404, "error.page_not_found.title");
const UNREADABLE = page(400, "error.request_malformed.title");
const UNSUPPORTED = page(415, "error.request_malformed.title");
const TOO_LARGE = page(413, "error.request_malformed.title");
const MEGABYTE = "x".repeat(1024 * 1024);
const FALSE_TOKEN = "1999999999.aaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/** What a browser holds that has opened a form of somebody who is not signed in. */
const OPEN_FORM = ["Cookie", `signet_form=${"f".repeat(22)}`] as const;
const EVIL = ["//evil.example", "/\\evil.example", "https://evil.example/", "__proto__", SCRIPT, "a\r\nb", "\0"];

export function peopleRows(g: Ground): Row[] {
  return [...doorRows(g), ...methodRows(), ...accountForms(g), ...openForms(), ...linkRows(), ...stepRows()];
}

/** Where the account's own sign-in begins; the challenge is random, the rest is ours to the letter. */
function signInAt({ issuer }: Ground, more: string): Expected {
  const back = encodeURIComponent(`${issuer}/account/return`).replaceAll(".", "\\.");
  const challenge = "code_challenge=[\\w-]{43}&code_challenge_method=S256";
  return to(
    new RegExp(
      `^/authorize\\?client_id=signet-account&redirect_uri=${back}&response_type=code&scope=openid&${challenge}&${more}$`,
    ),
  );
}

/** Pages that want somebody: the way to sign in, and never anywhere else (T-REDIR-1). */
function doorRows(g: Ground): Row[] {
  const get = (path: string, expect: Expected, headers: Pairs = []): Row => ({ name: path, path, expect, headers });
  const wanting = ["activity", "profile", "password", "email", "delete", "data"];
  const posting: readonly (readonly [string, string])[] = [
    ["profile", "profile"],
    ["password", "password"],
    ["email", "email"],
    ["delete", "delete"],
    ["language", "home"],
    ["sessions/end", "home"],
    ["sessions/end-all", "home"],
    ["apps/revoke", "home"],
  ];
  return [
    ...wanting.map((name) => get(`/account/${name}`, to(`/account/sign-in?to=${name}`))),
    ...wanting.map((name) =>
      get(`/account/${name}?to=//evil.example&next=//evil.example`, to(`/account/sign-in?to=${name}`), [
        ["Cookie", `signet_session=${g.sessionId}; signet_session.sig=x`],
      ]),
    ),
    ...posting.map(
      ([name, word]): Row => ({
        name: `a form to /account/${name} with nobody signed in`,
        path: `/account/${name}`,
        form: { csrf: FALSE_TOKEN },
        expect: to(`/account/sign-in?to=${word}`),
      }),
    ),
    get("/admin", to("/admin/sign-in?to=%2Fadmin")),
    get("/admin/clients", to("/admin/sign-in?to=%2Fadmin%2Fclients")),
    get("/admin/nothing", to("/admin/sign-in?to=%2Fadmin%2Fnothing")),
    get("/account/sign-in", signInAt(g, "state=home")),
    get("/account/sign-in?to=profile", signInAt(g, "state=profile")),
    get("/account/sign-in?to=profile&to=email", signInAt(g, "state=home")),
    get("/account/sign-in?again=yes", signInAt(g, "state=home")),
    get("/account/return", to("/account")),
    get("/account/return?state=profile&code=x&iss=https://evil.example", to("/account/profile")),
    get("/account/return?state=profile&state=email", to("/account")),
    ...EVIL.map((word) => get(`/account/sign-in?to=${encodeURIComponent(word)}`, signInAt(g, "state=home"))),
    ...EVIL.map((word) => get(`/account/return?state=${encodeURIComponent(word)}`, to("/account"))),
    get("/signup", signInAt(g, "prompt=create&state=home")),
    get("/signup?invitation=a&invitation=b", signInAt(g, "prompt=create&state=home")),
    get("/signup?next=//evil.example&client_id=x", signInAt(g, "prompt=create&state=home")),
    ...["", "x", SCRIPT, "\0", "i".repeat(3000)].map((token) =>
      get(`/signup?invitation=${encodeURIComponent(token)}`, LINK_GONE),
    ),
    get("/mailbox", page(200, "mailbox.title")),
    get(`/mailbox?x=${encodeURIComponent(SCRIPT)}`, page(200, "mailbox.title")),
    get("/recover", page(200, "recover.title")),
    ...EVIL.map((word) => get(`/recover?from=${encodeURIComponent(word)}`, page(200, "recover.title"))),
    get("/recover?from=a&from=b", page(200, "recover.title")),
    get("/recover/sent", page(200, "recover_sent.title")),
    get("/recover", page(200, "recover.title"), [["Cookie", `signet_form=${SCRIPT}`]]),
    get("/signup/check", LINK_GONE),
    ...["x", SCRIPT, "s".repeat(4000)].map((value) =>
      get("/signup/check", LINK_GONE, [["Cookie", `signet_sign_up=${value}`]]),
    ),
    { name: "/signup/check by HEAD", path: "/signup/check", method: "HEAD", expect: headOf(404) },
  ];
}

/** RFC 9110 section 15.5.6. */
function methodRows(): Row[] {
  const taken: readonly (readonly [string, string])[] = [
    ...["sign-in", "return", "activity", "data"].map((name) => [`/account/${name}`, "GET, HEAD"] as const),
    ...["profile", "password", "email", "delete"].map((name) => [`/account/${name}`, "GET, HEAD, POST"] as const),
    ...["language", "sessions/end", "sessions/end-all", "apps/revoke"].map(
      (name) => [`/account/${name}`, "POST"] as const,
    ),
    ["/signup", "GET, HEAD"],
    ["/signup/check", "GET, HEAD, POST"],
    ["/signup/continue", "POST"],
    ["/sign-up/x", "GET, HEAD, POST"],
    ["/recover", "GET, HEAD, POST"],
    ["/recover/x", "GET, HEAD, POST"],
    ["/not-me/x", "GET, HEAD, POST"],
    ["/account/email/confirm/x", "GET, HEAD, POST"],
    ["/mailbox", "GET, HEAD"],
    [`/interaction/${"a".repeat(21)}/signup`, "GET, HEAD, POST"],
  ];
  return taken.flatMap(([path, allow]): Row[] => {
    const row = (method: string): Row => ({ name: `${path} by ${method}`, path, method, expect: page405(allow) });
    const other = allow === "POST" ? [row("GET")] : allow === "GET, HEAD" ? [row("POST")] : [];
    return [row("PUT"), row("DELETE"), ...other];
  });
}

/** Forms of somebody who is signed in: from our own page of this very session, or refused. */
function accountForms(g: Ground): Row[] {
  const cookie = ["Cookie", g.cookie] as const;
  return ["profile", "language", "sessions/end", "sessions/end-all", "apps/revoke"].flatMap((name): Row[] => {
    const path = `/account/${name}`;
    const send = (what: string, more: Partial<Row>, expect: Expected, headers: Pairs = []): Row => ({
      name: `${path} with ${what}`,
      path,
      headers: [cookie, ...headers],
      expect,
      ...more,
    });
    return [
      send("nothing", { method: "POST" }, UNSUPPORTED),
      send("no token", { form: {} }, FOREIGN),
      send("a false token", { form: { csrf: FALSE_TOKEN, session: "x", app: "x", language: "de" } }, FOREIGN),
      send("another origin", { form: {} }, FOREIGN, [["Origin", "https://evil.example"]]),
      send("the origin null", { form: {} }, FOREIGN, [["Origin", "null"]]),
      send("another site", { form: {} }, FOREIGN, [["Sec-Fetch-Site", "cross-site"]]),
      send("a field twice", { body: "csrf=a&csrf=b" }, UNREADABLE, [FORM]),
      send("a field as a list", { form: { "csrf[]": "a" } }, UNREADABLE),
      send("101 fields", { form: Array.from({ length: 101 }, (_, n) => [`f${n}`, ""] as const) }, UNREADABLE),
      send("a megabyte", { body: `csrf=${MEGABYTE}` }, TOO_LARGE, [FORM]),
      send("a megabyte without its length", { body: `csrf=${MEGABYTE}`, isChunked: true }, TOO_LARGE, [FORM]),
      send("JSON", { body: "{}" }, UNSUPPORTED, [["Content-Type", "application/json"]]),
      send("broken multipart", { body: "--x\r\n" }, UNSUPPORTED, [["Content-Type", "multipart/form-data; boundary=x"]]),
      send("something compressed", { body: "csrf=a" }, UNSUPPORTED, [FORM, ["Content-Encoding", "gzip"]]),
      send("invalid percent-encoding", { body: "csrf=%zz%C3" }, FOREIGN, [FORM]),
      send("unicode, NUL and a lone surrogate", { form: { csrf: "ключ \0 \ud800" } }, FOREIGN),
    ];
  });
}

/** Forms of somebody who is not signed in: bound to a cookie that this browser alone has. */
function openForms(): Row[] {
  const paths = ["/recover", "/recover/x", "/not-me/x", "/sign-up/x", "/signup/check", "/signup/continue"];
  return [...paths, "/account/email/confirm/x"].flatMap((path): Row[] => {
    const send = (what: string, more: Partial<Row>, expect: Expected, headers: Pairs = [OPEN_FORM]): Row => ({
      name: `${path} with ${what}`,
      path,
      headers,
      expect,
      ...more,
    });
    const fields = { csrf: FALSE_TOKEN, email: "maya@lindqvist.example", code: "00000000", password: SCRIPT };
    return [
      send("no cookie", { form: fields }, FOREIGN, []),
      send("no cookie and a megabyte", { body: `csrf=${MEGABYTE}` }, FOREIGN, [FORM, ["Connection", "close"]]),
      send("a false token", { form: fields }, FOREIGN),
      send("no token", { form: {} }, FOREIGN),
      send("another origin", { form: fields }, FOREIGN, [OPEN_FORM, ["Origin", "https://evil.example"]]),
      send("another site", { form: fields }, FOREIGN, [OPEN_FORM, ["Sec-Fetch-Site", "cross-site"]]),
      send("a field twice", { body: "email=a&email=b" }, UNREADABLE, [OPEN_FORM, FORM]),
      send("a field as a list", { form: { "email[]": "a" } }, UNREADABLE),
      send("a megabyte", { body: `email=${MEGABYTE}` }, TOO_LARGE, [OPEN_FORM, FORM]),
      send("JSON", { body: "{}" }, UNSUPPORTED, [OPEN_FORM, ["Content-Type", "application/json"]]),
      send("broken multipart", { body: "--x" }, UNSUPPORTED, [OPEN_FORM, ["Content-Type", "multipart/form-data"]]),
      send("a cookie of markup", { form: fields }, FOREIGN, [["Cookie", `signet_form=${SCRIPT}`]]),
    ];
  });
}

/** Links out of mails: whatever is not one of ours has ended, and says so. */
function linkRows(): Row[] {
  const tokens = ["x", "a".repeat(43), "a".repeat(3000), "%00", "%zz", "%C3", "__proto__", "..%2f..%2ftoken"];
  const markup = encodeURIComponent(SCRIPT);
  return ["/sign-up/", "/recover/", "/not-me/", "/account/email/confirm/"].flatMap((prefix): Row[] => [
    ...[...tokens, markup].map((token): Row => {
      const path = prefix + token;
      return { name: path.slice(0, 60), path, expect: LINK_GONE };
    }),
    { name: `${prefix}x/more`, path: `${prefix}x/more`, expect: NOT_FOUND },
  ]);
}

function stepRows(): Row[] {
  const uid = "a".repeat(21);
  const uids = ["x", "%00", "..%2f..%2ftoken", "%3Cscript%3E", "a".repeat(65), uid, "__proto__", "%zz"];
  return uids.flatMap((value): Row[] => {
    const path = `/interaction/${value}/signup`;
    return [
      { name: path.slice(0, 60), path, expect: GONE },
      { name: `${path.slice(0, 60)} by POST`, path, form: { csrf: FALSE_TOKEN, email: SCRIPT }, expect: GONE },
    ];
  });
}
