/** Notices: LISTEN/NOTIFY on a connection of its own. A change tells every process, so that nobody serves what was cached before it. */
import { Socket } from "node:net";
import pg from "pg";
import { monotonicMs, sleep } from "../clock.ts";
import type { Log } from "../log.ts";
import type { DbConnection, Queries } from "./db.ts";

/** All notices share one Postgres channel, so that subscribing needs no statement and nothing is lost between the two. */
const POSTGRES_CHANNEL = "signet";
const CHANNEL_NAME = /^[a-z][a-z_]{0,30}$/;
/** Postgres refuses a payload of 8000 bytes and more, and the change would fail with it. */
const PAYLOAD_CHARS_MAX = 2000;
const CONNECT_MS = 2000;
const QUERY_MS = 2500;
/** A connection that died without a word (a cut cable, a stopped server) is found out this often; until then caches age by themselves. */
const HEARTBEAT_MS = 10_000;
const BACKOFF_MS_FIRST = 100;
const BACKOFF_MS_MAX = 2000;

export interface Notices {
  /** Sends when the transaction commits, and not at all when it does not. The channel is a lower-case word. */
  publish(tx: Queries, channel: string, payload: string): Promise<void>;
  /** Calls for every notice of the channel, one's own included, within about a second of the commit. */
  subscribe(channel: string, receive: (payload: string) => void): void;
  /** Calls when listening begins again after a gap: notices were lost, so whatever was cached has to go. */
  onReconnect(forget: () => void): void;
  close(): Promise<void>;
}

/** Resolves after the first attempt, whether it succeeded or not: a server comes up while Postgres is down and listens later. */
export async function openNotices(options: { connection: DbConnection; log: Log }): Promise<Notices> {
  const receivers = new Map<string, ((payload: string) => void)[]>();
  const forgetters: (() => void)[] = [];
  const stop = new AbortController();
  let tried: () => void = () => undefined;
  const firstAttempt = new Promise<void>((resolve) => {
    tried = resolve;
  });
  const listening = keepListening({
    ...options,
    signal: stop.signal,
    tried,
    receive: (message) => deliver(message, receivers, options.log),
    listensAgain: () => {
      for (const forget of forgetters) guarded(forget, options.log);
    },
  });
  await firstAttempt;
  return {
    async publish(tx, channel, payload) {
      checkNotice(channel, payload);
      await tx.query("select pg_notify($1, $2)", [POSTGRES_CHANNEL, `${channel}:${payload}`]);
    },
    subscribe(channel, receive) {
      checkNotice(channel, "");
      receivers.set(channel, [...(receivers.get(channel) ?? []), receive]);
    },
    onReconnect(forget) {
      forgetters.push(forget);
    },
    async close() {
      stop.abort();
      await listening;
    },
  };
}

interface Listening {
  readonly connection: DbConnection;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly tried: () => void;
  readonly receive: (message: string) => void;
  readonly listensAgain: () => void;
}

/** One connection after another until the signal says stop; the pause between attempts doubles up to its bound. */
async function keepListening(options: Listening): Promise<void> {
  let hasGap = false;
  let pauseMs = BACKOFF_MS_FIRST;
  while (!options.signal.aborted) {
    const began = monotonicMs();
    const error = await listenOnce({ ...options, hasGap });
    options.tried();
    if (options.signal.aborted) return;
    hasGap = true;
    // A connection that held for a while was a good one: the next attempt need not wait as if it had failed.
    if (monotonicMs() - began > HEARTBEAT_MS) pauseMs = BACKOFF_MS_FIRST;
    options.log.warn("notices: Postgres does not answer, cached data is at most 30 s old", { error: error.message });
    await sleep(pauseMs, options.signal);
    pauseMs = Math.min(pauseMs * 2, BACKOFF_MS_MAX);
  }
}

/** Listens until the connection breaks or the signal says stop; resolves with the reason and never rejects. */
async function listenOnce(options: Listening & { readonly hasGap: boolean }): Promise<Error> {
  const socket = new Socket();
  const client = new pg.Client({
    ...options.connection,
    stream: () => socket,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: QUERY_MS,
    keepAlive: true,
    application_name: "signet-notices",
  });
  const over = new AbortController();
  const signal = AbortSignal.any([options.signal, over.signal]);
  const broken = new Promise<Error>((resolve) => {
    client.on("error", resolve);
    client.on("end", () => resolve(new Error("the connection ended")));
    signal.addEventListener("abort", () => resolve(new Error("closed")), { once: true });
  });
  client.on("notification", (notice) => options.receive(notice.payload ?? ""));
  try {
    await client.connect();
    await client.query(`listen ${POSTGRES_CHANNEL}`);
    if (options.hasGap) {
      options.log.info("notices: listening again");
      options.listensAgain();
    }
    options.tried();
    return await Promise.race([broken, beat(client, signal)]);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    over.abort();
    await disconnect(client, socket);
  }
}

/** Asks now and then whether the server is still there; resolves with the reason when it is not. */
async function beat(client: pg.Client, signal: AbortSignal): Promise<Error> {
  while (!signal.aborted) {
    await sleep(HEARTBEAT_MS, signal);
    if (signal.aborted) break;
    try {
      await client.query("select 1");
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }
  return new Error("closed");
}

/** A hanging server never answers the farewell; the socket is closed all the same. */
async function disconnect(client: pg.Client, socket: Socket): Promise<void> {
  const ended = client.end().catch(() => undefined);
  await Promise.race([ended, sleep(200)]);
  socket.destroy();
}

function deliver(message: string, receivers: ReadonlyMap<string, readonly ((payload: string) => void)[]>, log: Log) {
  const colon = message.indexOf(":");
  const payload = message.slice(colon + 1);
  for (const receive of receivers.get(message.slice(0, colon)) ?? []) guarded(() => receive(payload), log);
}

/** One subscriber that throws must not keep the notice from the others, nor end the process. */
function guarded(call: () => void, log: Log): void {
  try {
    call();
  } catch (error) {
    log.error("notices: a subscriber failed", { error: error instanceof Error ? error.message : String(error) });
  }
}

function checkNotice(channel: string, payload: string): void {
  if (!CHANNEL_NAME.test(channel) || payload.length > PAYLOAD_CHARS_MAX) {
    throw new Error(`a notice has a plain channel name and a short payload: ${channel}`);
  }
}
