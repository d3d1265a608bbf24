/** What is read from the authorization server: small JSON documents, in bounded time, from where the issuer says and nowhere else. */

const TIMEOUT_MS = 5000;
const BYTES_MAX = 256 * 1024;

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Throws an Error when the answer is not 200, not JSON, too large or too late. A redirect is an error: it could lead anywhere. */
export async function readJson(fetch: Fetch, url: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
  const answer = await fetch(url, { ...init, redirect: "error", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (answer.status !== 200) throw new Error(`${new URL(url).pathname} answered ${answer.status}`);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += (chunk as Uint8Array).length;
    if (bytes > BYTES_MAX) throw new Error(`${new URL(url).pathname} answered more than ${BYTES_MAX} bytes`);
    chunks.push(chunk as Uint8Array);
  }
  const document: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
  if (typeof document !== "object" || document === null || Array.isArray(document))
    throw new Error(`${new URL(url).pathname} answered no JSON object`);
  return document as Record<string, unknown>;
}

export interface Metadata {
  readonly jwksUri: string;
  readonly introspectionEndpoint: string | undefined;
}

/** RFC 8414 section 3: the well-known path stands between host and path of the issuer; the document must speak for this issuer (section 3.3). */
export async function discover(fetch: Fetch, issuer: string): Promise<Metadata> {
  const { origin, pathname } = new URL(issuer);
  const path = pathname === "/" ? "" : pathname;
  const document = await readJson(fetch, `${origin}/.well-known/oauth-authorization-server${path}`);
  const { jwks_uri: jwksUri, introspection_endpoint: introspectionEndpoint } = document;
  if (document["issuer"] !== issuer) throw new Error("the metadata is another issuer's");
  if (typeof jwksUri !== "string" || new URL(jwksUri).protocol !== new URL(issuer).protocol)
    throw new Error("the metadata names no jwks_uri that can be used");
  return {
    jwksUri,
    introspectionEndpoint: typeof introspectionEndpoint === "string" ? introspectionEndpoint : undefined,
  };
}

const PAUSE_MS_FIRST = 1000;
const PAUSE_MS_MAX = 60_000;

/** Runs the work once for all who wait; after a failure not again before a pause that doubles. Nobody floods a server that is down. */
export function patient<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  let pauseMs = 0;
  let notBefore = 0;
  let failure: unknown;
  return () => {
    if (running !== undefined) return running;
    if (Date.now() < notBefore) return Promise.reject(failure);
    running = work()
      .then(
        (value) => {
          pauseMs = 0;
          notBefore = 0;
          return value;
        },
        (error: unknown) => {
          pauseMs = Math.min(Math.max(PAUSE_MS_FIRST, pauseMs * 2), PAUSE_MS_MAX);
          notBefore = Date.now() + pauseMs;
          failure = error;
          throw error;
        },
      )
      .finally(() => {
        running = undefined;
      });
    return running;
  };
}
