/**
 * The account's own client: signing in to /account and signing up without an app go the way that every app goes, with the same limits,
 * second factors and sessions. It has no row that somebody could change, and nobody holds its codes: their verifier is thrown away.
 */
import type { Client, Clients } from "../clients/client.ts";
import { pkceChallenge, randomText } from "../secrets.ts";

export const ACCOUNT_CLIENT_ID = "signet-account";
const RETURN_PATH = "/account/return";

/** The same clients, and the one that is built in. */
export function withAccountClient(clients: Clients, options: { issuer: string; name: string }): Clients {
  const builtIn = accountClient(options);
  return { ...clients, find: async (id) => (id === ACCOUNT_CLIENT_ID ? builtIn : clients.find(id)) };
}

/** Where a page sends the browser to sign in or up; `state` is a word of ours that comes back with it. */
export function accountSignInUrl(parameters: Readonly<Record<string, string>>, issuer: string): string {
  const query = new URLSearchParams({
    client_id: ACCOUNT_CLIENT_ID,
    redirect_uri: `${issuer}${RETURN_PATH}`,
    response_type: "code",
    scope: "openid",
    code_challenge: pkceChallenge(randomText()),
    code_challenge_method: "S256",
    ...parameters,
  });
  return `/authorize?${query.toString()}`;
}

function accountClient({ issuer, name }: { issuer: string; name: string }): Client {
  const since = new Date(0);
  return {
    id: ACCOUNT_CLIENT_ID,
    type: "spa",
    name,
    isDisabled: false,
    metadata: {
      redirect_uris: [`${issuer}${RETURN_PATH}`],
      post_logout_redirect_uris: [],
      token_endpoint_auth_method: "none",
      grant_types: ["authorization_code"],
      response_types: ["code"],
      application_type: "web",
      scope: "openid",
      id_token_signed_response_alg: "RS256",
      require_auth_time: false,
      subject_type: "public",
    },
    settings: {
      isFirstParty: true,
      webOrigins: [],
      refreshWindowSeconds: 0,
      refreshIdleSeconds: 1,
      refreshAbsoluteSeconds: 1,
      isPkceOptional: false,
      optionalScopes: [],
      introspectApis: [],
    },
    apis: [],
    secrets: [],
    createdAt: since,
    updatedAt: since,
  };
}
