/** Deletion: a wish with a wait of days, taken back by signing in; then the user goes, and nobody ever gets the same id again. */

import type { Actor, RecordEvent } from "../audit/event.ts";
import { now, secondsAfter } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Revocations } from "../revocations/revocation.ts";
import type { Db, Queries } from "../store/db.ts";
import { takeLock } from "../store/locks.ts";
import { toUser } from "./columns.ts";
import { type Letters, languageOf, sendNotice } from "./letter.ts";
import { deleteUser, hasOtherOwner, lockRow, selectDue, updateDeletion } from "./queries.ts";
import type { User } from "./user.ts";

/** Long enough to come back from a trip or to notice a thief; short enough to be a deletion. */
export const DELETION_DAYS = 7;

export interface Deletions {
  /** Signs the person out everywhere at once. Throws AppError user_last_owner. Returns when the account goes. */
  ask(userId: string, by: Actor): Promise<Date>;
  /** By signing in. False: nothing was asked for. */
  cancel(userId: string, by: Actor): Promise<boolean>;
  /** At once, as an administrator does. `check` sees the user under the lock. Throws AppError user_unknown, user_last_owner. */
  delete(userId: string, by: Actor, check?: (before: User) => void): Promise<void>;
  /** Deletes whoever's wait is over; at most so many. */
  sweep(limit: number): Promise<number>;
}

interface Room {
  readonly db: Db;
  readonly letters: Letters;
  readonly record: RecordEvent;
  readonly revocations: Revocations;
  /** What other rooms keep about the person goes in the same transaction. */
  readonly forget: (tx: Queries, userId: string) => Promise<void>;
}

export function createDeletions(room: Room): Deletions {
  const { db, letters, record, revocations } = room;
  return {
    async ask(userId, by) {
      const deleteAt = secondsAfter(now(), DELETION_DAYS * 86_400);
      await db.transaction(async (tx) => {
        const row = await lockedRow(tx, userId);
        await updateDeletion(tx, row.id, deleteAt);
        await revocations.write(tx, { kind: "user", id: row.id });
        await record(tx, event("user.deletion_asked", by, row.id));
        await sendNotice(tx, letters, {
          template: "deletion_asked",
          reader: row,
          values: { until: deleteAt.toISOString() },
        });
      });
      await revocations.carryOut({ kind: "user", id: userId });
      return deleteAt;
    },
    cancel: (userId, by) =>
      db.transaction(async (tx) => {
        const row = await lockRow(tx, userId);
        if (row === undefined || !(await updateDeletion(tx, row.id, null))) return false;
        await record(tx, event("user.deletion_cancelled", by, row.id));
        await sendNotice(tx, letters, { template: "deletion_cancelled", reader: row });
        return true;
      }),
    delete: (userId, by, check) => deleteNow(room, userId, { by, isDue: false, check }),
    async sweep(limit) {
      const due = await selectDue(db, now(), limit);
      for (const { id } of due)
        await deleteNow(room, id, { by: { kind: "system" }, isDue: true, check: undefined }).catch(leaveOwner);
      return due.length;
    },
  };
}

async function deleteNow(
  room: Room,
  userId: string,
  how: { by: Actor; isDue: boolean; check: ((before: User) => void) | undefined },
): Promise<void> {
  await room.db.transaction(async (tx) => {
    const row = await lockedRow(tx, userId);
    how.check?.(toUser(row));
    // Signing in was a moment faster.
    if (how.isDue && (row.delete_at === null || row.delete_at > now())) return;
    await room.forget(tx, row.id);
    await room.letters.mails.queue(tx, {
      template: "deleted",
      language: languageOf(row),
      to: row.email,
      values: { at: now().toISOString() },
    });
    await room.revocations.write(tx, { kind: "user", id: row.id });
    await room.record(tx, event("user.deleted", how.by, row.id));
    await deleteUser(tx, row.id);
  });
  await room.revocations.carryOut({ kind: "user", id: userId });
}

/** The last owner stays, or nobody could ever administer this server again. */
async function lockedRow(tx: Queries, userId: string) {
  await takeLock(tx, "owners");
  const row = await lockRow(tx, userId);
  if (row === undefined) throw new AppError("user_unknown");
  if (row.roles.includes("owner") && !(await hasOtherOwner(tx, row.id))) throw new AppError("user_last_owner");
  return row;
}

/** Another process deleted them, or they became the last owner while they waited: the others go on. */
function leaveOwner(error: unknown): void {
  const isExpected = error instanceof AppError && ["user_unknown", "user_last_owner"].includes(error.code);
  if (!isExpected) throw error;
}

function event(name: "user.deletion_asked" | "user.deletion_cancelled" | "user.deleted", actor: Actor, id: string) {
  return { name, actor, subject: { kind: "user", id } } as const;
}
