/** Console: which APIs a client may ask for, as fields of a form and back again. */
import { AppError } from "../errors.ts";
import type { Field } from "./form.ts";
import { listOf, textOf } from "./form.ts";
import type { Thing, Visit } from "./page.ts";

/** A field of checkboxes for each API; its scopes are what is ticked. */
const SCOPES = "scopes_";
/** Ticked for an API that has no scopes: no scope is written like this where scopes are none. */
const WHOLE = "(all)";
const PAGE = "200";
const PAGES_MAX = 5;

/** Fields of checkboxes. */
export const REPEATS = {
  includes: (name: string) => name.startsWith(SCOPES) || ["grant_types", "scope", "introspect_apis"].includes(name),
};

interface Held {
  readonly identifier: string;
  readonly scopes: readonly string[];
  readonly default: boolean;
}

/** All that there are, as far as a form can hold; none for somebody who may not see them. */
export async function listAllApis(visit: Visit): Promise<readonly Thing[]> {
  if (!visit.may("apis:read")) return [];
  const all: Thing[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const { data, next } = await visit.list("listApis", { query: { limit: PAGE, cursor } });
    all.push(...data);
    if (next === undefined) break;
    cursor = next;
  }
  return all;
}

export function apisHeldBy(client: Thing): readonly Held[] {
  return (client["apis"] as readonly Thing[]).map((api) => ({
    identifier: textOf(api, "identifier"),
    scopes: listOf(api, "scopes"),
    default: api["default"] === true,
  }));
}

export function apiFields({ texts }: Visit, apis: readonly Thing[], held: readonly Held[]): readonly Field[] {
  if (apis.length === 0) return [];
  return [
    ...apis.map((api, index): Field => {
      const holds = held.find(({ identifier }) => identifier === api["identifier"]);
      const scopes = api["scopes"] as readonly Thing[];
      // An API may have got scopes since the client got the API: what it holds stays as it is until somebody changes it.
      const isWhole = scopes.length === 0 || holds?.scopes.length === 0;
      return {
        ...(index === 0 ? { heading: texts.t("console.clients.apis_heading") } : {}),
        ...{ name: `${SCOPES}${textOf(api, "id")}`, kind: "choices", label: textOf(api, "name") },
        help: textOf(api, "identifier"),
        options: [
          ...(isWhole ? [{ value: WHOLE, label: texts.t("console.clients.whole_api") }] : []),
          ...scopes.map((scope) => ({
            value: textOf(scope, "scope"),
            label: textOf(scope, "scope"),
            help: textOf(scope, "description"),
          })),
        ],
        value: holds === undefined ? [] : isWhole ? [WHOLE] : holds.scopes,
      };
    }),
    {
      ...{ name: "default_api", kind: "choice", label: texts.t("console.clients.default_api") },
      help: texts.t("console.clients.default_api_help"),
      options: [
        { value: "", label: texts.t("console.clients.default_api_none") },
        ...apis.map((api) => ({ value: textOf(api, "identifier"), label: textOf(api, "name") })),
      ],
      value: held.find((api) => api.default)?.identifier ?? "",
    },
  ];
}

/** The API that a resource server is. */
export function ownApiField({ texts }: Visit, apis: readonly Thing[], held: readonly Held[]): Field {
  return {
    ...{ name: "apis", kind: "choice", label: texts.t("console.clients.own_api") },
    help: texts.t(apis.length === 0 ? "console.clients.own_api_none" : "console.clients.own_api_help"),
    options: apis.map((api) => ({
      value: textOf(api, "identifier"),
      label: `${textOf(api, "name")} (${textOf(api, "identifier")})`,
    })),
    value: held[0]?.identifier ?? "",
  };
}

/**
 * `apis` as the operation takes them. What the client holds of an API that the form did not show stays. `isNew`: then an only API is the default
 * unless another was chosen. Throws AppError client_invalid.
 */
export function apisOf(
  body: Readonly<Record<string, unknown>>,
  { apis, held, isNew }: { readonly apis: readonly Thing[]; readonly held: readonly Held[]; readonly isNew: boolean },
): readonly Record<string, unknown>[] {
  const preset = textOf(body, "default_api");
  const chosen = apis.flatMap((api) => {
    const ticked = listOf(body, `${SCOPES}${textOf(api, "id")}`);
    if (ticked.length === 0) return [];
    return [{ identifier: textOf(api, "identifier"), scopes: ticked.filter((scope) => scope !== WHOLE) }];
  });
  const unseen = held.filter(({ identifier }) => !apis.some((api) => api["identifier"] === identifier));
  if (preset !== "" && !chosen.some(({ identifier }) => identifier === preset))
    throw new AppError("client_invalid", "default_api: tick a scope of this API, too.");
  const all = [...chosen, ...unseen.map(({ identifier, scopes }) => ({ identifier, scopes }))];
  if (isNew && preset === "") return all;
  return all.map((api) => ({ ...api, default: api.identifier === preset }));
}

/** The fields that stand for `apis` and are none of the operation's own. */
export function withoutApiFields(body: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(body).filter(([name]) => name !== "default_api" && name !== "apis" && !name.startsWith(SCOPES)),
  );
}
