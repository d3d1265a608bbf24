/** Db: the durable store. One engine, Postgres; three methods; the only file besides notices.ts that knows the driver. */
import pg from "pg";
import { budgetLeftMs, spendBudget } from "../budget.ts";
import { awaitAtMost, monotonicMs } from "../clock.ts";
import { unavailable } from "../errors.ts";
import type { Log } from "../log.ts";
import { asUnavailable, isCut, isSilent } from "./db-errors.ts";

export { asUnavailable, isUniqueViolation } from "./db-errors.ts";

/** Whoever has no connection by then is answered 503: the pool is exhausted, or Postgres takes nobody in (T-REL-10). */
const CONNECT_MS = 2000;
/** Waiting in the pool's queue and connecting together; a little more, so that the driver tells a silent server from a busy pool. */
const ACQUIRE_MS = 2100;
/** The server itself ends what waits for a lock or works too long; the connection survives that. */
const LOCK_MS = 2000;
const STATEMENT_MS = 2250;
const IDLE_IN_TRANSACTION_MS = 5000;
/** A server that has not even said this by then is silent: the connection is given up, and with it all the others. */
const QUERY_MS = 2500;
/** Waiting for a connection and for its answer together: the caller hears within three seconds (T-REL-11). */
const ANSWER_MS = 2750;
const ANSWER_MS_MIN = 250;
/** With less than this left of a request's budget a question is not worth asking. */
const ASK_MS_MIN = 25;
/** After a silence nobody waits again for so long: a request that asks twice must not wait twice. */
const SILENCE_MS = 1000;
/** What only reads may be asked again on another connection. */
const READ = /^\s*select\b(?!.*\bfor (update|share)\b)/is;

export type Row = Record<string, unknown>;
export type Parameter = string | number | boolean | Date | Buffer | null | readonly string[] | readonly number[];

/** What runs statements: the database, or one transaction of it. */
export interface Queries {
  /** Runs one statement with parameters; never SQL text built from input. Throws AppError store_unavailable when Postgres does not answer. */
  query<T extends Row = Row>(text: string, parameters?: readonly Parameter[]): Promise<T[]>;
}

export interface Db extends Queries {
  /** Everything inside commits together or not at all. With `patienceMs` a statement may take that long: for migrations, which nobody waits for at a page. */
  transaction<T>(run: (tx: Queries) => Promise<T>, options?: { readonly patienceMs: number }): Promise<T>;
  close(): Promise<void>;
}

/** Where Postgres is: a URL, or the parts that the embedded launcher hands over. */
export type DbConnection =
  | { readonly connectionString: string }
  | {
      readonly host: string;
      readonly port: number;
      readonly user: string;
      readonly password: string;
      readonly database: string;
    };

interface Room {
  readonly log: Log;
  readonly open: () => pg.Pool;
  readonly max: number;
  pool: pg.Pool;
  silentUntilMs: number;
  isClosed: boolean;
}

export function openDb(options: { connection: DbConnection; max: number; log: Log; name?: string }): Db {
  const open = (): pg.Pool => {
    const pool = new pg.Pool({
      ...options.connection,
      max: options.max,
      connectionTimeoutMillis: CONNECT_MS,
      lock_timeout: LOCK_MS,
      statement_timeout: STATEMENT_MS,
      idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
      keepAlive: true,
      application_name: options.name ?? "signet",
    });
    // A connection that breaks while idle is an event of the pool; without a listener it would end the process (T-REL-9).
    pool.on("error", (error) => options.log.warn("an idle database connection broke", { error: error.message }));
    return pool;
  };
  const room: Room = { log: options.log, open, max: options.max, pool: open(), silentUntilMs: 0, isClosed: false };
  return {
    query: (text, parameters = []) => query(room, text, parameters),
    transaction: (work, { patienceMs } = { patienceMs: 0 }) => transact(room, work, patienceMs),
    async close() {
      room.isClosed = true;
      await room.pool.end();
    },
  };
}

/** A connection that was handed out. */
interface Lease {
  readonly client: pg.PoolClient;
  /** Set when it broke or fell silent: nothing more is asked of it. */
  lost: Error | undefined;
}

async function query<T extends Row>(room: Room, text: string, parameters: readonly Parameter[]): Promise<T[]> {
  const once = (): Promise<T[]> => {
    return withClient(room, (lease, timeoutMs) => ask<T>(room, lease, { text, parameters, timeoutMs }));
  };
  try {
    // The connection was cut, by a restart or by whoever guards the server: another one may hold (T-REL-9).
    return await again(room, once, () => READ.test(text));
  } catch (error) {
    throw asUnavailable(error) ?? error;
  }
}

/** Cut connections show only when they are used, so each of the pool may have to be found out before a new one is made. */
async function again<T>(room: Room, once: () => Promise<T>, mayRepeat: () => boolean): Promise<T> {
  for (let attempt = 0; attempt < room.max; attempt += 1) {
    try {
      return await once();
    } catch (error) {
      if (!isCut(error) || !mayRepeat()) throw error;
    }
  }
  return once();
}

async function transact<T>(room: Room, work: (tx: Queries) => Promise<T>, patienceMs: number): Promise<T> {
  let hasBegun = false;
  const once = (): Promise<T> => {
    return withClient(room, async (lease, timeoutMs) => {
      await ask(room, lease, { text: "begin", parameters: [], timeoutMs });
      hasBegun = true;
      return inTransaction(room, lease, patienceMs, work);
    });
  };
  try {
    // Of a connection that was cut before it began nothing had been asked.
    return await again(room, once, () => !hasBegun);
  } catch (error) {
    throw asUnavailable(error) ?? error;
  }
}

async function inTransaction<T>(
  room: Room,
  lease: Lease,
  patienceMs: number,
  work: (tx: Queries) => Promise<T>,
): Promise<T> {
  const timeoutMs = patienceMs + QUERY_MS;
  const tx: Queries = {
    query: async (text, parameters = []) => {
      try {
        return await ask(room, lease, { text, parameters, timeoutMs });
      } catch (error) {
        throw asUnavailable(error) ?? error;
      }
    },
  };
  try {
    if (patienceMs > 0) await tx.query(`set local statement_timeout = ${patienceMs}`);
    const result = await work(tx);
    await tx.query("commit");
    return result;
  } catch (error) {
    // The server undoes by itself what a lost connection had begun.
    if (lease.lost === undefined) await tx.query("rollback").catch((failure: Error) => (lease.lost ??= failure));
    throw error;
  }
}

/** Hands out a connection and takes it back; a lost one is not used again. */
async function withClient<T>(room: Room, work: (lease: Lease, timeoutMs: number) => Promise<T>): Promise<T> {
  const began = monotonicMs();
  const lease: Lease = { client: await acquire(room), lost: undefined };
  const leftMs = ANSWER_MS - (monotonicMs() - began);
  // A connection that breaks between two statements reports it here; the next statement then fails and the work with it.
  const onError = (error: Error): void => {
    lease.lost ??= error;
  };
  lease.client.on("error", onError);
  try {
    return await work(lease, Math.min(QUERY_MS, Math.max(ANSWER_MS_MIN, leftMs)));
  } finally {
    lease.client.off("error", onError);
    lease.client.release(lease.lost);
  }
}

async function acquire(room: Room): Promise<pg.PoolClient> {
  if (monotonicMs() < room.silentUntilMs) throw unavailable("Postgres: it was silent a moment ago");
  const [began, leftMs] = [monotonicMs(), budgetLeftMs()];
  if (leftMs < ASK_MS_MIN) throw unavailable("Postgres: this request has waited long enough");
  const connecting = room.pool.connect();
  try {
    const client = await awaitAtMost(Math.min(ACQUIRE_MS, leftMs), connecting);
    if (client !== undefined) return client;
    // Nobody waits for it any longer; the next one in the queue may have it.
    connecting.then(
      (late) => late.release(),
      () => undefined,
    );
    throw unavailable("Postgres: no connection was free in time");
  } catch (error) {
    if (isSilent(error)) letGo(room, error);
    throw error;
  } finally {
    spendBudget(monotonicMs() - began);
  }
}

async function ask<T extends Row>(
  room: Room,
  lease: Lease,
  statement: { text: string; parameters: readonly Parameter[]; timeoutMs: number },
): Promise<T[]> {
  const { text, parameters } = statement;
  const [began, leftMs] = [monotonicMs(), budgetLeftMs()];
  if (leftMs < ASK_MS_MIN) throw unavailable("Postgres: this request has waited long enough");
  const timeoutMs = Math.ceil(Math.min(statement.timeoutMs, leftMs));
  // The driver reads the time of one statement from here; its types do not say so.
  const timed: pg.QueryConfig & { query_timeout: number } = { text, values: [...parameters], query_timeout: timeoutMs };
  try {
    return (await lease.client.query<T>(timed)).rows;
  } catch (error) {
    if (error instanceof Error && (isCut(error) || isSilent(error))) lease.lost ??= error;
    // With less time than the server itself allows a statement, nothing is known of the server.
    if (isSilent(error) && timeoutMs > STATEMENT_MS) letGo(room, error);
    throw error;
  } finally {
    spendBudget(monotonicMs() - began);
  }
}

/**
 * A server that is alive ends every statement itself, so one that does not answer in time is stopped, cut off or gone, and so are its other
 * connections: they are let go all at once, lest every one of them costs somebody the whole wait.
 */
function letGo(room: Room, error: unknown): void {
  if (room.isClosed || monotonicMs() < room.silentUntilMs) return;
  room.silentUntilMs = monotonicMs() + SILENCE_MS;
  room.log.warn("Postgres does not answer; its connections are let go", {
    reason: error instanceof Error ? error.message : "unknown",
  });
  const silent = room.pool;
  room.pool = room.open();
  silent.end().catch((failure: Error) => room.log.debug("silent connections did not end", { error: failure.message }));
}
