/** Whose a record is and since when: what cut-offs are measured against. Pure, so that both engines share one rule. */
import type { JsonObject, Owner, Owners, UserAtClient } from "./grants.ts";

/** The engine's own kinds: the cut-off of a user and of a client. */
export const USER_CUT = ".cut-user";
export const CLIENT_CUT = ".cut-client";

/** The moments that count, in milliseconds since 1970. What has none dates from before everything. */
export interface Dated extends Owners {
  readonly signedInAtMs: number;
  readonly madeAtMs: number;
}

/**
 * Of a Grant. A person's cut-off ends what came of the sign-ins before it, however late it was made; a client's ends the Grants made before
 * it, not the new ones of a person who was signed in all the time.
 */
export function datedGrant(payload: JsonObject): Dated {
  const madeAtMs = milliseconds(payload["madeAtMs"]);
  // Nothing comes of a sign-in before it: a moment that lies later, or is not known, counts as the Grant's own.
  const signedInAtMs = Math.min(madeAtMs, milliseconds(payload["signedInAtMs"] ?? madeAtMs));
  return { userId: text(payload["accountId"]), clientId: text(payload["clientId"]), signedInAtMs, madeAtMs };
}

/** Of a session: it has a user and no client. */
export function datedSession(fields: JsonObject): Dated {
  const signedInAtMs = milliseconds(fields["signedInAtMs"] ?? Number(fields["loginTs"]) * 1000);
  return { userId: text(fields["accountId"]), signedInAtMs, madeAtMs: signedInAtMs };
}

/** Whether a cut-off covers it. An undefined cut-off is none. */
export function isCovered(
  dated: Dated,
  cuts: { readonly user?: number | undefined; readonly client?: number | undefined },
): boolean {
  const ofUser = cuts.user !== undefined && dated.signedInAtMs <= cuts.user;
  return ofUser || (cuts.client !== undefined && dated.madeAtMs <= cuts.client);
}

/** Of everybody who is named. */
export function isOwnedBy(owner: Owner | UserAtClient, dated: Owners): boolean {
  const isOfUser = !("userId" in owner) || dated.userId === owner.userId;
  return isOfUser && (!("clientId" in owner) || dated.clientId === owner.clientId);
}

function milliseconds(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? Math.floor(value) : 0;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
