/** Which API a token is for (RFC 8707), and what its holder and the client may do there. One token, one audience. */
import type { Client, KoaContextWithOIDC } from "oidc-provider";
import { errors } from "oidc-provider";
import { grantableScopes } from "../apis/access.ts";
import type { Api, Apis } from "../apis/api.ts";
import type { AccessTokenAlgorithm, TokenFormat } from "../apis/format.ts";
import { type Holder, type Roles, rolesAt, scopesAt } from "../roles/role.ts";
import { isOpenIdScope, splitScope } from "../scopes.ts";
import type { ClientTraits } from "./client-traits.ts";

const SCOPE_NOT_GRANTED = "requested scope is not granted to this client";
export const SCOPE_ELSEWHERE = "requested scope belongs to another resource than the requested ones";

interface ResourceServerInfo {
  readonly scope: string;
  readonly audience: string;
  readonly accessTokenTTL: number;
  readonly accessTokenFormat: TokenFormat;
  readonly jwt?: { readonly sign: { readonly alg: AccessTokenAlgorithm } };
}

/** Of a token or of what it is made from. */
interface Resourced {
  readonly resource?: string | readonly string[] | undefined;
}

interface NewToken {
  readonly aud?: string | readonly string[] | undefined;
  readonly clientId?: string | undefined;
  readonly accountId?: string | undefined;
}

export interface ResourceHooks {
  getResourceServerInfo(ctx: KoaContextWithOIDC, identifier: string, client: Client): Promise<ResourceServerInfo>;
  defaultResource(
    ctx: KoaContextWithOIDC,
    client: Client,
    oneOf?: readonly string[],
  ): Promise<string | readonly string[]>;
  useGrantedResource(ctx: KoaContextWithOIDC, model: Resourced): Promise<boolean>;
  issueRefreshToken(ctx: KoaContextWithOIDC, client: Client, source: object): Promise<boolean>;
  extraTokenClaims(ctx: KoaContextWithOIDC, token: NewToken): Promise<{ roles: string[] } | undefined>;
}

export function resourceHooks(apis: Apis, roles: Roles, tokenSecondsMax: number): ResourceHooks {
  return {
    async getResourceServerInfo(ctx, identifier, client) {
      if (isDoubled(ctx, identifier)) throw new errors.InvalidTarget("a resource stands twice in the request");
      const api = await apis.find(identifier);
      const access = client.signet.apis.find((entry) => entry.identifier === identifier);
      if (api === undefined || access === undefined)
        throw new errors.InvalidTarget("this client may not ask for this resource");
      if (grantTypeOf(ctx) === "refresh_token" && !api.allowsRefresh)
        throw new errors.InvalidTarget("tokens for this resource are not refreshed: sign in again");
      const grantable = await allowedScopes(ctx, { api, client, roles });
      if (grantTypeOf(ctx) === "client_credentials") settleMachineScope(ctx, splitScope(grantable));
      if (grantTypeOf(ctx) === "refresh_token")
        refuseLacking(apiScopesAsked(ctx), { has: [api], traits: client.signet });
      if (ctx.oidc.route === "authorization")
        await refuseForeignScope(ctx, { identifier, apis, traits: client.signet });
      const isJwt = api.tokenFormat === "jwt";
      return {
        scope: grantable,
        audience: identifier,
        accessTokenTTL: Math.min(api.tokenLifetimeSeconds, tokenSecondsMax),
        accessTokenFormat: api.tokenFormat,
        ...(isJwt ? { jwt: { sign: { alg: api.signingAlgorithm } } } : {}),
      };
    },
    async defaultResource(ctx, client, oneOf) {
      const standard = defaultApi(client.signet);
      if (oneOf !== undefined && oneOf.length > 0)
        return standard !== undefined && oneOf.includes(standard.identifier) ? standard.identifier : oneOf;
      if (grantTypeOf(ctx) === "client_credentials") return machineDefault(ctx, client.signet);
      const meant = resourceOfScopes(ctx, client.signet);
      if (ctx.oidc.route === "authorization" && meant.length === 0) await refuseUnreachable(ctx, apis, client.signet);
      return meant;
    },
    async useGrantedResource(ctx, model) {
      const isOne = typeof model.resource === "string" || model.resource?.length === 1;
      // Scopes of an API make it a token for an API also where several are granted: which one is the default's to say.
      const asksAnApi = apiScopesAsked(ctx).length > 0;
      return (isOne || asksAnApi) && !asksForUserinfoOnly(ctx);
    },
    async issueRefreshToken(_ctx, client, source) {
      if (!client.grantTypeAllowed("refresh_token")) return false;
      const { resource = [] } = source as Resourced;
      const identifiers = typeof resource === "string" ? [resource] : resource;
      if (identifiers.length === 0) return true;
      const found = await Promise.all(identifiers.map((identifier) => apis.find(identifier)));
      return found.some((api) => api?.allowsRefresh === true);
    },
    async extraTokenClaims(_ctx, { aud, clientId = "", accountId }) {
      const api = typeof aud === "string" ? await apis.find(aud) : undefined;
      if (api?.hasRolesClaim !== true) return undefined;
      return { roles: [...rolesAt(await roles.held(holderOf(accountId, clientId)), api.id)] };
    },
  };
}

/**
 * What the client may ask for; at an API that says "by role" only what the holder's roles hold as well. A person's roles are looked at when a
 * token is made, not when consent is asked: so a role that is given or taken counts at the next token, and nobody is asked again.
 */
async function allowedScopes(
  ctx: KoaContextWithOIDC,
  { api, client, roles }: { api: Api; client: Client; roles: Roles },
): Promise<string> {
  const grantable = grantableScopes(client.signet, api);
  if (!api.isScopedByRole || ctx.oidc.route !== "token") return grantable;
  const held = await roles.held(holderOf(ctx.oidc.entities.Account?.accountId, client.clientId));
  const scopes = scopesAt(held, api.id);
  return splitScope(grantable)
    .filter((scope) => scopes.has(scope))
    .join(" ");
}

function isDoubled(ctx: KoaContextWithOIDC, identifier: string): boolean {
  const resource = ctx.oidc.params?.["resource"];
  return Array.isArray(resource) && resource.filter((entry) => entry === identifier).length > 1;
}

/** A token of a client itself has no account. */
function holderOf(accountId: string | undefined, clientId: string): Holder {
  return accountId === undefined ? { kind: "client", id: clientId } : { kind: "user", id: accountId };
}

/** The client's default API; a client's only API is marked so unless it was registered otherwise. */
function defaultApi(traits: ClientTraits): ClientTraits["apis"][number] | undefined {
  return traits.apis.find((entry) => entry.isDefault);
}

/**
 * A sign-in that asks for nothing of an API gets the token for /userinfo, as any OpenID client expects. One that asks for scopes of an API and
 * names none means the API that has them.
 */
function resourceOfScopes(ctx: KoaContextWithOIDC, traits: ClientTraits): string | readonly string[] {
  const asked = requestedScopes(ctx);
  const meant = traits.apis.filter(({ scopes }) => scopes.some((scope) => asked.has(scope)));
  const standard = meant.find((entry) => entry.isDefault);
  if (standard === undefined && meant.length > 1)
    throw new errors.InvalidTarget("several APIs of this client have the requested scope: name one as resource");
  return (standard ?? meant[0])?.identifier ?? [];
}

/** A token request whose own `scope` names OpenID scopes only wants the token that serves /userinfo. */
function asksForUserinfoOnly(ctx: KoaContextWithOIDC): boolean {
  const asked = requestedScopes(ctx);
  return asked.size > 0 && [...asked].every(isOpenIdScope);
}

/** Never a code or a token that silently lacks what was asked: a scope that none of these APIs has for this client is refused by name (RFC 6749 sections 4.1.2.1 and 5.2). */
function refuseLacking(
  asked: readonly string[],
  { has, traits }: { has: readonly Pick<Api, "id" | "scopes">[]; traits: ClientTraits },
): void {
  const reached = new Set(has.flatMap((api) => splitScope(grantableScopes(traits, api))));
  const lacking = asked.find((scope) => !reached.has(scope));
  if (lacking !== undefined) throw notReached(lacking, traits);
}

function notReached(scope: string, traits: ClientTraits): Error {
  const isElsewhere = traits.apis.some(({ scopes }) => scopes.includes(scope));
  return new errors.InvalidScope(isElsewhere ? SCOPE_ELSEWHERE : SCOPE_NOT_GRANTED, scope);
}

/** Once for all resources of a request, at the last of them: a request for APIs asks for their scopes and those of OpenID, and for no others. */
async function refuseForeignScope(
  ctx: KoaContextWithOIDC,
  { identifier, apis, traits }: { identifier: string; apis: Apis; traits: ClientTraits },
): Promise<void> {
  const { resource = [] } = (ctx.oidc.params ?? {}) as Resourced;
  const identifiers = typeof resource === "string" ? [resource] : resource;
  if (identifiers.at(-1) !== identifier) return;
  const found = await Promise.all(identifiers.map((each) => apis.find(each)));
  refuseLacking(apiScopesAsked(ctx), { has: found.filter((api) => api !== undefined), traits });
}

/**
 * A request for no API. A scope that some API here has is refused, since it would be silently lacking. One that nobody here knows is ignored where
 * people sign in by OpenID Connect, as Core section 3.1.2.1 wants; by OAuth alone it is refused (RFC 6749 section 4.1.2.1).
 */
async function refuseUnreachable(ctx: KoaContextWithOIDC, apis: Apis, traits: ClientTraits): Promise<void> {
  const asked = apiScopesAsked(ctx);
  if (asked.length === 0) return;
  const known = requestedScopes(ctx).has("openid") ? await apis.scopeNames() : new Set(asked);
  refuseLacking(
    asked.filter((scope) => known.has(scope)),
    { has: [], traits },
  );
}

/** Never a 200 with less than was asked: a scope that nobody granted to this client is refused by name (RFC 6749 section 5.2). Without `scope` it is all that was granted. */
function settleMachineScope(ctx: KoaContextWithOIDC, grantable: readonly string[]): void {
  const asked = requestedScopes(ctx);
  const foreign = [...asked].find((scope) => !grantable.includes(scope));
  if (foreign !== undefined) throw new errors.InvalidScope(SCOPE_NOT_GRANTED, foreign);
  if (asked.size === 0 && ctx.oidc.params !== undefined) ctx.oidc.params["scope"] = grantable.join(" ");
}

function machineDefault(ctx: KoaContextWithOIDC, traits: ClientTraits): string {
  const standard = defaultApi(traits);
  if (standard !== undefined) return standard.identifier;
  const [foreign] = requestedScopes(ctx);
  if (traits.apis.length === 0 && foreign !== undefined) {
    throw new errors.InvalidScope(SCOPE_NOT_GRANTED, foreign);
  }
  throw new errors.InvalidTarget(
    traits.apis.length === 0
      ? "no API is granted to this client"
      : "several APIs are granted to this client: name one as resource",
  );
}

function grantTypeOf(ctx: KoaContextWithOIDC): unknown {
  return ctx.oidc.route === "token" ? ctx.oidc.params?.["grant_type"] : undefined;
}

/** What is asked beside the scopes of OpenID: words of an API, if of anything. */
function apiScopesAsked(ctx: KoaContextWithOIDC): readonly string[] {
  return [...requestedScopes(ctx)].filter((scope) => !isOpenIdScope(scope));
}

function requestedScopes(ctx: KoaContextWithOIDC): ReadonlySet<string> {
  const scope = ctx.oidc.params?.["scope"];
  return new Set(typeof scope === "string" ? splitScope(scope) : []);
}
