/** Sign-in with a password: one database row and one hash, whatever is wrong. */
import { AppError } from "../errors.ts";
import type { Db, Queries } from "../store/db.ts";
import { toUser } from "./columns.ts";
import { parseEmail } from "./email.ts";
import type { Hasher } from "./hasher.ts";
import { normalizePassword } from "./password.ts";
import { findRowByEmail, replaceHash, type UserRow } from "./queries.ts";
import type { SignInResult } from "./user.ts";

/** Looked up for a text that is no address: no row can have it, and the database is asked all the same. */
const NOBODY = "";

export function rowByEmail(queries: Queries, email: string): Promise<UserRow | undefined> {
  return findRowByEmail(queries, parseEmail(email)?.canonical ?? NOBODY);
}

export async function authenticate(
  room: { readonly db: Db; readonly hasher: Hasher },
  input: { email: string; password: string; isKnownDevice?: boolean },
): Promise<SignInResult> {
  const password = normalizePassword(input.password);
  const row = await rowByEmail(room.db, input.email);
  const stored = row?.password_hash ?? undefined;
  const isMatch = await room.hasher.verify(stored ?? room.hasher.decoyHash, password, input.isKnownDevice);
  if (row === undefined) return { failed: true };
  // Asked only now: a disabled user costs the same hash, and the right password gets the answer of a wrong one (T-ENUM-6).
  if (stored === undefined || !isMatch || row.disabled_at !== null) return { failed: true, userId: row.id };
  if (room.hasher.needsRehash(stored)) await rehash(room, row.id, { stored, password });
  return { user: toUser(row) };
}

/** Parameters rose since the hash was made (T-PW-7). A full queue is no reason to refuse someone whose password was right: next time then. */
async function rehash(
  room: { readonly db: Db; readonly hasher: Hasher },
  id: string,
  known: { stored: string; password: string },
): Promise<void> {
  try {
    await replaceHash(room.db, id, { old: known.stored, replacement: await room.hasher.hash(known.password) });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
  }
}
