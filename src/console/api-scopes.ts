/** Console: scopes of an API: adding one, changing its words in every language, and taking one away. */
import { scopeFault } from "../apis/scope.ts";
import { AppError } from "../errors.ts";
import { ShapeError } from "../rest/problem.ts";
import { API, APIS, apiHref, crumbsTo, holdersOf, SECTION, sayHolders } from "./api-facts.ts";
import { confirmPage, type Field, formPage, textOf } from "./form.ts";
import type { ConsolePage, Thing, Visit } from "./page.ts";

export const apiScopePages: readonly ConsolePage[] = [
  formPage({
    path: `${API}/add-scope`,
    section: SECTION,
    shows: ["getApi", "listScopes"],
    operation: "putScope",
    async model(visit) {
      const { texts } = visit;
      const { body: api } = await visit.ask("getApi");
      return {
        title: texts.t("console.apis.add_scope"),
        lead: texts.t("console.apis.add_scope_lead"),
        crumbs: crumbsTo(visit, api),
        fields: [
          {
            ...{ name: "scope", kind: "text", label: texts.t("console.apis.scope") },
            help: texts.t("console.apis.scope_help"),
          },
          ...wordFields(visit, {}),
        ],
        submit: texts.t("console.apis.add_scope"),
        cancel: { label: texts.t("console.cancel"), href: apiHref(api) },
      };
    },
    async asked({ scope, ...words }, visit) {
      const name = String(scope);
      const fault = scopeFault(name);
      if (fault !== undefined) throw new ShapeError([{ field: "scope", detail: fault }]);
      // The operation would take it for a change of the words.
      if ((await scopesHere(visit)).some((one) => one["scope"] === name))
        throw new ShapeError([{ field: "scope", detail: visit.texts.t("console.apis.scope_there") }]);
      return { params: { ...visit.params, scope: name }, body: wordsOf(words, visit) };
    },
    done: (visit) => visit.go(hrefHere(visit), "scope_added"),
  }),
  formPage({
    path: `${API}/scopes/:scope`,
    section: SECTION,
    shows: ["getApi", "listScopes"],
    operation: "putScope",
    async model(visit) {
      const { texts } = visit;
      const { body: api } = await visit.ask("getApi");
      const scope = await scopeHere(visit);
      return {
        title: texts.t("console.apis.scope_title", { scope: textOf(scope, "scope") }),
        lead: texts.t("console.apis.scope_lead"),
        crumbs: crumbsTo(visit, api),
        fields: wordFields(visit, scope),
        submit: texts.t("console.save"),
        cancel: { label: texts.t("console.cancel"), href: apiHref(api) },
      };
    },
    asked: (words, visit) => ({ body: wordsOf(words, visit) }),
    done: (visit) => visit.go(hrefHere(visit), "saved"),
  }),
  confirmPage({
    path: `${API}/scopes/:scope/delete`,
    section: SECTION,
    shows: ["getApi", "listScopes", "listClients", "listRoles"],
    operation: "deleteScope",
    async model(visit) {
      const { texts } = visit;
      const { body: api } = await visit.ask("getApi");
      const name = textOf(await scopeHere(visit), "scope");
      const holders = await holdersOf(visit, textOf(api, "identifier"), name);
      return {
        title: texts.t("console.delete_title", { name }),
        crumbs: crumbsTo(visit, api),
        ends: [texts.t("console.apis.scope_ends", { scope: name }), ...sayHolders(visit, holders)],
        stays: [texts.t("console.apis.delete_stays", { seconds: Number(api["token_lifetime"]) })],
        submit: texts.t("console.delete_submit", { name }),
        cancel: { label: texts.t("console.keep"), href: apiHref(api) },
      };
    },
    done: (visit) => visit.go(hrefHere(visit), "scope_deleted"),
  }),
];

function wordFields({ texts }: Visit, scope: Thing): readonly Field[] {
  const languages = Object.entries((scope["descriptions"] ?? {}) as Readonly<Record<string, string>>);
  return [
    {
      ...{ name: "description", kind: "text", label: texts.t("console.apis.words"), isOptional: true },
      ...{ value: scope["description"], help: texts.t("console.apis.words_help") },
    },
    {
      ...{ name: "descriptions", kind: "lines", label: texts.t("console.apis.languages") },
      value: languages.map(([language, text]) => `${language}: ${text}`),
      help: texts.t("console.apis.languages_help"),
    },
  ];
}

/** `de: Ihre Dinge sehen`, a language to a line. */
function wordsOf(body: Readonly<Record<string, unknown>>, { texts }: Visit): Record<string, unknown> {
  const descriptions = new Map<string, string>();
  for (const [index, line] of (body["descriptions"] as readonly string[]).entries()) {
    const [, language = "", text = ""] = /^([^:\s]+)\s*:\s*(.+)$/.exec(line) ?? [];
    const fault =
      language === "" ? "console.apis.no_language" : descriptions.has(language) ? "console.apis.twice" : undefined;
    if (fault !== undefined) throw new ShapeError([{ field: `descriptions[${index}]`, detail: texts.t(fault) }]);
    descriptions.set(language, text);
  }
  return { ...body, descriptions: Object.fromEntries(descriptions) };
}

async function scopesHere(visit: Visit): Promise<readonly Thing[]> {
  return (await visit.list("listScopes")).data;
}

async function scopeHere(visit: Visit): Promise<Thing> {
  const found = (await scopesHere(visit)).find((scope) => scope["scope"] === visit.params["scope"]);
  if (found === undefined) throw new AppError("resource_unknown");
  return found;
}

function hrefHere({ params }: Visit): string {
  return `${APIS}/${encodeURIComponent(params["api_id"] ?? "")}`;
}
