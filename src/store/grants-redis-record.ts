/** A record in Redis is one string: its mark, then its payload as JSON. */
import type { JsonObject, StoredRecord } from "./grants.ts";

export const LIVE = "0";
export const CONSUMED = "1";
/** A removed record leaves its mark until its time is over, so that a late write does not bring it back. */
export const REMOVED = "2";

export function parseRecord(value: string | null | undefined): StoredRecord | undefined {
  if (value === null || value === undefined || value.startsWith(REMOVED)) return undefined;
  return { payload: JSON.parse(value.slice(1)) as JsonObject, isConsumed: value.startsWith(CONSUMED) };
}
