/** Console: people: finding them, making and inviting them, and changing what is known of them. */
import { type Field, formPage, listOf, textOf } from "./form.ts";
import type { Asked, ConsolePage, Thing, Visit } from "./page.ts";
import { listPage, moment, type Row } from "./table.ts";
import { crumbsTo, nameOf, SECTION, settingsFor, showClosed, stateOf, USER, USERS, userHref } from "./user-facts.ts";

/** The standard claims that an administrator writes (OpenID Connect Core section 5.1), in the order of the form. */
const CLAIMS = [
  ["name", "text"],
  ["given_name", "text"],
  ["middle_name", "text"],
  ["family_name", "text"],
  ["nickname", "text"],
  ["preferred_username", "text"],
  ["locale", "text"],
  ["zoneinfo", "text"],
  ["phone_number", "text"],
  ["birthdate", "text"],
  ["gender", "text"],
  ["profile", "url"],
  ["picture", "url"],
  ["website", "url"],
] as const;
const ADDRESS = [
  ["formatted", "area"],
  ["street_address", "area"],
  ["postal_code", "text"],
  ["locality", "text"],
  ["region", "text"],
  ["country", "text"],
] as const;
/** What is asked for at first; the rest can be added when the person is there. */
const FIRST: readonly string[] = ["name", "given_name", "family_name", "locale", "zoneinfo", "phone_number"];
const HEADINGS: Readonly<Record<string, string>> = {
  name: "console.users.names",
  locale: "console.users.about",
  profile: "console.users.web",
};

export const userPages: readonly ConsolePage[] = [
  listPage({
    path: USERS,
    section: SECTION,
    operation: "listUsers",
    filters: ({ texts }) => [{ name: "query", label: texts.t("console.users.query") }],
    frame: ({ texts, may }) => ({
      title: texts.t("console.nav.users"),
      lead: texts.t("console.users.lead"),
      ...(may("users:write")
        ? {
            action: { label: texts.t("console.users.create"), href: `${USERS}/new` },
            second: { label: texts.t("console.users.invite"), href: `${USERS}/invite` },
          }
        : {}),
    }),
    head: ({ texts }) => [
      texts.t("console.users.person"),
      texts.t("console.users.state"),
      texts.t("console.nav.roles"),
      texts.t("console.users.since"),
    ],
    row: (user, visit) => [
      {
        text: nameOf(user),
        href: userHref(user),
        avatar: nameOf(user),
        small: textOf(user, "name") === "" ? undefined : textOf(user, "email"),
      },
      stateOf(user, visit),
      rolesOf(user),
      { text: moment(visit, user["created_at"]) },
    ],
    empty: ({ texts, may }) => ({
      title: texts.t("console.users.none"),
      lead: texts.t("console.users.none_lead"),
      action: may("users:write") ? { label: texts.t("console.users.create"), href: `${USERS}/new` } : undefined,
    }),
  }),
  formPage({
    path: `${USERS}/new`,
    section: SECTION,
    shows: [],
    operation: "createUser",
    async model(visit) {
      const { texts } = visit;
      return {
        title: texts.t("console.users.create"),
        lead: texts.t("console.users.create_lead"),
        crumbs: crumbsTo(visit),
        fields: [emailField(visit), ...CLAIMS.filter(([name]) => FIRST.includes(name)).map(claimField(visit))],
        submit: texts.t("console.users.create"),
        cancel: { label: texts.t("console.cancel"), href: USERS },
      };
    },
    done: (visit, { body }) => visit.go(userHref(body), "user_created"),
  }),
  invitePage(),
  formPage({
    path: `${USER}/edit`,
    section: SECTION,
    shows: ["getUser"],
    operation: "updateUser",
    isChange: true,
    // A new address is a way to a new password.
    isDangerous: true,
    async model(visit) {
      const { texts } = visit;
      const { body: user, etag } = await visit.ask("getUser");
      return {
        title: texts.t("console.users.edit_title", { name: nameOf(user) }),
        lead: texts.t("console.users.edit_lead"),
        crumbs: crumbsTo(visit, user),
        fields: [
          emailField(visit, user),
          ...CLAIMS.map(claimField(visit, user)),
          ...ADDRESS.map(addressField(visit, user)),
        ],
        submit: texts.t("console.save"),
        cancel: { label: texts.t("console.cancel"), href: userHref(user) },
        etag,
      };
    },
    asked: changed,
    done: (visit, { body }) => visit.go(userHref(body), "saved"),
  }),
];

/** The page says what is off before anybody types; whoever may not see the settings learns it from the refusal. */
function invitePage(): ConsolePage {
  const page = formPage({
    path: `${USERS}/invite`,
    section: SECTION,
    shows: ["getSettings"],
    operation: "inviteUser",
    async model(visit) {
      const { texts } = visit;
      return {
        title: texts.t("console.users.invite"),
        lead: texts.t("console.users.invite_lead"),
        crumbs: crumbsTo(visit),
        fields: [
          emailField(visit),
          {
            ...{ name: "language", kind: "text", label: texts.t("console.users.language"), isOptional: true },
            help: texts.t("console.users.language_help"),
          },
        ],
        submit: texts.t("console.users.invite_submit"),
        cancel: { label: texts.t("console.cancel"), href: USERS },
      };
    },
    done: (visit) => visit.go(USERS, "user_invited"),
  });
  return {
    ...page,
    async show(visit) {
      const settings = await settingsFor(visit);
      const isMailOff = settings?.["mail"] === "off";
      const isClosed = settings?.["sign_up"] === "off";
      if (!isMailOff && !isClosed) return page.show(visit);
      const title = visit.texts.t("console.users.invite");
      showClosed(visit, { title, isMailOff, ...(isClosed ? { signUp: "off" } : {}) });
    },
  };
}

function emailField({ texts }: Visit, user?: Thing): Field {
  return {
    ...{ name: "email", kind: "email", label: texts.t("login.email") },
    ...(user === undefined ? {} : { value: user["email"], help: texts.t("console.users.email_help") }),
  };
}

function claimField(visit: Visit, user: Thing = {}): (claim: (typeof CLAIMS)[number]) => Field {
  const { texts } = visit;
  return ([name, kind]) => {
    const heading = HEADINGS[name];
    return {
      ...{ name, kind, label: texts.t(`profile.${name}`), isOptional: true, value: user[name] },
      ...(heading === undefined ? {} : { heading: texts.t(heading) }),
    };
  };
}

function addressField({ texts }: Visit, user: Thing): (part: (typeof ADDRESS)[number]) => Field {
  const address = (user["address"] ?? {}) as Thing;
  return ([name, kind]) => ({
    ...{ name: `address.${name}`, kind, label: texts.t(`profile.address.${name}`), isOptional: true },
    value: address[name],
    ...(name === "formatted" ? { heading: texts.t("profile.address") } : {}),
  });
}

/** Null takes a claim away; a postal address is one claim, whatever parts it has. */
function changed(body: Readonly<Record<string, unknown>>): Asked {
  const parts = Object.entries((body["address"] ?? {}) as Thing).filter(([, value]) => value !== null);
  return { body: { ...body, address: parts.length === 0 ? null : Object.fromEntries(parts) } };
}

function rolesOf(user: Thing): Row[number] {
  const roles = listOf(user, "roles");
  return roles.length === 0 ? { text: "–" } : roles.map((text) => ({ text, isCode: true, isWhole: true }));
}

/** The facts of the profile that are there, by the words of the form. */
export function profileFacts(
  user: Thing,
  { texts }: Visit,
): readonly { label: string; cells: readonly { text: string }[] }[] {
  const address = (user["address"] ?? {}) as Thing;
  const claims = CLAIMS.map(([name]) => ({ label: texts.t(`profile.${name}`), text: textOf(user, name) }));
  const parts = ADDRESS.map(([name]) => ({ label: texts.t(`profile.address.${name}`), text: textOf(address, name) }));
  // The words of the form go on with an example of what to type.
  return [...claims, ...parts].flatMap(({ label, text }) =>
    text === "" ? [] : [{ label: label.replace(/,.*$/, ""), cells: [{ text }] }],
  );
}
