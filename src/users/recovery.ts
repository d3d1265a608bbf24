/** Recovery: a new password by a link in a mail, and what follows from "this was not me". The answer never tells whether there is such a person. */
import type { Actor, RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Revocations } from "../revocations/revocation.ts";
import type { Db, Queries } from "../store/db.ts";
import { takeLock } from "../store/locks.ts";
import { toUser } from "./columns.ts";
import { parseEmail } from "./email.ts";
import { type Letters, languageOf, sendNotice } from "./letter.ts";
import { endLinks, lookAtLink, makeLink, secondsOf, useLink } from "./link.ts";
import {
  clearPassword,
  findRow,
  insertRole,
  lockRow,
  type UserRow,
  updateDisabled,
  updatePassword,
  updateUser,
} from "./queries.ts";
import { rowByEmail } from "./sign-in.ts";
import type { User, Users } from "./user.ts";

export interface Recoveries {
  /** Sends a link, or a mail that says there is no account: the same work either way. `from` leads back to a sign-in that waits. */
  ask(
    input: { readonly email: string; readonly language: string; readonly from?: string | undefined },
    by: Actor,
  ): Promise<void>;
  /** Whose link it is, without using it up; undefined when it has ended. */
  find(token: string): Promise<{ readonly user: User; readonly from: string | undefined } | undefined>;
  /** Sets the password and ends every session and token. Throws AppError link_gone, user_password_refused. */
  recover(token: string, password: string, by: Actor): Promise<User>;
  /** An administrator's way: the person gets a link, and no password is good until it was used. Throws AppError user_unknown. */
  force(userId: string, by: Actor): Promise<User>;
  /** Whoever is on the host and has no mail: makes the user an owner who can sign in, and returns the link to set a password. Throws AppError user_unknown. */
  makeOwnerLink(userId: string, by: Actor): Promise<{ readonly user: User; readonly link: string }>;
  /** The notice that the link came with; undefined when it has ended. */
  findNotice(token: string): Promise<string | undefined>;
  /** Ends all sessions and apps and the password itself, and sends a link to set another one. Throws AppError link_gone. */
  notMe(token: string, by: Actor): Promise<void>;
}

interface Room {
  readonly db: Db;
  readonly users: Users;
  readonly letters: Letters;
  readonly record: RecordEvent;
  readonly revocations: Revocations;
  /** The devices that are known lose their lane: whoever was here may hold one. */
  readonly forgetDevices: (tx: Queries, userId: string) => Promise<void>;
}

export function createRecoveries(room: Room): Recoveries {
  return {
    ask: (input, by) => askRecovery(room, input, by),
    async find(token) {
      const link = await lookAtLink(room.db, "recover", token);
      const row = link?.userId === undefined ? undefined : await findRow(room.db, link.userId);
      if (row === undefined || row.disabled_at !== null) return undefined;
      return { user: toUser(row), from: link?.data["from"] };
    },
    recover: (token, password, by) => recoverPassword(room, { token, password }, by),
    force: (userId, by) => forceReset(room, userId, by),
    makeOwnerLink: (userId, by) => makeOwnerLink(room, userId, by),
    findNotice: async (token) => (await lookAtLink(room.db, "not_me", token))?.data["notice"],
    notMe: (token, by) => undoAll(room, token, by),
  };
}

async function askRecovery(
  room: Room,
  input: { email: string; language: string; from?: string | undefined },
  by: Actor,
): Promise<void> {
  const address = parseEmail(input.email);
  if (address === undefined) throw new AppError("user_email_invalid");
  const row = await rowByEmail(room.db, input.email);
  const reader = row?.disabled_at === null ? row : undefined;
  await room.db.transaction(async (tx) => {
    // A link for nobody costs what any other costs (T-ENUM-4); nobody ever sees it.
    const token = await makeLink(tx, {
      kind: "recover",
      userId: reader?.id,
      data: input.from === undefined ? {} : { from: input.from },
    });
    await room.letters.mails.queue(tx, {
      template: reader === undefined ? "recover_unknown" : "recover",
      language: reader === undefined ? input.language : languageOf(reader, input.language),
      // To the address that is known, never to a spelling that somebody chose.
      to: reader?.email ?? address.address,
      userId: reader?.id,
      values: reader === undefined ? {} : { link: `${room.letters.issuer}/recover/${token}` },
      expiresInSeconds: secondsOf("recover"),
    });
    await room.record(tx, {
      name: "user.recovery_asked",
      actor: by,
      ...(row === undefined ? {} : { subject: { kind: "user", id: row.id } }),
    });
  });
}

async function recoverPassword(room: Room, input: { token: string; password: string }, by: Actor): Promise<User> {
  const link = await lookAtLink(room.db, "recover", input.token);
  const row = link?.userId === undefined ? undefined : await findRow(room.db, link.userId);
  if (row === undefined || row.disabled_at !== null) throw new AppError("link_gone");
  const hash = await room.users.hashNewPassword(row.id, input.password);
  const user = await room.db.transaction(async (tx) => {
    const used = await useLink(tx, "recover", input.token);
    if (used?.userId !== row.id) throw new AppError("link_gone");
    const locked = known(await lockRow(tx, row.id));
    await updatePassword(tx, row.id, hash);
    // Whoever opened the link reads the mails of this address.
    await updateUser(tx, { ...locked, email_verified: true }, now());
    await endLinks(tx, row.id, "email_change");
    await room.revocations.write(tx, { kind: "user", id: row.id });
    await room.record(tx, event("user.password_recovered", by, row.id));
    await sendNotice(tx, room.letters, { template: "password_changed", reader: locked });
    return toUser(known(await findRow(tx, row.id)));
  });
  await room.revocations.carryOut({ kind: "user", id: row.id });
  return user;
}

async function forceReset(room: Room, userId: string, by: Actor): Promise<User> {
  const user = await room.db.transaction(async (tx) => {
    const row = known(await lockRow(tx, userId));
    await resetWithin(tx, room, row);
    await room.record(tx, event("user.password_forced", by, row.id));
    return toUser(known(await findRow(tx, row.id)));
  });
  await room.revocations.carryOut({ kind: "user", id: user.id });
  return user;
}

async function makeOwnerLink(room: Room, userId: string, by: Actor): Promise<{ user: User; link: string }> {
  return room.db.transaction(async (tx) => {
    await takeLock(tx, "owners");
    const row = known(await lockRow(tx, userId));
    const subject = { kind: "user", id: row.id } as const;
    if (row.disabled_at !== null) {
      await updateDisabled(tx, row.id, null, now());
      await room.record(tx, { name: "user.enabled", actor: by, subject });
    }
    if (!row.roles.includes("owner")) {
      await insertRole(tx, row.id, "owner", now());
      await room.record(tx, { name: "role.granted", actor: by, subject, data: { role: "owner" } });
    }
    const token = await makeLink(tx, { kind: "recover", userId: row.id });
    await room.record(tx, { name: "user.recovery_asked", actor: by, subject });
    return { user: toUser(known(await findRow(tx, row.id))), link: `${room.letters.issuer}/recover/${token}` };
  });
}

async function undoAll(room: Room, token: string, by: Actor): Promise<void> {
  const userId = await room.db.transaction(async (tx) => {
    const link = await useLink(tx, "not_me", token);
    const row = link?.userId === undefined ? undefined : await lockRow(tx, link.userId);
    if (row === undefined) throw new AppError("link_gone");
    await resetWithin(tx, room, await withFormerAddress(tx, row, link?.email));
    // Whoever changed the address did it for the mails: the change is undone, or not theirs to finish.
    await endLinks(tx, row.id, "email_change");
    await room.record(tx, { ...event("user.not_me", by, row.id), data: { notice: link?.data["notice"] ?? "" } });
    return row.id;
  });
  await room.revocations.carryOut({ kind: "user", id: userId });
}

/** A notice of a new address goes to the old one, and its link brings that one back; unless somebody else has it by now. */
async function withFormerAddress(tx: Queries, row: UserRow, former: string | undefined): Promise<UserRow> {
  const address = former === undefined ? undefined : parseEmail(former);
  if (address === undefined || address.canonical === row.email_canonical) return row;
  const holder = await rowByEmail(tx, address.address);
  if (holder !== undefined) return row;
  const restored = { ...row, email: address.address, email_canonical: address.canonical, email_verified: true };
  await updateUser(tx, restored, now());
  return restored;
}

/** Nothing that anybody knows or holds is good any more; the way back is in the mail. */
async function resetWithin(tx: Queries, room: Room, row: UserRow): Promise<void> {
  await clearPassword(tx, row.id);
  await room.forgetDevices(tx, row.id);
  await room.revocations.write(tx, { kind: "user", id: row.id });
  const token = await makeLink(tx, { kind: "recover", userId: row.id });
  await room.letters.mails.queue(tx, {
    template: "password_reset_forced",
    language: languageOf(row),
    to: row.email,
    userId: row.id,
    values: { link: `${room.letters.issuer}/recover/${token}` },
    expiresInSeconds: secondsOf("recover"),
  });
}

function known(row: UserRow | undefined): UserRow {
  if (row === undefined) throw new AppError("user_unknown");
  return row;
}

function event(name: "user.password_recovered" | "user.password_forced" | "user.not_me", actor: Actor, id: string) {
  return { name, actor, subject: { kind: "user", id } } as const;
}
