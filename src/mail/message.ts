/** Mails: queued in the transaction of their cause, so that neither exists without the other; sent later by outbox.ts. */
import { type Actor, record } from "../audit/event.ts";
import { now, secondsAfter } from "../clock.ts";
import { AppError } from "../errors.ts";
import { newId } from "../secrets.ts";
import type { Db, Queries } from "../store/db.ts";
import type { Vault } from "../vault.ts";
import {
  deleteOld,
  insertMail,
  isOnItsWay,
  type MailRow,
  type MailState,
  requeue,
  selectMails,
  selectSealed,
  updateSealed,
} from "./queries.ts";
import type { Template } from "./template.ts";

export type { MailState } from "./queries.ts";
export type { Template } from "./template.ts";

/** A notice is worth sending for a day; a link for as long as it lives. */
const SECONDS_DEFAULT = 86_400;
/** Who was written to and when is kept this long, for whoever asks where a mail is. */
const KEPT_SECONDS = 30 * 86_400;
/** Sent again by one word; a longer queue takes the word once more. A row that is locked waits for it no longer than so many updates take. */
export const RETRIED_MAX = 1000;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** `link` and `code` open something, so they are never anywhere but sealed here and in the mail itself. Times are ISO 8601. */
export type MailValues = Readonly<Record<string, string>>;

export interface Mail {
  readonly template: Template;
  /** BCP 47, one of the catalogues. */
  readonly language: string;
  /** An address as users/email.ts gives it. */
  readonly to: string;
  readonly userId?: string | undefined;
  readonly values: MailValues;
  /** The same cause never sends a second mail. */
  readonly cause?: string | undefined;
  readonly expiresInSeconds?: number | undefined;
}

/** A mail as the outbox knows it; what it says is not shown. */
export interface ListedMail {
  readonly id: string;
  readonly template: string;
  readonly language: string;
  readonly to: string;
  readonly state: MailState;
  readonly attempts: number;
  readonly error: string | undefined;
  readonly dueAt: Date;
  readonly createdAt: Date;
  readonly sentAt: Date | undefined;
}

export interface Mails {
  /** Inside the caller's transaction; nothing is sent if that fails. */
  queue(tx: Queries, mail: Mail): Promise<void>;
  list(filter: {
    readonly state?: MailState | undefined;
    readonly limit: number;
    /** The last mail of the page before. */
    readonly after?: { readonly createdAt: Date; readonly id: string } | undefined;
  }): Promise<readonly ListedMail[]>;
  /**
   * Sends again now what waits or was given up, one or all, the oldest `RETRIED_MAX` of them; returns the ids. What is being sent at this moment is
   * left alone. Throws AppError mail_unknown for one that was sent or has ended.
   */
  retry(id: string | undefined, by: Actor): Promise<readonly string[]>;
  /** Removes old ones, at most so many. */
  sweep(limit: number): Promise<number>;
}

export function createMails(options: { db: Db; vault: Vault }): Mails {
  const { db, vault } = options;
  return {
    async queue(tx, mail) {
      const id = newId();
      const at = now();
      await insertMail(tx, {
        id,
        cause: mail.cause ?? null,
        template: mail.template,
        language: mail.language,
        recipient: mail.to,
        user_id: mail.userId ?? null,
        sealed_values: vault.seal(JSON.stringify(mail.values), sealContext(id)),
        expires_at: secondsAfter(at, mail.expiresInSeconds ?? SECONDS_DEFAULT),
        created_at: at,
      });
    },
    list: async ({ state, limit, after }) => (await selectMails(db, { state, limit, after })).map(toListed),
    async retry(id, by) {
      if (id !== undefined && !UUID.test(id)) throw new AppError("mail_unknown");
      return db.transaction(async (tx) => {
        const at = now();
        const ids = await requeue(tx, { id, at, limit: RETRIED_MAX });
        if (id !== undefined && ids.length === 0) {
          if (!(await isOnItsWay(tx, id, at))) throw new AppError("mail_unknown");
          return [id];
        }
        const data = { count: ids.length, ...(id === undefined ? {} : { mail: id }) };
        if (ids.length > 0) await record(tx, { name: "mail.retried", actor: by, data });
        return ids;
      });
    },
    sweep: (limit) => deleteOld(db, { at: now(), before: secondsAfter(now(), -KEPT_SECONDS), limit }),
  };
}

/** In the names of the wire. */
export function presentMail(mail: ListedMail): Record<string, unknown> {
  return {
    id: mail.id,
    template: mail.template,
    language: mail.language,
    to: mail.to,
    state: mail.state,
    attempts: mail.attempts,
    error: mail.error,
    due_at: mail.dueAt.toISOString(),
    created_at: mail.createdAt.toISOString(),
    sent_at: mail.sentAt?.toISOString(),
  };
}

/** Binds what a mail says to its row. */
export function sealContext(id: string): string {
  return `mails:${id}`;
}

function toListed(row: MailRow): ListedMail {
  return {
    id: row.id,
    template: row.template,
    language: row.language,
    to: row.recipient,
    state: row.state,
    attempts: row.attempts,
    error: row.error ?? undefined,
    dueAt: row.due_at,
    createdAt: row.created_at,
    sentAt: row.sent_at ?? undefined,
  };
}

/** What `signet key reencrypt` seals anew here. */
export const SEALED_MAILS = {
  name: "mails",
  read: async (tx: Queries) =>
    (await selectSealed(tx)).map((row) => ({ id: row.id, sealed: row.sealed, context: sealContext(row.id) })),
  write: updateSealed,
};
