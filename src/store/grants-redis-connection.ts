/** The connection of the Redis engine: one server or a cluster, bounded times, and every error of the driver as the 503 it means. */
import { Cluster, Redis } from "ioredis";
import { sleep } from "../clock.ts";
import { unavailable } from "../errors.ts";
import type { Log } from "../log.ts";
import { randomKey } from "../secrets.ts";
import { storeKey } from "./grants.ts";

const CONNECT_MS = 1000;
/** Together with the connection's own second this keeps an answer under one second, whatever Redis does (T-REL-2). */
const COMMAND_MS = 750;
/** A cluster's client sets a command no time before it knows a node that can take it; this bounds the whole. */
const CLUSTER_MS = 850;
/** A peer that vanished without a word is noticed after this time, not when TCP gives up after a quarter of an hour. */
const SILENCE_MS = 5000;
const RETRY_MIN_MS = 200;
/** Below the two seconds within which everything has to be back (T-REL-1). */
const RETRY_MAX_MS = 1800;
/** How often a cluster is asked who holds which keys; a failover is otherwise learnt by the first MOVED. */
const SLOTS_REFRESH_MS = 2000;
const SLOTS_REFRESH_TIMEOUT_MS = 1000;
const REDIRECTIONS_MAX = 4;
/** A reason is for an operator's eyes; a driver's message may quote what it was given. */
const REASON_CHARS_MAX = 200;

export interface RedisConnection {
  readonly client: Redis | Cluster;
  /** The name under which a record is kept. The engine's own kinds begin with a dot, which no model's name does. */
  key(model: string, id: string): string;
  /** The same where the identifier was hashed before. */
  keyOfHash(model: string, hash: string): string;
  /** Runs commands. Whatever the driver throws becomes store_unavailable: no command is wrong by what a caller sends. */
  run<T>(commands: (client: Redis | Cluster) => Promise<T>): Promise<T>;
  /** Reads several keys in one round trip; on a cluster as single commands of one tick, since the keys lie on several nodes. */
  read(keys: readonly string[]): Promise<readonly (string | null)[]>;
  /** A cluster's nodes come and go one by one, and so do their records. */
  readonly isCluster: boolean;
  /** Calls whenever a connection to a server begins, before the first answer over it. */
  onConnect(listener: () => void): void;
  check(): Promise<void>;
  close(): Promise<void>;
}

/** Comes back with the connection, or after the first failed attempt without one: the process comes up, answers 503 and goes on trying. */
export async function connectRedis(options: {
  urls: readonly string[];
  prefix: string;
  log: Log;
}): Promise<RedisConnection> {
  const client = createClient(options.urls);
  const state = watch(client, options.log);
  const listeners: (() => void)[] = [];
  const connected = (): void => {
    for (const listener of listeners) listener();
  };
  client.on("ready", connected);
  if (client instanceof Cluster) client.on("+node", (node: Redis) => node.on("ready", connected));
  // Not ignored: `watch` has logged the reason, and the driver goes on trying.
  await client.connect().catch(() => undefined);
  const run: RedisConnection["run"] = async (commands) => {
    try {
      return await (client instanceof Redis ? commands(client) : inCluster(client, commands));
    } catch (error) {
      throw unavailable(`Redis: ${reason(error)}`);
    }
  };
  return {
    client,
    key: (model, id) => options.prefix + storeKey(model, id),
    keyOfHash: (model, hash) => `${options.prefix}${model}:${hash}`,
    run,
    read: (keys) =>
      run((redis) => (redis instanceof Redis ? redis.mget([...keys]) : Promise.all(keys.map((key) => redis.get(key))))),
    isCluster: client instanceof Cluster,
    onConnect: (listener) => void listeners.push(listener),
    check: () => run(check),
    close: async () => {
      state.isClosing = true;
      // Commands on their way are waited for; a Redis that does not answer is left.
      await client.quit().catch(() => client.disconnect());
    },
  };
}

/**
 * A cluster whose nodes are unknown refuses at once. A node that is just being connected to is waited for, since the driver
 * connects to each with the first command for it; its own queue would wait without an end.
 */
async function inCluster<T>(client: Cluster, commands: (client: Cluster) => Promise<T>): Promise<T> {
  if (client.status !== "ready") throw new Error(`the cluster is not reached (${client.status})`);
  const over = new AbortController();
  const deadline = sleep(CLUSTER_MS, over.signal).then(() => {
    throw new Error("the cluster did not answer in time");
  });
  try {
    return await Promise.race([commands(client), deadline]);
  } finally {
    over.abort();
  }
}

/** Between the two bounds and never in step with other processes: a Redis that comes back is not met by all of them at once. */
function retryDelayMs(attempt: number): number {
  const ceiling = Math.min(RETRY_MIN_MS * 2 ** Math.min(attempt, 4), RETRY_MAX_MS);
  const share = randomKey(2).readUInt16BE() / 0xffff;
  return RETRY_MIN_MS + Math.round(share * (ceiling - RETRY_MIN_MS));
}

function createClient(urls: readonly string[]): Redis | Cluster {
  const [first] = urls;
  if (first === undefined) throw new Error("Redis needs at least one URL");
  const options = {
    connectTimeout: CONNECT_MS,
    commandTimeout: COMMAND_MS,
    socketTimeout: SILENCE_MS,
    maxRetriesPerRequest: 1,
    // A spend that was carried out before the connection broke must not be carried out again: the caller decides.
    autoResendUnfulfilledCommands: false,
    // A server that became a replica stays connected and refuses every write; the address may lead to the new master.
    reconnectOnError: (error: Error) => error.message.startsWith("READONLY"),
    connectionName: "signet",
    lazyConnect: true,
  };
  if (urls.length === 1) {
    return new Redis(first, { ...options, enableOfflineQueue: false, retryStrategy: retryDelayMs });
  }
  const { username, password, protocol } = new URL(first);
  return new Cluster([...urls], {
    redisOptions: {
      ...options,
      ...(username === "" ? {} : { username: decodeURIComponent(username) }),
      ...(password === "" ? {} : { password: decodeURIComponent(password) }),
      ...(protocol === "rediss:" ? { tls: {} } : {}),
    },
    enableOfflineQueue: true,
    clusterRetryStrategy: retryDelayMs,
    clusterNodeRetryStrategy: retryDelayMs,
    slotsRefreshInterval: SLOTS_REFRESH_MS,
    slotsRefreshTimeout: SLOTS_REFRESH_TIMEOUT_MS,
    maxRedirections: REDIRECTIONS_MAX,
    // As with one server: nothing is carried out a second time behind the caller's back.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    lazyConnect: true,
  });
}

/** One line when the connection is lost, one when it is back; the attempts between say nothing new. */
function watch(client: Redis | Cluster, log: Log): { isClosing: boolean } {
  const state = { isClosing: false };
  let isLost = false;
  const lost = (error?: Error): void => {
    if (isLost || state.isClosing) return;
    isLost = true;
    log.warn("Redis does not answer", {
      engine: "redis",
      reason: error === undefined ? "the connection was closed" : reason(error),
    });
  };
  client.on("error", lost);
  client.on("close", () => lost());
  client.on("ready", () => {
    if (isLost) log.info("Redis answers again", { engine: "redis" });
    isLost = false;
  });
  return state;
}

/** Every node that holds keys answers, and none may drop a live token to make room (T-REL-7). */
async function check(client: Redis | Cluster): Promise<void> {
  const nodes = client instanceof Redis ? [client] : client.nodes("master");
  if (nodes.length === 0) throw new Error("no node of the cluster is known");
  await Promise.all(
    nodes.map(async (node) => {
      const [, info] = await Promise.all([node.ping(), node.info("memory")]);
      const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
      if (policy !== "noeviction") {
        throw new Error(`maxmemory-policy is ${policy}, which drops live tokens; set it to noeviction`);
      }
    }),
  );
}

function reason(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return text.length > REASON_CHARS_MAX ? `${text.slice(0, REASON_CHARS_MAX)}…` : text;
}
