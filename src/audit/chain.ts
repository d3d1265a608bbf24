/** The chain: what is put under an HMAC, of a row, of a checkpoint and of the end of the trail. Whoever has the database but not the key can make none of them. */
import { hmac, isEqualSecret } from "../secrets.ts";

/** A random key that lies sealed in the database; its version stands in the checkpoints that it made. */
export interface SealKey {
  readonly version: number;
  readonly key: Buffer;
}

/** A row as the database writes it: every value a text, so that no reader's idea of a number or a date comes between. */
export interface TrailRow {
  readonly id: string;
  readonly at: string;
  readonly moment: Date;
  readonly name: string;
  readonly actorKind: string;
  readonly actorId: string | null;
  readonly address: string | null;
  readonly requestId: string | null;
  readonly subjectKind: string | null;
  readonly subjectId: string | null;
  readonly data: string;
  readonly changes: string | null;
}

export interface SealedRow extends TrailRow {
  readonly seq: bigint;
  readonly mac: string | null;
}

export interface CheckpointRow {
  readonly batch: bigint;
  readonly firstSeq: bigint;
  readonly lastSeq: bigint;
  readonly rowMac: string;
  readonly newestAt: Date;
  readonly sealedAt: Date;
  readonly keyVersion: number;
  readonly previousMac: string;
  readonly mac: string;
  readonly removedAt: Date | null;
  readonly removedMac: string | null;
}

export interface HeadRow {
  readonly batch: bigint;
  readonly seq: bigint;
  readonly rowMac: string;
  readonly checkpointMac: string;
  readonly mac: string;
}

/** What the first row of all is chained to. */
export const BEGINNING = "";

/** Over the row as the database writes it, its number, and the row before it. */
export function rowMac(key: Buffer, previousMac: string, row: TrailRow, seq: bigint): string {
  const { id, at, name, actorKind, actorId, address, requestId, subjectKind, subjectId, data, changes } = row;
  const who = [actorKind, actorId, address, requestId, subjectKind, subjectId];
  return over(key, "row", [previousMac, String(seq), id, at, name, ...who, data, changes]);
}

export function checkpointMac(key: Buffer, of: Omit<CheckpointRow, "mac" | "removedAt" | "removedMac">): string {
  const { batch, firstSeq, lastSeq, newestAt, sealedAt, keyVersion } = of;
  const numbers = [batch, firstSeq, lastSeq].map(String);
  const times = [newestAt.toISOString(), sealedAt.toISOString()];
  return over(key, "checkpoint", [...numbers, of.rowMac, ...times, String(keyVersion), of.previousMac]);
}

/** Says that the rows of a batch went by retention, and when. */
export function removedMac(key: Buffer, checkpoint: { readonly mac: string }, removedAt: Date): string {
  return over(key, "removed", [checkpoint.mac, removedAt.toISOString()]);
}

export function headMac(key: Buffer, head: Omit<HeadRow, "mac">): string {
  return over(key, "head", [String(head.batch), String(head.seq), head.rowMac, head.checkpointMac]);
}

/** A checkpoint as it stands in logs and exports: batch, last number, HMAC. */
export function checkpointText({ batch, lastSeq, mac }: Pick<CheckpointRow, "batch" | "lastSeq" | "mac">): string {
  return `${batch}.${lastSeq}.${mac}`;
}

/** Checkpoints in a line of a log or of an export. */
export const CHECKPOINT_TEXT = /\b(\d{1,18})\.(\d{1,18})\.([A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])/g;

export function isMade(mac: string | null, made: (key: Buffer) => string, keys: readonly SealKey[]): boolean {
  return mac !== null && keys.some(({ key }) => isEqualSecret(mac, made(key)));
}

function over(key: Buffer, what: string, parts: readonly (string | null)[]): string {
  return hmac(key, `signet audit ${what}\n${JSON.stringify(parts)}`);
}
