/** Roles: what may be made, who may hold them, and that every process knows of each change, whichever way it was made. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createApis } from "../../src/apis/api.ts";
import { listEvents, record } from "../../src/audit/event.ts";
import { createClients } from "../../src/clients/client.ts";
import { runCommand } from "../../src/commands.ts";
import { createLog } from "../../src/log.ts";
import { roleCommands } from "../../src/roles/commands.ts";
import { createRoles, rolesAt, scopesAt } from "../../src/roles/role.ts";
import { openDb } from "../../src/store/db.ts";
import { openNotices } from "../../src/store/notices.ts";
import { openHasher } from "../../src/users/hasher.ts";
import { createUsers } from "../../src/users/user.ts";
import { revocationGround } from "../revocations/ground.ts";
import { atEnd, eventually, listen, testDatabase } from "../support.ts";

const by = { kind: "command" } as const;
const log = createLog({ level: "silent", pretty: false });
const { connection } = await testDatabase();
const { revocations } = await revocationGround(connection);
const hasher = await openHasher({ log, children: 1, parameters: { memoryKiB: 64, passes: 1, lanes: 1 } });
atEnd(() => hasher.close());

async function open() {
  const db = openDb({ connection, max: 4, log });
  const notices = await openNotices({ connection, log });
  atEnd(async () => {
    await notices.close();
    await db.close();
  });
  return {
    db,
    roles: createRoles({ db, notices, record }),
    apis: createApis({ db, notices, record }),
    clients: createClients({ db, notices, record, revocations, isDevelopment: false }),
    users: createUsers({ db, hasher, record, revocations }),
  };
}
const here = await open();
const there = await open();
const [A, B] = ["urn:example:a", "urn:example:b=1"];
const a = await here.apis.create({ identifier: A, name: "A", scopes: [{ scope: "read" }, { scope: "write" }] }, by);
const b = await here.apis.create({ identifier: B, name: "B", scopes: [{ scope: "b" }] }, by);
const user = async (email: string, isOwner = false) => {
  const { id } = await here.users.create({ email, isOwner }, by);
  return { kind: "user", id } as const;
};
const scopesOf = async (at: typeof here, holder: Parameters<typeof here.roles.held>[0], apiId = a.id) =>
  [...scopesAt(await at.roles.held(holder), apiId)].sort();

test("a role is made, held, changed and deleted; both processes know it within a second, and it is recorded", async () => {
  const permissions = [{ identifier: A, scopes: ["read", "write"] }];
  const made = await here.roles.create({ name: "editor", description: "Edits", permissions }, by);
  assert.deepEqual(made, { name: "editor", description: "Edits", isBuiltin: false, permissions });
  const maya = await user("maya@roles.example");
  assert.deepEqual(await scopesOf(there, maya), []);
  assert.deepEqual(await here.roles.grant(maya, "editor", by), ["editor"]);
  assert.deepEqual(await here.roles.grant(maya, "editor", by), ["editor"], "twice is once");
  assert.deepEqual(await scopesOf(here, maya), ["read", "write"]);
  await eventually(async () => (await scopesOf(there, maya)).length === 2, 1000);
  assert.deepEqual(rolesAt(await here.roles.held(maya), a.id), ["editor"]);
  assert.deepEqual(rolesAt(await here.roles.held(maya), b.id), []);
  await there.roles.update(
    "editor",
    {
      permissions: [
        { identifier: A, scopes: ["read"] },
        { identifier: B, scopes: ["b"] },
      ],
    },
    by,
  );
  await eventually(async () => (await scopesOf(here, maya)).join() === "read", 1000);
  assert.deepEqual(await scopesOf(there, maya, b.id), ["b"]);
  // A scope that its API gives up is gone from the role, and a deleted role from its holders.
  await here.apis.update(a.id, { scopes: [{ scope: "write" }] }, by);
  await eventually(async () => (await scopesOf(there, maya)).length === 0, 1000);
  assert.equal(await here.roles.delete("editor", by), 1);
  await eventually(async () => (await scopesOf(there, maya, b.id)).length === 0, 1000);
  assert.deepEqual(await there.roles.names(maya), []);
  const names = (await listEvents(here.db, { subjectId: "editor", limit: 10 })).map(({ name }) => name);
  assert.deepEqual(names, ["role.deleted", "role.updated", "role.created"]);
  const granted = await listEvents(here.db, { subjectId: maya.id, name: "role.granted", limit: 10 });
  assert.deepEqual(
    granted.map(({ data }) => data),
    [{ role: "editor" }],
  );
});

test("Signet's own API is one of them: each built-in role carries its scopes, and nobody changes it", async () => {
  const own = await here.apis.find("urn:signet:admin");
  assert.ok(own?.isBuiltin === true && own.isScopedByRole);
  const all = own.scopes.map(({ scope }) => scope);
  for (const [name, expected] of [
    ["owner", all],
    ["admin", all.filter((scope) => !["roles:write", "keys:write", "settings:write"].includes(scope))],
    ["auditor", all.filter((scope) => scope.endsWith(":read"))],
    [
      "support",
      [
        ...["users:read", "sessions:read", "sessions:write", "grants:read", "grants:write", "consents:read"],
        ...["consents:write", "mail:read"],
      ],
    ],
  ] as const) {
    const role = await here.roles.find(name);
    assert.equal(role?.isBuiltin, true);
    assert.deepEqual(role.permissions, [{ identifier: own.identifier, scopes: expected }], name);
    await assert.rejects(here.roles.update(name, { description: "x" }, by), { code: "role_builtin" });
    await assert.rejects(here.roles.delete(name, by), { code: "role_builtin" });
  }
});

test("an owner is a person, and the last one stays, also when two are taken at once (T-RACE-12)", async () => {
  const [one, two] = [await user("one@roles.example", true), await user("two@roles.example", true)];
  const taken = await Promise.allSettled([here.roles.revoke(one, "owner", by), there.roles.revoke(two, "owner", by)]);
  assert.deepEqual(taken.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  const refusal = taken.find((result) => result.status === "rejected");
  assert.equal(refusal?.reason.code, "user_last_owner");
  const left = taken[0]?.status === "fulfilled" ? two : one;
  await assert.rejects(here.users.update(left.id, { isOwner: false }, by), { code: "user_last_owner" });
  await assert.rejects(here.users.setDisabled(left.id, true, by), { code: "user_last_owner" });
  // The room of users and this one see each other's changes.
  const third = await user("three@roles.example");
  await here.users.update(third.id, { isOwner: true }, by);
  await eventually(
    async () => rolesAt(await there.roles.held(third), "00000000-0000-4000-8000-000000000001")[0] === "owner",
    1000,
  );
  assert.deepEqual(await here.roles.revoke(left, "owner", by), []);
});

test("roles are for users and service clients, and for nobody else", async () => {
  await here.roles.create({ name: "sync", permissions: [{ identifier: B, scopes: ["b"] }] }, by);
  const register = async (metadata: object) => (await here.clients.register(metadata, by)).client.id;
  const service = await register({ client_type: "service", client_name: "S" });
  const web = await register({ client_type: "web", client_name: "W", redirect_uris: ["https://w.example/cb"] });
  const holder = { kind: "client", id: service } as const;
  assert.deepEqual(await here.roles.grant(holder, "sync", by), ["sync"]);
  assert.deepEqual(await scopesOf(here, holder, b.id), ["b"]);
  assert.deepEqual(await here.roles.revoke(holder, "sync", by), []);
  assert.deepEqual(await here.roles.revoke(holder, "sync", by), []);
  const maya = await user("holder@roles.example");
  const cases = [
    [{ kind: "client", id: web }, "sync", "role_holder_invalid"],
    [holder, "owner", "role_holder_invalid"],
    [holder, "nothing", "role_unknown"],
    [holder, "No Role", "role_unknown"],
    [maya, "nothing", "role_unknown"],
    [{ kind: "client", id: "cl_unknown" }, "sync", "client_unknown"],
    [{ kind: "user", id: "x\0" }, "sync", "user_unknown"],
  ] as const;
  for (const [who, role, code] of cases)
    await assert.rejects(here.roles.grant(who, role, by), { code }, `${who.id} ${role}`);
  for (let index = 0; index < 20; index += 1) {
    await here.roles.create({ name: `r${index}` }, by);
    await here.roles.grant(maya, `r${index}`, by);
  }
  await assert.rejects(here.roles.grant(maya, "sync", by), { code: "role_holder_invalid" });
});

const refused: readonly (readonly [unknown, string, RegExp])[] = [
  [null, "role_invalid", /a role/],
  [{ name: "Editor" }, "role_invalid", /name/],
  [{ name: "x".repeat(51) }, "role_invalid", /name/],
  [{ name: "owner" }, "role_name_taken", /owner/],
  [{ name: "ok", description: "a\u202eb" }, "role_invalid", /description/],
  [{ name: "ok", more: 1 }, "role_invalid", /"more"/],
  [{ name: "ok", permissions: [{ identifier: "urn:none", scopes: ["a"] }] }, "api_unknown", /urn:none/],
  [{ name: "ok", permissions: [{ identifier: "urn:\0", scopes: ["a"] }] }, "api_unknown", /urn/],
  [{ name: "ok", permissions: [{ identifier: A, scopes: ["gone"] }] }, "role_invalid", /gone/],
  [{ name: "ok", permissions: [{ identifier: A, scopes: [] }] }, "role_invalid", /scopes/],
  [
    {
      name: "ok",
      permissions: [
        { identifier: A, scopes: ["write"] },
        { identifier: A, scopes: ["write"] },
      ],
    },
    "role_invalid",
    /twice/,
  ],
];
for (const [input, code, message] of refused) {
  test(`refused: ${JSON.stringify(input)?.slice(0, 80)}`, async () => {
    await assert.rejects(here.roles.create(input, by), { code, message });
    assert.equal(await here.roles.find("ok"), undefined);
  });
}

test("signet role: create, list, get, update, delete; refusals say what to do", async () => {
  const signet = async (...argv: string[]) => {
    const { io, said } = listen();
    const code = await runCommand(roleCommands, argv, io, (run) => run(here));
    return { code, ...said };
  };
  const made = await signet("create", "cli", "--description", "By hand", "--permission", `${B}=b`, "--json");
  assert.deepEqual(JSON.parse(made.out), {
    name: "cli",
    description: "By hand",
    permissions: [{ identifier: B, scopes: ["b"] }],
  });
  assert.match((await signet("list")).out, /^owner .*built in/m);
  assert.match((await signet("get", "cli")).out, /permissions +urn:example:b=1=b/);
  assert.deepEqual(JSON.parse((await signet("update", "cli", "--clear-permissions", "--json")).out).permissions, []);
  assert.equal((await signet("update", "cli")).code, 2);
  assert.equal((await signet("create", "x", "--permission", "read")).code, 2);
  assert.deepEqual(JSON.parse((await signet("delete", "cli", "--json")).out), {
    name: "cli",
    deleted: true,
    holders: 0,
  });
  assert.deepEqual([(await signet("get", "cli")).code, (await signet("delete", "owner")).code], [1, 1]);
});
