/** `signet client` from its flags to what is registered, in process; and once as the command that people type. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createApis } from "../../src/apis/api.ts";
import { record } from "../../src/audit/event.ts";
import { createClients, isClientSecret } from "../../src/clients/client.ts";
import { clientCommands } from "../../src/clients/commands.ts";
import { runCommand } from "../../src/commands.ts";
import { createLog } from "../../src/log.ts";
import { createRoles } from "../../src/roles/role.ts";
import { randomText } from "../../src/secrets.ts";
import { createSessions } from "../../src/sessions/session.ts";
import { openDb } from "../../src/store/db.ts";
import { openNotices } from "../../src/store/notices.ts";
import { nodeArgs } from "../ladder.ts";
import { revocationGround } from "../revocations/ground.ts";
import { atEnd, eventually, listen, testDatabase } from "../support.ts";

const by = { kind: "command" } as const;
const log = createLog({ level: "silent", pretty: false });
const { connection, url } = await testDatabase();
const db = openDb({ connection, max: 4, log });
const notices = await openNotices({ connection, log });
const { grants, revocations } = await revocationGround(connection);
const clients = createClients({ db, notices, record, revocations, isDevelopment: false });
const apis = createApis({ db, notices, record });
const roles = createRoles({ db, notices, record });
const sessions = createSessions({ store: async () => grants, revocations, record });
const folder = await mkdtemp(join(tmpdir(), "signet-clients-"));
atEnd(async () => {
  await notices.close();
  await db.close();
  await rm(folder, { recursive: true });
});
const [A, B] = ["https://a.example", "https://b.example?x=1"];
await apis.create({ identifier: A, name: "A", scopes: [{ scope: "read:a" }, { scope: "write:a" }] }, by);
await apis.create({ identifier: B, name: "B", scopes: [{ scope: "b" }] }, by);

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  json(): Record<string, unknown>;
}

async function signet(argv: readonly string[], stdin = ""): Promise<Ran> {
  const { io, said } = listen(stdin);
  const code = await runCommand(clientCommands, argv, io, (run) => run({ clients, roles, sessions }));
  return { code, ...said, json: () => JSON.parse(said.out) as Record<string, unknown> };
}
const WEB = ["create", "--name", "X", "--type", "web", "--redirect-uri", "https://rp.example.com/cb", "--json"];
const SERVICE = ["create", "--name", "S", "--type", "service", "--json"];
const create = async (...argv: string[]): Promise<Record<string, unknown>> => {
  const made = await signet(argv);
  assert.equal(made.code, 0, made.err);
  return made.json();
};

test("create prints the client in the names of RFC 7591, with a secret that works", async () => {
  const made = await create(...WEB);
  const client = await clients.find(String(made["client_id"]));
  assert.ok(client !== undefined);
  assert.equal(isClientSecret(client, String(made["client_secret"]), new Date()), true);
  assert.deepEqual(made["redirect_uris"], ["https://rp.example.com/cb"]);
  assert.equal(made["client_type"], "web");
  const text = await signet(WEB.filter((word) => word !== "--json"));
  assert.match(text.out, /client_secret +sgn_cs_/);
  assert.match(text.out, /shown this once/);
});

test("every field of RFC 7591 and every setting has a flag", async () => {
  const keys = { keys: [generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" })] };
  const file = join(folder, "jwks.json");
  await writeFile(file, JSON.stringify(keys));
  const flags: readonly (readonly [readonly string[], string, unknown])[] = [
    [
      ["--redirect-uri", "https://rp.example.com/2"],
      "redirect_uris",
      ["https://rp.example.com/cb", "https://rp.example.com/2"],
    ],
    [
      ["--post-logout-redirect-uri", "https://rp.example.com/bye"],
      "post_logout_redirect_uris",
      ["https://rp.example.com/bye"],
    ],
    [["--token-endpoint-auth-method", "client_secret_post"], "token_endpoint_auth_method", "client_secret_post"],
    [["--grant-type", "authorization_code"], "grant_types", ["authorization_code"]],
    [["--response-type", "code"], "response_types", ["code"]],
    [["--application-type", "web"], "application_type", "web"],
    [["--client-uri", "https://rp.example.com"], "client_uri", "https://rp.example.com"],
    [["--logo-uri", "https://rp.example.com/l.svg"], "logo_uri", "https://rp.example.com/l.svg"],
    [["--scope", "openid", "--scope", "email"], "scope", "openid email"],
    [["--scope", "openid email openid"], "scope", "openid email"],
    [["--contact", "a@b.example", "--contact", "c@d.example"], "contacts", ["a@b.example", "c@d.example"]],
    [["--tos-uri", "https://rp.example.com/t"], "tos_uri", "https://rp.example.com/t"],
    [["--policy-uri", "https://rp.example.com/p"], "policy_uri", "https://rp.example.com/p"],
    [["--jwks-uri", "https://rp.example.com/k"], "jwks_uri", "https://rp.example.com/k"],
    [["--jwks", file], "jwks", keys],
    [["--jwks", JSON.stringify(keys)], "jwks", keys],
    [["--software-id", "abc"], "software_id", "abc"],
    [["--software-version", "1.2"], "software_version", "1.2"],
    [["--id-token-signed-response-alg", "ES256"], "id_token_signed_response_alg", "ES256"],
    [["--default-max-age", "60"], "default_max_age", 60],
    [["--require-auth-time"], "require_auth_time", true],
    [["--initiate-login-uri", "https://rp.example.com/l"], "initiate_login_uri", "https://rp.example.com/l"],
    [["--subject-type", "public"], "subject_type", "public"],
    [["--first-party"], "first_party", true],
    [["--web-origin", "https://rp.example.com"], "web_origins", ["https://rp.example.com"]],
    [["--refresh-window", "0"], "refresh_window", 0],
    [["--refresh-idle", "100"], "refresh_idle", 100],
    [["--refresh-absolute", "200"], "refresh_absolute", 200],
    [["--pkce-optional"], "pkce_optional", true],
    [["--optional-scope", "email"], "optional_scopes", ["email"]],
    [["--api", A], "apis", [{ identifier: A, scopes: ["read:a", "write:a"], default: true }]],
    [["--api", A, "--scope", "read:a"], "apis", [{ identifier: A, scopes: ["read:a"], default: true }]],
  ];
  for (const [argv, field, value] of flags)
    assert.deepEqual((await create(...WEB, ...argv))[field], value, argv.join(" "));
  const piped = await signet([...WEB, "--jwks", "-"], JSON.stringify(keys));
  assert.deepEqual(piped.json()["jwks"], keys);
});

test("scopes of OpenID and of the API may be mixed; several APIs are told apart", async () => {
  const mixed = await create(...WEB, "--api", A, "--scope", "openid", "--scope", "read:a");
  assert.deepEqual([mixed["scope"], mixed["apis"]], ["openid", [{ identifier: A, scopes: ["read:a"], default: true }]]);
  const several = await create(...SERVICE, "--api", A, "--api", B, "--api-scope", `${A}=write:a`, "--default-api", B);
  assert.deepEqual(several["apis"], [
    { identifier: A, scopes: ["write:a"], default: false },
    { identifier: B, scopes: ["b"], default: true },
  ]);
  const alone = await create(...SERVICE, "--api-scope", `${B}=b`);
  assert.deepEqual(alone["apis"], [{ identifier: B, scopes: ["b"], default: true }]);
  const bound = await create("create", "--name", "R", "--type", "resource-server", "--api", A, "--json");
  assert.deepEqual(bound["apis"], [{ identifier: A, scopes: [], default: false }]);
});

test("update changes what is named and nothing else", async () => {
  const made = await create(...WEB, "--client-uri", "https://rp.example.com", "--first-party", "--api", A);
  const id = String(made["client_id"]);
  const change = async (...argv: string[]): Promise<Record<string, unknown>> => create("update", id, "--json", ...argv);
  const unchanged = ({ client_secret: _, client_secret_expires_at: __, ...rest }: Record<string, unknown>): unknown =>
    rest;
  assert.deepEqual(await change(), unchanged(made));
  assert.deepEqual(await change("--name", "Y", "--no-first-party"), {
    ...(unchanged(made) as object),
    client_name: "Y",
    first_party: false,
  });
  assert.equal("client_uri" in (await change("--clear", "client-uri")), false);
  assert.deepEqual((await change("--scope", "read:a"))["apis"], [{ identifier: A, scopes: ["read:a"], default: true }]);
  assert.deepEqual((await change("--api", B))["apis"], [{ identifier: B, scopes: ["b"], default: true }]);
  assert.deepEqual((await change("--clear", "apis"))["apis"], []);
});

test("get, list, rotate, disable, enable and delete work on one id", async () => {
  const made = await create(...WEB, "--name", "Verbs");
  const id = String(made["client_id"]);
  const got = await create("get", id, "--json");
  assert.equal(got["client_name"], "Verbs");
  assert.equal("client_secret" in got, false);
  assert.equal((await signet(["get", id])).out.includes(String(made["client_secret"])), false);
  const listed = (await signet(["list", "--query", "verbs", "--json"])).json() as unknown as Record<string, unknown>[];
  assert.deepEqual(
    listed.map((client) => client["client_id"]),
    [id],
  );
  assert.match((await signet(["list"])).out, new RegExp(`${id} +web +Verbs +active`));
  const rotated = await create("rotate-secret", id, "--overlap", "0", "--json");
  const client = await clients.find(id);
  assert.ok(client !== undefined);
  assert.equal(isClientSecret(client, String(rotated["client_secret"]), new Date()), true);
  assert.equal(isClientSecret(client, String(made["client_secret"]), new Date()), false);
  assert.equal((await create("disable", id, "--json"))["disabled"], true);
  assert.equal((await create("enable", id, "--json"))["disabled"], false);
  await grants.put("Grant", "g", { accountId: "maya", clientId: id, madeAtMs: Date.now() }, 60);
  assert.deepEqual(await create("end-access", id, "--json"), { client_id: id, access_ended: true });
  assert.equal(await grants.findGrant("g"), undefined);
  assert.equal((await signet(["end-access", "cl_nobody"])).code, 1);
  assert.deepEqual(await create("delete", id, "--json"), { client_id: id, deleted: true });
  assert.equal((await signet(["get", id])).code, 1);
});

const refused: readonly (readonly [readonly string[], number, RegExp])[] = [
  [["create"], 1, /client_type/],
  [["create", "--type", "web", "--name", "X"], 1, /redirect_uris/],
  [[...WEB, "--redirect-uri", "https://*.example.com/"], 1, /wildcard/],
  [[...WEB, "--api", "https://unknown.example"], 1, /no such API.*unknown\.example/],
  [[...WEB, "--api", A, "--scope", "delete:a"], 1, /delete:a/],
  [[...WEB, "--scope", "read:a"], 2, /--api/],
  [[...WEB, "--api", A, "--api", B, "--scope", "read:a"], 2, /--api-scope/],
  [[...WEB, "--api", A, "--default-api", B], 2, /--default-api/],
  [[...WEB, "--api-scope", "read"], 2, /IDENTIFIER=SCOPE/],
  [[...WEB, "--refresh-window", "ten"], 2, /--refresh-window/],
  [[...WEB, "--refresh-window", "61"], 1, /refresh_window/],
  [[...WEB, "--jwks", "{"], 2, /JWK Set/],
  [[...WEB, "--jwks", "/nonexistent"], 2, /cannot be read/],
  [[...WEB, "--client-secret", "mine"], 2, /client-secret/],
  [["update", "cl_unknown", "--name", "Y"], 1, /no such client/],
  [["delete", "cl_unknown"], 1, /no such client/],
  [["get", "a\u0000b"], 1, /no such client/],
  [["rotate-secret", "cl_unknown", "--overlap", "-1"], 2, /overlap/],
  [["list", "--limit", "0"], 1, /limit/],
  [["get"], 2, /client-id/],
];
for (const [argv, code, message] of refused) {
  test(`refused with exit code ${code}: client ${JSON.stringify(argv.filter((word) => !WEB.includes(word)))}`, async () => {
    const ran = await signet(argv);
    assert.equal(ran.code, code, ran.err);
    assert.match(ran.err, message);
    assert.equal(ran.out, "");
  });
}

test("as people type it: a running server's cache hears of what the command did", async () => {
  const env = {
    ...process.env,
    DATABASE_URL: url,
    SECRET_KEY: randomText(),
    DATA_DIR: folder,
    ISSUER: "http://localhost:3999",
  };
  const command = async (...argv: string[]): Promise<Record<string, unknown>> => {
    const child = spawn(process.execPath, [...nodeArgs("src/main.ts"), "client", ...argv], { env });
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      err += chunk.toString();
    });
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.equal(code, 0, err);
    return JSON.parse(out) as Record<string, unknown>;
  };
  const made = await command(...WEB);
  const id = String(made["client_id"]);
  assert.equal((await clients.find(id))?.name, "X");
  await command("update", id, "--name", "Renamed", "--json");
  await eventually(async () => (await clients.find(id))?.name === "Renamed", 1000);
});
