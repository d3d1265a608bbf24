/** Console: what an administrator does about a person's access: password, state, roles, sessions, apps; each says first what will end. */
import { AppError } from "../errors.ts";
import { confirmPage, formPage, listOf, textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import { crumbsTo, hrefHere, nameOf, SECTION, settingsFor, showClosed, USER, USERS, userHref } from "./user-facts.ts";
import { appNames, deviceOf, scopesOf } from "./user-page.ts";

/** The words of a page that asks before it does; `more` are its own values beside the person's name and address. */
interface Question {
  readonly path: string;
  readonly operation: string;
  readonly shows?: readonly string[];
  /** Ending one thing that can be begun again asks for no password. */
  readonly isDangerous?: boolean;
  readonly isGentle?: boolean;
  readonly title: string;
  readonly ends: readonly string[];
  readonly stays: readonly string[];
  readonly submit: string;
  readonly done: string;
  more?(visit: Visit): Promise<Readonly<Record<string, string>>>;
  typed?(user: Thing): string;
  readonly to?: string;
}

function question(row: Question): ConsolePage {
  return confirmPage({
    path: `${USER}/${row.path}`,
    section: SECTION,
    shows: ["getUser", ...(row.shows ?? [])],
    operation: row.operation,
    isDangerous: row.isDangerous ?? true,
    async model(visit) {
      const { texts } = visit;
      const { body: user, etag } = await visit.ask("getUser");
      const values = { name: nameOf(user), email: textOf(user, "email"), ...(await row.more?.(visit)) };
      return {
        title: texts.t(row.title, values),
        crumbs: crumbsTo(visit, user),
        ends: row.ends.map((key) => texts.t(key, values)),
        stays: row.stays.map((key) => texts.t(key, values)),
        typed: row.typed?.(user),
        submit: texts.t(row.submit, values),
        isGentle: row.isGentle ?? false,
        cancel: { label: texts.t("console.users.leave"), href: userHref(user) },
        // A second press of any other button is harmless, and finds another version.
        ...(row.operation === "deleteUser" ? { etag } : {}),
      };
    },
    done: (visit) => visit.go(row.to ?? hrefHere(visit), row.done),
  });
}

/** What has ended meanwhile is what was asked for: whoever presses twice is told the same twice. */
function ending(row: Question): ConsolePage {
  const page = question(row);
  return {
    ...page,
    async submit(visit, form) {
      try {
        await page.submit?.(visit, form);
      } catch (error) {
        const gone = ["session_unknown", "grant_unknown", "consent_unknown"];
        if (!(error instanceof AppError && gone.includes(error.code))) throw error;
        visit.go(hrefHere(visit), row.done);
      }
    },
  };
}

const reset = question({
  path: "reset-password",
  operation: "resetPassword",
  shows: ["getSettings"],
  title: "console.users.reset_title",
  ends: ["console.users.reset_ends", "console.users.all_ends"],
  stays: ["console.users.reset_mail", "console.users.reset_stays"],
  submit: "console.users.reset_submit",
  done: "password_reset",
});

export const userAccessPages: readonly ConsolePage[] = [
  {
    ...reset,
    // A link that cannot be sent would leave them without a way in.
    async show(visit) {
      const settings = await settingsFor(visit);
      if (settings?.["mail"] !== "off") return reset.show(visit);
      const { body: user } = await visit.ask("getUser");
      const title = visit.texts.t("console.users.reset_title", { name: nameOf(user) });
      showClosed(visit, { title, user, isMailOff: true });
    },
  },
  question({
    path: "disable",
    operation: "disableUser",
    title: "console.users.disable_title",
    ends: ["console.users.disable_ends", "console.users.all_ends"],
    stays: ["console.users.disable_stays"],
    submit: "console.users.disable_submit",
    done: "user_disabled",
  }),
  question({
    path: "enable",
    operation: "enableUser",
    isGentle: true,
    title: "console.users.enable_title",
    ends: [],
    stays: ["console.users.enable_stays", "console.users.enable_sessions"],
    submit: "console.users.enable_submit",
    done: "user_enabled",
  }),
  question({
    path: "delete",
    operation: "deleteUser",
    title: "console.delete_title",
    ends: ["console.users.delete_ends", "console.users.all_ends"],
    stays: ["console.users.delete_stays"],
    typed: (user) => textOf(user, "email"),
    submit: "console.delete_submit",
    done: "user_deleted",
    to: USERS,
  }),
  giveRolePage(),
  question({
    path: "roles/:role/take",
    operation: "revokeUserRole",
    title: "console.users.take_title",
    more: async ({ params }) => ({ role: params["role"] ?? "" }),
    ends: ["console.users.take_ends"],
    stays: ["console.users.take_stays"],
    submit: "console.users.take_submit",
    done: "role_taken",
  }),
  question({
    path: "sign-out",
    operation: "endAllSessions",
    title: "console.users.end_all_title",
    ends: ["console.users.all_ends"],
    stays: ["console.users.end_all_stays"],
    submit: "console.users.end_all_submit",
    done: "sessions_ended",
  }),
  ending({
    path: "sessions/:session_id/end",
    operation: "endSession",
    shows: ["listSessions"],
    isDangerous: false,
    more: async (visit) => ({ device: deviceOf(await findHere(visit, "listSessions"), visit) }),
    title: "console.users.end_title",
    ends: ["console.users.end_ends"],
    stays: ["console.users.end_stays"],
    submit: "console.users.end_submit",
    done: "session_ended",
  }),
  ending({
    path: "grants/:grant_id/end",
    operation: "endGrant",
    shows: ["listGrants", "getClient"],
    isDangerous: false,
    async more(visit) {
      const grant = await findHere(visit, "listGrants");
      const scopes = scopesOf(grant).map(({ text }) => text);
      return { app: await appHere(visit, textOf(grant, "client_id")), scopes: scopes.join(", ") };
    },
    title: "console.users.grant_title",
    ends: ["console.users.grant_ends"],
    stays: ["console.users.grant_stays"],
    submit: "console.users.grant_submit",
    done: "grant_ended",
  }),
  ending({
    path: "consents/:client_id/withdraw",
    operation: "withdrawConsent",
    shows: ["listConsents", "getClient"],
    isDangerous: false,
    async more(visit) {
      const clientId = visit.params["client_id"] ?? "";
      const { data } = await visit.list("listConsents");
      const given = data.filter((consent) => textOf(consent, "client_id") === clientId);
      if (given.length === 0) throw new AppError("consent_unknown");
      const scopes = given.flatMap((consent) => listOf(consent, "granted")).join(", ");
      return { app: await appHere(visit, clientId), scopes };
    },
    title: "console.users.withdraw_title",
    ends: ["console.users.withdraw_ends"],
    stays: ["console.users.withdraw_stays"],
    submit: "console.users.withdraw_submit",
    done: "consent_withdrawn",
  }),
];

function giveRolePage(): ConsolePage {
  return formPage({
    path: `${USER}/roles/give`,
    section: SECTION,
    shows: ["getUser", "listRoles", "listUserRoles"],
    operation: "grantUserRole",
    isDangerous: true,
    async model(visit) {
      const { texts } = visit;
      const { body: user } = await visit.ask("getUser");
      const held = listOf((await visit.ask("listUserRoles")).body, "roles");
      const { data: roles } = await visit.list("listRoles", { params: {} });
      const free = roles.filter((role) => !held.includes(textOf(role, "name")));
      const options = free.map((role) => ({
        value: textOf(role, "name"),
        label: `${textOf(role, "name")}: ${textOf(role, "description")}`,
      }));
      return {
        title: texts.t("console.users.give_title", { name: nameOf(user) }),
        lead: texts.t("console.users.give_lead"),
        crumbs: crumbsTo(visit, user),
        fields: [{ name: "role", kind: "choice", label: texts.t("console.users.role"), options }],
        submit: texts.t("console.users.give_role"),
        cancel: { label: texts.t("console.cancel"), href: userHref(user) },
      };
    },
    asked: ({ role }, { params }) => ({ params: { ...params, role: String(role) } }),
    done: (visit) => visit.go(hrefHere(visit), "role_given"),
  });
}

/** The one of the person's sessions, or of what apps have, that the address names. */
async function findHere(visit: Visit, operation: "listSessions" | "listGrants"): Promise<Thing> {
  const wanted = visit.params[operation === "listSessions" ? "session_id" : "grant_id"];
  const { data } = await visit.list(operation);
  const found = data.find((thing) => textOf(thing, "id") === wanted);
  if (found === undefined) throw new AppError(operation === "listSessions" ? "session_unknown" : "grant_unknown");
  return found;
}

async function appHere(visit: Visit, clientId: string): Promise<string> {
  return (await appNames(visit, [clientId]))(clientId).text;
}
