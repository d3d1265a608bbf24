/** Console: what every page about an API needs: its address, the way back, and who would lose what it gives. */
import { listOf, textOf } from "./form.ts";
import type { Frame, Thing, Visit } from "./page.ts";

export const SECTION = "apis";
export const APIS = "/admin/apis";
export const API = "/admin/apis/:api_id";

/** As many clients are looked through as one page of their list holds. */
const CLIENTS_LOOKED_AT = 200;
const NAMED_MAX = 10;

export function apiHref(api: Thing): string {
  return `${APIS}/${encodeURIComponent(textOf(api, "id"))}`;
}

export function crumbsTo({ texts }: Visit, api?: Thing): NonNullable<Frame["crumbs"]> {
  const all = { label: texts.t("console.nav.apis"), href: APIS };
  return api === undefined ? [all] : [all, { label: textOf(api, "name"), href: apiHref(api) }];
}

export interface Holders {
  readonly clients: readonly string[];
  readonly roles: readonly string[];
  /** False: there are clients that were not looked at. */
  readonly isAll: boolean;
}

/** Which clients may ask for the API, or for its scope, and which roles hold it; as far as this administrator may see them. */
export async function holdersOf(visit: Visit, identifier: string, scope?: string): Promise<Holders> {
  const { may } = visit;
  const [clients, roles] = await Promise.all([
    may("clients:read")
      ? visit.list("listClients", { params: {}, query: { limit: String(CLIENTS_LOOKED_AT) } })
      : undefined,
    may("roles:read") ? visit.list("listRoles", { params: {} }) : undefined,
  ]);
  const holds = (thing: Thing, list: string): boolean =>
    ((thing[list] ?? []) as readonly Thing[]).some(
      (entry) => entry["identifier"] === identifier && (scope === undefined || listOf(entry, "scopes").includes(scope)),
    );
  return {
    clients: (clients?.data ?? []).filter((one) => holds(one, "apis")).map((one) => textOf(one, "client_name")),
    roles: (roles?.data ?? []).filter((one) => holds(one, "permissions")).map((one) => textOf(one, "name")),
    isAll: clients !== undefined && clients.next === undefined,
  };
}

/** Who loses it, by name. */
export function sayHolders({ texts }: Visit, { clients, roles, isAll }: Holders): readonly string[] {
  const named = (names: readonly string[]): string => {
    const more = names.length - NAMED_MAX;
    const shown = names.slice(0, NAMED_MAX).join(", ");
    return more > 0 ? texts.t("console.apis.and_more", { names: shown, count: more }) : shown;
  };
  return [
    ...(clients.length === 0 ? [] : [texts.t("console.apis.clients_lose", { names: named(clients) })]),
    ...(isAll ? [] : [texts.t("console.apis.others_lose")]),
    ...(roles.length === 0 ? [] : [texts.t("console.apis.roles_lose", { names: named(roles) })]),
  ];
}
