/** The expiring store: codes, sessions, refresh families, grants, replay marks. One seam, two engines, one contract suite; no record without an end. */
import { sha256 } from "../secrets.ts";

import type { Queries } from "./db.ts";

/** A JSON object as the engine keeps it; it never holds the id by which it is found, since that id is the secret itself. */
export type JsonObject = { readonly [name: string]: unknown };

/** One caller wins. "unknown": never there, expired, or ended. */
export type Outcome = "won" | "lost" | "unknown";

export interface StoredRecord {
  readonly payload: JsonObject;
  readonly isConsumed: boolean;
}

/** Whose a record is: what ends everything of a person or of a client ends it. */
export interface Owners {
  readonly userId?: string | undefined;
  readonly clientId?: string | undefined;
}

/** What ends a token that is not kept here. */
export interface Unkept extends Owners {
  readonly grantId?: string | undefined;
  readonly tokenId?: string | undefined;
}

/** Of whom something is listed or ended. */
export type Owner = { readonly userId: string } | { readonly clientId: string };

/** What one person has at one client. */
export type UserAtClient = { readonly userId: string; readonly clientId: string };

/** A revocation as the durable store keeps it. */
export interface Revocation {
  readonly kind: "grant" | "session" | "token" | "user" | "client";
  /** SHA-256 of a grant's id or a session's uid, the store key of a token, the plain id of a user or client. */
  readonly key: string;
  /** Of a user or a client: whatever was made at this moment or before it is ended. Milliseconds since 1970. */
  readonly beforeMs: number;
  readonly expiresAtMs: number;
}

/** What was written since that moment and has not ended, the oldest first, page by page. */
export type RevocationSource = (since: Date) => AsyncIterable<readonly Revocation[]>;

/** A Grant in a list. Its id is not kept; the hash is enough to end it. */
export interface ListedGrant {
  readonly hash: string;
  readonly payload: JsonObject;
}

/** What a record belongs to: ending a grant ends it, a user code finds it. */
export interface Links {
  readonly grantId?: string | undefined;
  readonly userCode?: string | undefined;
}

/** A browser session. `authorizations` has one entry per client and is merged entry by entry, so that two tabs never undo each other. */
export interface SessionRecord {
  readonly uid: string;
  readonly fields: JsonObject;
  readonly authorizations: Readonly<Record<string, JsonObject>>;
  /** Seconds since 1970 of the last visit that counted; the idle limit is measured from it. */
  readonly seenAt: number;
}

/** The difference that one request made to a session. */
export interface SessionChange {
  readonly uid: string;
  /** A new session is created; an existing one that was ended meanwhile is not revived by a late write. */
  readonly isNew: boolean;
  /** Whole, without `authorizations`. A `fields.accountId` other than the stored one replaces the record whole: nothing of the other person stays. */
  readonly fields: JsonObject;
  readonly set: Readonly<Record<string, JsonObject>>;
  readonly removed: readonly string[];
  /** Absent: keep the stored one. */
  readonly seenAt?: number | undefined;
}

/**
 * A session whose sign-in (`fields.signedInAtMs`, else the second `fields.loginTs`) lies at or before its user's cut-off is found by
 * none of these; nor is one that was ended.
 */
export interface SessionStore {
  findById(id: string): Promise<SessionRecord | undefined>;
  /**
   * Whoever knows the user spares a round trip; a wrong one changes nothing. Inside a transaction of the durable store it goes along: an
   * engine that lies there asks over its connection, since one that waits for a second holds the first.
   */
  findByUid(uid: string, userId?: string, tx?: Queries): Promise<SessionRecord | undefined>;
  /** Those that live, the longest-lived first. Grants of a session are in its authorizations. `tx` as for `findByUid`. */
  list(of: Owner, limit: number, tx?: Queries): Promise<readonly SessionRecord[]>;
  /** Writes the change and lets `id` point to it; the lifetime is never shortened. False: the session was ended, nothing was written. */
  save(id: string, change: SessionChange, ttlSeconds: number): Promise<boolean>;
  /** An id that was replaced: it answers for so many seconds more (a second tab may hold it), 0 ends it at once. */
  forget(id: string, afterSeconds: number): Promise<void>;
  /** Ends the session that the id points to, under all its ids. */
  end(id: string): Promise<void>;
  /** Lets the session live at least so long: refresh tokens bound to it need it. */
  prolong(uid: string, ttlSeconds: number): Promise<void>;
}

/** All refresh tokens of one sign-in at one client: one record, whatever the number of rotations. */
export interface Family {
  /** The generation that may be spent now, from 0. */
  readonly generation: number;
  /** Milliseconds since 1970 of the latest spends, newest first, at most `SPENDS_KEPT`. */
  readonly spentAt: readonly number[];
  readonly payload: JsonObject;
}

/** current: may be spent; replayed: spent a moment ago, the same successor is given again; refused: stale but no sign of theft, nothing is touched; reused: the family must end. */
export type Standing = "current" | "replayed" | "refused" | "reused" | "unknown";

export interface FamilyStore {
  start(familyId: string, payload: JsonObject, ttlSeconds: number): Promise<void>;
  find(familyId: string): Promise<Family | undefined>;
  /** Atomic, on the one key: "current" means that this call advanced the family; everything else changed nothing. */
  spend(
    familyId: string,
    generation: number,
    time: { readonly nowMs: number; readonly windowMs: number },
  ): Promise<Standing>;
  /** Writes the payload if the family still stands at this generation: a slow replay never rolls it back. False: it does not. */
  save(familyId: string, generation: number, payload: JsonObject, ttlSeconds: number): Promise<boolean>;
  end(familyId: string): Promise<void>;
}

export interface GrantStore {
  readonly engine: "redis" | "postgres";
  put(model: string, id: string, payload: JsonObject, ttlSeconds: number, links?: Links): Promise<void>;
  /** A "Grant" is found as `findGrant` finds it. */
  find(model: string, id: string): Promise<StoredRecord | undefined>;
  /**
   * Undefined for one that was ended, also when a late write put it back, and for one whose user or client was cut off at or after the
   * moment it dates from: of a user `signedInAtMs` of the payload, of a client `madeAtMs`. Whoever knows the owners spares a round trip.
   */
  findGrant(id: string, owners?: Owners): Promise<StoredRecord | undefined>;
  /**
   * The same question for what is not kept here, such as a JWT: whether it was revoked itself (its id under `TOMBSTONE`), its grant was ended or
   * its owners were cut off since it was made. `signedInAtMs` is the moment that a user's cut-off is measured against, unless given `madeAtMs`.
   */
  isEnded(what: Unkept, madeAtMs: number, signedInAtMs?: number): Promise<boolean>;
  /** Those that live, the longest-lived first. A family of refresh tokens is listed and ended by its Grant. */
  listGrants(of: Owner | UserAtClient, limit: number): Promise<readonly ListedGrant[]>;
  findByUserCode(model: string, userCode: string): Promise<StoredRecord | undefined>;
  /** Marks it once; the record stays until it expires, and find shows the mark. */
  consume(model: string, id: string): Promise<Outcome>;
  /** Reads and deletes: one caller gets it. */
  take(model: string, id: string): Promise<StoredRecord | undefined>;
  remove(model: string, id: string): Promise<void>;
  /** True for the first caller until the time is over (replay marks: jti, proofs). */
  claim(purpose: string, id: string, ttlSeconds: number): Promise<boolean>;
  /** The tombstone first, then the Grant, then what is known to belong to it; complete even if only the first step happens. */
  endGrant(grantId: string, ttlSeconds: number): Promise<void>;
  /** Carries out revocations that stand in the durable store; as often as one likes. Of a cut-off the later moment and the later end stand. */
  plant(revocations: readonly Revocation[]): Promise<void>;
  /** Some may not have been carried out: the engine then reads them from the durable store before its next answer. */
  doubt(): void;
  readonly sessions: SessionStore;
  readonly families: FamilyStore;
  /** Removes what expired, at most so many rows; 0 where the engine does it itself. */
  sweep(limit: number): Promise<number>;
  /** Throws when the store cannot be used, with the reason. */
  check(): Promise<void>;
  close(): Promise<void>;
}

/** Spends that are remembered for telling a stale tab from a thief; more within one window than any honest client makes. */
export const SPENDS_KEPT = 8;

/** The kind of a tombstone: of a Grant, or of a token that is not kept here and was revoked by its id. No model's name begins with a dot. */
export const TOMBSTONE = ".ended";

/** A key of the store: prefixed by the model, so that a code is never taken for a refresh token (CVE-2026-4282), and hashed, so that a dump is of no use. */
export function storeKey(model: string, id: string): string {
  return `${model}:${sha256(id)}`;
}

/**
 * How a presented generation stands to its family (decision 15). Pure, so that both engines and the reader share one rule.
 * A token one behind is replayed inside the window. A token further behind is refused untouched while its successor was spent
 * less than a window ago (three tabs, or one that refreshed twice), and is a theft afterwards.
 */
export function standing(
  family: Family,
  generation: number,
  time: { readonly nowMs: number; readonly windowMs: number },
): Standing {
  if (generation > family.generation || generation < 0) return "unknown";
  if (generation === family.generation) return "current";
  // Without a window nothing is recent, also for a caller who read the clock before the spend that it waited for (measured: two successes).
  const isRecent = (spend: number | undefined): boolean =>
    spend !== undefined && time.windowMs > 0 && time.nowMs - spend < time.windowMs;
  const behind = family.generation - generation;
  if (behind === 1) return isRecent(family.spentAt[0]) ? "replayed" : "reused";
  const successorSpentAt = family.spentAt[behind - 2];
  if (successorSpentAt !== undefined) return isRecent(successorSpentAt) ? "refused" : "reused";
  // The successor's spend is older than the kept ones: if even the oldest kept one is young, so may it be.
  return isRecent(family.spentAt[SPENDS_KEPT - 1]) ? "refused" : "reused";
}
