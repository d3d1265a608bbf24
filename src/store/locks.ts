/** Advisory locks of Postgres that several rooms or several processes take: each number stands here once, so that two things never share one by accident. Migrations and the embedded Postgres lock before any of this is there, with numbers of their own. */
import type { Queries } from "./db.ts";

/** The numbers are words of four letters, read as a number. */
const LOCKS = {
  /** Taken by whoever makes or unmakes an owner: two at once would both see the other and none, or both none. */
  owners: 0x7367_6f77,
  /** Taken by whoever changes signing keys or random keys. */
  keys: 0x7369_6b79,
  /** Taken by whoever seals or prunes the audit trail. */
  audit: 0x7369_6175,
} as const;

export type Lock = keyof typeof LOCKS;

/** Waits until nobody else has it; it is given back when the transaction ends. */
export async function takeLock(tx: Queries, lock: Lock): Promise<void> {
  await tx.query("select pg_advisory_xact_lock($1)", [LOCKS[lock]]);
}

/** False when somebody else has it. */
export async function tryLock(tx: Queries, lock: Lock): Promise<boolean> {
  const [row] = await tx.query<{ got: boolean }>("select pg_try_advisory_xact_lock($1) as got", [LOCKS[lock]]);
  return row?.got === true;
}
