/** The embedded Postgres on real binaries, from its first start to its last: one row per way in which it can be started, shared and ended. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import pg from "pg";
import { EmbeddedPostgresError, stopIdleEmbeddedPostgres } from "../../src/store/embedded-postgres.ts";
import {
  atEnd,
  isAlive,
  isRoot,
  lines,
  log,
  needsRoot,
  nobody,
  open,
  openInChild,
  person,
  postmasterOf,
  refuses,
  scratch,
  sql,
  until,
} from "./postgres-machine.ts";

test("a fresh folder gets a database that keeps its rows over a stop, closed to everybody else", async (t) => {
  const dir = scratch(t);
  const unfinished = path.join(dir, "data", "postgres.init-99999999-abc");
  fs.mkdirSync(path.dirname(unfinished), { mode: 0o711 });
  fs.mkdirSync(unfinished);
  const first = await open(t, dir, { durable: true });
  assert.equal(first.place, path.join(dir, "data", "postgres"));
  assert.equal(first.kind, "npm");
  assert.match(first.version, /^18\.\d+$/);
  assert.match(first.notes.join(), /a reboot or a sweep of old files empties it/);
  assert.equal(fs.existsSync(unfinished), false, "what a killed start left is gone");
  await sql(first, "create table kept (n int); insert into kept values (7)");
  assert.deepEqual(await sql(first, "show listen_addresses"), [{ listen_addresses: "" }]);
  for (const setting of ["fsync", "synchronous_commit", "full_page_writes"]) {
    assert.deepEqual(await sql(first, `show ${setting}`), [{ [setting]: "on" }]);
  }
  for (const [name, mode] of [
    ["data", 0o700],
    ["socket", 0o700],
    ["password", 0o600],
    ["log", 0o600],
    ["used", 0o600],
  ] as const) {
    assert.equal(fs.lstatSync(path.join(first.place, name)).mode & 0o777, mode, name);
  }
  assert.equal(fs.lstatSync(path.join(first.place, "data")).uid, isRoot ? nobody : process.getuid?.());
  assert.equal(fs.existsSync(path.join(first.place, "password.once")), false);
  const pid = postmasterOf(first.place);
  await first.close();
  assert.equal(first.isRunning(), false);
  assert.equal(isAlive(pid), false);
  const again = await open(t, dir, { durable: true });
  assert.deepEqual(await sql(again, "select n from kept"), [{ n: 7 }]);
});

test("an ordinary user starts it without help", async (t) => {
  const dir = scratch(t, person.uid);
  const child = await openInChild(t, dir, { uid: person.uid });
  assert.equal(child.place, path.join(dir, "data", "postgres"));
  assert.equal(fs.lstatSync(path.join(child.place, "data")).uid, person.uid);
  assert.equal(fs.lstatSync(child.place).mode & 0o777, 0o700);
  const pid = postmasterOf(child.place);
  await child.close();
  assert.equal(isAlive(pid), false);
});

test("root and the owner of the checkout take turns on one database", { skip: needsRoot }, async (t) => {
  const dir = scratch(t, person.uid);
  const byRoot = await open(t, dir, { durable: true });
  await sql(byRoot, "create table turns (n int)");
  const byPerson = await openInChild(t, dir, { uid: person.uid, query: "insert into turns values (1)" });
  assert.equal(byPerson.place, byRoot.place);
  await byRoot.close();
  await byPerson.close();
  const alone = await openInChild(t, dir, { uid: person.uid, query: "insert into turns values (2)" });
  await alone.close();
  const last = await open(t, dir, { durable: true });
  assert.deepEqual(await sql(last, "select count(*)::int as n from turns"), [{ n: 2 }]);
  for (const name of fs.readdirSync(last.place)) {
    assert.equal(fs.lstatSync(path.join(last.place, name)).uid, person.uid, name);
  }
});

test("two first starts at once make one database, and two later ones run one postmaster, 25 rounds", async (t) => {
  const dir = scratch(t);
  const [one, two, three] = await Promise.all([openInChild(t, dir), openInChild(t, dir), open(t, dir)]);
  assert.deepEqual([one.place, two.place], [three.place, three.place]);
  assert.deepEqual(fs.readdirSync(path.join(dir, "data")), ["postgres"]);
  await Promise.all([one.close(), two.close(), three.close()]);
  for (let round = 0; round < 25; round += 1) {
    const pair = await Promise.all([open(t, dir), open(t, dir)]);
    const pids = await Promise.all(pair.map((each) => sql(each, "select pg_postmaster_start_time()::text as at")));
    assert.deepEqual(pids[0], pids[1]);
    const pid = postmasterOf(three.place);
    await Promise.all(pair.map((each) => each.close()));
    assert.equal(isAlive(pid), false, "the last one out stopped it");
  }
});

test("the last one out stops it: not while another process, or anybody's connection, is in", async (t) => {
  const dir = scratch(t);
  const child = await openInChild(t, dir, { durable: true });
  const here = await open(t, dir);
  const pid = postmasterOf(here.place);
  await here.close();
  assert.equal(isAlive(pid), true, "the child is in");
  const visitor = new pg.Client({ ...here.connection });
  await visitor.connect();
  await child.close();
  assert.equal(isAlive(pid), true, "a visitor is in");
  await visitor.end();
  const again = await open(t, dir);
  assert.equal(postmasterOf(again.place), pid, "it was reused");
  await again.close();
  assert.equal(isAlive(pid), false);
});

test("SIGKILL of the postmaster: it is brought back with every row, and says so meanwhile", async (t) => {
  const dir = scratch(t);
  const embedded = await open(t, dir, { durable: true });
  await sql(embedded, "create table kept (n int); insert into kept values (1)");
  process.kill(postmasterOf(embedded.place), "SIGKILL");
  await until(() => !embedded.isRunning());
  await until(() => embedded.isRunning());
  assert.deepEqual(await sql(embedded, "select n from kept"), [{ n: 1 }]);
});

test("while it cannot be started the end of its log is told, and it comes back by itself once the cause is gone", async (t) => {
  const dir = scratch(t);
  const embedded = await open(t, dir);
  const settings = path.join(embedded.place, "data", "postgresql.conf");
  const good = fs.readFileSync(settings, "utf8");
  fs.writeFileSync(settings, "shared_buffers = nonsense\n");
  lines.length = 0;
  process.kill(postmasterOf(embedded.place), "SIGKILL");
  await until(() => lines.filter((line) => line.includes("could not be started")).length >= 2);
  const failures = lines.filter((line) => line.includes("could not be started")).map((line) => JSON.parse(line));
  assert.match(failures[0].detail, /invalid value for parameter "shared_buffers": "nonsense"/);
  const pauses = failures.map((failure) => Date.parse(failure.time));
  assert.ok((pauses[1] ?? 0) - (pauses[0] ?? 0) >= 350, "the pause doubles from 0.2 s");
  await assert.rejects(
    open(t, dir),
    (error: Error) => error instanceof EmbeddedPostgresError && /nonsense/.test(error.message),
  );
  fs.writeFileSync(settings, good);
  await until(() => embedded.isRunning());
});

test("SIGKILL of the server, and of both: the next start reuses it, or recovers in spite of a foreign pid in the lock", async (t) => {
  const dir = scratch(t);
  const first = await openInChild(t, dir, { durable: true, query: "create table kept (n int)" });
  const pid = postmasterOf(first.place);
  await first.kill();
  assert.equal(isAlive(pid), true);
  const second = await openInChild(t, dir, { durable: true });
  assert.equal(postmasterOf(second.place), pid);
  await second.kill();
  process.kill(pid, "SIGKILL");
  // After a reboot the pid may be anybody's: here a process of the very account that runs the database.
  const stranger = spawn("/bin/sleep", ["60"], isRoot ? { uid: nobody, gid: nobody } : {});
  atEnd(t, () => stranger.kill());
  const lock = path.join(second.place, "data", "postmaster.pid");
  fs.writeFileSync(lock, fs.readFileSync(lock, "utf8").replace(/^\d+/, String(stranger.pid)));
  const third = await open(t, dir, { durable: true });
  assert.deepEqual(await sql(third, "select n from kept"), []);
  assert.equal(isAlive(stranger.pid ?? 0), true);
});

test("a test's own cluster ends with its process, even by SIGKILL", async (t) => {
  const child = await openInChild(t, scratch(t), { durable: false });
  const pid = postmasterOf(child.place);
  await child.kill();
  await until(() => !isAlive(pid));
});

test("one that nobody has used for ten minutes is stopped by the next command, and no other", async (t) => {
  const dir = scratch(t);
  const options = { dataDir: path.join(dir, "data"), checkoutDir: dir, log };
  assert.equal(await stopIdleEmbeddedPostgres(options), false, "there is none");
  const killed = await openInChild(t, dir, { durable: true });
  const pid = postmasterOf(killed.place);
  await killed.kill();
  assert.equal(await stopIdleEmbeddedPostgres(options), false, "it was used a moment ago");
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 11 * 60_000 });
  const visitor = new pg.Client({ ...killed.connection });
  await visitor.connect();
  assert.equal(await stopIdleEmbeddedPostgres(options), false, "somebody is in");
  await visitor.end();
  assert.equal(await stopIdleEmbeddedPostgres(options), true);
  assert.equal(isAlive(pid), false);
});

test("a wrong and an absent password are refused, and a changed password file is named", async (t) => {
  const dir = scratch(t);
  const embedded = await open(t, dir);
  for (const [password, code] of [
    ["wrong", "28P01"],
    ["", undefined],
  ] as const) {
    const client = new pg.Client({ ...embedded.connection, password });
    await assert.rejects(client.connect(), (error: Error & { code?: string }) => error.code === code);
    await client.end().catch(() => undefined);
  }
  await embedded.close();
  const file = path.join(embedded.place, "password");
  const password = fs.readFileSync(file, "utf8");
  assert.ok(password.length >= 32);
  fs.writeFileSync(file, "another");
  await refuses(open(t, dir), new RegExp(`refuses the password in ${file}`));
  assert.equal(fs.existsSync(path.join(embedded.place, "data", "postmaster.pid")), false, "it was not left running");
  assert.equal(lines.join().includes(password), false);
});

test("a hostile environment reaches neither the children nor the connection", async (t) => {
  const dir = scratch(t);
  const hostile = {
    PGHOST: "/nowhere",
    PGPORT: "1",
    PGDATA: "/nowhere",
    PGUSER: "x",
    PGDATABASE: "x",
    PGPASSWORD: "x",
  };
  const more = {
    PGOPTIONS: "-c search_path=evil",
    PGSSLMODE: "require",
    LC_ALL: "xx_YY",
    LANG: "xx",
    TZ: "Mars/Olympus",
    PGTZ: "x",
  };
  const child = await openInChild(t, dir, { processEnvironment: { ...hostile, ...more } });
  const client = new pg.Client({ ...child.connection });
  await client.connect();
  const { rows } = await client.query(
    "select current_setting('lc_messages') as messages, current_setting('log_timezone') as zone",
  );
  assert.deepEqual(rows, [{ messages: "C", zone: "UTC" }]);
  await client.end();
  if (process.platform === "linux") {
    const environment = fs
      .readFileSync(`/proc/${postmasterOf(child.place)}/environ`, "utf8")
      .split("\0")
      .filter(Boolean);
    assert.deepEqual(
      environment
        .map((each) => each.split("=")[0])
        .filter((name) => name !== "PATH" && name !== "TZ" && name !== "LC_ALL"),
      [],
    );
  }
  await child.close();
});
