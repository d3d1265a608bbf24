/** SQL of the mails. */
import type { Queries } from "../store/db.ts";

export type MailState = "queued" | "sent" | "failed";

export type MailRow = {
  readonly id: string;
  readonly template: string;
  readonly language: string;
  readonly recipient: string;
  readonly sealed_values: string | null;
  readonly state: MailState;
  readonly attempts: number;
  readonly due_at: Date;
  readonly expires_at: Date;
  readonly sent_at: Date | null;
  readonly error: string | null;
  readonly created_at: Date;
};

const COLUMNS =
  "id, template, language, recipient, sealed_values, state, attempts, due_at, expires_at, sent_at, error, created_at";

/** A cause that was written down before writes nothing. */
export async function insertMail(
  tx: Queries,
  mail: Pick<MailRow, "id" | "template" | "language" | "recipient" | "expires_at" | "created_at"> & {
    readonly cause: string | null;
    readonly user_id: string | null;
    readonly sealed_values: string;
  },
): Promise<void> {
  await tx.query(
    `insert into mails (id, cause, template, language, recipient, user_id, sealed_values, state, due_at, expires_at, created_at)
     values ($1, $2, $3, $4, $5, $6, $7, 'queued', $9, $8, $9) on conflict (cause) do nothing`,
    [
      mail.id,
      mail.cause,
      mail.template,
      mail.language,
      mail.recipient,
      mail.user_id,
      mail.sealed_values,
      mail.expires_at,
      mail.created_at,
    ],
  );
}

/**
 * Takes due mails for this process alone: until `leaseEndsAt` nobody else looks at them, and then somebody does if we died. What went wrong before
 * is given back and not kept meanwhile: a mail that was tried, names no error and is due later is one that somebody is sending (`IS_LEASED`).
 */
export async function claimDue(
  queries: Queries,
  call: { readonly at: Date; readonly leaseEndsAt: Date; readonly limit: number },
): Promise<readonly MailRow[]> {
  return queries.query<MailRow>(
    `with due as (
       select id as due_id, error as last_error from mails where state = 'queued' and due_at <= $1
       order by due_at limit $3 for update skip locked
     ), taken as (
       update mails set attempts = attempts + 1, due_at = $2, error = null from due where id = due_id
       returning mails.*, last_error
     ) select ${COLUMNS.replace(" error,", " last_error as error,")} from taken`,
    [call.at, call.leaseEndsAt, call.limit],
  );
}

/** False: the lease had ended, and another process has taken the mail. */
export async function renewLease(queries: Queries, id: string, lease: { from: Date; to: Date }): Promise<boolean> {
  const rows = await queries.query(
    "update mails set due_at = $3 where id = $1 and state = 'queued' and due_at = $2 returning 1",
    [id, lease.from, lease.to],
  );
  return rows.length > 0;
}

/** What it said goes with it. */
export async function markSent(queries: Queries, id: string, at: Date): Promise<void> {
  await queries.query(
    "update mails set state = 'sent', sent_at = $2, sealed_values = null, error = null where id = $1",
    [id, at],
  );
}

export async function markLate(queries: Queries, id: string, late: { dueAt: Date; error: string }): Promise<void> {
  await queries.query("update mails set due_at = $2, error = $3 where id = $1 and state = 'queued'", [
    id,
    late.dueAt,
    late.error,
  ]);
}

export async function markFailed(queries: Queries, id: string, error: string): Promise<void> {
  await queries.query("update mails set state = 'failed', error = $2 where id = $1 and state = 'queued'", [id, error]);
}

export async function selectMails(
  queries: Queries,
  filter: {
    readonly state: MailState | undefined;
    readonly limit: number;
    readonly after: { readonly createdAt: Date; readonly id: string } | undefined;
  },
): Promise<readonly MailRow[]> {
  const { state, limit, after } = filter;
  return queries.query<MailRow>(
    `select ${COLUMNS} from mails
     where ($1::text is null or state = $1)
       and ($2::timestamptz is null or (created_at <= $2 and (created_at < $2 or id > $3::uuid)))
     order by created_at desc, id limit $4`,
    [state ?? null, after?.createdAt ?? null, after?.id ?? null, limit],
  );
}

const IS_LEASED = "(state = 'queued' and attempts > 0 and error is null and due_at > $2)";

/** Back into the queue, as long as it still says something true; the oldest first, and none that somebody is sending at this moment. Returns the ids. */
export async function requeue(
  tx: Queries,
  call: { readonly id: string | undefined; readonly at: Date; readonly limit: number },
): Promise<readonly string[]> {
  const rows = await tx.query<{ id: string }>(
    `update mails set state = 'queued', due_at = $2, attempts = 0 where id in (
       select id from mails
       where ($1::uuid is null or id = $1::uuid) and expires_at > $2 and sealed_values is not null
         and (state = 'failed' or (state = 'queued' and due_at > $2)) and not ${IS_LEASED}
       order by created_at limit $3 for update
     ) returning id`,
    [call.id ?? null, call.at, call.limit],
  );
  return rows.map(({ id }) => id);
}

/** Whether it is in the queue and somebody is sending it or will do so next. */
export async function isOnItsWay(tx: Queries, id: string, at: Date): Promise<boolean> {
  const rows = await tx.query(
    `select 1 from mails where id = $1 and state = 'queued' and expires_at > $2 and (due_at <= $2 or ${IS_LEASED})`,
    [id, at],
  );
  return rows.length > 0;
}

export async function countWaiting(queries: Queries, at: Date): Promise<{ waiting: number; oldestSeconds: number }> {
  const [row] = await queries.query<{ waiting: number; oldest: number | null }>(
    `select count(*)::int as waiting, extract(epoch from $1::timestamptz - min(created_at))::float as oldest
     from mails where state = 'queued'`,
    [at],
  );
  return { waiting: row?.waiting ?? 0, oldestSeconds: row?.oldest ?? 0 };
}

/** What a mail that was given up said is of no use once it has ended; the whole row goes later. */
export async function deleteOld(queries: Queries, call: { at: Date; before: Date; limit: number }): Promise<number> {
  await queries.query(
    `update mails set sealed_values = null where id in (
       select id from mails where sealed_values is not null and state <> 'queued' and expires_at <= $1 limit $2 for update skip locked
     )`,
    [call.at, call.limit],
  );
  const rows = await queries.query(
    `delete from mails where id in (
       select id from mails where state <> 'queued' and created_at < $1 order by created_at limit $2 for update skip locked
     ) returning 1`,
    [call.before, call.limit],
  );
  return rows.length;
}

/** What queued mails say, for the command that seals all anew. */
export async function selectSealed(
  queries: Queries,
): Promise<readonly { readonly id: string; readonly sealed: string }[]> {
  return queries.query("select id, sealed_values as sealed from mails where sealed_values is not null for update", []);
}

export async function updateSealed(queries: Queries, id: string, sealed: string): Promise<void> {
  await queries.query("update mails set sealed_values = $2 where id = $1", [id, sealed]);
}
