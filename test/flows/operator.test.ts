/** What an operator sees: logs without secrets, an audit trail with each event once, metrics, health; and what happens when parts are hurt. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { connect } from "node:net";
import { test } from "node:test";
import * as openid from "openid-client";
import type { Actor } from "../../src/audit/event.ts";
import { AppError } from "../../src/errors.ts";
import { type Answer, type Client, eventually } from "../support.ts";
import { askAll, authorizeUrl, basic, childrenOf, openSignIn, type Probe, send } from "./faults.ts";
import { beginJourney, CALLBACK, EMAIL, type Journey, PASSWORD, signIn, tokensOf } from "./journey.ts";

const OWNER = { name: "Olive Owner", email: "olive@owner.example", password: "a long pass phrase of the owner" };
const WRONG = "this was never the password";
const BY: Actor = { kind: "command", id: "operator-test" };
const html = { accept: "text/html" };
const journey = await beginJourney("postgres");
/** Everything that must never be found again, by what it is. */
const secrets = new Map<string, string>();

/** A browser whose every secret is noted: cookies, form tokens, and the codes in its redirects. */
function watched(): Client {
  const client = journey.client();
  const plain = client.request;
  client.request = async (options) => {
    const answer = await plain(options);
    for (const [, value = ""] of answer.text.matchAll(/name="(?:csrf|xsrf|token)" value="([^"]+)"/g))
      secrets.set(value, "a form token");
    for (const header of answer.headers["set-cookie"] ?? []) {
      const value = header.split(";")[0]?.split("=").slice(1).join("=") ?? "";
      if (value.length > 8) secrets.set(value, `the cookie ${header.split("=")[0]}`);
    }
    const code = URL.canParse(answer.location ?? "") && new URL(answer.location ?? "").searchParams.get("code");
    if (typeof code === "string") secrets.set(code, "a code");
    return answer;
  };
  return client;
}

function noteTokens(tokens: Record<string, unknown>): void {
  for (const name of ["access_token", "refresh_token", "id_token"]) {
    if (typeof tokens[name] === "string") secrets.set(tokens[name], `an ${name}`);
  }
}

async function fillIn(browser: Client, page: Answer, email: string, password: string): Promise<Answer> {
  return browser.submit(page, { email, password }, { match: 'name="password"', headers: html });
}

/** Sets the first owner up, signs in wrongly and rightly, gets, uses, refreshes, replays and revokes tokens, signs out. */
async function wholeJourney({ service, web, party, register }: Journey): Promise<void> {
  for (const word of [PASSWORD, OWNER.password, WRONG]) secrets.set(word, "a password");
  const token = (await service.setup.makeToken()) ?? "";
  secrets.set(token, "the set-up token");
  const owner = watched();
  const setup = await owner.get(`/setup?token=${token}`, html);
  assert.equal((await owner.submit(setup, OWNER, { match: 'name="password"', headers: html })).status, 200);

  const browser = watched();
  const page = await openSignIn(browser, authorizeUrl(journey));
  const refused = await fillIn(browser, page, EMAIL, WRONG);
  assert.equal(refused.status, 401);

  const config = await party(web);
  secrets.set(web.secret ?? "", "a client secret");
  const tokens = await tokensOf(browser, config, {
    scope: "openid profile email offline_access",
    parameters: { prompt: "consent" },
  });
  noteTokens(tokens);
  await openid.fetchUserInfo(config, tokens.access_token, journey.userId);
  await openid.tokenIntrospection(config, tokens.access_token);
  const refreshed = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
  noteTokens(refreshed);
  await openid.tokenRevocation(config, refreshed.refresh_token ?? "");

  const strict = await register({
    client_type: "web",
    client_name: "Strict",
    redirect_uris: [CALLBACK],
    refresh_window: 0,
  });
  secrets.set(strict.secret ?? "", "a client secret");
  const strictParty = await party(strict);
  const signedIn = await signIn(browser, strictParty, {
    scope: "openid offline_access",
    parameters: { prompt: "consent" },
  });
  const checks = { pkceCodeVerifier: signedIn.verifier, expectedNonce: signedIn.nonce, expectedState: signedIn.state };
  const first = await openid.authorizationCodeGrant(strictParty, signedIn.callback, checks);
  noteTokens(first);
  const second = await openid.refreshTokenGrant(strictParty, first.refresh_token ?? "");
  noteTokens(second);
  await assert.rejects(openid.refreshTokenGrant(strictParty, first.refresh_token ?? ""));

  const again = await signIn(browser, config, { scope: "openid" });
  const expected = { pkceCodeVerifier: again.verifier, expectedNonce: again.nonce, expectedState: again.state };
  noteTokens(await openid.authorizationCodeGrant(config, again.callback, expected));
  await assert.rejects(openid.authorizationCodeGrant(config, again.callback, expected));

  const account = await browser.get("/account", html);
  assert.equal((await browser.submit(account, {}, { match: "/account/sign-out", headers: html })).status, 303);
}

/** What admins do, straight at the rooms as the command line does. */
async function adminJourney({ service }: Journey): Promise<void> {
  const { clients, users, apis } = service;
  const { client, secret } = await clients.register({ client_type: "service", client_name: "Short-lived" }, BY);
  secrets.set(secret ?? "", "a client secret");
  await clients.update(client.id, { client_name: "Renamed" }, BY);
  secrets.set((await clients.rotateSecret(client.id, {}, BY)).secret, "a client secret");
  await clients.setDisabled(client.id, true, BY);
  await clients.setDisabled(client.id, false, BY);
  await clients.delete(client.id, BY);
  const api = { identifier: "https://gone.example/api", name: "Gone", scopes: [{ scope: "a:b", description: "A" }] };
  const { id } = await apis.create(api, BY);
  await apis.update(id, { name: "Going" }, BY);
  await apis.delete(id, BY);
  const user = await users.create({ email: "ned@nobody.example", password: PASSWORD }, BY);
  await users.update(user.id, { claims: { name: "Ned" } }, BY);
  await users.setPassword(user.id, OWNER.password, BY);
  await users.setDisabled(user.id, true, BY);
  await users.setDisabled(user.id, false, BY);
}

async function throttle(): Promise<void> {
  const email = "tess@throttled.example";
  await journey.createUser(email);
  const browser = watched();
  let page = await openSignIn(browser, authorizeUrl(journey));
  for (let attempt = 0; attempt < 6; attempt += 1) page = await fillIn(browser, page, email, WRONG);
  assert.equal(page.status, 429);
}

async function auditRows() {
  return journey.service.db.query<{
    id: string;
    name: string;
    request_id: string | null;
    actor_kind: string;
    whole: string;
  }>(
    "select id::text as id, name, request_id, actor_kind, row_to_json(a)::text as whole from audit_events a order by a.id",
  );
}

function metricsOf(text: string): ReadonlyMap<string, number> {
  return new Map(
    [...text.matchAll(/^(signet_\S+?(?:\{[^}]*\})?) ([\d.e+-]+)$/gm)].map(([, name = "", value]) => [
      name,
      Number(value),
    ]),
  );
}

async function metrics(): Promise<ReadonlyMap<string, number>> {
  return metricsOf(await (await fetch(`${journey.managementUrl}/metrics`)).text());
}

let before: ReadonlyMap<string, number>;

test("each event is one row with ids and the request's id, and nobody can change or remove rows (T-LOG-3)", async () => {
  before = await metrics();
  const from = (await auditRows()).length;
  await wholeJourney(journey);
  await adminJourney(journey);
  await throttle();
  const rows = (await auditRows()).slice(from);
  const counts: Record<string, number> = {};
  for (const { name } of rows) counts[name] = (counts[name] ?? 0) + 1;
  assert.deepEqual(counts, {
    "setup.link_made": 1,
    "setup.owner_created": 1,
    "user.created": 3,
    "sign_in.failed": 6,
    "sign_in.succeeded": 1,
    "sign_in.throttled": 1,
    "consent.granted": 2,
    "token.reuse_detected": 1,
    "code.reuse_detected": 1,
    sign_out: 1,
    "client.created": 2,
    "client.updated": 1,
    "client.secret_added": 1,
    "client.disabled": 1,
    "client.enabled": 1,
    "client.deleted": 1,
    "api.created": 1,
    "api.updated": 1,
    "api.deleted": 1,
    "user.updated": 1,
    "user.password_changed": 1,
    "user.disabled": 1,
    "user.enabled": 1,
  });
  const logged = journey.lines.join("");
  for (const row of rows) {
    assert.doesNotMatch(row.whole, /[^\s"]@[^\s"]+\.example/, "no address of a person");
    const isByRequest = ["user", "anonymous", "client"].includes(row.actor_kind) && !row.whole.includes('"id":"test"');
    if (isByRequest) {
      assert.ok(row.request_id !== null && row.request_id.length >= 12, row.whole);
      assert.ok(logged.includes(`"request_id":"${row.request_id}"`), `no line of the log has ${row.request_id}`);
    }
  }
  const all = await auditRows();
  const [keys] = await journey.service.db.query<{ count: number }>(
    "select ((select count(*) from signing_keys) + (select count(*) from mac_keys))::integer as count",
  );
  assert.equal(all.filter(({ name }) => name === "key.created").length, keys?.count);
  for (const text of ["update audit_events set name = 'x'", "delete from audit_events", "truncate audit_events"])
    await assert.rejects(journey.service.db.query(text), /only ever added to/);
  assert.equal((await auditRows()).length, all.length);
});

test("no secret that any client saw is in a log line, the audit trail or a store, and every line is JSON with its request (T-LOG-2)", async () => {
  assert.ok(secrets.size > 25, `${secrets.size} secrets were noted`);
  const { db } = journey.service;
  const tables = await db.query<{ name: string }>(
    "select quote_ident(table_name) as name from information_schema.tables where table_schema = 'public' order by 1",
  );
  const dump: string[] = [];
  for (const { name } of tables) {
    const rows = await db.query<{ whole: string }>(`select row_to_json(t)::text as whole from ${name} t`);
    for (const { whole } of rows) dump.push(`${name}: ${whole}`);
  }
  const found = (places: readonly string[], but = /^$/): readonly string[] =>
    [...secrets]
      .filter(([, what]) => !but.test(what))
      .flatMap(([secret, what]) =>
        places.filter((place) => place.includes(secret)).map((place) => `${what} in: ${place.slice(0, 300)}`),
      );
  const [planted] = secrets.keys();
  assert.equal(found([...journey.lines, `{"msg":"a line with ${planted}"}`]).length, 1, "a planted one is found");
  assert.deepEqual(found(journey.lines), []);
  // These two name a sign-in by its address; without the signature beside them, which is in no store, they open nothing.
  assert.deepEqual(found(dump, /^the cookie signet_(interaction|resume)$/), []);
  for (const line of journey.lines) {
    assert.ok(line.endsWith("\n") && line.indexOf("\n") === line.length - 1, line);
    const { msg, level, time, ...fields } = JSON.parse(line) as Record<string, unknown>;
    assert.ok(typeof msg === "string" && typeof level === "string" && typeof time === "string");
    if (msg === "request" || msg === "refused") assert.match(String(fields["request_id"]), /^[\w-]{12}$/);
  }
});

test("what a request holds cannot forge a line or fill the log (T-LOG-1)", async () => {
  const count = journey.lines.length;
  const at = journey.client();
  await at.get(`/${"%0a%0d{%22level%22:%22forged%22}".repeat(3)}`, { "user-agent": "\x85\x9b2J forged" });
  await at.get(`/${"x".repeat(7000)}`);
  const raw = await new Promise<string>((resolve) => {
    const socket = connect(journey.port, "127.0.0.1", () => {
      socket.write(
        `GET /health/live HTTP/1.1\r\nHost: 127.0.0.1:${journey.port}\r\nUser-Agent: ${"u".repeat(1024 * 1024)}\r\n\r\n`,
      );
    });
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
    });
    socket.on("error", () => resolve(text));
    socket.on("close", () => resolve(text));
  });
  assert.match(raw, /^HTTP\/1\.1 431 /);
  const lines = journey.lines.slice(count);
  assert.ok(lines.length >= 2);
  for (const line of lines) {
    assert.ok(line.length < 2000, `${line.length} characters`);
    const parsed = JSON.parse(line) as { level: string };
    assert.notEqual(parsed.level, "forged");
  }
});

test("metrics and details of health are on the management port only; counters move, labels are closed sets", async () => {
  const at = journey.client();
  assert.equal((await at.get("/metrics")).status, 404);
  assert.deepEqual((await at.get("/health/ready")).json(), { status: "ready" });
  const health = (await (await fetch(`${journey.managementUrl}/health`)).json()) as {
    status: string;
    checks: { name: string }[];
  };
  assert.deepEqual(
    [health.status, health.checks.map(({ name }) => name)],
    ["ready", ["postgres", "expiring store", "keys"]],
  );
  assert.equal((await fetch(`${journey.managementUrl}/token`)).status, 404);
  await at.post("/token", { grant_type: "made-up-by-a-stranger" }, basic(journey.web));
  const after = await metrics();
  const moved = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
  for (const [name, least] of [
    ['signet_sign_ins_total{result="failed"}', 6],
    ['signet_sign_ins_total{result="succeeded"}', 1],
    ['signet_sign_ins_total{result="throttled"}', 1],
    ['signet_consents_total{result="granted"}', 2],
    ['signet_token_requests_total{grant_type="authorization_code",result="issued"}', 2],
    ['signet_token_requests_total{grant_type="refresh_token",result="issued"}', 2],
    ['signet_token_requests_total{grant_type="refresh_token",result="refused"}', 1],
    ['signet_reuse_detected_total{what="code"}', 1],
    ['signet_reuse_detected_total{what="refresh_token"}', 1],
    ['signet_http_requests_total{status="2xx"}', 10],
    ['signet_http_requests_total{status="4xx"}', 3],
  ] as const) {
    assert.ok(moved(name) >= least, `${name} moved by ${moved(name)}`);
  }
  const labels = new Set(
    [...after.keys()].flatMap((name) => [...name.matchAll(/="([^"]*)"/g)].map(([, value]) => value)),
  );
  const closed =
    /^(\dxx|authorization_code|refresh_token|client_credentials|other|issued|refused|succeeded|failed|throttled|granted|code|postgres|redis|expiring store|keys|sent|late|delivered|new_device|new_network|spraying|burst|failure_rate|signing|random|RS256|ES256|EdDSA)$/;
  for (const value of labels) assert.match(value ?? "", closed);
});

test("with the audit trail gone administration is refused and sign-in goes on; its events are written later, at most 10,000 (T-REL-22, T-REL-21)", async () => {
  const { db, clients, backlog } = journey.service;
  await db.query("alter table audit_events rename to audit_taken_away");
  try {
    await assert.rejects(clients.update(journey.spa.id, { client_name: "Not recorded" }, BY), (error: unknown) => {
      return error instanceof AppError && error.code === "store_unavailable";
    });
    const browser = journey.client();
    const signedIn = await signIn(browser, await journey.party(journey.web), { scope: "openid" });
    assert.ok(signedIn.callback.searchParams.has("code"));
    // The sign-in, and that its browser is new.
    assert.equal(backlog.size, 2);
    for (let count = 2; count < 10_003; count += 1)
      await backlog.record({ name: "sign_in.failed", actor: { kind: "system", id: "flood" } });
    assert.equal(backlog.size, 10_000);
    assert.equal((await metrics()).get("signet_audit_events_dropped_total"), 3);
  } finally {
    await db.query("alter table audit_taken_away rename to audit_events");
  }
  assert.equal((await clients.find(journey.spa.id))?.name, "Harbor Board");
  const count = async (): Promise<number> => {
    const [row] = await db.query<{ count: number }>(
      "select count(*)::integer as count from audit_events where actor_id = 'flood'",
    );
    return row?.count ?? 0;
  };
  await eventually(async () => (await count()) > 0, 10_000);
  while (backlog.size > 9000) await backlog.flush();
  assert.ok(journey.lines.some((line) => line.includes("the audit trail cannot be written; events wait")));
});

test("a hashing child that is stopped or killed costs its sign-ins a 503 within three seconds, accepts nobody, and is replaced (T-REL-37)", async () => {
  const hashers = async () => (await childrenOf(process.pid)).filter(({ command }) => command.includes("hasher-child"));
  const email = "hal@hashed.example";
  await journey.createUser(email);
  for (const [what, signal] of [
    ["stopped", "SIGSTOP"],
    ["killed", "SIGKILL"],
  ] as const) {
    const pages = await Promise.all(
      [1, 2, 3].map(async () => {
        const browser = journey.client();
        return { browser, page: await openSignIn(browser, authorizeUrl(journey)) };
      }),
    );
    const victims = await hashers();
    assert.ok(victims.length > 0);
    const statuses: number[] = [];
    const asking = askAll(
      `hashing child ${what}`,
      pages.map(
        ({ browser, page }, index): Probe => ({
          name: `sign-in ${index + 1}, wrong password`,
          ask: () => fillIn(browser, page, email, WRONG),
          check: ({ status, headers }) => {
            // What waited behind the one that hung may be answered by the child that takes its place.
            assert.ok([503, 401].includes(status), String(status));
            if (status === 503) assert.ok(Number(headers["retry-after"]) >= 1, "it says when to come again");
            statuses.push(status);
          },
        }),
      ),
      { boundMs: 3000, control: () => journey.client().get("/jwks") },
    );
    for (const { pid } of victims) send(pid, signal);
    await asking;
    if (what === "stopped") assert.ok(statuses.includes(503), `a stopped child answers nobody: ${statuses.join(", ")}`);
    const browser = journey.client();
    const page = await openSignIn(browser, authorizeUrl(journey));
    await eventually(async () => (await fillIn(browser, page, email, PASSWORD)).status === 303, 15_000);
    assert.ok((await hashers()).every(({ pid }) => !victims.some((victim) => victim.pid === pid)));
  }
});

test("a client that hangs up in the middle of an answer may retry inside the window (T-REL-36)", async () => {
  const config = await journey.party(journey.web);
  const tokens = await tokensOf(journey.client(), config, {
    scope: "openid offline_access",
    parameters: { prompt: "consent" },
  });
  const body = new URLSearchParams({
    grant_type: "refresh_token",
    refresh_token: tokens.refresh_token ?? "",
  }).toString();
  for (const cutAt of ["headers", "request"] as const) {
    await new Promise<void>((resolve) => {
      const sent = request(`${journey.issuer}/token`, {
        method: "POST",
        agent: false,
        headers: { ...basic(journey.web), "content-type": "application/x-www-form-urlencoded" },
      });
      sent.on("error", () => undefined);
      sent.on("close", () => resolve());
      sent.on("response", () => sent.destroy());
      sent.end(body, () => {
        if (cutAt === "request") setTimeout(() => sent.destroy(), 5);
      });
    });
  }
  const one = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
  const two = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
  assert.equal(one.refresh_token, two.refresh_token, "one successor, however often it is asked for");
  assert.ok((await openid.refreshTokenGrant(config, one.refresh_token ?? "")).access_token);
});
