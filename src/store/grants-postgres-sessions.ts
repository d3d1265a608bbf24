/** Sessions in Postgres: one row each, merged by one statement, and a row for every id that leads to it. */
import { now, nowSeconds, secondsAfter } from "../clock.ts";
import type { Db, Parameter, Queries, Row } from "./db.ts";
import {
  type JsonObject,
  type Owner,
  type SessionChange,
  type SessionRecord,
  type SessionStore,
  storeKey,
} from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { CLIENT_CUT, datedSession, USER_CUT } from "./grants-owners.ts";

export const SESSION = ".s";
const POINTER = ".sid";
/** A replaced id is remembered this long after it stopped to answer: longer than any request that still holds it. */
const REPLACED_KEPT_SECONDS = 3600;

/** Whether the stored session lives and is the same person's: only then is anything of it kept. $10 is the present, $5 the account. */
const IS_SAME = "stored.expires_at > $10 and stored.account = $5";
/** What a change makes of a stored session; the parameters are those of `saveParameters`. */
const MERGE = `
  record = $4,
  account = $5,
  authorizations = case when ${IS_SAME} then (stored.authorizations - $7::text[]) || $6::jsonb else $6::jsonb end,
  seen_at = coalesce($8::bigint, case when ${IS_SAME} then stored.seen_at else $9::bigint end),
  user_key = $11,
  signed_in_at = $12,
  expires_at = greatest(stored.expires_at, $3)`;
/** A session that ended stays ended, unless it is a new one. */
const UPDATE = `update grant_sessions as stored set ${MERGE} where key = $1 and expires_at > $10 returning key, expires_at`;
const INSERT = `
insert into grant_sessions as stored (key, record, account, authorizations, seen_at, expires_at, user_key, signed_in_at)
values ($1, $4, $5, $6::jsonb, coalesce($8::bigint, $9::bigint), $3, $11, $12)
on conflict (key) do update set ${MERGE}
returning key, expires_at`;
/** Points the id to the session that was saved; a replaced id never points again, also when a slow request saves under it. */
const POINT = `
insert into grant_session_ids as pointer (key, session_key, expires_at) select $2, key, expires_at from saved
on conflict (key) do update set
  session_key = excluded.session_key, answers_until = null, expires_at = greatest(pointer.expires_at, excluded.expires_at)
where pointer.answers_until is null or pointer.expires_at <= $10`;

/** It names too much rather than too little: what was removed from a session is told by the session itself. */
const INDEX_CLIENTS = `
insert into grant_session_clients (session_key, client_key) select key, unnest($13::text[]) from saved
on conflict do nothing`;

const IS_ANSWERING = "pointer.expires_at > $2 and (pointer.answers_until is null or pointer.answers_until > $2)";
/** $2 is the present. */
const IS_LIVE = `
session.expires_at > $2 and not exists (
  select from grant_cuts where key = session.user_key and before_ms >= session.signed_in_at and expires_at > $2
)`;
const FIND_BY_ID = `
select session.record, session.authorizations, session.seen_at
from grant_session_ids as pointer join grant_sessions as session on session.key = pointer.session_key
where pointer.key = $1 and ${IS_ANSWERING} and ${IS_LIVE}`;
const FIND_BY_UID = `select record, authorizations, seen_at from grant_sessions as session where key = $1 and ${IS_LIVE}`;
const LIST_OF_USER = `
select record, authorizations, seen_at from grant_sessions as session where user_key = $1 and ${IS_LIVE}
order by expires_at desc limit $3`;
const LIST_OF_CLIENT = `
select session.record, session.authorizations, session.seen_at
from grant_session_clients as client join grant_sessions as session on session.key = client.session_key
where client.client_key = $1 and ${IS_LIVE} and session.user_key is not null and session.authorizations ? $4
order by session.expires_at desc limit $3`;

/** Its ids would point to nothing; they go with it. */
const END_IDS = "delete from grant_session_ids where session_key in (select key from ended)";
const END_BY_ID = `
with ended as (
  delete from grant_sessions
  where key = (select session_key from grant_session_ids as pointer where key = $1 and ${IS_ANSWERING})
  returning key
) ${END_IDS}`;
export const END_BY_UID = `with ended as (delete from grant_sessions where key = $1 returning key) ${END_IDS}`;

const PROLONG = `
with prolonged as (
  update grant_sessions set expires_at = $2 where key = $1 and expires_at > $3 and expires_at < $2 returning key
)
update grant_session_ids set expires_at = $2
where session_key in (select key from prolonged) and answers_until is null and expires_at > $3 and expires_at < $2`;

interface SessionRow extends Row {
  readonly record: string;
  readonly authorizations: Readonly<Record<string, string>>;
  /** The driver gives 64-bit integers as text. */
  readonly seen_at: string;
}

export function createPostgresSessions(db: Db): SessionStore {
  return {
    async findById(id) {
      const [row] = await db.query<SessionRow>(FIND_BY_ID, [storeKey(POINTER, id), now()]);
      return row === undefined ? undefined : parseSession(row);
    },
    async findByUid(uid, _userId, tx = db) {
      const [row] = await tx.query<SessionRow>(FIND_BY_UID, [storeKey(SESSION, uid), now()]);
      return row === undefined ? undefined : parseSession(row);
    },
    list: (of, limit, tx = db) => list(tx, of, limit),
    async save(id, change, ttlSeconds) {
      const rows = await db.query(
        `with saved as (${change.isNew ? INSERT : UPDATE}), pointed as (${POINT}), indexed as (${INDEX_CLIENTS}) select key from saved`,
        saveParameters(id, change, ttlSeconds),
      );
      return rows.length > 0;
    },
    async forget(id, afterSeconds) {
      const answersUntil = secondsAfter(now(), Math.max(afterSeconds, 0));
      await db.query(
        `update grant_session_ids set answers_until = least(answers_until, $2), expires_at = $3
        where key = $1 and expires_at > $4`,
        [storeKey(POINTER, id), answersUntil, secondsAfter(answersUntil, REPLACED_KEPT_SECONDS), now()],
      );
    },
    async end(id) {
      await db.query(END_BY_ID, [storeKey(POINTER, id), now()]);
    },
    async prolong(uid, ttlSeconds) {
      const expiresAt = secondsAfter(now(), lifetimeSeconds(ttlSeconds));
      await db.query(PROLONG, [storeKey(SESSION, uid), expiresAt, now()]);
    },
  };
}

/** In the order of the statements' numbers. */
function saveParameters(id: string, change: SessionChange, ttlSeconds: number): readonly Parameter[] {
  const { uid, fields, set, removed, seenAt } = change;
  // JSON in the strings of JSON: jsonb then holds no character that it would refuse.
  const authorizations = Object.fromEntries(
    Object.entries(set).map(([clientId, value]) => [JSON.stringify(clientId), JSON.stringify(value)]),
  );
  const { userId, signedInAtMs } = datedSession(fields);
  return [
    storeKey(SESSION, uid),
    storeKey(POINTER, id),
    secondsAfter(now(), lifetimeSeconds(ttlSeconds)),
    JSON.stringify({ uid, fields }),
    JSON.stringify(fields["accountId"] ?? null),
    JSON.stringify(authorizations),
    removed.map((clientId) => JSON.stringify(clientId)),
    seenAt ?? null,
    nowSeconds(),
    now(),
    userId === undefined ? null : storeKey(USER_CUT, userId),
    signedInAtMs,
    Object.keys(set).map((clientId) => storeKey(CLIENT_CUT, clientId)),
  ];
}

async function list(queries: Queries, of: Owner, limit: number): Promise<readonly SessionRecord[]> {
  const rows = await ("userId" in of
    ? queries.query<SessionRow>(LIST_OF_USER, [storeKey(USER_CUT, of.userId), now(), limit])
    : queries.query<SessionRow>(LIST_OF_CLIENT, [
        storeKey(CLIENT_CUT, of.clientId),
        now(),
        limit,
        JSON.stringify(of.clientId),
      ]));
  return rows.map(parseSession);
}

function parseSession({ record, authorizations, seen_at }: SessionRow): SessionRecord {
  const { uid, fields } = JSON.parse(record) as { uid: string; fields: JsonObject };
  const entries = Object.entries(authorizations).map(
    ([clientId, value]) => [JSON.parse(clientId) as string, JSON.parse(value) as JsonObject] as const,
  );
  return { uid, fields, authorizations: Object.fromEntries(entries), seenAt: Number(seen_at) };
}
