/** The database's seam: transactions, and what becomes of a question when Postgres is gone, silent, locked, or cuts its connections. */
import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { withBudget } from "../../src/budget.ts";
import { AppError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { type Db, type DbConnection, isUniqueViolation, openDb } from "../../src/store/db.ts";
import { asOwner, type Connection } from "../ladder.ts";
import { freePort, testDatabase } from "../support.ts";

const lines: string[] = [];
const log = createLog({ level: "debug", pretty: false, sink: { write: (line) => void lines.push(line) } });

function open(t: TestContext, connection: DbConnection, max = 4): Db {
  const db = openDb({ connection, max, log });
  t.after(() => db.close());
  return db;
}

/** A door in front of Postgres: open, shut (refuses and cuts who is inside), or frozen (takes everybody in and lets no word through). */
async function door(t: TestContext, target: Connection) {
  const port = await freePort();
  const inside = new Set<Socket>();
  let isFrozen = false;
  const server = createServer((near) => {
    const far = target.host.startsWith("/")
      ? connect(`${target.host}/.s.PGSQL.${target.port}`)
      : connect(target.port, target.host);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      inside.add(from);
      from.on("error", () => undefined);
      from.on("data", (chunk) => {
        if (!isFrozen) to.write(chunk);
      });
      from.on("close", () => to.destroy());
    }
  });
  const opens = (): Promise<void> => new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve()));
  const cut = (): void => {
    for (const socket of inside) socket.destroy();
    inside.clear();
  };
  const shut = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    cut();
    await closed;
  };
  t.after(() => (server.listening ? shut() : undefined));
  await opens();
  return {
    connection: { ...target, host: "127.0.0.1", port },
    opens,
    shut,
    freeze: () => {
      isFrozen = true;
    },
    thaw: () => {
      isFrozen = false;
    },
  };
}

/** The refusal, and how long it took. */
async function refusal(work: () => Promise<unknown>): Promise<{ detail: string; ms: number }> {
  const began = performance.now();
  const error = await work().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof AppError, `it was not refused with an error of ours: ${String(error)}`);
  assert.equal(error.code, "store_unavailable");
  assert.equal(error.retryAfterSeconds, 2);
  return { detail: error.detail ?? "", ms: Math.round(performance.now() - began) };
}

test("a transaction commits whole or not at all, and its connection is good for the next one", async (t) => {
  const { connection } = await testDatabase(t);
  const db = open(t, connection, 1);
  await db.query("create table things (id integer primary key)");
  await db.transaction((tx) => tx.query("insert into things values (1)"));
  await assert.rejects(
    db.transaction(async (tx) => {
      await tx.query("insert into things values (2)");
      throw new Error("changed our mind");
    }),
    /changed our mind/,
  );
  const taken = await db
    .transaction((tx) => tx.query("insert into things values (1)"))
    .catch((error: unknown) => error);
  assert.ok(isUniqueViolation(taken));
  await assert.rejects(
    db.transaction(async (tx) => {
      await tx.query("insert into things values (3)");
      await tx.query("insert into things values (1)").catch(() => undefined);
      await tx.query("insert into things values (4)");
    }),
  );
  assert.deepEqual(await db.query("select id from things"), [{ id: 1 }]);
  const [first] = await db.query<{ pid: number }>("select pg_backend_pid() as pid");
  const [second] = await db.query<{ pid: number }>("select pg_backend_pid() as pid");
  assert.equal(first?.pid, second?.pid, "a refused statement costs no connection");
});

test("a wrong statement is our own fault and no outage", async (t) => {
  const { connection } = await testDatabase(t);
  const db = open(t, connection, 1);
  for (const text of ["selec 1", "select 1/0", "select $1::integer"]) {
    const error = await db.query(text, text.includes("$1") ? ["x"] : []).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof Error && !(error instanceof AppError), text);
  }
});

test("a Postgres that refuses, whose name is unknown, or that does not know us is a 503 within a second (T-REL-8)", async (t) => {
  const { connection } = await testDatabase(t);
  for (const [place, why] of [
    [{ ...connection, host: "127.0.0.1", port: await freePort() }, /ECONNREFUSED/],
    [{ ...connection, host: "/nowhere" }, /ENOENT/],
    [{ ...connection, database: "no_such_database" }, /3D000/],
    [{ ...connection, password: "wrong", user: "no_such_role" }, /28/],
  ] as const) {
    const db = open(t, place);
    for (const ask of [() => db.query("select 1"), () => db.transaction((tx) => tx.query("select 1"))]) {
      const { detail, ms } = await refusal(ask);
      assert.match(detail, why);
      assert.ok(ms < 1000, `${why}: ${ms} ms`);
    }
  }
});

test("connections that died in the pool cost a read nothing, and while Postgres is away nobody waits (T-REL-8, T-REL-9)", async (t) => {
  const { connection } = await testDatabase(t);
  const postgres = await door(t, connection);
  const db = open(t, postgres.connection, 8);
  const eight = () => Promise.all(Array.from({ length: 8 }, () => db.query("select pg_sleep(0.05)")));
  await eight();
  await asOwner(connection, (client) =>
    client.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    ),
  );
  await eight();
  assert.deepEqual(await db.transaction((tx) => tx.query("select 1 as one")), [{ one: 1 }]);
  await eight();
  await postgres.shut();
  for (let round = 0; round < 20; round += 1) {
    const { ms } = await refusal(() => db.query("select 1"));
    assert.ok(ms < 500, `${ms} ms`);
  }
  await postgres.opens();
  assert.deepEqual(await db.query("select 1 as one"), [{ one: 1 }]);
});

test("a write whose connection is cut is not carried out a second time behind the caller's back", async (t) => {
  const { connection } = await testDatabase(t);
  const db = open(t, connection, 2);
  await db.query("create table counted (n integer)");
  const writing = refusal(() =>
    db.query("with slept as (select pg_sleep(0.5)) insert into counted select 1 from slept"),
  );
  await new Promise((resolve) => setTimeout(resolve, 200));
  await asOwner(connection, (client) =>
    client.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    ),
  );
  await writing;
  assert.deepEqual(await db.query("select n from counted"), []);
});

test("a Postgres that hangs is a 503 within three seconds; then nobody waits again, and its connections are let go (T-REL-11)", async (t) => {
  const { connection } = await testDatabase(t);
  const postgres = await door(t, connection);
  const db = open(t, postgres.connection);
  await Promise.all(Array.from({ length: 4 }, () => db.query("select pg_sleep(0.05)")));
  postgres.freeze();
  // More than there are connections: some wait for a connection, the others for an answer.
  const seen = await Promise.all([
    ...Array.from({ length: 6 }, () => refusal(() => db.query("select 1"))),
    refusal(() => db.transaction((tx) => tx.query("select 1"))),
  ]);
  console.log(`# hanging: ${seen.map(({ ms }) => ms).join(", ")} ms`);
  assert.ok(
    seen.every(({ ms }) => ms < 3500),
    JSON.stringify(seen),
  );
  const { detail, ms } = await refusal(() => db.query("select 1"));
  assert.match(detail, /silent a moment ago/);
  assert.ok(ms < 200, `${ms} ms`);
  postgres.thaw();
  // The old connections stay silent for ever, as after a failover: none of them is met again.
  await new Promise((resolve) => setTimeout(resolve, 1050));
  const began = performance.now();
  assert.deepEqual(await db.query("select 1 as one"), [{ one: 1 }]);
  assert.ok(performance.now() - began < 1500);
  assert.ok(lines.some((line) => line.includes("Postgres does not answer; its connections are let go")));
});

test("whoever waits for a lock, or for a connection of an exhausted pool, hears in time, and the server is not taken for silent (T-REL-10)", async (t) => {
  const { connection } = await testDatabase(t);
  const db = open(t, connection, 2);
  await db.query("create table locked (n integer)");
  await asOwner(connection, async (client) => {
    await client.query("begin; lock table locked in access exclusive mode");
    const seen = await Promise.all(Array.from({ length: 5 }, () => refusal(() => db.query("select n from locked"))));
    console.log(`# locked: ${seen.map(({ ms, detail }) => `${ms} ms (${detail})`).join(", ")}`);
    assert.ok(seen.every(({ ms }) => ms > 1500 && ms < 3500));
    assert.ok(
      seen.some(({ detail }) => detail.includes("55P03")) &&
        seen.some(({ detail }) => /free in time|timeout exceeded/.test(detail)),
    );
    assert.deepEqual(await db.query("select 1 as one"), [{ one: 1 }]);
    await client.query("rollback");
  });
  assert.deepEqual(await db.query("select n from locked"), []);
});

test("all questions of one request share its time (T-REL-10)", async (t) => {
  const { connection } = await testDatabase(t);
  const db = open(t, connection, 2);
  const began = performance.now();
  let asked = 0;
  const { detail } = await refusal(() =>
    withBudget(900, async () => {
      for (;;) {
        await db.query("select pg_sleep(0.2)");
        asked += 1;
      }
    }),
  );
  const ms = performance.now() - began;
  assert.ok(asked >= 1 && asked <= 4, `${asked} questions`);
  assert.ok(ms < 1900, `${ms} ms: ${detail}`);
  assert.deepEqual(await db.query("select 1 as one"), [{ one: 1 }], "another request is not touched");
});
