/** Failures: why a request of an app was refused, for the app's developer: the cause, the values that differ, and what mends it. Bounded, and sampled under a flood. */
import { now, secondsAfter } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Db } from "../store/db.ts";
import { CAUSES, type Cause, isCause } from "./causes.ts";
import * as sql from "./queries.ts";

/** What was refused, as it is kept. The id is the request's, which stands on the error page and in `X-Request-Id`. */
export interface Failure {
  readonly id: string;
  readonly at: Date;
  /** Empty when the request named no client that exists. */
  readonly clientId: string;
  readonly route: string;
  readonly error: string;
  readonly description: string | undefined;
  readonly cause: Cause;
  readonly facts: Readonly<Record<string, string>>;
}

/** With its words in the language of the reader. */
export interface ExplainedFailure extends Failure {
  readonly why: string;
  readonly mend: string;
}

export interface FailureQuery {
  readonly clientId?: string | undefined;
  readonly error?: string | undefined;
  readonly cause?: Cause | undefined;
  readonly from?: Date | undefined;
  /** Not included. */
  readonly to?: Date | undefined;
  /** The last of the page before. */
  readonly after?: { readonly at: Date; readonly id: string } | undefined;
  readonly limit: number;
}

export interface CauseCount {
  readonly cause: Cause;
  readonly count: number;
}

/** One catalogue; the room of pages has them. */
export interface Words {
  t(key: string, values: Readonly<Record<string, string>>): string;
}

export interface Failures {
  /** Keeps it for the next flush, or drops it. Never throws and never waits: it is called in the middle of a request. */
  note(failure: Failure): void;
  flush(): Promise<void>;
  /** BCP 47; English unless given. */
  find(id: string, language?: string): Promise<ExplainedFailure | undefined>;
  /** The newest first. */
  list(query: FailureQuery, language?: string): Promise<readonly ExplainedFailure[]>;
  /** How many are kept of each cause since a moment, the most first; of a flood a part only. */
  causes(query: { readonly clientId?: string | undefined; readonly from: Date }): Promise<readonly CauseCount[]>;
  /** Removes what is old; returns how many went. */
  sweep(limit: number): Promise<number>;
}

export const FAILURE_DAYS = 7;
export const PAGE_MAX = 200;
/** Of one client and one cause, in one process and one minute: so many are kept, then one in `SAMPLE`. */
const KEPT_PER_MINUTE = 30;
const SAMPLE = 50;
/** More different clients and causes in one minute share a count. */
const COUNTED_MAX = 1000;
/** What waits for the next flush, a second away; some hundred bytes each. */
const WAITING_MAX = 1000;
const FLUSH_ROWS = 200;
/** Whatever a flood does, a client leaves this many rows, and all of them together so many. */
const ROWS_PER_CLIENT_MAX = 1000;
const ROWS_MAX = 100_000;
const FACT_CHARS_MAX = 300;
const ID = /^[A-Za-z0-9_-]{6,64}$/;
/** Whatever has the form of a secret, a code or a token: nothing of that kind is kept, in whatever parameter it came. */
const SECRET = /\bsgn_[a-z]{2}_[A-Za-z0-9_-]+|\beyJ[\w-]+(\.[\w-]*)*|[A-Za-z0-9_~-]{32,}/g;
const SECRET_PARAMETER =
  /([?&](?:[\w-]*(?:token|secret|code|password|key|state|nonce|session|assertion)[\w-]*)=)[^&#\s]*/gi;
const USER_INFO = /(\/\/)[^/@\s]*@/g;
const CONTROL = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

export function createFailures(options: { db: Db; log: Log; words: (language: string) => Words }): Failures {
  const { db, log, words } = options;
  let waiting = new Map<string, Failure>();
  let counts = new Map<string, number>();
  let minute = 0;
  const isSampled = (failure: Failure): boolean => {
    const current = Math.floor(failure.at.getTime() / 60_000);
    if (current !== minute) [minute, counts] = [current, new Map()];
    const wanted = `${failure.clientId} ${failure.cause}`;
    const key = counts.has(wanted) || counts.size < COUNTED_MAX ? wanted : "";
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    return count <= KEPT_PER_MINUTE || count % SAMPLE === 0;
  };
  const explain = (failure: Failure, language = "en"): ExplainedFailure => {
    const { t } = words(language);
    const quoted = Object.fromEntries(CAUSES[failure.cause].map((name) => [name, failure.facts[name] ?? "?"]));
    return {
      ...failure,
      why: t(`failure.${failure.cause}.why`, quoted),
      mend: t(`failure.${failure.cause}.mend`, quoted),
    };
  };
  return {
    note(failure) {
      // One request, one failure: the last that was said of it before it is written.
      if (!waiting.has(failure.id) && (waiting.size >= WAITING_MAX || !isSampled(failure))) return;
      const facts = Object.entries(failure.facts).map(([name, value]) => [name, withoutSecrets(value)]);
      const description = failure.description === undefined ? undefined : withoutSecrets(failure.description);
      waiting.set(failure.id, { ...failure, description, facts: Object.fromEntries(facts) });
    },
    async flush() {
      const all = [...waiting.values()];
      waiting = new Map();
      for (let from = 0; from < all.length; from += FLUSH_ROWS) {
        const part = all.slice(from, from + FLUSH_ROWS);
        try {
          await sql.insertFailures(db, part);
          await sql.deleteBeyond(db, [...new Set(part.map(({ clientId }) => clientId))], ROWS_PER_CLIENT_MAX);
        } catch (error) {
          // What explains mistakes is no record: what cannot be written now is let go.
          const reason = error instanceof Error ? error.message : "unknown";
          log.warn("failures of apps were not kept", { count: part.length, error: reason });
        }
      }
    },
    async find(id, language) {
      const row = ID.test(id) ? await sql.selectFailure(db, id) : undefined;
      return row === undefined ? undefined : explain(toFailure(row), language);
    },
    async list(query, language) {
      if (query.clientId?.includes("\0") === true || query.error?.includes("\0") === true) return [];
      const limit = Math.min(Math.max(1, query.limit), PAGE_MAX);
      return (await sql.selectFailures(db, { ...query, limit })).map((row) => explain(toFailure(row), language));
    },
    async causes({ clientId, from }) {
      const rows = clientId?.includes("\0") === true ? [] : await sql.selectCauses(db, { clientId, from });
      return rows.flatMap(({ cause, count }) => (isCause(cause) ? [{ cause, count }] : []));
    },
    sweep: (limit) =>
      sql.deleteOld(db, { before: secondsAfter(now(), -FAILURE_DAYS * 86_400), limit, rowsMax: ROWS_MAX }),
  };
}

/** In the names of the wire. */
export function presentFailure(failure: ExplainedFailure): Record<string, unknown> {
  const { id, at, clientId, route, error, description, cause, facts, why, mend } = failure;
  return {
    id,
    at: at.toISOString(),
    client_id: clientId === "" ? null : clientId,
    endpoint: route,
    error,
    error_description: description ?? null,
    cause,
    facts,
    why,
    mend,
  };
}

/** Of a text from outside: no secret in it, no control character, and not long. */
export function withoutSecrets(text: string): string {
  return text
    .slice(0, 4 * FACT_CHARS_MAX)
    .replace(CONTROL, " ")
    .replace(USER_INFO, "$1…@")
    .replace(SECRET_PARAMETER, "$1…")
    .replace(SECRET, "…")
    .slice(0, FACT_CHARS_MAX);
}

function toFailure(row: sql.FailureRow): Failure {
  // A row of a later version may name a cause that this one has no words for.
  const cause = isCause(row.cause) ? row.cause : "other";
  const facts = cause === row.cause ? row.facts : { detail: row.description ?? row.error };
  return { ...row, cause, facts, description: row.description ?? undefined };
}
