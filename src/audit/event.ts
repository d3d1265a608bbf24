/** Audit events: who did what to whom, from where, when; written in the transaction of the change itself, so that neither exists without the other. */
import { now } from "../clock.ts";
import type { Queries } from "../store/db.ts";
import type { Changes } from "./changes.ts";
import { insertEvent, selectEvents, selectOfUser } from "./queries.ts";

/** Who acts. Ids only, never an e-mail address: deleting a person must not break the trail. */
export interface Actor {
  readonly kind: "user" | "client" | "command" | "system" | "anonymous";
  readonly id?: string | undefined;
  readonly address?: string | undefined;
  readonly requestId?: string | undefined;
}

/** What is recorded. The names are a closed list, so that nobody has to guess what to search for. */
export type EventName =
  | "sign_in.succeeded"
  | "sign_in.failed"
  | "sign_in.throttled"
  | "sign_out"
  | "consent.granted"
  | "consent.refused"
  | "consent.withdrawn"
  | "token.reuse_detected"
  | "code.reuse_detected"
  | "user.created"
  | "user.updated"
  | "user.disabled"
  | "user.enabled"
  | "user.password_changed"
  | "user.password_recovered"
  | "user.password_forced"
  | "user.recovery_asked"
  | "user.signed_up"
  | "user.invited"
  | "user.email_change_asked"
  | "user.email_changed"
  | "user.not_me"
  | "user.deletion_asked"
  | "user.deletion_cancelled"
  | "user.deleted"
  | "user.sessions_ended"
  | "grant.ended"
  | "mail.retried"
  | "sign_in.unusual"
  | "logout.delivered"
  | "logout.given_up"
  | "client.created"
  | "client.updated"
  | "client.secret_added"
  | "client.secret_expired"
  | "client.disabled"
  | "client.enabled"
  | "client.deleted"
  | "client.access_ended"
  | "api.created"
  | "api.updated"
  | "api.deleted"
  | "role.created"
  | "role.updated"
  | "role.deleted"
  | "role.granted"
  | "role.revoked"
  | "key.created"
  | "key.announced"
  | "key.imported"
  | "key.activated"
  | "key.retired"
  | "key.unpublished"
  | "key.removed"
  | "key.revoked"
  | "key.reencrypted"
  | "key.rotation_failed"
  | "setup.link_made"
  | "setup.owner_created"
  | "audit.pruned";

export interface AuditEvent {
  readonly name: EventName;
  readonly actor: Actor;
  readonly subject?: {
    readonly kind: "user" | "client" | "api" | "role" | "key" | "grant" | "setup";
    readonly id: string;
  };
  /** Facts beside it, without secrets and without addresses of people: names of changed fields, scopes, a reason. */
  readonly data?: Readonly<Record<string, string | number | boolean | readonly string[]>>;
  /** Of a change: what was there before and what is there now, by field, without secrets (changes.ts). */
  readonly changes?: Changes;
}

/** An event as the trail gives it back. */
export interface RecordedEvent extends AuditEvent {
  readonly at: Date;
}

/** Records one event inside the caller's transaction. */
export type RecordEvent = (tx: Queries, event: AuditEvent) => Promise<void>;

export const record: RecordEvent = async (tx, event) => insertEvent(tx, event, now());

/** The newest events first, at most `limit`. */
export function listEvents(
  queries: Queries,
  filter: { name?: EventName; subjectId?: string; limit: number },
): Promise<RecordedEvent[]> {
  return selectEvents(queries, filter);
}

/** What a person did, and what was done to their account; the newest first. */
export function listOfUser(queries: Queries, userId: string, limit: number): Promise<RecordedEvent[]> {
  return selectOfUser(queries, userId, limit);
}
