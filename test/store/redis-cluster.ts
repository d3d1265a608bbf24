/** Redis for tests of the store's edges: clients that ask a server directly, and a cluster. */
import { Redis } from "ioredis";
import { monotonicMs, sleep } from "../../src/clock.ts";
import { atEnd, freePort, ownRedis } from "../support.ts";

const SLOTS = 16_384;
const NODES = 3;
/** A master that is silent for so long is taken for gone. */
const NODE_TIMEOUT_MS = 1500;
/** Longer than any pause between two attempts to connect, on a machine that is busy. */
const RECOVERY_MS = 8000;

/** A client beside the store's own. It does not come back once its server is gone. */
export const admin = (url: string): Redis => {
  const client = new Redis(url, { retryStrategy: null });
  client.on("error", () => undefined);
  atEnd(async () => client.disconnect());
  return client;
};

/** Three nodes of the same binary, a third of the slots each; with replicas, each has one that takes its place soon after it is gone. */
export async function startCluster({ hasReplicas = false } = {}): Promise<readonly string[]> {
  const urls: string[] = [];
  for (let node = 0; node < (hasReplicas ? 2 * NODES : NODES); node += 1) urls.push(await startNode(hasReplicas));
  const masters = await join(urls, NODES);
  if (hasReplicas) await replicate(urls.map(admin), NODES);
  return masters;
}

async function startNode(isMissedSoon: boolean): Promise<string> {
  const options = ["--cluster-enabled", "yes", "--cluster-port", String(await freePort()), "--databases", "1"];
  const soon = isMissedSoon ? ["--cluster-node-timeout", String(NODE_TIMEOUT_MS)] : [];
  const url = (await ownRedis([...options, ...soon, "--cluster-require-full-coverage", "no"]))?.url;
  if (url === undefined) throw new Error("Redis was there a moment ago");
  return url;
}

/** The later half becomes the replicas of the first one. */
async function replicate(nodes: readonly Redis[], masters: number): Promise<void> {
  const ids = await Promise.all(
    nodes.slice(0, masters).map(async (node) => String(await node.call("CLUSTER", "MYID"))),
  );
  for (const [index, node] of nodes.slice(masters).entries()) {
    // It must have heard of its master first.
    await until(async () => (await node.call("CLUSTER", "REPLICATE", ids[index] ?? "").catch(() => "")) === "OK");
  }
  await until(async () => {
    const infos = await Promise.all(nodes.slice(masters).map((node) => node.info("replication")));
    return infos.every((info) => info.includes("master_link_status:up"));
  });
}

/** Makes one cluster of them; the slots are the first ones'. */
async function join(urls: readonly string[], masters: number): Promise<readonly string[]> {
  const nodes = urls.map(admin);
  for (const [index, node] of nodes.slice(0, masters).entries()) {
    const [from, to] = [index, index + 1].map((share) => Math.floor((SLOTS * share) / masters));
    await node.cluster("ADDSLOTSRANGE", from ?? 0, (to ?? 0) - 1);
  }
  for (const [index, url] of urls.entries()) {
    const bus = await nodes[index]?.config("GET", "cluster-port");
    await nodes[0]?.cluster("MEET", "127.0.0.1", new URL(url).port, (bus as string[])[1] ?? "");
  }
  await until(async () => {
    const infos = await Promise.all(nodes.map((node) => node.cluster("INFO")));
    // Without full coverage a node calls itself ok before it has heard who serves the other slots.
    const known = ["cluster_state:ok", `cluster_slots_ok:${SLOTS}`, `cluster_known_nodes:${urls.length}`];
    return infos.every((info) => known.every((line) => info.includes(line)));
  });
  return urls.slice(0, masters);
}

/** Waits for a condition; what it waits for must come in this time. */
export async function until(condition: () => Promise<boolean>, deadlineMs = RECOVERY_MS): Promise<void> {
  const end = monotonicMs() + deadlineMs;
  while (!(await condition())) {
    if (monotonicMs() > end) throw new Error(`not within ${deadlineMs} ms: ${condition}`);
    await sleep(20);
  }
}
