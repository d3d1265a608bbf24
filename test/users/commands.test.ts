/** `signet user` from its flags to what stands in the database. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { record } from "../../src/audit/event.ts";
import { runCommand } from "../../src/commands.ts";
import { createLog } from "../../src/log.ts";
import { openDb } from "../../src/store/db.ts";
import { userCommands } from "../../src/users/commands.ts";
import { openHasher } from "../../src/users/hasher.ts";
import { createUsers } from "../../src/users/user.ts";
import { testDatabase } from "../support.ts";

const log = createLog({ level: "silent", pretty: false });
const { connection } = await testDatabase();
const db = openDb({ connection, max: 4, log });
const hasher = await openHasher({ log, children: 1, parameters: { memoryKiB: 64, passes: 1, lanes: 1 } });
const users = createUsers({ db, hasher, record });
const folder = await mkdtemp(join(tmpdir(), "signet-commands-"));
after(async () => {
  await hasher.close();
  await db.close();
  await rm(folder, { recursive: true });
});
const PASSWORD = "nine brown lanterns drift";

async function signet(argv: readonly string[], stdin = ""): Promise<{ code: number; out: string; err: string; json(): Record<string, unknown> }> {
  let [out, err] = ["", ""];
  const io = {
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
    readStdin: async () => stdin,
  };
  const code = await runCommand(userCommands, argv, io, (run) => run({ users }));
  return { code, out, err, json: () => JSON.parse(out) };
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
  await writeFile(path, ` ${PASSWORD}\r\n\r\n`);
  const made = await signet(["create", "--email", "file@b.example", "--password-file", path]);
  assert.equal(made.code, 1, "a line ending inside is no text of a password that anybody types");
});
