/** Console: the list of clients, and what every page of a client has in common. */
import { now } from "../clock.ts";
import { textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import { type Cell, listPage } from "./table.ts";

export const CLIENTS = "/admin/clients";
export const CLIENT = `${CLIENTS}/:client_id`;
export const NEW_CLIENT = `${CLIENTS}/new`;

const DAY_MS = 86_400_000;
/** A secret that is older than a year has been in more hands, logs and backups than anybody remembers. */
const OLD_SECRET_MS = 365 * DAY_MS;
/** Time enough to bring another secret to every place that uses the last one. */
const SOON_MS = 14 * DAY_MS;

export const KINDS = {
  web: { label: "console.clients.kind_web", help: "console.clients.kind_web_help" },
  spa: { label: "console.clients.kind_spa", help: "console.clients.kind_spa_help" },
  native: { label: "console.clients.kind_native", help: "console.clients.kind_native_help" },
  service: { label: "console.clients.kind_service", help: "console.clients.kind_service_help" },
  "resource-server": { label: "console.clients.kind_api", help: "console.clients.kind_api_help" },
} as const;

export const clientList: ConsolePage = listPage({
  path: CLIENTS,
  section: "clients",
  operation: "listClients",
  filters: ({ texts }) => [{ name: "query", label: texts.t("console.clients.query") }],
  frame: ({ texts, may }) => ({
    title: texts.t("console.nav.clients"),
    lead: texts.t("console.clients.lead"),
    action: may("clients:write") ? { label: texts.t("console.clients.register"), href: NEW_CLIENT } : undefined,
  }),
  head: ({ texts }) => [
    texts.t("console.clients.client"),
    texts.t("console.clients.kind"),
    texts.t("console.nav.apis"),
    texts.t("console.clients.state"),
  ],
  row: (client, visit) => [
    {
      ...{ text: textOf(client, "client_name"), href: clientPath(client), small: textOf(client, "client_id") },
      tile: { id: textOf(client, "client_id"), name: textOf(client, "client_name") },
    },
    { text: kindOf(visit, client) },
    { text: apisOf(client, visit) },
    stateOf(visit, client),
  ],
  empty: ({ texts, may }) => ({
    title: texts.t("console.clients.none"),
    lead: texts.t("console.clients.none_lead"),
    action: may("clients:write") ? { label: texts.t("console.clients.register"), href: NEW_CLIENT } : undefined,
  }),
});

export function clientPath(client: Thing): string {
  return `${CLIENTS}/${encodeURIComponent(textOf(client, "client_id"))}`;
}

/** From the list down; with a client the page is one of its own. */
export function clientCrumbs({ texts }: Visit, client?: Thing) {
  const list = { label: texts.t("console.nav.clients"), href: CLIENTS };
  return client === undefined ? [list] : [list, { label: textOf(client, "client_name"), href: clientPath(client) }];
}

export function kindOf({ texts }: Visit, client: Thing): string {
  const kind = KINDS[textOf(client, "client_type") as keyof typeof KINDS];
  return kind === undefined ? textOf(client, "client_type") : texts.t(kind.label);
}

/** The worst that can be said of it. */
export function stateOf({ texts }: Visit, client: Thing): Cell {
  if (client["disabled"] === true) return { text: texts.t("console.clients.disabled"), badge: "plain" };
  if (client["secrets"] !== undefined) {
    const secrets = client["secrets"] as readonly Thing[];
    const lasting = secrets.filter((secret) => secret["expires_at"] === null);
    const ends = Math.max(...secrets.map((secret) => Date.parse(textOf(secret, "expires_at"))));
    if (secrets.length === 0) return { text: texts.t("console.clients.no_secret"), badge: "danger" };
    if (lasting.length === 0)
      return {
        text: texts.t("console.clients.secret_ends"),
        badge: ends - now().getTime() < SOON_MS ? "danger" : "warn",
      };
    const newest = Math.max(...lasting.map((secret) => Date.parse(textOf(secret, "created_at"))));
    if (now().getTime() - newest > OLD_SECRET_MS) return { text: texts.t("console.clients.old_secret"), badge: "warn" };
  }
  if (client["pkce_optional"] === true) return { text: texts.t("console.clients.no_pkce"), badge: "warn" };
  return { text: texts.t("console.clients.active"), badge: "good" };
}

function apisOf(client: Thing, { texts }: Visit): string {
  const names = (client["apis"] as readonly Thing[]).map((api) => textOf(api, "identifier"));
  return names.length === 0 ? texts.t("console.clients.no_api") : names.join(", ");
}
