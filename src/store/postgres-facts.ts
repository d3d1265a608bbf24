/** What an operator has to know of the Postgres that is configured: version, the role and what it may, its clock. */
import type { Db, Queries } from "./db.ts";

export interface PostgresFacts {
  readonly version: string;
  readonly major: number;
  readonly isSuperuser: boolean;
  /** Whether the role owns the audit table, and so could switch its triggers off. */
  readonly isOwner: boolean;
  readonly clockMs: number;
}

export async function readPostgresFacts(db: Db): Promise<PostgresFacts> {
  const [row] = await db.query<{ version: string; number: string; is_super: boolean; is_owner: boolean; clock: Date }>(
    `select current_setting('server_version') as version, current_setting('server_version_num') as number,
       (select rolsuper from pg_roles where rolname = current_user) as is_super,
       coalesce((select pg_get_userbyid(relowner) = current_user from pg_class where oid = to_regclass('audit_events')), false) as is_owner,
       clock_timestamp() as clock`,
  );
  if (row === undefined) throw new Error("Postgres gave no answer");
  return {
    version: row.version,
    major: Math.floor(Number(row.number) / 10_000),
    isSuperuser: row.is_super,
    isOwner: row.is_owner,
    clockMs: row.clock.getTime(),
  };
}

/** The database's clock: what several instances decide by time, they decide by one clock. */
export async function readDatabaseClock(queries: Queries): Promise<Date> {
  const [row] = await queries.query<{ clock: Date }>("select clock_timestamp() as clock");
  if (row === undefined) throw new Error("Postgres gave no answer");
  return row.clock;
}
