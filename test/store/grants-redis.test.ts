/** The Redis engine of the expiring store: the contract on one server and on a cluster. */
import type { Redis } from "ioredis";
import { randomText } from "../../src/secrets.ts";
import { testRedis, withoutRedis } from "../support.ts";
import { contract } from "./grants.contract.ts";
import type { Ground } from "./grants-ground.ts";
import { admin, startCluster } from "./redis-cluster.ts";

const skip = await withoutRedis();

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
  const type = await node.type(key);
  if (type === "hash") return JSON.stringify(await node.hgetall(key));
  if (type === "zset") return JSON.stringify(await node.zrange(key, "0", "-1"));
  return String((await node.getBuffer(key))?.toString("latin1"));
}

const shared = skip === false ? await testRedis() : undefined;
const sharedNodes = shared === undefined ? [] : [admin(shared.url)];
contract({
  name: "Redis",
  skip,
  rotations: 5000,
  sessions: 5000,
  ground: async () => groundAt([shared?.url ?? ""], sharedNodes),
});

const cluster = skip === false ? startCluster() : undefined;
contract({
  name: "Redis Cluster",
  skip,
  rotations: 500,
  sessions: 500,
  async ground() {
    const urls = (await cluster) ?? [];
    return groundAt(urls, urls.map(admin));
  },
});
