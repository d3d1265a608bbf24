/** The demo's resource server: it gives notes to whoever brings a token for it, and knows of the authorization server nothing but the issuer URL. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";

export interface ApiOptions {
  /** The one issuer whose tokens are taken. */
  readonly issuer: string;
  /** This API's own identifier: a token for another one is refused. */
  readonly audience: string;
  /** What a token must carry to read the notes. */
  readonly scope: string;
}

export type Api = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** Named here, never read from the token: whoever lets the token choose can be given "none" or a public key as an HMAC secret. */
const ALGORITHMS = ["ES256"];
/** RFC 9068 section 2.1: keeps an ID token of the same issuer from being taken for an access token. */
const TYPE = "at+jwt";
/** RFC 9068 section 2.2: what every such token has. */
const REQUIRED_CLAIMS = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"];
/** Clocks of two machines differ by a little. */
const CLOCK_TOLERANCE_SECONDS = 5;
const DISCOVERY_MS = 5000;
/** jose's errors when the key set was not there, or not a key set. */
const KEY_FAULTS = ["ERR_JOSE_GENERIC", errors.JWKSTimeout.code, errors.JWKSInvalid.code];
const RETRY_AFTER_SECONDS = 2;

const NOTES = [
  { title: "Seed potatoes", text: "Chit them by the window; plant when the soil stays above 8 °C." },
  { title: "Rain barrel", text: "The tap drips. A 3/4 inch washer should do." },
  { title: "Ask Robin", text: "Who takes the spare tomato plants in May?" },
];

/** An answer that is not the notes. RFC 6750 section 3.1 has the codes; without credentials there is no code at all. */
interface Refusal {
  readonly status: 400 | 401 | 403;
  readonly error?: "invalid_request" | "invalid_token" | "insufficient_scope";
  readonly description: string;
}

/** Answers GET /notes below the path of its identifier. Every answer is JSON; a refusal also says why in `WWW-Authenticate` (RFC 6750 section 3). */
export function createApi({ issuer, audience, scope }: ApiOptions): Api {
  const keys = publishedKeys(issuer);
  const notesPath = `${new URL(audience).pathname}/notes`;
  return async (request, response) => {
    const { pathname } = new URL(request.url ?? "/", audience);
    if (pathname !== notesPath)
      return answer(response, 404, { error: "not_found", error_description: "There is nothing at this address." });
    if (request.method !== "GET") {
      response.setHeader("Allow", "GET");
      return answer(response, 405, { error: "method_not_allowed", error_description: "Notes can be read only." });
    }
    try {
      const options = { issuer, audience, scope };
      const outcome = await authorize(request.headers.authorization, await keys(), options);
      if ("claims" in outcome) return answer(response, 200, { notes: NOTES, token: outcome.claims });
      return refuse(response, outcome, scope);
    } catch {
      // The keys could not be read: that says nothing about the token, so the caller may come again with it.
      response.setHeader("Retry-After", String(RETRY_AFTER_SECONDS));
      const error_description = "The issuer's keys cannot be read at the moment.";
      return answer(response, 503, { error: "temporarily_unavailable", error_description });
    }
  };
}

/** Issuer URL to keys, read once; jose reads the key set again when a token names a key that it does not know. */
function publishedKeys(issuer: string): () => Promise<JWTVerifyGetKey> {
  let found: Promise<JWTVerifyGetKey> | undefined;
  return () => {
    found ??= discover(issuer).catch((error: unknown) => {
      // A failure is not remembered.
      found = undefined;
      throw error;
    });
    return found;
  };
}

async function discover(issuer: string): Promise<JWTVerifyGetKey> {
  const url = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  const found = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(DISCOVERY_MS) });
  if (found.status !== 200) throw new Error(`discovery answered ${found.status}`);
  const metadata = (await found.json()) as { issuer?: unknown; jwks_uri?: unknown };
  // OpenID Connect Discovery section 4.3: a document that speaks for another issuer is not believed.
  if (metadata.issuer !== issuer || typeof metadata.jwks_uri !== "string")
    throw new Error("the discovery document is not this issuer's");
  return createRemoteJWKSet(new URL(metadata.jwks_uri));
}

/** The token's claims, or the refusal. Throws when the keys cannot be read. */
async function authorize(
  header: string | undefined,
  key: JWTVerifyGetKey,
  { issuer, audience, scope }: ApiOptions,
): Promise<{ readonly claims: JWTPayload } | Refusal> {
  if (header === undefined || !/^Bearer(?: |$)/i.test(header))
    return { status: 401, description: "This API takes a bearer token." };
  const token = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(header)?.[1];
  if (token === undefined)
    return { status: 400, error: "invalid_request", description: "The Authorization header is malformed." };
  let claims: JWTPayload;
  try {
    const options = { issuer, audience, typ: TYPE, algorithms: ALGORITHMS, requiredClaims: REQUIRED_CLAIMS };
    claims = (await jwtVerify(token, key, { ...options, clockTolerance: CLOCK_TOLERANCE_SECONDS })).payload;
  } catch (error) {
    return { status: 401, error: "invalid_token", description: whatIsWrong(error) };
  }
  const granted = typeof claims["scope"] === "string" ? claims["scope"].split(" ") : [];
  if (granted.includes(scope)) return { claims };
  return { status: 403, error: "insufficient_scope", description: `The token does not carry the scope ${scope}.` };
}

/** A sentence for the caller's developer; an error that is about the keys and not about the token is thrown on. */
function whatIsWrong(error: unknown): string {
  const isAboutToken = error instanceof errors.JOSEError && !KEY_FAULTS.includes(error.code);
  if (!isAboutToken) throw error;
  if (error instanceof errors.JWTExpired) return "The token has expired.";
  if (error instanceof errors.JWTClaimValidationFailed) return `The token is not for this API: ${error.claim}.`;
  if (error instanceof errors.JOSEAlgNotAllowed) return "The token is signed with an algorithm this API does not take.";
  if (error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey)
    return "The token is not signed by the issuer.";
  return "The token is not a JWT this API can read.";
}

function refuse(response: ServerResponse, { status, error, description }: Refusal, scope: string): void {
  const parts = [
    'realm="notes"',
    ...(error === undefined ? [] : [`error="${error}"`, `error_description="${description}"`]),
    ...(error === "insufficient_scope" ? [`scope="${scope}"`] : []),
  ];
  response.setHeader("WWW-Authenticate", `Bearer ${parts.join(", ")}`);
  answer(response, status, { error: error ?? "unauthorized", error_description: description });
}

function answer(response: ServerResponse, status: number, body: object): void {
  const headers = { "Content-Type": "application/json", "Cache-Control": "no-store" };
  response.writeHead(status, headers).end(JSON.stringify(body));
}
