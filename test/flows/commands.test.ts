/** The command line as an operator types it: every verb as a process of its own, beside a running server that hears of each change. */
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { decodeJwt } from "jose";
import * as openid from "openid-client";
import { run as command } from "../../src/main.ts";
import { randomText } from "../../src/secrets.ts";
import { CHECKOUT, nodeArgs } from "../ladder.ts";
import {
  type Answer,
  atEnd,
  cookieJarClient,
  eventually,
  freePort,
  listen,
  type SpawnedSignet,
  spawnSignet,
} from "../support.ts";
import { PASSWORD, signIn, tokensOf } from "./journey.ts";

/** Issue 2 says one second on a machine at rest; a busy one gets more, and 30 s would be the cache's own end. */
const HEARD_MS = 10_000;
const RUN_MS = 60_000;
const CALLBACK = "https://rp.example.com/cb";

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}
type Json = Record<string, unknown>;

let server: SpawnedSignet;
before(async () => {
  server = await spawnSignet({ engine: "postgres" });
});

interface Call {
  readonly stdin?: string;
  /** Over the server's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** "here" is main.ts's own function, another process than the server; the others are what a shell starts. */
  readonly by?: "here" | "node" | "npm";
}

function run(words: readonly string[], { stdin = "", env = {}, by = "here" }: Call = {}): Promise<Ran> {
  const own = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", ...server.env, ...env };
  if (by === "here") return runHere(words, own, stdin);
  const [file, args] =
    by === "npm" ? ["npm", ["run", "-s", "signet", "--"]] : [process.execPath, [...nodeArgs("src/main.ts")]];
  return runProcess(spawn(file, [...args, ...words], { cwd: CHECKOUT, env: own, timeout: RUN_MS }), stdin);
}

async function runHere(words: readonly string[], env: Record<string, string>, stdin: string): Promise<Ran> {
  const { io, said } = listen(stdin);
  const code = await command(words, env, { io });
  return { code, ...said };
}

function runProcess(child: ChildProcessWithoutNullStreams, stdin: string): Promise<Ran> {
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
  });
  // A command that does not read its input may have ended before all of it was written.
  child.stdin.on("error", () => undefined);
  child.stdin.end(stdin);
  return new Promise((resolve) => child.once("close", (code) => resolve({ code: code ?? -1, out, err })));
}

/** Done: exit code 0, one JSON document on standard output, and nothing beside it on either stream. */
async function done(words: string, options: Call = {}): Promise<Json> {
  const ran = await run(words.split(" "), options);
  assert.equal(ran.code, 0, `${words}\n${ran.err}`);
  assert.equal(ran.err, "", words);
  assert.ok(ran.out.endsWith("\n"));
  return JSON.parse(ran.out) as Json;
}

function grant(id: unknown, secret: unknown, fields: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const basic = Buffer.from(`${String(id)}:${String(secret)}`).toString("base64");
  return server
    .client()
    .post("/token", { grant_type: "client_credentials", ...fields }, { authorization: `Basic ${basic}` });
}

const claimsOf = (answer: Answer): Json => decodeJwt(String(answer.json()["access_token"]));
const statusBecomes = (status: number, ask: () => Promise<Answer>): Promise<true> =>
  eventually(async () => (await ask()).status === status, HEARD_MS);

test("an API and a service from two short lines: the server gives a token for exactly them", async (t) => {
  const api = await done("api create --identifier https://api.example.com --name Things --scope read:things --json");
  assert.deepEqual(
    [api["identifier"], api["name"], api["scopes"], api["token_lifetime"]],
    ["https://api.example.com", "Things", [{ scope: "read:things", description: "read:things" }], 600],
  );
  const short = await done("client create --api https://api.example.com --scope read:things --json");
  assert.equal(short["client_type"], "service");
  const began = performance.now();
  await statusBecomes(200, () => grant(short["client_id"], short["client_secret"]));
  t.diagnostic(`the server knew the new client after ${Math.round(performance.now() - began)} ms`);
  const claims = claimsOf(await grant(short["client_id"], short["client_secret"]));
  assert.deepEqual([claims["aud"], claims["scope"]], ["https://api.example.com", "read:things"]);
  assert.equal((await grant(short["client_id"], short["client_secret"], { scope: "write:things" })).status, 400);
});

test("api list, get, update and delete: tokens follow at once", async () => {
  const identifier = "https://verbs.example.com/v1";
  const api = await done(
    `api create --identifier ${identifier} --name Verbs --scope a --scope b=Words --token-lifetime 300 --json`,
  );
  const made = await done(`client create --type service --name S --api ${identifier} --json`);
  const [id, secret] = [made["client_id"], made["client_secret"]];
  const first = claimsOf(await grant(id, secret));
  assert.deepEqual([first["scope"], Number(first["exp"]) - Number(first["iat"])], ["a b", 300]);
  assert.deepEqual(await done(`api get ${identifier} --json`), api);
  assert.deepEqual(await done(`api get ${String(api["id"])} --json`), api);
  const listed = (await done("api list --query verbs.example --limit 5 --json")) as unknown as Json[];
  assert.deepEqual(listed, [api]);
  const changed = await done(`api update ${identifier} --name Renamed --scope b --token-lifetime 120 --json`);
  assert.deepEqual(
    [changed["name"], changed["scopes"], changed["token_lifetime"]],
    ["Renamed", [{ scope: "b", description: "Words" }], 120],
  );
  await eventually(async () => {
    const { scope, exp, iat } = claimsOf(await grant(id, secret));
    return scope === "b" && Number(exp) - Number(iat) === 120;
  }, HEARD_MS);
  const gone = await done(`api delete ${identifier} --json`);
  assert.deepEqual([gone["deleted"], gone["clients"]], [true, [{ client_id: id, client_name: "S" }]]);
  await statusBecomes(400, () => grant(id, secret));
  const again = await run(["api", "get", identifier, "--json"]);
  assert.equal(again.code, 1);
  assert.equal((JSON.parse(again.err) as Json)["error"], "api_unknown");
});

test("the issue's own line, through npm: id and secret in the names of RFC 7591, and a sign-in with them", async () => {
  const words = ["client", "create", "--name", "X", "--type", "web", "--redirect-uri", CALLBACK, "--json"];
  const ran = await run(words, { by: "npm" });
  assert.equal(ran.code, 0, ran.err);
  const made = JSON.parse(ran.out) as Json;
  assert.match(ran.out, /^\{\n {2}"client_id": "[^"]+",\n {2}"client_secret": "sgn_cs_[^"]+",/);
  assert.deepEqual([made["client_name"], made["redirect_uris"]], ["X", [CALLBACK]]);
  const person = await done("user create --email a@b.example --password-file - --json", {
    stdin: `${PASSWORD}\n`,
    by: "node",
  });
  assert.match(String(person["id"]), /^[0-9a-f-]{36}$/);
  const party = await partyOf(made);
  const tokens = await tokensOf(server.client(), party, { email: "a@b.example", redirectUri: CALLBACK });
  assert.equal(tokens.claims()?.sub, person["id"]);
});

test("every field of RFC 7591 and every setting of Signet's own is taken by one call, lists repeated", async () => {
  await done("api create --identifier https://fields.example.com --name F --scope f:read --scope f:write --json");
  const flags = [
    "--name Fields --type web --redirect-uri https://rp.example.com/1 --redirect-uri https://rp.example.com/2",
    "--post-logout-redirect-uri https://rp.example.com/bye --token-endpoint-auth-method client_secret_post",
    "--grant-type authorization_code --grant-type refresh_token --response-type code --application-type web",
    "--client-uri https://rp.example.com --logo-uri https://rp.example.com/l.svg --contact a@b.example --contact c@d.example",
    "--tos-uri https://rp.example.com/t --policy-uri https://rp.example.com/p --software-id abc --software-version 1.2",
    "--id-token-signed-response-alg ES256 --default-max-age 3600 --require-auth-time --subject-type public",
    "--initiate-login-uri https://rp.example.com/l --first-party --web-origin https://rp.example.com",
    "--web-origin https://two.example.com --refresh-window 5 --refresh-idle 600 --refresh-absolute 1200 --pkce-optional",
    "--api https://fields.example.com --scope openid --scope email --scope f:read --optional-scope email",
  ].join(" ");
  const made = await done(`client create ${flags} --json`);
  const wanted: Json = {
    client_name: "Fields",
    client_type: "web",
    redirect_uris: ["https://rp.example.com/1", "https://rp.example.com/2"],
    post_logout_redirect_uris: ["https://rp.example.com/bye"],
    token_endpoint_auth_method: "client_secret_post",
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    application_type: "web",
    client_uri: "https://rp.example.com",
    logo_uri: "https://rp.example.com/l.svg",
    contacts: ["a@b.example", "c@d.example"],
    tos_uri: "https://rp.example.com/t",
    policy_uri: "https://rp.example.com/p",
    software_id: "abc",
    software_version: "1.2",
    id_token_signed_response_alg: "ES256",
    default_max_age: 3600,
    require_auth_time: true,
    subject_type: "public",
    initiate_login_uri: "https://rp.example.com/l",
    first_party: true,
    web_origins: ["https://rp.example.com", "https://two.example.com"],
    refresh_window: 5,
    refresh_idle: 600,
    refresh_absolute: 1200,
    pkce_optional: true,
    optional_scopes: ["email"],
    scope: "openid email",
    apis: [{ identifier: "https://fields.example.com", scopes: ["f:read"], default: true }],
  };
  for (const [field, value] of Object.entries(wanted)) assert.deepEqual(made[field], value, field);
  const { client_secret: _, client_secret_expires_at: __, ...shown } = made;
  assert.deepEqual(await done(`client get ${String(made["client_id"])} --json`), shown);
  await assertFieldsWork(String(made["client_id"]));
});

/** What the flags promise, at the server: no PKCE needed, no consent asked, the named origins and no other may read tokens. */
async function assertFieldsWork(clientId: string): Promise<void> {
  const browser = server.client();
  const query = new URLSearchParams({
    client_id: clientId,
    response_type: "code",
    scope: "openid",
    redirect_uri: "https://rp.example.com/2",
  });
  const page = await browser.follow(await browser.get(`/authorize?${query}`));
  assert.ok(page.text.includes('name="password"'), "without PKCE it comes to the sign-in page");
  await done("user create --email first@b.example --password-file - --json", { stdin: PASSWORD });
  const end = await browser.follow(
    await browser.submit(page, { email: "first@b.example", password: PASSWORD }, { match: 'name="password"' }),
  );
  assert.ok(end.location?.startsWith("https://rp.example.com/2?code="), "a first-party app asks for no consent");
  const allowed = async (origin: string): Promise<unknown> => {
    const answer = await server.client().post("/token", { client_id: clientId }, { origin });
    return answer.headers["access-control-allow-origin"];
  };
  assert.equal(await allowed("https://two.example.com"), "https://two.example.com");
  assert.equal(await allowed("https://three.example.com"), undefined);
}

test("client list, update, rotate-secret, disable, enable and delete: the server follows each", async () => {
  const identifier = "https://follow.example.com";
  await done(`api create --identifier ${identifier} --name Follow --scope f --json`);
  const made = await done(`client create --type service --name Followed --api ${identifier} --json`);
  const id = String(made["client_id"]);
  const ask = (): Promise<Answer> => grant(id, made["client_secret"]);
  await statusBecomes(200, ask);
  assert.equal((await done(`client update ${id} --name Renamed --json`))["client_name"], "Renamed");
  const listed = (await done("client list --query renamed --json")) as unknown as Json[];
  assert.deepEqual(
    listed.map((one) => [one["client_id"], one["client_name"], "client_secret" in one]),
    [[id, "Renamed", false]],
  );
  const rotated = await done(`client rotate-secret ${id} --json`);
  assert.notEqual(rotated["client_secret"], made["client_secret"]);
  await statusBecomes(200, () => grant(id, rotated["client_secret"]));
  assert.equal((await ask()).status, 200, "the old secret works on for its overlap");
  const last = await done(`client rotate-secret ${id} --overlap 0 --json`);
  await statusBecomes(401, ask);
  await statusBecomes(200, () => grant(id, last["client_secret"]));
  assert.equal((await done(`client disable ${id} --json`))["disabled"], true);
  await statusBecomes(401, () => grant(id, last["client_secret"]));
  assert.equal((await done(`client enable ${id} --json`))["disabled"], false);
  await statusBecomes(200, () => grant(id, last["client_secret"]));
  assert.deepEqual(await done(`client delete ${id} --json`), { client_id: id, deleted: true });
  await statusBecomes(401, () => grant(id, last["client_secret"]));
});

test("user list, get, update, disable and enable: claims and sign-in follow", async () => {
  const app = await done(`client create --type web --name People --redirect-uri ${CALLBACK} --first-party --json`);
  const party = await partyOf(app);
  const flags = "--given-name Ada --family-name Lovelace --locale en-GB --email-verified --owner";
  const made = await done(`user create --email ada@b.example --name Ada ${flags} --password-file - --json`, {
    stdin: PASSWORD,
  });
  const id = String(made["id"]);
  assert.deepEqual([made["roles"], made["email_verified"], made["given_name"]], [["owner"], true, "Ada"]);
  const walk = (): ReturnType<typeof tokensOf> =>
    tokensOf(server.client(), party, { email: "ada@b.example", redirectUri: CALLBACK });
  const tokens = await walk();
  assert.equal((await openid.fetchUserInfo(party, tokens.access_token, id)).family_name, "Lovelace");
  await done("user update ada@b.example --family-name King --clear locale --json");
  const info = await openid.fetchUserInfo(party, tokens.access_token, id);
  assert.deepEqual([info.family_name, "locale" in info], ["King", false]);
  assert.equal((await done(`user get ${id} --json`))["family_name"], "King");
  const listed = (await done("user list --query ada@ --limit 10 --json")) as unknown as Json[];
  assert.deepEqual(
    listed.map((one) => one["id"]),
    [id],
  );
  await done("user create --email other@b.example --owner --json");
  assert.equal((await done("user disable ada@b.example --json"))["disabled"], true);
  await assert.rejects(openid.fetchUserInfo(party, tokens.access_token, id));
  const refusal = await signInOnce(app, "ada@b.example");
  assert.deepEqual([refusal.status, refusal.location], [401, undefined]);
  assert.equal((await done("user enable ada@b.example --json"))["disabled"], false);
  await walk();
});

test("session, grant and consent: listed and ended one by one, and what they opened is closed", async () => {
  const app = await done(`client create --type web --name Notebook --redirect-uri ${CALLBACK} --json`);
  const party = await partyOf(app);
  const [email, clientId] = ["grace@b.example", String(app["client_id"])];
  const { id } = await done(`user create --email ${email} --password-file - --json`, { stdin: PASSWORD });
  const walk = (scope = "openid"): ReturnType<typeof tokensOf> =>
    tokensOf(server.client(), party, { email, redirectUri: CALLBACK, scope, parameters: { prompt: "consent" } });
  const list = async (words: string): Promise<readonly Json[]> => (await done(words)) as unknown as Json[];
  const { access_token: token } = await walk();
  const [session] = await list(`session list ${email} --json`);
  assert.deepEqual(session?.["client_ids"], [clientId]);
  assert.deepEqual(await done(`session end ${email} ${session?.["id"]} --json`), { ended: session?.["id"], user: id });
  await assert.rejects(openid.fetchUserInfo(party, token, String(id)));
  assert.deepEqual(await list(`session list ${email} --json`), []);

  const { refresh_token: refresh = "" } = await walk("openid offline_access");
  const [grant] = await list(`grant list ${email} --json`);
  assert.equal(grant?.["client_id"], clientId);
  await done(`grant end ${email} ${grant?.["id"]} --json`);
  await assert.rejects(openid.refreshTokenGrant(party, refresh), { error: "invalid_grant" });

  const { refresh_token: second = "" } = await walk("openid offline_access");
  const [consent] = await list(`consent list ${email} --json`);
  assert.deepEqual([consent?.["client_id"], consent?.["resource"]], [clientId, ""]);
  await done(`consent withdraw ${email} ${clientId} --json`);
  await assert.rejects(openid.refreshTokenGrant(party, second), { error: "invalid_grant" });
  assert.deepEqual(await list(`consent list ${email} --json`), []);
  for (const [words, error] of [
    [`session end ${email} nowhere`, "session_unknown"],
    [`grant end ${email} nowhere`, "grant_unknown"],
    [`consent withdraw ${email} ${clientId}`, "consent_unknown"],
    ["session list nobody@b.example", "user_unknown"],
  ] as const) {
    const ran = await run([...words.split(" "), "--json"]);
    assert.deepEqual([ran.code, (JSON.parse(ran.err) as Json)["error"]], [1, error], words);
  }
  assert.match((await run(["consent", "list", email])).out, /There are none/);
  assert.equal((await run(["session", "list", email])).out.trim().split("\n").length, 3, "the two later sign-ins");
  const settings = await done("settings --json");
  assert.equal(settings["issuer"], server.issuer);
  assert.doesNotMatch(JSON.stringify(settings), /postgres:\/\//);
});

/** One attempt at the sign-in page, without what comes after. */
async function signInOnce(app: Json, email: string): Promise<Answer> {
  const browser = server.client();
  const challenge = await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier());
  const query = new URLSearchParams({
    client_id: String(app["client_id"]),
    response_type: "code",
    scope: "openid",
    redirect_uri: CALLBACK,
    code_challenge: challenge,
    code_challenge_method: "S256",
  });
  const page = await browser.follow(await browser.get(`/authorize?${query}`));
  return browser.submit(page, { email, password: PASSWORD }, { match: 'name="password"' });
}

async function partyOf(client: Json): Promise<openid.Configuration> {
  const authentication = openid.ClientSecretBasic(String(client["client_secret"]));
  const execute = [openid.allowInsecureRequests];
  return openid.discovery(new URL(server.issuer), String(client["client_id"]), {}, authentication, { execute });
}

test("migrate says what is applied, by itself and as status", async () => {
  const files = readdirSync(join(CHECKOUT, "migrations"))
    .filter((name) => name.endsWith(".sql"))
    .sort();
  const [applied, status] = await Promise.all([done("migrate --json"), done("migrate status --json")]);
  for (const document of [applied, status]) {
    const rows = document["migrations"] as Json[];
    assert.deepEqual(
      rows.map(({ name }) => String(name)),
      files,
    );
    assert.deepEqual([...new Set(rows.map(({ state }) => state))], ["applied"]);
  }
  assert.deepEqual([applied["applied"], status["applied"]], [[], []]);
});

const NOWHERE = { DATABASE_URL: "postgres://nobody:hunter2@127.0.0.1:1/none" };
for (const [words, wanted] of [
  ["", ["serve", "migrate", "doctor", "client", "api", "user"]],
  ["--help", ["serve", "migrate"]],
  ["serve --help", ["SIGTERM"]],
  ["migrate --help", ["MIGRATION_DATABASE_URL"]],
  ["doctor --help", ["--live"]],
  ["client", ["create", "list", "get", "update", "rotate-secret", "disable", "enable", "delete"]],
  ["api --help", ["create", "list", "get", "update", "delete"]],
  ["user help", ["create", "list", "get", "update", "disable", "enable"]],
  ["client create --help", ["--redirect-uri", "--refresh-window", "--pkce-optional", "--json"]],
  ["user update --help", ["--password-file", "--owner", "--clear"]],
] as const) {
  test(`help without a database: signet ${words}`, async () => {
    const ran = await run(words.split(" ").filter(Boolean), { env: NOWHERE });
    assert.deepEqual([ran.code, ran.err], [0, ""]);
    for (const word of wanted) assert.ok(ran.out.includes(word), `${word} is not in:\n${ran.out}`);
  });
}

const refused: readonly (readonly [string, number, string, RegExp, Readonly<Record<string, string>>?])[] = [
  ["clientt list", 2, "command_usage", /"clientt" is no command/],
  ["client frobnicate", 2, "command_usage", /"frobnicate" is no verb of "client"/],
  ["client get", 2, "command_usage", /<client-id> is missing/],
  ["client create --name X --client-secret mine", 2, "command_usage", /--client-secret/],
  ["user create --email x@b.example --password hunter2", 2, "command_usage", /--password/],
  ["serve --port 3000", 2, "command_usage", /the environment configures it/],
  ["migrate down", 2, "command_usage", /"down" is not known/],
  ["client get nobody", 1, "client_unknown", /no such client/],
  ["api create --identifier things --name T", 1, "api_invalid", /absolute URI/],
  ["user create --email nowhere", 1, "user_email_invalid", /e-mail address/],
  ["client list", 1, "configuration", /SECRET_KEY: entry 1/, { SECRET_KEY: "short" }],
  ["user list", 1, "store_unavailable", /not answering/, NOWHERE],
  ["migrate", 1, "store_unavailable", /not answering/, NOWHERE],
];
for (const [words, code, error, pattern, env = {}] of refused) {
  test(`refused with exit code ${code}, in words and in JSON: signet ${words}`, async () => {
    const said = await run(words.split(" "), { env });
    const coded = await run([...words.split(" "), "--json"], { env });
    assert.deepEqual([said.code, coded.code, said.out, coded.out], [code, code, "", ""]);
    assertSaid(said.err, coded.err, { error, pattern });
  });
}

/** One sentence or a short list of them for a person, one document for a machine; no stack, no secret, no other voice. */
function assertSaid(words: string, json: string, { error, pattern }: { error: string; pattern: RegExp }): void {
  assert.match(words, pattern);
  const document = JSON.parse(json) as Json;
  assert.deepEqual([document["error"], Object.keys(document)], [error, ["error", "message"]]);
  assert.match(String(document["message"]), pattern);
  for (const text of [words, json]) assert.doesNotMatch(text, /^\s+at |node:internal|hunter2|oidc-provider/m);
}

test("as a process: exit codes 0, 1 and 2, clean streams, a closed pipe that is no failure", async () => {
  const listed = await run(["client", "list", "--json"], { by: "node" });
  assert.deepEqual([listed.code, listed.err, Array.isArray(JSON.parse(listed.out))], [0, "", true]);
  const unknown = await run(["client", "get", "nobody", "--json"], { by: "node" });
  assert.deepEqual([unknown.code, unknown.out], [1, ""]);
  assertSaid("no such client", unknown.err, { error: "client_unknown", pattern: /no such client/ });
  const wrong = await run(["client", "frobnicate"], { by: "npm" });
  assert.deepEqual([wrong.code, wrong.out], [2, ""]);
  assert.match(wrong.err, /^"frobnicate" is no verb of "client"\. See: signet client --help\n/);
  const { PATH = "", HOME = "" } = process.env;
  const args = [...nodeArgs("src/main.ts"), "client", "list", "--json"];
  const deaf = spawn(process.execPath, args, { cwd: CHECKOUT, env: { PATH, HOME, ...server.env }, timeout: RUN_MS });
  // The reader is gone before there is anything to read, as with `| head -0`.
  deaf.stdout.destroy();
  const cut = await runProcess(deaf, "");
  assert.deepEqual([cut.code, cut.err], [0, ""]);
});

test("another SECRET_KEY than the one that sealed the database ends the start with a sentence", async () => {
  const [port, managementPort] = [await freePort(), await freePort()];
  const env = { SECRET_KEY: randomText(), PORT: String(port), MANAGEMENT_PORT: String(managementPort) };
  const ran = await run(["serve"], { by: "node", env });
  assert.equal(ran.code, 1);
  assert.match(ran.err, /SECRET_KEY does not open what this database holds/);
  assert.doesNotMatch(ran.err, /^\s+at /m);
});

test("with the embedded database: alone, two at once, and beside a running server", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "signet-alone-"));
  // As root the database runs as somebody else, who must be able to pass this folder to find its own.
  await chmod(dataDir, 0o711);
  atEnd(() => rm(dataDir, { recursive: true, force: true }));
  const env = { DATABASE_URL: "", SECRET_KEY: "", DATA_DIR: dataDir };
  const [one, two] = await Promise.all([
    done("client create --type service --name One --json", { env, by: "node" }),
    done("client create --type service --name Two --json", { env, by: "node" }),
  ]);
  const names = async (): Promise<readonly unknown[]> => {
    const listed = (await done("client list --json", { env })) as unknown as Json[];
    return listed.map((client) => client["client_name"]).sort();
  };
  assert.deepEqual(await names(), ["One", "Two"]);
  assert.notEqual(one["client_id"], two["client_id"]);
  const key = (await readFile(join(dataDir, "secret-key"), "utf8")).trim();
  assert.match(key, /^[0-9a-f]{64}$/);
  const beside = await spawnSignet({ engine: "postgres", env });
  const token = (secret: unknown): Promise<Answer> =>
    beside
      .client()
      .post(
        "/token",
        { grant_type: "client_credentials" },
        { authorization: `Basic ${Buffer.from(`${String(one["client_id"])}:${String(secret)}`).toString("base64")}` },
      );
  // It has no API, so the answer is about the target once the client is known, and about the client when it is not.
  await statusBecomes(400, () => token(one["client_secret"]));
  await done(`client disable ${String(one["client_id"])} --json`, { env, by: "node" });
  await statusBecomes(401, () => token(one["client_secret"]));
  assert.deepEqual(await names(), ["One", "Two"]);
  assert.equal(
    (await cookieJarClient(beside.issuer).get("/health/ready")).status,
    200,
    "the database stayed with the server",
  );
  assert.equal(await beside.stop(), 0);
});

test("a secret in a file, and metadata too large for standard input", async () => {
  const folder = await mkdtemp(join(tmpdir(), "signet-files-"));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "password"), `${PASSWORD}\r\n`);
  await done(`user create --email file@b.example --password-file ${join(folder, "password")} --json`);
  const app = await done(`client create --redirect-uri ${CALLBACK} --json`);
  assert.deepEqual([app["client_type"], app["client_name"]], ["web", "rp.example.com"]);
  await signIn(server.client(), await partyOf(app), { email: "file@b.example", redirectUri: CALLBACK });
  const flood = await run(["client", "create", "--jwks", "-", "--json"], { stdin: "x".repeat(1_100_000), by: "node" });
  assert.equal(flood.code, 2);
  assert.match(String((JSON.parse(flood.err) as Json)["message"]), /larger than 1 MiB/);
  const missing = await run([
    "user",
    "create",
    "--email",
    "n@b.example",
    "--password-file",
    join(folder, "none"),
    "--json",
  ]);
  assert.equal(missing.code, 2);
});
