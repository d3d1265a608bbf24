/** Console: a client's metadata and settings changed field by field, or replaced as a whole as JSON. */
import { choicesOf } from "../clients/metadata.ts";
import { READ_ONLY_FIELDS } from "../clients/present.ts";
import { ID_TOKEN_ALGORITHMS } from "../clients/schema.ts";
import { originsOf } from "../clients/settings.ts";
import { parseJson } from "../rest/json.ts";
import { OPENID_SCOPES, splitScope } from "../scopes.ts";
import { apiFields, apisHeldBy, apisOf, listAllApis, ownApiField, REPEATS, withoutApiFields } from "./client-access.ts";
import { CLIENT, clientCrumbs, clientPath } from "./clients.ts";
import { type Field, formPage, listOf, textOf } from "./form.ts";
import { jsonPage, without } from "./json-page.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";

export const editPages: readonly ConsolePage[] = [
  formPage({
    path: `${CLIENT}/edit`,
    section: "clients",
    shows: ["getClient", "listApis"],
    operation: "updateClient",
    repeats: REPEATS,
    isChange: true,
    isDangerous: true,
    async model(visit) {
      const { texts } = visit;
      const { body: client, etag } = await visit.ask("getClient");
      return {
        title: texts.t("console.clients.edit_title", { name: textOf(client, "client_name") }),
        lead: texts.t("console.clients.edit_lead"),
        crumbs: clientCrumbs(visit, client),
        fields: await editFields(visit, client),
        submit: texts.t("console.save"),
        cancel: { label: texts.t("console.cancel"), href: clientPath(client) },
        etag,
      };
    },
    async asked(body, visit) {
      const { body: client } = await visit.ask("getClient");
      const apis = await listAllApis(visit);
      return { body: changeOf(body, client, apis) };
    },
    done: (visit, { body }) => visit.go(clientPath(body), "saved"),
  }),
  jsonPage({
    path: `${CLIENT}/json`,
    section: "clients",
    shows: ["getClient"],
    operation: "replaceClient",
    async model(visit) {
      const { texts } = visit;
      const { body: client, etag } = await visit.ask("getClient");
      return {
        title: texts.t("console.json_title", { name: textOf(client, "client_name") }),
        lead: texts.t("console.json_lead"),
        crumbs: clientCrumbs(visit, client),
        document: without(client, READ_ONLY_FIELDS),
        help: texts.t("console.clients.json_help"),
        etag,
        cancel: { label: texts.t("console.cancel"), href: clientPath(client) },
      };
    },
    done: (visit, { body }) => visit.go(clientPath(body), "saved"),
  }),
];

async function editFields(visit: Visit, client: Thing): Promise<readonly Field[]> {
  const type = textOf(client, "client_type") as Parameters<typeof choicesOf>[0];
  const { hasPeople } = choicesOf(type);
  const apis = await listAllApis(visit);
  const held = apisHeldBy(client);
  const access =
    type === "resource-server"
      ? visit.may("apis:read")
        ? [ownApiField(visit, apis, held)]
        : []
      : apiFields(visit, apis, held);
  return [
    { ...plain(client, "client_name", "text"), isOptional: false },
    ...(hasPeople ? addressFields(visit, client) : []),
    ...access,
    ...credentialFields(visit, client),
    ...(hasPeople ? signInFields(visit, client) : []),
    ...aboutFields(visit, client),
  ];
}

function addressFields(visit: Visit, client: Thing): readonly Field[] {
  const { texts } = visit;
  const origins = listOf(client, "web_origins");
  const follows =
    client["client_type"] === "spa" && origins.join(" ") === originsOf(listOf(client, "redirect_uris")).join(" ");
  const isSpa = client["client_type"] === "spa";
  return [
    {
      ...plain(client, "redirect_uris", "lines", texts.t("console.clients.redirects_help")),
      ...{ heading: texts.t("console.clients.step_addresses"), isOptional: false },
    },
    plain(client, "post_logout_redirect_uris", "lines", texts.t("console.clients.after_logout_help")),
    {
      // Origins that are taken from the redirects are left to follow them.
      ...plain(follows ? {} : client, "web_origins", "lines"),
      help: texts.t(isSpa ? "console.clients.origins_spa_help" : "console.clients.origins_help"),
    },
    plain(client, "initiate_login_uri", "url", texts.t("console.clients.initiate_help")),
    plain(client, "backchannel_logout_uri", "url", texts.t("console.clients.backchannel_help")),
    plain(client, "backchannel_logout_session_required", "check"),
  ];
}

function credentialFields(visit: Visit, client: Thing): readonly Field[] {
  const { texts } = visit;
  const type = textOf(client, "client_type") as Parameters<typeof choicesOf>[0];
  const { authMethods } = choicesOf(type);
  const isPublic = authMethods.length === 1;
  const asks: readonly Field[] = isPublic
    ? []
    : [
        {
          ...plain(client, "token_endpoint_auth_method", "choice", texts.t("console.clients.method_help")),
          ...{ heading: texts.t("console.clients.credentials"), isOptional: false },
          options: authMethods.map((value) => ({ value, label: value })),
        },
        plain(client, "jwks_uri", "url", texts.t("console.clients.jwks_uri_help")),
        {
          ...plain(client, "jwks", "area", texts.t("console.clients.jwks_help")),
          value: client["jwks"] === undefined ? "" : JSON.stringify(client["jwks"], undefined, 2),
        },
        plain(client, "introspect_apis", "lines", texts.t("console.clients.introspect_help")),
      ];
  return type === "web"
    ? [...asks, plain(client, "pkce_optional", "check", texts.t("console.clients.pkce_help"))]
    : asks;
}

function signInFields(visit: Visit, client: Thing): readonly Field[] {
  const { texts } = visit;
  const type = textOf(client, "client_type") as Parameters<typeof choicesOf>[0];
  const named = (values: readonly string[]) => values.map((value) => ({ value, label: value }));
  const numbers = ["default_max_age", "refresh_window", "refresh_idle", "refresh_absolute"] as const;
  return [
    {
      ...plain(client, "first_party", "check", texts.t("console.clients.first_party_help")),
      heading: texts.t("console.clients.sign_ins"),
    },
    { ...plain(client, "grant_types", "choices"), options: named(choicesOf(type).grantTypes) },
    {
      ...plain(client, "scope", "choices", texts.t("console.clients.scope_help")),
      ...{ options: named(OPENID_SCOPES), value: splitScope(textOf(client, "scope")) },
    },
    plain(client, "optional_scopes", "lines", texts.t("console.clients.optional_help")),
    {
      ...plain(client, "id_token_signed_response_alg", "choice"),
      ...{ options: named(ID_TOKEN_ALGORITHMS), isOptional: false },
    },
    plain(client, "require_auth_time", "check"),
    ...numbers.map((name) => plain(client, name, "number", texts.t("console.clients.seconds_help"))),
  ];
}

function aboutFields(visit: Visit, client: Thing): readonly Field[] {
  const { texts } = visit;
  return [
    {
      ...plain(client, "client_uri", "url", texts.t("console.clients.uri_help")),
      heading: texts.t("console.clients.about"),
    },
    ...(["logo_uri", "tos_uri", "policy_uri"] as const).map((name) => plain(client, name, "url")),
    plain(client, "contacts", "lines", texts.t("console.clients.contacts_help")),
    plain(client, "software_id", "text"),
    plain(client, "software_version", "text"),
  ];
}

/** A field under the operation's own name, which is what the app's developer calls it. */
function plain(client: Thing, name: string, kind: Field["kind"], help?: string): Field {
  return {
    name,
    kind,
    label: name,
    isOptional: kind !== "choices",
    value: client[name],
    ...(help === undefined ? {} : { help }),
  };
}

/** The merge patch: what is empty takes the default of the type again. */
function changeOf(
  body: Readonly<Record<string, unknown>>,
  client: Thing,
  apis: readonly Thing[],
): Record<string, unknown> {
  const change = withoutApiFields(body);
  for (const name of ["contacts", "web_origins", "introspect_apis"])
    if (Array.isArray(change[name]) && change[name].length === 0) change[name] = null;
  if (Array.isArray(change["scope"])) change["scope"] = change["scope"].join(" ");
  if (typeof change["jwks"] === "string") change["jwks"] = parseJson(change["jwks"]);
  // Without the address it has no meaning, and the rule would not keep it.
  if (change["backchannel_logout_uri"] === null) change["backchannel_logout_session_required"] = null;
  // Whoever may not see the APIs changes nothing about them.
  if (apis.length === 0) return change;
  if (client["client_type"] === "resource-server") return { ...change, apis: [{ identifier: body["apis"] }] };
  return { ...change, apis: apisOf(body, { apis, held: apisHeldBy(client), isNew: false }) };
}
