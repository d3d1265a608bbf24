/** The engine: the provider that answers now, replaced as a whole when keys change, and the corrections around it. */

import type { Context, Middleware, Next } from "koa";
import compose from "koa-compose";
import type { Provider } from "oidc-provider";
import type { Clients } from "../clients/client.ts";
import { AppError } from "../errors.ts";
import { BODY_BYTES_MAX, readForm } from "../http/body.ts";
import { answer, type ShowError } from "../http/errors.ts";
import { allowFormTarget } from "../http/headers.ts";
import type { Metrics } from "../metrics.ts";
import { storeFailureOf } from "./events.ts";
import { ROUTES } from "./provider.ts";

export interface Engine {
  /** The provider of this moment. Nobody keeps it beyond a request. */
  current(): Provider;
  /** Builds a new provider from what is true now and swaps it in; requests in flight finish on the one they began with. */
  reload(): Promise<void>;
  readonly middleware: Middleware;
}

export interface EngineOptions {
  readonly build: () => Promise<Provider>;
  readonly clients: Clients;
  readonly metrics: Metrics;
  readonly isDevelopment: boolean;
  readonly show: ShowError;
}

export async function openEngine(options: EngineOptions): Promise<Engine> {
  let provider = await options.build();
  const composed = new WeakMap<Provider, Middleware>();
  const run: Middleware = (ctx, next) => {
    const instance = provider;
    let middleware = composed.get(instance);
    if (middleware === undefined) {
      middleware = compose(instance.middleware) as Middleware;
      composed.set(instance, middleware);
    }
    return middleware(ctx, next);
  };
  return {
    current: () => provider,
    async reload() {
      provider = await options.build();
    },
    middleware: compose([
      checkMethod,
      checkSize,
      authorizeByPost,
      defaultScope(options.clients),
      corrections(options),
      run,
    ]) as Middleware,
  };
}

/** Methods of each path; the library answers another method with 404 (measured), HTTP says 405 with Allow (RFC 9110 section 15.5.6). */
const METHODS: Readonly<Record<string, readonly string[]>> = {
  [ROUTES.authorization]: ["GET", "HEAD", "POST"],
  [ROUTES.token]: ["POST", "OPTIONS"],
  [ROUTES.userinfo]: ["GET", "HEAD", "POST", "OPTIONS"],
  [ROUTES.jwks]: ["GET", "HEAD", "OPTIONS"],
  [ROUTES.introspection]: ["POST", "OPTIONS"],
  [ROUTES.revocation]: ["POST", "OPTIONS"],
  [ROUTES.end_session]: ["GET", "HEAD"],
  [`${ROUTES.end_session}/confirm`]: ["POST"],
  [`${ROUTES.end_session}/success`]: ["GET", "HEAD"],
  "/.well-known/openid-configuration": ["GET", "HEAD", "OPTIONS"],
  "/.well-known/oauth-authorization-server": ["GET", "HEAD", "OPTIONS"],
};

async function checkMethod(ctx: Context, next: Next): Promise<void> {
  const allowed = METHODS[ctx.path];
  if (allowed !== undefined && !allowed.includes(ctx.method)) {
    ctx.set("Allow", allowed.join(", "));
    throw new AppError("method_not_allowed");
  }
  await next();
}

async function checkSize(ctx: Context, next: Next): Promise<void> {
  if ((ctx.request.length ?? 0) > BODY_BYTES_MAX) throw new AppError("body_too_large");
  await next();
}

/** OpenID Connect Core section 3.1.2.1 wants POST too. The library would need cookies of SameSite=None for it; a redirect to the GET does not. */
async function authorizeByPost(ctx: Context, next: Next): Promise<void> {
  if (ctx.path !== ROUTES.authorization || ctx.method !== "POST") return next();
  const { encoded } = await readForm(ctx, ["resource"]);
  ctx.status = 303;
  ctx.redirect(`${ROUTES.authorization}?${encoded}`);
}

/** A request without `scope` gets the client's default one (RFC 6749 section 3.3): some clients send none. */
function defaultScope(clients: Clients): (ctx: Context, next: Next) => Promise<void> {
  return async (ctx, next) => {
    const { client_id: clientId, scope } = ctx.query;
    if (
      ctx.path === ROUTES.authorization &&
      ctx.method === "GET" &&
      scope === undefined &&
      typeof clientId === "string"
    ) {
      const standard = (await clients.find(clientId))?.metadata.scope;
      if (standard !== undefined) ctx.query = { ...ctx.query, scope: standard };
    }
    await next();
  };
}

/** What the library answers and what the standards say, where the two differ. */
function corrections(options: EngineOptions): (ctx: Context, next: Next) => Promise<void> {
  return async (ctx, next) => {
    await next();
    const failure = storeFailureOf(ctx);
    if (failure !== undefined) {
      options.metrics.storeFailures.inc({ store: failure.detail?.startsWith("Redis") === true ? "redis" : "postgres" });
      if (!redirectsUnavailable(ctx)) answer(ctx, failure, options);
      return;
    }
    if (ctx.path === ROUTES.revocation && ctx.status === 200 && (ctx.body === "" || ctx.body === undefined)) {
      // An empty answer of type text/plain makes oidc-client-ts throw; RFC 7009 section 2.2 gives it no meaning.
      ctx.body = Buffer.alloc(0);
      ctx.remove("Content-Type");
    }
    if (ctx.path === ROUTES.token) nameUnauthorizedClient(ctx);
    if (ctx.path.startsWith(ROUTES.authorization) || ctx.path === ROUTES.end_session) allowFormPost(ctx);
    if (ctx.path === ROUTES.jwks || ctx.path.startsWith("/.well-known/")) {
      if (ctx.status === 200)
        ctx.set("Cache-Control", `public, max-age=${METADATA_SECONDS}, stale-if-error=${METADATA_SECONDS}`);
      ctx.set("Cross-Origin-Resource-Policy", "cross-origin");
    }
  };
}

/** Resource servers may keep the JWKS this long; a new key is announced for longer before it signs. */
const METADATA_SECONDS = 300;

/** The redirect was validated, so the client may hear of it: RFC 6749 section 4.1.2.1 has a code for it. */
function redirectsUnavailable(ctx: Context): boolean {
  const location = ctx.response.get("Location");
  if (location === "" || !URL.canParse(location)) return false;
  const url = new URL(location);
  if (url.searchParams.get("error") !== "server_error") return false;
  url.searchParams.set("error", "temporarily_unavailable");
  url.searchParams.set("error_description", "a part of the authorization server is not answering");
  ctx.set("Location", url.href);
  ctx.set("Retry-After", "2");
  return true;
}

/** RFC 6749 section 5.2 names the error of a client that may not use this grant type; the library says invalid_request (measured). */
function nameUnauthorizedClient(ctx: Context): void {
  const body = ctx.body as { error?: unknown; error_description?: unknown } | undefined;
  const isRefusedGrant =
    body?.error === "invalid_request" &&
    body.error_description === "requested grant type is not allowed for this client";
  if (isRefusedGrant) ctx.body = { ...body, error: "unauthorized_client" };
}

/** The page of `response_mode=form_post` posts to the client. */
function allowFormPost(ctx: Context): void {
  const target = formTargetOf(ctx);
  if (ctx.type !== "text/html" || target === undefined) return;
  const policy = ctx.response.get("Content-Security-Policy");
  const scriptSource = /script-src [^;]*/.exec(policy)?.[0];
  allowFormTarget(ctx, target);
  // The library has added the hash of its one script to the policy that stood before.
  if (scriptSource !== undefined) {
    ctx.set(
      "Content-Security-Policy",
      ctx.response.get("Content-Security-Policy").replace(/script-src [^;]*/, scriptSource),
    );
  }
}

/** Where a form of this answer may end: the redirect URI that was checked, or, when signing out, the registered address that the library kept. */
function formTargetOf(ctx: Context): string | undefined {
  const oidc = (
    ctx as {
      oidc?: {
        route?: string;
        redirectUriCheckPerformed?: boolean;
        params?: { redirect_uri?: unknown };
        session?: { state?: Record<string, unknown> };
      };
    }
  ).oidc;
  const target =
    oidc?.route === "end_session"
      ? oidc.session?.state?.["postLogoutRedirectUri"]
      : oidc?.redirectUriCheckPerformed === true
        ? oidc.params?.redirect_uri
        : undefined;
  return typeof target === "string" ? target : undefined;
}
