/** SQL of the counted activity. */
import type { Queries, Row } from "../store/db.ts";

export interface Count {
  readonly hour: Date;
  readonly kind: string;
  readonly clientId: string;
  readonly count: number;
}

export interface Busy {
  readonly clientId: string;
  readonly count: number;
}

/** In one order, so that two processes that flush at once never wait for each other in a ring. */
export async function addCounts(db: Queries, rows: readonly Count[]): Promise<void> {
  await db.query(
    `insert into activity (hour, client_id, kind, count)
     select hour, client_id, kind, count from unnest($1::timestamptz[], $2::text[], $3::text[], $4::bigint[])
       as counted (hour, client_id, kind, count) order by hour, client_id, kind
     on conflict (hour, client_id, kind) do update set count = activity.count + excluded.count`,
    [
      rows.map(({ hour }) => hour.toISOString()),
      rows.map(({ clientId }) => clientId),
      rows.map(({ kind }) => kind),
      rows.map(({ count }) => count),
    ],
  );
}

/** The same counts without the client, so that what all clients did together is read in as many rows as there are hours. */
export async function addTotals(db: Queries, rows: readonly Count[]): Promise<void> {
  await db.query(
    `insert into activity_totals (hour, kind, count)
     select hour, kind, sum(count) from unnest($1::timestamptz[], $2::text[], $3::bigint[])
       as counted (hour, kind, count) group by hour, kind order by hour, kind
     on conflict (hour, kind) do update set count = activity_totals.count + excluded.count`,
    [rows.map(({ hour }) => hour.toISOString()), rows.map(({ kind }) => kind), rows.map(({ count }) => count)],
  );
}

/** Sums are below 2^53 for longer than anybody counts. */
export async function selectCounts(
  db: Queries,
  { clientId, since }: { clientId: string | undefined; since: Date },
): Promise<readonly Omit<Count, "clientId">[]> {
  if (clientId === undefined)
    return db.query<Row & Omit<Count, "clientId">>(
      "select hour, kind, count::float8 as count from activity_totals where hour >= $1",
      [since],
    );
  return db.query<Row & Omit<Count, "clientId">>(
    "select hour, kind, count::float8 as count from activity where client_id = $2 and hour >= $1",
    [since, clientId],
  );
}

/** Where a page of hours ended. */
export interface Place {
  readonly hour: Date;
  readonly clientId: string;
  readonly kind: string;
}

/** In the order of the primary key. */
export async function selectHours(
  db: Queries,
  query: {
    readonly clientId?: string | undefined;
    readonly from: Date;
    readonly to: Date;
    readonly after?: Place | undefined;
    readonly limit: number;
  },
): Promise<readonly Count[]> {
  const { clientId, from, to, after, limit } = query;
  return db.query<Row & Count>(
    `select hour, client_id as "clientId", kind, count::float8 as count from activity
     where hour >= $1 and hour < $2 and ($3::text is null or client_id = $3)
       and ($4::timestamptz is null or (hour, client_id, kind) > ($4, $5, $6))
     order by hour, client_id, kind limit $7`,
    [from, to, clientId ?? null, after?.hour ?? null, after?.clientId ?? null, after?.kind ?? null, limit],
  );
}

export async function selectBusiest(
  db: Queries,
  { kind, since, limit }: { kind: string; since: Date; limit: number },
): Promise<readonly Busy[]> {
  return db.query<Row & Busy>(
    `select client_id as "clientId", sum(count)::float8 as count from activity where hour >= $1 and kind = $2 and client_id <> ''
     group by client_id order by 2 desc, 1 limit $3`,
    [since, kind, limit],
  );
}

export async function deleteOld(db: Queries, before: Date, limit: number): Promise<number> {
  const gone = await db.query(
    `delete from activity where (hour, client_id, kind) in (select hour, client_id, kind from activity where hour < $1 limit $2) returning 1`,
    [before, limit],
  );
  await db.query("delete from activity_totals where hour < $1", [before]);
  return gone.length;
}
