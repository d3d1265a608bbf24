/** Console: the roles that a service holds, given and taken. */
import { CLIENT, clientCrumbs, clientPath } from "./clients.ts";
import { confirmPage, formPage, listOf, textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import type { Table } from "./table.ts";

export const clientRolePages: readonly ConsolePage[] = [
  formPage({
    path: `${CLIENT}/roles/new`,
    section: "clients",
    shows: ["getClient", "listRoles", "listClientRoles"],
    operation: "grantClientRole",
    isDangerous: true,
    async model(visit) {
      const { texts } = visit;
      const { body: client } = await visit.ask("getClient");
      const held = new Set(listOf((await visit.ask("listClientRoles")).body, "roles"));
      const { body } = await visit.ask("listRoles");
      const roles = (body["data"] as readonly Thing[]).filter((role) => !held.has(textOf(role, "name")));
      return {
        title: texts.t("console.clients.grant_title", { name: textOf(client, "client_name") }),
        lead: texts.t("console.clients.grant_lead"),
        crumbs: clientCrumbs(visit, client),
        fields: [
          {
            ...{ name: "role", kind: "radio", label: texts.t("console.clients.role") },
            options: roles.map((role) => ({
              value: textOf(role, "name"),
              label: textOf(role, "name"),
              help: textOf(role, "description"),
            })),
            value: "",
          },
        ],
        submit: texts.t("console.clients.grant"),
        cancel: { label: texts.t("console.cancel"), href: clientPath(client) },
      };
    },
    asked: (body, { params }) => ({ params: { ...params, role: textOf(body, "role") } }),
    done: (visit) => visit.go(clientPath({ client_id: visit.params["client_id"] }), "client_role_granted"),
  }),
  confirmPage({
    path: `${CLIENT}/roles/:role/revoke`,
    section: "clients",
    shows: ["getClient"],
    operation: "revokeClientRole",
    async model(visit) {
      const { texts, params } = visit;
      const { body: client } = await visit.ask("getClient");
      const words = { name: textOf(client, "client_name"), role: params["role"] ?? "" };
      return {
        title: texts.t("console.clients.revoke_title", words),
        crumbs: clientCrumbs(visit, client),
        ends: [texts.t("console.clients.revoke_ends")],
        stays: [texts.t("console.clients.revoke_stays")],
        submit: texts.t("console.clients.revoke_submit", { role: words.role }),
        cancel: { label: texts.t("console.keep"), href: clientPath(client) },
      };
    },
    done: (visit) => visit.go(clientPath({ client_id: visit.params["client_id"] }), "client_role_revoked"),
  }),
];

export function roleTable(visit: Visit, client: Thing, roles: readonly string[]): Table {
  const { texts } = visit;
  const mayTake = visit.may("roles:write");
  return {
    head: [texts.t("console.clients.role"), ...(mayTake ? [texts.t("console.clients.act")] : [])],
    rows: roles.map((role) => [
      { text: role, href: `/admin/roles/${encodeURIComponent(role)}`, isCode: true },
      ...(mayTake
        ? [
            {
              text: texts.t("console.clients.revoke"),
              href: `${clientPath(client)}/roles/${encodeURIComponent(role)}/revoke`,
            },
          ]
        : []),
    ]),
  };
}
