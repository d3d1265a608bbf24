/** Which API a token is for (RFC 8707), and what the client may ask there. One token, one audience, RFC 9068. */
import type { Client, KoaContextWithOIDC } from "oidc-provider";
import { errors } from "oidc-provider";
import { grantableScopes } from "../apis/access.ts";
import type { Apis } from "../apis/api.ts";
import { isOpenIdScope, splitScope } from "../scopes.ts";
import type { ClientTraits } from "./client-traits.ts";

const ACCESS_TOKEN_ALGORITHM = "ES256";

interface ResourceServerInfo {
  readonly scope: string;
  readonly audience: string;
  readonly accessTokenTTL: number;
  readonly accessTokenFormat: "jwt";
  readonly jwt: { readonly sign: { readonly alg: typeof ACCESS_TOKEN_ALGORITHM } };
}

export interface ResourceHooks {
  getResourceServerInfo(ctx: KoaContextWithOIDC, identifier: string, client: Client): Promise<ResourceServerInfo>;
  defaultResource(
    ctx: KoaContextWithOIDC,
    client: Client,
    oneOf?: readonly string[],
  ): Promise<string | readonly string[]>;
  useGrantedResource(
    ctx: KoaContextWithOIDC,
    model: { resource?: string | readonly string[] | undefined },
  ): Promise<boolean>;
}

export function resourceHooks(apis: Apis): ResourceHooks {
  return {
    async getResourceServerInfo(ctx, identifier, client) {
      const api = await apis.find(identifier);
      const access = client.signet.apis.find((entry) => entry.identifier === identifier);
      if (api === undefined || access === undefined)
        throw new errors.InvalidTarget("this client may not ask for this resource");
      const grantable = grantableScopes(client.signet, api);
      if (isClientCredentials(ctx)) settleMachineScope(ctx, splitScope(grantable));
      return {
        scope: grantable,
        audience: identifier,
        accessTokenTTL: api.tokenLifetimeSeconds,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: ACCESS_TOKEN_ALGORITHM } },
      };
    },
    async defaultResource(ctx, client, oneOf) {
      const standard = defaultApi(client.signet);
      if (oneOf !== undefined && oneOf.length > 0)
        return standard !== undefined && oneOf.includes(standard.identifier) ? standard.identifier : oneOf;
      if (isClientCredentials(ctx)) return machineDefault(ctx, client.signet);
      // A sign-in that asks for nothing of the API gets the token for /userinfo, as any OpenID client expects.
      const asked = requestedScopes(ctx);
      return standard?.scopes.some((scope) => asked.has(scope)) === true ? standard.identifier : [];
    },
    async useGrantedResource(ctx, model) {
      const isOne = typeof model.resource === "string" || model.resource?.length === 1;
      return isOne && !asksForUserinfoOnly(ctx);
    },
  };
}

/** The client's default API; a client's only API is marked so unless it was registered otherwise. */
function defaultApi(traits: ClientTraits): ClientTraits["apis"][number] | undefined {
  return traits.apis.find((entry) => entry.isDefault);
}

/** A token request whose own `scope` names OpenID scopes only wants the token that serves /userinfo. */
function asksForUserinfoOnly(ctx: KoaContextWithOIDC): boolean {
  const asked = requestedScopes(ctx);
  return asked.size > 0 && [...asked].every(isOpenIdScope);
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

function isClientCredentials(ctx: KoaContextWithOIDC): boolean {
  return ctx.oidc.route === "token" && ctx.oidc.params?.["grant_type"] === "client_credentials";
}

function requestedScopes(ctx: KoaContextWithOIDC): ReadonlySet<string> {
  const scope = ctx.oidc.params?.["scope"];
  return new Set(typeof scope === "string" ? splitScope(scope) : []);
}
