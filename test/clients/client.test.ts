/** Clients in the database: registered, changed, rotated, disabled and deleted; what every process then knows, and what the trail says. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { createApis } from "../../src/apis/api.ts";
import { listEvents, record } from "../../src/audit/event.ts";
import {
  type Client,
  createClients,
  isClientSecret,
  presentClient,
  toProviderMetadata,
} from "../../src/clients/client.ts";
import { secondsAfter } from "../../src/clock.ts";
import { createLog } from "../../src/log.ts";
import { type Db, openDb } from "../../src/store/db.ts";
import { openNotices } from "../../src/store/notices.ts";
import { revocationGround } from "../revocations/ground.ts";
import { atEnd, eventually, testDatabase } from "../support.ts";

const by = { kind: "command" } as const;
const log = createLog({ level: "silent", pretty: false });
const web = { client_type: "web", client_name: "Web", redirect_uris: ["https://rp.example.com/cb"] };
const service = { client_type: "service", client_name: "Service" };
const API = "https://api.example.com";

/** One process's view of the database. */
async function open(connection: Parameters<typeof openDb>[0]["connection"]) {
  const db = openDb({ connection, max: 4, log });
  const notices = await openNotices({ connection, log });
  atEnd(async () => {
    await notices.close();
    await db.close();
  });
  const { revocations } = await revocationGround(connection);
  const clients = createClients({ db, notices, record, revocations, isDevelopment: false });
  return { db, clients, apis: createApis({ db, notices, record }) };
}

let here: Awaited<ReturnType<typeof open>>;
let there: Awaited<ReturnType<typeof open>>;
before(async () => {
  const { connection } = await testDatabase();
  [here, there] = [await open(connection), await open(connection)];
  await here.apis.create({ identifier: API, name: "Things", scopes: [{ scope: "read" }, { scope: "write" }] }, by);
  await here.apis.create({ identifier: "https://b.example", name: "B", scopes: [{ scope: "b" }] }, by);
});

const eventNames = async (db: Db, id: string): Promise<string[]> =>
  (await listEvents(db, { subjectId: id, limit: 50 })).map(({ name }) => name).reverse();
/** The stored rows of a client as one text, to look for what must not be in them. */
const dump = async (db: Db, id: string): Promise<string> =>
  JSON.stringify([
    await db.query("select * from clients where id = $1", [id]),
    await db.query("select * from client_secrets where client_id = $1", [id]),
    await db.query("select * from audit_events where subject_id = $1", [id]),
  ]);

test("a registered client is found, with its secret shown once and nowhere kept", async () => {
  const { client, secret = "" } = await here.clients.register(web, by);
  assert.match(client.id, /^cl_[A-Za-z0-9_-]{27}$/);
  assert.match(secret, /^sgn_cs_/);
  const found = await there.clients.find(client.id);
  assert.deepEqual(found, client);
  assert.equal(isClientSecret(client, secret, new Date()), true);
  assert.equal((await dump(here.db, client.id)).includes(secret), false);
  assert.equal(JSON.stringify(presentClient(client)).includes("hash"), false);
  assert.deepEqual(await eventNames(here.db, client.id), ["client.created"]);
});

test("clients that need no secret get none", async () => {
  const { client, secret } = await here.clients.register({ ...web, client_type: "spa" }, by);
  assert.equal(secret, undefined);
  assert.deepEqual(client.secrets, []);
  await assert.rejects(here.clients.rotateSecret(client.id, {}, by), { code: "client_has_no_secret" });
});

test("ids that cannot be ids are unknown without a question to the database", async () => {
  for (const id of ["", "a\0b", "x".repeat(65), "../x", "a b", "é", "__proto__%00"]) {
    assert.equal(await here.clients.find(id), undefined, id);
    await assert.rejects(here.clients.update(id, {}, by), { code: "client_unknown" }, id);
  }
  for (const id of ["cl_unknown", "__proto__", "constructor"]) assert.equal(await here.clients.find(id), undefined, id);
  await assert.rejects(here.clients.delete("cl_unknown", by), { code: "client_unknown" });
  await assert.rejects(here.clients.setDisabled("cl_unknown", true, by), { code: "client_unknown" });
});

test("what a client may ask for at an API is held against the API", async () => {
  const { client } = await here.clients.register({ ...service, apis: [{ identifier: API, scopes: ["write"] }] }, by);
  const [bound] = client.apis;
  assert.deepEqual(
    { ...bound, apiId: undefined },
    { apiId: undefined, identifier: API, scopes: ["write"], isDefault: true },
  );
  const all = await here.clients.register({ ...service, apis: [{ identifier: API }] }, by);
  assert.deepEqual(all.client.apis[0]?.scopes, ["read", "write"]);
  const refused = [
    [{ identifier: "https://unknown.example" }, "api_unknown"],
    [{ identifier: "https://api.example.com/" }, "api_unknown"],
    [{ identifier: "a\0b" }, "api_unknown"],
    [{ identifier: API, scopes: ["delete"] }, "client_invalid"],
    [{ identifier: API, scopes: ["b"] }, "client_invalid"],
  ] as const;
  const before = await here.db.query("select count(*)::int as count from clients");
  for (const [api, code] of refused) {
    await assert.rejects(here.clients.register({ ...service, apis: [api] }, by), { code }, api.identifier);
  }
  assert.deepEqual(await here.db.query("select count(*)::int as count from clients"), before, "nothing is half there");
  const optional = { ...web, apis: [{ identifier: API, scopes: ["read"] }], optional_scopes: ["write"] };
  await assert.rejects(here.clients.register(optional, by), { code: "client_invalid", message: /optional_scopes/ });
  await here.clients.register({ ...optional, optional_scopes: ["read", "email"] }, by);
});

test("a resource server is bound to its API and may ask for nothing", async () => {
  const { client } = await here.clients.register(
    { client_type: "resource-server", client_name: "Rs", apis: [{ identifier: API }] },
    by,
  );
  assert.deepEqual([client.apis.length, client.apis[0]?.scopes, client.apis[0]?.isDefault], [1, [], false]);
});

test("a change is seen by its own process at once and by the other within a second", async () => {
  const { client } = await here.clients.register(web, by);
  assert.equal((await there.clients.find(client.id))?.name, "Web");
  await here.clients.update(client.id, { client_name: "Renamed" }, by);
  assert.equal((await here.clients.find(client.id))?.name, "Renamed");
  await eventually(async () => (await there.clients.find(client.id))?.name === "Renamed", 1000);
  await there.clients.setDisabled(client.id, true, by);
  assert.equal((await there.clients.find(client.id))?.isDisabled, true);
  await eventually(async () => (await here.clients.find(client.id))?.isDisabled === true, 1000);
  await here.clients.setDisabled(client.id, true, by);
  await here.clients.setDisabled(client.id, false, by);
  await eventually(async () => (await there.clients.find(client.id))?.isDisabled === false, 1000);
  await there.clients.delete(client.id, by);
  assert.equal(await there.clients.find(client.id), undefined);
  await eventually(async () => (await here.clients.find(client.id)) === undefined, 1000);
  assert.deepEqual(await eventNames(here.db, client.id), [
    "client.created",
    "client.updated",
    "client.disabled",
    "client.enabled",
    "client.deleted",
  ]);
});

test("a client that was asked for before it existed is found once it does", async () => {
  const { client } = await here.clients.register(web, by);
  await here.clients.delete(client.id, by);
  assert.equal(await there.clients.find(client.id), undefined, "the absence is cached");
  await here.db.transaction(async (tx) => {
    await tx.query(
      "insert into clients select $1, type, name, metadata, settings, disabled_at, created_at, updated_at from clients limit 1",
      [client.id],
    );
    await tx.query("select pg_notify('signet', $1)", [`clients:${client.id}`]);
  });
  await eventually(async () => (await there.clients.find(client.id)) !== undefined, 1000);
});

test("an update is a patch that passes every rule of the registration", async () => {
  const { client } = await here.clients.register(
    { ...web, client_uri: "https://rp.example.com", apis: [{ identifier: API, scopes: ["read"] }] },
    by,
  );
  const updated = await here.clients.update(client.id, { client_uri: null, refresh_window: 0, first_party: true }, by);
  assert.equal(updated.metadata.client_uri, undefined);
  assert.deepEqual([updated.settings.refreshWindowSeconds, updated.settings.isFirstParty], [0, true]);
  assert.deepEqual(updated.apis, client.apis, "what is not named stays");
  assert.deepEqual(updated.secrets, client.secrets);
  const refused: readonly (readonly [Record<string, unknown>, string])[] = [
    [{ redirect_uris: ["https://rp.example.com/cb#x"] }, "client_redirect_uri_invalid"],
    [{ redirect_uris: ["javascript:alert(1)"] }, "client_redirect_uri_invalid"],
    [{ redirect_uris: [] }, "client_redirect_uri_invalid"],
    [{ redirect_uris: null }, "client_redirect_uri_invalid"],
    [{ post_logout_redirect_uris: ["http://evil.example/"] }, "client_redirect_uri_invalid"],
    [{ client_type: "spa" }, "client_invalid"],
    [{ client_id: "cl_other" }, "client_invalid"],
    [{ disabled: false }, "client_invalid"],
    [{ grant_types: ["password"] }, "client_invalid"],
    [{ logo_uri: "data:image/png,x" }, "client_invalid"],
    [{ client_name: null }, "client_invalid"],
    [{ nonsense: 1 }, "client_invalid"],
    [{ apis: [{ identifier: "https://unknown.example" }] }, "api_unknown"],
  ];
  for (const [change, code] of refused) {
    await assert.rejects(here.clients.update(client.id, change, by), { code }, JSON.stringify(change));
  }
  assert.deepEqual(await here.clients.find(client.id), updated, "nothing of them was kept");
  const [event] = await listEvents(here.db, { subjectId: client.id, limit: 1 });
  assert.deepEqual(event?.data, { fields: ["client_uri", "refresh_window", "first_party"] });
});

test("what presentClient shows of a client can be sent back as its update, for every type", async () => {
  const inputs = [
    { ...web, pkce_optional: true, apis: [{ identifier: API }], optional_scopes: ["read"], contacts: ["a@b.example"] },
    { ...web, client_type: "spa" },
    { client_type: "native", client_name: "N", redirect_uris: ["com.example.app:/cb"] },
    { ...service, apis: [{ identifier: API, default: false }] },
    { client_type: "resource-server", client_name: "Rs", apis: [{ identifier: API }] },
  ];
  for (const input of inputs) {
    const { client } = await here.clients.register(input, by);
    const readOnly = ["client_id", "client_id_issued_at", "secrets", "disabled"];
    const shown = Object.fromEntries(
      Object.entries(presentClient(client)).filter(([name]) => !readOnly.includes(name)),
    );
    const { updatedAt: _, ...after } = await here.clients.update(client.id, shown, by);
    const { updatedAt: __, ...before } = client;
    assert.deepEqual(after, before);
  }
});

test("origins that came from a browser app's redirects follow them; those that were named stay", async () => {
  const spa = { ...web, client_type: "spa" };
  const { client } = await here.clients.register(spa, by);
  const moved = await here.clients.update(client.id, { redirect_uris: ["https://new.example/cb"] }, by);
  assert.deepEqual(moved.settings.webOrigins, ["https://new.example"]);
  const named = await here.clients.register({ ...spa, web_origins: ["https://other.example"] }, by);
  const kept = await here.clients.update(named.client.id, { redirect_uris: ["https://new.example/cb"] }, by);
  assert.deepEqual(kept.settings.webOrigins, ["https://other.example"]);
});

test("two updates at once are both kept, in 25 rounds", async () => {
  const { client } = await here.clients.register(web, by);
  for (let round = 1; round <= 25; round += 1) {
    await Promise.all([
      here.clients.update(client.id, { client_name: `Name ${round}` }, by),
      there.clients.update(client.id, { refresh_idle: round }, by),
    ]);
    const { name, settings } = (await here.clients.update(client.id, {}, by)) satisfies Client;
    assert.deepEqual([name, settings.refreshIdleSeconds], [`Name ${round}`, round]);
  }
});

test("a rotated secret works at once, the old one for the overlap, and never more than three live", async () => {
  const { client, secret: first = "" } = await here.clients.register(web, by);
  const now = new Date();
  const second = await here.clients.rotateSecret(client.id, { overlapSeconds: 60 }, by);
  for (const [secret, at, isLive] of [
    [first, now, true],
    [first, secondsAfter(now, 59), true],
    [first, secondsAfter(now, 62), false],
    [second.secret, now, true],
    [second.secret, secondsAfter(now, 1_000_000), true],
  ] as const) {
    assert.equal(isClientSecret(second.client, secret, at), isLive);
  }
  assert.equal(second.client.secrets.at(-1)?.id, second.secretId);
  const third = await here.clients.rotateSecret(client.id, {}, by);
  assert.equal(third.client.secrets.length, 3);
  const firstEnds = third.client.secrets[0]?.expiresAt ?? new Date(0);
  assert.ok(firstEnds < secondsAfter(now, 65), "a later rotation prolongs nothing");
  await assert.rejects(here.clients.rotateSecret(client.id, {}, by), { code: "client_secrets_too_many" });
  const last = await here.clients.rotateSecret(client.id, { overlapSeconds: 0 }, by);
  assert.deepEqual(
    last.client.secrets.map(({ id }) => id),
    [last.secretId],
  );
  await eventually(async () => {
    const seen = await there.clients.find(client.id);
    return seen !== undefined && isClientSecret(seen, last.secret, now) && !isClientSecret(seen, third.secret, now);
  }, 1000);
  assert.deepEqual(await eventNames(here.db, client.id), [
    "client.created",
    "client.secret_added",
    "client.secret_added",
    "client.secret_added",
  ]);
  assert.equal((await dump(here.db, client.id)).includes(last.secret), false);
});

test("four rotations at once leave at most three live secrets", async () => {
  const { client } = await here.clients.register(web, by);
  const results = await Promise.allSettled(
    [here, there, here, there].map(({ clients }) => clients.rotateSecret(client.id, {}, by)),
  );
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 2);
  const [row] = await here.db.query<{ count: number }>(
    "select count(*)::int as count from client_secrets where client_id = $1",
    [client.id],
  );
  assert.equal(row?.count, 3);
});

test("a client that turns to private_key_jwt has no secret any more, also when it turns back", async () => {
  const { client, secret = "" } = await here.clients.register(web, by);
  const change = { token_endpoint_auth_method: "private_key_jwt", jwks_uri: "https://rp.example.com/jwks" };
  assert.deepEqual((await here.clients.update(client.id, change, by)).secrets, []);
  const back = await here.clients.update(
    client.id,
    { token_endpoint_auth_method: "client_secret_post", jwks_uri: null },
    by,
  );
  assert.equal(isClientSecret(back, secret, new Date()), false);
  const rotated = await here.clients.rotateSecret(client.id, {}, by);
  assert.equal(rotated.client.secrets.length, 1);
});

test("a scope that its API gives up is taken from its clients, and they can still be changed", async () => {
  const api = await here.apis.create(
    { identifier: "https://c.example", name: "C", scopes: [{ scope: "keep" }, { scope: "go" }] },
    by,
  );
  const { client } = await here.clients.register(
    { ...web, apis: [{ identifier: api.identifier }], optional_scopes: ["go", "keep"] },
    by,
  );
  assert.deepEqual((await there.clients.find(client.id))?.apis[0]?.scopes, ["keep", "go"]);
  await here.apis.update(api.id, { scopes: [{ scope: "keep" }, { scope: "new" }] }, by);
  assert.deepEqual((await here.clients.update(client.id, { client_name: "Still" }, by)).settings.optionalScopes, [
    "keep",
  ]);
  await eventually(async () => (await there.clients.find(client.id))?.apis[0]?.scopes.join() === "keep", 1000);
  await here.apis.update(api.id, { scopes: [{ scope: "go" }, { scope: "keep" }] }, by);
  assert.deepEqual(
    (await here.clients.update(client.id, {}, by)).apis[0]?.scopes,
    ["keep"],
    "nothing comes back by itself",
  );
  assert.deepEqual(await here.apis.delete(api.id, by), [{ id: client.id, name: "Still" }]);
  await eventually(async () => (await there.clients.find(client.id))?.apis.length === 0, 1000);
});

test("an API loses a scope while clients are bound to it: no client keeps what is gone, in 25 rounds", async () => {
  const identifier = "https://race.example";
  const api = await here.apis.create({ identifier, name: "Race", scopes: [{ scope: "a" }, { scope: "b" }] }, by);
  const { client } = await here.clients.register(service, by);
  for (let round = 0; round < 25; round += 1) {
    await here.apis.update(api.id, { scopes: [{ scope: "a" }, { scope: "b" }] }, by);
    await Promise.allSettled([
      here.apis.update(api.id, { scopes: [{ scope: "a" }] }, by),
      there.clients.update(client.id, { apis: [{ identifier, scopes: ["a", "b"] }] }, by),
    ]).then((results) => {
      for (const result of results) {
        if (result.status === "rejected") assert.equal((result.reason as { code?: string }).code, "client_invalid");
      }
    });
    const { apis } = await here.clients.update(client.id, {}, by);
    assert.ok(!(apis[0]?.scopes ?? []).includes("b"), `round ${round}`);
  }
});

test("lists go page by page, and find by id or how the name begins, page by page too", async () => {
  const { connection } = await testDatabase();
  const { clients } = await open(connection);
  const ids: string[] = [];
  for (let index = 0; index < 5; index += 1) {
    const { client } = await clients.register({ ...web, client_name: `App 100% ${index}` }, by);
    ids.push(client.id);
  }
  const seen: string[] = [];
  for (let after: string | undefined; ; after = seen.at(-1)) {
    const page = await clients.list({ limit: 2, ...(after === undefined ? {} : { after }) });
    if (page.length === 0) break;
    seen.push(...page.map(({ id }) => id));
  }
  assert.deepEqual([...seen].sort(), [...ids].sort());
  const names = async (query: string): Promise<string[]> =>
    (await clients.list({ limit: 10, query })).map(({ name }) => name);
  assert.deepEqual(await names("app 100% 3"), ["App 100% 3"]);
  assert.deepEqual(await names("APP 100% 4"), ["App 100% 4"]);
  assert.deepEqual(await names(ids[1] ?? ""), ["App 100% 1"]);
  for (const query of ["_", "App%4", "pp 100", "a\0b", "'; drop table clients; --"])
    assert.deepEqual(await names(query), [], query);
  const found: string[] = [];
  for (let after: string | undefined; ; after = found.at(-1)) {
    const page = await clients.list({ limit: 2, query: "aPP", ...(after === undefined ? {} : { after }) });
    if (page.length === 0) break;
    found.push(...page.map(({ id }) => id));
  }
  assert.deepEqual(found, ids, "in the order of the names, each once");
  await assert.rejects(clients.list({ limit: 2, after: "cl_gone" }), { code: "client_unknown" });
  for (const limit of [0, 201, 1.5]) await assert.rejects(clients.list({ limit }), { code: "client_invalid" });
});

test("what is shown has the names of RFC 7591, and what the engine gets has a marker in place of the secret", async () => {
  const { client, secret } = await here.clients.register(
    { ...web, apis: [{ identifier: API, scopes: ["read"] }], software_id: "x" },
    by,
  );
  const shown = presentClient(client, secret);
  assert.equal(shown["client_id"], client.id);
  assert.equal(shown["client_secret"], secret);
  assert.equal(shown["client_secret_expires_at"], 0);
  assert.equal(shown["client_id_issued_at"], Math.floor(client.createdAt.getTime() / 1000));
  assert.deepEqual(shown["apis"], [{ identifier: API, scopes: ["read"], default: true }]);
  assert.equal("client_secret" in presentClient(client), false);
  const metadata = toProviderMetadata(client);
  assert.match(String(metadata["client_secret"]), /^unused_/);
  assert.notEqual(metadata["client_secret"], secret);
  assert.equal(metadata["signet_client_type"], "web");
  assert.equal("software_id" in metadata, false);
  const { client: spa } = await here.clients.register({ ...web, client_type: "spa" }, by);
  assert.equal("client_secret" in toProviderMetadata(spa), false);
});
