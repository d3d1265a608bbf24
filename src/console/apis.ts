/** Console: APIs: what each of them is, and making, changing and deleting one. Their scopes are in api-scopes.ts. */
import { API, APIS, apiHref, crumbsTo, holdersOf, SECTION, sayHolders } from "./api-facts.ts";
import { confirmPage, type Field, formPage, textOf } from "./form.ts";
import { jsonPage, without } from "./json-page.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import { act, type Cell, listPage, moment, type Row } from "./table.ts";

/** What the server itself says of an API; the identifier may be sent again. */
const READ_ONLY = ["id", "builtin", "created_at", "updated_at"];

export const apiPages: readonly ConsolePage[] = [
  listPage({
    path: APIS,
    section: SECTION,
    operation: "listApis",
    filters: ({ texts }) => [{ name: "query", label: texts.t("console.apis.query") }],
    frame: ({ texts, may }) => ({
      title: texts.t("console.nav.apis"),
      lead: texts.t("console.apis.lead"),
      action: may("apis:write") ? { label: texts.t("console.apis.create"), href: `${APIS}/new` } : undefined,
    }),
    head: ({ texts }) => [
      texts.t("console.apis.name"),
      texts.t("console.apis.scopes"),
      texts.t("console.apis.tokens"),
      texts.t("console.apis.changed"),
    ],
    row: (api, visit) => [
      {
        text: textOf(api, "name"),
        href: apiHref(api),
        small: textOf(api, "identifier"),
        tile: { id: textOf(api, "id"), name: textOf(api, "name") },
      },
      { text: visit.texts.t("console.roles.scopes", { count: scopesOf(api).length }), isWhole: true },
      { text: tokensOf(api, visit) },
      api["builtin"] === true
        ? { text: visit.texts.t("console.roles.builtin"), badge: "plain" }
        : { text: moment(visit, api["updated_at"]) },
    ],
    empty: ({ texts, may }) => ({
      title: texts.t("console.apis.none"),
      lead: texts.t("console.apis.none_lead"),
      action: may("apis:write") ? { label: texts.t("console.apis.create"), href: `${APIS}/new` } : undefined,
    }),
  }),
  formPage({
    path: `${APIS}/new`,
    section: SECTION,
    shows: [],
    operation: "createApi",
    async model(visit) {
      const { texts } = visit;
      return {
        title: texts.t("console.apis.create"),
        lead: texts.t("console.apis.create_lead"),
        crumbs: crumbsTo(visit),
        fields: [
          { ...field(visit, "name", "text", "console.apis.name") },
          {
            ...field(visit, "identifier", "url", "console.apis.identifier"),
            help: texts.t("console.apis.identifier_help"),
          },
          {
            ...field(visit, "scopes", "lines", "console.apis.scopes"),
            help: texts.t("console.apis.scopes_help"),
          },
          ...settingFields(visit, {}),
        ],
        submit: texts.t("console.apis.create"),
        cancel: { label: texts.t("console.cancel"), href: APIS },
      };
    },
    asked: (body) => ({ body: { ...signed(body), scopes: (body["scopes"] as readonly string[]).map(scopeOfLine) } }),
    done: (visit, { body }) => visit.go(apiHref(body), "api_created"),
  }),
  { path: API, section: SECTION, shows: ["getApi", "listScopes"], show: showApi },
  formPage({
    path: `${API}/edit`,
    section: SECTION,
    shows: ["getApi"],
    operation: "updateApi",
    async model(visit) {
      const { texts } = visit;
      const { body: api, etag } = await visit.ask("getApi");
      const isBuiltin = api["builtin"] === true;
      const fields = [{ ...field(visit, "name", "text", "console.apis.name"), value: api["name"] }];
      return {
        title: texts.t("console.apis.edit_title", { name: textOf(api, "name") }),
        lead: texts.t(isBuiltin ? "console.apis.builtin_edit" : "console.apis.edit_lead"),
        crumbs: crumbsTo(visit, api),
        fields: isBuiltin ? [lifetimeField(visit, api)] : [...fields, ...settingFields(visit, api)],
        submit: texts.t("console.save"),
        cancel: { label: texts.t("console.cancel"), href: apiHref(api) },
        etag,
      };
    },
    asked: (body) => ({ body: signed(body) }),
    done: (visit, { body }) => visit.go(apiHref(body), "saved"),
  }),
  jsonPage({
    path: `${API}/json`,
    section: SECTION,
    shows: ["getApi"],
    operation: "replaceApi",
    async model(visit) {
      const { texts } = visit;
      const { body: api, etag } = await visit.ask("getApi");
      return {
        title: texts.t("console.json_title", { name: textOf(api, "name") }),
        lead: texts.t("console.json_lead"),
        crumbs: crumbsTo(visit, api),
        document: without(api, READ_ONLY),
        help: texts.t("console.apis.json_help"),
        etag,
        cancel: { label: texts.t("console.cancel"), href: apiHref(api) },
      };
    },
    done: (visit, { body }) => visit.go(apiHref(body), "saved"),
  }),
  confirmPage({
    path: `${API}/delete`,
    section: SECTION,
    shows: ["getApi", "listClients", "listRoles"],
    operation: "deleteApi",
    async model(visit) {
      const { texts } = visit;
      const { body: api, etag } = await visit.ask("getApi");
      const name = textOf(api, "name");
      const holders = await holdersOf(visit, textOf(api, "identifier"));
      return {
        title: texts.t("console.delete_title", { name }),
        crumbs: crumbsTo(visit, api),
        ends: [texts.t("console.apis.delete_ends"), ...sayHolders(visit, holders)],
        stays: [texts.t("console.apis.delete_stays", { seconds: Number(api["token_lifetime"]) })],
        typed: name,
        submit: texts.t("console.delete_submit", { name }),
        cancel: { label: texts.t("console.keep"), href: apiHref(api) },
        etag,
      };
    },
    done: (visit) => visit.go(APIS, "api_deleted"),
  }),
];

async function showApi(visit: Visit): Promise<void> {
  const { texts, may } = visit;
  const { body: api } = await visit.ask("getApi");
  const { data: scopes } = await visit.list("listScopes");
  const isBuiltin = api["builtin"] === true;
  const here = apiHref(api);
  const canWrite = may("apis:write");
  const own = [
    { label: texts.t("console.json_link"), href: `${here}/json`, kind: "secondary" },
    { label: texts.t("console.apis.delete"), href: `${here}/delete`, kind: "danger" },
  ];
  const edit = { label: texts.t("console.apis.edit"), href: `${here}/edit`, kind: "secondary" };
  const add = { label: texts.t("console.apis.add_scope"), href: `${here}/add-scope`, kind: "secondary" };
  visit.show(
    "console/detail",
    { title: textOf(api, "name"), lead: textOf(api, "identifier"), crumbs: crumbsTo(visit) },
    {
      parts: [
        {
          title: texts.t("console.apis.settings"),
          help: texts.t(isBuiltin ? "console.apis.builtin_help" : "console.apis.settings_help"),
          ...(isBuiltin ? { badge: { kind: "plain", text: texts.t("console.roles.builtin") } } : {}),
          facts: factsOf(api, visit),
          acts: canWrite ? [edit, ...(isBuiltin ? [] : own)] : [],
        },
        {
          title: texts.t("console.apis.scopes"),
          help: texts.t("console.apis.scopes_lead"),
          table: scopeTable(visit, scopes, canWrite && !isBuiltin ? `${here}/scopes` : undefined),
          empty: texts.t("console.apis.no_scopes"),
          acts: canWrite && !isBuiltin ? [add] : [],
        },
      ],
    },
  );
}

/** `base`: where a scope's own pages are, for whoever may change it. */
function scopeTable(
  { texts }: Visit,
  scopes: readonly Thing[],
  base: string | undefined,
): { head: readonly string[]; rows: readonly Row[] } {
  const hrefOf = (scope: Thing): string => `${base}/${encodeURIComponent(textOf(scope, "scope"))}`;
  const acts = (scope: Thing): readonly Cell[] => [
    act(texts.t("console.apis.change_scope"), hrefOf(scope), textOf(scope, "scope")),
    act(texts.t("console.apis.drop_scope"), `${hrefOf(scope)}/delete`, textOf(scope, "scope")),
  ];
  return {
    head: [
      texts.t("console.apis.scope"),
      texts.t("console.apis.words"),
      texts.t("console.apis.languages"),
      ...(base === undefined ? [] : [texts.t("console.users.act")]),
    ],
    rows: scopes.map((scope) => [
      { text: textOf(scope, "scope"), isCode: true },
      { text: textOf(scope, "description") },
      { text: Object.keys((scope["descriptions"] ?? {}) as Thing).join(", ") || "–" },
      ...(base === undefined ? [] : [acts(scope)]),
    ]),
  };
}

function factsOf(api: Thing, visit: Visit): readonly { label: string; cells: readonly Cell[] }[] {
  const { texts } = visit;
  const yesNo = (name: string): Cell => ({
    text: texts.t(api[name] === true ? "console.yes" : "console.no"),
  });
  return [
    { label: texts.t("console.apis.identifier"), cells: [{ text: textOf(api, "identifier"), isCode: true }] },
    { label: texts.t("console.apis.id"), cells: [{ text: textOf(api, "id"), isCode: true }] },
    { label: texts.t("console.apis.tokens"), cells: [{ text: tokensOf(api, visit) }] },
    { label: texts.t("console.apis.allow_refresh"), cells: [yesNo("allow_refresh")] },
    { label: texts.t("console.apis.scopes_by_role"), cells: [yesNo("scopes_by_role")] },
    { label: texts.t("console.apis.roles_claim"), cells: [yesNo("roles_claim")] },
    ...(api["builtin"] === true
      ? []
      : [{ label: texts.t("console.apis.changed"), cells: [{ text: moment(visit, api["updated_at"]) }] }]),
  ];
}

function tokensOf(api: Thing, { texts }: Visit): string {
  const kind = api["token_format"] === "jwt" ? `JWT, ${textOf(api, "signing_alg")}` : texts.t("console.apis.opaque");
  return texts.t("console.apis.token_kind", { kind, seconds: Number(api["token_lifetime"]) });
}

function settingFields(visit: Visit, api: Thing): readonly Field[] {
  const { texts } = visit;
  const isNew = api["id"] === undefined;
  const check = (name: string, label: string, help: string): Field => ({
    ...{ name, kind: "check", label: texts.t(label), help: texts.t(help) },
    value: isNew ? name === "allow_refresh" : api[name],
  });
  return [
    { ...lifetimeField(visit, api), heading: texts.t("console.apis.tokens") },
    {
      ...{ name: "token_format", kind: "choice", label: texts.t("console.apis.format"), value: api["token_format"] },
      help: texts.t("console.apis.format_help"),
      options: [
        { value: "jwt", label: "JWT" },
        { value: "opaque", label: texts.t("console.apis.opaque") },
      ],
    },
    {
      ...{ name: "signing_alg", kind: "choice", label: texts.t("console.apis.algorithm"), value: api["signing_alg"] },
      options: ["ES256", "RS256", "EdDSA"].map((value) => ({ value, label: value })),
    },
    check("allow_refresh", "console.apis.allow_refresh", "console.apis.allow_refresh_help"),
    check("scopes_by_role", "console.apis.scopes_by_role", "console.apis.scopes_by_role_help"),
    check("roles_claim", "console.apis.roles_claim", "console.apis.roles_claim_help"),
  ];
}

/** An opaque token is signed with nothing: what was chosen for JWTs stays as it is. */
function signed({ signing_alg, ...body }: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return body["token_format"] === "jwt" ? { ...body, signing_alg } : body;
}

function lifetimeField(visit: Visit, api: Thing): Field {
  return {
    ...field(visit, "token_lifetime", "number", "console.apis.lifetime"),
    ...{ value: api["token_lifetime"] ?? 600, help: visit.texts.t("console.apis.lifetime_help") },
  };
}

function field({ texts }: Visit, name: string, kind: Field["kind"], label: string): Field {
  return { name, kind, label: texts.t(label) };
}

/** `read:things See your things`: the scope, then its words. */
function scopeOfLine(line: string): object {
  const [, scope = line, description = ""] = /^(\S+)\s+(.+)$/.exec(line) ?? [];
  return description === "" ? { scope } : { scope, description };
}

function scopesOf(api: Thing): readonly unknown[] {
  return (api["scopes"] as readonly unknown[]) ?? [];
}
