/** What a client may ask for at an API: pure, so that the token path decides it without the database. */
import type { Api } from "./api.ts";

/** The part of a client that counts here. */
export interface ApiAccess {
  readonly apis: readonly { readonly apiId: string; readonly scopes: readonly string[] }[];
}

/** The scopes as a scope parameter, in the API's order; empty when the client may not ask there at all. */
export function grantableScopes(client: ApiAccess, api: Pick<Api, "id" | "scopes">): string {
  const allowed = client.apis.find((candidate) => candidate.apiId === api.id)?.scopes ?? [];
  // What the API no longer has is not granted, however old the cached client is.
  const names = api.scopes.map(({ scope }) => scope).filter((scope) => allowed.includes(scope));
  return names.join(" ");
}
