/** The trail as administrators read it: pages, exports and verification, for the command line, the REST API and the console. */
import type { Db } from "../store/db.ts";
import { type CheckpointRow, checkpointText, type SealKey } from "./chain.ts";
import { selectCheckpoints, selectTrail, type TrailEntry, type TrailFilter } from "./queries.ts";
import { type Part, type Verification, verifyPart, verifyTrail } from "./verify.ts";

export type { TrailEntry, TrailFilter } from "./queries.ts";
export type { Fault, Part, Verification } from "./verify.ts";

export const PAGE_MAX = 500;
const EXPORT_PAGE = 1000;

type Line = Readonly<Record<string, unknown>>;

/** Where a page of the export ended: behind an event, or behind a checkpoint, "" being before the first. */
export interface ExportPlace {
  readonly of: "event" | "checkpoint";
  readonly id: string;
}

export interface ExportPage {
  readonly lines: readonly Line[];
  /** Absent: that was all. */
  readonly next: ExportPlace | undefined;
}

export interface Trail {
  /** The newest first; `after` is the id of the last entry of the page before. */
  list(
    filter: TrailFilter,
    page: { readonly limit: number; readonly after?: string | undefined },
  ): Promise<TrailEntry[]>;
  /** One line each, the oldest first; without a filter of who and what the checkpoints follow. */
  export(filter: TrailFilter): AsyncIterable<Line>;
  /** A page of the export. */
  exportPage(filter: TrailFilter, page: { readonly limit: number; readonly after?: ExportPlace }): Promise<ExportPage>;
  /** So much as one request may read. */
  verifyPart(part: Part): Promise<Verification>;
  /** `known`: checkpoints from a log or an export, which must still be there. */
  verify(known?: readonly string[]): Promise<Verification>;
}

export function createTrail(options: { db: Db; keys: () => Promise<readonly SealKey[]> }): Trail {
  const { db, keys } = options;
  return {
    list: (filter, { limit, after }) =>
      selectTrail(db, filter, { newestFirst: true, after, limit: Math.min(Math.max(1, limit), PAGE_MAX) }),
    export: (filter) => lines(db, filter),
    exportPage: (filter, page) => exportPage(db, filter, page),
    verifyPart: async (part) => verifyPart(db, await keys(), part),
    verify: async (known = []) => verifyTrail(db, await keys(), known),
  };
}

async function* lines(db: Db, filter: TrailFilter): AsyncGenerator<Line> {
  for (let after: ExportPlace | undefined; ; ) {
    const page = await exportPage(db, filter, { limit: EXPORT_PAGE, ...(after === undefined ? {} : { after }) });
    yield* page.lines;
    if (page.next === undefined) return;
    after = page.next;
  }
}

async function exportPage(
  db: Db,
  filter: TrailFilter,
  { limit, after = { of: "event", id: "" } }: { readonly limit: number; readonly after?: ExportPlace },
): Promise<ExportPage> {
  const { actor, subject, action, requestId, from, to } = filter;
  if (after.of === "event") {
    const id = after.id === "" ? undefined : after.id;
    const page = await selectTrail(db, filter, { newestFirst: false, after: id, limit });
    const last = page.length === limit ? page.at(-1) : undefined;
    // Of a part of the events a checkpoint says nothing.
    const isPart = [actor, subject, action, requestId].some((value) => value !== undefined);
    const end = isPart ? undefined : ({ of: "checkpoint", id: "" } as const);
    return {
      lines: page.map((entry) => ({ type: "event", ...presentEntry(entry) })),
      next: last === undefined ? end : { of: "event", id: last.id },
    };
  }
  const page = await selectCheckpoints(db, BigInt(after.id === "" ? 0 : after.id), limit);
  const last = page.length === limit ? page.at(-1) : undefined;
  const wanted = page.filter(
    ({ sealedAt }) => (from === undefined || sealedAt >= from) && (to === undefined || sealedAt < to),
  );
  return {
    lines: wanted.map(presentCheckpoint),
    next: last === undefined ? undefined : { of: "checkpoint", id: String(last.batch) },
  };
}

/** In the names of the wire. */
export function presentEntry(entry: TrailEntry): Record<string, unknown> {
  const { id, seq, mac, at, name, actor, subject, data, changes } = entry;
  const fields = {
    id,
    seq,
    at: at.toISOString(),
    action: name,
    actor: { kind: actor.kind, id: actor.id },
    subject,
    address: actor.address,
    request_id: actor.requestId,
    data,
    changes,
    mac,
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function presentCheckpoint(checkpoint: CheckpointRow): Record<string, unknown> {
  const { batch, firstSeq, lastSeq, sealedAt, removedAt } = checkpoint;
  return {
    type: "checkpoint",
    batch: String(batch),
    first_seq: String(firstSeq),
    last_seq: String(lastSeq),
    sealed_at: sealedAt.toISOString(),
    ...(removedAt === null ? {} : { removed_at: removedAt.toISOString() }),
    checkpoint: checkpointText(checkpoint),
  };
}

/** In the names of the wire. */
export function presentVerification(found: Verification): Record<string, unknown> {
  return {
    intact: found.faultCount === 0,
    events: found.events,
    batches: found.batches,
    removed_batches: found.removedBatches,
    unsealed: found.unsealed,
    oldest_unsealed: found.oldestUnsealed?.toISOString() ?? null,
    checkpoint: found.checkpoint ?? null,
    fault_count: found.faultCount,
    faults: found.faults,
    ...(found.nextBatch === undefined ? {} : { next_batch: String(found.nextBatch) }),
  };
}
