/** The counters in Redis. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { createLog } from "../../src/log.ts";
import type { Counters } from "../../src/store/counters.ts";
import { openRedisCounters } from "../../src/store/counters-redis.ts";
import { testRedis, withoutRedis } from "../support.ts";
import { countersContract } from "./counters.contract.ts";

const log = createLog({ level: "silent", pretty: false });
const skip = await withoutRedis();
const opened: Counters[] = [];
after(() => Promise.all(opened.map((counters) => counters.close())));
const own = await testRedis();

async function open(): Promise<Counters> {
  assert.ok(own);
  const counters = await openRedisCounters({ urls: [own.url], prefix: own.prefix, log });
  opened.push(counters);
  return counters;
}

const pair = skip === false ? ([await open(), await open()] as const) : undefined;
countersContract("redis", { skip }, async () => {
  assert.ok(pair);
  return pair;
});

test("counters (redis): a server that is not there is store_unavailable within a second", async () => {
  const counters = await openRedisCounters({ urls: ["redis://127.0.0.1:1"], prefix: "x:", log });
  opened.push(counters);
  const began = performance.now();
  await assert.rejects(counters.read("x"), { code: "store_unavailable" });
  await assert.rejects(counters.check(), { code: "store_unavailable" });
  assert.ok(performance.now() - began < 5000);
});
