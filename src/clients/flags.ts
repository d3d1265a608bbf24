/** Flags of `client create` and `client update`: one for each field of RFC 7591 and each of Signet's own settings, and what they become. */
import {
  booleanOf,
  type CommandIo,
  type Flags,
  type Given,
  listOf,
  numberOf,
  readSecret,
  textOf,
  usage,
} from "../commands.ts";
import { isOpenIdScope, splitScope } from "../scopes.ts";
import { CLIENT_TYPES } from "./schema.ts";

/** An API as a command names it; scopes absent: all that the API has. */
interface NamedApi {
  readonly identifier: string;
  readonly scopes?: readonly string[];
  readonly default?: boolean;
}

interface FieldFlag {
  readonly field: string;
  readonly kind: "text" | "list" | "number" | "switch";
  readonly value?: string;
  readonly summary: string;
}

/** What has one flag and one field. */
const FIELDS: Readonly<Record<string, FieldFlag>> = {
  name: { field: "client_name", kind: "text", summary: "what people read on the consent page" },
  "redirect-uri": {
    field: "redirect_uris",
    kind: "list",
    value: "URI",
    summary: "where people come back to after signing in, whole",
  },
  "post-logout-redirect-uri": {
    field: "post_logout_redirect_uris",
    kind: "list",
    value: "URI",
    summary: "where people may come back to after signing out, whole",
  },
  "token-endpoint-auth-method": {
    field: "token_endpoint_auth_method",
    kind: "text",
    value: "METHOD",
    summary: "none, client_secret_basic, client_secret_post or private_key_jwt, as far as the type allows",
  },
  "grant-type": { field: "grant_types", kind: "list", value: "GRANT", summary: "follows from the type" },
  "response-type": { field: "response_types", kind: "list", value: "TYPE", summary: "follows from the type" },
  "application-type": { field: "application_type", kind: "text", summary: "web or native; follows from the type" },
  "client-uri": { field: "client_uri", kind: "text", value: "URL", summary: "the app's home page" },
  "logo-uri": { field: "logo_uri", kind: "text", value: "URL", summary: "a picture; pages do not load it" },
  contact: { field: "contacts", kind: "list", value: "EMAIL", summary: "who is responsible for the app" },
  "tos-uri": { field: "tos_uri", kind: "text", value: "URL", summary: "terms of service" },
  "policy-uri": { field: "policy_uri", kind: "text", value: "URL", summary: "privacy policy" },
  "jwks-uri": { field: "jwks_uri", kind: "text", value: "URL", summary: "public keys for private_key_jwt, by address" },
  "software-id": { field: "software_id", kind: "text", summary: "one identifier for all installations of the app" },
  "software-version": { field: "software_version", kind: "text", summary: "its version" },
  "id-token-signed-response-alg": {
    field: "id_token_signed_response_alg",
    kind: "text",
    value: "ALG",
    summary: "RS256 (default), ES256 or EdDSA",
  },
  "default-max-age": {
    field: "default_max_age",
    kind: "number",
    summary: "a sign-in older than this is asked for again",
  },
  "backchannel-logout-uri": {
    field: "backchannel_logout_uri",
    kind: "text",
    value: "URL",
    summary: "told when a person is signed out (OpenID Connect Back-Channel Logout 1.0)",
  },
  "backchannel-logout-session-required": {
    field: "backchannel_logout_session_required",
    kind: "switch",
    summary: "its logout tokens always name the session",
  },
  "require-auth-time": { field: "require_auth_time", kind: "switch", summary: "ID tokens always say when it was" },
  "initiate-login-uri": {
    field: "initiate_login_uri",
    kind: "text",
    value: "URL",
    summary: "where the app starts a sign-in",
  },
  "subject-type": { field: "subject_type", kind: "text", summary: "public, the only one" },
  "first-party": { field: "first_party", kind: "switch", summary: "the operator's own app: no consent is asked" },
  "web-origin": {
    field: "web_origins",
    kind: "list",
    value: "ORIGIN",
    summary: "may call token and userinfo from a browser; a spa has the origins of its redirect URIs",
  },
  "refresh-window": {
    field: "refresh_window",
    kind: "number",
    summary: "how long a lost answer to a refresh is given again, 0 to 60 (10)",
  },
  "refresh-idle": {
    field: "refresh_idle",
    kind: "number",
    summary: "an unused refresh token ends after this (14 days)",
  },
  "refresh-absolute": {
    field: "refresh_absolute",
    kind: "number",
    summary: "refreshing ends after this (30 days for a spa, 90 otherwise)",
  },
  "pkce-optional": {
    field: "pkce_optional",
    kind: "switch",
    summary: "excuses a web client from PKCE; less safe, for clients that cannot",
  },
  "optional-scope": {
    field: "optional_scopes",
    kind: "list",
    value: "SCOPE",
    summary: "the person may decline this one and still go on",
  },
  "introspect-api": {
    field: "introspect_apis",
    kind: "list",
    value: "IDENTIFIER",
    summary: "may ask about the tokens of this API, as the API itself may",
  },
};

const fieldFlags: Flags = Object.fromEntries(
  Object.entries(FIELDS).map(([name, { kind, value, summary }]) => [
    name,
    kind === "switch"
      ? { type: "boolean", summary: `${summary}; --no-${name} takes it back` }
      : { type: "string", summary, value: value ?? (kind === "number" ? "SECONDS" : "TEXT"), isList: kind === "list" },
  ]),
);
const otherFlags: Flags = {
  jwks: { type: "string", value: "JSON|FILE", summary: "public keys for private_key_jwt; - is standard input" },
  api: { type: "string", value: "IDENTIFIER", isList: true, summary: "an API that the client may ask tokens for" },
  scope: {
    type: "string",
    value: "SCOPE",
    isList: true,
    summary: "what the client may ask for: scopes of OpenID Connect, and of its API when it has one (default: all)",
  },
  "api-scope": {
    type: "string",
    value: "IDENTIFIER=SCOPE",
    isList: true,
    summary: "a scope of this API, for clients with several",
  },
  "default-api": {
    type: "string",
    value: "IDENTIFIER",
    summary: "which of several APIs a request without resource means",
  },
};

export const CREATE_FLAGS: Flags = {
  type: {
    type: "string",
    value: "TYPE",
    summary: `${CLIENT_TYPES.join(", ")}; unless given, web with --redirect-uri and service with --api alone`,
  },
  ...fieldFlags,
  ...otherFlags,
};
export const UPDATE_FLAGS: Flags = {
  ...fieldFlags,
  ...otherFlags,
  clear: {
    type: "string",
    value: "FIELD",
    isList: true,
    summary: "takes the default again, for example logo_uri or apis",
  },
};

/** What was given, in the names of the wire. `present` are the APIs that the client has already, for a change. */
export async function readFields(
  place: string,
  given: Given,
  io: CommandIo,
  present: readonly NamedApi[] = [],
): Promise<Record<string, unknown>> {
  const fields: Record<string, unknown> = {};
  for (const [name, { field, kind }] of Object.entries(FIELDS)) {
    const value = readField(place, given, name, kind);
    if (value !== undefined) fields[field] = value;
  }
  const jwks = textOf(given, "jwks");
  if (jwks !== undefined) fields["jwks"] = await readJwks(place, jwks, io);
  const words = (listOf(given, "scope") ?? []).flatMap(splitScope);
  const openId = words.filter(isOpenIdScope);
  if (openId.length > 0) fields["scope"] = openId.join(" ");
  const apis = readApis(place, given, { scopes: words.filter((word) => !isOpenIdScope(word)), present });
  if (apis !== undefined) fields["apis"] = apis;
  for (const name of listOf(given, "clear") ?? []) fields[name.replaceAll("-", "_")] = null;
  return fields;
}

function readField(place: string, given: Given, name: string, kind: FieldFlag["kind"]): unknown {
  if (kind === "switch") return booleanOf(given, name);
  if (kind === "list") return listOf(given, name);
  return kind === "number" ? numberOf(place, given, name) : textOf(given, name);
}

async function readJwks(place: string, source: string, io: CommandIo): Promise<unknown> {
  const text = source.trimStart().startsWith("{") ? source : await readSecret(source, io);
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw usage(place, "--jwks is a JWK Set in JSON, or the name of a file that holds one.");
  }
}

/** Undefined: no flag spoke of APIs. `--api` replaces the list; `--scope` and `--api-scope` alone change what is there. */
function readApis(
  place: string,
  given: Given,
  { scopes, present }: { readonly scopes: readonly string[]; readonly present: readonly NamedApi[] },
): readonly NamedApi[] | undefined {
  const named = listOf(given, "api");
  const pairs = listOf(given, "api-scope") ?? [];
  const preset = textOf(given, "default-api");
  if (named === undefined && pairs.length === 0 && scopes.length === 0 && preset === undefined) return undefined;
  let apis: readonly NamedApi[] =
    named === undefined ? present : [...new Set(named)].map((identifier) => ({ identifier }));
  const only = apis.length === 1 ? apis[0] : undefined;
  if (scopes.length > 0) {
    if (only === undefined) {
      throw usage(
        place,
        `"${scopes[0]}" is a scope of an API: name it by --api, and with several APIs use --api-scope.`,
      );
    }
    apis = [{ ...only, scopes }];
  }
  for (const [identifier, own] of groupPairs(place, pairs, apis)) {
    const known = apis.find((api) => api.identifier === identifier);
    apis = [...apis.filter((api) => api !== known), { ...known, identifier, scopes: own }];
  }
  if (preset === undefined) return apis;
  if (!apis.some((api) => api.identifier === preset))
    throw usage(place, "--default-api is not among the client's APIs.");
  return apis.map((api) => ({ ...api, default: api.identifier === preset }));
}

/** `IDENTIFIER=SCOPE`: an identifier may hold the sign too, so the one that was named decides; otherwise the last sign does. */
function groupPairs(
  place: string,
  pairs: readonly string[],
  apis: readonly NamedApi[],
): Map<string, readonly string[]> {
  const groups = new Map<string, readonly string[]>();
  for (const pair of pairs) {
    const named = apis.find(({ identifier }) => pair.startsWith(`${identifier}=`))?.identifier;
    const split = named?.length ?? pair.lastIndexOf("=");
    if (split <= 0) throw usage(place, "--api-scope is written IDENTIFIER=SCOPE.");
    const identifier = pair.slice(0, split);
    groups.set(identifier, [...(groups.get(identifier) ?? []), ...splitScope(pair.slice(split + 1))]);
  }
  return groups;
}
