/**
 * Sign-ups: somebody wants an account and proves the address by the link or the code of a mail. The user is made by the proof, so nobody is
 * kept from an address by another's wish. For an address that has an account everything looks and takes the same (T-ENUM-3).
 */
import type { Actor, RecordEvent } from "../audit/event.ts";
import { now, secondsAfter } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Mails } from "../mail/message.ts";
import { isEqualSecret, newId, randomDigits, randomText, sha256 } from "../secrets.ts";
import type { Db, Queries } from "../store/db.ts";
import { parseEmail } from "../users/email.ts";
import { lookAtLink, makeLink, useLink } from "../users/link.ts";
import type { StandardClaims, User, Users } from "../users/user.ts";
import type { Vault } from "../vault.ts";
import * as sql from "./queries.ts";

export interface SignUpInput {
  readonly email: string;
  readonly password: string;
  readonly name: string | undefined;
  readonly language: string;
  readonly terms: Readonly<Record<string, string>> | undefined;
  /** The sign-in that it began in, and the authorization request that led there. */
  readonly interactionUid: string | undefined;
  readonly request: Readonly<Record<string, string>> | undefined;
}

export interface SignUp {
  readonly email: string;
  /** The address is proven and the account is there. */
  readonly isProven: boolean;
  readonly isUsed: boolean;
  readonly interactionUid: string | undefined;
  readonly request: Readonly<Record<string, string>> | undefined;
}

/** wrong: neither. over: too many tries; gone: used or ended. */
export type Proof = "proven" | "wrong" | "over" | "gone";

export interface SignUps {
  /** `isMailed` is false when the address had its share of mails. Returns what the browser keeps. Throws AppError user_email_invalid, user_password_refused, hasher_busy. */
  begin(input: SignUpInput, by: Actor, isMailed: boolean): Promise<string>;
  /** Of this browser. */
  find(browserToken: string): Promise<SignUp | undefined>;
  /** By the code, in the browser where it began. */
  proveByCode(browserToken: string, code: string, by: Actor): Promise<Proof>;
  /** What the link of a mail is about, without using it up. `isOwn`: it was opened in the browser where it began. */
  findByLink(token: string, browserToken: string): Promise<(SignUp & { readonly isOwn: boolean }) | undefined>;
  /** By the link; elsewhere than in the browser where it began the password is asked, or a stranger's wish would become an account on this address. */
  proveByLink(call: { token: string; browserToken: string; password: string }, by: Actor): Promise<Proof>;
  /** Signs the browser in where it began: once. */
  use(browserToken: string): Promise<string | undefined>;
  /** Sends a link to an address that has no account. Throws AppError user_email_invalid, user_email_taken. */
  invite(email: string, language: string, by: Actor): Promise<void>;
  findInvitation(token: string): Promise<string | undefined>;
  /** The link proved the address. Throws AppError link_gone, user_email_taken, user_password_refused. */
  accept(token: string, input: Omit<SignUpInput, "email" | "interactionUid" | "request">, by: Actor): Promise<User>;
  sweep(limit: number): Promise<number>;
}

/** How long a sign-up waits for its proof, and the browser remembers it. */
export const SIGN_UP_SECONDS = 86_400;
/** Eight digits and six tries: one guess in 16 million, and three mails an hour to an address. */
const CODE_DIGITS = 8;
const ATTEMPTS_MAX = 6;
const BROWSER_TOKEN = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([A-Za-z0-9_-]{43})$/;
const TOKEN = /^[A-Za-z0-9_-]{43}$/;

interface Room {
  readonly db: Db;
  readonly users: Users;
  readonly mails: Mails;
  readonly vault: Vault;
  readonly record: RecordEvent;
  readonly issuer: string;
}

export function createSignUps(room: Room): SignUps {
  const { db } = room;
  const ofBrowser = async (browserToken: string): Promise<sql.SignUpRow | undefined> => {
    const [, id, secret] = BROWSER_TOKEN.exec(browserToken) ?? [];
    const row = id === undefined ? undefined : await sql.findById(db, id, now());
    return row !== undefined && isEqualSecret(row.browser_hash, sha256(secret ?? "")) ? row : undefined;
  };
  const byToken = async (token: string): Promise<sql.SignUpRow | undefined> =>
    TOKEN.test(token) ? sql.findByToken(db, sha256(token), now()) : undefined;
  const isOwn = (row: sql.SignUpRow, browserToken: string): boolean =>
    isEqualSecret(row.browser_hash, sha256(BROWSER_TOKEN.exec(browserToken)?.[2] ?? ""));
  return {
    begin: (input, by, isMailed) => begin(room, input, by, isMailed),
    find: async (browserToken) => toSignUp(await ofBrowser(browserToken)),
    async proveByCode(browserToken, code, by) {
      const row = await ofBrowser(browserToken);
      if (row === undefined) return "gone";
      if (row.user_id !== null) return "proven";
      if (!(await sql.countAttempt(db, row.id, ATTEMPTS_MAX))) return "over";
      const isRight = isEqualSecret(code.replace(/\D/g, ""), room.vault.open(row.sealed_code, codeContext(row.id)));
      return isRight && !row.is_taken ? prove(room, row, by) : "wrong";
    },
    async findByLink(token, browserToken) {
      const row = await byToken(token);
      const found = toSignUp(row);
      return row === undefined || found === undefined ? undefined : { ...found, isOwn: isOwn(row, browserToken) };
    },
    async proveByLink({ token, browserToken, password }, by) {
      const row = await byToken(token);
      if (row === undefined) return "gone";
      if (row.user_id !== null) return "proven";
      if (isOwn(row, browserToken)) return prove(room, row, by);
      if (!(await sql.countAttempt(db, row.id, ATTEMPTS_MAX))) return "over";
      return (await room.users.verifyHash(row.password_hash, password)) ? prove(room, row, by) : "wrong";
    },
    async use(browserToken) {
      const row = await ofBrowser(browserToken);
      return row === undefined ? undefined : sql.markUsed(db, row.id, now());
    },
    invite: (email, language, by) => invite(room, { email, language }, by),
    findInvitation: async (token) => (await lookAtLink(db, "invite", token))?.email,
    accept: (token, input, by) => accept(room, token, input, by),
    sweep: (limit) => sql.deleteEnded(db, now(), limit),
  };
}

async function begin(room: Room, input: SignUpInput, by: Actor, isMailed: boolean): Promise<string> {
  const address = parseEmail(input.email);
  if (address === undefined) throw new AppError("user_email_invalid");
  const claims: StandardClaims = input.name === undefined ? {} : { name: input.name };
  // Hashed also for an address that has an account.
  const passwordHash = await room.users.hashFirstPassword(input.password, { email: input.email, claims });
  const holder = await room.users.findByEmail(input.email);
  const [id, token, secret, code] = [newId(), randomText(), randomText(), randomDigits(CODE_DIGITS)];
  const at = now();
  await room.db.transaction(async (tx) => {
    await sql.insertSignUp(tx, {
      id,
      email: address.address,
      email_canonical: address.canonical,
      is_taken: holder !== undefined,
      password_hash: passwordHash,
      claims: JSON.stringify(claims),
      language: input.language,
      token_hash: sha256(token),
      sealed_code: room.vault.seal(code, codeContext(id)),
      browser_hash: sha256(secret),
      interaction_uid: input.interactionUid ?? null,
      request: input.request === undefined ? null : JSON.stringify(input.request),
      terms: input.terms === undefined ? null : JSON.stringify({ ...input.terms, at: at.toISOString() }),
      created_at: at,
      expires_at: secondsAfter(at, SIGN_UP_SECONDS),
    });
    if (isMailed) {
      const link = holder === undefined ? `/sign-up/${token}` : "/recover";
      await room.mails.queue(tx, {
        template: holder === undefined ? "sign_up" : "sign_up_taken",
        language: holder?.language ?? input.language,
        to: holder?.email ?? address.address,
        values: { link: `${room.issuer}${link}`, ...(holder === undefined ? { code: inGroups(code) } : {}) },
        expiresInSeconds: SIGN_UP_SECONDS,
      });
    }
    await room.record(tx, {
      name: "user.signed_up",
      actor: by,
      ...(holder === undefined ? {} : { subject: { kind: "user", id: holder.id } }),
      data: { is_taken: holder !== undefined },
    });
  });
  return `${id}.${secret}`;
}

async function prove(room: Room, row: sql.SignUpRow, by: Actor): Promise<Proof> {
  const claims = row.claims as StandardClaims;
  const input = { email: row.email, isEmailVerified: true, passwordHash: row.password_hash, claims };
  try {
    await room.users.create(input, by, async (tx, id) => {
      if (!(await sql.markProven(tx, row.id, id))) throw new AppError("user_email_taken");
      const terms = row.terms === null ? {} : { terms: JSON.stringify(row.terms) };
      await room.users.savePerson(tx, id, { language: row.language, ...terms });
    });
    return "proven";
  } catch (error) {
    if (!(error instanceof AppError && error.code === "user_email_taken")) throw error;
    // Proven a moment ago by the other way, or the address was taken meanwhile by somebody who proved it, too.
    const latest = await sql.findById(room.db, row.id, now());
    return latest?.user_id == null ? "gone" : "proven";
  }
}

async function invite(room: Room, input: { email: string; language: string }, by: Actor): Promise<void> {
  const address = parseEmail(input.email);
  if (address === undefined) throw new AppError("user_email_invalid");
  if ((await room.users.findByEmail(input.email)) !== undefined) throw new AppError("user_email_taken");
  await room.db.transaction(async (tx) => {
    const token = await makeLink(tx, { kind: "invite", email: address.address });
    await room.mails.queue(tx, {
      template: "invite",
      language: input.language,
      to: address.address,
      values: { link: `${room.issuer}/signup?invitation=${token}` },
      expiresInSeconds: 7 * SIGN_UP_SECONDS,
    });
    await room.record(tx, { name: "user.invited", actor: by });
  });
}

async function accept(
  room: Room,
  token: string,
  input: Omit<SignUpInput, "email" | "interactionUid" | "request">,
  by: Actor,
): Promise<User> {
  const email = (await lookAtLink(room.db, "invite", token))?.email;
  if (email === undefined) throw new AppError("link_gone");
  const claims: StandardClaims = input.name === undefined ? {} : { name: input.name };
  const user = { email, isEmailVerified: true, password: input.password, claims };
  return room.users.create(user, by, async (tx, id) => {
    if ((await useLink(tx, "invite", token)) === undefined) throw new AppError("link_gone");
    const terms =
      input.terms === undefined ? {} : { terms: JSON.stringify({ ...input.terms, at: now().toISOString() }) };
    await room.users.savePerson(tx, id, { language: input.language, ...terms });
  });
}

function toSignUp(row: sql.SignUpRow | undefined): SignUp | undefined {
  if (row === undefined) return undefined;
  return {
    email: row.email,
    isProven: row.user_id !== null,
    isUsed: row.used_at !== null,
    interactionUid: row.interaction_uid ?? undefined,
    request: row.request ?? undefined,
  };
}

function inGroups(code: string): string {
  return `${code.slice(0, 4)} ${code.slice(4)}`;
}

function codeContext(id: string): string {
  return `sign_ups:${id}`;
}

/** What `signet key reencrypt` seals anew here. */
export const SEALED_CODES = {
  name: "sign-up codes",
  read: async (tx: Queries) =>
    (await sql.selectSealed(tx)).map((row) => ({ id: row.id, sealed: row.sealed, context: codeContext(row.id) })),
  write: sql.updateSealed,
};
