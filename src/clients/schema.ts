/** Shapes of clients at the edge, with the names of RFC 7591 and OpenID Connect Registration; Signet's own settings stand beside them. */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { isOpenIdScope, isScopeToken, splitScope } from "../scopes.ts";
import { DISPLAY_TEXT_RULE, isDisplayText, quoted } from "../text.ts";
import { URI_CHARS_MAX, URIS_MAX } from "./redirect-uri.ts";

export const CLIENT_TYPES = ["web", "spa", "native", "service", "resource-server"] as const;
export const AUTH_METHODS = ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"] as const;
export const GRANT_TYPES = ["authorization_code", "refresh_token", "client_credentials"] as const;
export const ID_TOKEN_ALGORITHMS = ["RS256", "ES256", "EdDSA"] as const;

const NAME_CHARS_MAX = 100;
const CONTACTS_MAX = 20;
const KEYS_MAX = 20;
const APIS_MAX = 50;
const SCOPES_MAX = 100;
/** A refresh token that nobody uses for a year is no sign-in any more. */
const REFRESH_SECONDS_MAX = 366 * 86_400;
const REFRESH_WINDOW_SECONDS_MAX = 60;
/** 8192 bits in base64url are 1366 characters. */
const KEY_MEMBER_CHARS_MAX = 1400;

/** What Signet does not do yet, or never: a field that would be stored and ignored is a promise that nobody keeps. */
const REFUSED: readonly (readonly [RegExp, string])[] = [
  [/^frontchannel_logout_/, "front-channel logout is not available"],
  [/^require_pushed_authorization_requests$/, "pushed authorization requests are not available yet"],
  [/^sector_identifier_uri$/, "pairwise subjects are not available: every client sees the same sub"],
  [/_encrypted_response_(alg|enc)$/, "encrypted responses are not available"],
  [/^userinfo_signed_response_alg$/, "signed userinfo responses are not available: userinfo answers JSON"],
  [/^(request_object_.*|request_uris|require_signed_request_object)$/, "request objects are not available"],
  [/^(dpop_bound_access_tokens|tls_client_.*)$/, "sender-constrained tokens are not available yet"],
  [/^software_statement$/, "software statements are not available"],
  [/^client_id$/, "Signet chooses the client_id"],
  [/^client_secret$/, "Signet makes the secret; rotate it to get another"],
  [/^(client_id_issued_at|client_secret_expires_at|secrets)$/, "is set by Signet alone"],
  [/^disabled$/, "has operations of its own: disable and enable"],
];

/** Letters of RFC 5322 that stand in real addresses; contacts are shown to administrators only. */
const EMAIL = /^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*$/;

const text = (max: number) =>
  z.string().min(1).max(max, `is longer than ${max} characters`).refine(isDisplayText, DISPLAY_TEXT_RULE);
const uri = z.string().min(1).max(URI_CHARS_MAX, `is longer than ${URI_CHARS_MAX} characters`);
const uris = z.array(uri).max(URIS_MAX, `holds more than ${URIS_MAX} URIs`);
const scopeToken = z.string().refine(isScopeToken, "holds a scope with characters or a length that RFC 6749 forbids");
const seconds = (min: number, max: number) =>
  z.int().min(min, `is less than ${min} seconds`).max(max, `is more than ${max} seconds`);
const openIdScope = z
  .string()
  .max(200)
  .refine((scope) => splitScope(scope).every(isOpenIdScope), {
    message: "holds a scope that is not one of OpenID Connect: scopes of an API stand in apis",
    abort: true,
  })
  .transform((scope) => splitScope(scope).join(" "));

const keyMember = z.string().max(KEY_MEMBER_CHARS_MAX);
/** Other members (x5c, x5t) are dropped: only what verifies a signature is kept. */
const publicJwk = z.object({
  kty: z.enum(["RSA", "EC", "OKP"], "is not the kty of a public signature key (RSA, EC or OKP)"),
  kid: text(200).optional(),
  use: z.literal("sig", "is not sig: the key is for signatures").optional(),
  alg: z
    .string()
    .regex(/^[A-Za-z0-9]{2,10}$/, "is not the name of an algorithm")
    .optional(),
  n: keyMember.optional(),
  e: keyMember.optional(),
  crv: z.string().max(20).optional(),
  x: keyMember.optional(),
  y: keyMember.optional(),
});
/** RFC 7518 section 6: with one of these members it is no public key, and whoever sent it must not go on using it. */
const PRIVATE_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
const jwk = z
  .looseObject({})
  .refine((key) => !PRIVATE_MEMBERS.some((member) => Object.hasOwn(key, member)), {
    message: "holds a private or secret key: register the public key only, and replace this one",
    abort: true,
  })
  .pipe(publicJwk);

const identifier = z.string().min(1).max(500);
const clientApi = z.strictObject({
  identifier,
  /** Absent: every scope that the API has at this moment. */
  scopes: z.array(scopeToken).max(SCOPES_MAX).optional(),
  default: z.boolean().optional(),
});

const client = z.strictObject({
  client_type: z.enum(CLIENT_TYPES, `is one of ${CLIENT_TYPES.join(", ")}`),
  client_name: text(NAME_CHARS_MAX),
  redirect_uris: uris.optional(),
  post_logout_redirect_uris: uris.optional(),
  token_endpoint_auth_method: z.enum(AUTH_METHODS, `is one of ${AUTH_METHODS.join(", ")}`).optional(),
  grant_types: z
    .array(z.enum(GRANT_TYPES, `holds other values than ${GRANT_TYPES.join(", ")}`))
    .max(10)
    .optional(),
  response_types: z.array(z.literal("code", 'holds another value than "code"')).max(10).optional(),
  application_type: z.enum(["web", "native"], "is web or native").optional(),
  scope: openIdScope.optional(),
  client_uri: uri.optional(),
  logo_uri: uri.optional(),
  tos_uri: uri.optional(),
  policy_uri: uri.optional(),
  contacts: z.array(z.string().max(254).regex(EMAIL, "is not an e-mail address")).max(CONTACTS_MAX).optional(),
  jwks_uri: uri.optional(),
  jwks: z.strictObject({ keys: z.array(jwk).min(1).max(KEYS_MAX, `holds more than ${KEYS_MAX} keys`) }).optional(),
  software_id: text(200).optional(),
  software_version: text(100).optional(),
  id_token_signed_response_alg: z.enum(ID_TOKEN_ALGORITHMS, `is one of ${ID_TOKEN_ALGORITHMS.join(", ")}`).optional(),
  default_max_age: seconds(0, REFRESH_SECONDS_MAX).optional(),
  require_auth_time: z.boolean().optional(),
  initiate_login_uri: uri.optional(),
  backchannel_logout_uri: uri.optional(),
  backchannel_logout_session_required: z.boolean().optional(),
  subject_type: z.literal("public", "is public: every client sees the same sub").optional(),
  first_party: z.boolean().optional(),
  web_origins: uris.optional(),
  refresh_window: seconds(0, REFRESH_WINDOW_SECONDS_MAX).optional(),
  refresh_idle: seconds(1, REFRESH_SECONDS_MAX).optional(),
  refresh_absolute: seconds(1, REFRESH_SECONDS_MAX).optional(),
  pkce_optional: z.boolean().optional(),
  optional_scopes: z.array(scopeToken).max(SCOPES_MAX).optional(),
  introspect_apis: z.array(identifier).max(APIS_MAX, `holds more than ${APIS_MAX} APIs`).optional(),
  apis: z.array(clientApi).max(APIS_MAX, `holds more than ${APIS_MAX} APIs`).optional(),
});

/** The shape of a new client, and of a change: null takes the default of the type again (RFC 7396). */
export const clientShape = client;
export const clientChangeShape = z.strictObject(
  Object.fromEntries(Object.entries(client.shape).map(([name, schema]) => [name, schema.nullable().optional()])),
);

/** Why a name that other servers take is not taken here; undefined for one that nobody knows. */
export function refusalOf(name: string): string | undefined {
  return REFUSED.find(([pattern]) => pattern.test(name))?.[1];
}

/** A client as it is written at the edge. Absent: the default of its type. */
export type ClientInput = z.infer<typeof client>;
export type PublicJwk = z.infer<typeof publicJwk>;

/** Throws AppError client_invalid with every field that cannot be read, and why; unknown fields are faults too. */
export function parseClientInput(input: unknown): ClientInput {
  checkNames(input);
  const parsed = client.safeParse(input);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${fieldOf(issue.path)} ${sentence(issue)}`);
  throw new AppError("client_invalid", `${[...new Set(faults)].join("; ")}.`);
}

/** A change is a merge patch (RFC 7396) of the top level: null takes the default again, everything else replaces. */
export function parseClientChange(change: unknown): Readonly<Record<string, unknown>> {
  checkNames(change);
  return change as Readonly<Record<string, unknown>>;
}

/** Names are checked first and one by one, so that the refusal can say why a name that exists elsewhere is not taken here. */
function checkNames(input: unknown): void {
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    throw new AppError("client_invalid", "A client is one JSON object.");
  }
  const unknown = Object.keys(input).filter((name) => !Object.hasOwn(client.shape, name));
  if (unknown.length === 0) return;
  const faults = unknown.slice(0, 20).map((name) => {
    const refusal = refusalOf(name);
    return refusal === undefined ? `${quoted(name)} is not a field of a client` : `${name}: ${refusal}`;
  });
  throw new AppError("client_invalid", `${faults.join("; ")}.`);
}

function fieldOf(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) => (typeof part === "number" ? `[${part}]` : `${index === 0 ? "" : "."}${String(part)}`))
    .join("");
}

function sentence(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys")
    return `has members that are not known: ${issue.keys.slice(0, 5).map(quoted).join(", ")}`;
  if (issue.message.endsWith("received undefined")) return "is missing";
  return issue.message.startsWith("Invalid input: ") ? issue.message.slice("Invalid input: ".length) : issue.message;
}
