/** The epoch of the Redis engine: whatever happens to Redis, nothing that was revoked is alive in the first answer, and nobody waits for more than was lost. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { sleep } from "../../src/clock.ts";
import { createLog } from "../../src/log.ts";
import { randomText, sha256 } from "../../src/secrets.ts";
import type { GrantStore, JsonObject, Revocation } from "../../src/store/grants.ts";
import { openRedisGrants } from "../../src/store/grants-redis.ts";
import { ownRedisVictim } from "../flows/faults.ts";
import { testRedis, withoutRedis } from "../support.ts";
import { admin, startCluster, until } from "./redis-cluster.ts";

const skip = await withoutRedis();
const log = createLog({ level: "silent", pretty: false });
const DAY_SECONDS = 86_400;
const TTL = 600;
const T0 = 1_700_000_000_000;
const payload: JsonObject = { accountId: "maya", clientId: "notes", madeAtMs: T0 };
const OWNERS = { userId: "maya", clientId: "notes" };

/** A durable store as the engine sees it: rows with the moment they were written, and who asked for them. */
function durable() {
  const rows: (Revocation & { readonly writtenAtMs: number })[] = [];
  const asked: number[] = [];
  let failure: Error | undefined;
  return {
    asked,
    write(kind: Revocation["kind"], key: string, writtenAtMs = Date.now()): Revocation {
      const row = { kind, key, beforeMs: T0 + 1000, expiresAtMs: Date.now() + TTL * 1000, writtenAtMs };
      rows.push(row);
      return row;
    },
    fail(error: Error | undefined): void {
      failure = error;
    },
    async *source(since: Date): AsyncGenerator<readonly Revocation[]> {
      asked.push(since.getTime());
      if (failure !== undefined) throw failure;
      for (const row of rows) if (row.writtenAtMs >= since.getTime()) yield [row];
    },
  };
}

async function open(
  t: TestContext,
  at: { urls: readonly string[]; prefix: string },
  from: ReturnType<typeof durable>,
): Promise<GrantStore> {
  const store = await openRedisGrants({ ...at, log, revocations: from.source });
  t.after(() => store.close());
  return store;
}

async function place() {
  const redis = await testRedis();
  if (redis === undefined) throw new Error("Redis was there a moment ago");
  return { at: { urls: [redis.url], prefix: redis.prefix }, client: admin(redis.url), epoch: `${redis.prefix}epoch` };
}

/** What no late write may bring back: each is written again after the loss. */
async function revive(store: GrantStore): Promise<void> {
  await store.put("Grant", "ended", payload, TTL);
  await store.put("Grant", "of-tom", { ...payload, accountId: "tom" }, TTL);
  const fields = { accountId: "tom", signedInAtMs: T0 };
  await store.sessions.save("id", { uid: "uid", isNew: true, fields, set: {}, removed: [] }, TTL);
}
async function allDead(store: GrantStore): Promise<void> {
  const found = await Promise.all([
    store.findGrant("ended", OWNERS),
    store.findGrant("ended"),
    store.findGrant("of-tom"),
    store.sessions.findById("id"),
    store.sessions.findByUid("uid", "tom"),
  ]);
  assert.deepEqual(found, Array(5).fill(undefined));
  assert.equal(await store.isEnded({ grantId: "ended" }, T0 + 9000), true);
}

test("a Redis that was emptied under an open connection gets everything again before its first answer, once for all who wait", {
  skip,
}, async (t) => {
  const { at, client, epoch } = await place();
  const from = durable();
  from.write("grant", sha256("ended"), T0);
  from.write("user", "tom", T0);
  const [one, other] = [await open(t, at, from), await open(t, at, from)];
  await revive(one);
  await allDead(one);
  await allDead(other);
  from.asked.splice(0);
  await client.flushdb();
  await revive(one);
  await Promise.all([allDead(one), allDead(one), allDead(other)]);
  assert.deepEqual(from.asked.includes(0), true, "the first to notice reads everything");
  assert.ok(from.asked.length <= 3, `asked ${from.asked.length} times`);
  const ttl = await client.ttl(epoch);
  assert.ok(ttl > 0 && ttl <= DAY_SECONDS);
  from.asked.splice(0);
  for (let again = 0; again < 5; again += 1) {
    await allDead(one);
    await allDead(other);
  }
  assert.deepEqual(from.asked, [], "and then nobody asks again");
});

test("a Redis put back to an older state gets what was revoked since, and no more, before its first answer", {
  skip,
}, async (t) => {
  const redis = await ownRedisVictim();
  assert.ok(redis !== undefined);
  const from = durable();
  const longAgo = T0;
  for (let index = 0; index < 50; index += 1) from.write("grant", sha256(`old-${index}`), longAgo);
  const store = await open(t, { urls: [redis.url], prefix: "p:" }, from);
  await store.put("Grant", "ended", payload, TTL);
  await store.put("Grant", "old-1", payload, TTL);
  await store.put("Grant", "alive", payload, TTL);
  const fields = { accountId: "tom", signedInAtMs: T0 };
  await store.sessions.save("id", { uid: "uid", isNew: true, fields, set: {}, removed: [] }, TTL);
  await store.put("Grant", "of-tom", { ...payload, accountId: "tom" }, TTL);
  assert.notEqual(await store.findGrant("ended", OWNERS), undefined);
  await admin(redis.url).call("save");
  await store.plant([from.write("grant", sha256("ended")), from.write("user", "tom")]);
  await allDead(store);
  from.asked.splice(0);
  await redis.kill();
  await redis.start();
  await until(() =>
    store.check().then(
      () => true,
      () => false,
    ),
  );
  await allDead(store);
  assert.notEqual(await store.findGrant("alive", OWNERS), undefined, "it is the older state");
  assert.equal(await store.findGrant("old-1", OWNERS), undefined);
  assert.ok(
    from.asked.length > 0 && from.asked.every((since) => since > longAgo),
    "only what was written since is read",
  );
});

test("while the durable store does not answer nothing is said, and then it is said rightly", { skip }, async (t) => {
  const { at, client } = await place();
  const from = durable();
  const store = await open(t, at, from);
  await store.plant([from.write("grant", sha256("ended")), from.write("user", "tom")]);
  await revive(store);
  await allDead(store);
  await client.flushdb();
  await revive(store);
  from.fail(Object.assign(new Error("Postgres is away"), { code: "store_unavailable" }));
  for (let again = 0; again < 3; again += 1) {
    await assert.rejects(store.findGrant("ended", OWNERS), { code: "store_unavailable" });
    await assert.rejects(store.sessions.findById("id"), { code: "store_unavailable" });
  }
  from.fail(undefined);
  await allDead(store);
});

test("an epoch that another process planted is taken over after one planting, and an unfinished one is finished", {
  skip,
}, async (t) => {
  const { at, client, epoch } = await place();
  const from = durable();
  from.write("grant", sha256("ended"));
  from.write("user", "tom");
  const store = await open(t, at, from);
  await revive(store);
  await allDead(store);
  for (const [value, plantings] of [
    [`other.${Date.now()}`, 1],
    ["~unfinished.0", 1],
    // An earlier moment under the same name is an older state.
    ["unfinished.1", 1],
    [`unfinished.${Date.now() + 60_000}`, 0],
  ] as const) {
    from.asked.splice(0);
    await client.set(epoch, value, "EX", 60);
    await allDead(store);
    assert.equal(from.asked.length, plantings, value);
    assert.equal((await client.get(epoch))?.split(".")[0], value.split(".")[0]?.replace("~", ""));
  }
});

test("emptied again and again while it is planted, it never says that the dead live", { skip }, async (t) => {
  const { at, client } = await place();
  const from = durable();
  for (let index = 0; index < 40; index += 1) from.write("grant", sha256(randomText()));
  from.write("grant", sha256("ended"));
  from.write("user", "tom");
  const store = await open(t, at, from);
  let isOver = false;
  const flushing = (async () => {
    while (!isOver) {
      await client.flushdb();
      await sleep(40);
    }
  })();
  let answers = 0;
  for (let round = 0; round < 25; round += 1) {
    await store.put("Grant", "ended", payload, TTL);
    const found = await store.findGrant("ended", OWNERS).catch((error: { code?: string }) => error.code);
    if (found !== "store_unavailable") {
      assert.equal(found, undefined);
      answers += 1;
    }
  }
  isOver = true;
  await flushing;
  assert.ok(answers > 0);
  await revive(store);
  await allDead(store);
  t.diagnostic(`${answers} of 25 questions were answered while Redis was emptied all the time`);
});

test("what may have been missed is planted before the next answer", { skip }, async (t) => {
  const { at } = await place();
  const from = durable();
  const store = await open(t, at, from);
  await revive(store);
  assert.notEqual(await store.findGrant("ended", OWNERS), undefined);
  // Its process died before it could plant them.
  from.write("grant", sha256("ended"));
  from.write("user", "tom");
  store.doubt();
  await allDead(store);
});

test("a cluster whose nodes are emptied gets everything again", { skip }, async (t) => {
  const urls = await startCluster();
  const from = durable();
  from.write("grant", sha256("ended"), T0);
  from.write("user", "tom", T0);
  const store = await open(t, { urls, prefix: "p:" }, from);
  await revive(store);
  await allDead(store);
  await Promise.all(urls.map((url) => admin(url).flushall()));
  await revive(store);
  await allDead(store);
});
