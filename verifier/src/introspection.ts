/** Asking the authorization server about a token (RFC 7662), for APIs that must see a revocation before the token expires. */
import { createHash } from "node:crypto";
import { type Fetch, type Metadata, readJson } from "./remote.ts";

/** An answer is used so long: the longest time for which a revoked token still passes. */
const CACHE_MS = 10_000;
const ENTRIES_MAX = 10_000;

export interface IntrospectionOptions {
  /** Of the resource-server client that is bound to this API. */
  readonly clientId: string;
  readonly clientSecret: string;
}

/** The claims of a token that lives; undefined when it does not. Throws when the answer cannot be had. */
export type Introspect = (token: string) => Promise<Record<string, unknown> | undefined>;

export function introspector(
  options: IntrospectionOptions & { readonly fetch: Fetch; readonly metadata: () => Promise<Metadata> },
): Introspect {
  /** By the token's hash: what is kept opens nothing. */
  const answers = new Map<
    string,
    { readonly answer: Promise<Record<string, unknown> | undefined>; readonly until: number }
  >();
  return (token) => {
    const key = createHash("sha256").update(token).digest("base64url");
    const kept = answers.get(key);
    if (kept !== undefined && Date.now() < kept.until) return kept.answer;
    const answer = ask(token, options);
    answers.delete(key);
    answers.set(key, { answer, until: Date.now() + CACHE_MS });
    answer.catch(() => answers.delete(key));
    const oldest = answers.size > ENTRIES_MAX ? answers.keys().next().value : undefined;
    if (oldest !== undefined) answers.delete(oldest);
    return answer;
  };
}

async function ask(
  token: string,
  { clientId, clientSecret, fetch, metadata }: Parameters<typeof introspector>[0],
): Promise<Record<string, unknown> | undefined> {
  const { introspectionEndpoint } = await metadata();
  if (introspectionEndpoint === undefined) throw new Error("the issuer has no introspection endpoint");
  const pair = `${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`;
  const answer = await readJson(fetch, introspectionEndpoint, {
    method: "POST",
    headers: { Authorization: `Basic ${Buffer.from(pair).toString("base64")}`, Accept: "application/json" },
    body: new URLSearchParams({ token }),
  });
  return answer["active"] === true ? answer : undefined;
}
