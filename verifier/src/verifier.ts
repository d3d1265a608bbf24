/**
 * Checks the access tokens that an API receives. A JWT (RFC 9068) is checked with the issuer's published keys alone; with `introspection` the
 * issuer is asked as well, so that a revoked token is refused within ten seconds, and opaque tokens can be taken.
 */
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import { type Introspect, type IntrospectionOptions, introspector } from "./introspection.ts";
import { issuerKeys, KeysUnavailable } from "./keys.ts";
import { Refusal } from "./refusal.ts";
import { discover, type Fetch, patient } from "./remote.ts";

export type { IntrospectionOptions } from "./introspection.ts";
export { expressAuth, fastifyAuth, koaAuth } from "./middleware.ts";
export { Refusal, type RefusalCode } from "./refusal.ts";

export interface VerifierOptions {
  /** The one issuer whose tokens are taken, letter by letter. */
  readonly issuer: string;
  /** This API's own identifier: a token for another one is refused. */
  readonly audience: string;
  /** Named here, never read from a token. Symmetric ones and "none" are refused. ES256, RS256 and EdDSA unless given. */
  readonly algorithms?: readonly string[];
  /** How far clocks may differ, in seconds: 5 unless given, 60 at most. */
  readonly clockToleranceSeconds?: number;
  readonly introspection?: IntrospectionOptions;
  /** For proxies and tests; the platform's own unless given. */
  readonly fetch?: Fetch;
}

/** What a request needs. All scopes that are named, and one of the roles. */
export interface Needs {
  readonly scope?: string | readonly string[];
  readonly role?: string | readonly string[];
}

export interface AccessToken {
  /** The person, or for a service's own token the client. */
  readonly subject: string;
  readonly clientId: string;
  readonly scopes: ReadonlySet<string>;
  readonly roles: ReadonlySet<string>;
  readonly claims: Readonly<Record<string, unknown>>;
}

export interface Verifier {
  readonly audience: string;
  /** Throws Refusal. */
  verify(token: string, needs?: Needs): Promise<AccessToken>;
  /** The same from an Authorization header (RFC 6750 section 2.1). */
  authorize(header: string | undefined, needs?: Needs): Promise<AccessToken>;
}

const ALGORITHMS = ["ES256", "RS256", "EdDSA"] as const;
const TOLERANCE_SECONDS = 5;
const TOLERANCE_SECONDS_MAX = 60;
/** No token of an honest server is longer, and nothing longer is parsed. */
const TOKEN_CHARS_MAX = 12 * 1024;
/** RFC 9068 section 2.1: keeps an ID token of the same issuer from being taken for an access token. */
const TYPE = "at+jwt";
/** RFC 9068 section 2.2. */
const REQUIRED_CLAIMS = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"];
const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*$/;

export function createVerifier(options: VerifierOptions): Verifier {
  const { issuer, audience, algorithms = ALGORITHMS } = checked(options);
  const fetch: Fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init));
  let found: Promise<Awaited<ReturnType<typeof discover>>> | undefined;
  const read = patient(() => discover(fetch, issuer));
  const metadata = (): ReturnType<typeof discover> => {
    found ??= read().catch((error: unknown) => {
      // A failure is not remembered here; the pause before the next attempt is.
      found = undefined;
      throw error;
    });
    return found;
  };
  const key = issuerKeys(fetch, metadata);
  const introspect = options.introspection && introspector({ ...options.introspection, fetch, metadata });
  const toleranceSeconds = options.clockToleranceSeconds ?? TOLERANCE_SECONDS;
  const verify = async (token: string, needs: Needs = {}): Promise<AccessToken> => {
    if (token.length > TOKEN_CHARS_MAX) throw new Refusal("invalid_token", "The token is too long.");
    const isJwt = JWT.test(token);
    if (!isJwt && introspect === undefined) throw new Refusal("invalid_token", "The token is not a JWT.");
    const local = isJwt ? await verifyJwt(token, key, { issuer, audience, algorithms, toleranceSeconds }) : undefined;
    const asked = introspect === undefined ? undefined : await askAbout(token, introspect, { issuer, audience });
    const accessToken = toAccessToken(local ?? asked ?? {});
    checkNeeds(accessToken, needs);
    return accessToken;
  };
  return {
    audience,
    verify,
    authorize: async (header, needs) => verify(tokenOf(header), needs),
  };
}

function checked(options: VerifierOptions): VerifierOptions {
  const { issuer, audience, algorithms = ALGORITHMS, clockToleranceSeconds = 0 } = options;
  const url = URL.canParse(issuer) ? new URL(issuer) : undefined;
  const isLoopback = url?.protocol === "http:" && ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
  if (url?.protocol !== "https:" && !isLoopback)
    throw new TypeError("issuer: an https URL, or http on the loopback interface");
  if (audience === "") throw new TypeError("audience: the API's own identifier");
  if (algorithms.length === 0 || algorithms.some((name) => !/^(ES|RS|PS)(256|384|512)$|^(EdDSA|Ed25519)$/.test(name)))
    throw new TypeError("algorithms: asymmetric ones only");
  if (!(clockToleranceSeconds >= 0 && clockToleranceSeconds <= TOLERANCE_SECONDS_MAX))
    throw new TypeError(`clockToleranceSeconds: 0 to ${TOLERANCE_SECONDS_MAX}`);
  return options;
}

function tokenOf(header: string | undefined): string {
  if (header === undefined || !/^Bearer(?: |$)/i.test(header))
    throw new Refusal("missing_token", "This API takes a bearer token.");
  const token = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(header)?.[1];
  if (token === undefined) throw new Refusal("invalid_request", "The Authorization header is malformed.");
  return token;
}

async function verifyJwt(
  token: string,
  key: JWTVerifyGetKey,
  expected: { issuer: string; audience: string; algorithms: readonly string[]; toleranceSeconds: number },
): Promise<JWTPayload> {
  const { issuer, audience, algorithms, toleranceSeconds: clockTolerance } = expected;
  try {
    const options = { issuer, audience, typ: TYPE, algorithms: [...algorithms], requiredClaims: REQUIRED_CLAIMS };
    const { payload } = await jwtVerify(token, key, { ...options, clockTolerance });
    // jose looks at `nbf` only; a token that will be issued is as little valid.
    if (!(Number(payload.iat) <= Date.now() / 1000 + clockTolerance))
      throw new Refusal("invalid_token", "The token was issued in the future.");
    return payload;
  } catch (error) {
    throw refusalOf(error);
  }
}

/** A sentence for the caller's developer. */
function refusalOf(error: unknown): unknown {
  if (error instanceof KeysUnavailable)
    return new Refusal("temporarily_unavailable", "The issuer's keys cannot be read at the moment.");
  if (!(error instanceof errors.JOSEError)) return error;
  const said =
    error instanceof errors.JWTExpired
      ? "The token has expired."
      : error instanceof errors.JWTClaimValidationFailed
        ? `The token is not for this API, or not an access token: ${error.claim}.`
        : error instanceof errors.JOSEAlgNotAllowed
          ? "The token is signed with an algorithm that this API does not take."
          : error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey
            ? "The token is not signed by the issuer."
            : "The token is not a JWT that this API can read.";
  return new Refusal("invalid_token", said);
}

/** Fails closed: without an answer nobody is let in. */
async function askAbout(
  token: string,
  introspect: Introspect,
  { issuer, audience }: { issuer: string; audience: string },
): Promise<Record<string, unknown>> {
  const answer = await introspect(token).catch(() => {
    throw new Refusal("temporarily_unavailable", "The issuer cannot be asked about the token at the moment.");
  });
  const isOurs = answer?.["aud"] === audience && (answer["iss"] ?? issuer) === issuer;
  if (answer === undefined || !isOurs)
    throw new Refusal("invalid_token", "The token was revoked, has expired or is for another API.");
  return answer;
}

function toAccessToken(claims: Readonly<Record<string, unknown>>): AccessToken {
  const { sub, client_id: clientId, scope, roles } = claims;
  return {
    subject: String(sub ?? clientId),
    clientId: String(clientId),
    scopes: new Set(typeof scope === "string" ? scope.split(" ").filter((word) => word !== "") : []),
    roles: new Set(Array.isArray(roles) ? roles.filter((role): role is string => typeof role === "string") : []),
    claims,
  };
}

function checkNeeds({ scopes, roles }: AccessToken, needs: Needs): void {
  const wanted = listOf(needs.scope);
  const missing = wanted.filter((scope) => !scopes.has(scope));
  if (missing.length > 0)
    throw new Refusal(
      "insufficient_scope",
      `The token does not carry the scope ${missing.join(" ")}.`,
      wanted.join(" "),
    );
  const anyOf = listOf(needs.role);
  if (anyOf.length > 0 && !anyOf.some((role) => roles.has(role)))
    throw new Refusal("insufficient_scope", "The token's holder does not have the role that this needs.");
}

function listOf(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  return typeof value === "string" ? value.split(" ").filter((word) => word !== "") : value;
}
