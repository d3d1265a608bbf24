/** Logout notices: which apps must hear that a person was signed out, written with what ends the sessions, and whether they have heard. */
import { now, secondsAfter } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Log } from "../log.ts";
import { newId } from "../secrets.ts";
import type { Db, Queries } from "../store/db.ts";
import type { GrantStore, SessionRecord } from "../store/grants.ts";
import * as sql from "./queries.ts";

export type { LogoutState } from "./queries.ts";

export interface LogoutNotice {
  readonly id: string;
  readonly clientId: string;
  readonly userId: string;
  readonly sid: string | undefined;
  readonly state: sql.LogoutState;
  readonly attempts: number;
  readonly error: string | undefined;
  readonly dueAt: Date;
  readonly createdAt: Date;
  readonly deliveredAt: Date | undefined;
}

/** Why it was not told; final: it is asked no more. */
export type LogoutOutcome = "delivered" | { readonly failure: string; readonly isFinal?: boolean };

export interface Logouts {
  /** Before the sessions of a user end, or one session by its uid: in the transaction of what ends them. */
  note(tx: Queries, ended: { readonly kind: "user" | "session"; readonly id: string }): Promise<void>;
  /** Takes what is due for this process alone; `settle` says what became of it. */
  claim(limit: number): Promise<readonly LogoutNotice[]>;
  settle(notice: LogoutNotice, outcome: LogoutOutcome): Promise<sql.LogoutState>;
  list(
    of: { readonly userId: string } | { readonly clientId: string },
    limit: number,
  ): Promise<readonly LogoutNotice[]>;
  sweep(limit: number): Promise<number>;
}

/** Sessions of one person; more are ended with the others, and their apps find out at the next refresh. */
const SESSIONS_MAX = 200;
const LEASE_SECONDS = 60;
/** An app that restarts is back in seconds; one that is down for a day hears of it when it asks for tokens. */
const PAUSE_SECONDS = [2, 5, 30, 120, 600, 1800, 3600] as const;
const ATTEMPTS_MAX = 30;
const KEPT_SECONDS = 30 * 86_400;

export function createLogouts(options: {
  readonly db: Db;
  readonly log: Log;
  /** Opened when it is first needed. */
  readonly store: () => Promise<GrantStore>;
  /** Whether the app has an address for it, asked over the connection of the transaction. */
  readonly isTold: (tx: Queries, clientId: string) => Promise<boolean>;
}): Logouts {
  const { db } = options;
  return {
    async note(tx, { kind, id }) {
      const signIns = (await sessionsOf(options, tx, { kind, id })).flatMap(signInsOf);
      const told = new Set<string>();
      for (const clientId of new Set(signIns.map((signIn) => signIn.clientId))) {
        if (await options.isTold(tx, clientId)) told.add(clientId);
      }
      for (const { userId, clientId, sid } of signIns) {
        if (!told.has(clientId)) continue;
        await sql.insertLogout(tx, { id: newId(), client_id: clientId, user_id: userId, sid, created_at: now() });
      }
    },
    async claim(limit) {
      const leaseEndsAt = secondsAfter(now(), LEASE_SECONDS);
      return (await sql.claimLogouts(db, { at: now(), leaseEndsAt, limit })).map(toNotice);
    },
    async settle(notice, outcome) {
      const failure = outcome === "delivered" ? undefined : outcome.failure;
      const isOver = notice.attempts >= ATTEMPTS_MAX || (outcome !== "delivered" && outcome.isFinal === true);
      const state = failure === undefined ? "delivered" : isOver ? "failed" : "queued";
      const pause = PAUSE_SECONDS[Math.min(notice.attempts, PAUSE_SECONDS.length) - 1] ?? 3600;
      const at = state === "queued" ? secondsAfter(now(), pause) : now();
      await sql.settleLogout(db, notice.id, { state, at, error: failure ?? null });
      return state;
    },
    list: async (of, limit) => (await sql.selectLogouts(db, { ...of, limit })).map(toNotice),
    sweep: (limit) => sql.deleteOldLogouts(db, secondsAfter(now(), -KEPT_SECONDS), limit),
  };
}

/** While the expiring store is away nobody knows which apps there are; what ends a person's access is written all the same, for it must not wait. */
async function sessionsOf(
  options: { readonly log: Log; readonly store: () => Promise<GrantStore> },
  tx: Queries,
  { kind, id }: { readonly kind: "user" | "session"; readonly id: string },
): Promise<readonly SessionRecord[]> {
  try {
    const { sessions } = await options.store();
    if (kind === "user") return await sessions.list({ userId: id }, SESSIONS_MAX, tx);
    return [await sessions.findByUid(id, undefined, tx)].filter((found) => found !== undefined);
  } catch (error) {
    if (!(error instanceof AppError && error.code === "store_unavailable")) throw error;
    options.log.warn("apps were not told of a sign-out: the expiring store does not answer", { reason: error.detail });
    return [];
  }
}

function signInsOf(record: SessionRecord): readonly { userId: string; clientId: string; sid: string | null }[] {
  const userId = record.fields["accountId"];
  if (typeof userId !== "string") return [];
  return Object.entries(record.authorizations).map(([clientId, { sid }]) => ({
    userId,
    clientId,
    sid: typeof sid === "string" ? sid : null,
  }));
}

function toNotice(row: sql.LogoutRow): LogoutNotice {
  return {
    id: row.id,
    clientId: row.client_id,
    userId: row.user_id,
    sid: row.sid ?? undefined,
    state: row.state,
    attempts: row.attempts,
    error: row.error ?? undefined,
    dueAt: row.due_at,
    createdAt: row.created_at,
    deliveredAt: row.delivered_at ?? undefined,
  };
}
