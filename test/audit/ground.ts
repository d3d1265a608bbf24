/** The ground of the audit tests: a database with a trail of its own, a sealer, and the hands of its owner, who can switch triggers off. */
import { createSealer } from "../../src/audit/sealer.ts";
import { createTrail } from "../../src/audit/trail.ts";
import { createLog } from "../../src/log.ts";
import { randomKey } from "../../src/secrets.ts";
import { openDb } from "../../src/store/db.ts";
import { atEnd, testDatabase } from "../support.ts";

export const DAY = 86_400;

export async function auditGround(retentionSeconds = 100 * DAY) {
  const lines: string[] = [];
  const log = createLog({ level: "info", pretty: false, sink: { write: (line) => void lines.push(line) } });
  const db = openDb({ connection: (await testDatabase()).connection, max: 6, log });
  atEnd(() => db.close());
  const keys = [{ version: 1, key: randomKey() }];
  const newSealer = (seconds = retentionSeconds) => createSealer({ db, log, retentionSeconds: seconds });
  /** What whoever owns the tables can do: with the triggers off. */
  const tamper = async (...statements: readonly string[]): Promise<void> => {
    const tables = ["audit_events", "audit_checkpoints"];
    await db.transaction(async (tx) => {
      for (const table of tables) await tx.query(`alter table ${table} disable trigger user`);
      for (const statement of statements) await tx.query(statement);
      for (const table of tables) await tx.query(`alter table ${table} enable trigger user`);
    });
  };
  return {
    db,
    keys,
    lines,
    newSealer,
    tamper,
    /** An empty trail and a sealer that has seen none: a database of its own costs seconds on a busy machine. */
    async begin() {
      await tamper("truncate audit_events restart identity", "truncate audit_checkpoints", "truncate audit_head");
      lines.length = 0;
      return newSealer();
    },
    trail: createTrail({ db, keys: async () => keys }),
    /** Events as they may have come, `count` of them, ending at `at`. */
    async write(count: number, at = new Date()): Promise<void> {
      await db.query(
        `insert into audit_events (at, name, actor_kind, actor_id, address, request_id, subject_kind, subject_id, data)
         select $1::timestamptz - ($2 - n) * interval '1 millisecond', 'client.updated', 'user', 'user-' || n % 7, '192.0.2.1', 'request-' || n,
           'client', 'client-' || n % 11, jsonb_build_object('fields', jsonb_build_array('client_name'), 'n', n)
         from generate_series(1, $2::integer) as n`,
        [at, count],
      );
    },
  };
}
