/** SQL of the audit trail. Rows are only ever added; triggers refuse everything else. */
import type { Queries } from "../store/db.ts";
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
};

const COLUMNS = "at, name, actor_kind, actor_id, address, request_id, subject_kind, subject_id, data";

export async function insertEvent(tx: Queries, event: AuditEvent, at: Date): Promise<void> {
  const { actor, subject } = event;
  await tx.query(
    `insert into audit_events (at, name, actor_kind, actor_id, address, request_id, subject_kind, subject_id, data)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb)`,
    [
      at,
      event.name,
      actor.kind,
      actor.id ?? null,
      actor.address ?? null,
      actor.requestId ?? null,
      subject?.kind ?? null,
      subject?.id ?? null,
      JSON.stringify(event.data ?? {}),
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
  };
}
