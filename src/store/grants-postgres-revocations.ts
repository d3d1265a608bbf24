/** Revoking in Postgres: the tombstone of a Grant, the cut-off of a user or a client; one row each, whatever was issued, and no late write undoes it. */
import { now, secondsAfter } from "../clock.ts";
import type { Db } from "./db.ts";
import { type GrantStore, type Revocation, storeKey, TOMBSTONE } from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { GRANT_MODEL } from "./grants-merge.ts";
import { CLIENT_CUT, USER_CUT } from "./grants-owners.ts";
import { REMOVED } from "./grants-postgres-grants.ts";
import { END_BY_UID, SESSION } from "./grants-postgres-sessions.ts";

/** A tombstone never ends earlier than somebody wanted. */
const BURY = `
insert into grant_records as stored (key, mark, payload, expires_at) values ($1, 0, '', $2)
on conflict (key) do update set expires_at = greatest(stored.expires_at, excluded.expires_at)`;

/** The later moment and the later end stand. */
const CUT = `
insert into grant_cuts as stored (key, before_ms, expires_at) values ($1, $2, $3)
on conflict (key) do update set
  before_ms = greatest(stored.before_ms, excluded.before_ms), expires_at = greatest(stored.expires_at, excluded.expires_at)`;

/** The Grant and its members, locked in one order, since the library ends a grant several times at once. */
const REMOVE_MEMBERS = `
update grant_records set mark = ${REMOVED}, payload = '' where key in (
  select key from grant_records where (key = $1 or grant_key = $1) and mark <> ${REMOVED} order by key for update
)`;

/** A row that stands for it is put there if need be, so that a late write finds it removed. */
const REMOVE_TOKEN = `
insert into grant_records as stored (key, mark, payload, expires_at) values ($1, ${REMOVED}, '', $2)
on conflict (key) do update set mark = ${REMOVED}, payload = ''`;

export function createPostgresRevocations(db: Db): Pick<GrantStore, "endGrant" | "plant"> {
  const bury = (hash: string, expiresAt: Date) => db.query(BURY, [`${TOMBSTONE}:${hash}`, expiresAt]);
  const cut = (kind: "user" | "client", id: string, beforeMs: number, expiresAt: Date) =>
    db.query(CUT, [storeKey(kind === "user" ? USER_CUT : CLIENT_CUT, id), Math.floor(beforeMs), expiresAt]);
  const plantOne = async ({ kind, key, beforeMs, expiresAtMs }: Revocation): Promise<void> => {
    const expiresAt = new Date(expiresAtMs);
    if (kind === "grant") await bury(key, expiresAt);
    else if (kind === "session") await db.query(END_BY_UID, [`${SESSION}:${key}`]);
    else if (kind === "token") await db.query(REMOVE_TOKEN, [key, expiresAt]);
    else await cut(kind, key, beforeMs, expiresAt);
  };
  return {
    async endGrant(grantId, ttlSeconds) {
      const key = storeKey(GRANT_MODEL, grantId);
      await bury(key.slice(GRANT_MODEL.length + 1), secondsAfter(now(), lifetimeSeconds(ttlSeconds)));
      await db.query(REMOVE_MEMBERS, [key]);
    },
    async plant(revocations) {
      for (const revocation of revocations) await plantOne(revocation);
    },
  };
}
