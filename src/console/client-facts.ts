/** What a client's settings are made of: the values of this server and this client, and how they are written down. */
import { isOpenIdScope, splitScope } from "../scopes.ts";
import { listOf, textOf } from "./form.ts";
import type { Thing } from "./page.ts";

export interface Snippet {
  /** Where it goes; empty: it is run. */
  readonly file: string;
  readonly code: string;
}

export interface Framework {
  readonly label: string;
  readonly snippets: readonly Snippet[];
  /** The path that people come back to, where the framework decides it. */
  readonly callback?: string;
  /** How it sends the secret, where the framework decides it. */
  readonly method?: "client_secret_basic" | "client_secret_post";
}

/** What the snippets are filled with. */
export interface Facts {
  readonly issuer: string;
  readonly id: string;
  readonly redirect: string;
  readonly afterLogout: string | undefined;
  /** Scopes of OpenID alone: their token serves /userinfo. */
  readonly openId: string;
  /** The same, and those of the API. */
  readonly scope: string;
  /** The API that tokens are asked for, if there is one. */
  readonly api: string | undefined;
  readonly apiScopes: string;
  readonly isPost: boolean;
  readonly isPkceOptional: boolean;
  readonly idTokenAlgorithm: string;
}

/** Stands where the secret goes: the page that shows it does so once and in one place. */
export const DOTS = "••••••••";

export function factsOf(client: Thing, issuer: string): Facts {
  const apis = (client["apis"] as readonly Thing[] | undefined) ?? [];
  const api = apis.find((one) => one["default"] === true) ?? apis[0];
  // Without offline_access: it is asked for together with prompt=consent, by apps that need it (OpenID Connect Core section 11).
  const openId = splitScope(textOf(client, "scope")).filter((scope) => ["openid", "profile", "email"].includes(scope));
  const apiScopes = api === undefined ? [] : listOf(api, "scopes").filter((scope) => !isOpenIdScope(scope));
  return {
    issuer,
    id: textOf(client, "client_id"),
    redirect: listOf(client, "redirect_uris")[0] ?? "",
    afterLogout: listOf(client, "post_logout_redirect_uris")[0],
    openId: openId.join(" "),
    scope: [...openId, ...apiScopes].join(" "),
    api: api === undefined ? undefined : textOf(api, "identifier"),
    apiScopes: apiScopes.join(" "),
    isPost: client["token_endpoint_auth_method"] === "client_secret_post",
    isPkceOptional: client["pkce_optional"] === true,
    idTokenAlgorithm: textOf(client, "id_token_signed_response_alg"),
  };
}

/** The names and values that every library asks for under one name or another. */
export function environment({ issuer, id, redirect, scope, api }: Facts): readonly (readonly string[])[] {
  return [
    ["ISSUER", issuer],
    ["CLIENT_ID", id],
    ["CLIENT_SECRET", DOTS],
    ["REDIRECT_URI", redirect],
    ["SCOPE", scope],
    ["RESOURCE", api ?? ""],
  ].filter(([, value]) => value !== "");
}

export function lines(pairs: readonly (readonly string[])[]): string {
  return pairs
    .map(([name = "", value = ""]) => `${name}=${/^[\w:/.,~?=&%+@•-]*$/.test(value) ? value : quote(value)}`)
    .join("\n");
}

/** As a string of JavaScript, Python, C# and a .env file alike: values hold neither quotes nor backslashes, and JSON escapes them if one ever does. */
export function quote(value: string): string {
  return JSON.stringify(value);
}

export function methodOf(isPost: boolean): "client_secret_post" | "client_secret_basic" {
  return isPost ? "client_secret_post" : "client_secret_basic";
}

/** A line of the app's own: this file imports nothing of the kind. */
export function importing(what: string, from: string): string {
  return `import ${what} from ${quote(from)};`;
}
