/** Console: one client, what it is and may do, and switching it off, on and away. */
import { clientRolePages, roleTable } from "./client-roles.ts";
import { secretPages, secretTable } from "./client-secrets.ts";
import { CLIENT, CLIENTS, clientCrumbs, clientPath, kindOf, stateOf } from "./clients.ts";
import { confirmPage, listOf, textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import type { Cell } from "./table.ts";

/** RFC 7591's names are what the app's developer and its documentation call them. */
const ADDRESSES = [
  ...["redirect_uris", "post_logout_redirect_uris", "web_origins", "initiate_login_uri", "backchannel_logout_uri"],
  ...["client_uri", "logo_uri", "tos_uri", "policy_uri"],
];
const PROTOCOL = [
  ...["token_endpoint_auth_method", "grant_types", "scope", "optional_scopes", "id_token_signed_response_alg"],
  ...["jwks_uri", "default_max_age", "require_auth_time", "refresh_window", "refresh_idle", "refresh_absolute"],
  ...["first_party", "pkce_optional", "introspect_apis", "backchannel_logout_session_required"],
];
const SECONDS = new Set(["default_max_age", "refresh_window", "refresh_idle", "refresh_absolute"]);
const APP = ["contacts", "software_id", "software_version"];

export const clientPages: readonly ConsolePage[] = [
  {
    path: CLIENT,
    section: "clients",
    shows: ["getClient", "listClientRoles"],
    async show(visit) {
      const { body: client } = await visit.ask("getClient");
      const isService = client["client_type"] === "service";
      const roles = isService && visit.may("roles:read") ? (await visit.ask("listClientRoles")).body : undefined;
      visit.show(
        "console/detail",
        {
          title: textOf(client, "client_name"),
          lead: kindOf(visit, client),
          crumbs: clientCrumbs(visit),
          action: {
            label: visit.texts.t("console.clients.settings"),
            href: `${clientPath(client)}/settings`,
          },
        },
        {
          parts: [
            appPart(visit, client),
            ...(client["secrets"] === undefined ? [] : [secretPart(visit, client)]),
            { title: visit.texts.t("console.clients.step_access"), ...accessPart(visit, client) },
            ...(roles === undefined ? [] : [rolePart(visit, client, listOf(roles, "roles"))]),
            { title: visit.texts.t("console.clients.protocol"), facts: factsOf(visit, client, PROTOCOL) },
            endPart(visit, client),
          ].filter((part) => part !== undefined),
        },
      );
    },
  },
  ...secretPages,
  ...clientRolePages,
  switchPage("disable"),
  switchPage("enable"),
  confirmPage({
    path: `${CLIENT}/delete`,
    section: "clients",
    shows: ["getClient"],
    operation: "deleteClient",
    async model(visit) {
      const { texts } = visit;
      const { body: client, etag } = await visit.ask("getClient");
      const name = textOf(client, "client_name");
      return {
        title: texts.t("console.delete_title", { name }),
        crumbs: clientCrumbs(visit, client),
        ends: [...ends(visit, client), texts.t("console.clients.delete_ends")],
        stays: [texts.t("console.clients.delete_stays")],
        typed: name,
        submit: texts.t("console.delete_submit", { name }),
        cancel: { label: texts.t("console.keep"), href: clientPath(client) },
        etag,
      };
    },
    done: (visit) => visit.go(CLIENTS, "client_deleted"),
  }),
];

function switchPage(verb: "disable" | "enable"): ConsolePage {
  const isEnable = verb === "enable";
  return confirmPage({
    path: `${CLIENT}/${verb}`,
    section: "clients",
    shows: ["getClient"],
    operation: isEnable ? "enableClient" : "disableClient",
    async model(visit) {
      const { texts } = visit;
      const { body: client } = await visit.ask("getClient");
      const words = { name: textOf(client, "client_name") };
      return {
        title: texts.t(isEnable ? "console.clients.enable_title" : "console.clients.disable_title", words),
        crumbs: clientCrumbs(visit, client),
        ends: isEnable ? [] : ends(visit, client),
        stays: isEnable
          ? [texts.t("console.clients.enable_begins"), texts.t("console.clients.enable_stays")]
          : [texts.t("console.clients.disable_stays")],
        submit: texts.t(isEnable ? "console.clients.enable_submit" : "console.clients.disable_submit", words),
        isGentle: isEnable,
        cancel: { label: texts.t("console.clients.leave"), href: clientPath(client) },
      };
    },
    done: (visit) =>
      visit.go(clientPath({ client_id: visit.params["client_id"] }), isEnable ? "client_enabled" : "client_disabled"),
  });
}

/** What ends when the client stops, for people and for its secrets. */
function ends({ texts }: Visit, client: Thing): readonly string[] {
  const hasPeople = listOf(client, "redirect_uris").length > 0;
  return [
    texts.t(hasPeople ? "console.clients.ends_sign_ins" : "console.clients.ends_requests"),
    texts.t("console.clients.ends_tokens"),
  ];
}

function appPart(visit: Visit, client: Thing) {
  const { texts } = visit;
  const state = stateOf(visit, client);
  const issued = new Date(Number(client["client_id_issued_at"]) * 1000);
  return {
    title: texts.t("console.clients.app"),
    badge: { kind: state.badge, text: state.text },
    facts: [
      { label: "client_id", cells: [{ text: textOf(client, "client_id"), isCode: true }] },
      { label: texts.t("console.clients.issued"), cells: [{ text: texts.date(issued) }] },
      ...factsOf(visit, client, [...ADDRESSES, ...APP]),
    ],
    acts: visit.may("clients:write")
      ? [
          { label: texts.t("console.clients.edit"), href: `${clientPath(client)}/edit`, kind: "secondary" },
          { label: texts.t("console.json_link"), href: `${clientPath(client)}/json`, kind: "quiet" },
        ]
      : [],
  };
}

function secretPart(visit: Visit, client: Thing) {
  const { texts } = visit;
  return {
    title: texts.t("console.clients.secrets"),
    help: texts.t("console.clients.secrets_help"),
    table: secretTable(visit, client),
    empty: texts.t("console.clients.secrets_none"),
    acts: visit.may("clients:write")
      ? [
          {
            ...{ label: texts.t("console.clients.add_secret"), kind: "secondary" },
            href: `${clientPath(client)}/secrets/new`,
          },
        ]
      : [],
  };
}

function accessPart({ texts }: Visit, client: Thing) {
  return {
    facts: (client["apis"] as readonly Thing[]).map((api) => ({
      label: textOf(api, "identifier"),
      cells: [
        ...(api["default"] === true ? [{ text: texts.t("console.clients.is_default"), badge: "plain" }] : []),
        ...listOf(api, "scopes").map((text) => ({ text, isCode: true })),
      ],
    })),
    empty: texts.t("console.clients.no_api"),
  };
}

function rolePart(visit: Visit, client: Thing, roles: readonly string[]) {
  const { texts } = visit;
  return {
    title: texts.t("console.nav.roles"),
    help: texts.t("console.clients.roles_help"),
    table: roleTable(visit, client, roles),
    empty: texts.t("console.clients.roles_none"),
    acts: visit.may("roles:write")
      ? [{ label: texts.t("console.clients.grant"), href: `${clientPath(client)}/roles/new`, kind: "secondary" }]
      : [],
  };
}

function endPart(visit: Visit, client: Thing) {
  const { texts } = visit;
  if (!visit.may("clients:write")) return undefined;
  const path = clientPath(client);
  return {
    title: texts.t("console.clients.end"),
    help: texts.t("console.clients.end_help"),
    acts: [
      client["disabled"] === true
        ? { label: texts.t("console.clients.enable"), href: `${path}/enable`, kind: "secondary" }
        : { label: texts.t("console.clients.disable"), href: `${path}/disable`, kind: "danger" },
      { label: texts.t("console.clients.delete"), href: `${path}/delete`, kind: "danger" },
    ],
  };
}

/** What is set, under its own name. */
function factsOf({ texts }: Visit, client: Thing, names: readonly string[]) {
  return names.flatMap((name) => {
    const value = client[name];
    if (value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0))
      return [];
    const cells: readonly Cell[] =
      typeof value === "boolean"
        ? [{ text: texts.t(value ? "console.yes" : "console.no") }]
        : SECONDS.has(name)
          ? [{ text: texts.t("console.clients.seconds", { count: Number(value) }) }]
          : (Array.isArray(value) ? value.map(String) : String(value).split(" ")).map((text) => ({
              text,
              isCode: true,
            }));
    return [{ label: name, cells }];
  });
}
