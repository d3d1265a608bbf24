/** Revocations over a test's own database, with the expiring store in the same one: what users and clients need to end what is theirs. */
import { createLog } from "../../src/log.ts";
import { createRevocations, type Revocations } from "../../src/revocations/revocation.ts";
import { type Db, type DbConnection, openDb } from "../../src/store/db.ts";
import type { GrantStore } from "../../src/store/grants.ts";
import { openPostgresGrants } from "../../src/store/grants-postgres.ts";
import { type Notices, openNotices } from "../../src/store/notices.ts";
import { atEnd } from "../support.ts";

export const LONGEST_SECONDS = 3600;
const log = createLog({ level: "silent", pretty: false });

export interface RevocationGround {
  readonly db: Db;
  readonly notices: Notices;
  readonly grants: GrantStore;
  readonly revocations: Revocations;
}

export async function revocationGround(connection: DbConnection): Promise<RevocationGround> {
  const db = openDb({ connection, max: 4, log });
  const notices = await openNotices({ connection, log });
  atEnd(async () => {
    await notices.close();
    await db.close();
  });
  const grants: GrantStore = openPostgresGrants({ db, log, revocations: (since) => revocations.written(since) });
  const revocations = createRevocations({ db, notices, store: async () => grants, longestSeconds: LONGEST_SECONDS });
  return { db, notices, grants, revocations };
}
