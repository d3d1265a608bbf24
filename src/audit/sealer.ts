/** The sealer: numbers and chains what was committed, in batches that each end in a checkpoint; one process at a time, whatever the number of instances. */
import { now, secondsAfter } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Db, Queries } from "../store/db.ts";
import { tryLock } from "../store/locks.ts";
import {
  BEGINNING,
  type CheckpointRow,
  checkpointMac,
  checkpointText,
  headMac,
  isMade,
  removedMac,
  rowMac,
  type SealKey,
} from "./chain.ts";
import { record } from "./event.ts";
import * as sql from "./queries.ts";

/** Small enough that one transaction takes milliseconds, large enough that a backlog of 10,000 is sealed in one run. */
const BATCH_ROWS = 500;
const BATCHES_MAX = 40;
/** Removed in one run; what is left over waits for the next one. */
const REMOVED_BATCHES_MAX = 50;

export interface Sealer {
  /** Seals what waits, and returns how many rows that were; 0 also while another process is at it. Of the keys the first makes, all verify. */
  seal(keys: readonly SealKey[]): Promise<number>;
  /** Removes whole batches whose newest event is older than the retention; their checkpoints stay. Returns how many rows went. */
  prune(keys: readonly SealKey[]): Promise<number>;
}

export interface SealerOptions {
  readonly db: Db;
  readonly log: Log;
  readonly retentionSeconds: number;
}

export function createSealer(options: SealerOptions): Sealer {
  const { db, log } = options;
  /** The end of the trail as this process last saw it: an end that lies before it was cut, or a backup was restored. */
  let seen = 0n;
  let said = "";
  const complain = (fault: string, detail: string): void => {
    if (said !== fault) log.error(fault, { detail });
    said = fault;
  };
  return {
    async seal(keys) {
      let count = 0;
      for (let batch = 0; batch < BATCHES_MAX; batch += 1) {
        const sealed = await db.transaction((tx) => sealBatch(tx, keys));
        if (sealed === undefined) break;
        if ("fault" in sealed) {
          complain(sealed.fault, "nothing is sealed until it is put right; see: signet audit verify");
          break;
        }
        if (sealed.seq < seen) complain("the audit trail ends before its end", `${sealed.seq} rows, ${seen} were seen`);
        seen = sealed.seq;
        if (sealed.checkpoint === undefined) break;
        // Outside the database: whoever cuts the trail there does not reach it here.
        log.info("audit checkpoint", { checkpoint: checkpointText(sealed.checkpoint), count: sealed.count });
        count += sealed.count;
        if (sealed.count < BATCH_ROWS) break;
      }
      return count;
    },
    prune: (keys) => db.transaction((tx) => prune(tx, keys, options)),
  };
}

interface Sealed {
  /** Where the trail ends. */
  readonly seq: bigint;
  readonly count: number;
  readonly checkpoint: CheckpointRow | undefined;
}

async function sealBatch(tx: Queries, keys: readonly SealKey[]): Promise<Sealed | { fault: string } | undefined> {
  if (!(await tryLock(tx, "audit"))) return undefined;
  const [first] = keys;
  if (first === undefined) throw new Error("there is no key to seal the audit trail with");
  const head = await sql.selectHead(tx);
  // Going on from an end that somebody has set back would hide what is missing.
  if (head === undefined && (await sql.hasCheckpoints(tx)))
    return { fault: "the end of the audit trail has been taken away" };
  if (head !== undefined && !isMade(head.mac, (key) => headMac(key, head), keys))
    return { fault: "the end of the audit trail was altered" };
  const from = head?.seq ?? 0n;
  const rows = await sql.selectUnsealed(tx, BATCH_ROWS);
  const newest = rows.reduce<Date | undefined>(
    (latest, { moment }) => (latest && latest > moment ? latest : moment),
    undefined,
  );
  if (newest === undefined) return { seq: from, count: 0, checkpoint: undefined };
  let last = head?.rowMac ?? BEGINNING;
  const sealed = rows.map((row, index) => {
    const seq = from + BigInt(index) + 1n;
    last = rowMac(first.key, last, row, seq);
    return { id: row.id, seq, mac: last };
  });
  if ((await sql.updateSealed(tx, sealed)) !== rows.length)
    throw new Error("rows of the audit trail were sealed meanwhile");
  const made = {
    batch: (head?.batch ?? 0n) + 1n,
    firstSeq: from + 1n,
    lastSeq: from + BigInt(rows.length),
    rowMac: last,
    newestAt: newest,
    sealedAt: now(),
    keyVersion: first.version,
    previousMac: head?.checkpointMac ?? BEGINNING,
  };
  const checkpoint = { ...made, mac: checkpointMac(first.key, made), removedAt: null, removedMac: null };
  await sql.insertCheckpoint(tx, checkpoint);
  const next = { batch: made.batch, seq: made.lastSeq, rowMac: last, checkpointMac: checkpoint.mac };
  await sql.upsertHead(tx, { ...next, mac: headMac(first.key, next) });
  return { seq: made.lastSeq, count: rows.length, checkpoint };
}

async function prune(tx: Queries, keys: readonly SealKey[], { retentionSeconds, log }: SealerOptions): Promise<number> {
  if (!(await tryLock(tx, "audit"))) return 0;
  const at = now();
  const old = await sql.selectOldCheckpoints(tx, secondsAfter(at, -retentionSeconds), REMOVED_BATCHES_MAX);
  let [batches, rows] = [0, 0];
  for (const checkpoint of old) {
    // The oldest go first, and none before the ones in front of it.
    const key = keys.find(({ version }) => version === checkpoint.keyVersion)?.key;
    if (key === undefined || !isMade(checkpoint.mac, () => checkpointMac(key, checkpoint), keys)) {
      log.error("a checkpoint of the audit trail was altered; it is kept", { count: Number(checkpoint.batch) });
      break;
    }
    rows += await sql.removeBatch(tx, checkpoint, { at, mac: removedMac(key, checkpoint, at) });
    batches += 1;
  }
  if (batches > 0) await record(tx, { name: "audit.pruned", actor: { kind: "system" }, data: { batches, rows } });
  return rows;
}
