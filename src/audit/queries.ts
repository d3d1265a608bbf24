/** SQL of the audit trail. Rows are only ever added; triggers refuse everything but what the sealer does (migration 009). */
import type { Queries, Row } from "../store/db.ts";
import type { CheckpointRow, HeadRow, SealedRow, TrailRow } from "./chain.ts";
import { type Changes, withoutAddresses } from "./changes.ts";
import type { Actor, AuditEvent, EventName, RecordedEvent } from "./event.ts";

type EventRow = {
  at: Date;
  name: EventName;
  actor_kind: Actor["kind"];
  actor_id: string | null;
  address: string | null;
  request_id: string | null;
  subject_kind: NonNullable<AuditEvent["subject"]>["kind"] | null;
  subject_id: string | null;
  data: Record<string, string | number | boolean | string[]>;
  changes: Changes | null;
};

const COLUMNS = "at, name, actor_kind, actor_id, address, request_id, subject_kind, subject_id, data, changes";

export async function insertEvent(tx: Queries, event: AuditEvent, at: Date): Promise<void> {
  const { actor, subject } = event;
  await tx.query(
    `insert into audit_events (at, name, actor_kind, actor_id, address, request_id, subject_kind, subject_id, data, changes)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10::jsonb)`,
    [
      at,
      event.name,
      actor.kind,
      actor.id ?? null,
      actor.address ?? null,
      actor.requestId ?? null,
      subject?.kind ?? null,
      subject?.id ?? null,
      withoutAddresses(JSON.stringify(event.data ?? {})),
      event.changes === undefined ? null : withoutAddresses(JSON.stringify(event.changes)),
    ],
  );
}

export async function selectEvents(
  queries: Queries,
  filter: { name?: EventName; subjectId?: string; limit: number },
): Promise<RecordedEvent[]> {
  const rows = await queries.query<EventRow>(
    `select ${COLUMNS} from audit_events
     where ($1::text is null or name = $1) and ($2::text is null or subject_id = $2)
     order by id desc limit $3`,
    [filter.name ?? null, filter.subjectId ?? null, filter.limit],
  );
  return rows.map(toEvent);
}

/** Two look-ups by index, rather than one that reads the whole trail. */
export async function selectOfUser(queries: Queries, userId: string, limit: number): Promise<RecordedEvent[]> {
  const one = (column: string): string =>
    `(select ${COLUMNS}, id from audit_events where ${column} = $1 order by id desc limit $2)`;
  const rows = await queries.query<EventRow>(
    `select ${COLUMNS} from (${one("subject_id")} union ${one("actor_id")}) as events order by id desc limit $2`,
    [userId, limit],
  );
  return rows.map(toEvent);
}

function toEvent(row: EventRow): RecordedEvent {
  return {
    at: row.at,
    name: row.name,
    actor: {
      kind: row.actor_kind,
      id: row.actor_id ?? undefined,
      address: row.address ?? undefined,
      requestId: row.request_id ?? undefined,
    },
    ...(row.subject_kind === null || row.subject_id === null
      ? {}
      : { subject: { kind: row.subject_kind, id: row.subject_id } }),
    data: row.data,
    ...(row.changes === null ? {} : { changes: row.changes }),
  };
}

// --- Reading the trail ---------------------------------------------------------------------------------------------

/** What is looked for; all of it must fit. */
export interface TrailFilter {
  readonly from?: Date | undefined;
  /** Not included. */
  readonly to?: Date | undefined;
  /** An id, or a kind such as `command`. */
  readonly actor?: string | undefined;
  readonly subject?: string | undefined;
  /** An action, or with a dot at the end all of its kind: `client.`. */
  readonly action?: string | undefined;
  readonly requestId?: string | undefined;
}

export interface TrailEntry extends RecordedEvent {
  /** Ever higher, with gaps; what a next page begins after. */
  readonly id: string;
  /** The number without gaps; absent until the event is sealed. */
  readonly seq?: string;
  readonly mac?: string;
}

/** `newestFirst` goes down from `after`, otherwise up. */
export async function selectTrail(
  queries: Queries,
  filter: TrailFilter,
  page: { readonly newestFirst: boolean; readonly after: string | undefined; readonly limit: number },
): Promise<TrailEntry[]> {
  const kinds = ["user", "client", "command", "system", "anonymous"];
  const isKind = filter.actor !== undefined && kinds.includes(filter.actor);
  const prefix = filter.action?.endsWith(".") === true;
  // What no stored text can be is found nowhere; Postgres would refuse the question.
  const texts = [filter.actor, filter.subject, filter.action, filter.requestId];
  if (texts.some((text) => text?.includes("\0") === true) || !/^\d{0,18}$/.test(page.after ?? "")) return [];
  const conditions: (readonly [string, string | Date | undefined])[] = [
    ["at >= $", filter.from],
    ["at < $", filter.to],
    [isKind ? "actor_kind = $" : "actor_id = $", filter.actor],
    ["subject_id = $", filter.subject],
    [prefix ? "starts_with(name, $)" : "name = $", filter.action],
    ["request_id = $", filter.requestId],
    [page.newestFirst ? "id < $::bigint" : "id > $::bigint", page.after],
  ];
  const given = conditions.flatMap(([text, value]) => (value === undefined ? [] : [{ text, value }]));
  const where = given.map(({ text }, index) => text.replace("$", `$${index + 1}`)).join(" and ");
  const rows = await queries.query<EventRow & { id: string; seq: string | null; mac: string | null }>(
    `select ${COLUMNS}, id::text as id, seq::text as seq, mac from audit_events ${where === "" ? "" : `where ${where}`}
     order by audit_events.id ${page.newestFirst ? "desc" : "asc"} limit ${page.limit}`,
    given.map(({ value }) => value),
  );
  return rows.map((row) => ({
    id: row.id,
    ...(row.seq === null || row.mac === null ? {} : { seq: row.seq, mac: row.mac }),
    ...toEvent(row),
  }));
}

// --- The chain -----------------------------------------------------------------------------------------------------

const TEXTS = `id::text as id, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') as at, at as moment, name, actor_kind as "actorKind",
  actor_id as "actorId", address, request_id as "requestId", subject_kind as "subjectKind", subject_id as "subjectId", data::text as data,
  changes::text as changes`;

/** Everything that is read afterwards is of one moment. */
export async function readOneMoment(tx: Queries): Promise<void> {
  await tx.query("set transaction isolation level repeatable read, read only");
}

export async function selectHead(queries: Queries): Promise<HeadRow | undefined> {
  const [row] = await queries.query<
    Row & { batch: string; seq: string; rowMac: string; checkpointMac: string; mac: string }
  >(`select batch, seq, row_mac as "rowMac", checkpoint_mac as "checkpointMac", mac from audit_head`);
  return row === undefined ? undefined : { ...row, batch: BigInt(row.batch), seq: BigInt(row.seq) };
}

/** The newest batch that ends at this number or before it; 0 when none does. */
export async function selectBatchUpTo(queries: Queries, seq: bigint): Promise<bigint> {
  const [row] = await queries.query<{ batch: string }>(
    "select batch from audit_checkpoints where last_seq <= $1 order by last_seq desc limit 1",
    [String(seq)],
  );
  return BigInt(row?.batch ?? 0);
}

export async function hasCheckpoints(queries: Queries): Promise<boolean> {
  return (await queries.query("select from audit_checkpoints limit 1")).length > 0;
}

export async function selectUnsealed(tx: Queries, limit: number): Promise<TrailRow[]> {
  return tx.query<TrailRow & Row>(
    `select ${TEXTS} from audit_events where seq is null order by audit_events.id limit $1`,
    [limit],
  );
}

export async function countUnsealed(queries: Queries): Promise<{ count: number; oldest: Date | undefined }> {
  const [row] = await queries.query<{ count: number; oldest: Date | null }>(
    "select count(*)::integer as count, min(at) as oldest from audit_events where seq is null",
  );
  return { count: row?.count ?? 0, oldest: row?.oldest ?? undefined };
}

/** Returns how many rows were there to be sealed. */
export async function updateSealed(
  tx: Queries,
  rows: readonly { readonly id: string; readonly seq: bigint; readonly mac: string }[],
): Promise<number> {
  const [done] = await tx.query<{ count: number }>(
    `with sealed as (
       update audit_events e set seq = s.seq, mac = s.mac
       from unnest($1::bigint[], $2::bigint[], $3::text[]) as s (id, seq, mac) where e.id = s.id and e.seq is null returning 1)
     select count(*)::integer as count from sealed`,
    [rows.map(({ id }) => id), rows.map(({ seq }) => String(seq)), rows.map(({ mac }) => mac)],
  );
  return done?.count ?? 0;
}

export async function selectSealed(queries: Queries, after: bigint, limit: number): Promise<SealedRow[]> {
  const rows = await queries.query<TrailRow & Row & { seq: string; mac: string | null }>(
    `select ${TEXTS}, seq::text as seq, mac from audit_events where audit_events.seq > $1 order by audit_events.seq limit $2`,
    [String(after), limit],
  );
  return rows.map((row) => ({ ...row, seq: BigInt(row.seq) }));
}

export async function insertCheckpoint(tx: Queries, of: CheckpointRow): Promise<void> {
  const numbers = [of.batch, of.firstSeq, of.lastSeq].map(String);
  await tx.query(
    `insert into audit_checkpoints (batch, first_seq, last_seq, row_mac, newest_at, sealed_at, key_version, previous_mac, mac)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    [...numbers, of.rowMac, of.newestAt, of.sealedAt, of.keyVersion, of.previousMac, of.mac],
  );
}

export async function upsertHead(tx: Queries, head: HeadRow): Promise<void> {
  await tx.query(
    `insert into audit_head (batch, seq, row_mac, checkpoint_mac, mac) values ($1, $2, $3, $4, $5)
     on conflict (singleton) do update set batch = excluded.batch, seq = excluded.seq, row_mac = excluded.row_mac,
       checkpoint_mac = excluded.checkpoint_mac, mac = excluded.mac`,
    [String(head.batch), String(head.seq), head.rowMac, head.checkpointMac, head.mac],
  );
}

const CHECKPOINT = `batch, first_seq as "firstSeq", last_seq as "lastSeq", row_mac as "rowMac", newest_at as "newestAt", sealed_at as "sealedAt",
  key_version as "keyVersion", previous_mac as "previousMac", mac, removed_at as "removedAt", removed_mac as "removedMac"`;

export async function selectCheckpoints(queries: Queries, after: bigint, limit: number): Promise<CheckpointRow[]> {
  const rows = await queries.query(
    `select ${CHECKPOINT} from audit_checkpoints where batch > $1 order by batch limit $2`,
    [String(after), limit],
  );
  return rows.map(toCheckpoint);
}

/** The oldest that are kept, as far as all of their events are older; a month of trail always stays (migration 009). */
export async function selectOldCheckpoints(tx: Queries, before: Date, limit: number): Promise<CheckpointRow[]> {
  const rows = await tx.query<Row & { is_old: boolean }>(
    `select ${CHECKPOINT}, newest_at < least($1, (select max(newest_at) from audit_checkpoints) - interval '30 days') as is_old
     from audit_checkpoints where removed_at is null order by batch limit $2`,
    [before, limit],
  );
  const firstKept = rows.findIndex((row) => !row.is_old);
  return rows.slice(0, firstKept === -1 ? rows.length : firstKept).map(toCheckpoint);
}

/** Marks the checkpoint, and only then may its rows go; returns how many did. */
export async function removeBatch(
  tx: Queries,
  { batch, firstSeq, lastSeq }: CheckpointRow,
  by: { readonly at: Date; readonly mac: string },
): Promise<number> {
  await tx.query("update audit_checkpoints set removed_at = $2, removed_mac = $3 where batch = $1", [
    String(batch),
    by.at,
    by.mac,
  ]);
  const [gone] = await tx.query<{ count: number }>(
    `with gone as (delete from audit_events where seq between $1 and $2 returning 1) select count(*)::integer as count from gone`,
    [String(firstSeq), String(lastSeq)],
  );
  return gone?.count ?? 0;
}

function toCheckpoint(row: Row): CheckpointRow {
  const numbers = ["batch", "firstSeq", "lastSeq"].map((name) => [name, BigInt(row[name] as string)] as const);
  return { ...row, ...Object.fromEntries(numbers) } as unknown as CheckpointRow;
}
