/** APIs: what may be registered, what every process then knows, and what a client may ask for there. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { grantableScopes } from "../../src/apis/access.ts";
import { createApis, presentApi } from "../../src/apis/api.ts";
import { listEvents, record } from "../../src/audit/event.ts";
import { createLog } from "../../src/log.ts";
import { openDb } from "../../src/store/db.ts";
import { openNotices } from "../../src/store/notices.ts";
import { atEnd, eventually, testDatabase } from "../support.ts";

const by = { kind: "command" } as const;
const log = createLog({ level: "silent", pretty: false });
const things = { identifier: "https://api.example.com", name: "Things", scopes: [{ scope: "read:things" }] };

async function open(connection: Parameters<typeof openDb>[0]["connection"]) {
  const db = openDb({ connection, max: 2, log });
  const notices = await openNotices({ connection, log });
  atEnd(async () => {
    await notices.close();
    await db.close();
  });
  return { db, apis: createApis({ db, notices, record }) };
}

let here: Awaited<ReturnType<typeof open>>;
let there: Awaited<ReturnType<typeof open>>;
before(async () => {
  const { connection } = await testDatabase();
  [here, there] = [await open(connection), await open(connection)];
});

test("an API is created with defaults, found by identifier and id, and recorded", async () => {
  const api = await here.apis.create(things, by);
  assert.equal(api.tokenLifetimeSeconds, 600);
  assert.deepEqual(api.scopes, [{ scope: "read:things", description: "read:things" }]);
  assert.deepEqual(await there.apis.find(things.identifier), api);
  assert.deepEqual(await there.apis.findById(api.id), api);
  assert.equal(presentApi(api)["signing_alg"], "ES256");
  const [event] = await listEvents(here.db, { subjectId: api.id, limit: 1 });
  assert.equal(event?.name, "api.created");
  await assert.rejects(here.apis.create({ ...things, name: "Again" }, by), { code: "api_identifier_taken" });
});

const acceptedIdentifiers = [
  "https://api.example.com/v1",
  "https://api.example.com/v1/",
  "https://api.example.com/v1?tenant=7",
  "http://localhost:4000",
  "urn:example:things",
  "api://things",
  `https://api.example.com/${"a".repeat(470)}`,
];
test("identifiers are absolute URIs, each spelling an API of its own", async () => {
  for (const identifier of acceptedIdentifiers) {
    await here.apis.create({ identifier, name: "x" }, by);
    assert.equal((await there.apis.find(identifier))?.identifier, identifier);
  }
  assert.equal(await there.apis.find("https://API.example.com/v1"), undefined);
});

const refused: readonly (readonly [string, unknown, RegExp])[] = [
  ["no object", null, /an API/],
  ["no identifier", { name: "x" }, /identifier is missing/],
  ["no name", { identifier: "urn:a:b" }, /name is missing/],
  ["a relative identifier", { identifier: "/api", name: "x" }, /identifier/],
  ["a word", { identifier: "things", name: "x" }, /identifier/],
  ["a bare scheme", { identifier: "urn:", name: "x" }, /identifier/],
  ["a fragment", { identifier: "https://api.example.com#x", name: "x" }, /fragment/],
  ["white space", { identifier: "https://api.example.com/a b", name: "x" }, /identifier/],
  ["a NUL", { identifier: "https://api.example.com/\0", name: "x" }, /identifier/],
  ["a user name", { identifier: "https://u@api.example.com", name: "x" }, /user name/],
  ["501 characters", { identifier: `https://api.example.com/${"a".repeat(477)}`, name: "x" }, /500/],
  ["a deceitful name", { identifier: "urn:a:b", name: "a\u202eb" }, /name/],
  ["an unknown field", { identifier: "urn:a:b", name: "x", audience: "y" }, /"audience"/],
  ["a scope that is a text", { identifier: "urn:a:b", name: "x", scopes: ["read"] }, /scopes\[0\]/],
  ["a scope with a space", { identifier: "urn:a:b", name: "x", scopes: [{ scope: "a b" }] }, /scopes\[0\]\.scope/],
  ["a scope with a quote", { identifier: "urn:a:b", name: "x", scopes: [{ scope: 'a"b' }] }, /scopes\[0\]\.scope/],
  ["an empty scope", { identifier: "urn:a:b", name: "x", scopes: [{ scope: "" }] }, /scopes\[0\]\.scope/],
  ["a long scope", { identifier: "urn:a:b", name: "x", scopes: [{ scope: "a".repeat(101) }] }, /scopes\[0\]\.scope/],
  ["a scope of OpenID", { identifier: "urn:a:b", name: "x", scopes: [{ scope: "email" }] }, /OpenID/],
  ["a scope twice", { identifier: "urn:a:b", name: "x", scopes: [{ scope: "a" }, { scope: "a" }] }, /twice/],
  [
    "a deceitful description",
    { identifier: "urn:a:b", name: "x", scopes: [{ scope: "a", description: "\u2066b" }] },
    /description/,
  ],
  [
    "101 scopes",
    { identifier: "urn:a:b", name: "x", scopes: Array.from({ length: 101 }, (_, i) => ({ scope: `s${i}` })) },
    /100/,
  ],
  ["59 seconds", { identifier: "urn:a:b", name: "x", token_lifetime: 59 }, /token_lifetime/],
  ["more than a day", { identifier: "urn:a:b", name: "x", token_lifetime: 86_401 }, /token_lifetime/],
];
for (const [what, input, message] of refused) {
  test(`refused: ${what}`, async () => {
    await assert.rejects(here.apis.create(input, by), { code: "api_invalid", message });
  });
}

test("a change is seen by its own process at once and by the other within a second; the identifier never changes", async () => {
  const api = await here.apis.create(
    { identifier: "urn:change", name: "Old", scopes: [{ scope: "a" }, { scope: "b" }] },
    by,
  );
  assert.equal((await there.apis.find("urn:change"))?.name, "Old");
  const change = { name: "New", token_lifetime: 60, scopes: [{ scope: "b", description: "Bee" }, { scope: "c" }] };
  await here.apis.update(api.id, change, by);
  const seen = await here.apis.find("urn:change");
  assert.deepEqual([seen?.name, seen?.tokenLifetimeSeconds], ["New", 60]);
  assert.deepEqual(seen?.scopes, [
    { scope: "b", description: "Bee" },
    { scope: "c", description: "c" },
  ]);
  await eventually(async () => (await there.apis.find("urn:change"))?.name === "New", 1000);
  assert.deepEqual(
    (await here.apis.update(api.id, { name: "Newer" }, by)).scopes,
    seen?.scopes,
    "what is not named stays",
  );
  await assert.rejects(here.apis.update(api.id, { identifier: "urn:other" }, by), { code: "api_invalid" });
  await assert.rejects(here.apis.update(api.id, { token_lifetime: 1 }, by), { code: "api_invalid" });
  await assert.rejects(here.apis.update(api.id, null, by), { code: "api_invalid" });
  assert.deepEqual(await here.apis.delete(api.id, by), []);
  assert.equal(await here.apis.find("urn:change"), undefined);
  await eventually(async () => (await there.apis.find("urn:change")) === undefined, 1000);
  await assert.rejects(here.apis.delete(api.id, by), { code: "api_unknown" });
  await assert.rejects(here.apis.update("not-an-id", {}, by), { code: "api_unknown" });
});

test("lists go page by page by identifier", async () => {
  const all = (await here.apis.list({ limit: 200 })).map(({ identifier }) => identifier);
  const seen: string[] = [];
  for (let after: string | undefined; ; after = seen.at(-1)) {
    const page = await here.apis.list({ limit: 3, ...(after === undefined ? {} : { after }) });
    if (page.length === 0) break;
    seen.push(...page.map(({ identifier }) => identifier));
  }
  assert.ok(all.length > 5);
  assert.deepEqual(seen, all);
  assert.deepEqual((await here.apis.list({ limit: 10, query: "THINGS" })).map(({ identifier }) => identifier).sort(), [
    "api://things",
    "https://api.example.com",
    "urn:example:things",
  ]);
  assert.deepEqual(await here.apis.list({ limit: 10, query: "a\0" }), []);
  await assert.rejects(here.apis.list({ limit: 0 }), { code: "api_invalid" });
});

test("a client may ask for its own scopes of this API, as far as the API still has them", () => {
  const api = { id: "1", scopes: ["a", "b", "c"].map((scope) => ({ scope, description: scope })) };
  const table = [
    [[{ apiId: "1", scopes: ["c", "a"] }], "a c"],
    [[{ apiId: "1", scopes: ["a", "gone"] }], "a"],
    [[{ apiId: "1", scopes: [] }], ""],
    [[{ apiId: "2", scopes: ["a"] }], ""],
    [[], ""],
  ] as const;
  for (const [apis, expected] of table) assert.equal(grantableScopes({ apis }, api), expected);
});
