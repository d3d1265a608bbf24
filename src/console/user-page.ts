/** Console: the page of one person: who they are, what protects the account, their roles, where they are signed in, what apps have, what happened. */
import { AppError } from "../errors.ts";
import { deviceName } from "../pages/device-name.ts";
import { listOf, textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";
import { act, type Cell, moment, type Row } from "./table.ts";
import { askEvents, eventsPart } from "./user-events.ts";
import { crumbsTo, hrefHere, nameOf, SECTION, stateOf, USER, userHref } from "./user-facts.ts";
import { profileFacts } from "./users.ts";

interface Act {
  readonly label: string;
  readonly href: string;
  readonly kind: "secondary" | "danger";
}

/** What views/console/detail.pug shows of one part. */
export interface Part {
  readonly title: string;
  readonly help?: string;
  readonly facts?: readonly { readonly label: string; readonly cells: readonly Cell[] }[];
  readonly table?: { readonly head: readonly string[]; readonly rows: readonly Row[] };
  readonly empty?: string;
  readonly acts?: readonly Act[];
}

/** An app as a link to its page where it has one. */
type NameApp = (clientId: string) => Cell;

export const userPage: ConsolePage = {
  path: USER,
  section: SECTION,
  shows: ["getUser", "listUserRoles", "listSessions", "listGrants", "listConsents", "listAuditEvents", "getClient"],
  async show(visit) {
    const { may } = visit;
    const { body: user } = await visit.ask("getUser");
    const [roles, sessions, grants, consents, events] = await Promise.all([
      may("roles:read") ? visit.ask("listUserRoles") : undefined,
      may("sessions:read") ? visit.list("listSessions") : undefined,
      may("grants:read") ? visit.list("listGrants") : undefined,
      may("consents:read") ? visit.list("listConsents") : undefined,
      may("audit:read") ? askEvents(visit, textOf(user, "id")) : undefined,
    ]);
    const nameApp = await appNames(visit, [
      ...(sessions?.data ?? []).flatMap((session) => listOf(session, "client_ids")),
      ...[...(grants?.data ?? []), ...(consents?.data ?? [])].map((thing) => textOf(thing, "client_id")),
    ]);
    const name = textOf(user, "name");
    visit.show(
      "console/detail",
      { title: nameOf(user), ...(name === "" ? {} : { lead: textOf(user, "email") }), crumbs: crumbsTo(visit) },
      {
        parts: [
          profilePart(visit, user),
          accessPart(visit, user),
          roles === undefined ? undefined : rolesPart(visit, listOf(roles.body, "roles")),
          sessions === undefined ? undefined : sessionsPart(visit, sessions.data, nameApp),
          grants === undefined ? undefined : grantsPart(visit, grants.data, nameApp),
          consents === undefined ? undefined : consentsPart(visit, consents.data, nameApp),
          events === undefined ? undefined : eventsPart(visit, user, events.data),
        ].filter((part) => part !== undefined),
      },
    );
  },
};

function profilePart(visit: Visit, user: Thing): Part {
  const { texts, may } = visit;
  const facts = [
    { label: texts.t("login.email"), cells: [{ text: textOf(user, "email") }] },
    { label: texts.t("console.users.id"), cells: [{ text: textOf(user, "id"), isCode: true }] },
    ...profileFacts(user, visit),
    { label: texts.t("console.users.since"), cells: [{ text: moment(visit, user["created_at"]) }] },
    { label: texts.t("console.users.changed"), cells: [{ text: moment(visit, user["updated_at"]) }] },
  ];
  const edit = { label: texts.t("console.users.edit"), href: `${userHref(user)}/edit`, kind: "secondary" } as const;
  return { title: texts.t("console.users.profile"), facts, acts: may("users:write") ? [edit] : [] };
}

function accessPart(visit: Visit, user: Thing): Part {
  const { texts, may } = visit;
  const here = userHref(user);
  const isDisabled = user["disabled"] === true;
  const reset = texts.t(user["has_password"] === true ? "console.users.reset" : "console.users.send_link");
  const acts: readonly Act[] = [
    { label: reset, href: `${here}/reset-password`, kind: "secondary" },
    isDisabled
      ? { label: texts.t("console.users.enable"), href: `${here}/enable`, kind: "secondary" }
      : { label: texts.t("console.users.disable"), href: `${here}/disable`, kind: "danger" },
    { label: texts.t("console.users.delete"), href: `${here}/delete`, kind: "danger" },
  ];
  return {
    title: texts.t("console.users.access"),
    facts: [{ label: texts.t("console.users.state"), cells: stateOf(user, visit) }],
    acts: may("users:write") ? acts : [],
  };
}

function rolesPart(visit: Visit, roles: readonly string[]): Part {
  const { texts, may } = visit;
  const here = `${hrefHere(visit)}/roles`;
  const canChange = may("roles:write");
  const give = { label: texts.t("console.users.give_role"), href: `${here}/give`, kind: "secondary" } as const;
  return {
    title: texts.t("console.nav.roles"),
    table: {
      head: [texts.t("console.roles.name"), ...(canChange ? [texts.t("console.users.act")] : [])],
      rows: roles.map((role) => [
        { text: role, href: `/admin/roles/${encodeURIComponent(role)}`, isCode: true, isWhole: true },
        ...(canChange
          ? [act(texts.t("console.users.take_role"), `${here}/${encodeURIComponent(role)}/take`, role)]
          : []),
      ]),
    },
    empty: texts.t("console.users.no_roles"),
    acts: canChange ? [give] : [],
  };
}

function sessionsPart(visit: Visit, sessions: readonly Thing[], nameApp: NameApp): Part {
  const { texts, may } = visit;
  const here = `${hrefHere(visit)}/sessions`;
  const canEnd = may("sessions:write");
  const endAll = {
    label: texts.t("console.users.end_all"),
    href: `${hrefHere(visit)}/sign-out`,
    kind: "danger",
  } as const;
  return {
    title: texts.t("console.users.sessions"),
    help: texts.t("console.users.sessions_help"),
    table: {
      head: [
        texts.t("console.users.device"),
        texts.t("console.users.apps"),
        texts.t("console.users.signed_in"),
        texts.t("console.users.seen"),
        ...(canEnd ? [texts.t("console.users.act")] : []),
      ],
      rows: sessions.map((session) => [
        { text: deviceOf(session, visit), small: textOf(session, "network") || undefined },
        listOf(session, "client_ids").map(nameApp),
        { text: moment(visit, session["signed_in_at"]) },
        { text: moment(visit, session["seen_at"]) },
        ...(canEnd
          ? [
              act(
                texts.t("console.users.end"),
                `${here}/${encodeURIComponent(textOf(session, "id"))}/end`,
                deviceOf(session, visit),
              ),
            ]
          : []),
      ]),
    },
    empty: texts.t("console.users.no_sessions"),
    // Also with no session here: apps that keep access are ended with them.
    acts: canEnd ? [endAll] : [],
  };
}

function grantsPart(visit: Visit, grants: readonly Thing[], nameApp: NameApp): Part {
  const { texts, may } = visit;
  const here = `${hrefHere(visit)}/grants`;
  const canEnd = may("grants:write");
  return {
    title: texts.t("console.users.grants"),
    help: texts.t("console.users.grants_help"),
    table: {
      head: [
        texts.t("console.users.app"),
        texts.t("console.users.may"),
        texts.t("console.users.signed_in"),
        ...(canEnd ? [texts.t("console.users.act")] : []),
      ],
      rows: grants.map((grant) => [
        nameApp(textOf(grant, "client_id")),
        scopesOf(grant),
        { text: moment(visit, grant["signed_in_at"]) },
        ...(canEnd
          ? [
              act(
                texts.t("console.users.end"),
                `${here}/${encodeURIComponent(textOf(grant, "id"))}/end`,
                nameApp(textOf(grant, "client_id")).text,
              ),
            ]
          : []),
      ]),
    },
    empty: texts.t("console.users.no_grants"),
  };
}

/** One row for each app: a consent is withdrawn as a whole. */
function consentsPart(visit: Visit, consents: readonly Thing[], nameApp: NameApp): Part {
  const { texts, may } = visit;
  const canWithdraw = may("consents:write");
  const ids = [...new Set(consents.map((consent) => textOf(consent, "client_id")))];
  return {
    title: texts.t("console.users.consents"),
    help: texts.t("console.users.consents_help"),
    table: {
      head: [
        texts.t("console.users.app"),
        texts.t("console.users.allowed"),
        texts.t("console.users.since_day"),
        ...(canWithdraw ? [texts.t("console.users.act")] : []),
      ],
      rows: ids.map((id) => {
        const given = consents.filter((consent) => textOf(consent, "client_id") === id);
        const href = `${hrefHere(visit)}/consents/${encodeURIComponent(id)}/withdraw`;
        return [
          nameApp(id),
          given.flatMap((consent) => listOf(consent, "granted")).map((text) => ({ text, isCode: true })),
          { text: moment(visit, given.at(-1)?.["created_at"]) },
          ...(canWithdraw ? [act(texts.t("console.users.withdraw"), href, nameApp(id).text)] : []),
        ];
      }),
    },
    empty: texts.t("console.users.no_consents"),
  };
}

export function deviceOf(session: Thing, { texts }: Visit): string {
  return deviceName(textOf(session, "user_agent")) ?? texts.t("console.users.no_device");
}

/** Every scope once, whatever API it is of. */
export function scopesOf(grant: Thing): readonly Cell[] {
  const groups = grant["scopes"] as readonly Thing[];
  return [...new Set(groups.flatMap((group) => listOf(group, "scopes")))].map((text) => ({ text, isCode: true }));
}

/** So many apps are called by their names; the rest stand as ids. */
const NAMES_MAX = 50;

/** The names of these apps, for whoever may see them; the id of one that is gone. */
export async function appNames(visit: Visit, ids: readonly string[]): Promise<NameApp> {
  const wanted = visit.may("clients:read") ? [...new Set(ids)].slice(0, NAMES_MAX) : [];
  const names = new Map<string, string>();
  // One after the other: what waits for the database together takes its time from one request's share.
  for (const id of wanted) {
    const name = await appName(visit, id);
    if (name !== undefined) names.set(id, name);
  }
  return (id) => {
    const name = names.get(id);
    return name === undefined ? { text: id, isCode: true } : { text: name, href: clientHref(id) };
  };
}

async function appName(visit: Visit, clientId: string): Promise<string | undefined> {
  try {
    return textOf((await visit.ask("getClient", { params: { client_id: clientId } })).body, "client_name");
  } catch (error) {
    if (error instanceof AppError && error.code === "client_unknown") return undefined;
    throw error;
  }
}

function clientHref(id: string): string {
  return `/admin/clients/${encodeURIComponent(id)}`;
}
