/** Who may ask about a token (RFC 7662 section 4): whoever it was issued to, the API that it is for, and clients that an administrator allowed. */
import type { Client } from "oidc-provider";

interface AskedToken {
  readonly kind: string;
  readonly clientId?: string | undefined;
  readonly aud?: string | readonly string[] | undefined;
}

/** Everybody else hears `active: false`, whether the token lives or not. A refresh token is nobody's business but its client's. */
export function mayIntrospect(client: Client, token: AskedToken): boolean {
  if (token.clientId === client.clientId) return true;
  return typeof token.aud === "string" && client.signet.introspects.includes(token.aud);
}
