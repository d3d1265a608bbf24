/** Counts what an operation asks of its stores: a proxy before each store sees every round trip, and Redis says which commands it carried out. */
import { connect, createServer, type NetConnectOpts } from "node:net";
import type { Redis } from "ioredis";

export interface Counting {
  readonly port: number;
  /** Requests that were sent when no answer was outstanding on their connection. */
  trips(): number;
  close(): void;
}

/** What is written before the answer to the last request has begun belongs to the same round trip. */
export async function countRoundTrips(to: NetConnectOpts): Promise<Counting> {
  let trips = 0;
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((client) => {
    const store = connect(to);
    let isWaiting = false;
    client.on("data", (chunk) => {
      if (!isWaiting) trips += 1;
      isWaiting = true;
      store.write(chunk);
    });
    store.on("data", (chunk) => {
      isWaiting = false;
      client.write(chunk);
    });
    for (const [socket, other] of [
      [client, store],
      [store, client],
    ] as const) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => other.destroy());
      socket.on("close", () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    trips: () => trips,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Calls of each command since the server began; those inside scripts count, too. */
export async function commandCounts(redis: Redis): Promise<ReadonlyMap<string, number>> {
  const info = await redis.info("commandstats");
  const rows = [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)];
  return new Map(rows.map(([, name = "", calls = "0"]) => [name, Number(calls)]));
}

/** What was called between two looks, by operation, the looks themselves left out. */
export function commandsPerOperation(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
  operations: number,
): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const [name, calls] of after) {
    const each = (calls - (before.get(name) ?? 0)) / operations;
    // A heartbeat or a health check now and then is not the operation's.
    if (name !== "info" && each >= 0.05) counts[name] = Math.round(each * 10) / 10;
  }
  return counts;
}

/** Mean size and number of keys, by kind of record. */
export async function recordSizes(
  redis: Redis,
): Promise<Readonly<Record<string, { readonly count: number; readonly bytes: number }>>> {
  const sums = new Map<string, { count: number; bytes: number }>();
  for await (const page of redis.scanStream({ match: "signet:*", count: 1000 })) {
    for (const name of page as string[]) {
      const kind = name.split(":")[1] ?? "";
      const sum = sums.get(kind) ?? { count: 0, bytes: 0 };
      // Means of the first thousand of a kind; the rest is counted.
      if (sum.count < 1000) sum.bytes += Number(await redis.memory("USAGE", name, "SAMPLES", 0));
      sum.count += 1;
      sums.set(kind, sum);
    }
  }
  return Object.fromEntries(
    [...sums].map(([kind, { count, bytes }]) => [kind, { count, bytes: Math.round(bytes / Math.min(count, 1000)) }]),
  );
}
