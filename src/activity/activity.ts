/** Activity: tokens, sign-ins and failures by client and hour, counted in this process and flushed every ten seconds, so that a token costs no write. */
import { now, secondsAfter } from "../clock.ts";
import type { Db } from "../store/db.ts";
import * as sql from "./queries.ts";

/**
 * token: an answer of the token endpoint. authorization: a person came back to the app with a code. sign_in and sign_in_failure: a person typed
 * a password here. failure: a request of the app that was refused.
 */
export const ACTIVITIES = ["token", "authorization", "sign_in", "sign_in_failure", "failure"] as const;
export type ActivityKind = (typeof ACTIVITIES)[number];

export interface ActivityQuery {
  /** All clients together unless given. */
  readonly clientId?: string | undefined;
  readonly period: Period;
}

/** 24 hours by the hour, or 30 days by the day; of UTC, the present one last. */
export const PERIODS = ["24h", "30d"] as const;
export type Period = (typeof PERIODS)[number];

export interface Series {
  readonly period: Period;
  /** Where each step begins. */
  readonly steps: readonly Date[];
  /** One count a step. */
  readonly counts: Readonly<Record<ActivityKind, readonly number[]>>;
  readonly totals: Readonly<Record<ActivityKind, number>>;
  /** Of the 24 hours before; only of "24h". */
  readonly before: Readonly<Record<ActivityKind, number>> | undefined;
}

/** What was counted of one client in one hour. */
export interface HourQuery {
  readonly clientId?: string | undefined;
  readonly from: Date;
  /** Not included. */
  readonly to: Date;
  readonly after?: sql.Place | undefined;
  readonly limit: number;
}

export interface Activity {
  /** One look-up and one addition: it is called on the token path. The client is one that exists, or empty. */
  count(kind: ActivityKind, clientId: string): void;
  /** Counts what an event of the audit trail says of sign-ins, and gives the event back. */
  seen<E extends SeenEvent>(event: E): E;
  /** Writes what was counted; what could not be written is kept for the next time. */
  flush(): Promise<void>;
  series(query: ActivityQuery): Promise<Series>;
  /** The counts themselves, the oldest hour first. */
  hours(query: HourQuery): Promise<readonly sql.Count[]>;
  /** The clients with the most of a kind, the busiest first. */
  busiest(kind: ActivityKind, query: { readonly period: Period; readonly limit: number }): Promise<readonly sql.Busy[]>;
  /** Removes what is older than the retention; returns how many rows went. */
  sweep(limit: number): Promise<number>;
}

interface SeenEvent {
  readonly name: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

const SIGN_INS: ReadonlyMap<string, ActivityKind> = new Map([
  ["sign_in.succeeded", "sign_in"],
  ["sign_in.failed", "sign_in_failure"],
]);
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** So that a month can be held against the same one of the year before. */
const RETENTION_SECONDS = 400 * 86_400;
/** Clients that exist are counted by name up to here; while the database is away nothing grows beyond it. */
const COUNTED_MAX = 20_000;
const FLUSH_ROWS = 1000;
const BUSIEST_MAX = 100;

export function createActivity({ db }: { db: Db }): Activity {
  /** By hour, kind and client. */
  let counted = new Map<string, number>();
  const add = (key: string, count: number): void => {
    const known = counted.get(key);
    if (known !== undefined || counted.size < COUNTED_MAX) counted.set(key, (known ?? 0) + count);
  };
  const count = (kind: ActivityKind, clientId: string): void =>
    add(`${Math.floor(now().getTime() / HOUR_MS)} ${kind} ${clientId}`, 1);
  return {
    count,
    seen(event) {
      const kind = SIGN_INS.get(event.name);
      const clientId = event.data?.["client_id"];
      if (kind !== undefined) count(kind, typeof clientId === "string" ? clientId : "");
      return event;
    },
    async flush() {
      const all = [...counted];
      counted = new Map();
      for (let from = 0; from < all.length; from += FLUSH_ROWS) {
        try {
          const rows = all.slice(from, from + FLUSH_ROWS).map(toRow);
          await db.transaction(async (tx) => {
            await sql.addCounts(tx, rows);
            await sql.addTotals(tx, rows);
          });
        } catch (error) {
          for (const [key, count] of all.slice(from)) add(key, count);
          throw error;
        }
      }
    },
    series: (query) => series(db, query),
    busiest: (kind, { period, limit }) =>
      sql.selectBusiest(db, { kind, since: stepsOf(period)[0] ?? now(), limit: Math.min(limit, BUSIEST_MAX) }),
    hours: async (query) => (query.clientId?.includes("\0") === true ? [] : sql.selectHours(db, query)),
    sweep: (limit) => sql.deleteOld(db, secondsAfter(now(), -RETENTION_SECONDS), limit),
  };
}

async function series(db: Db, { clientId, period }: ActivityQuery): Promise<Series> {
  const steps = stepsOf(period);
  const [first = now()] = steps;
  const since = period === "24h" ? secondsAfter(first, -86_400) : first;
  const rows = clientId?.includes("\0") === true ? [] : await sql.selectCounts(db, { clientId, since });
  const stepMs = period === "24h" ? HOUR_MS : DAY_MS;
  const of = (kind: ActivityKind): number[] => {
    const sums = steps.map(() => 0);
    for (const row of rows) {
      const step = Math.floor((row.hour.getTime() - first.getTime()) / stepMs);
      if (row.kind === kind && step in sums) sums[step] = (sums[step] ?? 0) + row.count;
    }
    return sums;
  };
  const counts = Object.fromEntries(ACTIVITIES.map((kind) => [kind, of(kind)])) as Record<ActivityKind, number[]>;
  const totals = Object.fromEntries(ACTIVITIES.map((kind) => [kind, counts[kind].reduce((sum, one) => sum + one, 0)]));
  const earlier = (kind: ActivityKind): number =>
    rows.reduce((sum, row) => (row.kind === kind && row.hour < first ? sum + row.count : sum), 0);
  return {
    ...{ period, steps, counts, totals: totals as Record<ActivityKind, number> },
    before:
      period === "24h"
        ? (Object.fromEntries(ACTIVITIES.map((kind) => [kind, earlier(kind)])) as Record<ActivityKind, number>)
        : undefined,
  };
}

/** In the names of the wire. */
export function presentSeries({ period, steps, counts, totals, before }: Series): Record<string, unknown> {
  const rows = steps.map((from, index) => ({
    from: from.toISOString(),
    ...Object.fromEntries(ACTIVITIES.map((kind) => [kind, counts[kind][index] ?? 0])),
  }));
  return { period, totals, before: before ?? null, steps: rows };
}

function stepsOf(period: Period): readonly Date[] {
  const [count, stepMs] = period === "24h" ? [24, HOUR_MS] : [30, DAY_MS];
  const last = Math.floor(now().getTime() / stepMs) * stepMs;
  return Array.from({ length: count }, (_, index) => new Date(last - (count - 1 - index) * stepMs));
}

function toRow([key, count]: readonly [string, number]): sql.Count {
  const [hour = "", kind = "", clientId = ""] = key.split(" ");
  return { hour: new Date(Number(hour) * HOUR_MS), kind, clientId, count };
}
