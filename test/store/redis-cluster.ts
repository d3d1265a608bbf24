/** Redis for tests of the store's edges: clients that ask a server directly, and a cluster. */
import { Redis } from "ioredis";
import { monotonicMs, sleep } from "../../src/clock.ts";
import { atEnd, freePort, ownRedis } from "../support.ts";

const SLOTS = 16_384;
const NODES = 3;
/** Longer than any pause between two attempts to connect, on a machine that is busy. */
const RECOVERY_MS = 8000;

/** A client beside the store's own. It does not come back once its server is gone. */
export const admin = (url: string): Redis => {
  const client = new Redis(url, { retryStrategy: null });
  client.on("error", () => undefined);
  atEnd(async () => client.disconnect());
  return client;
};

/** Three nodes of the same binary, a third of the slots each. */
export async function startCluster(): Promise<readonly string[]> {
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
    // Without full coverage a node calls itself ok before it has heard who serves the other slots.
    const known = ["cluster_state:ok", `cluster_slots_ok:${SLOTS}`, `cluster_known_nodes:${NODES}`];
    return infos.every((info) => known.every((line) => info.includes(line)));
  });
  return urls;
}

/** Waits for a condition; what it waits for must come in this time. */
export async function until(condition: () => Promise<boolean>, deadlineMs = RECOVERY_MS): Promise<void> {
  const end = monotonicMs() + deadlineMs;
  while (!(await condition())) {
    if (monotonicMs() > end) throw new Error(`not within ${deadlineMs} ms: ${condition}`);
    await sleep(20);
  }
}
