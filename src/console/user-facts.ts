/** Console: what every page about a person needs: who it is about, the way back, what state the account is in, and whether mails go out. */
import { textOf } from "./form.ts";
import type { Frame, Thing, Visit } from "./page.ts";
import type { Cell } from "./table.ts";

export const SECTION = "users";
export const USERS = "/admin/users";
export const USER = "/admin/users/:user_id";

export function userHref(user: Thing): string {
  return `${USERS}/${encodeURIComponent(textOf(user, "id"))}`;
}

/** The page of the person that the address of this one is about. */
export function hrefHere({ params }: Visit): string {
  return `${USERS}/${encodeURIComponent(params["user_id"] ?? "")}`;
}

export function nameOf(user: Thing): string {
  return textOf(user, "name") || textOf(user, "email");
}

/** The way back: to all people, and to this one. */
export function crumbsTo({ texts }: Visit, user?: Thing): NonNullable<Frame["crumbs"]> {
  const all = { label: texts.t("console.nav.users"), href: USERS };
  return user === undefined ? [all] : [all, { label: nameOf(user), href: userHref(user) }];
}

/** What is out of the ordinary; an account of which nothing is, is active. */
export function stateOf(user: Thing, { texts }: Visit): readonly Cell[] {
  const states: readonly (Cell | undefined)[] = [
    user["disabled"] === true ? { text: texts.t("console.users.disabled"), badge: "danger" } : undefined,
    user["has_password"] === true ? undefined : { text: texts.t("console.users.no_password"), badge: "info" },
    user["email_verified"] === true ? undefined : { text: texts.t("console.users.unverified"), badge: "warn" },
  ];
  const found = states.filter((state) => state !== undefined);
  return found.length > 0 ? found : [{ text: texts.t("console.users.active"), badge: "good" }];
}

/** How the server is configured; undefined when that is not for this administrator to see. */
export async function settingsFor(visit: Visit): Promise<Thing | undefined> {
  return visit.may("settings:read") ? (await visit.ask("getSettings")).body : undefined;
}

/** In place of a page whose mails could not go out: what is off, and what turns it on. */
export function showClosed(
  visit: Visit,
  page: { readonly title: string; readonly user?: Thing; readonly signUp?: string; readonly isMailOff: boolean },
): void {
  const { texts } = visit;
  const { title, user, signUp, isMailOff } = page;
  const back = {
    label: texts.t("console.users.back"),
    href: user === undefined ? USERS : userHref(user),
    kind: "secondary",
  };
  const closed = signUp === undefined ? [] : [offPart(visit, { signUp })];
  const parts = [...closed, ...(isMailOff ? [offPart(visit, {})] : [])];
  visit.show(
    "console/detail",
    { title, crumbs: crumbsTo(visit, user) },
    { parts: parts.map((part, index) => (index === parts.length - 1 ? { ...part, acts: [back] } : part)) },
  );
}

function offPart({ texts }: Visit, { signUp }: { readonly signUp?: string }): object {
  const isMail = signUp === undefined;
  return {
    title: texts.t(isMail ? "console.users.mail_off" : "console.users.sign_up_off"),
    badge: { kind: "warn", text: texts.t("console.users.off") },
    help: texts.t(isMail ? "console.users.mail_off_help" : "console.users.sign_up_off_help"),
    facts: [
      isMail
        ? { label: "SMTP_URL", cells: [{ text: texts.t("console.users.not_set") }] }
        : { label: "SIGN_UP", cells: [{ text: signUp, isCode: true }] },
    ],
  };
}
