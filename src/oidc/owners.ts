/**
 * Whose the Grant of this request is. The token that came with the request names the owners before the library loads its Grant and its
 * session: so both are read in one round trip, together with what would end them.
 */
import { type AdapterPayload, Provider } from "oidc-provider";
import type { GrantStore, Owners, StoredRecord } from "../store/grants.ts";

interface Noted {
  readonly grantId: string;
  readonly sessionUid: string | undefined;
  readonly owners: Owners;
  /** The Grant, if it was asked for ahead; given out once. */
  ahead: Promise<StoredRecord | undefined> | undefined;
}

/** By the request's context: it lives as long as the request. */
const notes = new WeakMap<object, Noted>();

/** Remembers what a token says of its Grant. */
export function noteOwners(payload: AdapterPayload): void {
  const ctx = Provider.ctx;
  const { grantId, sessionUid, accountId, clientId } = payload;
  if (ctx === undefined || grantId === undefined) return;
  notes.set(ctx, { grantId, sessionUid, owners: { userId: accountId, clientId }, ahead: undefined });
}

/** Of the token that came with this request: the Grant that it belongs to, and the person. */
export function notedToken(
  ctx: object,
): { readonly grantId: string; readonly accountId: string | undefined } | undefined {
  const noted = notes.get(ctx);
  return noted === undefined ? undefined : { grantId: noted.grantId, accountId: noted.owners.userId };
}

/** The user of a session that is about to be read; its Grant is asked for in the same tick, since the library asks for it next. */
export function expectSession(grants: GrantStore, uid: string): string | undefined {
  const noted = notedHere();
  if (noted === undefined || noted.sessionUid !== uid) return undefined;
  noted.ahead = grants.findGrant(noted.grantId, noted.owners);
  // Whoever takes it gets the error, too; a request that ends before that needs none.
  noted.ahead.catch(() => undefined);
  return noted.owners.userId;
}

export async function findGrant(grants: GrantStore, grantId: string): Promise<StoredRecord | undefined> {
  const noted = notedHere();
  if (noted?.grantId !== grantId) return grants.findGrant(grantId);
  const { ahead } = noted;
  noted.ahead = undefined;
  return ahead ?? grants.findGrant(grantId, noted.owners);
}

function notedHere(): Noted | undefined {
  const ctx = Provider.ctx;
  return ctx === undefined ? undefined : notes.get(ctx);
}
