/** Console: roles, what they hold, and making, changing and deleting them. */
import { listAllApis } from "./client-access.ts";
import { confirmPage, type Field, formPage, listOf, textOf } from "./form.ts";
import { jsonPage, without } from "./json-page.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import { listPage } from "./table.ts";

interface Permission {
  readonly identifier: string;
  readonly scopes: readonly string[];
}

const SECTION = "roles";
const ROLES = "/admin/roles";
const ROLE = "/admin/roles/:role";
/** Beside the roles, since a role may be called "new". */
const NEW_ROLE = "/admin/new-role";
/** A field of checkboxes for each API; its scopes are what is ticked. */
const SCOPES = "scopes_";
const repeats = { includes: (name: string) => name.startsWith(SCOPES) };

export const rolePages: readonly ConsolePage[] = [
  listPage({
    path: ROLES,
    section: SECTION,
    operation: "listRoles",
    isPaged: false,
    frame: ({ texts, may }) => ({
      title: texts.t("console.nav.roles"),
      lead: texts.t("console.roles.lead"),
      action: may("roles:write") ? { label: texts.t("console.roles.create"), href: NEW_ROLE } : undefined,
    }),
    head: ({ texts }) => [
      texts.t("console.roles.name"),
      texts.t("console.description"),
      texts.t("console.roles.holds"),
    ],
    row: (role, { texts }) => [
      { text: textOf(role, "name"), href: addressOf(role), isCode: true },
      { text: textOf(role, "description") },
      role["builtin"] === true
        ? { text: texts.t("console.roles.builtin"), badge: "plain" }
        : { text: texts.t("console.roles.scopes", { count: scopeCount(role) }) },
    ],
    empty: ({ texts }) => ({ title: texts.t("console.roles.none"), lead: texts.t("console.roles.lead") }),
  }),
  formPage({
    path: NEW_ROLE,
    section: SECTION,
    shows: ["listApis"],
    operation: "createRole",
    repeats,
    async model(visit) {
      const { texts } = visit;
      return {
        title: texts.t("console.roles.create"),
        lead: texts.t("console.roles.create_lead"),
        crumbs: crumbs(visit),
        fields: [
          {
            ...{ name: "name", kind: "text", label: texts.t("console.roles.name") },
            help: texts.t("console.roles.name_help"),
          },
          ...(await roleFields(visit, [])),
        ],
        submit: texts.t("console.roles.create"),
        cancel: { label: texts.t("console.cancel"), href: ROLES },
      };
    },
    asked: async (body, visit) => ({ body: await roleBody(body, visit, []) }),
    done: (visit, { body }) => visit.go(addressOf(body), "role_created"),
  }),
  {
    path: ROLE,
    section: SECTION,
    shows: ["getRole"],
    async show(visit) {
      const { texts, may } = visit;
      const { body: role } = await visit.ask("getRole");
      const name = textOf(role, "name");
      const isOurs = role["builtin"] !== true && may("roles:write");
      visit.show(
        "console/detail",
        { title: name, lead: textOf(role, "description"), crumbs: crumbs(visit) },
        {
          parts: [
            {
              title: texts.t("console.roles.permissions"),
              help: texts.t(role["builtin"] === true ? "console.roles.builtin_help" : "console.roles.permissions_help"),
              facts: permissionsOf(role).map(({ identifier, scopes }) => ({
                label: identifier,
                cells: scopes.map((text) => ({ text, isCode: true })),
              })),
              empty: texts.t("console.roles.no_permissions"),
              acts: isOurs
                ? [
                    { label: texts.t("console.roles.edit"), href: `${addressOf(role)}/edit`, kind: "secondary" },
                    { label: texts.t("console.json_link"), href: `${addressOf(role)}/json`, kind: "secondary" },
                    { label: texts.t("console.roles.delete"), href: `${addressOf(role)}/delete`, kind: "danger" },
                  ]
                : [],
            },
          ],
        },
      );
    },
  },
  formPage({
    path: `${ROLE}/edit`,
    section: SECTION,
    shows: ["getRole", "listApis"],
    operation: "updateRole",
    repeats,
    isDangerous: true,
    async model(visit) {
      const { texts } = visit;
      const { body: role, etag } = await visit.ask("getRole");
      return {
        title: texts.t("console.roles.edit_title", { name: textOf(role, "name") }),
        crumbs: [...crumbs(visit), { label: textOf(role, "name"), href: addressOf(role) }],
        fields: await roleFields(visit, permissionsOf(role), textOf(role, "description")),
        submit: texts.t("console.save"),
        cancel: { label: texts.t("console.cancel"), href: addressOf(role) },
        etag,
      };
    },
    asked: async (body, visit) => ({
      body: await roleBody(body, visit, permissionsOf((await visit.ask("getRole")).body)),
    }),
    done: (visit, { body }) => visit.go(addressOf(body), "saved"),
  }),
  jsonPage({
    path: `${ROLE}/json`,
    section: SECTION,
    shows: ["getRole"],
    operation: "replaceRole",
    async model(visit) {
      const { texts } = visit;
      const { body: role, etag } = await visit.ask("getRole");
      const name = textOf(role, "name");
      return {
        title: texts.t("console.json_title", { name }),
        lead: texts.t("console.json_lead"),
        crumbs: [...crumbs(visit), { label: name, href: addressOf(role) }],
        document: without(role, ["name", "builtin"]),
        help: texts.t("console.roles.json_help"),
        etag,
        cancel: { label: texts.t("console.cancel"), href: addressOf(role) },
      };
    },
    done: (visit, { body }) => visit.go(addressOf(body), "saved"),
  }),
  confirmPage({
    path: `${ROLE}/delete`,
    section: SECTION,
    shows: ["getRole"],
    operation: "deleteRole",
    async model(visit) {
      const { texts } = visit;
      const { body: role, etag } = await visit.ask("getRole");
      const name = textOf(role, "name");
      return {
        title: texts.t("console.delete_title", { name }),
        crumbs: [...crumbs(visit), { label: name, href: addressOf(role) }],
        ends: [texts.t("console.roles.delete_ends")],
        stays: [texts.t("console.roles.delete_stays")],
        typed: name,
        submit: texts.t("console.delete_submit", { name }),
        cancel: { label: texts.t("console.keep"), href: addressOf(role) },
        etag,
      };
    },
    done: (visit) => visit.go(ROLES, "role_deleted"),
  }),
];

async function roleFields(visit: Visit, held: readonly Permission[], description?: string): Promise<readonly Field[]> {
  const { texts } = visit;
  const apis = await listAllApis(visit);
  return [
    {
      ...{ name: "description", kind: "text", label: texts.t("console.description"), value: description },
      isOptional: description === undefined,
    },
    ...apis.map(
      (api): Field => ({
        name: `${SCOPES}${textOf(api, "id")}`,
        kind: "choices",
        label: textOf(api, "name"),
        help: textOf(api, "identifier"),
        options: (api["scopes"] as readonly Thing[]).map((scope) => ({
          value: textOf(scope, "scope"),
          label: textOf(scope, "scope"),
          help: textOf(scope, "description"),
        })),
        value: held.find(({ identifier }) => identifier === api["identifier"])?.scopes ?? [],
      }),
    ),
  ];
}

/** The checkboxes of each API as the permissions that the operation takes. What it holds of an API that the form did not show stays. */
async function roleBody(
  body: Readonly<Record<string, unknown>>,
  visit: Visit,
  held: readonly Permission[],
): Promise<Record<string, unknown>> {
  const apis = await listAllApis(visit);
  const ticked = apis.flatMap((api) => {
    const scopes = body[`${SCOPES}${textOf(api, "id")}`] as readonly string[];
    return scopes.length === 0 ? [] : [{ identifier: textOf(api, "identifier"), scopes }];
  });
  const unseen = held.filter(({ identifier }) => !apis.some((api) => api["identifier"] === identifier));
  const permissions = [...ticked, ...unseen];
  const { name, description } = body;
  return {
    ...(name === undefined ? {} : { name }),
    ...(description === undefined ? {} : { description }),
    permissions,
  };
}

function permissionsOf(role: Thing): readonly Permission[] {
  return (role["permissions"] as readonly Thing[]).map((permission) => ({
    identifier: textOf(permission, "identifier"),
    scopes: listOf(permission, "scopes"),
  }));
}

function scopeCount(role: Thing): number {
  return permissionsOf(role).reduce((sum, { scopes }) => sum + scopes.length, 0);
}

function addressOf(role: Thing): string {
  return `${ROLES}/${encodeURIComponent(textOf(role, "name"))}`;
}

function crumbs({ texts }: Visit) {
  return [{ label: texts.t("console.nav.roles"), href: ROLES }];
}
