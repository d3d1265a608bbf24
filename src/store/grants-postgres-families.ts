/** Refresh families in Postgres: one row each, advanced by one statement. */
import { now, secondsAfter } from "../clock.ts";
import type { Db, Row } from "./db.ts";
import { type Family, type FamilyStore, type JsonObject, SPENDS_KEPT, standing, storeKey } from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";

const FAMILY = ".f";

/** Of callers with the same generation one updates; the others wait for its row and find the generation gone. */
const ADVANCE = `
update grant_families set generation = generation + 1, spent_at = (array_prepend($3::bigint, spent_at))[1:${SPENDS_KEPT}]
where key = $1 and generation = $2 and expires_at > $4
returning key`;

/** Over a family that stands a second start does nothing: it would roll it back to its first token. */
const START = `
insert into grant_families as stored (key, generation, spent_at, payload, expires_at) values ($1, 0, '{}', $2, $3)
on conflict (key) do update set generation = 0, spent_at = '{}', payload = excluded.payload, expires_at = excluded.expires_at
where stored.expires_at <= $4`;

interface FamilyRow extends Row {
  /** The driver gives 64-bit integers as text. */
  readonly generation: string;
  readonly spent_at: readonly string[];
  readonly payload: string;
}

export function createPostgresFamilies(db: Db): FamilyStore {
  const find = async (familyId: string): Promise<Family | undefined> => {
    const [row] = await db.query<FamilyRow>(
      "select generation, spent_at, payload from grant_families where key = $1 and expires_at > $2",
      [storeKey(FAMILY, familyId), now()],
    );
    return row === undefined ? undefined : parseFamily(row);
  };
  return {
    find,
    async start(familyId, payload, ttlSeconds) {
      const expiresAt = secondsAfter(now(), lifetimeSeconds(ttlSeconds));
      await db.query(START, [storeKey(FAMILY, familyId), JSON.stringify(payload), expiresAt, now()]);
    },
    async spend(familyId, generation, time) {
      if (!Number.isSafeInteger(generation)) return "unknown";
      const parameters = [storeKey(FAMILY, familyId), generation, Math.floor(time.nowMs), now()];
      if ((await db.query(ADVANCE, parameters)).length > 0) return "current";
      const family = await find(familyId);
      const stands = family === undefined ? "unknown" : standing(family, generation, time);
      // A generation that is current now was not a moment ago: the family began in between, and nobody can hold a token of it yet.
      return stands === "current" ? "unknown" : stands;
    },
    async save(familyId, generation, payload, ttlSeconds) {
      if (!Number.isSafeInteger(generation)) return false;
      const rows = await db.query(
        "update grant_families set payload = $3, expires_at = $4 where key = $1 and generation = $2 and expires_at > $5 returning key",
        [
          storeKey(FAMILY, familyId),
          generation,
          JSON.stringify(payload),
          secondsAfter(now(), lifetimeSeconds(ttlSeconds)),
          now(),
        ],
      );
      return rows.length > 0;
    },
    async end(familyId) {
      await db.query("delete from grant_families where key = $1", [storeKey(FAMILY, familyId)]);
    },
  };
}

function parseFamily(row: FamilyRow): Family {
  return {
    generation: Number(row.generation),
    spentAt: row.spent_at.map(Number),
    payload: JSON.parse(row.payload) as JsonObject,
  };
}
