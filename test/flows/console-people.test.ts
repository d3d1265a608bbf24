/** The console's people, APIs and roles over HTTP: each page shown and each form done once, what is refused shown again, and nothing for whoever may not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Answer, Client } from "../support.ts";
import { decodeEntities, freePort, startSignet } from "../support.ts";
import { BY, type Ground, openGround } from "./admin.ts";
import { atConsole } from "./console-ground.ts";
import { API, EMAIL, PASSWORD, title, tokensOf } from "./journey.ts";

let opened: Promise<{ here: Ground; owner: Client }> | undefined;
/** One server, and the owner's browser at its console. */
const ground = () => {
  opened ??= (async () => {
    const here = await openGround();
    return { here, owner: (await atConsole(here, "owner")).browser };
  })();
  return opened;
};

const CONFIRM = "button-danger";
const FORM = 'name="version"';

/** Opens a page, sends its form, and returns the page that follows. */
async function send(
  browser: Client,
  path: string,
  fields: Readonly<Record<string, string>> = {},
  match = FORM,
): Promise<Answer> {
  const page = await browser.get(path);
  assert.equal(page.status, 200, `${path}: ${page.text.slice(0, 400)}`);
  return browser.follow(await browser.submit(page, fields, { match }));
}

/** The error beside a field. */
function faultOf(page: Answer, field: string): string {
  const [, text = ""] = new RegExp(`id="${field}-error">.*?<span>(.*?)</span>`, "s").exec(page.text) ?? [];
  return decodeEntities(text);
}

test("people are found by address, name and id, and an empty search says what to do", async () => {
  const { here, owner } = await ground();
  const list = await owner.get("/admin/users");
  assert.equal(list.status, 200);
  for (const text of ["Maya Lindqvist", "auditor@lindqvist.example", "Unconfirmed", "Create an account"])
    assert.ok(list.text.includes(text), text);
  for (const query of ["maya", "Lindqvist", here.userId]) {
    const found = await owner.get(`/admin/users?query=${query}`);
    assert.ok(found.text.includes("Maya Lindqvist") && !found.text.includes("auditor@"), query);
  }
  assert.match((await owner.get("/admin/users?query=zzz")).text, /Nothing fits these filters/);
});

test("an account is created without a password; what is refused stands beside its field with what was typed", async () => {
  const { here, owner } = await ground();
  const bad = await send(owner, "/admin/users/new", { email: "nobody", name: "Zoe Berg", zoneinfo: "Nowhere" });
  assert.equal(bad.status, 400);
  assert.match(faultOf(bad, "zoneinfo"), /time zone/);
  assert.match(bad.text, /name="name"[^>]*value="Zoe Berg"/);
  const address = await send(owner, "/admin/users/new", { email: "nobody", name: "Zoe Berg" });
  assert.match(faultOf(address, "email"), /Complete your e-mail address/);
  const taken = await send(owner, "/admin/users/new", { email: EMAIL });
  assert.equal(taken.status, 409);
  assert.match(faultOf(taken, "email"), /somebody has this one/);
  const page = await send(owner, "/admin/users/new", { email: "zoe@example.org", name: "Zoe Berg", locale: "de" });
  assert.match(title(page), /^Zoe Berg/);
  assert.match(page.text, /The account is created.*Send a link to set a password/s);
  const user = await here.service.users.findByEmail("zoe@example.org");
  assert.deepEqual([user?.hasPassword, user?.claims], [false, { name: "Zoe Berg", locale: "de" }]);
});

test("an invitation goes out, and not to somebody who has an account", async () => {
  const { here, owner } = await ground();
  const page = await send(owner, "/admin/users/invite", { email: "invited@example.org", language: "de" });
  assert.match(page.text, /The invitation is on its way/);
  const { mails } = here.service;
  const isQueued = async () => (await mails.list({ limit: 50 })).some(({ to }) => to === "invited@example.org");
  assert.ok(await isQueued(), "the mail is queued");
  assert.match(faultOf(await send(owner, "/admin/users/invite", { email: EMAIL }), "email"), /somebody has this one/);
});

test("all claims are changed; an emptied one goes; the second of two administrators is told and loses nothing", async () => {
  const { here, owner } = await ground();
  const id = await here.createUser("claims@example.org");
  const path = `/admin/users/${id}/edit`;
  const stale = await owner.get(path);
  const filled = {
    ...{ name: "Ada Byron", given_name: "Ada", middle_name: "King", family_name: "Byron", nickname: "ada" },
    ...{
      preferred_username: "ada.byron",
      locale: "en-GB",
      zoneinfo: "Europe/London",
      phone_number: "+44 20 7946 0000",
    },
    ...{ birthdate: "1815-12-10", gender: "female", profile: "https://ada.example/", picture: "https://ada.example/p" },
    website: "https://ada.example/w",
  };
  const address = { street_address: "12 St James's Square\nFlat 2", locality: "London", country: "England" };
  const parts = Object.fromEntries(Object.entries(address).map(([name, value]) => [`address.${name}`, value]));
  const saved = await send(owner, path, { ...filled, ...parts });
  assert.match(saved.text, /The changes are saved/);
  assert.deepEqual((await here.service.users.find(id))?.claims, { ...filled, address });
  const second = await owner.submit(stale, { nickname: "late" }, { match: FORM });
  assert.equal(second.status, 412);
  assert.match(second.text, /Somebody else has changed this/);
  assert.match(second.text, /name="nickname"[^>]*value="late"/);
  const faulty = await send(owner, path, { "address.country": "x".repeat(300) });
  assert.match(faultOf(faulty, "address\\.country"), /more than 200/);
  const none = { "address.street_address": "", "address.locality": "", "address.country": "" };
  await send(owner, path, { ...none, nickname: "", email: "other@example.org" });
  const { nickname: _, ...kept } = filled;
  const user = await here.service.users.find(id);
  assert.deepEqual([user?.email, user?.claims], ["other@example.org", kept]);
});

test("a password is reset with a mail; an account is disabled, enabled and, with its address typed, deleted", async () => {
  const { here, owner } = await ground();
  const { users, mails } = here.service;
  const id = await here.createUser("leaving@example.org");
  const path = `/admin/users/${id}`;
  const question = await owner.get(`${path}/reset-password`);
  for (const text of ["The password opens nothing", "A mail to leaving@example.org"])
    assert.ok(question.text.includes(text), text);
  assert.match((await send(owner, `${path}/reset-password`, {}, CONFIRM)).text, /The password is reset/);
  assert.equal((await users.find(id))?.hasPassword, false);
  const sent = (await mails.list({ limit: 50 })).filter(({ to }) => to === "leaving@example.org");
  assert.equal(sent.length, 1);
  assert.match(
    (await send(owner, `${path}/disable`, {}, CONFIRM)).text,
    /The account is disabled.*Enable the account/s,
  );
  assert.equal((await users.find(id))?.isDisabled, true);
  assert.match((await send(owner, `${path}/enable`, {}, "Enable leaving")).text, /The account is enabled/);
  assert.equal((await users.find(id))?.isDisabled, false);
  const wrong = await send(owner, `${path}/delete`, { typed: "leaving" }, CONFIRM);
  assert.equal(wrong.status, 400);
  assert.ok((await users.find(id)) !== undefined, "nothing is deleted by a wrong word");
  const gone = await send(owner, `${path}/delete`, { typed: "leaving@example.org" }, CONFIRM);
  assert.match(gone.text, /The account is deleted/);
  assert.equal(await users.find(id), undefined);
  assert.equal((await owner.get(path)).status, 404);
});

test("roles are given and taken; the last owner is refused with words; nobody gives beyond their own", async () => {
  const { here, owner } = await ground();
  const id = await here.createUser("helper@example.org");
  const page = await send(owner, `/admin/users/${id}/roles/give`, { role: "support" });
  assert.match(page.text, /The role is given.*\/roles\/support\/take/s);
  assert.match(
    (await send(owner, `/admin/users/${id}/roles/support/take`, {}, CONFIRM)).text,
    /The role is taken away/,
  );
  assert.deepEqual(await here.service.roles.names({ kind: "user", id }), []);
  const self = `/admin/users/${here.people.owner}`;
  for (const [act, typed] of [
    ["roles/owner/take", ""],
    ["disable", ""],
    ["delete", "owner@lindqvist.example"],
  ]) {
    const refused = await send(owner, `${self}/${act}`, { typed: typed ?? "" }, CONFIRM);
    assert.equal(refused.status, 409, act);
    assert.match(refused.text, /This is the last owner who can sign in/);
  }
  const { roles } = here.service;
  await roles.create(
    {
      name: "giver",
      permissions: [
        { identifier: "urn:signet:admin", scopes: ["users:read", "users:write", "roles:read", "roles:write"] },
      ],
    },
    BY,
  );
  await roles.grant({ kind: "user", id: here.people.support }, "giver", BY);
  const giver = (await atConsole(here, "support")).browser;
  const beyond = await send(giver, `/admin/users/${id}/roles/give`, { role: "admin" });
  assert.equal(beyond.status, 403);
  assert.match(beyond.text, /This goes beyond your own rights/);
  const reach = await send(giver, `${self}/disable`, {}, CONFIRM);
  assert.equal(reach.status, 403);
  await roles.revoke({ kind: "user", id: here.people.support }, "giver", BY);
});

test("sessions, what apps have and what they were allowed are listed and ended one by one, and all at once", async () => {
  const { here, owner } = await ground();
  const { sessions, consents } = here.service;
  const path = `/admin/users/${here.userId}`;
  const signIn = async () =>
    tokensOf(here.client(), await here.party(here.web), {
      scope: "openid profile offline_access read:things",
      parameters: { prompt: "consent" },
      tick: ["offline_access"],
    });
  await signIn();
  await signIn();
  const page = await owner.get(path);
  for (const text of ["Where they are signed in", "Harbor Notes", "offline_access", "sign_in.succeeded", "Themselves"])
    assert.ok(page.text.includes(text), text);
  const linkTo = (shown: Answer, what: string) => new RegExp(`href="(${path}/${what})"`).exec(shown.text)?.[1] ?? what;
  const end = linkTo(page, "sessions/[^/]+/end");
  const question = await owner.get(end);
  assert.match(await send(owner, end, {}, CONFIRM).then(({ text }) => text), /The session is ended/);
  assert.equal((await sessions.list({ userId: here.userId })).length, 1);
  const twice = await owner.follow(await owner.submit(question, {}, { match: CONFIRM }));
  assert.equal(twice.status, 200, "a second press is harmless");
  const before = (await sessions.listGrants({ userId: here.userId })).length;
  assert.match((await send(owner, linkTo(page, "grants/[^/]+/end"), {}, CONFIRM)).text, /The access is ended/);
  assert.equal((await sessions.listGrants({ userId: here.userId })).length, before - 1);
  const withdrawn = await send(owner, linkTo(page, "consents/[^/]+/withdraw"), {}, CONFIRM);
  assert.match(withdrawn.text, /The consent is withdrawn/);
  assert.deepEqual(await consents.listOf(here.userId), []);
  await signIn();
  assert.match((await send(owner, `${path}/sign-out`, {}, CONFIRM)).text, /They are signed out everywhere/);
  const left = [await sessions.list({ userId: here.userId }), await sessions.listGrants({ userId: here.userId })];
  assert.deepEqual(left, [[], []]);
  assert.equal((await owner.get(`${path}/sessions/${"x".repeat(43)}/end`)).status, 404);
});

test("an auditor sees everything and finds no form; support ends sessions and sees no more than its scopes", async () => {
  const { here } = await ground();
  const auditor = (await atConsole(here, "auditor")).browser;
  const support = (await atConsole(here, "support")).browser;
  const path = `/admin/users/${here.userId}`;
  const api = (await here.service.apis.find(API))?.id;
  const seen = await auditor.get(path);
  assert.match(seen.text, /What happened last/);
  for (const page of [seen, await auditor.get("/admin/users"), await auditor.get(`/admin/apis/${api}`)])
    assert.doesNotMatch(page.text, /\/(edit|new|invite|delete|disable|give|end|withdraw|json|add-scope)"/);
  const forms = [
    "/admin/users/new",
    `${path}/edit`,
    `${path}/delete`,
    `/admin/apis/${api}/edit`,
    `/admin/apis/${api}/json`,
  ];
  for (const form of forms) {
    const answer = await auditor.get(form);
    assert.equal(answer.status, 403, form);
    assert.match(answer.text, /write/);
    const csrf = /name="csrf" value="([^"]+)"/.exec(seen.text)?.[1] ?? "";
    const headers = { origin: here.issuer, "sec-fetch-site": "same-origin" };
    assert.equal((await auditor.post(form, { csrf, typed: EMAIL, name: "x" }, headers)).status, 403, form);
  }
  const helped = await support.get(path);
  assert.match(helped.text, /Sign them out everywhere/);
  assert.doesNotMatch(helped.text, /What happened last|Disable the account|Give a role/);
  assert.equal((await support.get("/admin/apis")).status, 403);
});

test("an API is created, found, changed and deleted; what is refused stands beside its field", async () => {
  const { here, owner } = await ground();
  const wanted = { name: "Ledger", identifier: "https://ledger.example/#x", scopes: "read:ledger See it\nopenid" };
  const bad = await send(owner, "/admin/apis/new", { ...wanted, token_lifetime: "5" });
  assert.equal(bad.status, 400);
  assert.match(faultOf(bad, "identifier"), /has a fragment/);
  assert.match(faultOf(bad, "scopes"), /^2: is a scope of OpenID Connect/);
  assert.match(faultOf(bad, "token_lifetime"), /less than 60/);
  assert.match(bad.text, /read:ledger See it\nopenid</);
  const good = { name: "Ledger", identifier: "https://ledger.example", scopes: "read:ledger See it\nwrite:ledger" };
  const page = await send(owner, "/admin/apis/new", { ...good, roles_claim: "yes", signing_alg: "EdDSA" });
  assert.match(page.text, /The API is created/);
  const api = await here.service.apis.find("https://ledger.example");
  assert.deepEqual(
    [api?.scopes, api?.signingAlgorithm, api?.hasRolesClaim, api?.allowsRefresh],
    [
      [
        { scope: "read:ledger", description: "See it" },
        { scope: "write:ledger", description: "write:ledger" },
      ],
      "EdDSA",
      true,
      true,
    ],
  );
  const taken = await send(owner, "/admin/apis/new", good);
  assert.match(faultOf(taken, "identifier"), /an API has this one already/);
  assert.match((await owner.get("/admin/apis?query=ledg")).text, /https:\/\/ledger\.example/);
  const path = `/admin/apis/${api?.id}`;
  const stale = await owner.get(`${path}/edit`);
  await send(owner, `${path}/edit`, { name: "Ledger 2", token_format: "opaque", token_lifetime: "300" });
  const changed = await here.service.apis.findById(api?.id ?? "");
  assert.deepEqual(
    [changed?.name, changed?.tokenFormat, changed?.tokenLifetimeSeconds, changed?.signingAlgorithm],
    ["Ledger 2", "opaque", 300, "EdDSA"],
  );
  assert.equal((await owner.submit(stale, { name: "Late" }, { match: FORM })).status, 412);
  await here.register({
    client_type: "service",
    client_name: "Counter",
    apis: [{ identifier: "https://ledger.example", scopes: ["read:ledger"] }],
  });
  assert.match((await owner.get(`${path}/delete`)).text, /These clients lose it: Counter\./);
  assert.match((await send(owner, `${path}/delete`, { typed: "Ledger 2" }, CONFIRM)).text, /The API is deleted/);
  assert.equal(await here.service.apis.findById(api?.id ?? ""), undefined);
});

test("an API and a role are replaced as JSON, read as strictly as the REST API reads it", async () => {
  const { here, owner } = await ground();
  const { apis, roles } = here.service;
  const api = await apis.create({ identifier: "https://json.example", name: "Json" }, BY);
  const path = `/admin/apis/${api.id}/json`;
  const stale = await owner.get(path);
  const document = { name: "Json 2", scopes: [{ scope: "read:json", description: "<b>" }], token_lifetime: 120 };
  for (const [json, reason] of [
    ['{"name":"a","name":"b"}', /stands twice/],
    ['{"name":', /is not JSON/],
    ["", /is not JSON/],
    ["[]", /expected object/],
    [JSON.stringify({ ...document, created_at: "x" }), /created_at is not a field/],
    [JSON.stringify({ ...document, identifier: "https://other.example" }), /cannot be changed/],
  ] as const) {
    const refused = await send(owner, path, { json });
    assert.equal(refused.status, 400, json);
    assert.match(faultOf(refused, "json"), reason);
    assert.ok(decodeEntities(refused.text).includes(`>${json}</textarea>`), "what was typed is kept");
  }
  assert.match((await send(owner, path, { json: JSON.stringify(document) })).text, /The changes are saved/);
  const now = await apis.findById(api.id);
  assert.deepEqual([now?.name, now?.tokenLifetimeSeconds, now?.scopes], ["Json 2", 120, document.scopes]);
  assert.equal((await owner.submit(stale, { json: JSON.stringify(document) }, { match: FORM })).status, 412);
  const many = Array.from({ length: 90 }, (_, index) => ({ scope: `s${index}`, description: "é".repeat(190) }));
  await send(owner, path, { json: JSON.stringify({ name: "Long", scopes: many }) });
  assert.equal((await apis.findById(api.id))?.scopes.length, 90, "a document longer than a form is taken");
  await roles.create({ name: "reader", description: "Reads" }, BY);
  const permissions = [{ identifier: API, scopes: ["read:things"] }];
  const saved = await send(owner, "/admin/roles/reader/json", { json: JSON.stringify({ permissions }) });
  assert.match(saved.text, /The changes are saved/);
  const role = await roles.find("reader");
  assert.deepEqual([role?.description, role?.permissions], ["reader", permissions]);
  assert.equal((await send(owner, "/admin/roles/owner/json", { json: "{}" })).status, 409);
});

test("a document that is sent too long after the sign-in is kept, and taken after a new one beside it", async (t) => {
  const { here } = await ground();
  const { browser } = await atConsole(here, "owner");
  const api = await here.service.apis.create({ identifier: "https://late.example", name: "Late" }, BY);
  const path = `/admin/apis/${api.id}/json`;
  const page = await browser.get(path);
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 310_000 });
  const json = '{ "name": "Later" }';
  const late = await browser.submit(page, { json }, { match: FORM });
  assert.equal(late.status, 403);
  assert.match(late.text, /Your sign-in is more than five minutes old/);
  assert.ok(decodeEntities(late.text).includes(`>${json}</textarea>`), "what was typed is kept");
  assert.equal((await here.service.apis.findById(api.id))?.name, "Late");
  assert.match(String((await browser.get(path)).location), /sign-in\?again=yes/);
  const beside = await browser.follow(await browser.get(/href="([^"]*again=yes[^"]*)"/.exec(late.text)?.[1] ?? ""));
  const who = { email: "owner@lindqvist.example", password: PASSWORD };
  await browser.follow(await browser.submit(beside, who, { match: 'name="password"' }));
  const sent = await browser.follow(await browser.submit(late, {}, { match: FORM }));
  assert.match(sent.text, /The changes are saved/);
  assert.equal((await here.service.apis.findById(api.id))?.name, "Later");
});

test("scopes are added, worded in each language and deleted, and the page says who loses one", async () => {
  const { here, owner } = await ground();
  const { apis, roles } = here.service;
  const api = await apis.create({ identifier: "https://scopes.example", name: "Scopes" }, BY);
  const path = `/admin/apis/${api.id}`;
  const scopes = async () => (await apis.findById(api.id))?.scopes;
  assert.match((await owner.get(path)).text, /It has no scopes yet/);
  const words = { description: "See it", descriptions: "de: Sehen\nfr: Voir" };
  const added = await send(owner, `${path}/add-scope`, { scope: "https://x.example/read", ...words });
  assert.match(added.text, /The scope is added/);
  const made = { scope: "https://x.example/read", description: "See it", descriptions: { de: "Sehen", fr: "Voir" } };
  assert.deepEqual(await scopes(), [made]);
  assert.match(faultOf(await send(owner, `${path}/add-scope`, { scope: made.scope }), "scope"), /is there already/);
  assert.match(faultOf(await send(owner, `${path}/add-scope`, { scope: "a b" }), "scope"), /printable ASCII/);
  const own = `${path}/scopes/${encodeURIComponent(made.scope)}`;
  for (const [descriptions, reason] of [
    ["de: a\nSehen", /^2: begins with no language tag/],
    ["de: a\nde: b", /^2: is a language that stands above/],
    ["de_DE: a", /is not a language tag/],
  ] as const) {
    const refused = await send(owner, own, { descriptions });
    assert.equal(refused.status, 400, descriptions);
    assert.match(faultOf(refused, "descriptions"), reason);
  }
  assert.match((await send(owner, own, { description: "", descriptions: "de: Lesen" })).text, /The changes are saved/);
  assert.deepEqual(await scopes(), [{ ...made, description: made.scope, descriptions: { de: "Lesen" } }]);
  await roles.create(
    { name: "scoped", permissions: [{ identifier: "https://scopes.example", scopes: [made.scope] }] },
    BY,
  );
  assert.match((await owner.get(`${own}/delete`)).text, /These roles lose it: scoped\./);
  assert.match((await send(owner, `${own}/delete`, {}, CONFIRM)).text, /The scope is deleted/);
  assert.deepEqual([await scopes(), (await roles.find("scoped"))?.permissions], [[], []]);
});

test("of Signet's own API only the lifetime can be changed, and the page says why", async () => {
  const { here, owner } = await ground();
  const api = await here.service.apis.find("urn:signet:admin");
  const path = `/admin/apis/${api?.id}`;
  const page = await owner.get(path);
  assert.match(page.text, /This is Signet(&#39;|')s own API/);
  assert.doesNotMatch(page.text, /\/(json|delete|add-scope)"/);
  assert.match((await send(owner, `${path}/edit`, { token_lifetime: "601" })).text, /The changes are saved/);
  for (const [act, fields, match] of [
    ["json", {}, FORM],
    ["delete", { typed: "Administration" }, CONFIRM],
    ["scopes/users:read", {}, FORM],
  ] as const) {
    const refused = await send(owner, `${path}/${act}`, fields, match);
    assert.equal(refused.status, 409, act);
    assert.match(refused.text, /own API cannot be changed/);
  }
});

test("where nobody can sign up or no mail is sent, inviting and resetting say so and how to change it", async () => {
  const port = String(await freePort());
  const issuer = `https://127.0.0.1:${port}`;
  const env = { NODE_ENV: "production", ISSUER: issuer, PORT: port, TRUST_PROXY: "1", LOG_FORMAT: "json" };
  const { service, client: open } = await startSignet({ engine: "postgres", env });
  const user = await service.users.create({ email: "owner@lindqvist.example", password: PASSWORD, isOwner: true }, BY);
  const browser = open();
  const headers = { "x-forwarded-proto": "https" };
  const plain = (url: string) => url.replace(/^https:/, "http:");
  const follow = async (answer: Answer): Promise<Answer> =>
    answer.location === undefined ? answer : follow(await browser.get(plain(answer.location), headers));
  const login = await follow(await browser.get(plain(`${issuer}/admin/users/invite`), headers));
  const sent = await browser.submit(
    login,
    { email: user.email, password: PASSWORD },
    { match: 'name="password"', headers: { ...headers, origin: issuer } },
  );
  const page = await follow(sent);
  for (const text of ["SIGN_UP", "SMTP_URL", "You can still create an account"])
    assert.ok(page.text.includes(text), text);
  assert.doesNotMatch(page.text, /Send the invitation/);
  const reset = await browser.get(plain(`${issuer}/admin/users/${user.id}/reset-password`), headers);
  assert.match(reset.text, /This server sends no mail/);
  assert.ok((await service.users.find(user.id))?.hasPassword, "the password stands");
});
