/** The engine: the provider that answers now, replaced as a whole when keys change, and the corrections around it. */

import type { Context, Middleware, Next } from "koa";
import compose from "koa-compose";
import type { Provider } from "oidc-provider";
import type { Clients } from "../clients/client.ts";
import { type Documents, documentMiddleware } from "../http/documents.ts";
import { answer, type ShowError } from "../http/errors.ts";
import { allowFormTarget } from "../http/headers.ts";
import type { Keyring, KeySnapshot } from "../keys/keyring.ts";
import type { Metrics } from "../metrics.ts";
import { admission, methodsOf } from "./admission.ts";
import type { ClientGuesses } from "./client-guesses.ts";
import { correctAnswer } from "./corrections.ts";
import { documentsOf } from "./documents.ts";
import { storeFailureOf } from "./events.ts";
import { ROUTES } from "./provider.ts";
import { explainOrigin } from "./reason.ts";

export interface Engine {
  /** The provider of this moment. Nobody keeps it beyond a request. */
  current(): Provider;
  /** The metadata documents and the JWKS of this moment, ready to be sent. */
  documents(): Documents;
  /** Builds a new provider from these keys and swaps it in; requests in flight finish on the one they began with. */
  reload(keys: KeySnapshot): Promise<void>;
  readonly middleware: Middleware;
}

export interface EngineOptions {
  readonly issuer: string;
  readonly keyring: Keyring;
  /** Everything that belongs to one instance is attached here: what is attached elsewhere is lost with the next swap. */
  readonly build: (keys: KeySnapshot) => Provider;
  readonly clients: Clients;
  readonly guesses: ClientGuesses;
  readonly metrics: Metrics;
  readonly isDevelopment: boolean;
  readonly show: ShowError;
}

/** What is swapped as one. */
interface Face {
  readonly provider: Provider;
  readonly documents: Documents;
  readonly run: Middleware;
}

export async function openEngine(options: EngineOptions): Promise<Engine> {
  const { keyring } = options;
  let face = await faceOf(keyring.current(), options);
  let swapping: Promise<void> = Promise.resolve();
  const documents = documentMiddleware({
    issuer: options.issuer,
    documents: () => face.documents,
    cacheSeconds: keyring.times.cacheSeconds,
    isFresh: () => keyring.isFresh(),
  });
  const chain = [admission(options.clients), corrections(options), documents] as const;
  const admitted = compose([...chain, (ctx: Context, next: Next) => face.run(ctx, next)]) as Middleware;
  const engine: Engine = {
    current: () => face.provider,
    documents: () => face.documents,
    reload(keys) {
      // One after the other, so that an older state never replaces a newer one.
      swapping = swapping
        .catch(() => undefined)
        .then(async () => {
          face = await faceOf(keys, options);
        });
      return swapping;
    },
    middleware: (ctx, next) => (methodsOf(ctx.path) === undefined ? next() : admitted(ctx, next)),
  };
  keyring.onChange((keys) => engine.reload(keys));
  return engine;
}

async function faceOf(keys: KeySnapshot, { build }: EngineOptions): Promise<Face> {
  const provider = build(keys);
  return {
    provider,
    documents: await documentsOf(provider, keys.published),
    // The closure is the request's hold on the instance it began with.
    run: compose(provider.middleware) as Middleware,
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
    correctAnswer(ctx);
    const throttled = await options.guesses.judge(ctx);
    if (throttled !== undefined) {
      answer(ctx, throttled, options);
      return;
    }
    if (options.isDevelopment) explainOrigin(ctx);
    if (ctx.path.startsWith(ROUTES.authorization) || ctx.path === ROUTES.end_session) allowFormPost(ctx);
  };
}

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

/**
 * Where a form of this answer may end: the redirect URI that was checked; when signing out, the registered address that the library
 * kept; on the page that signs another person out first, the address of the sign-in that goes on, which was checked when it began.
 */
function formTargetOf(ctx: Context): string | undefined {
  const { oidc } = ctx as {
    oidc?: {
      route?: string;
      redirectUriCheckPerformed?: boolean;
      params?: { redirect_uri?: unknown };
      session?: { state?: Record<string, unknown> };
      entities?: { Interaction?: { params?: { redirect_uri?: unknown } } };
    };
  };
  const checked = oidc?.redirectUriCheckPerformed === true ? oidc.params?.redirect_uri : undefined;
  const kept = oidc?.route === "end_session" ? oidc.session?.state?.["postLogoutRedirectUri"] : undefined;
  const resumed = oidc?.route === "resume" ? oidc.entities?.Interaction?.params?.redirect_uri : undefined;
  const target = checked ?? kept ?? resumed;
  return typeof target === "string" ? target : undefined;
}
