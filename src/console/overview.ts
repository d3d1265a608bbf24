/** Console: the overview: a sentence of state, what happened, why requests were refused, what should be mended, and the keys with their next step. */
import { bars, type Line, lineChart } from "./chart.ts";
import { textOf } from "./form.ts";
import { signingTable } from "./keys.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import type { Cell, Table } from "./table.ts";

const CAUSES_SHOWN = 5;
/** So many days are read at one glance; the thirty that there are would crowd the axis. */
const DAYS_SHOWN = 14;

export const overviewPage: ConsolePage = {
  path: "/admin",
  section: "overview",
  isForAll: true,
  shows: ["getActivity", "countFailures", "listFindings", "listClients", "listKeys"],
  async show(visit) {
    const { texts, may } = visit;
    const isNew = may("clients:read") && (await hasNoClient(visit));
    const findings = may("audit:read") ? await findingsOf(visit) : undefined;
    const keys = may("keys:read") ? (await visit.ask("listKeys")).body : undefined;
    const figures = may("audit:read") && !isNew ? await figuresOf(visit) : undefined;
    visit.show(
      "console/overview",
      { title: texts.t("console.nav.overview"), lead: stateOf(findings?.length, visit) },
      {
        first: isNew ? firstSteps(visit) : undefined,
        ledger: figures?.ledger,
        charts: figures?.charts,
        refused: figures?.refused,
        findings,
        keys: keys === undefined ? undefined : signingTable(keys, visit, { mayRevoke: false }),
      },
    );
  },
};

function stateOf(count: number | undefined, { texts }: Visit): string {
  if (count === undefined) return texts.t("console.overview.welcome");
  if (count === 0) return texts.t("console.overview.healthy");
  return count === 1 ? texts.t("console.overview.one_finding") : texts.t("console.overview.findings_count", { count });
}

async function hasNoClient(visit: Visit): Promise<boolean> {
  const { data } = await visit.list("listClients", { query: { limit: "1" } });
  return data.length === 0;
}

/** What to do first, as far as the administrator may. */
function firstSteps({ texts, may }: Visit) {
  const step = (title: string, help: string, href: string) => ({ title, help, href });
  return [
    ...(may("clients:write")
      ? [step(texts.t("console.overview.first_app"), texts.t("console.overview.first_app_help"), "/admin/clients/new")]
      : []),
    ...(may("apis:write")
      ? [step(texts.t("console.overview.first_api"), texts.t("console.overview.first_api_help"), "/admin/apis/new")]
      : []),
    ...(may("users:write")
      ? [step(texts.t("console.overview.first_user"), texts.t("console.overview.first_user_help"), "/admin/users")]
      : []),
  ];
}

type Totals = Readonly<Record<"token" | "sign_in" | "sign_in_failure" | "failure", number>>;

async function figuresOf(visit: Visit) {
  const { texts } = visit;
  const { body: day } = await visit.ask("getActivity", { query: { period: "24h" } });
  const { body: month } = await visit.ask("getActivity", { query: { period: "30d" } });
  const { body: causes } = await visit.ask("countFailures");
  const [now, before] = [day["totals"] as Totals, day["before"] as Totals];
  const figure = (label: string, kind: keyof Totals) => ({
    ...{ label, value: numberOf(now[kind], visit) },
    words: comparison(now[kind], before[kind], visit),
  });
  const rows = causes["data"] as readonly { readonly cause: string; readonly count: number }[];
  return {
    ledger: [
      figure(texts.t("console.overview.sign_ins"), "sign_in"),
      figure(texts.t("console.overview.sign_in_failures"), "sign_in_failure"),
      figure(texts.t("console.overview.tokens"), "token"),
      figure(texts.t("console.overview.refused"), "failure"),
    ],
    charts: chartOf(month["steps"] as readonly Thing[], visit),
    refused: bars(
      rows.slice(0, CAUSES_SHOWN).map(({ cause, count }) => ({
        ...{ label: cause, count },
        href: `/admin/failures?cause=${encodeURIComponent(cause)}`,
      })),
    ),
  };
}

/** In words, never an arrow. */
function comparison(now: number, before: number, { texts }: Visit): string {
  if (before === 0) return texts.t(now === 0 ? "console.overview.none_either" : "console.overview.none_before");
  const percent = Math.round((100 * (now - before)) / before);
  if (percent === 0) return texts.t("console.overview.as_before");
  return percent > 0
    ? texts.t("console.overview.more", { percent })
    : texts.t("console.overview.less", { percent: -percent });
}

function chartOf(all: readonly Thing[], visit: Visit) {
  const { texts } = visit;
  const steps = all.slice(-DAYS_SHOWN);
  const of = (kind: string): readonly number[] => steps.map((step) => Number(step[kind]));
  const [signIns, failures] = [of("sign_in"), of("failure")];
  const [today, refusedToday] = [signIns.at(-1) ?? 0, failures.at(-1) ?? 0];
  const lines: readonly Line[] = [
    { kind: 1, values: signIns, last: texts.t("console.overview.signed_in", { count: today }) },
    { kind: 2, values: failures, last: texts.t("console.overview.refused_count", { count: refusedToday }) },
  ];
  const days = steps.map((step) => dayOf(textOf(step, "from"), texts.language));
  const number = (value: number) => numberOf(value, visit);
  const sum = (values: readonly number[]) => values.reduce((total, one) => total + one, 0);
  const table: Table = {
    head: [texts.t("console.overview.day"), texts.t("console.overview.sign_ins"), texts.t("console.overview.refused")],
    rows: days.map((text, index): readonly Cell[] => [
      { text },
      { text: number(signIns[index] ?? 0) },
      { text: number(failures[index] ?? 0) },
    ]),
  };
  return {
    label: texts.t("console.overview.chart_label", {
      ...{ days: steps.length, sign_ins: sum(signIns), refused: sum(failures) },
    }),
    wide: lineChart(lines, { width: 540, steps: days, number }),
    narrow: lineChart(lines, { width: 308, steps: days, number }),
    table,
  };
}

/** "22 Nov", of UTC as everything here. */
function dayOf(from: string, language: string): string {
  const format = new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, {
    ...({ day: "numeric", month: "short", timeZone: "UTC" } as const),
  });
  return format.format(new Date(from));
}

function numberOf(count: number, { texts }: Visit): string {
  return texts.t("console.overview.number", { count });
}

const ACTS: Readonly<Record<string, string>> = {
  client: "/admin/clients",
  key: "/admin/keys",
  mail: "/admin/mail?state=failed",
  settings: "/admin/settings",
  users: "/admin/users",
};

async function findingsOf(visit: Visit) {
  const { texts } = visit;
  const { body } = await visit.ask("listFindings", { query: { language: texts.language } });
  return (body["data"] as readonly Thing[]).map((finding) => {
    const { kind, id } = finding["subject"] as { readonly kind: string; readonly id?: string };
    const isSerious = finding["severity"] === "serious";
    const place = ACTS[kind] ?? "/admin";
    return {
      badge: isSerious ? "danger" : "warn",
      severity: texts.t(isSerious ? "console.overview.serious" : "console.overview.soon"),
      what: textOf(finding, "what"),
      why: textOf(finding, "why"),
      act: textOf(finding, "act"),
      href: id === undefined ? place : `${place}/${encodeURIComponent(id)}`,
    };
  });
}
