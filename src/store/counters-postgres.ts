/** Counters in Postgres: one unlogged table, each change one statement on one row. */
import { now, secondsAfter } from "../clock.ts";
import type { Counters } from "./counters.ts";
import type { Db } from "./db.ts";

/** The database is the caller's and is not closed here. */
export function openPostgresCounters(db: Db): Counters {
  return {
    engine: "postgres",
    async read(key) {
      const [row] = await db.query<{ value: string }>("select value from counters where key = $1 and expires_at > $2", [
        key,
        now(),
      ]);
      return row?.value;
    },
    async swap(key, { current, next }, ttlSeconds) {
      const at = now();
      const expiresAt = secondsAfter(at, ttlSeconds);
      const rows =
        current === undefined
          ? await db.query(
              `insert into counters (key, value, expires_at) values ($1, $2, $3)
               on conflict (key) do update set value = excluded.value, expires_at = excluded.expires_at
               where counters.expires_at <= $4 returning key`,
              [key, next, expiresAt, at],
            )
          : await db.query(
              `update counters set value = $2, expires_at = $3
               where key = $1 and value = $5 and expires_at > $4 returning key`,
              [key, next, expiresAt, at, current],
            );
      return rows.length > 0;
    },
    async sweep(limit) {
      const rows = await db.query(
        `delete from counters where key in (
           select key from counters where expires_at <= $1 order by expires_at limit $2 for update skip locked
         ) returning key`,
        [now(), limit],
      );
      return rows.length;
    },
    async check() {
      await db.query("select key from counters limit 1");
    },
    close: async () => undefined,
  };
}
