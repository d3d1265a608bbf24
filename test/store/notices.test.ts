/** Notices: what a committed change tells every process, and what happens to the connection that listens. */
import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { createLog } from "../../src/log.ts";
import { type DbConnection, openDb } from "../../src/store/db.ts";
import { openNotices } from "../../src/store/notices.ts";
import { eventually, freePort, testDatabase } from "../support.ts";

const log = createLog({ level: "silent", pretty: false });

async function open(t: TestContext, connection: DbConnection) {
  const notices = await openNotices({ connection, log });
  t.after(() => notices.close());
  return notices;
}

async function database(t: TestContext) {
  const { connection } = await testDatabase(t);
  const db = openDb({ connection, max: 2, log });
  t.after(() => db.close());
  return { connection, db };
}

/** A door in front of Postgres that can be shut, cutting who is inside. */
async function door(t: TestContext, target: { host: string; port: number }, port: number) {
  const inside = new Set<Socket>();
  const server = createServer((near) => {
    const far = target.host.startsWith("/")
      ? connect(`${target.host}/.s.PGSQL.${target.port}`)
      : connect(target.port, target.host);
    for (const socket of [near, far]) {
      inside.add(socket);
      socket.on("error", () => undefined);
    }
    near.pipe(far).pipe(near);
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
  });
  const shut = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of inside) socket.destroy();
    inside.clear();
    await closed;
  };
  const opens = (): Promise<void> => new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve()));
  t.after(() => (server.listening ? shut() : undefined));
  return { opens, shut };
}

test("a notice reaches every process when its transaction commits, and only then", async (t) => {
  const { connection, db } = await database(t);
  const [here, there] = [await open(t, connection), await open(t, connection)];
  const heard: string[] = [];
  here.subscribe("clients", (payload) => heard.push(`here ${payload}`));
  there.subscribe("clients", (payload) => heard.push(`there ${payload}`));
  there.subscribe("apis", (payload) => heard.push(`apis ${payload}`));
  await assert.rejects(
    db.transaction(async (tx) => {
      await here.publish(tx, "clients", "undone");
      throw new Error("no");
    }),
  );
  await db.transaction(async (tx) => {
    await here.publish(tx, "clients", "https://a.example:1/x:y");
    assert.deepEqual(heard, []);
  });
  await eventually(() => heard.length === 2, 1000);
  assert.deepEqual(heard.sort(), ["here https://a.example:1/x:y", "there https://a.example:1/x:y"]);
});

test("a subscriber that throws keeps the notice from nobody", async (t) => {
  const { connection, db } = await database(t);
  const notices = await open(t, connection);
  let heard = "";
  notices.subscribe("clients", () => {
    throw new Error("broken");
  });
  notices.subscribe("clients", (payload) => {
    heard = payload;
  });
  await db.transaction((tx) => notices.publish(tx, "clients", "one"));
  await eventually(() => heard === "one", 1000);
});

test("a channel that is no plain word and a payload that Postgres would refuse are errors of ours", async (t) => {
  const { connection, db } = await database(t);
  const notices = await open(t, connection);
  for (const [channel, payload] of [
    ["a:b", "x"],
    ["A", "x"],
    ["", "x"],
    ["clients", "x".repeat(8000)],
  ] as const) {
    await assert.rejects(
      db.transaction((tx) => notices.publish(tx, channel, payload)),
      /plain channel name/,
    );
  }
});

test("after a cut connection everybody is told to forget, and notices come again", async (t) => {
  const { connection, db } = await database(t);
  const notices = await open(t, connection);
  const heard: string[] = [];
  let forgotten = 0;
  notices.subscribe("clients", (payload) => heard.push(payload));
  notices.onReconnect(() => {
    forgotten += 1;
  });
  assert.equal(forgotten, 0);
  for (const round of [1, 2]) {
    const cut = await db.query<{ pid: number }>(
      "select pid, pg_terminate_backend(pid) from pg_stat_activity where application_name = 'signet-notices' and datname = current_database()",
    );
    assert.equal(cut.length, 1);
    await eventually(() => forgotten === round);
    await db.transaction((tx) => notices.publish(tx, "clients", `round ${round}`));
    await eventually(() => heard.includes(`round ${round}`), 1000);
  }
});

test("it opens while Postgres is away, listens when it comes, and survives that it goes", async (t) => {
  const { connection, db } = await database(t);
  const port = await freePort();
  const postgres = await door(t, connection, port);
  const began = performance.now();
  const notices = await open(t, { ...connection, host: "127.0.0.1", port });
  assert.ok(performance.now() - began < 3000, "it waits for one attempt only");
  const heard: string[] = [];
  let forgotten = 0;
  notices.subscribe("clients", (payload) => heard.push(payload));
  notices.onReconnect(() => {
    forgotten += 1;
  });
  await postgres.opens();
  await eventually(() => forgotten === 1);
  await postgres.shut();
  await db.transaction((tx) => notices.publish(tx, "clients", "lost"));
  await postgres.opens();
  await eventually(() => forgotten === 2);
  await db.transaction((tx) => notices.publish(tx, "clients", "heard"));
  await eventually(() => heard.length > 0, 1000);
  assert.deepEqual(heard, ["heard"]);
});

test("closing ends the connection, also while it waits for the next attempt", async (t) => {
  const { connection, db } = await database(t);
  const notices = await openNotices({ connection, log });
  await notices.close();
  await eventually(async () => {
    const rows = await db.query(
      "select 1 from pg_stat_activity where application_name = 'signet-notices' and datname = current_database()",
    );
    return rows.length === 0;
  });
  const nowhere = await openNotices({ connection: { ...connection, host: "127.0.0.1", port: await freePort() }, log });
  const began = performance.now();
  await nowhere.close();
  assert.ok(performance.now() - began < 1000);
});
