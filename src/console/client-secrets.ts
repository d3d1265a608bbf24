/** Console: the secrets of a client: another one beside the old ones, shown once, and the end of one. */
import { LIVE_SECRETS_MAX, OVERLAP_SECONDS } from "../clients/secret.ts";
import { AppError } from "../errors.ts";
import { randomText } from "../secrets.ts";
import { showSecret } from "./client-connect.ts";
import { CLIENT, clientCrumbs, clientPath } from "./clients.ts";
import { type Field, faultsFor, formPage, readFields, type ShownFault, shownAgain, textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import { moment, type Table } from "./table.ts";

const HOUR = 3600;
const DAY = 24 * HOUR;
/** What people wait for: a deployment, a night, a release. */
const WAITS = [
  { seconds: 0, words: "console.clients.at_once" },
  { seconds: HOUR, words: "console.clients.in_an_hour" },
  { seconds: DAY, words: "console.clients.in_a_day" },
  { seconds: 7 * DAY, words: "console.clients.in_a_week" },
  { seconds: 30 * DAY, words: "console.clients.in_a_month" },
] as const;

export const secretPages: readonly ConsolePage[] = [
  {
    path: `${CLIENT}/secrets/new`,
    section: "clients",
    shows: ["addClientSecret", "getClient"],
    does: ["addClientSecret"],
    isDangerous: true,
    async show(visit) {
      const { body: client } = await visit.ask("getClient");
      showAdd(visit, client, addFields(visit));
    },
    async submit(visit, form) {
      const { body: client } = await visit.ask("getClient");
      const fields = addFields(visit);
      try {
        const body = numbered(readFields(form, fields, false));
        const { body: answer } = await visit.ask("addClientSecret", { body, once: form.field("once") ?? "" });
        showSecret(visit, client, answer);
      } catch (error) {
        const typed = fields.map((field) => ({ ...field, value: shownAgain(form, field) }));
        showAdd(visit, client, typed, {
          faults: faultsFor(error, fields, visit.texts),
          status: (error as AppError).status,
        });
      }
    },
  },
  formPage({
    path: `${CLIENT}/secrets/:secret_id/expire`,
    section: "clients",
    shows: ["getClient", "listClientSecrets"],
    operation: "expireClientSecret",
    isDangerous: true,
    async model(visit) {
      const { texts } = visit;
      const { body: client } = await visit.ask("getClient");
      const { body: list } = await visit.ask("listClientSecrets");
      const secrets = list["data"] as readonly Thing[];
      const secret = secrets.find(({ id }) => id === visit.params["secret_id"]);
      if (secret === undefined) throw new AppError("secret_unknown");
      const isLast = secrets.length === 1;
      return {
        title: texts.t("console.clients.expire_title", { hint: textOf(secret, "hint") }),
        lead: texts.t(isLast ? "console.clients.expire_last_lead" : "console.clients.expire_lead"),
        crumbs: clientCrumbs(visit, client),
        fields: [
          {
            ...{ name: "expires_in", kind: "radio", label: texts.t("console.clients.ends") },
            options: waits(visit),
            value: String(DAY),
          },
        ],
        submit: texts.t("console.clients.expire_submit"),
        cancel: { label: texts.t("console.keep"), href: clientPath(client) },
      };
    },
    asked: (body) => ({ body: numbered(body) }),
    done: (visit) => visit.go(pathOf(visit), "secret_expires"),
  }),
];

/** The live ones, each with the way to end it. */
export function secretTable(visit: Visit, client: Thing): Table {
  const { texts } = visit;
  const mayEnd = visit.may("clients:write");
  return {
    head: [
      texts.t("console.clients.secret_hint"),
      texts.t("console.clients.made"),
      texts.t("console.clients.ends"),
      ...(mayEnd ? [texts.t("console.clients.act")] : []),
    ],
    rows: (client["secrets"] as readonly Thing[]).map((secret) => [
      { text: `…${textOf(secret, "hint")}`, isCode: true },
      { text: moment(visit, secret["created_at"]) },
      secret["expires_at"] === null
        ? { text: texts.t("console.clients.until_replaced") }
        : { text: moment(visit, secret["expires_at"]), badge: "info" },
      ...(mayEnd
        ? [
            {
              text: texts.t("console.clients.expire"),
              href: `${clientPath(client)}/secrets/${encodeURIComponent(textOf(secret, "id"))}/expire`,
            },
          ]
        : []),
    ]),
  };
}

function addFields(visit: Visit): readonly Field[] {
  const { texts } = visit;
  return [
    {
      ...{ name: "overlap", kind: "radio", label: texts.t("console.clients.overlap") },
      help: texts.t("console.clients.overlap_help", { count: LIVE_SECRETS_MAX }),
      options: waits(visit),
      value: String(OVERLAP_SECONDS),
    },
  ];
}

function waits({ texts }: Visit) {
  return WAITS.map(({ seconds, words }) => ({ value: String(seconds), label: texts.t(words) }));
}

function showAdd(
  visit: Visit,
  client: Thing,
  fields: readonly Field[],
  { faults = [], status = 200 }: { faults?: readonly ShownFault[]; status?: number } = {},
): void {
  const { texts } = visit;
  visit.show(
    "console/client-step",
    {
      title: texts.t("console.clients.add_secret_title", { name: textOf(client, "client_name") }),
      lead: texts.t("console.clients.add_secret_lead"),
      crumbs: clientCrumbs(visit, client),
      status,
    },
    {
      steps: [],
      fields: fields.map((field) => ({ ...field, error: faults.find(({ field: of }) => of === field.name)?.text })),
      faults,
      hidden: [{ name: "once", value: randomText() }],
      submit: texts.t("console.clients.add_secret"),
      cancel: { label: texts.t("console.cancel"), href: clientPath(client) },
    },
  );
}

/** A radio button sends a text; what is no number goes on as it is, so that the operation's own shape says so. */
function numbered(body: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const values = Object.entries(body).map(([name, value]) => [
    name,
    /^\d{1,9}$/.test(String(value)) ? Number(value) : value,
  ]);
  return Object.fromEntries(values);
}

function pathOf({ params }: Visit): string {
  return clientPath({ client_id: params["client_id"] });
}
