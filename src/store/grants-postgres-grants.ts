/** Grants in Postgres: one statement finds one and sees whether it was ended or its user or client was cut off. */
import { now, secondsAfter } from "../clock.ts";
import type { Db, Parameter, Queries, Row } from "./db.ts";
import { type GrantStore, type JsonObject, storeKey, TOMBSTONE } from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { GRANT_MODEL, mergeGrants } from "./grants-merge.ts";
import { CLIENT_CUT, datedGrant, USER_CUT } from "./grants-owners.ts";

/** The mark of a removed record, which no late write brings back. */
export const REMOVED = 2;

/** A Grant that has ended by itself is as good as none: whoever writes over it begins anew. */
const PUT_FIRST = `
insert into grant_records as stored (key, mark, payload, expires_at, user_key, client_key, signed_in_at, made_at)
values ($1, 0, $2, $3, $4, $5, $6, $7)
on conflict (key) do update set
  mark = 0, payload = excluded.payload, expires_at = excluded.expires_at, user_key = excluded.user_key,
  client_key = excluded.client_key, signed_in_at = excluded.signed_in_at, made_at = excluded.made_at
where stored.expires_at <= $8
returning key`;
const REWRITE = `
update grant_records set
  payload = $2, expires_at = greatest(expires_at, $3), user_key = $4, client_key = $5, signed_in_at = $6, made_at = $7
where key = $1`;

/** $1 is the present. The tombstone has the Grant's own hash under another prefix. */
const IS_LIVE = `
grant_records.mark <> ${REMOVED} and grant_records.expires_at > $1
and not exists (
  select from grant_records as ended
  where ended.key = '${TOMBSTONE}' || substr(grant_records.key, ${GRANT_MODEL.length + 1}) and ended.expires_at > $1
)
and not exists (
  select from grant_cuts where key = grant_records.user_key and before_ms >= grant_records.signed_in_at and expires_at > $1
)
and not exists (
  select from grant_cuts where key = grant_records.client_key and before_ms >= grant_records.made_at and expires_at > $1
)`;

const IS_ENDED = `
select exists (select from grant_records where key = any ($2) and expires_at > $1)
  or exists (select from grant_cuts where key = $3 and before_ms >= $4 and expires_at > $1)
  or exists (select from grant_cuts where key = $5 and before_ms >= $6 and expires_at > $1) as is_ended`;

interface GrantRow extends Row {
  readonly key: string;
  readonly payload: string;
  readonly mark: number;
}

/** The part of the store that knows Grants. */
export interface PostgresGrants extends Pick<GrantStore, "findGrant" | "isEnded" | "listGrants"> {
  put(id: string, payload: JsonObject, ttlSeconds: number): Promise<void>;
}

export function createPostgresGrants(db: Db): PostgresGrants {
  return {
    put: (id, payload, ttlSeconds) =>
      putGrant(db, storeKey(GRANT_MODEL, id), payload, secondsAfter(now(), lifetimeSeconds(ttlSeconds))),
    async findGrant(id) {
      const [row] = await db.query<GrantRow>(`select payload, mark from grant_records where key = $2 and ${IS_LIVE}`, [
        now(),
        storeKey(GRANT_MODEL, id),
      ]);
      return row === undefined ? undefined : { payload: parse(row), isConsumed: row.mark === 1 };
    },
    async isEnded({ grantId, tokenId, userId, clientId }, madeAtMs, signedInAtMs = madeAtMs) {
      const tombstones = [grantId, tokenId].filter((id) => id !== undefined).map((id) => storeKey(TOMBSTONE, id));
      const [row] = await db.query<{ is_ended: boolean }>(IS_ENDED, [
        now(),
        tombstones,
        userId === undefined ? null : storeKey(USER_CUT, userId),
        Math.floor(signedInAtMs),
        clientId === undefined ? null : storeKey(CLIENT_CUT, clientId),
        Math.floor(madeAtMs),
      ]);
      return row?.is_ended === true;
    },
    async listGrants(of, limit) {
      const keys = [
        "userId" in of ? (["user_key", storeKey(USER_CUT, of.userId)] as const) : undefined,
        "clientId" in of ? (["client_key", storeKey(CLIENT_CUT, of.clientId)] as const) : undefined,
      ].filter((owner) => owner !== undefined);
      const isOwned = keys.map(([column], index) => `${column} = $${index + 3}`).join(" and ");
      const rows = await db.query<GrantRow>(
        `select key, payload from grant_records where ${isOwned} and ${IS_LIVE} order by expires_at desc limit $2`,
        [now(), limit, ...keys.map(([, key]) => key)],
      );
      return rows.map((row) => ({ hash: row.key.slice(GRANT_MODEL.length + 1), payload: parse(row) }));
    },
  };
}

/** A new Grant is one statement; one that is there is locked, merged and written. */
async function putGrant(db: Db, key: string, payload: JsonObject, expiresAt: Date): Promise<void> {
  if ((await db.query(PUT_FIRST, [...parameters(key, payload, expiresAt), now()])).length > 0) return;
  await db.transaction(async (tx: Queries) => {
    const [row] = await tx.query<GrantRow>(
      `select payload from grant_records where key = $1 and mark <> ${REMOVED} for update`,
      [key],
    );
    if (row === undefined) return;
    await tx.query(REWRITE, parameters(key, mergeGrants(parse(row), payload), expiresAt));
  });
}

/** In the order of the statements' numbers. */
function parameters(key: string, payload: JsonObject, expiresAt: Date): readonly Parameter[] {
  const { userId, clientId, signedInAtMs, madeAtMs } = datedGrant(payload);
  const userKey = userId === undefined ? null : storeKey(USER_CUT, userId);
  const clientKey = clientId === undefined ? null : storeKey(CLIENT_CUT, clientId);
  return [key, JSON.stringify(payload), expiresAt, userKey, clientKey, signedInAtMs, madeAtMs];
}

function parse({ payload }: GrantRow): JsonObject {
  return JSON.parse(payload) as JsonObject;
}
