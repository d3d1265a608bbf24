/** SQL of the failures. */
import type { Db, Queries, Row } from "../store/db.ts";
import type { Failure, FailureQuery } from "./failure.ts";

export interface FailureRow extends Row {
  readonly id: string;
  readonly at: Date;
  readonly clientId: string;
  readonly route: string;
  readonly error: string;
  readonly description: string | null;
  readonly cause: string;
  readonly facts: Record<string, string>;
}

const COLUMNS = `id, at, client_id as "clientId", route, error, description, cause, facts`;

export async function insertFailures(db: Queries, failures: readonly Failure[]): Promise<void> {
  await db.query(
    `insert into failures (id, at, client_id, route, error, description, cause, facts)
     select id, at, client_id, route, error, description, cause, facts from jsonb_to_recordset($1::jsonb)
       as f (id text, at timestamptz, client_id text, route text, error text, description text, cause text, facts jsonb)
     on conflict (id) do nothing`,
    [JSON.stringify(failures.map(({ clientId, ...rest }) => ({ ...rest, client_id: clientId })))],
  );
}

/** What the clients have beyond their share, the oldest. */
export async function deleteBeyond(db: Queries, clientIds: readonly string[], keep: number): Promise<void> {
  await db.query(
    `delete from failures f using unnest($1::text[]) as c (id),
       lateral (select at from failures where client_id = c.id order by at desc offset $2 limit 1) as last
     where f.client_id = c.id and f.at <= last.at`,
    [[...clientIds], keep],
  );
}

export async function selectFailure(db: Queries, id: string): Promise<FailureRow | undefined> {
  const [row] = await db.query<FailureRow>(`select ${COLUMNS} from failures where id = $1`, [id]);
  return row;
}

export async function selectFailures(db: Queries, query: FailureQuery): Promise<FailureRow[]> {
  const { clientId, error, cause, from, to, after, limit } = query;
  const conditions: (readonly [string, string | Date | undefined])[] = [
    ["client_id = $", clientId],
    ["error = $", error],
    ["cause = $", cause],
    ["at >= $", from],
    ["at < $", to],
    // The id tells those of one moment apart.
    ["(at, id) < ($, ", after?.at],
  ];
  const given = conditions.flatMap(([text, value]) => (value === undefined ? [] : [{ text, value }]));
  const where = given.map(({ text }, index) => text.replace("$", `$${index + 1}`));
  const parameters = given.map(({ value }) => value);
  if (after !== undefined) where.push(`${where.pop()}$${parameters.push(after.id)})`);
  return db.query<FailureRow>(
    `select ${COLUMNS} from failures ${where.length === 0 ? "" : `where ${where.join(" and ")}`} order by at desc, id desc limit ${limit}`,
    parameters,
  );
}

export async function selectCauses(
  db: Queries,
  { clientId, from }: { clientId: string | undefined; from: Date },
): Promise<readonly { readonly cause: string; readonly count: number }[]> {
  return db.query<Row & { cause: string; count: number }>(
    `select cause, count(*)::int as count from failures where at >= $1 ${clientId === undefined ? "" : "and client_id = $2"}
     group by cause order by 2 desc, 1`,
    clientId === undefined ? [from] : [from, clientId],
  );
}

export async function deleteOld(
  db: Db,
  { before, limit, rowsMax }: { before: Date; limit: number; rowsMax: number },
): Promise<number> {
  const gone = await db.query(
    `delete from failures where id in (select id from failures
       where at < greatest($1, (select at from failures order by at desc offset $3 limit 1)) limit $2) returning 1`,
    [before, limit, rowsMax],
  );
  return gone.length;
}
