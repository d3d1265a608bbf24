/** Explanations: which mistake of an app a refusal of the library stands for, and the values that differ. It reads a request that is over; nothing waits for it. */
import type { KoaContextWithOIDC } from "oidc-provider";
import type { Clients } from "../clients/client.ts";
import { SECRET_PREFIX } from "../clients/secret.ts";
import type { Cause } from "../failures/causes.ts";
import { isWellFormedSecret } from "../secrets.ts";
import { basicOf } from "./basic.ts";
import { THROTTLED } from "./client-guesses.ts";
import { allowedOrigins } from "./client-traits.ts";
import { redirectDifference } from "./redirect-difference.ts";
import { SCOPE_ELSEWHERE } from "./resources.ts";

export interface Explanation {
  readonly cause: Cause;
  readonly facts: Readonly<Record<string, string>>;
}

/** What the library says of an error: the code, the description for the caller, the detail for the log. */
interface Refusal {
  readonly error: string;
  readonly description: string;
  readonly detail: string;
  /** The scope that was refused, which the library names beside its description. */
  readonly scope: string;
}

interface Asked {
  readonly ctx: KoaContextWithOIDC;
  readonly refusal: Refusal;
  readonly parameter: (name: string) => string;
  readonly registered: KoaContextWithOIDC["oidc"]["client"];
  readonly clients: Clients;
}

type Rule = (asked: Asked) => Explanation | undefined | Promise<Explanation | undefined>;

/** The first rule that knows the refusal explains it. */
const RULES: readonly Rule[] = [
  unknownClient,
  origin,
  missing,
  redirects,
  authorization,
  clientAuth,
  grant,
  tokens,
  logout,
];

export async function explain(ctx: KoaContextWithOIDC, error: Error, clients: Clients): Promise<Explanation> {
  const texts = error as { error_description?: unknown; error_detail?: unknown; scope?: unknown };
  const description = String(texts.error_description ?? "");
  const refusal = {
    error: error.message,
    description,
    detail: String(texts.error_detail ?? description),
    scope: listed(texts.scope),
  };
  const params = (ctx.oidc?.params ?? {}) as Readonly<Record<string, unknown>>;
  const query = ctx.query as Readonly<Record<string, unknown>>;
  const parameter = (name: string): string => listed(params[name] ?? query[name]);
  const asked: Asked = { ctx, refusal, parameter, registered: ctx.oidc?.client, clients };
  for (const rule of RULES) {
    const found = await rule(asked);
    if (found !== undefined) return found;
  }
  return { cause: "other", facts: { detail: description === "" ? error.message : description } };
}

/** A scope that the library drops in silence (OpenID Connect Core section 11 wants it ignored), which the app's developer then misses. */
export function droppedScope(ctx: KoaContextWithOIDC): Explanation | undefined {
  const { params, client } = ctx.oidc;
  const asked = String(ctx.query["scope"] ?? "").split(" ");
  if (client === undefined || !asked.includes("offline_access")) return undefined;
  if (
    String(params?.["scope"] ?? "")
      .split(" ")
      .includes("offline_access")
  )
    return undefined;
  const grantTypes = client.grantTypes ?? [];
  if (!grantTypes.includes("refresh_token"))
    return { cause: "offline_not_allowed", facts: { registered: listed(grantTypes) } };
  return { cause: "offline_without_consent", facts: { sent: listed(params?.["prompt"]) || "(none)" } };
}

async function unknownClient({ refusal, parameter, clients, ctx }: Asked): Promise<Explanation | undefined> {
  if (refusal.detail !== "client not found") return undefined;
  const sent = parameter("client_id") || basicOf(ctx)?.id || "?";
  const client = await clients.find(sent);
  if (client?.isDisabled === true) return { cause: "client_disabled", facts: { client: client.name } };
  return { cause: "client_unknown", facts: { sent } };
}

function origin({ ctx, refusal, registered }: Asked): Explanation | undefined {
  if (!/^origin .* not allowed/.test(refusal.description)) return undefined;
  const allowed = registered === undefined ? [] : allowedOrigins(registered);
  return { cause: "origin", facts: { sent: ctx.get("origin"), registered: listed(allowed) || "(none)" } };
}

function missing({ refusal, registered }: Asked): Explanation | undefined {
  const names = /^missing required parameters? (.*)$/.exec(refusal.description)?.[1]?.match(/[a-z_]{2,}/g) ?? [];
  const wanted = names.filter((name) => name !== "and");
  if (wanted.length === 0) return undefined;
  if (wanted.includes("redirect_uri"))
    return { cause: "redirect_missing", facts: { registered: listed(registered?.redirectUris) || "(none)" } };
  return { cause: "parameter_missing", facts: { parameter: wanted.join(", ") } };
}

function redirects({ refusal, parameter, registered }: Asked): Explanation | undefined {
  if (refusal.error !== "invalid_redirect_uri") return undefined;
  return redirectDifference(parameter("redirect_uri"), registered?.redirectUris ?? []);
}

function authorization({ ctx, refusal, parameter, registered }: Asked): Explanation | undefined {
  const { error, description } = refusal;
  const sent = (name: string): Readonly<Record<string, string>> => ({ sent: parameter(name) || "(none)" });
  const apis = registered?.signet.apis ?? [];
  const scopes = [...(registered?.scope?.split(" ") ?? []), ...apis.flatMap((api) => api.scopes)];
  if (/PKCE/.test(description)) return { cause: "pkce_missing", facts: {} };
  if (/code_challenge_method/.test(description))
    return { cause: "pkce_method", facts: { sent: parameter("code_challenge_method") || "plain" } };
  if (/unsupported prompt value/.test(description)) return { cause: "prompt_unknown", facts: sent("prompt") };
  if (/^refresh token missing requested/.test(description)) return { cause: "scope_wider", facts: sent("scope") };
  if (description === SCOPE_ELSEWHERE) {
    const owners = apis.filter((api) => api.scopes.includes(refusal.scope));
    const registered = listed(owners.map(({ identifier }) => identifier));
    return { cause: "scope_elsewhere", facts: { sent: refusal.scope, registered } };
  }
  if (/scope .*not (allowed|granted)/.test(description)) {
    return {
      cause: "scope_not_allowed",
      facts: { sent: refusal.scope || parameter("scope"), registered: listed([...new Set(scopes)]) || "(none)" },
    };
  }
  switch (error) {
    case "unsupported_response_type":
      return { cause: "response_type", facts: sent("response_type") };
    case "unsupported_response_mode":
      return { cause: "response_mode", facts: sent("response_mode") };
    case "request_not_supported":
      return { cause: "request_object", facts: { parameter: "request" } };
    case "request_uri_not_supported":
      return { cause: "request_object", facts: { parameter: "request_uri" } };
    case "invalid_target":
      return {
        cause: "resource_not_allowed",
        facts: {
          sent: parameter("resource") || "(none)",
          registered: listed(apis.map(({ identifier }) => identifier)) || "(none)",
        },
      };
    case "login_required":
      return { cause: "silent_login", facts: {} };
    case "consent_required":
    case "interaction_required":
    case "account_selection_required":
      return { cause: "silent_consent", facts: {} };
    case "access_denied":
      return { cause: "person_refused", facts: {} };
    default:
      return ctx.oidc?.route === "resume" ? { cause: "sign_in_lost", facts: {} } : undefined;
  }
}

async function clientAuth({ ctx, refusal, parameter, registered, clients }: Asked): Promise<Explanation | undefined> {
  const { error, description, detail } = refusal;
  const method = registered?.clientAuthMethod ?? "(none)";
  const basic = basicOf(ctx);
  if (description === "no client authentication mechanism provided")
    return {
      cause: "auth_missing",
      facts: { registered: "client_secret_basic, client_secret_post, private_key_jwt, none" },
    };
  if (/only be provided using one mechanism/.test(description)) return { cause: "auth_twice", facts: {} };
  if (/authorization header/i.test(description)) return { cause: "auth_header", facts: {} };
  if (/does not match the registered client authentication method/.test(detail)) {
    const used =
      basic !== undefined ? "client_secret_basic" : parameter("client_secret") !== "" ? "client_secret_post" : "none";
    const sent = parameter("client_assertion") === "" ? used : "private_key_jwt";
    return { cause: "auth_method", facts: { sent, registered: method } };
  }
  if (detail === THROTTLED) return { cause: "secret_throttled", facts: {} };
  if (detail === "invalid secret provided") {
    const secret = basic?.secret ?? parameter("client_secret");
    const isWhole = isWellFormedSecret(SECRET_PREFIX, secret);
    const known = await clients.find(registered?.clientId ?? "");
    const hints = (known?.secrets ?? []).map(({ hint }) => `…${hint}`);
    return { cause: isWhole ? "secret_wrong" : "secret_mistyped", facts: { registered: listed(hints) || "(none)" } };
  }
  return error === "invalid_client" ? { cause: "assertion", facts: { detail } } : undefined;
}

async function grant({ ctx, refusal, parameter, registered }: Asked): Promise<Explanation | undefined> {
  const { error, description, detail } = refusal;
  if (error === "unsupported_grant_type")
    return { cause: "grant_type_unknown", facts: { sent: parameter("grant_type") || "(none)" } };
  if (/grant type is not allowed|is not allowed for this client$/.test(description) && error === "invalid_request")
    return {
      cause: "grant_type_not_allowed",
      facts: {
        sent: parameter("grant_type") || "authorization_code",
        registered: listed(registered?.grantTypes) || "(none)",
      },
    };
  if (/^code_verifier (must be a string|contains)/.test(description)) return { cause: "verifier_malformed", facts: {} };
  if (error !== "invalid_grant") return undefined;
  if (detail === "code_verifier must be provided") return { cause: "verifier_missing", facts: {} };
  if (/code_verifier does not match/.test(detail)) return { cause: "verifier_wrong", facts: {} };
  if (/unsupported code_challenge_method/.test(detail)) return { cause: "verifier_unexpected", facts: {} };
  if (/redirect_uri mismatch/.test(detail)) {
    // The client has proven who it is, and the code is its own: it may hear what it said itself.
    const code = await ctx.oidc.provider.AuthorizationCode.find(parameter("code"), { ignoreExpiration: true });
    return { cause: "code_redirect", facts: { sent: parameter("redirect_uri"), registered: code?.redirectUri ?? "?" } };
  }
  const isRefresh = parameter("grant_type") === "refresh_token";
  if (/already (used|consumed)|was used before|used meanwhile/.test(detail))
    return { cause: isRefresh ? "refresh_used" : "code_used", facts: {} };
  if (/client mismatch/.test(detail)) return { cause: "code_foreign", facts: {} };
  if (/^grant /.test(detail)) return { cause: "grant_ended", facts: {} };
  if (/not found|expired/.test(detail)) return { cause: isRefresh ? "refresh_gone" : "code_gone", facts: {} };
  return undefined;
}

function tokens({ ctx, refusal }: Asked): Explanation | undefined {
  if (ctx.oidc?.route !== "userinfo") return undefined;
  const { detail } = refusal;
  if (/no access token provided/.test(detail)) return { cause: "token_missing", facts: {} };
  if (/audience/.test(detail)) return { cause: "token_audience", facts: {} };
  if (/missing openid scope/.test(detail)) return { cause: "token_without_openid", facts: {} };
  return refusal.error === "invalid_token" ? { cause: "token_gone", facts: {} } : undefined;
}

function logout({ refusal, parameter, registered }: Asked): Explanation | undefined {
  const { description, detail } = refusal;
  if (/id_token_hint/.test(description)) return { cause: "hint", facts: { detail } };
  if (description !== "post_logout_redirect_uri not registered") return undefined;
  const known = listed(registered?.postLogoutRedirectUris) || "(none)";
  return { cause: "logout_redirect", facts: { sent: parameter("post_logout_redirect_uri"), registered: known } };
}

function listed(value: unknown): string {
  if (Array.isArray(value)) return value.map(String).join(", ");
  return typeof value === "string" ? value : "";
}
