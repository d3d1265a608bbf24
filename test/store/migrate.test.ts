/** Migrations: once each and in order; an edited, missing or broken file is refused by its name, and nothing is half done. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { AppError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { type Db, openDb } from "../../src/store/db.ts";
import { MigrationError, migrate, migrationStatus } from "../../src/store/migrate.ts";
import { asOwner, CHECKOUT, LOADER, nodeArgs, postgresUrl, programUrl } from "../ladder.ts";
import { eventually, testDatabase } from "../support.ts";

const log = createLog({ level: "silent", pretty: false });
const A = "create table a (id integer primary key);";
const B = "create table b (id integer primary key);\ninsert into b values (1);";

/** An empty database and a folder of these files. */
async function ground(t: TestContext, files: Readonly<Record<string, string>>) {
  const { connection, url } = await testDatabase(t);
  await asOwner(connection, (client) => client.query("drop schema public cascade; create schema public"));
  const directory = await mkdtemp(join(tmpdir(), "signet-test-migrations-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const put = (name: string, sql: string): Promise<void> => writeFile(join(directory, name), sql);
  for (const [name, sql] of Object.entries(files)) await put(name, sql);
  const open = (): Db => {
    const db = openDb({ connection, max: 4, log });
    t.after(() => db.close());
    return db;
  };
  return { db: open(), open, directory, put, connection, url };
}

async function tables(db: Db): Promise<readonly string[]> {
  const rows = await db.query<{ name: string }>(
    "select table_name as name from information_schema.tables where table_schema = 'public' order by 1",
  );
  return rows.map(({ name }) => name);
}

function refused(name: string, sentence: RegExp) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof MigrationError, String(error));
    assert.ok(error.message.startsWith(`${name} `) || error.message.startsWith(`${name}:`), error.message);
    assert.match(error.message, sentence);
    return true;
  };
}

test("files are applied once each, in order, and the status says which", async (t) => {
  const { db, directory, put } = await ground(t, { "001-a.sql": A });
  assert.deepEqual(await migrationStatus(db, directory), [{ name: "001-a.sql", state: "pending" }]);
  assert.deepEqual(await tables(db), [], "the status changes nothing");
  assert.deepEqual(await migrate(db, directory), ["001-a.sql"]);
  await put("002-b.sql", B);
  assert.deepEqual(await migrate(db, directory), ["002-b.sql"]);
  assert.deepEqual(await migrate(db, directory), []);
  const states = await migrationStatus(db, directory);
  assert.deepEqual(
    states.map(({ name, state, appliedAt }) => [name, state, appliedAt instanceof Date]),
    [
      ["001-a.sql", "applied", true],
      ["002-b.sql", "applied", true],
    ],
  );
});

test("an edited file, a missing one and a database of a newer Signet are refused by name, and nothing is changed", async (t) => {
  const files = { "001-a.sql": A, "002-b.sql": B };
  const { db, directory, put } = await ground(t, files);
  await migrate(db, directory);
  await put("003-c.sql", "create table c (id integer);");
  await put("001-a.sql", `${A} -- edited`);
  await assert.rejects(migrate(db, directory), refused("001-a.sql", /edited after it was applied/));
  await assert.rejects(migrationStatus(db, directory), refused("001-a.sql", /edited/));
  await put("001-a.sql", A);
  await unlink(join(directory, "001-a.sql"));
  await assert.rejects(migrate(db, directory), refused("001-a.sql", /the file is missing here/));
  await put("001-a.sql", A);
  assert.deepEqual(await tables(db), ["a", "b", "schema_migrations"]);
  // Taken back to the version before: the database knows a file that this checkout does not.
  await migrate(db, directory);
  await unlink(join(directory, "003-c.sql"));
  await assert.rejects(
    migrate(db, directory),
    refused("003-c.sql", /run the Signet version that brought it, or a newer one/),
  );
  await assert.rejects(migrationStatus(db, directory), refused("003-c.sql", /missing here/));
});

test("a gap, a number that stands twice and a name that is none are refused before anything is applied", async (t) => {
  const { db, directory, put } = await ground(t, {});
  for (const [files, name, sentence] of [
    [{ "001-a.sql": A, "003-b.sql": B }, "003-b.sql", /stands where 002-….sql should/],
    [{ "001-a.sql": A, "001-b.sql": B }, "001-b.sql", /stands where 002/],
    [{ "002-a.sql": A }, "002-a.sql", /stands where 001/],
    [{ "001-a.sql": A, "core.sql": B }, "core.sql", /named NNN-what\.sql/],
    [{ "001-A.sql": A }, "001-A.sql", /named NNN-what\.sql/],
  ] as const) {
    for (const [file, sql] of Object.entries(files)) await put(file, sql);
    await assert.rejects(migrate(db, directory), refused(name, sentence));
    assert.deepEqual(await tables(db), []);
    for (const file of Object.keys(files)) await unlink(join(directory, file));
  }
});

for (const [what, sql, state] of [
  ["a wrong statement", "create table c (id integer);\ncreate tabel d ();", "42601"],
  ["an unknown table", "create table c (id integer);\ninsert into nowhere values (1);", "42P01"],
  ["a violated rule", "create table c (id integer primary key);\ninsert into c values (1), (1);", "23505"],
] as const) {
  test(`${what} undoes its own file and no other, and the sentence names file and cause (${state})`, async (t) => {
    const { db, directory, put } = await ground(t, { "001-a.sql": A, "002-c.sql": sql, "003-b.sql": B });
    await assert.rejects(
      migrate(db, directory),
      refused("002-c.sql", new RegExp(`failed and was undone \\(${state}\\)`)),
    );
    assert.deepEqual(await tables(db), ["a", "schema_migrations"]);
    await put("002-c.sql", "create table c (id integer);");
    assert.deepEqual(await migrate(db, directory), ["002-c.sql", "003-b.sql"]);
  });
}

test("two processes at once: one applies, the other waits and finds nothing to do", async (t) => {
  const { open, directory } = await ground(t, { "001-a.sql": `select pg_sleep(0.3);\n${A}`, "002-b.sql": B });
  const both = await Promise.all([migrate(open(), directory), migrate(open(), directory), migrate(open(), directory)]);
  assert.deepEqual(both.flat().sort(), ["001-a.sql", "002-b.sql"]);
});

test("a file may work longer than any page would wait", async (t) => {
  const { db, directory } = await ground(t, { "001-a.sql": `select pg_sleep(2.6);\n${A}` });
  assert.deepEqual(await migrate(db, directory), ["001-a.sql"]);
});

test("a table in use is waited for three seconds at most; the file is undone and succeeds afterwards (T-REL-15)", async (t) => {
  const { db, directory, put, connection } = await ground(t, { "001-a.sql": A });
  await migrate(db, directory);
  await put("002-more.sql", "create table c (id integer);\nalter table a add column more text;");
  await asOwner(connection, async (client) => {
    await client.query("begin; lock table a in access share mode");
    const began = performance.now();
    await assert.rejects(migrate(db, directory), (error: unknown) => {
      assert.ok(error instanceof AppError && error.code === "store_unavailable", String(error));
      assert.match(error.message, /002-more\.sql: a table was not free within 3s; nothing was changed/);
      return true;
    });
    const seconds = (performance.now() - began) / 1000;
    assert.ok(seconds > 2.5 && seconds < 4.5, `${seconds.toFixed(1)} s`);
    await client.query("commit");
  });
  assert.deepEqual(await tables(db), ["a", "schema_migrations"]);
  assert.deepEqual(await migrate(db, directory), ["002-more.sql"]);
});

test("a migration whose process is killed midway is rolled back, and the next one does it all (T-REL-15)", async (t) => {
  const slow = `${B}\nselect pg_sleep(60);`;
  const { db, directory, put, connection } = await ground(t, { "001-a.sql": A, "002-b.sql": slow });
  const script = `
    const { createLog } = await import(${JSON.stringify(programUrl("src/log.ts"))});
    const { openDb } = await import(${JSON.stringify(programUrl("src/store/db.ts"))});
    const { migrate } = await import(${JSON.stringify(programUrl("src/store/migrate.ts"))});
    const log = createLog({ level: "error", pretty: true });
    await migrate(openDb({ connection: JSON.parse(process.env.CONNECTION), max: 1, log }), process.env.DIRECTORY);`;
  const child = spawn(process.execPath, [...LOADER, "--input-type=module", "-e", script], {
    cwd: CHECKOUT,
    env: { PATH: process.env["PATH"] ?? "", CONNECTION: JSON.stringify(connection), DIRECTORY: directory },
    stdio: ["ignore", "ignore", "inherit"],
  });
  t.after(() => child.kill("SIGKILL"));
  await eventually(async () => {
    assert.equal(child.exitCode, null);
    const busy = await db.query(
      "select 1 from pg_stat_activity where datname = current_database() and query like '%pg_sleep(60)%' and pid <> pg_backend_pid()",
    );
    return busy.length > 0;
  }, 15_000);
  child.kill("SIGKILL");
  await put("002-b.sql", B);
  // The server finds out that nobody is there and lets go of the lock, for which this one waits.
  const began = performance.now();
  assert.deepEqual(await migrate(db, directory), ["002-b.sql"]);
  assert.ok(performance.now() - began < 10_000);
  assert.deepEqual(await tables(db), ["a", "b", "schema_migrations"]);
});

test("the command shows what is pending, applies it, and says what is wrong in one sentence", async (t) => {
  const { connection } = await testDatabase(t);
  await asOwner(connection, (client) => client.query("drop schema public cascade; create schema public"));
  const run = (...args: string[]) =>
    new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
      const child = spawn(process.execPath, [...nodeArgs("src/main.ts"), "migrate", ...args], {
        cwd: CHECKOUT,
        env: { PATH: process.env["PATH"] ?? "", DATABASE_URL: postgresUrl(connection) },
      });
      let [out, err] = ["", ""];
      child.stdout.on("data", (chunk: Buffer) => {
        out += chunk.toString();
      });
      child.stderr.on("data", (chunk: Buffer) => {
        err += chunk.toString();
      });
      child.on("close", (code) => resolve({ code, out, err }));
    });
  const before = JSON.parse((await run("status", "--json")).out) as { migrations: { name: string; state: string }[] };
  assert.ok(before.migrations.length >= 4 && before.migrations.every(({ state }) => state === "pending"));
  const applied = await run();
  assert.equal(applied.code, 0, applied.err);
  for (const { name } of before.migrations) assert.match(applied.out, new RegExp(`${name} +applied now +\\d{4}-`));
  await asOwner(connection, (client) =>
    client.query(
      "insert into schema_migrations (name, checksum, applied_at) values ('900-later.sql', 'x', '2030-01-01')",
    ),
  );
  const newer = await run("status");
  assert.equal(newer.code, 1);
  assert.equal(newer.out, "");
  assert.match(newer.err, /^900-later\.sql was applied to this database, but the file is missing here: [^\n]+\n$/m);
});
