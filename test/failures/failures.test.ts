/** Why a request was refused: twenty-odd mistakes of apps, each made over HTTP, each with its own cause and mend that quote the values; and what was counted. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as openid from "openid-client";
import { activityCommands } from "../../src/activity/commands.ts";
import { runCommand } from "../../src/commands.ts";
import { CAUSES, type Cause } from "../../src/failures/causes.ts";
import { failureCommands } from "../../src/failures/commands.ts";
import { createFailures, withoutSecrets } from "../../src/failures/failure.ts";
import { loadTexts } from "../../src/pages/texts.ts";
import { API, beginJourney, CALLBACK, type Registered, signIn } from "../flows/journey.ts";
import { type Answer, listen } from "../support.ts";

const journey = await beginJourney("postgres");
const { web, spa, machine, service } = journey;
const browser = journey.client();
const party = await journey.party(web);
const BY = { kind: "system", id: "test" } as const;
const VERIFIER = openid.randomPKCECodeVerifier();
const html = { accept: "text/html" };
const disabled = await journey.register({ client_type: "web", client_name: "Closed", redirect_uris: [CALLBACK] });
await service.clients.setDisabled(disabled.id, true, BY);

const basic = ({ id, secret = "" }: Registered) => ({
  authorization: `Basic ${Buffer.from(`${id}:${encodeURIComponent(secret)}`).toString("base64")}`,
});

async function authorize(changes: Readonly<Record<string, string | undefined>>): Promise<Answer> {
  const given = {
    client_id: web.id,
    redirect_uri: CALLBACK,
    response_type: "code",
    scope: "openid",
    state: "of the app",
    code_challenge: await openid.calculatePKCECodeChallenge(VERIFIER),
    code_challenge_method: "S256",
    ...changes,
  };
  const query = Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
  return journey.client().get(`/authorize?${new URLSearchParams(query)}`, html);
}

const token = (fields: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>>) =>
  journey.client().post("/token", fields, headers);

/** A code of a person who signed in, and how its exchange looks when everything is right. */
async function newCode() {
  const signedIn = await signIn(browser, party, { scope: "openid" });
  const code = signedIn.callback.searchParams.get("code") ?? "";
  return { grant_type: "authorization_code", code, redirect_uri: CALLBACK, code_verifier: signedIn.verifier };
}

const otherSecret = async () => {
  const other = await journey.register({ client_type: "web", client_name: "Other", redirect_uris: [CALLBACK] });
  return { id: web.id, secret: other.secret };
};

const withTwoApis = async () => {
  const identifier = "https://api.example/other";
  await service.apis.create({ identifier, name: "Other", scopes: [{ scope: "read:other" }] }, BY);
  const apis = [{ identifier: API, default: true }, { identifier }];
  return journey.register({ client_type: "web", client_name: "Two APIs", redirect_uris: [CALLBACK], apis });
};

interface Mistake {
  readonly make: () => Promise<Answer>;
  readonly cause: Cause;
  /** What the cause says, the differing values included. */
  readonly why: RegExp;
}

const MISTAKES: readonly Mistake[] = [
  {
    cause: "client_unknown",
    make: () => authorize({ client_id: "nobody" }),
    why: /no client with the client_id nobody/,
  },
  { cause: "client_disabled", make: () => authorize({ client_id: disabled.id }), why: /The client Closed is disabled/ },
  { cause: "parameter_missing", make: () => authorize({ response_type: undefined }), why: /lacks response_type/ },
  {
    cause: "redirect_missing",
    make: () => authorize({ redirect_uri: undefined }),
    why: /registered is https:\/\/app\.example\/callback/,
  },
  {
    cause: "redirect_slash_extra",
    make: () => authorize({ redirect_uri: `${CALLBACK}/` }),
    why: /ends in a slash: https:\/\/app\.example\/callback\/; registered is https:\/\/app\.example\/callback\./,
  },
  {
    cause: "redirect_scheme",
    make: () => authorize({ redirect_uri: "http://app.example/callback" }),
    why: /scheme: http:\/\/app/,
  },
  {
    cause: "redirect_host",
    make: () => authorize({ redirect_uri: "https://www.app.example/callback" }),
    why: /host: https:\/\/www\.app/,
  },
  {
    cause: "redirect_port",
    make: () => authorize({ redirect_uri: "https://app.example:8443/callback" }),
    why: /port: .*:8443/,
  },
  {
    cause: "redirect_query",
    make: () => authorize({ redirect_uri: `${CALLBACK}?next=/home` }),
    why: /query parameters: .*next=\/home/,
  },
  {
    cause: "redirect_path",
    make: () => authorize({ redirect_uri: "https://app.example/Callback" }),
    why: /not registered: .*\/Callback/,
  },
  { cause: "response_type", make: () => authorize({ response_type: "token" }), why: /response_type is token/ },
  {
    cause: "response_mode",
    make: () => authorize({ response_mode: "web_message" }),
    why: /response_mode is web_message/,
  },
  { cause: "request_object", make: () => authorize({ request: "x.y.z" }), why: /holds request;/ },
  {
    cause: "pkce_missing",
    make: () => authorize({ code_challenge: undefined, code_challenge_method: undefined }),
    why: /must use PKCE/,
  },
  { cause: "pkce_method", make: () => authorize({ code_challenge_method: "plain" }), why: /is plain; it must be S256/ },
  {
    cause: "scope_not_allowed",
    make: () => authorize({ scope: "openid write:things", resource: API }),
    why: /scope write:things is not granted.*read:things/,
  },
  {
    cause: "scope_elsewhere",
    make: async () => authorize({ client_id: (await withTwoApis()).id, scope: "openid read:other", resource: API }),
    why: /scope read:other belongs to https:\/\/api\.example\/other/,
  },
  {
    cause: "resource_not_allowed",
    make: () => authorize({ resource: "https://other.example/api" }),
    why: /https:\/\/other\.example\/api .*granted is https:\/\/api\.example\/things/,
  },
  { cause: "prompt_unknown", make: () => authorize({ prompt: "please" }), why: /prompt is please/ },
  { cause: "silent_login", make: () => authorize({ prompt: "none" }), why: /Nobody could be signed in without asking/ },
  {
    cause: "offline_without_consent",
    make: () => authorize({ scope: "openid offline_access" }),
    why: /consent was not asked: prompt is \(none\)/,
  },
  { cause: "auth_missing", make: () => token({ grant_type: "client_credentials" }, {}), why: /did not say who it is/ },
  {
    cause: "auth_method",
    make: async () => token({ ...(await newCode()), client_id: web.id }, {}),
    why: /authenticates by none; registered is client_secret_basic/,
  },
  {
    cause: "secret_mistyped",
    make: () => token({ grant_type: "client_credentials" }, basic({ id: machine.id, secret: "s3cret" })),
    why: /not whole/,
  },
  {
    cause: "secret_wrong",
    make: async () => token(await newCode(), basic(await otherSecret())),
    why: new RegExp(`live: those end in …${web.secret?.slice(-4)}`),
  },
  {
    cause: "grant_type_unknown",
    make: () => token({ grant_type: "password" }, basic(web)),
    why: /grant_type is password/,
  },
  {
    cause: "grant_type_not_allowed",
    make: () => token({ grant_type: "client_credentials" }, basic(web)),
    why: /is client_credentials; .*authorization_code/,
  },
  {
    cause: "code_gone",
    make: async () => token({ ...(await newCode()), code: "x".repeat(43) }, basic(web)),
    why: /not known here/,
  },
  {
    cause: "code_used",
    make: async () => {
      const exchange = await newCode();
      assert.equal((await token(exchange, basic(web))).status, 200);
      return token(exchange, basic(web));
    },
    why: /was used before/,
  },
  {
    cause: "code_redirect",
    make: async () => token({ ...(await newCode()), redirect_uri: "https://app.example/other" }, basic(web)),
    why: /is https:\/\/app\.example\/other at \/token; at \/authorize it was https:\/\/app\.example\/callback/,
  },
  {
    cause: "verifier_missing",
    make: async () => {
      const { code_verifier: _kept, ...exchange } = await newCode();
      return token(exchange, basic(web));
    },
    why: /code_verifier is missing/,
  },
  {
    cause: "verifier_wrong",
    make: async () => token({ ...(await newCode()), code_verifier: VERIFIER }, basic(web)),
    why: /does not fit/,
  },
  {
    cause: "verifier_malformed",
    make: async () => token({ ...(await newCode()), code_verifier: "short" }, basic(web)),
    why: /43 to 128/,
  },
  {
    cause: "refresh_gone",
    make: () => token({ grant_type: "refresh_token", refresh_token: "x" }, basic(web)),
    why: /not known here/,
  },
  {
    cause: "origin",
    make: () =>
      token({ grant_type: "refresh_token", refresh_token: "x", client_id: spa.id }, { origin: "https://evil.example" }),
    why: /origin https:\/\/evil\.example is not registered .*registered is https:\/\/spa\.example/,
  },
  {
    cause: "body_type",
    make: () =>
      journey.client().request({
        ...{ method: "POST", url: "/token", body: "{}" },
        headers: { "content-type": "application/json" },
      }),
    why: /The body is application\/json; this address takes a form/,
  },
  { cause: "method", make: () => journey.client().get("/token"), why: /is a GET; this address takes POST/ },
  { cause: "token_missing", make: () => journey.client().get("/userinfo"), why: /brought no access token/ },
  {
    cause: "token_gone",
    make: () => journey.client().get("/userinfo", { authorization: "Bearer nothing" }),
    why: /not known here/,
  },
  {
    cause: "logout_redirect",
    make: () =>
      journey.client().get(`/logout?client_id=${web.id}&post_logout_redirect_uri=https://app.example/bye`, html),
    why: /https:\/\/app\.example\/bye; registered is https:\/\/app\.example\/\./,
  },
  {
    cause: "hint",
    make: () => journey.client().get("/logout?id_token_hint=nothing", html),
    why: /id_token_hint was not taken/,
  },
];

const made = new Map<Cause, string>();

test("each of the named mistakes has its own cause and its own mend, found by the id of the refusal, in English and German", async () => {
  const wrong: string[] = [];
  for (const { make, cause, why } of MISTAKES) {
    const answer = await make();
    const id = String(answer.headers["x-request-id"]);
    // The explanation is made behind the answer; a turn of the loop and a flush later it is there.
    const found = await eventuallyFound(id);
    const german = await service.failures.find(id, "de");
    const isSaid = found?.cause === cause && why.test(found.why) && found.mend.length > 40;
    const isTranslated = german?.why !== found?.why && german?.mend !== found?.mend;
    // On the page that a person sees stands the same id.
    const isPage = answer.status >= 400 && answer.headers["content-type"]?.startsWith("text/html") === true;
    if (!isSaid || !isTranslated || (isPage && !answer.text.includes(id)))
      wrong.push(`${cause}: ${answer.status} ${answer.text.slice(0, 200)} ${JSON.stringify(found)}`);
    made.set(cause, id);
  }
  assert.deepEqual(wrong, []);
  assert.ok(made.size >= 20 && made.size === MISTAKES.length, `${made.size} causes`);
  const all = await service.failures.list({ clientId: web.id, limit: 100 });
  assert.equal(
    new Set(all.map(({ mend }) => mend)).size,
    new Set(all.map(({ cause }) => cause)).size,
    "each its own mend",
  );
});

async function eventuallyFound(id: string) {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    await service.failures.flush();
    const found = await service.failures.find(id);
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return undefined;
}

test("every cause has words in every language that quote nothing but its facts", () => {
  const catalogues = loadTexts("views");
  for (const language of catalogues.languages) {
    const { t } = catalogues.choose({ account: language });
    for (const [cause, facts] of Object.entries(CAUSES)) {
      const values = Object.fromEntries(facts.map((name) => [name, `<${name}>`]));
      for (const part of ["why", "mend"])
        assert.ok(t(`failure.${cause}.${part}`, values).length > 5, `${language} ${cause}`);
      for (const name of facts)
        assert.ok(
          ["why", "mend"].some((part) => t(`failure.${cause}.${part}`, values).includes(`<${name}>`)),
          `${cause} ${name}`,
        );
    }
  }
});

test("no secret, code, token, verifier or state is kept, in whatever parameter it came", async () => {
  const exchange = await newCode();
  const sent = [exchange.code, exchange.code_verifier, web.secret ?? "", `eyJhbGciOiJub25lIn0.${"a".repeat(20)}.x`];
  for (const secret of sent) {
    await authorize({ client_id: secret });
    await authorize({ redirect_uri: `https://app.example/${secret}`, scope: `openid ${secret}`, state: secret });
    await token({ ...exchange, grant_type: secret, scope: secret }, basic(web));
  }
  await eventuallyFound(
    String((await authorize({ redirect_uri: "https://app.example/cb?access_token=abc&x=1" })).headers["x-request-id"]),
  );
  const rows = await service.db.query<{ whole: string }>("select row_to_json(f)::text as whole from failures f");
  for (const secret of sent) assert.ok(!rows.some(({ whole }) => whole.includes(secret)), "a secret was kept");
  assert.ok(
    rows.some(({ whole }) => whole.includes("access_token=…&x=1")),
    "its place is still seen",
  );
  assert.equal(withoutSecrets("https://maya:pass@host/?code=1&state=2#a\nb"), "https://…@host/?code=…&state=…#a b");
});

test("a flood is sampled, each client and all of them together are bounded, and a quiet client is not pushed out", async () => {
  const { db, log } = service;
  const failures = createFailures({ db, log, words: () => ({ t: (key) => key }) });
  const note = (id: string, clientId: string): void =>
    failures.note({
      id,
      at: new Date(),
      clientId,
      route: "/token",
      error: "x",
      description: undefined,
      cause: "code_gone",
      facts: {},
    });
  note("quiet-1", "quiet");
  for (let count = 0; count < 20_000; count += 1) note(`flood-${count}`, "loud");
  note("quiet-2", "quiet");
  await failures.flush();
  const loud = await failures.list({ clientId: "loud", limit: 200 });
  assert.ok(loud.length >= 30 && loud.length <= 200, `${loud.length} of 20,000`);
  const [kept] = await db.query<{ count: number }>(
    "select count(*)::integer as count from failures where client_id = 'loud'",
  );
  assert.ok((kept?.count ?? 0) <= 1000, `${kept?.count}`);
  assert.equal((await failures.list({ clientId: "quiet", limit: 10 })).length, 2);
  await db.query(
    `insert into failures select 'old-' || n, $1::timestamptz - n * interval '1 second', 'many', '/token', 'x', null, 'code_gone', '{}'
     from generate_series(1, 1500) as n`,
    [new Date()],
  );
  note("many-new", "many");
  await failures.flush();
  const [many] = await db.query<{ count: number }>(
    "select count(*)::integer as count from failures where client_id = 'many'",
  );
  assert.equal(many?.count, 1000);
  await db.query("update failures set at = at - interval '8 days' where client_id = 'loud'");
  assert.equal(await failures.sweep(10_000), kept?.count);
});

test("the command line shows a failure by its id, lists them, and says why one is not there", async () => {
  const { io, said } = listen();
  const call = (...argv: string[]) => {
    said.out = said.err = "";
    return runCommand(failureCommands, argv, io, (use) => use(service));
  };
  assert.equal(await call("get", made.get("redirect_slash_extra") ?? ""), 0);
  assert.match(said.out, /why {3}redirect_uri ends in a slash: .*\nmend {2}Send it without the slash/);
  assert.equal(await call("list", "--client", web.id, "--limit", "3", "--json"), 0);
  const list = JSON.parse(said.out) as Record<string, unknown>[];
  assert.equal(list.length, 3);
  assert.deepEqual(Object.keys(list[0] ?? {}), [
    "id",
    "at",
    "client_id",
    "endpoint",
    "error",
    "error_description",
    "cause",
    "facts",
    "why",
    "mend",
  ]);
  assert.equal(await call("get", "nothing-known"), 1);
  assert.match(said.err, /7 days/);
});

test("tokens, sign-ins and failures are counted by client and hour, flushed and summed; two flushes at once add up", async () => {
  const { activity } = service;
  await activity.flush();
  const before = await activity.series({ clientId: web.id, period: "24h" });
  assert.equal((await token(await newCode(), basic(web))).status, 200);
  await authorize({ response_type: "token" });
  await token({ grant_type: "client_credentials", resource: API }, basic(machine));
  const now = async (period: "24h" | "30d") => (await activity.series({ clientId: web.id, period })).totals;
  assert.deepEqual(await now("24h"), before.totals, "nothing is written on the way");
  await Promise.all([activity.flush(), activity.flush()]);
  const after = await now("24h");
  const moved = Object.entries(after).map(([kind, count]) => [kind, count - before.totals[kind as keyof typeof after]]);
  assert.deepEqual(Object.fromEntries(moved), {
    token: 1,
    authorization: 1,
    sign_in: 0,
    sign_in_failure: 0,
    failure: 1,
  });
  assert.deepEqual(await now("30d"), after);
  assert.ok(after.sign_in >= 1, "the first code needed a password");
  assert.equal((await activity.series({ clientId: machine.id, period: "24h" })).totals.token, 1);
  const busiest = await activity.busiest("token", { period: "24h", limit: 5 });
  assert.deepEqual(busiest.map(({ clientId }) => clientId).sort(), [machine.id, web.id].sort());
  const { io, said } = listen();
  const call = (...argv: string[]) => runCommand(activityCommands, argv, io, (use) => use(service));
  assert.equal(await call("--json", "--client", web.id), 0);
  const shown = JSON.parse(said.out) as { period: string; totals: unknown; steps: unknown[] };
  assert.deepEqual([shown.period, shown.totals, shown.steps.length], ["24h", after, 24]);
  said.out = "";
  assert.equal(await call("show", "--period", "30d"), 0);
  assert.equal(said.out.split("\n").length, 33);
  assert.equal(await call("show", "--period", "1y"), 2);
});

test("what is counted goes with the retention, and what waits is written when the server stops", async () => {
  const { activity, db } = service;
  await db.query("insert into activity values ($1, 'gone', 'token', 5), ($2, 'kept', 'token', 5)", [
    new Date(Date.now() - 401 * 86_400_000),
    new Date(Date.now() - 399 * 86_400_000),
  ]);
  assert.equal(await activity.sweep(100), 1);
  activity.count("token", "at-the-end");
  const { connection } = service;
  await journey.close();
  const { openDb } = await import("../../src/store/db.ts");
  const after = openDb({ connection, max: 1, log: service.log });
  const rows = await after.query("select count from activity where client_id = 'at-the-end'");
  await after.close();
  assert.deepEqual(rows, [{ count: "1" }]);
});
