/** What a client's type decides: defaults, and which metadata contradict it. Every way in (command line, REST, console, registration) passes here. */
import { AppError } from "../errors.ts";
import { isOpenIdScope, OPENID_SCOPES, splitScope } from "../scopes.ts";
import { quoted } from "../text.ts";
import { publicKeyFault } from "./jwks.ts";
import { keysUrlFault, pageUrlFault, redirectUriFault, webOriginFault } from "./redirect-uri.ts";
import type { AUTH_METHODS, CLIENT_TYPES, ClientInput, GRANT_TYPES, ID_TOKEN_ALGORITHMS, PublicJwk } from "./schema.ts";
import { type ClientSettings, fillSettings, unique } from "./settings.ts";

export type { ClientSettings } from "./settings.ts";
export type ClientType = (typeof CLIENT_TYPES)[number];
export type AuthMethod = (typeof AUTH_METHODS)[number];
export type GrantType = (typeof GRANT_TYPES)[number];

/** RFC 7591 section 2, OpenID Connect Dynamic Client Registration section 2; the client's name stands beside it. */
export interface ClientMetadata {
  readonly redirect_uris: readonly string[];
  readonly post_logout_redirect_uris: readonly string[];
  readonly token_endpoint_auth_method: AuthMethod;
  readonly grant_types: readonly GrantType[];
  readonly response_types: readonly "code"[];
  readonly application_type: "web" | "native";
  /** OpenID scopes that the client may ask for; absent for clients without people. Scopes of APIs stand in `apis`. */
  readonly scope?: string | undefined;
  readonly client_uri?: string | undefined;
  readonly logo_uri?: string | undefined;
  readonly tos_uri?: string | undefined;
  readonly policy_uri?: string | undefined;
  readonly contacts?: readonly string[] | undefined;
  readonly jwks_uri?: string | undefined;
  readonly jwks?: { readonly keys: readonly PublicJwk[] } | undefined;
  readonly software_id?: string | undefined;
  readonly software_version?: string | undefined;
  readonly id_token_signed_response_alg: (typeof ID_TOKEN_ALGORITHMS)[number];
  readonly default_max_age?: number | undefined;
  readonly require_auth_time: boolean;
  readonly initiate_login_uri?: string | undefined;
  readonly backchannel_logout_uri?: string | undefined;
  readonly backchannel_logout_session_required?: boolean | undefined;
  readonly subject_type: "public";
}

export interface WantedApi {
  readonly identifier: string;
  /** Absent: all scopes that the API has. */
  readonly scopes?: readonly string[] | undefined;
  readonly isDefault: boolean;
}

/** A client that keeps every rule which needs no database. */
export interface ResolvedClient {
  readonly type: ClientType;
  readonly name: string;
  readonly metadata: ClientMetadata;
  readonly settings: ClientSettings;
  readonly apis: readonly WantedApi[];
}

interface TypeRules {
  readonly authMethods: readonly [AuthMethod, ...AuthMethod[]];
  /** The first one is what the type is for. */
  readonly grantTypes: readonly GrantType[];
  readonly application: "web" | "native";
  /** Whether people sign in through it: redirects, scopes of OpenID, refresh tokens. */
  readonly hasPeople: boolean;
}

const CONFIDENTIAL = ["client_secret_basic", "client_secret_post", "private_key_jwt"] as const;
const CODE_AND_REFRESH = ["authorization_code", "refresh_token"] as const;
const TYPES: Readonly<Record<ClientType, TypeRules>> = {
  web: { authMethods: CONFIDENTIAL, grantTypes: CODE_AND_REFRESH, application: "web", hasPeople: true },
  spa: { authMethods: ["none"], grantTypes: CODE_AND_REFRESH, application: "web", hasPeople: true },
  native: { authMethods: ["none"], grantTypes: CODE_AND_REFRESH, application: "native", hasPeople: true },
  service: { authMethods: CONFIDENTIAL, grantTypes: ["client_credentials"], application: "web", hasPeople: false },
  "resource-server": { authMethods: CONFIDENTIAL, grantTypes: [], application: "web", hasPeople: false },
};

/** Fields that mean something only where people sign in; what an empty one looks like. */
const PEOPLE_ONLY: Readonly<Partial<Record<keyof ClientInput, unknown>>> = {
  redirect_uris: [],
  post_logout_redirect_uris: [],
  scope: "",
  id_token_signed_response_alg: "RS256",
  default_max_age: undefined,
  require_auth_time: false,
  initiate_login_uri: undefined,
  backchannel_logout_uri: undefined,
  backchannel_logout_session_required: undefined,
  first_party: false,
  web_origins: [],
  refresh_window: undefined,
  refresh_idle: undefined,
  refresh_absolute: undefined,
  optional_scopes: [],
};

export interface MetadataRules {
  /** Development lets http on the loopback interface through. */
  readonly isDevelopment: boolean;
}

/** What clients of this type can choose from. */
export function choicesOf(type: ClientType): Pick<TypeRules, "authMethods" | "grantTypes" | "hasPeople"> {
  return TYPES[type];
}

/** Whether people sign in through clients of this type. */
export function hasPeople(type: ClientType): boolean {
  return TYPES[type].hasPeople;
}

/** Whether the client proves itself by a secret; otherwise by nothing (public) or by a signature. */
export function needsSecret(metadata: ClientMetadata): boolean {
  return ["client_secret_basic", "client_secret_post"].includes(metadata.token_endpoint_auth_method);
}

/** Fills in the defaults of the type. Throws AppError client_redirect_uri_invalid or client_invalid, naming the field. */
export function resolveClient(input: ClientInput, rules: MetadataRules): ResolvedClient {
  const type = input.client_type;
  checkType(input);
  checkRedirects(input, rules);
  checkUrls(input, rules);
  checkKeys(input);
  const metadata = fillMetadata(input);
  const settings = fillSettings(input);
  for (const origin of settings.webOrigins) check(`web_origins: ${quoted(origin)}`, webOriginFault(origin, rules));
  for (const scope of settings.optionalScopes.filter(isOpenIdScope)) {
    const isAskable = scope !== "openid" && splitScope(metadata.scope ?? "").includes(scope);
    if (!isAskable)
      refuse("optional_scopes", `${scope} is not a scope that this client asks for and a person may decline`);
  }
  return { type, name: input.client_name, metadata, settings, apis: resolveApis(input) };
}

function checkType(input: ClientInput): void {
  const type = input.client_type;
  const { authMethods, grantTypes, application, hasPeople } = TYPES[type];
  const { token_endpoint_auth_method: method, grant_types: grants, response_types: responses } = input;
  if (method !== undefined && !authMethods.includes(method)) {
    refuse("token_endpoint_auth_method", `a ${type} client uses ${authMethods.join(", ")}`);
  }
  const main = grantTypes[0];
  const isFit = grants?.every((grant) => grantTypes.includes(grant)) && (main === undefined || grants.includes(main));
  if (grants !== undefined && isFit !== true) {
    refuse("grant_types", `a ${type} client uses ${grantTypes.length === 0 ? "none" : grantTypes.join(", ")}`);
  }
  if (responses !== undefined && responses.length > 0 !== hasPeople) {
    refuse("response_types", `a ${type} client uses ${hasPeople ? "code" : "none"}`);
  }
  if (input.application_type !== undefined && input.application_type !== application) {
    refuse("application_type", `a ${type} client is ${application}`);
  }
  if (input.pkce_optional === true && type !== "web")
    refuse("pkce_optional", "only a confidential web client can be excused");
  if (!authMethods.some((name) => name !== "none") && (input.introspect_apis ?? []).length > 0)
    refuse("introspect_apis", "a client without credentials cannot be told from any other");
  if (hasPeople) return;
  for (const [name, empty] of Object.entries(PEOPLE_ONLY)) {
    const value = input[name as keyof ClientInput];
    if (value !== undefined && JSON.stringify(value) !== JSON.stringify(empty)) {
      refuse(name, `a ${type} client signs nobody in and has no such field`);
    }
  }
}

function checkRedirects(input: ClientInput, rules: MetadataRules): void {
  const type = input.client_type;
  if (hasPeople(type) && (input.redirect_uris ?? []).length === 0) {
    throw new AppError("client_redirect_uri_invalid", `redirect_uris: a ${type} client needs at least one.`);
  }
  for (const name of ["redirect_uris", "post_logout_redirect_uris"] as const) {
    for (const uri of input[name] ?? []) {
      const fault = redirectUriFault(uri, { ...rules, isNative: type === "native" });
      if (fault !== undefined) throw new AppError("client_redirect_uri_invalid", `${name}: ${quoted(uri)} ${fault}.`);
    }
  }
}

function checkUrls(input: ClientInput, rules: MetadataRules): void {
  for (const name of ["client_uri", "logo_uri", "tos_uri", "policy_uri"] as const) {
    const url = input[name];
    if (url !== undefined) check(`${name}: ${quoted(url)}`, pageUrlFault(url, rules));
  }
  const { initiate_login_uri: login, jwks_uri: keys, backchannel_logout_uri: logout } = input;
  // OpenID Connect Core section 4 wants https here, in development too.
  if (login !== undefined) check(`initiate_login_uri: ${quoted(login)}`, pageUrlFault(login, { isDevelopment: false }));
  if (logout !== undefined) check(`backchannel_logout_uri: ${quoted(logout)}`, keysUrlFault(logout, rules));
  if (keys !== undefined) check(`jwks_uri: ${quoted(keys)}`, keysUrlFault(keys, rules));
}

function checkKeys(input: ClientInput): void {
  const { jwks, jwks_uri: uri, token_endpoint_auth_method: method } = input;
  if (jwks !== undefined && uri !== undefined) refuse("jwks", "it excludes jwks_uri (RFC 7591 section 2): keep one");
  if (method === "private_key_jwt" && jwks === undefined && uri === undefined) {
    refuse("jwks", "private_key_jwt needs jwks or jwks_uri");
  }
  jwks?.keys.forEach((key, index) => {
    check(`jwks: key ${index}`, publicKeyFault(key));
  });
}

function fillMetadata(input: ClientInput): ClientMetadata {
  const { authMethods, grantTypes, application, hasPeople } = TYPES[input.client_type];
  const grants = unique(input.grant_types ?? grantTypes);
  const askable = OPENID_SCOPES.filter((scope) => scope !== "offline_access" || grants.includes("refresh_token"));
  return {
    redirect_uris: unique(input.redirect_uris ?? []),
    post_logout_redirect_uris: unique(input.post_logout_redirect_uris ?? []),
    token_endpoint_auth_method: input.token_endpoint_auth_method ?? authMethods[0],
    grant_types: grants,
    response_types: hasPeople ? ["code"] : [],
    application_type: application,
    scope: hasPeople ? (input.scope ?? askable.join(" ")) : undefined,
    client_uri: input.client_uri,
    logo_uri: input.logo_uri,
    tos_uri: input.tos_uri,
    policy_uri: input.policy_uri,
    contacts: input.contacts,
    jwks_uri: input.jwks_uri,
    jwks: input.jwks,
    software_id: input.software_id,
    software_version: input.software_version,
    id_token_signed_response_alg: input.id_token_signed_response_alg ?? "RS256",
    default_max_age: input.default_max_age,
    require_auth_time: input.require_auth_time ?? false,
    initiate_login_uri: input.initiate_login_uri,
    backchannel_logout_uri: input.backchannel_logout_uri,
    backchannel_logout_session_required:
      input.backchannel_logout_uri === undefined ? undefined : (input.backchannel_logout_session_required ?? false),
    subject_type: "public",
  };
}

function resolveApis(input: ClientInput): readonly WantedApi[] {
  const apis = input.apis ?? [];
  if (new Set(apis.map((api) => api.identifier)).size < apis.length) refuse("apis", "an API is named twice");
  if (apis.filter((api) => api.default === true).length > 1) refuse("apis", "only one API can be the default");
  if (input.client_type === "resource-server") {
    if (apis.length !== 1) refuse("apis", "a resource-server client is bound to exactly one API");
    const isAsking = apis.some((api) => (api.scopes ?? []).length > 0 || api.default === true);
    if (isAsking) refuse("apis", "a resource-server client is the API: it asks for no scopes there");
    return apis.map(({ identifier }) => ({ identifier, scopes: [], isDefault: false }));
  }
  // A single API is what a request without `resource` means, unless the client says that it is not.
  return apis.map((api) => ({
    identifier: api.identifier,
    scopes: api.scopes,
    isDefault: api.default ?? apis.length === 1,
  }));
}

function check(what: string, fault: string | undefined): void {
  if (fault !== undefined) throw new AppError("client_invalid", `${what} ${fault}.`);
}

function refuse(field: string, reason: string): never {
  throw new AppError("client_invalid", `${field}: ${reason}.`);
}
