/** `signet user` from its flags to what stands in the database. */
import assert from "node:assert/strict";
import { pbkdf2Sync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { record } from "../../src/audit/event.ts";
import { runCommand } from "../../src/commands.ts";
import { createLog } from "../../src/log.ts";
import { createRoles } from "../../src/roles/role.ts";
import { openDb } from "../../src/store/db.ts";
import { openNotices } from "../../src/store/notices.ts";
import { userCommands } from "../../src/users/commands.ts";
import { openHasher } from "../../src/users/hasher.ts";
import { createUsers } from "../../src/users/user.ts";
import { revocationGround } from "../revocations/ground.ts";
import { listen, testDatabase } from "../support.ts";

const log = createLog({ level: "silent", pretty: false });
const { connection } = await testDatabase();
const db = openDb({ connection, max: 4, log });
const hasher = await openHasher({ log, children: 1, parameters: { memoryKiB: 64, passes: 1, lanes: 1 } });
const { revocations } = await revocationGround(connection);
const users = createUsers({ db, hasher, record, revocations });
const notices = await openNotices({ connection, log });
const roles = createRoles({ db, notices, record });
const folder = await mkdtemp(join(tmpdir(), "signet-commands-"));
after(async () => {
  await hasher.close();
  await notices.close();
  await db.close();
  await rm(folder, { recursive: true });
});
const PASSWORD = "nine brown lanterns drift";

async function signet(
  argv: readonly string[],
  stdin = "",
): Promise<{ code: number; out: string; err: string; json(): Record<string, unknown> }> {
  const { io, said } = listen(stdin);
  const code = await runCommand(userCommands, argv, io, (run) => run({ users, roles }));
  return { code, ...said, json: () => JSON.parse(said.out) };
}

test("create reads the password from standard input without its line ending and prints the user as one document", async () => {
  const made = await signet(["create", "--email", "a@b.example", "--password-file", "-", "--json"], `${PASSWORD}\n`);
  assert.equal(made.code, 0, made.err);
  assert.match(String(made.json()["id"]), /^[0-9a-f-]{36}$/);
  assert.equal(made.json()["email"], "a@b.example");
  assert.equal(made.json()["has_password"], true);
  assert.ok(!made.out.includes("argon2") && !made.out.includes(PASSWORD));
  assert.ok("user" in (await users.authenticate({ email: "a@b.example", password: PASSWORD })));
});

test("create reads the password from a file, one line ending dropped and no more", async () => {
  const path = join(folder, "password");
  await writeFile(path, ` ${PASSWORD}\r\n`);
  assert.equal((await signet(["create", "--email", "file@b.example", "--password-file", path])).code, 0);
  assert.ok("user" in (await users.authenticate({ email: "file@b.example", password: ` ${PASSWORD}` })));
  assert.ok("failed" in (await users.authenticate({ email: "file@b.example", password: PASSWORD })));
});

test("every standard claim has a flag", async () => {
  const claims = {
    name: "Ada Lovelace",
    given_name: "Ada",
    family_name: "Lovelace",
    middle_name: "King",
    nickname: "Al",
    preferred_username: "ada",
    profile: "https://a.example/",
    picture: "https://a.example/p.png",
    website: "https://b.example/",
    gender: "female",
    birthdate: "1815-12-10",
    zoneinfo: "Europe/London",
    locale: "en-GB",
    phone_number: "+44 20 1234567",
  };
  const flags = Object.entries(claims).flatMap(([name, value]) => [`--${name.replaceAll("_", "-")}`, value]);
  const made = await signet(
    ["create", "--email", "claims@b.example", ...flags]
      .concat(["--address-street", "1 Rue X", "--address-locality", "Paris", "--address-region", "IDF"])
      .concat(["--address-postal-code", "75001", "--address-country", "FR", "--address-formatted", "1 Rue X\nParis"])
      .concat(["--phone-number-verified", "--email-verified", "--owner", "--json"]),
  );
  assert.equal(made.code, 0, made.err);
  const user = await users.findByEmail("claims@b.example");
  assert.deepEqual(user?.claims, {
    ...claims,
    phone_number_verified: true,
    address: {
      formatted: "1 Rue X\nParis",
      street_address: "1 Rue X",
      locality: "Paris",
      region: "IDF",
      postal_code: "75001",
      country: "FR",
    },
  });
  assert.equal(user?.isEmailVerified, true);
  assert.deepEqual(user?.roles, ["owner"]);
});

test("update changes what is given, clears what is named and can set the password", async () => {
  await signet([
    "create",
    "--email",
    "up@b.example",
    "--nickname",
    "X",
    "--name",
    "Y",
    "--address-country",
    "FR",
    "--email-verified",
  ]);
  const args = [
    "update",
    "up@b.example",
    "--name",
    "Z",
    "--clear",
    "nickname",
    "--clear",
    "address",
    "--no-email-verified",
  ];
  const changed = await signet([...args, "--password-file", "-", "--json"], PASSWORD);
  assert.equal(changed.code, 0, changed.err);
  const user = await users.findByEmail("up@b.example");
  assert.deepEqual(user?.claims, { name: "Z" });
  assert.equal(user?.isEmailVerified, false);
  assert.equal(user?.hasPassword, true);
});

test("list prints an array for machines and a table for people, page by page", async () => {
  const first = await signet(["list", "--limit", "2", "--json"]);
  const page: unknown = first.json();
  assert.ok(Array.isArray(page) && page.length === 2);
  const [, cursor = ""] = /--after (\S+)/.exec(first.err) ?? [];
  const second = await signet(["list", "--limit", "200", "--after", cursor]);
  assert.match(second.out, /^ID +E-MAIL +NAME +STATE\n/);
  assert.match(second.out, /claims@b\.example +Ada Lovelace +active, owner, no password/);
  assert.ok(!second.out.includes("a@b.example"));
  assert.equal((await signet(["list", "--query", "nobody-has-this"])).out, "There are none.\n");
});

test("get, disable and enable take an id or an address", async () => {
  const { id = "" } = (await users.findByEmail("a@b.example")) ?? {};
  assert.equal((await signet(["get", id, "--json"])).json()["email"], "a@b.example");
  assert.match((await signet(["get", "A@B.example"])).out, new RegExp(`^id +${id}\n`));
  assert.equal((await signet(["disable", "a@b.example", "--json"])).json()["disabled"], true);
  assert.ok("failed" in (await users.authenticate({ email: "a@b.example", password: PASSWORD })));
  assert.equal((await signet(["enable", id, "--json"])).json()["disabled"], false);
});

const faults: readonly (readonly [argv: readonly string[], code: number, says: RegExp])[] = [
  [["get", "nobody@b.example"], 1, /no such user/],
  [["create", "--email", "a@b.example"], 1, /Another user/],
  [["create", "--email", "nobody"], 1, /address cannot be used/],
  [["create", "--email", "new@b.example", "--birthdate", "soon"], 1, /birthdate/],
  [["disable", "claims@b.example"], 1, /last owner/],
  [["create"], 2, /--email is missing/],
  [["create", "--email"], 2, /--email/],
  [["create", "--email", "new@b.example", "--password", "x"], 2, /--password/],
  [["create", "--email", "new@b.example", "--password-file", "/nowhere/at/all"], 2, /cannot be read \(ENOENT\)/],
  [["update", "a@b.example"], 2, /Nothing to change/],
  [["update", "a@b.example", "--clear", "email"], 2, /--clear takes/],
  [["get"], 2, /<id-or-email> is missing/],
  [["get", "a", "b"], 2, /one word too many/],
  [["dance"], 2, /no verb/],
];
for (const [argv, code, says] of faults) {
  test(`"user ${argv.join(" ")}" ends with ${code} and says why`, async () => {
    const plain = await signet(argv);
    assert.equal(plain.code, code);
    assert.match(plain.err, says);
    assert.equal(plain.out, "");
    const machine = await signet([...argv, "--json"]);
    assert.equal(machine.code, code);
    assert.match(JSON.parse(machine.err).message, says);
  });
}

test("T-PW-1: a short password is refused on the command line too", async () => {
  const short = await signet(["create", "--email", "new@b.example", "--password-file", "-"], "fourteen chars");
  assert.equal(short.code, 1);
  assert.match(short.err, /at least 15/);
  assert.equal(await users.findByEmail("new@b.example"), undefined);
});

test("the help texts come from the tables and open nothing", async () => {
  const untouched = (): Promise<void> => assert.fail("a help text needs no database");
  let text = "";
  const io = {
    out: (more: string) => {
      text += more;
    },
    err: () => undefined,
    readStdin: async () => "",
  };
  for (const { verb, flags } of userCommands.verbs) {
    text = "";
    assert.equal(await runCommand(userCommands, [verb, "--help"], io, untouched), 0);
    for (const flag of [...Object.keys(flags), "json", "help"])
      assert.ok(text.includes(`--${flag} `), `${verb} ${flag}`);
  }
  text = "";
  assert.equal(await runCommand(userCommands, [], io, untouched), 0);
  for (const { verb } of userCommands.verbs) assert.ok(text.includes(`  ${verb}`), verb);
});

test("import reads JSON lines with foreign hashes, leaves known addresses alone, names refused lines, and the hash is renewed at sign-in", async () => {
  const path = join(folder, "people.jsonl");
  const hash = "$2b$05$abcdefghijklmnopqrstuu5Lo0g67CiD3M4RpN1BmBb4Crp5w7dbK";
  const salt = Buffer.from("sixteen  letters");
  const tag = pbkdf2Sync(PASSWORD, salt, 29_000, 32, "sha256");
  const b64 = (bytes: Buffer): string => bytes.toString("base64").replaceAll("=", "");
  await writeFile(
    path,
    [
      JSON.stringify({
        email: "import@b.example",
        email_verified: true,
        name: "Ivo",
        password_hash: `$pbkdf2-sha256$29000$${b64(salt)}$${b64(tag)}`,
      }),
      JSON.stringify({ email: "bcrypt@b.example", password_hash: hash }),
      "",
      JSON.stringify({ email: "a@b.example" }),
      "{broken",
      JSON.stringify({ email: "owner@b.example", owner: true }),
      JSON.stringify({ email: "md5@b.example", password_hash: "5f4dcc3b5aa765d61d8327deb882cf99" }),
    ].join("\n"),
  );
  const first = await signet(["import", path, "--json"]);
  assert.equal(first.code, 1);
  assert.equal(first.json()["imported"], 2);
  assert.equal(first.json()["known"], 1);
  assert.deepEqual(
    (first.json()["refused"] as { line: number }[]).map(({ line }) => line),
    [5, 6, 7],
  );
  assert.ok(!first.out.includes("5f4dcc3b") && !first.err.includes("5f4dcc3b"), "no hash is repeated");
  const again = await signet(["import", path, "--json"]);
  assert.equal(again.json()["imported"], 0);
  assert.equal(again.json()["known"], 3);

  const stored = async (): Promise<string> =>
    String(
      (await db.query("select password_hash from users where email_canonical = 'import@b.example'"))[0]?.[
        "password_hash"
      ],
    );
  assert.match(await stored(), /^\$pbkdf2-sha256/);
  assert.ok("failed" in (await users.authenticate({ email: "import@b.example", password: `${PASSWORD}!` })));
  assert.match(await stored(), /^\$pbkdf2-sha256/);
  assert.ok("user" in (await users.authenticate({ email: "import@b.example", password: PASSWORD })));
  assert.match(await stored(), /^\$argon2id\$v=19\$m=64,t=1/);
  assert.ok("user" in (await users.authenticate({ email: "import@b.example", password: PASSWORD })));
  assert.equal((await signet(["import", join(folder, "none.jsonl")])).code, 2);
});
