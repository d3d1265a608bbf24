/** Verification: reads the whole trail at one moment and says what was altered, removed, added or cut off since it was sealed. It changes nothing. */
import type { Db, Queries } from "../store/db.ts";
import {
  BEGINNING,
  type CheckpointRow,
  checkpointMac,
  checkpointText,
  type HeadRow,
  headMac,
  isMade,
  removedMac,
  rowMac,
  type SealedRow,
  type SealKey,
} from "./chain.ts";
import * as sql from "./queries.ts";

const ROWS_PAGE = 5000;
const CHECKPOINTS_PAGE = 500;
/** Whoever finds a hundred faults has found enough; the rest is counted. */
const FAULTS_SHOWN_MAX = 100;
/** The statements of the snapshot may take as long as those of a migration: nobody waits at a page. */
const PATIENCE_MS = 60_000;

export interface Fault {
  readonly kind: "altered" | "removed" | "added" | "cut" | "checkpoint";
  /** The number of the event, or of the first of several. */
  readonly seq?: string;
  readonly words: string;
}

export interface Verification {
  /** Sealed events that were read. */
  readonly events: number;
  readonly batches: number;
  /** Of those, batches whose events went by retention. */
  readonly removedBatches: number;
  /** Written and not sealed yet: seconds, while a server runs. */
  readonly unsealed: number;
  readonly oldestUnsealed: Date | undefined;
  /** The newest checkpoint, to be kept elsewhere; absent while nothing is sealed. */
  readonly checkpoint: string | undefined;
  readonly faults: readonly Fault[];
  readonly faultCount: number;
  /** Of a part: the batch after which the next part begins; absent when the end of the trail was reached. */
  readonly nextBatch?: bigint;
}

/** Part of the trail: after a batch, whose checkpoint is believed if its HMAC holds, or the newest batches alone. */
export type Part = { readonly afterBatch: bigint } | "newest";

/** One part is read in well under a second. */
const PART_ROWS = 20_000;
const PART_BATCHES = 4000;
/** The newest batches, so that a page can say of each visit that they hold: so many, or those of so many rows if they are fewer. */
const NEWEST_BATCHES = 20n;
const NEWEST_ROWS = 1000n;

/** `known` are checkpoints from a log or an export: each must still be there. */
export async function verifyTrail(
  db: Db,
  keys: readonly SealKey[],
  known: readonly string[] = [],
): Promise<Verification> {
  return db.transaction(
    async (tx) => {
      await sql.readOneMoment(tx);
      return verifySnapshot(tx, keys, known);
    },
    { patienceMs: PATIENCE_MS },
  );
}

/** So much of the trail as one request may read; the parts of a whole trail together say what verifyTrail says, known checkpoints apart. */
export async function verifyPart(db: Db, keys: readonly SealKey[], part: Part): Promise<Verification> {
  return db.transaction(async (tx) => {
    await sql.readOneMoment(tx);
    return verifySnapshot(tx, keys, [], part === "newest" ? await beforeNewest(tx) : part.afterBatch);
  });
}

/** The batch after which the newest ones begin. */
async function beforeNewest(tx: Queries): Promise<bigint> {
  const head = await sql.selectHead(tx);
  if (head === undefined) return 0n;
  const byRows = await sql.selectBatchUpTo(tx, head.seq - NEWEST_ROWS);
  const byBatches = head.batch - NEWEST_BATCHES;
  return byRows > byBatches ? byRows : byBatches > 0n ? byBatches : 0n;
}

interface Walk {
  readonly keys: readonly SealKey[];
  readonly faults: Fault[];
  faultCount: number;
  events: number;
  /** HMACs that the next row may be chained to; none after a gap, where it cannot be told. */
  links: readonly string[];
}

/** Without `afterBatch` the whole trail. */
async function verifySnapshot(
  tx: Queries,
  keys: readonly SealKey[],
  known: readonly string[],
  afterBatch?: bigint,
): Promise<Verification> {
  const walk: Walk = { keys, faults: [], faultCount: 0, events: 0, links: [BEGINNING] };
  const missing = new Set(known);
  let [batches, removedBatches] = [0, 0];
  let last = afterBatch === undefined || afterBatch === 0n ? undefined : await beginAfter(walk, tx, afterBatch);
  const rows = readRows(tx, last?.lastSeq ?? 0n);
  let row = await rows.next();
  let nextBatch: bigint | undefined;
  for await (const checkpoint of readCheckpoints(tx, last?.batch ?? 0n)) {
    if (afterBatch !== undefined && (walk.events >= PART_ROWS || batches >= PART_BATCHES)) {
      nextBatch = last?.batch;
      break;
    }
    checkCheckpoint(walk, checkpoint, last);
    missing.delete(checkpointText(checkpoint));
    batches += 1;
    if (checkpoint.removedAt !== null) removedBatches += 1;
    let expected = checkpoint.firstSeq;
    for (; row.done !== true && row.value.seq <= checkpoint.lastSeq; row = await rows.next()) {
      walk.events += 1;
      if (checkpoint.removedAt !== null) {
        say(walk, "added", row.value.seq, "is there although retention removed its batch");
        continue;
      }
      checkRow(walk, row.value, expected);
      expected = row.value.seq + 1n;
    }
    closeBatch(walk, checkpoint, expected);
    last = checkpoint;
  }
  if (nextBatch === undefined) {
    checkHead(walk, await sql.selectHead(tx), last);
    for (; row.done !== true; row = await rows.next())
      say(walk, "added", row.value.seq, "is numbered, but no checkpoint holds it");
  }
  for (const text of missing)
    fault(walk, { kind: "cut", words: `The checkpoint ${text} was sealed once and is not here.` });
  const unsealed = await sql.countUnsealed(tx);
  return {
    events: walk.events,
    batches,
    removedBatches,
    unsealed: unsealed.count,
    oldestUnsealed: unsealed.oldest,
    checkpoint: last === undefined ? undefined : checkpointText(last),
    faults: walk.faults,
    faultCount: walk.faultCount,
    ...(nextBatch === undefined ? {} : { nextBatch }),
  };
}

/** The checkpoint that a part begins after. One that is missing or altered is a fault of this part as well as of its own. */
async function beginAfter(walk: Walk, tx: Queries, batch: bigint): Promise<CheckpointRow | undefined> {
  const [checkpoint] = await sql.selectCheckpoints(tx, batch - 1n, 1);
  if (checkpoint?.batch !== batch) {
    fault(walk, { kind: "checkpoint", words: `Checkpoint ${batch} is missing.` });
    return undefined;
  }
  if (!isMade(checkpoint.mac, (key) => checkpointMac(key, checkpoint), walk.keys))
    fault(walk, { kind: "checkpoint", seq: String(checkpoint.firstSeq), words: `Checkpoint ${batch} was altered.` });
  walk.links = [checkpoint.rowMac];
  return checkpoint;
}

function checkRow(walk: Walk, row: SealedRow, expected: bigint): void {
  if (row.seq > expected) {
    gap(walk, expected, row.seq - 1n);
    walk.links = [];
  }
  const made = walk.links.flatMap((link) => walk.keys.map(({ key }) => rowMac(key, link, row, row.seq)));
  const isChained = walk.links.length === 0 || made.includes(row.mac ?? "");
  if (!isChained) say(walk, "altered", row.seq, `(${row.name}, ${row.at}Z) is not what was sealed`);
  // Of an altered row either its own words or its HMAC may be what is left of the truth.
  walk.links = isChained ? [row.mac ?? ""] : [row.mac ?? "", ...made];
}

function closeBatch(walk: Walk, checkpoint: CheckpointRow, expected: bigint): void {
  if (checkpoint.removedAt === null && expected <= checkpoint.lastSeq) gap(walk, expected, checkpoint.lastSeq);
  else if (checkpoint.removedAt === null && !walk.links.includes(checkpoint.rowMac))
    say(walk, "altered", checkpoint.lastSeq, "is not the last one that its checkpoint names");
  walk.links = [checkpoint.rowMac];
}

function checkCheckpoint(walk: Walk, checkpoint: CheckpointRow, last: CheckpointRow | undefined): void {
  const { keys } = walk;
  const what = `Checkpoint ${checkpoint.batch}`;
  const tell = (words: string): void => fault(walk, { kind: "checkpoint", seq: String(checkpoint.firstSeq), words });
  if (!isMade(checkpoint.mac, (key) => checkpointMac(key, checkpoint), keys)) tell(`${what} was altered.`);
  if (checkpoint.batch !== (last?.batch ?? 0n) + 1n || checkpoint.firstSeq !== (last?.lastSeq ?? 0n) + 1n)
    tell(`Before checkpoint ${checkpoint.batch} another one is missing.`);
  else if (checkpoint.previousMac !== (last?.mac ?? BEGINNING)) tell(`${what} does not follow the one before it.`);
  const { removedAt } = checkpoint;
  if (removedAt !== null && !isMade(checkpoint.removedMac, (key) => removedMac(key, checkpoint, removedAt), keys))
    tell(`${what} says that retention removed its events, and retention did not.`);
}

function checkHead(walk: Walk, head: HeadRow | undefined, last: CheckpointRow | undefined): void {
  const tell = (words: string): void => fault(walk, { kind: "cut", words });
  if (head === undefined) {
    if (last !== undefined) tell("The end of the trail has been taken away.");
    return;
  }
  if (!isMade(head.mac, (key) => headMac(key, head), walk.keys)) tell("The end of the trail was altered.");
  else if (last === undefined || last.lastSeq < head.seq)
    tell(`The trail ends with event ${last?.lastSeq ?? 0n}; it was sealed up to ${head.seq}.`);
  else if (last.mac !== head.checkpointMac) tell("The last checkpoint is not the one that was sealed last.");
}

function gap(walk: Walk, first: bigint, last: bigint): void {
  const words = first === last ? `Event ${first} is missing.` : `Events ${first} to ${last} are missing.`;
  fault(walk, { kind: "removed", seq: String(first), words });
}

function say(walk: Walk, kind: Fault["kind"], seq: bigint, words: string): void {
  fault(walk, { kind, seq: String(seq), words: `Event ${seq} ${words}.` });
}

function fault(walk: Walk, found: Fault): void {
  walk.faultCount += 1;
  if (walk.faults.length < FAULTS_SHOWN_MAX) walk.faults.push(found);
}

async function* readRows(tx: Queries, begin: bigint): AsyncGenerator<SealedRow, undefined> {
  for (let after = begin; ; ) {
    const page = await sql.selectSealed(tx, after, ROWS_PAGE);
    yield* page;
    const end = page.at(-1);
    if (end === undefined || page.length < ROWS_PAGE) return undefined;
    after = end.seq;
  }
}

/** Every checkpoint after a batch, the oldest first. */
async function* readCheckpoints(queries: Queries, begin: bigint): AsyncGenerator<CheckpointRow, undefined> {
  for (let after = begin; ; ) {
    const page = await sql.selectCheckpoints(queries, after, CHECKPOINTS_PAGE);
    yield* page;
    const end = page.at(-1);
    if (end === undefined || page.length < CHECKPOINTS_PAGE) return undefined;
    after = end.batch;
  }
}
