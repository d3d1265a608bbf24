/** Corrections: what the library answers and what the standards say, where the two differ. Each cites its section and is pinned by a row of test/flows. */
import type { Context } from "koa";
import type { KoaContextWithOIDC } from "oidc-provider";
import { ROUTES } from "./provider.ts";

const CLIENT_PATHS = new Set<string>([ROUTES.token, ROUTES.introspection, ROUTES.revocation]);

type Oidc = Pick<KoaContextWithOIDC["oidc"], "provider" | "client" | "entities">;

export function correctAnswer(ctx: Context): void {
  const { oidc } = ctx as { oidc?: Oidc };
  // The documents themselves are answered before the library; what is left here are preflights, and they are for everybody, too.
  if (ctx.path === ROUTES.jwks || ctx.path.startsWith("/.well-known/"))
    ctx.set("Cross-Origin-Resource-Policy", "cross-origin");
  if (!CLIENT_PATHS.has(ctx.path) || oidc === undefined || ctx.method === "OPTIONS") return;
  nameMissingClient(ctx);
  if (ctx.path === ROUTES.token) nameUnauthorizedClient(ctx);
  if (ctx.path === ROUTES.revocation) {
    refuseForeignRevocation(ctx, oidc);
    emptyRevocation(ctx);
  }
  challenge(ctx, oidc);
  // Whoever sends no origin is no browser's script: a refusal then looks the same whether there is such a client or not (T-ENUM-7).
  if (oidc.client === undefined || (ctx.status === 401 && ctx.get("Origin") === "")) hideFromBrowsers(ctx);
  ctx.vary("Origin");
}

/** RFC 6749 section 5.2, and by reference RFC 7009 section 2.2.1 and RFC 7662 section 2.3: no client authentication is invalid_client; the library says invalid_request. */
function nameMissingClient(ctx: Context): void {
  const isMissing = isRefusal(ctx, "invalid_request", "no client authentication mechanism provided");
  if (!isMissing) return;
  ctx.status = 401;
  ctx.body = { error: "invalid_client", error_description: "client authentication failed" };
}

/** RFC 6749 section 5.2 names the error of a client that may not use this grant type; the library says invalid_request (measured). */
function nameUnauthorizedClient(ctx: Context): void {
  if (isRefusal(ctx, "invalid_request", "requested grant type is not allowed for this client"))
    ctx.body = { ...(ctx.body as object), error: "unauthorized_client" };
}

/** RFC 7009 section 2.1: a client that revokes another's token is told so. With our policy the library leaves the token alone and says 200. */
function refuseForeignRevocation(ctx: Context, { client, entities }: Oidc): void {
  const token = entities.AccessToken ?? entities.RefreshToken ?? entities.ClientCredentials;
  if (ctx.status !== 200 || token === undefined || token.clientId === client?.clientId) return;
  ctx.status = 400;
  ctx.body = { error: "invalid_request", error_description: "the token was not issued to this client" };
}

/** An empty answer of type text/plain makes oidc-client-ts throw; RFC 7009 section 2.2 gives it no meaning. */
function emptyRevocation(ctx: Context): void {
  if (ctx.status !== 200 || (ctx.body !== "" && ctx.body !== undefined)) return;
  ctx.body = Buffer.alloc(0);
  ctx.remove("Content-Type");
}

/** RFC 9110 section 15.5.2: a 401 says how to authenticate. The library does so only to those who tried with the header. */
function challenge(ctx: Context, { provider }: Oidc): void {
  if (ctx.status === 401 && ctx.response.headers["www-authenticate"] === undefined)
    ctx.set("WWW-Authenticate", `Basic realm="${provider.issuer}"`);
}

/** Until the client is known nobody can say that the origin is one of its own; the library lets any page read the refusal (T-CORS-1). */
function hideFromBrowsers(ctx: Context): void {
  ctx.remove("Access-Control-Allow-Origin");
  ctx.remove("Access-Control-Expose-Headers");
}

function isRefusal(ctx: Context, error: string, description: string): boolean {
  const body = ctx.body as { error?: unknown; error_description?: unknown } | undefined;
  return body?.error === error && body.error_description === description;
}
