/** What the Redis engine does when Redis is absent, gone, hanging, full, read-only, wrongly set up or empty. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { monotonicMs, sleep } from "../../src/clock.ts";
import { createLog } from "../../src/log.ts";
import { randomText } from "../../src/secrets.ts";
import type { GrantStore } from "../../src/store/grants.ts";
import { openRedisGrants } from "../../src/store/grants-redis.ts";
import { redisBinary } from "../ladder.ts";
import { freePort, ownRedis, withoutRedis } from "../support.ts";
import { nothingRevoked } from "./grants-races.ts";
import { admin, startCluster, until } from "./redis-cluster.ts";

const skip = await withoutRedis();
const unavailable = { code: "store_unavailable", status: 503 };

/** Opens the store on a Redis of its own, or where none is yet. */
async function openOn(t: TestContext, ...urls: readonly string[]): Promise<{ store: GrantStore; lines: string[] }> {
  const lines: string[] = [];
  const log = createLog({ level: "info", pretty: false, sink: { write: (line) => void lines.push(line) } });
  const store = await openRedisGrants({ urls, prefix: "signet:", log, revocations: nothingRevoked });
  t.after(() => store.close());
  return { store, lines };
}

async function own(t: TestContext, args: readonly string[] = []) {
  const redis = await ownRedis(args);
  if (redis === undefined) throw new Error("Redis was there a moment ago");
  t.after(redis.close);
  const client = admin(redis.url);
  return { url: redis.url, client, pid: Number(/process_id:(\d+)/.exec(await client.info("server"))?.[1]) };
}

/** A Redis on this very port, so that it can go away and return. */
async function startOn(t: TestContext, port: number): Promise<ChildProcess> {
  const found = await redisBinary();
  if (found === undefined) throw new Error("Redis was there a moment ago");
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const child = spawn(found.binary, args, { stdio: "ignore", env: { ...process.env, ...found.env } });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

const writes = (store: GrantStore): Promise<void> => store.put("AccessToken", "id", {}, 60);
const isWorking = (store: GrantStore) => async (): Promise<boolean> => {
  const id = randomText();
  try {
    await store.put("AccessToken", id, {}, 60);
    return (await store.find("AccessToken", id)) !== undefined;
  } catch {
    return false;
  }
};
const messages = (lines: readonly string[]): readonly string[] => lines.map((line) => JSON.parse(line).msg);

/** Every operation of the seam that asks Redis something. */
const operations: readonly (readonly [name: string, run: (store: GrantStore) => Promise<unknown>])[] = [
  ["put", writes],
  ["put a Grant", (store) => store.put("Grant", "id", {}, 60)],
  ["find", (store) => store.find("AccessToken", "id")],
  ["find a Grant", (store) => store.find("Grant", "id")],
  ["findByUserCode", (store) => store.findByUserCode("DeviceCode", "code")],
  ["consume", (store) => store.consume("AuthorizationCode", "id")],
  ["take", (store) => store.take("Interaction", "id")],
  ["remove", (store) => store.remove("AccessToken", "id")],
  ["claim", (store) => store.claim("assertion", "id", 60)],
  ["endGrant", (store) => store.endGrant("id", 60)],
  ["sessions.findById", (store) => store.sessions.findById("id")],
  [
    "sessions.save",
    (store) => store.sessions.save("id", { uid: "u", isNew: true, fields: {}, set: {}, removed: [] }, 60),
  ],
  ["sessions.forget", (store) => store.sessions.forget("id", 10)],
  ["sessions.prolong", (store) => store.sessions.prolong("u", 60)],
  ["families.start", (store) => store.families.start("id", {}, 60)],
  ["families.spend", (store) => store.families.spend("id", 0, { nowMs: 0, windowMs: 0 })],
  ["families.save", (store) => store.families.save("id", 0, {}, 60)],
  ["families.end", (store) => store.families.end("id")],
  ["check", (store) => store.check()],
];

async function refused(run: () => Promise<unknown>, withinMs: number): Promise<void> {
  const began = monotonicMs();
  await assert.rejects(run, unavailable);
  assert.ok(monotonicMs() - began < withinMs);
}

test("opens without a Redis, refuses at once, and works as soon as there is one", { skip }, async (t) => {
  const port = await freePort();
  const began = monotonicMs();
  const { store, lines } = await openOn(t, `redis://127.0.0.1:${port}/0`);
  assert.ok(monotonicMs() - began < 3000);
  for (const [, run] of operations) await refused(() => run(store), 1000);
  assert.equal(await store.sweep(1), 0);
  await startOn(t, port);
  await until(isWorking(store));
  assert.deepEqual(messages(lines), ["Redis does not answer", "Redis answers again"]);
});

test("a Redis that goes away is refused at once, returns by itself, and is logged once each", { skip }, async (t) => {
  const port = await freePort();
  const redis = await startOn(t, port);
  const { store, lines } = await openOn(t, `redis://127.0.0.1:${port}/0`);
  await until(isWorking(store));
  lines.splice(0);
  redis.kill("SIGKILL");
  await once(redis, "exit");
  await refused(() => writes(store), 1000);
  // Long enough for several attempts to connect.
  await sleep(1500);
  await refused(() => writes(store), 1000);
  await startOn(t, port);
  await until(isWorking(store));
  assert.deepEqual(messages(lines), ["Redis does not answer", "Redis answers again"]);
});

test("a Redis that hangs is refused within a second, for every operation, and goes on afterwards", {
  skip,
}, async (t) => {
  const redis = await own(t);
  const { store } = await openOn(t, redis.url);
  await writes(store);
  process.kill(redis.pid, "SIGSTOP");
  try {
    await Promise.all(operations.map(([, run]) => refused(() => run(store), 1000)));
  } finally {
    process.kill(redis.pid, "SIGCONT");
  }
  await until(isWorking(store));
});

test("a Redis that is full refuses writes, and goes on reading", { skip }, async (t) => {
  const redis = await own(t);
  const { store } = await openOn(t, redis.url);
  await writes(store);
  await store.families.start("id", {}, 60);
  await redis.client.config("SET", "maxmemory", "1");
  await assert.rejects(() => store.put("AccessToken", "more", {}, 60), { ...unavailable, detail: /^Redis: OOM / });
  await assert.rejects(() => store.families.spend("id", 0, { nowMs: 0, windowMs: 0 }), unavailable);
  assert.notEqual(await store.find("AccessToken", "id"), undefined);
  await redis.client.config("SET", "maxmemory", "0");
  await store.put("AccessToken", "more", {}, 60);
});

test("a Redis that became a replica is refused, and found again when it is a master", { skip }, async (t) => {
  const redis = await own(t);
  const { store } = await openOn(t, redis.url);
  await redis.client.replicaof("127.0.0.1", 1);
  await assert.rejects(() => writes(store), { ...unavailable, detail: /^Redis: READONLY / });
  await redis.client.replicaof("NO", "ONE");
  await until(isWorking(store));
});

test("a Redis whose writes fail on disk, or that wants a password, is refused", { skip }, async (t) => {
  const redis = await own(t, ["--save", "3600", "1000000", "--enable-protected-configs", "yes"]);
  const { store } = await openOn(t, redis.url);
  await redis.client.config("SET", "dir", "/proc");
  await redis.client.bgsave().catch(() => undefined);
  await until(async () => /rdb_last_bgsave_status:err/.test(await redis.client.info("persistence")));
  await assert.rejects(() => writes(store), { ...unavailable, detail: /^Redis: MISCONF / });
  await redis.client.config("SET", "stop-writes-on-bgsave-error", "no");
  await until(isWorking(store));
  await redis.client.config("SET", "requirepass", "secret");
  const other = await openOn(t, redis.url);
  await assert.rejects(() => writes(other.store), unavailable);
  assert.ok(!other.lines.join().includes("secret"));
});

test("a Redis that may evict is no store, and the check says how to mend it", { skip }, async (t) => {
  const redis = await own(t);
  const { store } = await openOn(t, redis.url);
  await store.check();
  await redis.client.config("SET", "maxmemory-policy", "allkeys-lru");
  await assert.rejects(() => store.check(), { ...unavailable, detail: /allkeys-lru.*noeviction/ });
});

test("a Redis that was emptied knows nothing, and works on", { skip }, async (t) => {
  const redis = await own(t);
  const { store } = await openOn(t, redis.url);
  await store.sessions.save("id", { uid: "u", isNew: true, fields: {}, set: {}, removed: [] }, 60);
  await store.families.start("id", {}, 60);
  await redis.client.flushall();
  await redis.client.script("FLUSH");
  assert.equal(await store.sessions.findById("id"), undefined);
  assert.equal(await store.families.spend("id", 0, { nowMs: 0, windowMs: 0 }), "unknown");
  assert.equal(await isWorking(store)(), true);
});

test("a cluster refuses what a lost node held, names no slot, and serves it again when the node is back", {
  skip,
}, async (t) => {
  const urls = await startCluster();
  const { store } = await openOn(t, ...urls);
  await store.check();
  const ids = Array.from({ length: 24 }, (_, index) => `id-${index}`);
  await Promise.all(ids.map((id) => store.put("AccessToken", id, {}, 60)));
  const node = admin(urls[1] ?? "");
  const pid = Number(/process_id:(\d+)/.exec(await node.info("server"))?.[1]);
  process.kill(pid, "SIGSTOP");
  const finds = await Promise.allSettled(ids.map((id) => store.find("AccessToken", id)));
  process.kill(pid, "SIGCONT");
  const failed = finds.flatMap((find) => (find.status === "rejected" ? [find.reason] : []));
  assert.ok(failed.length > 0 && failed.length < ids.length, `${failed.length} of ${ids.length} were refused`);
  for (const error of failed) {
    assert.equal(error.code, "store_unavailable");
    assert.doesNotMatch(error.message, /MOVED|ASK |CROSSSLOT/);
  }
  const isAnswering = async (): Promise<boolean> => {
    const all = await Promise.allSettled([store.check(), ...ids.map((id) => store.find("AccessToken", id))]);
    return all.every(({ status }) => status === "fulfilled");
  };
  await until(isAnswering);
});
