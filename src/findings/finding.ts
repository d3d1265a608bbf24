/** Findings: what an administrator should mend, as a small table of rules over facts that are cheap to read. What the doctor looks for is in findings.ts. */
import { now, secondsAfter } from "../clock.ts";
import type { Db } from "../store/db.ts";
import * as sql from "./queries.ts";

/** The scope that whoever is told of a finding must hold: a finding shows nothing that its reader may not see. */
export type FindingScope = "clients:read" | "keys:read" | "mail:read" | "settings:read" | "users:read";

export interface Finding {
  readonly rule: RuleName;
  readonly severity: "serious" | "soon";
  readonly scope: FindingScope;
  readonly subject: { readonly kind: "client" | "key" | "mail" | "settings" | "users"; readonly id?: string };
  /** What its words quote. */
  readonly values: Readonly<Record<string, string | number>>;
}

export type RuleName = keyof typeof RULES;

export interface Findings {
  /** The serious ones first. */
  list(): Promise<readonly Finding[]>;
}

/** What the rules need from elsewhere. */
export interface FindingParts {
  readonly db: Db;
  readonly isProduction: boolean;
  readonly isMailOff: boolean;
  /** By algorithm: when the next key signs. */
  nextRotations(): Promise<readonly { readonly algorithm: string; readonly at: Date | undefined }[]>;
}

const DAY_SECONDS = 86_400;
const OLD_DAYS = 365;
const ENDING_DAYS = 14;
/** A rotation is carried out within seconds of its time; an hour later something keeps it from happening. */
const OVERDUE_SECONDS = 3600;
const MAIL_DAYS = 7;
/** Whoever has more of one kind mends these first. */
const PER_RULE_MAX = 10;

type Found = Pick<Finding, "subject" | "values">;
interface Rule {
  readonly severity: Finding["severity"];
  readonly scope: FindingScope;
  find(parts: FindingParts, at: Date): Promise<readonly Found[]>;
}

/** The words are in views/texts as `finding.<rule>.what`, `.why` and `.act`. */
export const RULES = {
  pkce_optional: {
    severity: "serious",
    scope: "clients:read",
    find: async ({ db }) => (await sql.selectPkceOptional(db, PER_RULE_MAX)).map((row) => ofClient(row)),
  },
  key_overdue: {
    severity: "serious",
    scope: "keys:read",
    async find({ nextRotations }, at) {
      const late = (await nextRotations()).filter(
        (next) => next.at !== undefined && secondsAfter(next.at, OVERDUE_SECONDS) < at,
      );
      return late.map(({ algorithm }) => ({ subject: { kind: "key" }, values: { algorithm } }));
    },
  },
  mail_off: {
    severity: "serious",
    scope: "settings:read",
    find: async ({ isProduction, isMailOff }) =>
      isProduction && isMailOff ? [{ subject: { kind: "settings" }, values: {} }] : [],
  },
  secret_ending: {
    severity: "soon",
    scope: "clients:read",
    async find({ db }, at) {
      const rows = await sql.selectEnding(db, {
        at,
        before: secondsAfter(at, ENDING_DAYS * DAY_SECONDS),
        limit: PER_RULE_MAX,
      });
      return rows.map((row) => ofClient(row, { days: daysBetween(at, row.moment) }));
    },
  },
  secret_old: {
    severity: "soon",
    scope: "clients:read",
    async find({ db }, at) {
      const rows = await sql.selectOld(db, {
        at,
        before: secondsAfter(at, -OLD_DAYS * DAY_SECONDS),
        limit: PER_RULE_MAX,
      });
      return rows.map((row) => ofClient(row, { days: daysBetween(row.moment, at) }));
    },
  },
  redirect_http: {
    severity: "soon",
    scope: "clients:read",
    find: async ({ db }) =>
      (await sql.selectPlainRedirects(db, PER_RULE_MAX)).map((row) => ofClient(row, { uri: row.uri })),
  },
  mail_failed: {
    severity: "soon",
    scope: "mail:read",
    async find({ db }, at) {
      const count = await sql.countFailedMails(db, secondsAfter(at, -MAIL_DAYS * DAY_SECONDS));
      return count === 0 ? [] : [{ subject: { kind: "mail" }, values: { count } }];
    },
  },
  one_owner: {
    severity: "soon",
    scope: "users:read",
    find: async ({ db }) => ((await sql.countOwners(db)) === 1 ? [{ subject: { kind: "users" }, values: {} }] : []),
  },
} as const satisfies Readonly<Record<string, Rule>>;

export function createFindings(parts: FindingParts): Findings {
  return {
    async list() {
      const at = now();
      const found: Finding[] = [];
      // One after the other: a request's waits for the database are added up, and together they would wait for each other.
      for (const rule of Object.keys(RULES) as RuleName[]) {
        const { severity, scope, find }: Rule = RULES[rule];
        for (const one of await find(parts, at)) found.push({ rule, severity, scope, ...one });
      }
      return found;
    },
  };
}

function ofClient({ id, name }: sql.WeakClient, values: Readonly<Record<string, string | number>> = {}): Found {
  return { subject: { kind: "client", id }, values: { ...values, client: name } };
}

function daysBetween(from: Date, to: Date): number {
  return Math.max(0, Math.floor((to.getTime() - from.getTime()) / (DAY_SECONDS * 1000)));
}
