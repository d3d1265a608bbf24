/** The provider, every option stated: what is left to a default of the library changes with the library. */
import type { AdapterFactory, ClientAuthMethod, Configuration, KoaContextWithOIDC } from "oidc-provider";
import { errors, Provider } from "oidc-provider";
import type { Apis } from "../apis/api.ts";
import type { Clients } from "../clients/client.ts";
import { isClientSecret } from "../clients/secret.ts";
import { now } from "../clock.ts";
import type { Consents } from "../consents/consent.ts";
import type { Outgoing } from "../http/outgoing.ts";
import { SIGNING_ALGORITHMS, type SigningKey } from "../keys/key.ts";
import type { Roles } from "../roles/role.ts";
import { OPENID_SCOPES } from "../scopes.ts";
import type { Users } from "../users/user.ts";
import { holdBackchannel } from "./backchannel.ts";
import { ACR_VALUES, CLAIMS, checkClaimsParameter, findAccount } from "./claims.ts";
import { type ClientGuesses, THROTTLED } from "./client-guesses.ts";
import { allowedOrigins, TRAITS_PROPERTY } from "./client-traits.ts";
import { loadExistingGrant } from "./existing-grant.ts";
import { mayIntrospect } from "./introspection.ts";
import {
  ACCESS_TOKEN_SECONDS,
  ASSERTION_SECONDS_MAX,
  CLOCK_TOLERANCE_SECONDS,
  CODE_SECONDS,
  GRANT_SECONDS,
  ID_TOKEN_SECONDS,
  INTERACTION_SECONDS,
  refreshSeconds,
  SESSION_ABSOLUTE_SECONDS,
  SESSION_REMEMBERED_SECONDS,
} from "./lifetimes.ts";
import { createPolicy } from "./policy.ts";
import { nextRefreshToken, type RefreshKeys } from "./refresh.ts";
import { resourceHooks } from "./resources.ts";
import { engineKey } from "./signing-key.ts";
import { addOrigin } from "./token-origin.ts";

/** A document of ours that a client hosts is small; the library reads without a bound unless told. */
const FETCHED_BYTES_MAX = 64 * 1024;
const OPAQUE_BITS = 256;
/** A Grant's id opens nothing and need only be unlike all others; each refresh token and each JWT under it carries it. */
const GRANT_ID_BITS = 128;
const CLIENT_AUTH_METHODS: ClientAuthMethod[] = [
  "client_secret_basic",
  "client_secret_post",
  "private_key_jwt",
  "none",
];
/** HMAC algorithms need the secret in clear at rest, which Signet never has. */
const ASYMMETRIC = ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"] as const;

/** All paths of the protocol. `/device/…` stays free: the library resumes there (measured: a 500 without a session). */
export const ROUTES = {
  authorization: "/authorize",
  token: "/token",
  userinfo: "/userinfo",
  jwks: "/jwks",
  introspection: "/introspect",
  revocation: "/revoke",
  end_session: "/logout",
} as const;

export interface ProviderParts {
  readonly issuer: string;
  readonly adapter: AdapterFactory;
  readonly users: Users;
  readonly clients: Clients;
  readonly apis: Apis;
  readonly roles: Roles;
  readonly consents: Consents;
  /** The active key of each algorithm first. */
  readonly signingKeys: readonly SigningKey[];
  readonly cookieKeys: readonly string[];
  readonly refreshKeys: RefreshKeys;
  readonly guesses: ClientGuesses;
  readonly pages: EnginePages;
  readonly outgoing: Outgoing;
  /** No token that a key signs lives longer: so long the key stays published when it no longer signs. */
  readonly tokenSecondsMax: number;
  /** Whether an app may send people to sign up (`prompt=create`). */
  readonly isSignUpOpen: boolean;
  readonly mayRemember: boolean;
}

/** Pages that the library asks for; the room of pages draws them. */
export interface EnginePages {
  renderError(
    ctx: KoaContextWithOIDC,
    out: { error: string; error_description?: string | undefined },
    error: Error,
  ): void;
  logout(ctx: KoaContextWithOIDC): Promise<void>;
  loggedOut(ctx: KoaContextWithOIDC): Promise<void>;
}

/** A pure function of its parts, so that a change of keys builds a second instance and swaps one reference. */
export function buildProvider(parts: ProviderParts): Provider {
  const provider = new Provider(parts.issuer, configuration(parts));
  // The authority and the scheme were pinned to the issuer's before; the flag makes the library read them.
  provider.proxy = true;
  // ID tokens name their session, so that a hint at sign-out shows whether it belongs to this one (RP-Initiated Logout section 2).
  provider.Client.prototype.includeSid = () => true;
  holdBackchannel(provider);
  provider.RefreshToken.prototype.generateTokenId = () => nextRefreshToken(parts.refreshKeys);
  provider.Client.prototype.compareClientSecret = async function compare(
    this: { clientId: string },
    presented: string,
  ) {
    if (parts.guesses.isBlocked(this.clientId, Provider.ctx?.ip ?? "")) throw new errors.InvalidClientAuth(THROTTLED);
    const client = await parts.clients.find(this.clientId);
    return client !== undefined && isClientSecret(client, presented, now());
  };
  return provider;
}

/** Names of the cookies are Signet's own, since cookies ignore ports; on https they carry the prefix that binds them to host or scheme. */
export function cookieNames(issuer: string): { session: string; interaction: string; resume: string } {
  const isHttps = issuer.startsWith("https:");
  return {
    session: isHttps ? "__Host-signet_session" : "signet_session",
    interaction: isHttps ? "__Secure-signet_interaction" : "signet_interaction",
    resume: isHttps ? "__Secure-signet_resume" : "signet_resume",
  };
}

function configuration(parts: ProviderParts): Configuration {
  const isHttps = parts.issuer.startsWith("https:");
  const cookie = { httpOnly: true, sameSite: "lax", secure: isHttps, signed: true, overwrite: true } as const;
  const { issueRefreshToken, extraTokenClaims, ...resources } = resourceHooks(
    parts.apis,
    parts.roles,
    parts.tokenSecondsMax,
  );
  return {
    adapter: parts.adapter,
    acrValues: [...ACR_VALUES],
    allowOmittingSingleRegisteredRedirectUri: false,
    acceptQueryParamAccessTokens: false,
    assertJwtClientAuthClaimsAndHeader,
    claims: structuredClone(CLAIMS) as unknown as NonNullable<Configuration["claims"]>,
    clientAuthMethods: CLIENT_AUTH_METHODS,
    clientBasedCORS: (_ctx, origin, client) => allowedOrigins(client).includes(origin),
    clientDefaults: {
      grant_types: ["authorization_code"],
      id_token_signed_response_alg: "RS256",
      response_types: ["code"],
      token_endpoint_auth_method: "client_secret_basic",
    },
    clients: [],
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    conformIdTokenClaims: true,
    cookies: {
      names: cookieNames(parts.issuer),
      long: { ...cookie, path: "/" },
      short: cookie,
      keys: [...parts.cookieKeys],
    },
    discovery: {
      claim_types_supported: ["normal"],
      ui_locales_supported: ["en", "de"],
      // Registration 1.0 section 3; only what an app may ask for.
      prompt_values_supported: [
        "none",
        "login",
        "consent",
        "select_account",
        ...(parts.isSignUpOpen ? ["create"] : []),
      ],
    },
    enabledJWA: {
      clientAuthSigningAlgValues: [...ASYMMETRIC],
      idTokenSigningAlgValues: [...SIGNING_ALGORITHMS],
      userinfoSigningAlgValues: [...SIGNING_ALGORITHMS],
      introspectionSigningAlgValues: [...SIGNING_ALGORITHMS],
      authorizationSigningAlgValues: [...SIGNING_ALGORITHMS],
      requestObjectSigningAlgValues: [...ASYMMETRIC],
      dPoPSigningAlgValues: ["ES256", "Ed25519", "EdDSA"],
    },
    enableHttpPostMethods: false,
    expiresWithSession: async (_ctx, source) => !source.scopes.has("offline_access"),
    extraClientMetadata: { properties: [TRAITS_PROPERTY], validator: () => undefined },
    extraParams: [],
    extraTokenClaims,
    features: {
      backchannelLogout: { enabled: true },
      ciba: { enabled: false },
      claimsParameter: { enabled: true, assertClaimsParameter: (_ctx, claims) => checkClaimsParameter(claims) },
      clientCredentials: { enabled: true },
      clientIdMetadataDocument: { enabled: false },
      deviceFlow: { enabled: false },
      devInteractions: { enabled: false },
      dPoP: { enabled: false },
      encryption: { enabled: false },
      externalSigningSupport: { enabled: true, ack: "experimental-01" },
      fapi: { enabled: false },
      introspection: {
        enabled: true,
        allowedPolicy: async (_ctx, client, token) => mayIntrospect(client, token),
      },
      jwtIntrospection: { enabled: false },
      jwtResponseModes: { enabled: false },
      jwtUserinfo: { enabled: false },
      mTLS: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      registration: { enabled: false },
      registrationManagement: { enabled: false },
      requestObjects: { enabled: false },
      resourceIndicators: { enabled: true, ...resources },
      revocation: { enabled: true, allowedPolicy: async (_ctx, client, token) => token.clientId === client.clientId },
      richAuthorizationRequests: { enabled: false },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx) => parts.pages.logout(ctx),
        postLogoutSuccessSource: (ctx) => parts.pages.loggedOut(ctx),
      },
      userinfo: { enabled: true },
      webMessageResponseMode: { enabled: false },
    },
    // The library's own guard looks at the connection after it was made; ours decides before, and knows what the operator opened.
    fetch: (url, options) =>
      parts.outgoing.fetch(String(url), {
        method: options?.method ?? "GET",
        headers: new Headers(options?.headers),
        body: options?.body,
      }),
    fetchResponseBodyLimits: { jwks_uri: FETCHED_BYTES_MAX, sector_identifier_uri: FETCHED_BYTES_MAX },
    findAccount: findAccount(parts.users),
    formats: {
      bitsOfOpaqueRandomness: (_ctx, { kind }) => (kind === "Grant" ? GRANT_ID_BITS : OPAQUE_BITS),
      customizers: { jwt: addOrigin },
    },
    interactions: {
      policy: createPolicy(parts),
      url: async (_ctx, interaction) => `/interaction/${interaction.uid}`,
    },
    issueRefreshToken,
    jwks: { keys: parts.signingKeys.map(engineKey) },
    loadExistingGrant: loadExistingGrant(parts.consents),
    pairwiseIdentifier: async () => {
      throw new Error("pairwise subjects are not offered");
    },
    pkce: { required: (_ctx, client) => !(client.signet.isPkceOptional && client.clientAuthMethod !== "none") },
    renderError: (ctx, out, error) => parts.pages.renderError(ctx, out, error),
    responseTypes: ["code"],
    revokeGrantPolicy: (ctx) => !(ctx.oidc.route === "revocation" && ctx.oidc.entities.AccessToken !== undefined),
    rotateRefreshToken: () => true,
    routes: { ...ROUTES },
    scopes: [...OPENID_SCOPES],
    sectorIdentifierUriValidate: () => true,
    subjectTypes: ["public"],
    ttl: {
      AccessToken: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? ACCESS_TOKEN_SECONDS,
      AuthorizationCode: CODE_SECONDS,
      ClientCredentials: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? ACCESS_TOKEN_SECONDS,
      Grant: GRANT_SECONDS,
      IdToken: Math.min(ID_TOKEN_SECONDS, parts.tokenSecondsMax),
      Interaction: INTERACTION_SECONDS,
      RefreshToken: (_ctx, token, client) =>
        refreshSeconds({
          idleSeconds: client.signet.refreshIdleSeconds,
          absoluteSeconds: client.signet.refreshAbsoluteSeconds,
          ageSeconds: token.totalLifetime(),
        }),
      Session: (_ctx, session) => (session.transient === true ? SESSION_ABSOLUTE_SECONDS : SESSION_REMEMBERED_SECONDS),
    },
  };
}

/** RFC 7523 section 3 with the advice of 2025: one audience, the issuer, so that no other server's assertion is taken; and a short life, since its jti is remembered that long. */
async function assertJwtClientAuthClaimsAndHeader(
  ctx: KoaContextWithOIDC,
  claims: Readonly<Record<string, unknown>>,
  header: Readonly<Record<string, unknown>>,
): Promise<void> {
  // RFC 7515 sections 4.1.4 and 4.1.11: a kid is a string, and a critical extension that is not understood makes the JWT invalid. The library looks at neither.
  if (header["crit"] !== undefined || (header["kid"] !== undefined && typeof header["kid"] !== "string"))
    throw new errors.InvalidClientAuth("the header of a client assertion holds what is not understood");
  if (claims["aud"] !== ctx.oidc.issuer)
    throw new errors.InvalidClientAuth("the audience of a client assertion is the issuer");
  const nowSeconds = Math.floor(now().getTime() / 1000);
  if (Number(claims["iat"] ?? 0) > nowSeconds + CLOCK_TOLERANCE_SECONDS)
    throw new errors.InvalidClientAuth("a client assertion is not issued in the future");
  const seconds = Number(claims["exp"]) - nowSeconds;
  if (!(seconds <= ASSERTION_SECONDS_MAX + CLOCK_TOLERANCE_SECONDS)) {
    throw new errors.InvalidClientAuth("a client assertion lives at most five minutes");
  }
}
