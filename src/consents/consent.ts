/** Consents: what a person allowed an app, remembered per user, client and API, so that only what is new is asked again. */
import type { Actor, RecordEvent } from "../audit/event.ts";
import { now } from "../clock.ts";
import type { Db } from "../store/db.ts";
import { selectConsents, upsertConsent } from "./queries.ts";

/** One decision. `resource` is the identifier of an API, or empty for the OpenID scopes. */
export interface Consent {
  readonly resource: string;
  readonly granted: readonly string[];
  /** Optional scopes that the person left out; they are not asked again unless the app asks for consent anew. */
  readonly refused: readonly string[];
}

export interface Consents {
  find(who: { userId: string; clientId: string }): Promise<readonly Consent[]>;
  grant(who: { userId: string; clientId: string }, decisions: readonly Consent[], by: Actor): Promise<void>;
}

export function createConsents(options: { db: Db; record: RecordEvent }): Consents {
  const { db, record } = options;
  return {
    find: (who) => selectConsents(db, who),
    grant: (who, decisions, by) =>
      db.transaction(async (tx) => {
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
