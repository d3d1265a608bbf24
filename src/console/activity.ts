/** Console: what was counted, by client and hour. */
import { textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import { listPage, moment } from "./table.ts";

export const activityPages: readonly ConsolePage[] = [
  listPage({
    path: "/admin/activity",
    section: "overview",
    operation: "listActivity",
    filters: ({ texts }) => [{ name: "client_id", label: texts.t("console.activity.client") }],
    frame: ({ texts }) => ({
      title: texts.t("console.activity.title"),
      lead: texts.t("console.activity.lead"),
      crumbs: [{ label: texts.t("console.nav.overview"), href: "/admin" }],
    }),
    head: ({ texts }) => [
      texts.t("console.activity.hour"),
      texts.t("console.activity.client"),
      texts.t("console.activity.kind"),
      texts.t("console.activity.count"),
    ],
    row: (counted, visit) => [
      { text: moment(visit, counted["hour"]), isWhole: true },
      counted["client_id"] === null
        ? { text: visit.texts.t("console.activity.nobody") }
        : { text: textOf(counted, "client_id"), isCode: true, href: hrefOf(counted, visit) },
      { text: textOf(counted, "kind"), isCode: true },
      { text: textOf(counted, "count") },
    ],
    empty: ({ texts }) => ({
      title: texts.t("console.activity.none"),
      lead: texts.t("console.activity.lead"),
    }),
  }),
];

/** The client's page, for whoever may see it. */
function hrefOf(counted: Thing, { may }: Visit): string | undefined {
  return may("clients:read") ? `/admin/clients/${encodeURIComponent(textOf(counted, "client_id"))}` : undefined;
}
