/** The Redis engine of the expiring store: the contract on one server and on a cluster, and what happens when Redis fails. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Cluster, Redis } from "ioredis";
import { monotonicMs, sleep } from "../../src/clock.ts";
import { createLog } from "../../src/log.ts";
import { randomText } from "../../src/secrets.ts";
import type { GrantStore } from "../../src/store/grants.ts";
import { openRedisGrants } from "../../src/store/grants-redis.ts";
import { atEnd, freePort, ownRedis, testRedis, withoutRedis } from "../support.ts";
import { contract, type Ground } from "./grants.contract.ts";

const skip = await withoutRedis();
const SLOTS = 16_384;
const NODES = 3;
/** Longer than the longest pause between two attempts to connect. */
const RECOVERY_MS = 8000;
const unavailable = { code: "store_unavailable", status: 503 };

/** Part of one Redis: what has the prefix. */
function groundAt(urls: readonly string[], nodes: readonly Redis[]): Ground {
  const prefix = `t${randomText(6)}:`;
  const each = async <T>(read: (node: Redis, key: string) => Promise<T>): Promise<readonly T[]> => {
    const found: T[] = [];
    for (const node of nodes) {
      for await (const keys of node.scanStream({ match: `${prefix}*`, count: 1000 })) {
        for (const key of keys as string[]) found.push(await read(node, key));
      }
    }
    return found;
  };
  return {
    place: { redis: { urls, prefix } },
    dump: async () => (await each(async (node, key) => key + (await readAny(node, key)))).join("\n"),
    endless: async () => (await each(async (node, key) => ((await node.ttl(key)) === -1 ? key : []))).flat(),
    count: async () => (await each(async () => 1)).length,
    size: async () =>
      (await each(async (node, key) => (await node.memory("USAGE", key)) ?? 0)).reduce((sum, bytes) => sum + bytes, 0),
  };
}

async function readAny(node: Redis, key: string): Promise<string> {
  return (await node.type(key)) === "hash"
    ? JSON.stringify(await node.hgetall(key))
    : String((await node.getBuffer(key))?.toString("latin1"));
}

const admin = (url: string): Redis => {
  const client = new Redis(url);
  atEnd(async () => client.disconnect());
  return client;
};

const shared = skip === false ? await testRedis() : undefined;
const sharedNodes = shared === undefined ? [] : [admin(shared.url)];
contract({
  name: "Redis",
  skip,
  rotations: 5000,
  ground: async () => groundAt([shared?.url ?? ""], sharedNodes),
});

const cluster = skip === false ? startCluster() : undefined;
contract({
  name: "Redis Cluster",
  skip,
  rotations: 500,
  async ground() {
    const urls = (await cluster) ?? [];
    return groundAt(urls, urls.map(admin));
  },
});

/** Three nodes of the same binary, a third of the slots each. */
async function startCluster(): Promise<readonly string[]> {
  const urls: string[] = [];
  for (let node = 0; node < NODES; node += 1) {
    const options = ["--cluster-enabled", "yes", "--cluster-port", String(await freePort()), "--databases", "1"];
    const url = (await ownRedis([...options, "--cluster-require-full-coverage", "no"]))?.url;
    if (url === undefined) throw new Error("Redis was there a moment ago");
    urls.push(url);
  }
  const nodes = urls.map(admin);
  for (const [index, node] of nodes.entries()) {
    const [from, to] = [index, index + 1].map((share) => Math.floor((SLOTS * share) / NODES));
    await node.cluster("ADDSLOTSRANGE", from ?? 0, (to ?? 0) - 1);
  }
  for (const [index, url] of urls.entries()) {
    const bus = await nodes[index]?.config("GET", "cluster-port");
    await nodes[0]?.cluster("MEET", "127.0.0.1", new URL(url).port, (bus as string[])[1] ?? "");
  }
  await until(async () => {
    const infos = await Promise.all(nodes.map((node) => node.cluster("INFO")));
    return infos.every(
      (info) => /cluster_state:ok/.test(info) && new RegExp(`cluster_known_nodes:${NODES}`).test(info),
    );
  });
  return urls;
}

/** Waits for a condition; what it waits for must come in this time. */
async function until(condition: () => Promise<boolean>, deadlineMs = RECOVERY_MS): Promise<void> {
  const end = monotonicMs() + deadlineMs;
  while (!(await condition())) {
    if (monotonicMs() > end) throw new Error(`not within ${deadlineMs} ms: ${condition}`);
    await sleep(20);
  }
}

/** Opens the store on a Redis of its own, or where none is yet. */
async function openOn(t: TestContext, ...urls: readonly string[]): Promise<{ store: GrantStore; lines: string[] }> {
  const lines: string[] = [];
  const log = createLog({ level: "info", pretty: false, sink: { write: (line) => void lines.push(line) } });
  const store = await openRedisGrants({ urls, log });
  t.after(() => store.close());
  return { store, lines };
}

async function own(t: TestContext, args: readonly string[] = []) {
  const redis = await ownRedis(args);
  if (redis === undefined) throw new Error("Redis was there a moment ago");
  t.after(redis.close);
  return { ...redis, client: admin(redis.url) };
}

const writes = (store: GrantStore): Promise<void> => store.put("AccessToken", "id", {}, 60);
const isWorking = (store: GrantStore) => async (): Promise<boolean> => {
  try {
    await writes(store);
    return (await store.find("AccessToken", "id")) !== undefined;
  } catch {
    return false;
  }
};

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
  await own(t, ["--port", String(port)]);
  await until(isWorking(store));
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).msg),
    ["Redis does not answer", "Redis answers again"],
  );
});

test("a Redis that goes away is refused at once, returns by itself, and is logged once each", { skip }, async (t) => {
  const redis = await own(t);
  const { store, lines } = await openOn(t, redis.url);
  assert.equal(await isWorking(store)(), true);
  await redis.close();
  await refused(() => writes(store), 1000);
  await sleep(1500);
  await own(t, ["--port", new URL(redis.url).port]);
  await until(isWorking(store));
  assert.deepEqual(
    lines.map((line) => JSON.parse(line).msg),
    ["Redis does not answer", "Redis answers again"],
  );
});

test("a Redis that hangs is refused within a second, for every operation, and goes on afterwards", {
  skip,
}, async (t) => {
  const redis = await own(t);
  const { store } = await openOn(t, redis.url);
  await writes(store);
  const pid = Number(/process_id:(\d+)/.exec(await redis.client.info("server"))?.[1]);
  process.kill(pid, "SIGSTOP");
  try {
    await Promise.all(operations.map(([, run]) => refused(() => run(store), 1000)));
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await until(isWorking(store));
});

test("a Redis that is full refuses writes, and goes on reading", { skip }, async (t) => {
  const redis = await own(t);
  const { store } = await openOn(t, redis.url);
  await writes(store);
  await redis.client.config("SET", "maxmemory", "1mb");
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
  const redis = await own(t, ["--save", "3600", "1000000"]);
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
  const client = new Cluster([...urls]);
  t.after(() => client.disconnect());
  const ids = Array.from({ length: 24 }, (_, index) => `id-${index}`);
  await Promise.all(ids.map((id) => store.put("AccessToken", id, {}, 60)));
  const node = admin(urls[1] ?? "");
  const pid = Number(/process_id:(\d+)/.exec(await node.info("server"))?.[1]);
  process.kill(pid, "SIGSTOP");
  const finds = await Promise.allSettled(ids.map((id) => store.find("AccessToken", id)));
  process.kill(pid, "SIGCONT");
  const failed = finds.flatMap((find) => (find.status === "rejected" ? [find.reason] : []));
  assert.ok(failed.length > 0 && failed.length < ids.length, `${failed.length} of ${ids.length} were refused`);
  for (const error of failed) assert.equal(error.code, "store_unavailable");
  await until(async () =>
    (await Promise.allSettled(ids.map((id) => store.find("AccessToken", id)))).every(
      (find) => find.status === "fulfilled",
    ),
  );
  await until(async () =>
    store.check().then(
      () => true,
      () => false,
    ),
  );
});
