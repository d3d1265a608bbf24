/** `signet api` from its flags to what is registered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createApis } from "../../src/apis/api.ts";
import { apiCommands } from "../../src/apis/commands.ts";
import { record } from "../../src/audit/event.ts";
import { createClients } from "../../src/clients/client.ts";
import { runCommand } from "../../src/commands.ts";
import { createLog } from "../../src/log.ts";
import { openDb } from "../../src/store/db.ts";
import { openNotices } from "../../src/store/notices.ts";
import { revocationGround } from "../revocations/ground.ts";
import { atEnd, testDatabase } from "../support.ts";

const log = createLog({ level: "silent", pretty: false });
const { connection } = await testDatabase();
const db = openDb({ connection, max: 2, log });
const notices = await openNotices({ connection, log });
const apis = createApis({ db, notices, record });
atEnd(async () => {
  await notices.close();
  await db.close();
});

async function signet(...argv: string[]) {
  let [out, err] = ["", ""];
  const io = {
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
    readStdin: async () => "",
  };
  const code = await runCommand(apiCommands, argv, io, (run) => run({ apis }));
  return { code, out, err, json: () => JSON.parse(out) as Record<string, unknown> };
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
      signing_alg: "ES256",
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
  const { revocations } = await revocationGround(connection);
  const clients = createClients({ db, notices, record, revocations, isDevelopment: false });
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

const refused: readonly (readonly [readonly string[], number, RegExp])[] = [
  [["create"], 1, /identifier is missing; name is missing/],
  [["create", "--identifier", "things", "--name", "X"], 1, /absolute URI/],
  [["create", "--identifier", "urn:a:b", "--name", "X", "--scope", "openid"], 1, /OpenID/],
  [["create", "--identifier", "urn:a:b", "--name", "X", "--token-lifetime", "1h"], 2, /--token-lifetime/],
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
