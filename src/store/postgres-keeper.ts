/** The keeper of the embedded database: reaches it, starting it where nothing answers; brings it back while it is in use; the last one out stops it. */
import { lutimes } from "node:fs/promises";
import { join } from "node:path";
import type pg from "pg";
import { monotonicMs, now, sleep } from "../clock.ts";
import type { Log } from "../log.ts";
import type { OpenCluster } from "./postgres-cluster.ts";
import { createDatabase, leave, tryConnect } from "./postgres-connection.ts";
import { EmbeddedPostgresError, hasCode } from "./postgres-owner.ts";
import {
  dataOf,
  findPostmaster,
  type Postmaster,
  startPostmaster,
  stopPostmaster,
  tailLog,
  watchOver,
} from "./postgres-process.ts";

/** A start takes 50 ms and a recovery 150 ms; what takes longer than this has a cause that a person must see. */
const READY_TIMEOUT_MS = 10_000;
const READY_POLL_MS = 20;
/** The pauses before it is started again: short at first, because people wait; never longer than a person's patience. */
const RESTART_MS_MIN = 200;
const RESTART_MS_MAX = 5_000;
/** One that has run this long did not die of its start: the pauses begin anew. */
const STABLE_MS = 10_000;
/** How often a process says that it uses the database; the sweep of idle ones waits ten times as long. */
const USED_EVERY_MS = 60_000;
/** The log's own limit would cut the end, and the cause stands there. */
const DETAIL_CHARS = 480;

export interface Keeper {
  isRunning(): boolean;
  close(): Promise<void>;
}

/** Connects, starting the database if nothing answers. Throws with the last lines of its log. */
export async function reach(open: OpenCluster, signal?: AbortSignal): Promise<Reached> {
  let started: Postmaster | undefined;
  let deadline = monotonicMs() + READY_TIMEOUT_MS;
  try {
    while (signal?.aborted !== true) {
      const found = await tryConnect(open.connection);
      if (typeof found !== "string") return { client: found, started };
      if (found === "missing") await createDatabase(open.connection);
      if (found === "absent" && (started === undefined || (await hasFailed(started, open)))) {
        started = await startPostmaster((await open.binaries()).bin, open.cluster);
        deadline = Math.max(deadline, monotonicMs() + READY_TIMEOUT_MS / 2);
      }
      if (monotonicMs() > deadline) throw await notReady(open);
      await sleep(READY_POLL_MS, signal);
    }
  } catch (error) {
    throw hasCode(error, "28P01", "28000") ? await refused(open, started) : error;
  }
  throw new EmbeddedPostgresError("The database was not waited for: the process is ending.");
}

export interface Reached {
  readonly client: pg.Client;
  /** Set if this call started it. */
  readonly started: Postmaster | undefined;
}

/** Watches the connection: it ends when the database does. Brings the database back (if it shall) until it is closed. */
export function keepRunning(
  first: Reached,
  needs: { readonly open: OpenCluster; readonly log: Log; readonly isSupervised: boolean },
): Keeper {
  const { open, log } = needs;
  const ending = new AbortController();
  const place = open.cluster.dir;
  let client: pg.Client | undefined = first.client;
  let release = watchOwn(first, open);
  let closed: Promise<void> | undefined;

  async function supervise(): Promise<void> {
    let pauseMs = RESTART_MS_MIN;
    while (client !== undefined) {
      const sinceMs = monotonicMs();
      await untilEnd(client, ending.signal);
      if (ending.signal.aborted) return;
      client = undefined;
      log.warn("the embedded database has ended", { place });
      if (!needs.isSupervised) return;
      if (monotonicMs() - sinceMs > STABLE_MS) pauseMs = RESTART_MS_MIN;
      while (client === undefined && !ending.signal.aborted) {
        await sleep(pauseMs, ending.signal);
        pauseMs = Math.min(pauseMs * 2, RESTART_MS_MAX);
        await restart();
      }
    }
  }

  async function restart(): Promise<void> {
    if (ending.signal.aborted) return;
    try {
      const again = await reach(open, ending.signal);
      client = again.client;
      release();
      release = watchOwn(again, open);
      log.info("the embedded database runs again", { place });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      log.error("the embedded database could not be started", { place, detail: message.slice(-DETAIL_CHARS) });
    }
  }

  async function end(): Promise<void> {
    ending.abort();
    await Promise.all([supervising, using]);
    if (client === undefined) return;
    try {
      // If it has not ended in time, the next start reuses it or waits for it.
      if (await leave(client, () => stopPostmaster(dataOf(open.cluster)))) release();
    } catch (error) {
      log.debug("the embedded database went away first", { place, reason: String(error) });
    }
    client = undefined;
  }

  const supervising = supervise();
  const using = markUsed(place, log, ending.signal);
  return {
    isRunning: () => client !== undefined && closed === undefined,
    close: () => {
      closed ??= end();
      return closed;
    },
  };
}

/** Stops the database if nobody uses it; false if somebody does, or if it does not run. */
export async function stopIfIdle(open: OpenCluster): Promise<boolean> {
  const client = await tryConnect(open.connection);
  return typeof client !== "string" && (await leave(client, () => stopPostmaster(dataOf(open.cluster))));
}

/** Whether what we started has ended and must be started anew. The loser of two starts waits for the winner. */
async function hasFailed(started: Postmaster, open: OpenCluster): Promise<boolean> {
  if (!started.hasExited() || (await findPostmaster(dataOf(open.cluster))) !== undefined) return false;
  const said = await started.said();
  // The one that held the folder has gone meanwhile, or its last children still hold the memory: both pass.
  if (/lock file|shared memory block/.test(said)) return true;
  throw new EmbeddedPostgresError(
    `The database in ${open.cluster.dir} ended at its start. The end of its log:\n${said}`,
  );
}

async function notReady(open: OpenCluster): Promise<EmbeddedPostgresError> {
  const pid = await findPostmaster(dataOf(open.cluster));
  const who = pid === undefined ? "" : ` (pid ${pid} runs on it)`;
  const tail = await tailLog(open.cluster.dir);
  return new EmbeddedPostgresError(
    `The database in ${open.cluster.dir} does not answer at ${open.connection.host} after ${READY_TIMEOUT_MS / 1000} s${who}. The end of its log:\n${tail}`,
  );
}

/** One that we started and cannot use is not left running. */
async function refused(open: OpenCluster, started: Postmaster | undefined): Promise<EmbeddedPostgresError> {
  if (started !== undefined) await stopPostmaster(dataOf(open.cluster));
  return new EmbeddedPostgresError(
    `The database refuses the password in ${join(open.cluster.dir, "password")}: that file was changed.`,
  );
}

/** The tests' own clusters end with the process that made them. */
function watchOwn(reached: Reached, open: OpenCluster): () => void {
  if (open.cluster.isDurable || reached.started === undefined || !open.cluster.owner.isPosix) return () => undefined;
  return watchOver(reached.started.pid, open.cluster.owner);
}

function untilEnd(client: pg.Client, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    client.once("end", () => resolve());
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function markUsed(place: string, log: Log, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await lutimes(join(place, "used"), now(), now());
    } catch (error) {
      log.warn("the embedded database's folder is not there as it should be", { place, reason: String(error) });
    }
    await sleep(USED_EVERY_MS, signal);
  }
}
