/** Console: why requests of apps were refused, with the values that differ and what mends it; found by the id on the error page. */
import { AppError } from "../errors.ts";
import { CAUSES } from "../failures/causes.ts";
import { textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import { type Cell, listPage, moment, momentTyped } from "./table.ts";

const SECTION = "failures";
const FAILURES = "/admin/failures";

const list = listPage({
  path: FAILURES,
  section: SECTION,
  operation: "listFailures",
  also: ["getFailure"],
  filters: ({ texts }) => [
    { name: "client_id", label: texts.t("console.failures.client"), type: "search" },
    {
      name: "cause",
      label: texts.t("console.failures.cause"),
      options: Object.keys(CAUSES).map((value) => ({ value, label: value })),
    },
    { name: "error", label: texts.t("console.failures.error"), type: "search" },
    { name: "from", label: texts.t("console.from"), type: "datetime-local" },
    { name: "to", label: texts.t("console.to"), type: "datetime-local" },
  ],
  asked: (typed, visit) => ({
    ...typed,
    from: momentTyped(typed["from"]),
    to: momentTyped(typed["to"]),
    language: visit.texts.language,
  }),
  find: ({ texts, parameter }) => ({
    name: "id",
    label: texts.t("console.failures.id"),
    submit: texts.t("console.failures.explain"),
    value: parameter("id"),
    error: parameter("id") === undefined ? undefined : texts.t("console.failures.unknown"),
  }),
  frame: ({ texts }) => ({ title: texts.t("console.nav.failures"), lead: texts.t("console.failures.lead") }),
  head: ({ texts }) => [
    texts.t("console.failures.what"),
    texts.t("console.failures.client"),
    texts.t("console.failures.error"),
    texts.t("console.failures.at"),
  ],
  row: (failure, visit) => [
    { text: textOf(failure, "why"), href: `${FAILURES}/${encodeURIComponent(textOf(failure, "id"))}` },
    { text: clientOf(failure, visit), isCode: failure["client_id"] !== null },
    { text: textOf(failure, "error"), isCode: true },
    { text: moment(visit, failure["at"]) },
  ],
  empty: ({ texts }) => ({ title: texts.t("console.failures.none"), lead: texts.t("console.failures.none_lead") }),
});

export const failurePages: readonly ConsolePage[] = [
  {
    ...list,
    async show(visit) {
      const id = visit.parameter("id")?.trim();
      if (id !== undefined && (await isKnown(visit, id))) return visit.go(`${FAILURES}/${encodeURIComponent(id)}`);
      return list.show(visit);
    },
  },
  {
    path: `${FAILURES}/:failure_id`,
    section: SECTION,
    shows: ["getFailure"],
    async show(visit) {
      const { texts } = visit;
      const { body: failure } = await visit.ask("getFailure", { query: { language: texts.language } });
      const words = (label: string, text: string) => ({ label, cells: [{ text }] });
      const facts = Object.entries(failure["facts"] as Readonly<Record<string, string>>);
      visit.show(
        "console/detail",
        {
          title: textOf(failure, "error"),
          lead: textOf(failure, "error_description"),
          crumbs: [{ label: texts.t("console.nav.failures"), href: FAILURES }],
        },
        {
          parts: [
            {
              title: texts.t("console.failures.explained"),
              facts: [
                words(texts.t("console.failures.why"), textOf(failure, "why")),
                words(texts.t("console.failures.mend"), textOf(failure, "mend")),
              ],
            },
            {
              title: texts.t("console.failures.request"),
              facts: requestFacts(failure, visit),
            },
            {
              title: texts.t("console.failures.facts"),
              help: texts.t("console.failures.facts_help"),
              facts: facts.map(([label, text]) => ({ label, cells: [{ text, isCode: true }] })),
              empty: texts.t("console.failures.no_facts"),
            },
          ],
        },
      );
    },
  },
];

function requestFacts(failure: Thing, visit: Visit): readonly { label: string; cells: readonly Cell[] }[] {
  const { texts, may } = visit;
  const id = textOf(failure, "client_id");
  const client: Cell =
    id === ""
      ? { text: clientOf(failure, visit) }
      : {
          ...{ text: id, isCode: true },
          href: may("clients:read") ? `/admin/clients/${encodeURIComponent(id)}` : undefined,
        };
  const code = (name: string): readonly Cell[] => [{ text: textOf(failure, name), isCode: true }];
  return [
    { label: texts.t("console.failures.client"), cells: [client] },
    { label: texts.t("console.failures.endpoint"), cells: code("endpoint") },
    { label: texts.t("console.failures.cause"), cells: code("cause") },
    { label: texts.t("console.failures.at"), cells: [{ text: moment(visit, failure["at"]) }] },
    { label: texts.t("console.failures.id_short"), cells: code("id") },
  ];
}

function clientOf(failure: Thing, { texts }: Visit): string {
  const id = textOf(failure, "client_id");
  return id === "" ? texts.t("console.failures.no_client") : id;
}

async function isKnown(visit: Visit, id: string): Promise<boolean> {
  try {
    await visit.ask("getFailure", { params: { failure_id: id } });
    return true;
  } catch (error) {
    if (error instanceof AppError && error.code === "failure_unknown") return false;
    throw error;
  }
}
