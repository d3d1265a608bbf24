/** A new address: the person asks, the new address proves itself by a link, the old one is told twice and stays until then. */
import type { Actor, RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import { type Db, isUniqueViolation } from "../store/db.ts";
import { toUser } from "./columns.ts";
import { parseEmail } from "./email.ts";
import { type Letters, languageOf, sendNotice } from "./letter.ts";
import { lookAtLink, makeLink, secondsOf, useLink } from "./link.ts";
import { findRow, lockRow, updateUser } from "./queries.ts";
import { rowByEmail } from "./sign-in.ts";
import type { User } from "./user.ts";

export interface EmailChanges {
  /** The answer is the same when somebody has the new address already; that one is told by mail. Throws AppError user_email_invalid. */
  ask(userId: string, email: string, by: Actor): Promise<void>;
  /** What the link is about, without using it up. */
  find(token: string): Promise<{ readonly user: User; readonly email: string } | undefined>;
  /** Throws AppError link_gone, user_email_taken. */
  confirm(token: string, by: Actor): Promise<User>;
}

interface Room {
  readonly db: Db;
  readonly letters: Letters;
  readonly record: RecordEvent;
}

export function createEmailChanges(room: Room): EmailChanges {
  const find: EmailChanges["find"] = async (token) => {
    const link = await lookAtLink(room.db, "email_change", token);
    const row = link?.userId === undefined ? undefined : await findRow(room.db, link.userId);
    const isLive = row !== undefined && row.disabled_at === null && link?.email !== undefined;
    return isLive ? { user: toUser(row), email: link.email ?? "" } : undefined;
  };
  return {
    find,
    ask: (userId, email, by) => ask(room, { userId, email }, by),
    confirm: (token, by) => confirm(room, token, by),
  };
}

async function ask(room: Room, input: { userId: string; email: string }, by: Actor): Promise<void> {
  const address = parseEmail(input.email);
  if (address === undefined) throw new AppError("user_email_invalid");
  const holder = await rowByEmail(room.db, input.email);
  await room.db.transaction(async (tx) => {
    const row = await lockRow(tx, input.userId);
    if (row === undefined) throw new AppError("user_unknown");
    const isTaken = holder !== undefined && holder.id !== row.id;
    const token = await makeLink(tx, { kind: "email_change", userId: row.id, email: address.address });
    await room.letters.mails.queue(tx, {
      template: isTaken ? "sign_up_taken" : "email_change",
      language: isTaken ? languageOf(holder) : languageOf(row),
      to: isTaken ? holder.email : address.address,
      values: { link: `${room.letters.issuer}${isTaken ? "/recover" : `/account/email/confirm/${token}`}` },
      expiresInSeconds: secondsOf("email_change"),
    });
    await sendNotice(tx, room.letters, { template: "email_change_asked", reader: row });
    await room.record(tx, event("user.email_change_asked", by, row.id));
  });
}

async function confirm(room: Room, token: string, by: Actor): Promise<User> {
  try {
    return await room.db.transaction(async (tx) => {
      const link = await useLink(tx, "email_change", token);
      const row = link?.userId === undefined ? undefined : await lockRow(tx, link.userId);
      const address = link?.email === undefined ? undefined : parseEmail(link.email);
      if (row === undefined || row.disabled_at !== null || address === undefined) throw new AppError("link_gone");
      const changed = { ...row, email: address.address, email_canonical: address.canonical, email_verified: true };
      await updateUser(tx, changed, now());
      await room.record(tx, event("user.email_changed", by, row.id));
      // The old address may be all that is left to whoever was robbed of the account.
      const former = { reader: row, to: row.email, formerEmail: row.email };
      await sendNotice(tx, room.letters, { template: "email_changed", ...former });
      await sendNotice(tx, room.letters, { template: "email_changed", reader: changed });
      const next = await findRow(tx, row.id);
      if (next === undefined) throw new AppError("user_unknown");
      return toUser(next);
    });
  } catch (error) {
    if (isUniqueViolation(error)) throw new AppError("user_email_taken");
    throw error;
  }
}

function event(name: "user.email_change_asked" | "user.email_changed", actor: Actor, id: string) {
  return { name, actor, subject: { kind: "user", id } } as const;
}
