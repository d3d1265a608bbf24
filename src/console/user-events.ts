/** Console: what the audit trail says of one person: the last events, who did them and from where. */
import { textOf } from "./form.ts";
import type { Thing, Visit } from "./page.ts";
import { type Cell, moment } from "./table.ts";
import { USERS } from "./user-facts.ts";
import type { Part } from "./user-page.ts";

const EVENTS_SHOWN = "10";

export function askEvents(visit: Visit, subject: string): Promise<{ readonly data: readonly Thing[] }> {
  return visit.list("listAuditEvents", { params: {}, query: { subject, limit: EVENTS_SHOWN } });
}

export function eventsPart(visit: Visit, user: Thing, events: readonly Thing[]): Part {
  const { texts } = visit;
  const id = textOf(user, "id");
  const all = {
    label: texts.t("console.users.all_events"),
    href: `/admin/audit?subject=${id}`,
    kind: "secondary",
  } as const;
  return {
    title: texts.t("console.users.events"),
    table: {
      head: [
        texts.t("console.users.what"),
        texts.t("console.users.by"),
        texts.t("console.users.from"),
        texts.t("console.users.when"),
      ],
      rows: events.map((event) => {
        const action = textOf(event, "action");
        const isKnown = texts.has(`event.${action}`);
        return [
          { text: isKnown ? texts.t(`event.${action}`) : action, ...(isKnown ? { small: action } : { isCode: true }) },
          actorOf(event["actor"] as Thing, id, visit),
          { text: textOf(event, "address") },
          { text: moment(visit, event["at"]) },
        ];
      }),
    },
    empty: texts.t("console.users.no_events"),
    acts: [all],
  };
}

function actorOf(actor: Thing, userId: string, { texts }: Visit): Cell {
  const [kind, id] = [textOf(actor, "kind"), textOf(actor, "id")];
  if (kind === "user" && id === userId) return { text: texts.t("console.users.themselves") };
  if (kind === "user" && id !== "") return { text: id, href: `${USERS}/${encodeURIComponent(id)}`, isCode: true };
  if (kind === "client" && id !== "")
    return { text: id, href: `/admin/clients/${encodeURIComponent(id)}`, isCode: true };
  const words = { command: "console.users.by_command", system: "console.users.by_system" }[kind];
  return { text: texts.t(words ?? "console.users.by_nobody") };
}
