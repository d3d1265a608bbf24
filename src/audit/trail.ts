/** The trail as administrators read it: pages, exports and verification, for the command line, the REST API and the console. */
import type { Db } from "../store/db.ts";
import { type CheckpointRow, checkpointText, type SealKey } from "./chain.ts";
import { selectTrail, type TrailEntry, type TrailFilter } from "./queries.ts";
import { readCheckpoints, type Verification, verifyTrail } from "./verify.ts";

export type { TrailEntry, TrailFilter } from "./queries.ts";
export type { Fault, Verification } from "./verify.ts";

export const PAGE_MAX = 500;
const EXPORT_PAGE = 1000;

export interface Trail {
  /** The newest first; `after` is the id of the last entry of the page before. */
  list(
    filter: TrailFilter,
    page: { readonly limit: number; readonly after?: string | undefined },
  ): Promise<TrailEntry[]>;
  /** One line each, the oldest first; without a filter of who and what the checkpoints follow. */
  export(filter: TrailFilter): AsyncIterable<Readonly<Record<string, unknown>>>;
  /** `known`: checkpoints from a log or an export, which must still be there. */
  verify(known?: readonly string[]): Promise<Verification>;
}

export function createTrail(options: { db: Db; keys: () => Promise<readonly SealKey[]> }): Trail {
  const { db, keys } = options;
  return {
    list: (filter, { limit, after }) =>
      selectTrail(db, filter, { newestFirst: true, after, limit: Math.min(Math.max(1, limit), PAGE_MAX) }),
    export: (filter) => lines(db, filter),
    verify: async (known = []) => verifyTrail(db, await keys(), known),
  };
}

async function* lines(db: Db, filter: TrailFilter): AsyncGenerator<Readonly<Record<string, unknown>>> {
  for (let after: string | undefined; ; ) {
    const page = await selectTrail(db, filter, { newestFirst: false, after, limit: EXPORT_PAGE });
    for (const entry of page) yield { type: "event", ...presentEntry(entry) };
    after = page.at(-1)?.id;
    if (page.length < EXPORT_PAGE) break;
  }
  const { actor, subject, action, requestId, from, to } = filter;
  if ([actor, subject, action, requestId].some((value) => value !== undefined)) return;
  for await (const checkpoint of readCheckpoints(db)) {
    const { sealedAt } = checkpoint;
    if ((from === undefined || sealedAt >= from) && (to === undefined || sealedAt < to))
      yield presentCheckpoint(checkpoint);
  }
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
  };
}
