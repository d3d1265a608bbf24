/** Db: the durable store. One engine, Postgres; three methods; the only file besides notices.ts that knows the driver. */
import pg from "pg";
import { type AppError, unavailable } from "../errors.ts";
import type { Log } from "../log.ts";

/** A connection that cannot be had in this time is a 503; reliability demands an answer within three seconds when Postgres hangs. */
const CONNECT_MS = 2000;
/** The server gives up a statement after this time; the client a little earlier, since a stopped server enforces nothing. */
const STATEMENT_MS = 3000;
const QUERY_MS = 2500;
const IDLE_IN_TRANSACTION_MS = 5000;
/** Errors of the operating system and classes of SQLSTATE that mean "Postgres does not answer", not "the statement is wrong". */
const SYSTEM_ERRORS = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOENT",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
]);
const UNAVAILABLE_STATES = /^(08|57P|53|58)/;
const DRIVER_TIMEOUTS = /timeout|terminated|Connection ended|not queryable/i;

export type Row = Record<string, unknown>;
export type Parameter = string | number | boolean | Date | Buffer | null | readonly string[] | readonly number[];

/** What runs statements: the database, or one transaction of it. */
export interface Queries {
  /** Runs one statement with parameters; never SQL text built from input. Throws AppError store_unavailable when Postgres does not answer. */
  query<T extends Row = Row>(text: string, parameters?: readonly Parameter[]): Promise<T[]>;
}

export interface Db extends Queries {
  /** Everything inside commits together or not at all. */
  transaction<T>(run: (tx: Queries) => Promise<T>): Promise<T>;
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

export function openDb(options: { connection: DbConnection; max: number; log: Log; name?: string }): Db {
  const pool = new pg.Pool({
    ...options.connection,
    max: options.max,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: QUERY_MS,
    statement_timeout: STATEMENT_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
    application_name: options.name ?? "signet",
  });
  // A connection that breaks while idle is an event of the pool; without a listener it would end the process (T-REL-9).
  pool.on("error", (error) => options.log.warn("an idle database connection broke", { error: error.message }));
  return {
    query: (text, parameters = []) => run(pool, text, parameters),
    transaction: (work) => transact(pool, work),
    close: () => pool.end(),
  };
}

/** Whether a driver's error means that Postgres is not answering; then it becomes the 503 that the caller may retry. */
export function asUnavailable(error: unknown): AppError | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  const isDown =
    SYSTEM_ERRORS.has(code) || UNAVAILABLE_STATES.test(code) || (code === "" && DRIVER_TIMEOUTS.test(error.message));
  return isDown ? unavailable(`Postgres: ${code === "" ? error.message : code}`) : undefined;
}

/** Whether a unique index refused the statement; the caller knows which value was taken. */
export function isUniqueViolation(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "23505";
}

async function run<T extends Row>(
  target: pg.Pool | pg.PoolClient,
  text: string,
  parameters: readonly Parameter[],
): Promise<T[]> {
  try {
    const result = await target.query<T>(text, [...parameters]);
    return result.rows;
  } catch (error) {
    throw asUnavailable(error) ?? error;
  }
}

async function transact<T>(pool: pg.Pool, work: (tx: Queries) => Promise<T>): Promise<T> {
  const client = await pool.connect().catch((error: unknown) => {
    throw asUnavailable(error) ?? error;
  });
  let broken: Error | undefined;
  // A connection that breaks between two statements reports it here; the next statement then fails and the transaction with it.
  const onError = (error: Error): void => {
    broken = error;
  };
  client.on("error", onError);
  try {
    await run(client, "begin", []);
    const result = await work({ query: (text, parameters = []) => run(client, text, parameters) });
    await run(client, "commit", []);
    return result;
  } catch (error) {
    await client.query("rollback").catch((failure: Error) => {
      broken = failure;
    });
    throw error;
  } finally {
    client.off("error", onError);
    client.release(broken);
  }
}
