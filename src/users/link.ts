/** Links in mails that work once: 256 random bits, kept as a hash, with an end; the newest of a kind ends the older ones, and looking at one does not use it up. */
import { now, secondsAfter } from "../clock.ts";
import { randomText, sha256 } from "../secrets.ts";
import type { Db, Queries } from "../store/db.ts";
import { deleteEnded, deleteLinks, findLink, insertLink, type LinkRow, takeLink } from "./queries.ts";

export type LinkKind = "recover" | "invite" | "email_change" | "not_me";

export interface Link {
  readonly userId: string | undefined;
  readonly email: string | undefined;
  readonly data: Readonly<Record<string, string>>;
  readonly createdAt: Date;
}

/** Recovery is a password for half an hour; an address is proven when somebody has time; a notice is read after a holiday. */
const SECONDS: Readonly<Record<LinkKind, number>> = {
  recover: 30 * 60,
  invite: 7 * 86_400,
  email_change: 86_400,
  not_me: 7 * 86_400,
};
/** Older notices stay good: each is about something else. */
const MANY: ReadonlySet<LinkKind> = new Set(["not_me", "invite"]);
const TOKEN = /^[A-Za-z0-9_-]{43}$/;

export function secondsOf(kind: LinkKind): number {
  return SECONDS[kind];
}

/** Returns the token, which is nowhere kept. */
export async function makeLink(
  tx: Queries,
  link: {
    readonly kind: LinkKind;
    readonly userId?: string | undefined;
    readonly email?: string | undefined;
    readonly data?: Readonly<Record<string, string>>;
  },
): Promise<string> {
  const token = randomText();
  const at = now();
  if (!MANY.has(link.kind)) await deleteLinks(tx, { userId: link.userId ?? null, kind: link.kind });
  await insertLink(tx, {
    token_hash: sha256(token),
    kind: link.kind,
    user_id: link.userId ?? null,
    email: link.email ?? null,
    data: JSON.stringify(link.data ?? {}),
    created_at: at,
    expires_at: secondsAfter(at, SECONDS[link.kind]),
  });
  return token;
}

export async function lookAtLink(db: Db, kind: LinkKind, token: string): Promise<Link | undefined> {
  return TOKEN.test(token) ? toLink(await findLink(db, { tokenHash: sha256(token), kind, at: now() })) : undefined;
}

/** Inside the transaction of what it is used for: if that fails, the link is still good. */
export async function useLink(tx: Queries, kind: LinkKind, token: string): Promise<Link | undefined> {
  return TOKEN.test(token) ? toLink(await takeLink(tx, { tokenHash: sha256(token), kind, at: now() })) : undefined;
}

export async function endLinks(tx: Queries, userId: string, kind: LinkKind): Promise<void> {
  await deleteLinks(tx, { userId, kind });
}

export function sweepLinks(db: Db, limit: number): Promise<number> {
  return deleteEnded(db, now(), limit);
}

function toLink(row: LinkRow | undefined): Link | undefined {
  if (row === undefined) return undefined;
  return { userId: row.user_id ?? undefined, email: row.email ?? undefined, data: row.data, createdAt: row.created_at };
}
