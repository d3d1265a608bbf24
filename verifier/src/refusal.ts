/** Refusals: why a request is not let in, as RFC 6750 section 3 says it. */

export type RefusalCode =
  | "missing_token"
  | "invalid_request"
  | "invalid_token"
  | "insufficient_scope"
  | "temporarily_unavailable";

const STATUS: Readonly<Record<RefusalCode, number>> = {
  missing_token: 401,
  invalid_request: 400,
  invalid_token: 401,
  insufficient_scope: 403,
  // The keys, or the answer about the token, cannot be had: that says nothing about the token.
  temporarily_unavailable: 503,
};
const RETRY_AFTER_SECONDS = 2;

/** Everything that an answer needs. The description is for the caller's developer; it never holds a part of the token. */
export class Refusal extends Error {
  readonly code: RefusalCode;
  /** The scopes that the request needs, for insufficient_scope. */
  readonly scope: string | undefined;

  constructor(code: RefusalCode, description: string, scope?: string) {
    super(description);
    this.code = code;
    this.scope = scope;
  }

  get status(): number {
    return STATUS[this.code];
  }

  /** Headers of the answer: the challenge, without an error code when the request had no token (RFC 6750 section 3.1). */
  headers(realm: string): Readonly<Record<string, string>> {
    const headers = { "Content-Type": "application/json", "Cache-Control": "no-store" };
    if (this.code === "temporarily_unavailable") return { ...headers, "Retry-After": String(RETRY_AFTER_SECONDS) };
    const parts = [
      ["realm", realm],
      ...(this.code === "missing_token"
        ? []
        : [["error", this.code] as const, ["error_description", this.message] as const]),
      ...(this.scope === undefined ? [] : [["scope", this.scope] as const]),
    ] as const;
    return {
      ...headers,
      "WWW-Authenticate": `Bearer ${parts.map(([name, text]) => `${name}="${quotable(text)}"`).join(", ")}`,
    };
  }

  body(): { readonly error: string; readonly error_description: string } {
    return { error: this.code === "missing_token" ? "unauthorized" : this.code, error_description: this.message };
  }
}

/** RFC 6750 section 3: no quote, no backslash, printable ASCII. */
function quotable(text: string): string {
  return text.replace(/["\\]/g, "'").replace(/[^\x20-\x7e]/g, "?");
}
