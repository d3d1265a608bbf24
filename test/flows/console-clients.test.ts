/** The console's clients: each page shown, each form done once, and what it did read back from the service. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as openid from "openid-client";
import { type Answer, decodeEntities } from "../support.ts";
import { BY, type Ground, openGround } from "./admin.ts";
import { type AtConsole, atConsole } from "./console-ground.ts";
import { API, CALLBACK, tokensOf } from "./journey.ts";

let opened: Promise<{ readonly here: Ground; readonly owner: AtConsole }> | undefined;
const ground = () => {
  opened ??= openGround().then(async (here) => ({ here, owner: await atConsole(here, "owner", "/admin/clients") }));
  return opened;
};

/** The text of the page as a person reads it. */
function words(answer: Answer): string {
  return decodeEntities(answer.text.replace(/<[^>]+>/g, ""));
}

/** The `NAME=value` lines that the page shows for a .env file. */
function environmentOf({ text }: Answer): Readonly<Record<string, string>> {
  const blocks = [...text.matchAll(/<code class="code-whole">([\s\S]*?)<\/code>/g)].map(([, block = ""]) => block);
  const lines = decodeEntities((blocks.find((block) => block.includes("ISSUER<")) ?? "").replace(/<[^>]+>/g, ""));
  const pairs = lines.split("\n").map((line) => {
    const [, name = "", value = ""] = /^([A-Z_]+)=(.*)$/.exec(line) ?? [];
    return [name, value.startsWith('"') ? String(JSON.parse(value)) : value];
  });
  return Object.fromEntries(pairs);
}

function secretOf(answer: Answer): string {
  return /<code class="copy-value"[^>]*>([^<]+)</.exec(answer.text)?.[1] ?? "";
}

async function apiField(here: Ground): Promise<string> {
  return `scopes_${(await here.service.apis.find(API))?.id}`;
}

/** A client of a name of its own. */
async function made(here: Ground, name: string, more: Record<string, unknown> = {}): Promise<string> {
  const client = { client_type: "web", client_name: name, redirect_uris: [CALLBACK], ...more };
  return (await here.register(client)).id;
}

test("the list finds a client by the beginning of its name and by its id, and says its state", async () => {
  const { here, owner } = await ground();
  assert.match(words(owner.answer), /Harbor Notes/);
  const id = await made(here, "Quayside");
  await here.service.clients.setDisabled(id, true, BY);
  for (const query of ["Quay", id]) {
    const found = await owner.browser.get(`/admin/clients?query=${query}`);
    assert.match(words(found), /Quayside[\s\S]*Web app[\s\S]*Disabled/, query);
    assert.doesNotMatch(found.text, /Harbor Notes/, query);
  }
  assert.match(words(await owner.browser.get("/admin/clients?query=nobody")), /Nothing fits these filters/);
});

test("a client is registered step by step, and openid-client signs in with the very values that the last page shows", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  const kind = await browser.get("/admin/clients/new");
  const nameless = await browser.submit(kind, { client_name: "" }, { match: 'name="draft"' });
  assert.equal(nameless.status, 400);
  assert.match(nameless.text, /id="client_name"[^>]*aria-invalid="true"/);
  const addresses = await browser.follow(
    await browser.submit(nameless, { client_name: "Harbor Wizard" }, { match: 'name="draft"' }),
  );
  assert.equal(new URL(addresses.url).pathname, "/admin/clients/new/addresses");
  const typed = "http://app.example/callback\nhttps://app.example/#x";
  const refused = await browser.submit(addresses, { redirect_uris: typed }, { match: 'name="draft"' });
  assert.equal(refused.status, 400);
  assert.match(words(refused), /"http:\/\/app\.example\/callback" must begin with https:\/\//);
  assert.match(words(refused), /"https:\/\/app\.example\/#x" has a fragment/);
  assert.match(words(refused), /http:\/\/app\.example\/callback\nhttps:\/\/app\.example\/#x/);
  const access = await browser.follow(
    await browser.submit(refused, { redirect_uris: CALLBACK }, { match: 'name="draft"' }),
  );
  // A reload of the step is the same page.
  assert.match(words(await browser.get(access.url)), /See your things/);
  const fields = { [await apiField(here)]: "read:things", offline_access: "" };
  const sent = await browser.submit(access, fields, { match: 'name="draft"' });
  assert.equal(sent.status, 200, words(sent));
  const env = environmentOf(sent);
  const secret = secretOf(sent);
  assert.match(secret, /^sgn_cs_/);
  assert.equal(sent.text.split(secret).length, 2, "the secret stands once");
  const { CLIENT_ID: id = "", SCOPE: scope = "", RESOURCE: resource = "", REDIRECT_URI: redirectUri = "" } = env;
  const config = await openid.discovery(new URL(env["ISSUER"] ?? ""), id, {}, openid.ClientSecretBasic(secret), {
    execute: [openid.allowInsecureRequests],
  });
  const tokens = await tokensOf(here.client(), config, { scope, redirectUri, parameters: { resource } });
  assert.equal(tokens.claims()?.["name"], "Maya Lindqvist", "the app of the page greets by the ID token");
  assert.equal(tokens.scope, "read:things", "one token, one audience: it is for the API");
  const client = await here.service.clients.find(id);
  assert.equal(client?.metadata.scope, "openid profile email phone address");
  assert.deepEqual(
    client?.apis.map(({ identifier, isDefault }) => [identifier, isDefault]),
    [[API, true]],
  );
  const facts = await browser.get(`/admin/clients/${id}`);
  const settings = await browser.get(`/admin/clients/${id}/settings`);
  for (const page of [facts, settings]) assert.doesNotMatch(page.text, new RegExp(secret));
  assert.deepEqual(environmentOf(settings), env);
});

test("a registration that is sent twice, or whose answer is loaded again, makes one client and shows the same secret", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  const kind = await browser.get("/admin/clients/new");
  const access = await browser.follow(
    await browser.submit(kind, { client_name: "Twice Sent", client_type: "service" }, { match: 'name="draft"' }),
  );
  assert.equal(new URL(access.url).pathname, "/admin/clients/new/access");
  const fields = { [await apiField(here)]: "read:things" };
  // Both presses of a double click: the browser shows the answer to the second.
  const [first, second] = (await Promise.all(
    [1, 2].map(() => browser.submit(access, fields, { match: 'name="draft"' })),
  )) as [Answer, Answer];
  assert.equal(secretOf(first), secretOf(second));
  const found = await here.service.clients.list({ limit: 50, query: "Twice Sent" });
  assert.equal(found.length, 1);
  const { ISSUER: issuer = "", CLIENT_ID: id = "" } = environmentOf(first);
  const config = await openid.discovery(new URL(issuer), id, {}, openid.ClientSecretBasic(secretOf(first)), {
    execute: [openid.allowInsecureRequests],
  });
  const token = await openid.clientCredentialsGrant(config, { resource: API, scope: "read:things" });
  assert.equal(token.scope, "read:things");
});

test("each kind ends with settings of its own", async () => {
  const { here, owner } = await ground();
  const server = await made(here, "Kinds", {
    client_type: "resource-server",
    redirect_uris: [],
    apis: [{ identifier: API }],
  });
  for (const [id, wanted] of [
    [here.web.id, ["Express", "Next.js", "Spring Boot", "Django", "ASP.NET Core", "Any other"]],
    [here.spa.id, ["oidc-client-ts", "Any other"]],
    [here.native.id, ["AppAuth, Android", "AppAuth, iOS"]],
    [here.machine.id, ["grant_type=client_credentials"]],
    [server, ["signet-verifier", "/introspect"]],
  ] as const) {
    const page = words(await owner.browser.get(`/admin/clients/${id}/settings`));
    for (const text of [...wanted, id, here.issuer]) assert.ok(page.includes(text), `${id} lacks ${text}`);
  }
});

test("what is no draft leads to the first step, and an API that is no client's choice is refused beside its field", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  for (const draft of ["", "x", Buffer.from('{"client_type":"web"}').toString("base64url")])
    assert.equal((await browser.get(`/admin/clients/new/access?draft=${draft}`)).status, 303, draft);
  const draft = Buffer.from(JSON.stringify({ client_type: "service", client_name: "No Default" })).toString(
    "base64url",
  );
  const access = await browser.get(`/admin/clients/new/access?draft=${draft}`);
  const refused = await browser.submit(access, { default_api: API }, { match: 'name="draft"' });
  assert.equal(refused.status, 400);
  assert.match(refused.text, /id="default_api-error"/);
  assert.equal((await here.service.clients.list({ limit: 5, query: "No Default" })).length, 0);
});

test("a client is changed field by field; what is refused is marked, and the second of two administrators is told so", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  const id = await made(here, "Edited", { apis: [{ identifier: API, scopes: ["read:things"], default: true }] });
  const page = await browser.get(`/admin/clients/${id}/edit`);
  const match = 'name="version"';
  const wrong = { ...checked(page), redirect_uris: "http://far.example/cb", client_name: "Edited Twice" };
  const bad = await browser.submit(page, wrong, { match });
  assert.equal(bad.status, 400);
  assert.match(bad.text, /id="redirect_uris-error"/);
  assert.match(bad.text, /value="Edited Twice"/);
  const change = {
    ...checked(page),
    ...{ client_name: "Edited Twice", contacts: "dev@app.example", refresh_window: "5", first_party: "yes" },
    scope: ["openid", "email"],
    [await apiField(here)]: "write:things",
  };
  assert.equal(
    (await browser.submit(page, change, { match })).location,
    `${here.issuer}/admin/clients/${id}?done=saved`,
  );
  const client = await here.service.clients.find(id);
  assert.equal(client?.name, "Edited Twice");
  assert.deepEqual(client?.metadata.contacts, ["dev@app.example"]);
  assert.equal(client?.metadata.scope, "openid email");
  assert.deepEqual([client?.settings.refreshWindowSeconds, client?.settings.isFirstParty], [5, true]);
  assert.deepEqual(
    client?.apis.map(({ scopes }) => scopes),
    [["write:things"]],
  );
  const stale = await browser.submit(page, change, { match });
  assert.equal(stale.status, 412);
  assert.match(words(stale), /Somebody else has changed this/);
});

test("the form of a kind has no field that the kind does not take, and saves as it is shown", async () => {
  const { here, owner } = await ground();
  const server = await made(here, "Plain", {
    client_type: "resource-server",
    redirect_uris: [],
    apis: [{ identifier: API }],
  });
  for (const [id, lacks] of [
    [here.spa.id, ["token_endpoint_auth_method", "pkce_optional", "jwks"]],
    [here.native.id, ["token_endpoint_auth_method", "introspect_apis"]],
    [here.machine.id, ["redirect_uris", "refresh_idle", "first_party"]],
    [server, ["redirect_uris", "default_api"]],
    [here.web.id, []],
  ] as const) {
    const page = await owner.browser.get(`/admin/clients/${id}/edit`);
    for (const name of lacks) assert.ok(!page.text.includes(`name="${name}"`), `${id} has ${name}`);
    const before = await here.call(here.tokens.owner, "GET", `/clients/${id}`);
    const fields = checked(page);
    const saved = await owner.browser.submit(page, fields, { match: 'name="version"' });
    assert.equal(saved.status, 303, words(saved));
    assert.equal((await here.call(here.tokens.owner, "GET", `/clients/${id}`)).text, before.text);
  }
});

/** Every ticked box of a name, as a browser sends them. */
function checked({ text }: Answer): Readonly<Record<string, readonly string[]>> {
  const boxes = [...text.matchAll(/<input type="checkbox" name="([^"]+)" value="([^"]+)" checked/g)];
  const names = [...new Set(boxes.map(([, name = ""]) => name))];
  return Object.fromEntries(
    names.map((name) => [name, boxes.filter(([, of]) => of === name).map(([, , value = ""]) => decodeEntities(value))]),
  );
}

test("the whole metadata is replaced as JSON, read as strictly as at the REST API", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  const id = await made(here, "As Json", { software_id: "x" });
  const page = await browser.get(`/admin/clients/${id}/json`);
  const match = 'name="version"';
  const shown = /<textarea[^>]*>([\s\S]*?)<\/textarea>/.exec(page.text)?.[1] ?? "";
  const metadata = JSON.parse(decodeEntities(shown)) as Record<string, unknown>;
  assert.equal(metadata["software_id"], "x");
  for (const [json, reason] of [
    ['{"client_name": "a", "client_name": "b"}', /stands twice/],
    ["{", /not JSON/],
    [JSON.stringify({ ...metadata, client_secret: "x" }), /client_secret is refused/],
    [JSON.stringify({ ...metadata, redirect_uris: ["/cb"] }), /redirect_uris/],
  ] as const) {
    const refused = await browser.submit(page, { json }, { match });
    assert.equal(refused.status, 400, json);
    assert.match(words(refused), reason);
    assert.ok(words(refused).includes(json.slice(0, 20)), "what was typed is still there");
  }
  const { software_id: _gone, ...rest } = metadata;
  const json = JSON.stringify({ ...rest, client_name: "As Json Again" });
  assert.equal((await browser.submit(page, { json }, { match })).status, 303);
  const client = await here.service.clients.find(id);
  assert.deepEqual([client?.name, client?.metadata.software_id], ["As Json Again", undefined]);
  assert.equal((await browser.submit(page, { json }, { match })).status, 412);
});

test("a secret is added beside the old one, shown once, and one of them is let end", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  const id = await made(here, "Rotated");
  const page = await browser.get(`/admin/clients/${id}/secrets/new`);
  const added = await browser.submit(page, { overlap: "3600" }, { match: 'name="once"' });
  const secret = secretOf(added);
  assert.match(secret, /^sgn_cs_/);
  assert.equal(secretOf(await browser.submit(page, { overlap: "3600" }, { match: 'name="once"' })), secret);
  const [old, young] = (await here.service.clients.find(id))?.secrets ?? [];
  assert.ok(old?.expiresAt !== undefined && young !== undefined && young.expiresAt === undefined, "the old one ends");
  assert.doesNotMatch((await browser.get(`/admin/clients/${id}`)).text, new RegExp(secret));
  const wrong = await browser.submit(page, { overlap: "soon", once: "another" }, { match: 'name="once"' });
  assert.equal(wrong.status, 400);
  const end = await browser.get(`/admin/clients/${id}/secrets/${old.id}/expire`);
  assert.match(words(end), new RegExp(`End the secret …${old.hint}\\?`));
  assert.equal((await browser.submit(end, { expires_in: "0" }, { match: 'name="version"' })).status, 303);
  assert.deepEqual(
    (await here.service.clients.find(id))?.secrets.map((one) => one.id),
    [young.id],
  );
  assert.equal((await browser.get(`/admin/clients/${id}/secrets/${old.id}/expire`)).status, 404);
});

test("a client is disabled, enabled and deleted, each after a page that says what ends", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  const id = await made(here, "Short Lived");
  const done = async (verb: string, fields: Record<string, string> = {}) => {
    const page = await browser.get(`/admin/clients/${id}/${verb}`);
    assert.equal(page.status, 200, verb);
    return browser.submit(page, fields, { match: "button-" });
  };
  const isDisabled = async () => (await here.service.clients.find(id))?.isDisabled;
  assert.match(words(await browser.get(`/admin/clients/${id}/disable`)), /Every token it has ends/);
  assert.equal((await done("disable")).status, 303);
  assert.equal(await isDisabled(), true);
  assert.equal((await done("enable")).status, 303);
  assert.equal(await isDisabled(), false);
  assert.equal((await done("delete", { typed: "Something" })).status, 400);
  assert.equal(await isDisabled(), false);
  assert.equal((await done("delete", { typed: "Short Lived" })).status, 303);
  assert.equal(await isDisabled(), undefined);
  assert.equal((await browser.get(`/admin/clients/${id}`)).status, 404);
});

test("a service is given a role and loses it again", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  const id = here.machine.id;
  const page = await browser.get(`/admin/clients/${id}/roles/new`);
  assert.equal((await browser.submit(page, { role: "nothing" }, { match: 'name="version"' })).status, 404);
  assert.equal((await browser.submit(page, { role: "auditor" }, { match: 'name="version"' })).status, 303);
  const holder = { kind: "client", id } as const;
  assert.deepEqual(await here.service.roles.names(holder), ["auditor"]);
  assert.match((await browser.get(`/admin/clients/${id}`)).text, /roles\/auditor\/revoke/);
  const revoke = await browser.get(`/admin/clients/${id}/roles/auditor/revoke`);
  assert.equal((await browser.submit(revoke, {}, { match: "button-danger" })).status, 303);
  assert.deepEqual(await here.service.roles.names(holder), []);
});

test("who may not change clients sees no way to, and gets no form", async () => {
  const { here } = await ground();
  const auditor = await atConsole(here, "auditor", `/admin/clients/${here.web.id}`);
  assert.equal(auditor.answer.status, 200);
  assert.doesNotMatch(auditor.answer.text, /\/(edit|json|delete|disable|secrets\/new|expire)"/);
  const path = `/admin/clients/${here.web.id}`;
  const forms = [
    "/edit",
    "/json",
    "/secrets/new",
    "/disable",
    "/enable",
    "/delete",
    "/roles/new",
    "/roles/owner/revoke",
  ];
  for (const address of [...forms.map((form) => path + form), "/admin/clients/new", "/admin/clients/new/access"])
    assert.equal((await auditor.browser.get(address)).status, 403, address);
  const support = await atConsole(here, "support", "/admin/clients");
  assert.equal(support.answer.status, 403);
});

test("an API that the client got before it had scopes stays the client's when something else is saved", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  const api = await here.service.apis.create({ identifier: "https://late.example", name: "Late", scopes: [] }, BY);
  const id = await made(here, "Early", { apis: [{ identifier: "https://late.example", default: true }] });
  await here.service.apis.update(api.id, { scopes: [{ scope: "late:read", description: "Read" }] }, BY);
  const page = await browser.get(`/admin/clients/${id}/edit`);
  const fields = { ...checked(page), client_name: "Early Bird" };
  assert.equal((await browser.submit(page, fields, { match: 'name="version"' })).status, 303);
  const client = await here.service.clients.find(id);
  assert.deepEqual(
    [client?.name, client?.apis.map(({ identifier, scopes }) => [identifier, scopes])],
    ["Early Bird", [["https://late.example", []]]],
  );
});

test("what was changed since the question was asked is not deleted by the answer, and what is built in is nobody's to change", async () => {
  const { here, owner } = await ground();
  const { browser } = owner;
  const id = await made(here, "Doomed");
  const question = await browser.get(`/admin/clients/${id}/delete`);
  await here.service.clients.update(id, { contacts: ["saved@app.example"] }, BY);
  const stale = await browser.submit(question, { typed: "Doomed" }, { match: 'name="typed"' });
  assert.equal(stale.status, 412);
  assert.equal((await here.service.clients.find(id))?.name, "Doomed");
  const again = await browser.get(`/admin/clients/${id}/delete`);
  assert.equal((await browser.submit(again, { typed: "Doomed" }, { match: 'name="typed"' })).status, 303);
  assert.equal(await here.service.clients.find(id), undefined);
  for (const builtIn of ["signet-console", "signet-account"]) {
    assert.equal((await browser.get(`/admin/clients/${builtIn}`)).status, 404);
    assert.equal((await here.call(here.tokens.owner, "GET", `/clients/${builtIn}`)).status, 404);
  }
});
