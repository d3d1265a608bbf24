/** The launcher's own connections: when is the database reachable, and who else is using it. */
import pg from "pg";
import { sleep } from "../clock.ts";
import { hasCode } from "./postgres-owner.ts";

/** What fits the driver's configuration. */
export interface PostgresConnection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** Stated, because the driver would otherwise ask PGSSLMODE. */
  readonly ssl?: false;
}

/** The name under which the launchers of several processes know each other. */
const LAUNCHER = "signet launcher";
const LEAVING = "signet launcher, leaving";
const CONNECT_TIMEOUT_MS = 5_000;
/** The lock that lets launchers leave one after another: two that left at once would each leave the database to the other. */
const LEAVING_LOCK = 7_402_116_551;
const LEAVING_TIMEOUT_MS = 5_000;
/** A pool that was just closed is still seen for some milliseconds. */
const OTHERS_POLL_MS = 20;
const OTHERS_POLLS_MAX = 25;

/** `absent`: nothing listens. `starting`: it is coming up or going down. `missing`: the database has not been made yet. */
export type Unreachable = "absent" | "starting" | "missing";

/** A connection, or why there is none yet. Throws where waiting does not help: a wrong password, another server's answer. */
export async function tryConnect(connection: PostgresConnection): Promise<pg.Client | Unreachable> {
  // PGOPTIONS would be taken from the environment if nothing stood here.
  const options = "-c timezone=UTC";
  const timeouts = { connectionTimeoutMillis: CONNECT_TIMEOUT_MS, query_timeout: CONNECT_TIMEOUT_MS };
  const client = new pg.Client({ ssl: false, ...connection, ...timeouts, options, application_name: LAUNCHER });
  client.on("error", () => undefined); // the caller listens for "end"
  try {
    await client.connect();
    await client.query("select 1");
    return client;
  } catch (error) {
    await client.end().catch(() => undefined);
    if (hasCode(error, "ECONNREFUSED", "ENOENT")) return "absent";
    // 57P03: starting up, in recovery, shutting down. The others are of a postmaster that ends, or of a busy machine.
    if (hasCode(error, "57P03", "57P01", "ECONNRESET", "EPIPE") || isCut(error)) return "starting";
    if (hasCode(error, "3D000")) return "missing";
    throw error;
  }
}

/** Makes the database in a fresh cluster; another process may do the same in this moment. */
export async function createDatabase(connection: PostgresConnection): Promise<void> {
  const client = await tryConnect({ ...connection, database: "postgres" });
  if (typeof client === "string") return;
  try {
    await client.query(`create database ${pg.escapeIdentifier(connection.database)}`);
  } catch (error) {
    if (!hasCode(error, "42P04", "23505")) throw error;
  } finally {
    await client.end();
  }
}

export async function serverVersion(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ version: string }>(
    "select split_part(current_setting('server_version'), ' ', 1) as version",
  );
  return rows[0]?.version ?? "";
}

/**
 * Calls `stop` if nobody else uses the database, and ends the connection either way. Holds a lock meanwhile, so that launchers leave one by one.
 * Another launcher is left in peace at once; for other connections it waits a moment, because a pool that was closed just now is still being taken down.
 */
export async function leave(client: pg.Client, stop: () => Promise<unknown>): Promise<boolean> {
  try {
    await client.query(`set statement_timeout = ${LEAVING_TIMEOUT_MS}`);
    await client.query("select pg_advisory_lock($1)", [LEAVING_LOCK]);
    const isLast = await isAlone(client);
    // The lock passes on a moment before this connection is gone: the next one must not take it for a launcher that stays.
    if (isLast) await stop();
    else await client.query(`set application_name = '${LEAVING}'`);
    return isLast;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function isAlone(client: pg.Client): Promise<boolean> {
  const statement =
    "select count(*)::int as others, (count(*) filter (where application_name = $1))::int as launchers " +
    "from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
  for (let poll = 0; poll < OTHERS_POLLS_MAX; poll += 1) {
    const { rows } = await client.query<{ others: number; launchers: number }>(statement, [LAUNCHER]);
    const [row] = rows;
    if (row === undefined || row.launchers > 0) return false;
    if (row.others === 0) return true;
    await sleep(OTHERS_POLL_MS);
  }
  return false;
}

/** The driver gives these no code: a connection cut without a word, and an answer that did not come in time. */
function isCut(error: unknown): boolean {
  return error instanceof Error && /^Connection terminated|timeout/i.test(error.message);
}
