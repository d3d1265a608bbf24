/** Console: the audit trail by days, the proof that it is whole, and the trail as a file of JSON lines. */
import { Readable } from "node:stream";
import { withBudget } from "../budget.ts";
import { monotonicMs } from "../clock.ts";
import { AppError } from "../errors.ts";
import { textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import { address, type Cell, type Filter, momentTyped, typedIn } from "./table.ts";

const SECTION = "audit";
const AUDIT = "/admin/audit";
const ROWS = "50";
/** One page of the export waits this long for the database, as one request does. */
const PAGE_MS = 2500;
/** A trail that takes longer is verified in several presses of the button. */
const VERIFY_MS = 1200;
/** Where a subject has a page of its own. */
const PLACES: Readonly<Record<string, string>> = {
  user: "/admin/users",
  client: "/admin/clients",
  api: "/admin/apis",
  role: "/admin/roles",
};

export const auditPages: readonly ConsolePage[] = [
  {
    path: AUDIT,
    section: SECTION,
    shows: ["listAuditEvents", "verifyAudit"],
    async show(visit) {
      const { texts } = visit;
      const filters = filtersOf(visit).map((filter) => ({ ...filter, value: typedIn(visit, filter) }));
      const typed = Object.fromEntries(filters.map(({ name, value }) => [name, value]));
      const cursor = visit.parameter("cursor");
      const { data, next } = await visit.list("listAuditEvents", { query: { ...asked(typed), cursor, limit: ROWS } });
      const { body: newest } = await visit.ask("verifyAudit", { query: { newest: "yes" } });
      visit.show(
        "console/audit",
        { title: texts.t("console.nav.audit"), lead: texts.t("console.audit.lead") },
        {
          filters: filters.map((filter) => ({
            ...filter,
            without: address(visit, { ...typed, [filter.name]: undefined }),
          })),
          isFiltered: filters.some(({ value }) => value !== undefined),
          all: AUDIT,
          proof: proofOf(newest, visit),
          exportHref: address(visit, typed, `${AUDIT}/export`),
          days: daysOf(data, visit),
          pages: {
            shown: data.length,
            next: next === undefined ? undefined : address(visit, { ...typed, cursor: next }),
            first: cursor === undefined ? undefined : address(visit, typed),
          },
        },
      );
    },
  },
  {
    path: `${AUDIT}/export`,
    section: SECTION,
    shows: ["exportAudit"],
    async show(visit) {
      const { ctx } = visit;
      const typed = Object.fromEntries(filtersOf(visit).map(({ name }) => [name, visit.parameter(name)]));
      const query = asked(typed);
      const first = await visit.lines("exportAudit", { query });
      ctx.status = 200;
      ctx.type = "application/jsonl";
      ctx.set("Content-Disposition", 'attachment; filename="signet-audit.jsonl"');
      ctx.set("Cache-Control", "no-store");
      ctx.body = Readable.from(linesOf(visit, query, first));
    },
  },
  {
    path: `${AUDIT}/verify`,
    section: SECTION,
    shows: ["verifyAudit"],
    // A reload of the address shows the trail; the check itself is only begun by its button.
    show: async (visit) => visit.go(AUDIT),
    submit: verify,
  },
];

/** Page after page, so that a trail of any length is never held; nobody goes on reading who may not any more. */
async function* linesOf(
  visit: Visit,
  query: Readonly<Record<string, string | undefined>>,
  first: { readonly text: string; readonly next: string | undefined },
): AsyncGenerator<string> {
  for (let page = first; ; ) {
    if (page.text !== "") yield page.text;
    const cursor = page.next;
    if (cursor === undefined) return;
    if (!(await visit.mayStill("audit:read"))) throw new AppError("scope_missing", "It needs audit:read.");
    page = await withBudget(PAGE_MS, () => visit.lines("exportAudit", { query: { ...query, cursor } }));
  }
}

async function verify(visit: Visit): Promise<void> {
  const { texts } = visit;
  const began = monotonicMs();
  const faults: Thing[] = [];
  let events = 0;
  let after = visit.parameter("after");
  let part: Thing;
  do {
    ({ body: part } = await visit.ask("verifyAudit", { query: { after_batch: after } }));
    events += Number(part["events"]);
    faults.push(...(part["faults"] as readonly Thing[]));
    after = part["next_batch"] === undefined ? undefined : textOf(part, "next_batch");
  } while (after !== undefined && monotonicMs() - began < VERIFY_MS);
  // What an earlier press has found is not forgotten at the last one.
  const isBroken = faults.length > 0 || visit.parameter("broken") === "yes";
  const title = isBroken ? "console.audit.broken" : "console.audit.whole";
  const acts = [
    ...(after === undefined
      ? []
      : [
          {
            label: texts.t("console.audit.go_on"),
            href: `${AUDIT}/verify?after=${after}${isBroken ? "&broken=yes" : ""}`,
            kind: "secondary",
            isForm: true,
          },
        ]),
    { label: texts.t("console.audit.back"), href: AUDIT, kind: "quiet" },
  ];
  visit.show(
    "console/detail",
    {
      title: texts.t(after === undefined || isBroken ? title : "console.audit.whole_so_far"),
      lead: texts.t(isBroken ? "console.audit.broken_lead" : "console.audit.whole_lead"),
      crumbs: [{ label: texts.t("console.nav.audit"), href: AUDIT }],
    },
    {
      parts: [
        {
          title: texts.t("console.audit.checked"),
          badge: {
            kind: isBroken ? "danger" : "good",
            text: texts.t(isBroken ? "console.audit.is_broken" : "console.audit.is_whole"),
          },
          facts: [
            { label: texts.t("console.audit.events"), cells: [{ text: String(events) }] },
            { label: texts.t("console.audit.unsealed"), cells: [{ text: textOf(part, "unsealed") }] },
            { label: texts.t("console.audit.checkpoint"), cells: [{ text: textOf(part, "checkpoint"), isCode: true }] },
            ...faults.map((fault) => ({
              label: texts.t("console.audit.fault"),
              cells: [{ text: textOf(fault, "words"), badge: "danger" }],
            })),
          ],
          acts,
        },
      ],
    },
  );
}

function filtersOf({ texts }: Visit): readonly Filter[] {
  return [
    { name: "actor", label: texts.t("console.audit.actor") },
    { name: "subject", label: texts.t("console.audit.subject") },
    { name: "action", label: texts.t("console.audit.action") },
    { name: "request_id", label: texts.t("console.audit.request_id") },
    { name: "from", label: texts.t("console.from"), type: "datetime-local" },
    { name: "to", label: texts.t("console.to"), type: "datetime-local" },
  ];
}

function asked(typed: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string | undefined>> {
  return { ...typed, from: momentTyped(typed["from"]), to: momentTyped(typed["to"]) };
}

function proofOf(newest: Thing, visit: Visit): { readonly isIntact: boolean; readonly words: string } {
  const { texts } = visit;
  const isIntact = newest["intact"] === true;
  // A checkpoint is batch, number of its last event, HMAC.
  const [, until] = textOf(newest, "checkpoint").split(".");
  if (!isIntact) return { isIntact, words: texts.t("console.audit.proof_broken") };
  if (until === undefined) return { isIntact, words: texts.t("console.audit.proof_none") };
  return {
    isIntact,
    words: texts.t("console.audit.proof", { count: Number(newest["events"]), until: Number(until) }),
  };
}

interface Entry {
  readonly time: string;
  readonly action: string;
  readonly actor: string;
  readonly subject: string;
  readonly address: string;
  readonly facts: readonly { readonly label: string; readonly cells: readonly Cell[] }[];
  readonly changes: readonly { readonly field: string; readonly before?: string; readonly after?: string }[];
}

interface Day {
  readonly label: string;
  readonly entries: Entry[];
}

function daysOf(events: readonly Thing[], visit: Visit): readonly Day[] {
  const days: Day[] = [];
  for (const event of events) {
    const at = new Date(textOf(event, "at"));
    // The day of `date` without its minute.
    const label = visit.texts.date(at).split(",")[0] ?? "";
    if (days.at(-1)?.label !== label) days.push({ label, entries: [] });
    days.at(-1)?.entries.push(entryOf(event, at, visit));
  }
  return days;
}

function entryOf(event: Thing, at: Date, visit: Visit): Entry {
  const { texts } = visit;
  const actor = event["actor"] as Thing;
  const subject = (event["subject"] ?? {}) as Thing;
  const data = (event["data"] ?? {}) as Thing;
  const code = (label: string, text: string): Entry["facts"] =>
    text === "" ? [] : [{ label, cells: [{ text, isCode: true }] }];
  return {
    time: at.toISOString().slice(11, 19),
    action: textOf(event, "action"),
    actor: actor["id"] === visit.admin.caller.id ? texts.t("console.audit.you") : nameOf(actor),
    subject: nameOf(subject),
    address: textOf(event, "address"),
    facts: [
      ...code(texts.t("console.audit.at"), textOf(event, "at")),
      ...whoOf(texts.t("console.audit.actor"), actor, visit),
      ...whoOf(texts.t("console.audit.subject"), subject, visit),
      ...code(texts.t("console.audit.address"), textOf(event, "address")),
      ...code(texts.t("console.audit.request_id"), textOf(event, "request_id")),
      ...code(texts.t("console.audit.seq"), textOf(event, "seq")),
      ...Object.entries(data).flatMap(([name, value]) => code(name, shown(value) ?? "")),
    ],
    changes: changesOf(event["changes"]),
  };
}

function changesOf(changes: unknown): Entry["changes"] {
  return Object.entries((changes ?? {}) as Readonly<Record<string, Thing>>).map(([field, sides]) => {
    const [before, after] = [shown(sides["before"]), shown(sides["after"])];
    return { field, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) };
  });
}

function nameOf(who: Thing): string {
  return [textOf(who, "kind"), textOf(who, "id").slice(0, 8)].join(" ").trim();
}

function whoOf(label: string, who: Thing, { may }: Visit): Entry["facts"] {
  const [kind, id] = [textOf(who, "kind"), textOf(who, "id")];
  if (kind === "") return [];
  const place = PLACES[kind];
  const isSeen = {
    user: may("users:read"),
    client: may("clients:read"),
    api: may("apis:read"),
    role: may("roles:read"),
  };
  const href =
    place !== undefined && id !== "" && isSeen[kind as keyof typeof isSeen]
      ? `${place}/${encodeURIComponent(id)}`
      : undefined;
  return [{ label, cells: [{ text: `${kind} ${id}`.trim(), isCode: true, href }] }];
}

function shown(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  return typeof value === "string" ? value : JSON.stringify(value);
}
