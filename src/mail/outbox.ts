/** The outbox: sends what is due, again after a pause when that failed, until it was taken, is refused for good, or says nothing true any more. */
import { now, secondsAfter } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Db } from "../store/db.ts";
import type { Vault } from "../vault.ts";
import { type MailValues, sealContext } from "./message.ts";
import { claimDue, countWaiting, type MailRow, markFailed, markLate, markSent, renewLease } from "./queries.ts";
import { type MailWords, renderMail } from "./template.ts";
import { MailRefused, type Transport } from "./transport.ts";

/** Sent one after the other; a long queue is worked off portion by portion. */
const PORTION = 20;
/** Longer than the slowest sending of one mail, which transport.ts bounds; a process that died leaves its mails to others after it. */
const LEASE_SECONDS = 180;
/** Short at first, since somebody waits for a link; an hour in the end, since a server that is down for hours is no news. */
const PAUSE_SECONDS = [2, 5, 15, 60, 300, 900, 3600] as const;

export interface Outbox {
  /** Sends what is due now; returns how many were taken by the server. */
  flush(): Promise<number>;
  waiting(): Promise<{ readonly waiting: number; readonly oldestSeconds: number }>;
}

export function createOutbox(options: {
  db: Db;
  vault: Vault;
  log: Log;
  words: MailWords;
  transport: Transport;
  onResult: (result: "sent" | "late" | "failed") => void;
  /** For tests of the lease itself. */
  leaseSeconds?: number;
}): Outbox {
  const { db, log, transport, onResult, leaseSeconds = LEASE_SECONDS } = options;
  const deliver = async (row: MailRow): Promise<boolean> => {
    const [at, fields] = [now(), { attempt: row.attempts, name: row.template }];
    if (row.expires_at <= at || row.sealed_values === null) {
      await markFailed(db, row.id, row.error ?? "it ended before it could be sent");
      onResult("failed");
      return false;
    }
    try {
      const values = JSON.parse(options.vault.open(row.sealed_values, sealContext(row.id))) as MailValues;
      await transport.send({ id: row.id, to: row.recipient, ...renderMail(options.words, { ...row, values }) });
    } catch (error) {
      const reason = error instanceof Error ? error.message : "unknown";
      const isFinal = error instanceof MailRefused;
      if (isFinal) await markFailed(db, row.id, reason);
      else await markLate(db, row.id, { dueAt: secondsAfter(at, pauseSeconds(row.attempts)), error: reason });
      log.warn(isFinal ? "a mail was refused" : "a mail could not be sent yet", { ...fields, reason });
      onResult(isFinal ? "failed" : "late");
      return false;
    }
    await markSent(db, row.id, now());
    onResult("sent");
    return true;
  };
  return {
    async flush() {
      let sent = 0;
      for (;;) {
        const leaseEndsAt = secondsAfter(now(), leaseSeconds);
        const rows = await claimDue(db, { at: now(), leaseEndsAt, limit: PORTION });
        for (const row of rows) {
          // The mails before it may have taken longer than the lease: one that somebody else has taken since is theirs to send.
          const lease = { from: leaseEndsAt, to: secondsAfter(now(), leaseSeconds) };
          if (await renewLease(db, row.id, lease)) sent += (await deliver(row)) ? 1 : 0;
        }
        if (rows.length < PORTION) return sent;
      }
    },
    waiting: () => countWaiting(db, now()),
  };
}

export function pauseSeconds(attempts: number): number {
  return PAUSE_SECONDS[Math.min(Math.max(attempts, 1), PAUSE_SECONDS.length) - 1] ?? 3600;
}
