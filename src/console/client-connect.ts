/** Console: the page that hands over a secret, once, and says how an app is connected. */
import { shownFrameworks } from "./client-settings.ts";
import { clientCrumbs, clientPath, kindOf } from "./clients.ts";
import { listOf, textOf } from "./form.ts";
import type { Thing, Visit } from "./page.ts";
import type { Cell } from "./table.ts";

export interface ShownStep {
  readonly label: string;
  readonly number: number;
  readonly state: string;
  readonly href: string | undefined;
}

/** The end of a registration: the answer of createClient. */
export function showConnect(visit: Visit, client: Thing, steps: readonly ShownStep[]): void {
  const { texts } = visit;
  const secret = client["client_secret"] === undefined ? undefined : textOf(client, "client_secret");
  visit.show(
    "console/client-connect",
    {
      title: texts.t("console.clients.registered_title", { name: textOf(client, "client_name") }),
      crumbs: clientCrumbs(visit),
    },
    {
      steps,
      secret,
      frameworks: shownFrameworks(visit, client),
      facts: registered(visit, client),
      next: {
        label: texts.t(secret === undefined ? "console.clients.to_client" : "console.clients.copied"),
        href: clientPath(client),
      },
      languages: [],
    },
  );
}

/** What addClientSecret answers, for the client as it was read before. */
export function showSecret(visit: Visit, client: Thing, answer: Thing): void {
  const { texts } = visit;
  visit.show(
    "console/client-connect",
    {
      title: texts.t("console.clients.secret_added_title", { name: textOf(client, "client_name") }),
      lead: texts.t("console.clients.secret_added_lead"),
      crumbs: clientCrumbs(visit, client),
    },
    {
      ...{ steps: [], secret: textOf(answer, "client_secret"), frameworks: [], facts: [] },
      next: { label: texts.t("console.clients.copied"), href: clientPath(client) },
      languages: [],
    },
  );
}

function registered(visit: Visit, client: Thing) {
  const { texts } = visit;
  const apis = (client["apis"] as readonly Thing[]).map(
    (api): Cell => ({ text: textOf(api, "identifier"), small: listOf(api, "scopes").join(" ") || undefined }),
  );
  const codes = (name: string): readonly Cell[] => listOf(client, name).map((text) => ({ text, isCode: true }));
  return [
    { label: "client_id", cells: [{ text: textOf(client, "client_id"), isCode: true }] },
    { label: texts.t("console.clients.kind"), cells: [{ text: kindOf(visit, client) }] },
    { label: texts.t("console.clients.redirects"), cells: codes("redirect_uris") },
    { label: texts.t("console.clients.after_logout"), cells: codes("post_logout_redirect_uris") },
    { label: texts.t("console.clients.origins"), cells: codes("web_origins") },
    { label: texts.t("console.nav.apis"), cells: apis },
  ].filter(({ cells }) => cells.length > 0);
}
