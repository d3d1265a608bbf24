/** What an operator has to know of the Redis that is configured: version, whether it may evict, whether it writes to disk, its clock. */
import { Redis } from "ioredis";

const TIMEOUT_MS = 1000;

export interface RedisFacts {
  readonly version: string;
  readonly evictionPolicy: string;
  /** Append-only file on, and how often it is synced. */
  readonly isAppendOnly: boolean;
  readonly clockMs: number;
}

/** Asks the first of the nodes. INFO and TIME need no right that the server itself lacks. Throws what the driver throws. */
export async function readRedisFacts(urls: readonly string[]): Promise<RedisFacts> {
  const client = new Redis(urls[0] ?? "", {
    lazyConnect: true,
    connectTimeout: TIMEOUT_MS,
    commandTimeout: TIMEOUT_MS,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  // The driver's promise says only that the connection is closed; the event before it says why.
  let reason: Error | undefined;
  client.on("error", (error: Error) => {
    reason = error;
  });
  try {
    await client.connect().catch((error: unknown) => {
      throw reason ?? error;
    });
    const info = await client.info();
    const [seconds, micros] = await client.time();
    const field = (name: string): string => new RegExp(`^${name}:(.*)$`, "m").exec(info)?.[1]?.trim() ?? "unknown";
    return {
      version: field("redis_version"),
      evictionPolicy: field("maxmemory_policy"),
      isAppendOnly: field("aof_enabled") === "1",
      clockMs: Number(seconds) * 1000 + Math.floor(Number(micros) / 1000),
    };
  } finally {
    client.disconnect();
  }
}
