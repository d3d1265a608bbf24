/**
 * The clients that are built in: signing in to /account and to /admin, and signing up without an app, go the way that every app goes, with the
 * same limits, second factors and sessions. They have no row that somebody could change. Nobody holds the account's codes: their verifier is
 * thrown away, since the session is all that its pages need. The console redeems its own.
 */
import type { Client, Clients } from "../clients/client.ts";
import { pkceChallenge, randomText } from "../secrets.ts";
import type { Engine } from "./engine.ts";

export const ACCOUNT_CLIENT_ID = "signet-account";
const CONSOLE_CLIENT_ID = "signet-console";
const ACCOUNT_RETURN_PATH = "/account/return";
const CONSOLE_RETURN_PATH = "/admin/return";
/** What a code looks like; the store is not asked for anything else. */
const CODE = /^[\w-]{20,128}$/;

export function isBuiltIn(clientId: string): boolean {
  return clientId === ACCOUNT_CLIENT_ID || clientId === CONSOLE_CLIENT_ID;
}

/** The same clients, and the ones that are built in. */
export function withBuiltInClients(clients: Clients, options: { issuer: string; name: string }): Clients {
  const { issuer, name } = options;
  const builtIn = new Map(
    [
      builtInClient({ id: ACCOUNT_CLIENT_ID, name, redirectUri: `${issuer}${ACCOUNT_RETURN_PATH}` }),
      builtInClient({ id: CONSOLE_CLIENT_ID, name: `${name} Console`, redirectUri: `${issuer}${CONSOLE_RETURN_PATH}` }),
    ].map((client) => [client.id, client]),
  );
  return { ...clients, find: async (id) => builtIn.get(id) ?? clients.find(id) };
}

/** Where a page sends the browser to sign in or up; `state` is a word of ours that comes back with it. */
export function accountSignInUrl(parameters: Readonly<Record<string, string>>, issuer: string): string {
  const client = { client_id: ACCOUNT_CLIENT_ID, redirect_uri: `${issuer}${ACCOUNT_RETURN_PATH}` };
  return signInUrl(client, randomText(), parameters);
}

/** The same for the console, which keeps the verifier. */
export function consoleSignInUrl(
  parameters: Readonly<Record<string, string>>,
  { issuer, verifier }: { readonly issuer: string; readonly verifier: string },
): string {
  const client = { client_id: CONSOLE_CLIENT_ID, redirect_uri: `${issuer}${CONSOLE_RETURN_PATH}` };
  return signInUrl(client, verifier, parameters);
}

/** The session that a code of the console came from, once; undefined for any other code. */
export async function redeemConsoleCode(
  engine: Engine,
  { code, verifier }: { readonly code: string; readonly verifier: string },
): Promise<string | undefined> {
  if (!CODE.test(code)) return undefined;
  const found = await engine.current().AuthorizationCode.find(code);
  if (found === undefined || found.clientId !== CONSOLE_CLIENT_ID || found.isExpired) return undefined;
  if (found.codeChallenge !== pkceChallenge(verifier)) return undefined;
  // Throws when somebody else was faster.
  return found.consume().then(
    () => found.sessionUid,
    () => undefined,
  );
}

function signInUrl(
  client: Readonly<Record<string, string>>,
  verifier: string,
  parameters: Readonly<Record<string, string>>,
): string {
  const query = new URLSearchParams({
    ...client,
    response_type: "code",
    scope: "openid",
    code_challenge: pkceChallenge(verifier),
    code_challenge_method: "S256",
    ...parameters,
  });
  return `/authorize?${query.toString()}`;
}

function builtInClient({ id, name, redirectUri }: { id: string; name: string; redirectUri: string }): Client {
  const since = new Date(0);
  return {
    id,
    type: "spa",
    name,
    isDisabled: false,
    metadata: {
      redirect_uris: [redirectUri],
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
