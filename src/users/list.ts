/** Listing users page by page, in order of creation: a page stays right while users are added. */
import { AppError } from "../errors.ts";
import type { Db } from "../store/db.ts";
import { toUser } from "./columns.ts";
import { selectRows, type UserRow } from "./queries.ts";
import type { UserFilter } from "./schema.ts";
import type { UserPage } from "./user.ts";

/** Milliseconds of the creation and the id of the last user that was shown. */
const CURSOR = /^(\d{1,15})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

export async function listUsers(db: Db, filter: UserFilter): Promise<UserPage> {
  const { limit, query } = filter;
  const after = filter.after === undefined ? undefined : parseCursor(filter.after);
  // One more than asked for tells whether there is a next page.
  const rows = await selectRows(db, { limit: limit + 1, after, query });
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const users = shown.map((row) => toUser(row));
  return rows.length > limit && last !== undefined ? { users, next: cursorOf(last) } : { users };
}

function cursorOf(row: UserRow): string {
  return `${row.created_at.getTime()}.${row.id}`;
}

function parseCursor(text: string): { createdAt: Date; id: string } {
  const [, milliseconds, id] = CURSOR.exec(text) ?? [];
  if (id === undefined) throw new AppError("user_invalid", "after: this is no cursor of a list of users.");
  return { createdAt: new Date(Number(milliseconds)), id };
}
