/** Keys on a test's own database, with the parts that a rotation needs; rows are made older where time has to pass. */
import { record } from "../../src/audit/event.ts";
import { KEY_TIMES, type KeyTimes } from "../../src/key-times.ts";
import { createKeys } from "../../src/keys/administration.ts";
import { type Keyring, openKeyring } from "../../src/keys/keyring.ts";
import { turnKeys } from "../../src/keys/rotation.ts";
import { createLog } from "../../src/log.ts";
import { randomKey } from "../../src/secrets.ts";
import { openDb } from "../../src/store/db.ts";
import { openNotices } from "../../src/store/notices.ts";
import { createVault } from "../../src/vault.ts";
import { atEnd, testDatabase } from "../support.ts";

const DAY = 86_400;
export const LONGEST_USE = {
  cookie: 30 * DAY,
  refresh_token: 90 * DAY,
  form: 7200,
  dpop_nonce: 300,
  pairwise: 0,
  audit: 0,
};
const log = createLog({ level: "silent", pretty: false });

/** `secretKeys` as in SECRET_KEY: the first seals, all open. */
export async function keyGround(options: { secretKeys?: readonly Buffer[]; times?: Partial<KeyTimes> } = {}) {
  const { connection } = await testDatabase();
  const db = openDb({ connection, max: 6, log });
  const notices = await openNotices({ connection, log });
  atEnd(async () => {
    await notices.close();
    await db.close();
  });
  const times = { ...KEY_TIMES, ...options.times };
  const partsWith = (secretKeys: readonly Buffer[]) => ({
    db,
    notices,
    record,
    log,
    times,
    longestUse: LONGEST_USE,
    vault: createVault(secretKeys),
    sealedPlaces: [],
  });
  const parts = partsWith(options.secretKeys ?? [randomKey()]);
  return {
    db,
    connection,
    notices,
    parts,
    partsWith,
    keys: createKeys(parts),
    keyring: (): Promise<Keyring> => openKeyring(parts),
    turn: () => turnKeys(parts, { wait: true }),
    rows: () => createKeys(parts).list(),
    /** As if so many seconds had passed for every key. */
    async grow(seconds: number): Promise<void> {
      for (const [table, columns] of [
        ["signing_keys", ["created_at", "activates_at", "activated_at", "retired_at", "unpublished_at"]],
        ["mac_keys", ["created_at", "activates_at", "activated_at", "retired_at"]],
      ] as const) {
        const changes = columns.map((column) => `${column} = ${column} - make_interval(secs => $1)`).join(", ");
        await db.query(`update ${table} set ${changes}`, [seconds]);
      }
    },
    events: async (): Promise<readonly string[]> =>
      (await db.query<{ name: string }>("select name from audit_events order by id")).map(({ name }) => name),
  };
}
