/** `signet api` from its flags to what is registered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createApis } from "../../src/apis/api.ts";
import { apiCommands } from "../../src/apis/commands.ts";
import { record } from "../../src/audit/event.ts";
import { createClients, isClientSecret } from "../../src/clients/client.ts";
import { runCommand } from "../../src/commands.ts";
import { createLog } from "../../src/log.ts";
import { openDb } from "../../src/store/db.ts";
import { openNotices } from "../../src/store/notices.ts";
import { revocationGround } from "../revocations/ground.ts";
import { atEnd, listen, testDatabase } from "../support.ts";

const log = createLog({ level: "silent", pretty: false });
const { connection } = await testDatabase();
const db = openDb({ connection, max: 2, log });
const notices = await openNotices({ connection, log });
const apis = createApis({ db, notices, record });
const { revocations } = await revocationGround(connection);
const clients = createClients({ db, notices, record, revocations, isDevelopment: false });
atEnd(async () => {
  await notices.close();
  await db.close();
});

async function signet(...argv: string[]) {
  const { io, said } = listen();
  const code = await runCommand(apiCommands, argv, io, (run) => run({ apis, clients }));
  return { code, ...said, json: () => JSON.parse(said.out) as Record<string, unknown> };
}

test("create, get, list, update and delete, by identifier or id", async () => {
  const identifier = "https://things.example/v1";
  const argv = ["--identifier", identifier, "--name", "Things", "--scope", "read:things", "--scope", "w=Change = all"];
  const made = await signet("create", ...argv, "--json");
  assert.equal(made.code, 0, made.err);
  const { id } = made.json();
  assert.deepEqual(
    { ...made.json(), created_at: "", updated_at: "" },
    {
      id,
      identifier,
      name: "Things",
      scopes: [
        { scope: "read:things", description: "read:things" },
        { scope: "w", description: "Change = all" },
      ],
      token_lifetime: 600,
      token_format: "jwt",
      signing_alg: "ES256",
      allow_refresh: true,
      scopes_by_role: false,
      roles_claim: false,
      created_at: "",
      updated_at: "",
    },
  );
  assert.deepEqual((await signet("get", identifier, "--json")).json(), made.json());
  assert.deepEqual((await signet("get", String(id), "--json")).json(), made.json());
  assert.match((await signet("list")).out, /https:\/\/things\.example\/v1 +Things +read:things, w/);
  const updated = await signet("update", identifier, "--scope", "w", "--token-lifetime", "60", "--json");
  assert.deepEqual(updated.json()["scopes"], [{ scope: "w", description: "Change = all" }], "the words stay");
  assert.equal(updated.json()["token_lifetime"], 60);
  const input = { client_type: "service", client_name: "Nightly", apis: [{ identifier }] };
  const { client } = await clients.register(input, { kind: "command" });
  assert.deepEqual((await signet("delete", identifier, "--json")).json(), {
    id,
    identifier,
    deleted: true,
    clients: [{ client_id: client.id, client_name: "Nightly" }],
  });
  assert.equal((await signet("get", identifier)).code, 1);
});

test("every field has its flag; words per language are kept; credentials are those of the API", async () => {
  const identifier = "https://whole.example/v1";
  const [scope, text] = ["read:a=See a", "de:read:a=A sehen"];
  const flags = ["--token-format", "opaque", "--no-allow-refresh", "--scopes-by-role", "--roles-claim"];
  const argv = [
    "create",
    "--identifier",
    identifier,
    "--name",
    "Whole",
    "--scope",
    scope,
    "--scope-text",
    text,
    ...flags,
  ];
  const made = (await signet(...argv, "--credentials", "--json")).json();
  assert.deepEqual(made["scopes"], [{ scope: "read:a", description: "See a", descriptions: { de: "A sehen" } }]);
  assert.deepEqual(
    ["token_format", "signing_alg", "allow_refresh", "scopes_by_role", "roles_claim"].map((name) => made[name]),
    ["opaque", undefined, false, true, true],
  );
  const client = await clients.find(String(made["client_id"]));
  assert.deepEqual([client?.type, client?.apis[0]?.identifier], ["resource-server", identifier]);
  assert.ok(client !== undefined && isClientSecret(client, String(made["client_secret"]), new Date()));
  const changed = await signet("update", identifier, "--token-format", "jwt", "--signing-alg", "RS256", "--json");
  assert.deepEqual([changed.json()["signing_alg"], changed.json()["scopes"]], ["RS256", made["scopes"]]);
  const worded = await signet("update", identifier, "--scope-text", "de-AT:read:a=A anschauen", "--json");
  assert.deepEqual(worded.json()["scopes"], [
    { scope: "read:a", description: "See a", descriptions: { de: "A sehen", "de-AT": "A anschauen" } },
  ]);
});

test("Signet's own API is listed, and neither changed nor deleted", async () => {
  const own = "urn:signet:admin";
  assert.match((await signet("list")).out, /urn:signet:admin +Administration/);
  assert.equal((await signet("get", own, "--json")).json()["builtin"], true);
  for (const argv of [
    ["update", own, "--name", "Mine"],
    ["update", own, "--scope", "x"],
    ["delete", own],
  ]) {
    const ran = await signet(...argv, "--json");
    assert.deepEqual([ran.code, JSON.parse(ran.err)["error"]], [1, "api_builtin"]);
  }
  assert.equal((await signet("update", own, "--token-lifetime", "300", "--json")).json()["token_lifetime"], 300);
});

const refused: readonly (readonly [readonly string[], number, RegExp])[] = [
  [["create"], 1, /identifier is missing; name is missing/],
  [["create", "--identifier", "things", "--name", "X"], 1, /absolute URI/],
  [["create", "--identifier", "urn:a:b", "--name", "X", "--scope", "openid"], 1, /OpenID/],
  [["create", "--identifier", "urn:a:b", "--name", "X", "--token-lifetime", "1h"], 2, /--token-lifetime/],
  [
    ["create", "--identifier", "urn:a:b", "--name", "X", "--token-format", "paseto"],
    1,
    /token_format is one of jwt, opaque/,
  ],
  [["create", "--identifier", "urn:a:b", "--name", "X", "--signing-alg", "HS256"], 1, /signing_alg is one of/],
  [["create", "--identifier", "urn:a:b", "--name", "X", "--scope", "a", "--scope-text", "de:b=B"], 2, /--scope-text/],
  [["create", "--identifier", "urn:a:b", "--name", "X", "--scope", "a", "--scope-text", "1:a=B"], 1, /language tag/],
  [["update", "urn:unknown", "--name", "X"], 1, /no such API/],
  [["update", "urn:unknown", "--identifier", "urn:other"], 2, /identifier/],
  [["delete", "a\u0000b"], 1, /no such API/],
];
for (const [argv, code, message] of refused) {
  test(`refused with exit code ${code}: api ${JSON.stringify(argv)}`, async () => {
    const ran = await signet(...argv);
    assert.equal(ran.code, code, ran.err);
    assert.match(ran.err, message);
  });
}
