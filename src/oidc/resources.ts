/** Which API a token is for (RFC 8707), and what its holder and the client may do there. One token, one audience. */
import type { Client, KoaContextWithOIDC } from "oidc-provider";
import { errors } from "oidc-provider";
import { grantableScopes } from "../apis/access.ts";
import type { Api, Apis } from "../apis/api.ts";
import type { AccessTokenAlgorithm, TokenFormat } from "../apis/format.ts";
import { type Holder, type Roles, rolesAt, scopesAt } from "../roles/role.ts";
import { isOpenIdScope, splitScope } from "../scopes.ts";
import type { ClientTraits } from "./client-traits.ts";

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
      if (ctx.oidc.route === "authorization") refuseForeignScope(ctx, api, client.signet);
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
      return grantTypeOf(ctx) === "client_credentials"
        ? machineDefault(ctx, client.signet)
        : resourceOfScopes(ctx, client.signet);
    },
    async useGrantedResource(ctx, model) {
      const isOne = typeof model.resource === "string" || model.resource?.length === 1;
      return isOne && !asksForUserinfoOnly(ctx);
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

/** A scope that the API has and the client was not granted is refused by name (RFC 6749 section 4.1.2.1); one that nobody knows is ignored (OpenID Connect Core section 3.1.2.1). */
function refuseForeignScope(ctx: KoaContextWithOIDC, api: Api, traits: ClientTraits): void {
  const asked = requestedScopes(ctx);
  const granted = new Set(traits.apis.flatMap(({ scopes }) => scopes));
  const foreign = api.scopes.find(({ scope }) => asked.has(scope) && !granted.has(scope))?.scope;
  if (foreign !== undefined) throw new errors.InvalidScope("requested scope is not granted to this client", foreign);
}

/** Never a 200 with less than was asked: a scope that nobody granted to this client is refused by name (RFC 6749 section 5.2). Without `scope` it is all that was granted. */
function settleMachineScope(ctx: KoaContextWithOIDC, grantable: readonly string[]): void {
  const asked = requestedScopes(ctx);
  const foreign = [...asked].find((scope) => !grantable.includes(scope));
  if (foreign !== undefined) throw new errors.InvalidScope("requested scope is not granted to this client", foreign);
  if (asked.size === 0 && ctx.oidc.params !== undefined) ctx.oidc.params["scope"] = grantable.join(" ");
}

function machineDefault(ctx: KoaContextWithOIDC, traits: ClientTraits): string {
  const standard = defaultApi(traits);
  if (standard !== undefined) return standard.identifier;
  const [foreign] = requestedScopes(ctx);
  if (traits.apis.length === 0 && foreign !== undefined) {
    throw new errors.InvalidScope("requested scope is not granted to this client", foreign);
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

function requestedScopes(ctx: KoaContextWithOIDC): ReadonlySet<string> {
  const scope = ctx.oidc.params?.["scope"];
  return new Set(typeof scope === "string" ? splitScope(scope) : []);
}
