/** Who may ask about a token (RFC 7662 section 4); everybody else hears `active: false`, whether the token lives or not. */
import type { Client } from "oidc-provider";

interface AskedToken {
  readonly clientId?: string | undefined;
  readonly aud?: string | readonly string[] | undefined;
}

/**
 * A token for an API concerns that API and the clients that an administrator allowed. The app that carries it is not among them: what the token says
 * is between Signet and the API (RFC 9068 section 6, RFC 7662 section 5), and how long it lives was said when it was issued.
 *
 * A refresh token and the token for /userinfo are for no API but for Signet itself, so nobody else could ever ask: there the client that it was issued
 * to may, as far as it has proven who it is. A public client names itself, as whoever has found the token could (section 2.1: token scanning).
 */
export function mayIntrospect(client: Client, { aud, clientId }: AskedToken): boolean {
  if (aud !== undefined) return typeof aud === "string" && client.signet.introspects.includes(aud);
  return clientId === client.clientId && client.clientAuthMethod !== "none";
}
