/** The Postgres engine of the expiring store: one atomic statement a step, the time always a parameter, nothing that has ended is ever read. */
import { now, secondsAfter } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Db, Row } from "./db.ts";
import {
  type GrantStore,
  type JsonObject,
  type Outcome,
  type RevocationSource,
  type StoredRecord,
  storeKey,
} from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { GRANT_MODEL } from "./grants-merge.ts";
import { createPostgresFamilies } from "./grants-postgres-families.ts";
import { createPostgresGrants, REMOVED } from "./grants-postgres-grants.ts";
import { createPostgresRevocations } from "./grants-postgres-revocations.ts";
import { createPostgresSessions } from "./grants-postgres-sessions.ts";

/** The engine's own kinds beside the models begin with a dot, which no model's name does. */
const USER_CODE = ".code-";
const CLAIM = ".claim-";
/** Marks of a record. A removed one leaves its mark until its time is over, so that a late write does not bring it back. */
const CONSUMED = 1;
/** Rows that one statement of the sweep removes: few enough that its locks and its log are no load. */
const SWEEP_BATCH = 500;
/** A process that died between a revocation's row and what it does was noticed, and started again, within this time. */
const MENDED_SECONDS = 86_400;
const TABLES = ["grant_records", "grant_families", "grant_sessions", "grant_session_ids", "grant_cuts"] as const;

/** A row that has ended is as good as none: whoever writes over it begins anew. */
const PUT = `
insert into grant_records as stored (key, mark, payload, grant_key, user_code_key, expires_at)
values ($1, 0, $2, $3, $4, $5)
on conflict (key) do update set
  mark = case when stored.expires_at > $6 then stored.mark else 0 end,
  payload = excluded.payload,
  grant_key = excluded.grant_key,
  user_code_key = case when stored.expires_at > $6 then coalesce(excluded.user_code_key, stored.user_code_key) else excluded.user_code_key end,
  expires_at = case when stored.mark = ${CONSUMED} then greatest(stored.expires_at, excluded.expires_at) else excluded.expires_at end
where stored.mark <> ${REMOVED} or stored.expires_at <= $6`;

/** True for the first one until the time is over. */
const PUT_FIRST = `
insert into grant_records as stored (key, mark, payload, expires_at) values ($1, 0, $2, $3)
on conflict (key) do update set mark = 0, payload = excluded.payload, grant_key = null, user_code_key = null, expires_at = excluded.expires_at
where stored.expires_at <= $4
returning key`;

/** Who loses waits for the winner's row and then finds nothing to update; the second look sees the row as it was before. */
const CONSUME = `
with spent as (
  update grant_records set mark = ${CONSUMED} where key = $1 and mark = 0 and expires_at > $2 returning key
)
select case
  when exists (select from spent) then 'won'
  when exists (select from grant_records where key = $1 and mark <> ${REMOVED} and expires_at > $2) then 'lost'
  else 'unknown'
end as outcome`;

const TAKE = `
with taken as (
  select key, payload, mark from grant_records where key = $1 and mark <> ${REMOVED} and expires_at > $2 for update
)
update grant_records set mark = ${REMOVED}, payload = '' from taken where grant_records.key = taken.key
returning taken.payload, taken.mark`;

interface RecordRow extends Row {
  readonly payload: string;
  readonly mark: number;
}

/** The database is the caller's: closing the store leaves it open. The log is for the sweep, which runs unseen. */
export function openPostgresGrants(options: { db: Db; log: Log; revocations: RevocationSource }): GrantStore {
  const { db, log } = options;
  const { put: putGrant, ...grants } = createPostgresGrants(db);
  const revocations = createPostgresRevocations(db);
  return {
    engine: "postgres",
    ...grants,
    ...revocations,
    // It lies beside the durable store and is not lost without it: nobody has to wait, what a process left undone is done behind.
    doubt: () => {
      mend(options.revocations, revocations.plant).catch((error: Error) => {
        log.warn("revocations were not planted", { engine: "postgres", error: error.message });
      });
    },
    async put(model, id, payload, ttlSeconds, links = {}) {
      if (model === GRANT_MODEL) return putGrant(id, payload, ttlSeconds);
      const expiresAt = secondsAfter(now(), lifetimeSeconds(ttlSeconds));
      const key = storeKey(model, id);
      const grantKey = links.grantId === undefined ? null : storeKey(GRANT_MODEL, links.grantId);
      const codeKey = links.userCode === undefined ? null : storeKey(USER_CODE + model, links.userCode);
      await db.query(PUT, [key, JSON.stringify(payload), grantKey, codeKey, expiresAt, now()]);
    },
    async find(model, id) {
      if (model === GRANT_MODEL) return grants.findGrant(id);
      const [row] = await db.query<RecordRow>(
        `select payload, mark from grant_records where key = $1 and mark <> ${REMOVED} and expires_at > $2`,
        [storeKey(model, id), now()],
      );
      return row === undefined ? undefined : parseRecord(row);
    },
    async findByUserCode(model, userCode) {
      const [row] = await db.query<RecordRow>(
        `select payload, mark from grant_records where user_code_key = $1 and mark <> ${REMOVED} and expires_at > $2
        order by expires_at desc limit 1`,
        [storeKey(USER_CODE + model, userCode), now()],
      );
      return row === undefined ? undefined : parseRecord(row);
    },
    async consume(model, id) {
      const [row] = await db.query<{ outcome: Outcome }>(CONSUME, [storeKey(model, id), now()]);
      return row?.outcome ?? "unknown";
    },
    async take(model, id) {
      const [row] = await db.query<RecordRow>(TAKE, [storeKey(model, id), now()]);
      return row === undefined ? undefined : parseRecord(row);
    },
    async remove(model, id) {
      await db.query(TAKE, [storeKey(model, id), now()]);
    },
    async claim(purpose, id, ttlSeconds) {
      const expiresAt = secondsAfter(now(), lifetimeSeconds(ttlSeconds));
      return (await db.query(PUT_FIRST, [storeKey(CLAIM + purpose, id), "", expiresAt, now()])).length > 0;
    },
    sessions: createPostgresSessions(db),
    families: createPostgresFamilies(db),
    sweep: (limit) => sweep(db, log, limit),
    // Reads a table, so that a database without our schema is told from one that answers.
    check: async () => {
      await db.query("select from grant_records limit 1");
    },
    close: async () => undefined,
  };
}

/** Carries out again what was written lately. */
async function mend(source: RevocationSource, plant: GrantStore["plant"]): Promise<void> {
  for await (const page of source(secondsAfter(now(), -MENDED_SECONDS))) await plant(page);
}

/** Passes over rows that somebody holds: they are written right now, or another process sweeps them. */
async function sweep(db: Db, log: Log, limit: number): Promise<number> {
  let removed = 0;
  for (const table of TABLES) {
    for (let batch = SWEEP_BATCH; batch === SWEEP_BATCH && removed < limit; ) {
      const rows = await db.query(
        `delete from ${table} where key in (
          select key from ${table} where expires_at <= $1 order by expires_at limit $2 for update skip locked
        ) returning 1`,
        [now(), Math.min(SWEEP_BATCH, limit - removed)],
      );
      batch = rows.length;
      removed += batch;
    }
  }
  if (removed > 0) log.debug("expired records were removed", { engine: "postgres", count: removed });
  return removed;
}

function parseRecord({ payload, mark }: RecordRow): StoredRecord {
  return { payload: JSON.parse(payload) as JsonObject, isConsumed: mark === CONSUMED };
}
