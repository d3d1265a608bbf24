/** Random keys of what clients and browsers hold: cookie signatures, refresh tokens, forms. They are shared by all instances and sealed in Postgres. */
import { newId, randomKey } from "../secrets.ts";
import type { Vault } from "../vault.ts";
import { openNamed } from "./key.ts";
import type { MacKeyRow } from "./queries.ts";

/**
 * What a key is for; one key never serves two purposes. Those of DPoP nonces and of pairwise subjects are made and tended before either is
 * offered: an instance that begins to offer it beside instances of an older version finds a key that all of them share, and none makes its own.
 */
export const MAC_PURPOSES = ["cookie", "refresh_token", "form", "dpop_nonce", "pairwise", "audit"] as const;
export type MacPurpose = (typeof MAC_PURPOSES)[number];
/** Another salt would make another person of everybody (OpenID Connect Core section 8.1); the audit trail is verified for as long as it is kept. */
export const NEVER_ROTATED: ReadonlySet<string> = new Set<MacPurpose>(["pairwise", "audit"]);

export interface MacKey {
  /** Stands in the tokens that the key made, so that the right one is found when keys rotate. */
  readonly version: number;
  readonly key: Buffer;
}

/** The first makes, all verify. Never empty. */
export type MacKeys = Readonly<Record<MacPurpose, readonly [MacKey, ...MacKey[]]>>;

/** How long the longest-lived thing that a key of the purpose made is in use, in seconds. */
export type LongestUse = Readonly<Record<MacPurpose, number>>;

/** A new random key: its id and its sealed text. */
export function makeMacKey(purpose: MacPurpose, vault: Vault): { readonly id: string; readonly sealedKey: string } {
  const id = newId();
  return { id, sealedKey: vault.seal(randomKey().toString("base64url"), macKeyContext({ id, purpose })) };
}

/** Throws VaultError that names the key when SECRET_KEY does not open it. */
export function openMacKey(row: MacKeyRow, vault: Vault): MacKey {
  const plain = openNamed(vault, row.sealedKey, {
    context: macKeyContext(row),
    what: `version ${row.version} of the ${row.purpose} key`,
  });
  return { version: row.version, key: Buffer.from(plain, "base64url") };
}

export function macKeyContext(row: { readonly id: string; readonly purpose: string }): string {
  return `mac_keys:${row.purpose}:${row.id}`;
}
