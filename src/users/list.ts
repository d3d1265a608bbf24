/** Listing and finding users page by page, by index only: in order of creation, or by how an address or a name begins. A page stays right while users are added. */
import { AppError } from "../errors.ts";
import type { Db } from "../store/db.ts";
import { toUser } from "./columns.ts";
import { findRow, SEARCHED, searchRows, selectRows, type UserRow } from "./queries.ts";
import type { UserFilter } from "./schema.ts";
import type { User } from "./user.ts";

const UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const ID = new RegExp(`^${UUID}$`, "i");
/** Milliseconds of the creation and the id of the last user that was shown. */
const CURSOR = new RegExp(`^(\\d{1,15})\\.(${UUID})$`);
/** By what the last one was found, its value, and the id. */
const FOUND = new RegExp(`^([0-2])~([A-Za-z0-9_-]{1,1400})\\.(${UUID})$`);

export interface UserPage {
  readonly users: readonly User[];
  /** The `after` of the next page; absent on the last. */
  readonly next?: string;
}

interface Place {
  readonly kind: number;
  readonly key: string;
  readonly id: string;
}

export async function listUsers(db: Db, filter: UserFilter): Promise<UserPage> {
  const { limit, query } = filter;
  if (query !== undefined) return findUsers(db, { ...filter, query });
  const after = filter.after === undefined ? undefined : parseCursor(filter.after);
  // One more than asked for tells whether there is a next page.
  const rows = await selectRows(db, { limit: limit + 1, after });
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const users = shown.map((row) => toUser(row));
  return rows.length > limit && last !== undefined ? { users, next: cursorOf(last) } : { users };
}

async function findUsers(db: Db, filter: UserFilter & { readonly query: string }): Promise<UserPage> {
  const { limit, query } = filter;
  if (ID.test(query)) {
    const row = await findRow(db, query);
    return { users: row === undefined ? [] : [toUser(row)] };
  }
  const after = filter.after === undefined ? undefined : parsePlace(filter.after);
  const found: (UserRow & { readonly place: Place })[] = [];
  for (let kind = after?.kind ?? 0; kind < SEARCHED.length && found.length <= limit; kind += 1) {
    const place = after?.kind === kind ? after : undefined;
    const rows = await searchRows(db, { kind, prefix: query, after: place, limit: limit + 1 - found.length });
    found.push(...rows.map(({ found: key, ...row }) => ({ ...row, place: { kind, key, id: row.id } })));
  }
  const shown = found.slice(0, limit);
  const last = shown.at(-1);
  const users = shown.map((row) => toUser(row));
  return found.length > limit && last !== undefined ? { users, next: textOf(last.place) } : { users };
}

function cursorOf(row: UserRow): string {
  return `${row.created_at.getTime()}.${row.id}`;
}

function parseCursor(text: string): { createdAt: Date; id: string } {
  const [, milliseconds, id] = CURSOR.exec(text) ?? [];
  if (id === undefined) throw noCursor();
  return { createdAt: new Date(Number(milliseconds)), id };
}

function textOf({ kind, key, id }: Place): string {
  return `${kind}~${Buffer.from(key).toString("base64url")}.${id}`;
}

function parsePlace(text: string): Place {
  const [, kind, key, id] = FOUND.exec(text) ?? [];
  if (key === undefined || id === undefined) throw noCursor();
  const value = Buffer.from(key, "base64url").toString();
  if (value.includes("\0")) throw noCursor();
  return { kind: Number(kind), key: value, id };
}

function noCursor(): AppError {
  return new AppError("user_invalid", "after: this is no cursor of this list of users.");
}
