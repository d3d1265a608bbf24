/** The console's side bar: what there is, in groups, as far as the administrator may see it. */
import type { Texts } from "../pages/texts.ts";
import type { AdminScope } from "../rest/operation.ts";

interface Item {
  readonly section: string;
  readonly href: string;
  /** Whoever lacks it does not see the item. */
  readonly scope?: AdminScope;
}

/** The words of a group and of an item are texts: `console.group.apps`, `console.nav.clients`. */
const GROUPS = [
  { group: undefined, items: [{ section: "overview", href: "/admin" }] },
  {
    group: "apps",
    items: [
      { section: "clients", href: "/admin/clients", scope: "clients:read" },
      { section: "apis", href: "/admin/apis", scope: "apis:read" },
      { section: "roles", href: "/admin/roles", scope: "roles:read" },
    ],
  },
  { group: "people", items: [{ section: "users", href: "/admin/users", scope: "users:read" }] },
  {
    group: "watch",
    items: [
      { section: "audit", href: "/admin/audit", scope: "audit:read" },
      { section: "failures", href: "/admin/failures", scope: "audit:read" },
      { section: "mail", href: "/admin/mail", scope: "mail:read" },
      { section: "keys", href: "/admin/keys", scope: "keys:read" },
      { section: "settings", href: "/admin/settings", scope: "settings:read" },
    ],
  },
] as const satisfies readonly { readonly group: string | undefined; readonly items: readonly Item[] }[];

export type Section = (typeof GROUPS)[number]["items"][number]["section"];

export interface NavigationGroup {
  readonly label: string | undefined;
  readonly items: readonly { readonly label: string; readonly href: string; readonly isCurrent: boolean }[];
}

export function navigationOf(
  current: Section,
  { scopes, texts }: { readonly scopes: ReadonlySet<string>; readonly texts: Texts },
): readonly NavigationGroup[] {
  const seen = (items: readonly Item[]) => items.filter(({ scope }) => scope === undefined || scopes.has(scope));
  return GROUPS.map(({ group, items }) => ({
    label: group === undefined ? undefined : texts.t(`console.group.${group}`),
    items: seen(items).map(({ section, href }) => ({
      label: texts.t(`console.nav.${section}`),
      href,
      isCurrent: section === current,
    })),
  })).filter(({ items }) => items.length > 0);
}
