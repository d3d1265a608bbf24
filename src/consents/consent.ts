/** Consents: what a person allowed an app, remembered per user, client and API, so that only what is new is asked again. */
import type { Actor, RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Db, Queries } from "../store/db.ts";
import { deleteConsents, deleteOfUser, selectConsents, selectOfUser, upsertConsent } from "./queries.ts";

/** One decision. `resource` is the identifier of an API, or empty for the OpenID scopes. */
export interface Consent {
  readonly resource: string;
  readonly granted: readonly string[];
  /** Optional scopes that the person left out; they are not asked again unless the app asks for consent anew. */
  readonly refused: readonly string[];
}

/** A consent in the list of a person. */
export interface GivenConsent extends Consent {
  readonly clientId: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** One per app and API: more than anybody allows by hand, and no longer a page than can be shown. */
const CONSENTS_LISTED_MAX = 1000;

export interface Consents {
  find(who: { userId: string; clientId: string }): Promise<readonly Consent[]>;
  /** Of a user, those that were changed last first, at most `CONSENTS_LISTED_MAX`. */
  listOf(userId: string): Promise<readonly GivenConsent[]>;
  /** Inside the caller's transaction; afterwards the caller ends what was issued, since a sign-in may still have read the consent. */
  withdraw(tx: Queries, who: { userId: string; clientId: string }, by: Actor): Promise<void>;
  /** The person goes: what was allowed goes with them. */
  forget(tx: Queries, userId: string): Promise<void>;
  /** `alongside` runs in the same transaction. */
  grant(
    who: { userId: string; clientId: string },
    decisions: readonly Consent[],
    by: Actor,
    alongside?: (tx: Queries) => Promise<void>,
  ): Promise<void>;
}

export function createConsents(options: { db: Db; record: RecordEvent }): Consents {
  const { db, record } = options;
  return {
    find: (who) => selectConsents(db, who),
    listOf: (userId) => selectOfUser(db, userId, CONSENTS_LISTED_MAX),
    async withdraw(tx, who, by) {
      await deleteConsents(tx, who);
      await record(tx, {
        name: "consent.withdrawn",
        actor: by,
        subject: { kind: "client", id: who.clientId },
        data: { user_id: who.userId },
      });
    },
    forget: (tx, userId) => deleteOfUser(tx, userId),
    grant: (who, decisions, by, alongside) =>
      db.transaction(async (tx) => {
        await alongside?.(tx);
        for (const decision of decisions) await upsertConsent(tx, who, decision, now());
        await record(tx, {
          name: "consent.granted",
          actor: by,
          subject: { kind: "client", id: who.clientId },
          data: {
            granted: decisions.flatMap((decision) => decision.granted),
            refused: decisions.flatMap((decision) => decision.refused),
          },
        });
      }),
  };
}

/** In the names of the wire. */
export function presentConsent(consent: GivenConsent) {
  return {
    client_id: consent.clientId,
    resource: consent.resource,
    granted: [...consent.granted],
    refused: [...consent.refused],
    created_at: consent.createdAt.toISOString(),
    updated_at: consent.updatedAt.toISOString(),
  };
}

/**
 * Takes back what a person allowed an app, and ends what it has. Without a consent there may be Grants of it all the same, when the store was away
 * before they could be ended. Throws AppError consent_unknown when there is neither.
 */
export async function withdrawKnown<By>(
  parts: {
    readonly consents: Pick<Consents, "find">;
    /** Withdraws, ends, and returns how many Grants there were. */
    revokeApp(userId: string, clientId: string, by: By): Promise<number>;
  },
  { userId, clientId }: { readonly userId: string; readonly clientId: string },
  by: By,
): Promise<void> {
  const isKnown = (await parts.consents.find({ userId, clientId })).length > 0;
  const ended = await parts.revokeApp(userId, clientId, by);
  if (!isKnown && ended === 0) throw new AppError("consent_unknown");
}
