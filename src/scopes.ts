/** Scopes: the ones that OpenID Connect names, and the alphabet of all others. Scopes of an API belong to the API (apis/scope.ts). */

/** OpenID Connect Core sections 5.4 and 11. No API may name a scope of its own like one of these. */
export const OPENID_SCOPES = ["openid", "profile", "email", "phone", "address", "offline_access"] as const;

/** RFC 6749 section 3.3, scope-token: printable ASCII without the quote and the backslash; the length is ours. */
const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]{1,100}$/;

export function isOpenIdScope(scope: string): boolean {
  return (OPENID_SCOPES as readonly string[]).includes(scope);
}

export function isScopeToken(text: string): boolean {
  return SCOPE_TOKEN.test(text);
}

/** The words of a scope parameter, each once, in their order. */
export function splitScope(scope: string): readonly string[] {
  return [...new Set(scope.split(" ").filter((word) => word !== ""))];
}
