/** Random keys of what clients and browsers hold: cookie signatures, refresh tokens, forms. They are shared by all instances and sealed in Postgres. */
import { now } from "../clock.ts";
import { newId, randomKey } from "../secrets.ts";
import type { Db, Queries } from "../store/db.ts";
import type { Vault } from "../vault.ts";
import { insertMacKey, lockKeys, type MacKeyRow, selectMacKeys } from "./queries.ts";

/** What a key is for; one key never serves two purposes. */
export const MAC_PURPOSES = ["cookie", "refresh_token", "form"] as const;
export type MacPurpose = (typeof MAC_PURPOSES)[number];

export interface MacKey {
  /** Stands in the tokens that the key made, so that the right one is found when keys rotate. */
  readonly version: number;
  readonly key: Buffer;
}

/** Newest first: the first makes, all verify. Never empty. */
export type MacKeys = Readonly<Record<MacPurpose, readonly [MacKey, ...MacKey[]]>>;

/** Reads the keys, making what is missing. SECRET_KEY only wraps them: when it is rotated, nothing that a browser or client holds is lost. */
export async function loadMacKeys(options: { db: Db; vault: Vault }): Promise<MacKeys> {
  const known = await selectMacKeys(options.db);
  const isComplete = MAC_PURPOSES.every((purpose) => known.some((key) => key.purpose === purpose));
  const rows = isComplete ? known : await options.db.transaction((tx) => createMissing(tx, options.vault));
  const of = (purpose: MacPurpose): readonly [MacKey, ...MacKey[]] => {
    const [first, ...rest] = rows
      .filter((row) => row.purpose === purpose)
      .map((row) => ({
        version: row.version,
        key: Buffer.from(options.vault.open(row.sealedKey, context(row)), "base64url"),
      }));
    if (first === undefined) throw new Error(`no key for ${purpose}`);
    return [first, ...rest];
  };
  return { cookie: of("cookie"), refresh_token: of("refresh_token"), form: of("form") };
}

async function createMissing(tx: Queries, vault: Vault): Promise<readonly MacKeyRow[]> {
  await lockKeys(tx);
  const known = await selectMacKeys(tx);
  for (const purpose of MAC_PURPOSES) {
    if (known.some((key) => key.purpose === purpose)) continue;
    const row = { id: newId(), purpose, version: 1 };
    await insertMacKey(tx, { ...row, sealedKey: vault.seal(randomKey().toString("base64url"), context(row)) }, now());
  }
  return selectMacKeys(tx);
}

function context(row: { readonly id: string; readonly purpose: string }): string {
  return `mac_keys:${row.purpose}:${row.id}`;
}
