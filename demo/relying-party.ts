/** What the demo app does at Signet: everything here is openid-client's, and works with any OpenID provider. */
import { decodeJwt, decodeProtectedHeader } from "jose";
import * as client from "openid-client";
import type { Attempt } from "./sessions.ts";

export interface RelyingPartyOptions {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** This app's own origin. */
  readonly self: string;
  /** The API's identifier, which is the audience of its tokens. */
  readonly api: string;
  readonly apiScope: string;
}

export type Claims = Readonly<Record<string, unknown>>;

/** The tokens are for requests; what a page may show is the claims. */
export interface SignedIn {
  readonly idToken: string;
  readonly idClaims: client.IDToken;
  readonly accessToken: string;
  /** Header and claims, for display only: to an app an access token is opaque, and this one reads it to show what the API will see. */
  readonly accessTokenShown: { readonly header: Claims; readonly claims: Claims } | undefined;
  readonly accessEndsAt: Date | undefined;
  readonly refreshToken: string | undefined;
  /** What the access token may be used for; empty when the person allowed nothing of the API. */
  readonly scopes: readonly string[];
  readonly userinfo: { readonly claims: Claims; readonly scopes: readonly string[] } | undefined;
  readonly refreshes: number;
}

export interface RelyingParty {
  readonly scope: string;
  /** Where to send the browser, and what to remember until it is back. */
  begin(): Promise<{ readonly url: URL; readonly state: string; readonly attempt: Attempt }>;
  /** Throws openid-client's errors, the provider's refusals among them. */
  finish(currentUrl: URL, state: string, attempt: Attempt): Promise<SignedIn>;
  refresh(signedIn: SignedIn, keep: (signedIn: SignedIn) => void): Promise<void>;
  callApi(signedIn: SignedIn): Promise<{ status: number; challenge: string | null; body: unknown }>;
  /** Ends the refresh token, which would outlive the sign-out, and says where the browser signs out at the provider. */
  signOut(signedIn: SignedIn): Promise<URL>;
  /** /userinfo takes another token than the API does: see the comment inside. `keep` gets each state as soon as it is true. */
  loadUserinfo(signedIn: SignedIn, keep: (signedIn: SignedIn) => void): Promise<void>;
}

const USERINFO_SCOPE = "openid profile email";
const TIMEOUT_SECONDS = 10;

export function createRelyingParty(options: RelyingPartyOptions): RelyingParty {
  const { self, api, apiScope } = options;
  const scope = `${USERINFO_SCOPE} offline_access ${apiScope}`;
  const redirect_uri = `${self}/callback`;
  const configuration = discoverOnce(options);
  return {
    scope,
    async begin() {
      const [codeVerifier, state, nonce] = [
        client.randomPKCECodeVerifier(),
        client.randomState(),
        client.randomNonce(),
      ];
      const url = client.buildAuthorizationUrl(await configuration(), {
        redirect_uri,
        scope,
        resource: api,
        // OpenID Connect Core section 11: offline_access is given only where the person was asked.
        prompt: "consent",
        code_challenge: await client.calculatePKCECodeChallenge(codeVerifier),
        code_challenge_method: "S256",
        state,
        nonce,
      });
      return { url, state, attempt: { codeVerifier, nonce } };
    },
    async finish(currentUrl, state, { codeVerifier, nonce }) {
      const tokens = await client.authorizationCodeGrant(
        await configuration(),
        currentUrl,
        { pkceCodeVerifier: codeVerifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true },
        { resource: api },
      );
      return { ...identityOf(tokens), ...accessOf(tokens, scope), refreshToken: tokens.refresh_token, ...NOTHING_YET };
    },
    loadUserinfo: async (signedIn, keep) => loadUserinfo(await configuration(), signedIn, keep),
    async refresh(signedIn, keep) {
      const config = await configuration();
      const { tokens, kept } = await spend(config, signedIn, { resource: api });
      const refreshes = signedIn.refreshes + 1;
      // OpenID Connect Core section 12.2: a refresh may bring a new ID token, and need not.
      const identity = tokens.id_token === undefined ? {} : identityOf(tokens);
      const next = { ...kept, ...identity, ...accessOf(tokens, signedIn.scopes.join(" ")), refreshes };
      keep(next);
      await loadUserinfo(config, next, keep);
    },
    async callApi({ accessToken }) {
      // Its address is this process's own; its identifier, which the token names, is what was registered.
      const answer = await fetch(`${self}/api/notes`, {
        headers: { Authorization: `Bearer ${accessToken}` },
        signal: AbortSignal.timeout(TIMEOUT_SECONDS * 1000),
      });
      const challenge = answer.headers.get("WWW-Authenticate");
      return { status: answer.status, challenge, body: (await answer.json()) as unknown };
    },
    async signOut({ idToken, refreshToken }) {
      const config = await configuration();
      if (refreshToken !== undefined) await client.tokenRevocation(config, refreshToken).catch(() => undefined);
      return client.buildEndSessionUrl(config, { id_token_hint: idToken, post_logout_redirect_uri: `${self}/` });
    },
  };
}

const NOTHING_YET = { userinfo: undefined, refreshes: 0 } as const;

async function loadUserinfo(
  config: client.Configuration,
  signedIn: SignedIn,
  keep: (signedIn: SignedIn) => void,
): Promise<void> {
  // The access token of the code exchange is a JWT whose one audience is the API, so it is not for /userinfo. A refresh
  // that asks for OpenID scopes only gives the token that is; the grant, and what the next refresh may ask, stay whole.
  const { tokens, kept } = await spend(config, signedIn, { scope: USERINFO_SCOPE });
  keep(kept);
  const claims = await client.fetchUserInfo(config, tokens.access_token, signedIn.idClaims.sub);
  keep({ ...kept, userinfo: { claims, scopes: scopesOf(tokens, USERINFO_SCOPE) } });
}

/** A refresh token is spent by its use: its successor is to be kept before anything else can fail. */
async function spend(config: client.Configuration, signedIn: SignedIn, parameters: Record<string, string>) {
  if (signedIn.refreshToken === undefined) throw new NoRefreshToken();
  const tokens = await client.refreshTokenGrant(config, signedIn.refreshToken, parameters);
  return { tokens, kept: { ...signedIn, refreshToken: tokens.refresh_token ?? signedIn.refreshToken } };
}

/** There is nothing to refresh with: the person did not allow `offline_access`, or the provider gave none. */
export class NoRefreshToken extends Error {}

/** Discovery happens at the first need and is kept; a failure is not, so the app and the provider may start in any order. */
function discoverOnce({ issuer, clientId, clientSecret }: RelyingPartyOptions): () => Promise<client.Configuration> {
  let found: Promise<client.Configuration> | undefined;
  const isPlainHttp = issuer.startsWith("http:");
  return () => {
    found ??= client
      .discovery(new URL(issuer), clientId, undefined, client.ClientSecretBasic(clientSecret), {
        timeout: TIMEOUT_SECONDS,
        // On a developer's machine the issuer is http://localhost. Over plain HTTP nobody vouches for the token endpoint,
        // so the ID token's signature is checked with the published keys too.
        execute: [...(isPlainHttp ? [client.allowInsecureRequests] : []), client.enableNonRepudiationChecks],
      })
      .catch((error: unknown) => {
        found = undefined;
        throw error;
      });
    return found;
  };
}

type Tokens = client.TokenEndpointResponse & client.TokenEndpointResponseHelpers;

function identityOf(tokens: Tokens): Pick<SignedIn, "idToken" | "idClaims"> {
  const idClaims = tokens.claims();
  if (idClaims === undefined || tokens.id_token === undefined) throw new Error("there is no ID token");
  return { idToken: tokens.id_token, idClaims };
}

function accessOf(
  tokens: Tokens,
  asked: string,
): Pick<SignedIn, "accessToken" | "accessTokenShown" | "accessEndsAt" | "scopes"> {
  const seconds = tokens.expiresIn();
  return {
    accessToken: tokens.access_token,
    accessTokenShown: show(tokens.access_token),
    accessEndsAt: seconds === undefined ? undefined : new Date(Date.now() + seconds * 1000),
    scopes: scopesOf(tokens, asked),
  };
}

/** RFC 6749 section 5.1: an answer without `scope` grants what was asked. */
function scopesOf(tokens: Tokens, asked: string): readonly string[] {
  return (tokens.scope ?? asked).split(" ").filter((name) => name !== "");
}

function show(token: string): SignedIn["accessTokenShown"] {
  try {
    return { header: { ...decodeProtectedHeader(token) }, claims: decodeJwt(token) };
  } catch {
    // No JWT: then there is nothing in it for an app to see.
    return undefined;
  }
}
