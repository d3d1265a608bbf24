/** Listing and finding clients page by page, by index only: in order of registration, or by how their name begins. A page stays right while clients are added. */
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Db } from "../store/db.ts";
import { quoted } from "../text.ts";
import { type ClientRow, searchClients, selectClient, selectClients } from "./queries.ts";

const ID = /^[A-Za-z0-9_-]{1,64}$/;
const PAGE_MAX = 200;

export interface ClientPage {
  readonly limit: number;
  readonly after?: string;
  /** When that one was registered, or with a query how it was called, for whoever remembers it: then it may be gone by now. */
  readonly afterAt?: Date;
  readonly afterName?: string;
  /** An id, or how the name begins; what is found stands in the order of the names. */
  readonly query?: string;
}

/** Nothing else is the id of a client. */
export function isClientId(text: string): boolean {
  return ID.test(text);
}

/** Throws AppError client_invalid for a limit out of bounds, client_unknown for a cursor that leads nowhere. */
export async function listRows(db: Db, page: ClientPage): Promise<readonly ClientRow[]> {
  const { limit, after, afterAt, query } = page;
  if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_MAX) {
    throw new AppError("client_invalid", `limit: it lies between 1 and ${PAGE_MAX}.`);
  }
  if (query !== undefined) return search(db, { ...page, query });
  // An unknown cursor would look like the end of the list.
  if (after !== undefined && afterAt === undefined) await known(db, after);
  return selectClients(db, { limit, after, afterAt }, now());
}

/** The one of that id first, then those whose name begins so. */
async function search(db: Db, page: ClientPage & { readonly query: string }): Promise<readonly ClientRow[]> {
  const { limit, query, after, afterName } = page;
  const byId = isClientId(query) ? await selectClient(db, query, now()) : undefined;
  const place = after === undefined ? undefined : { id: after, name: afterName ?? (await known(db, after)).name };
  // Postgres takes no NUL in a text, and no name holds one.
  if (query.includes("\0")) return [];
  // The one that was found by its id stands on the first page alone, before all names.
  const named = place?.id === byId?.id ? undefined : place;
  const rows = await searchClients(db, { limit: limit + 1, prefix: query, after: named }, now());
  const others = rows.filter(({ id }) => id !== byId?.id);
  return (byId !== undefined && after === undefined ? [byId, ...others] : others).slice(0, limit);
}

async function known(db: Db, id: string): Promise<ClientRow> {
  const row = isClientId(id) ? await selectClient(db, id, now()) : undefined;
  if (row === undefined) throw new AppError("client_unknown", quoted(id));
  return row;
}
