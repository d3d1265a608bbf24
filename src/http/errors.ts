/** Where errors meet HTTP: every refusal becomes an answer of the right kind, and only its sentence leaves the process. */
import type { Context, Middleware } from "koa";
import { AppError, ERRORS, type ErrorCode } from "../errors.ts";
import type { Log } from "../log.ts";
import { requestIdOf } from "./request-id.ts";

/** What an error page shows; the room that draws it hands a function in, so that this file knows no page. */
export interface ShownError {
  readonly status: number;
  readonly code: string;
  /** For the app's developer; only where it is safe to say. */
  readonly description?: string | undefined;
  readonly requestId: string;
}

export type ShowError = (ctx: Context, error: ShownError) => void;

/** Answers of these paths are for programs, whatever they say they accept. */
const OAUTH_PATHS = new Set([
  "/token",
  "/introspect",
  "/revoke",
  "/userinfo",
  "/par",
  "/register",
  "/device_authorization",
  "/jwks",
]);

export function errorBoundary(options: {
  log: Log;
  isDevelopment: boolean;
  show: ShowError;
  /** Hears of every refusal of ours before it is answered. */
  onRefused?: (ctx: Context, error: AppError) => void;
}): Middleware {
  return async (ctx, next) => {
    try {
      await next();
    } catch (thrown) {
      const error = forOtherMethods(ctx, toAppError(thrown, ctx, options.log));
      options.onRefused?.(ctx, error);
      answer(ctx, error, options);
    }
  };
}

/** Replaces whatever answer was begun by that of the error. */
export function answer(ctx: Context, error: AppError, options: { isDevelopment: boolean; show: ShowError }): void {
  const { status } = ERRORS[error.code];
  // What is left of a body that was given up would stand in the way of the connection's next request; the server's time limit bounds it.
  if (!ctx.req.complete) ctx.req.resume();
  ctx.remove("Location");
  ctx.remove("WWW-Authenticate");
  ctx.status = status;
  if (error.retryAfterSeconds !== undefined) ctx.set("Retry-After", String(error.retryAfterSeconds));
  if (isForPrograms(ctx)) {
    ctx.body = { error: oauthCode(error.code), error_description: ERRORS[error.code].message };
    return;
  }
  const description = options.isDevelopment || status < 500 ? error.detail : undefined;
  options.show(ctx, { status, code: error.code, description, requestId: requestIdOf(ctx) });
}

/** Whether the answer is read by a program: an OAuth endpoint, a well-known document, or a caller that asks for JSON. */
export function isForPrograms(ctx: Context): boolean {
  return OAUTH_PATHS.has(ctx.path) || ctx.path.startsWith("/.well-known/") || ctx.accepts("html", "json") !== "html";
}

/** A page that exists for other methods is not missing: RFC 9110 section 15.5.6. The routers leave behind what the path matched. */
function forOtherMethods(ctx: Context, error: AppError): AppError {
  const { matched } = ctx as { matched?: readonly { readonly methods: readonly string[] }[] };
  const methods = new Set(matched?.flatMap((layer) => layer.methods));
  if (error.code !== "page_not_found" || methods.size === 0 || methods.has(ctx.method)) return error;
  ctx.set("Allow", [...methods].sort().join(", "));
  return new AppError("method_not_allowed");
}

/** Whatever was thrown, as what is answered and logged. */
export function toAppError(thrown: unknown, ctx: Context, log: Log): AppError {
  if (thrown instanceof AppError) {
    if (thrown.status >= 500)
      log.warn("refused", { request_id: requestIdOf(ctx), code: thrown.code, detail: thrown.detail });
    return thrown;
  }
  // Koa and its helpers throw errors that carry a client's fault; their text is not for the caller.
  if (
    thrown instanceof Error &&
    "status" in thrown &&
    typeof thrown.status === "number" &&
    thrown.status >= 400 &&
    thrown.status < 500
  ) {
    return new AppError("request_malformed");
  }
  const error = thrown instanceof Error ? thrown : new Error("something that is no Error was thrown");
  log.error("unexpected error", { request_id: requestIdOf(ctx), error: error.message, stack: error.stack });
  return new AppError("internal");
}

/** RFC 6749 section 5.2 and 4.1.2.1 have few codes; a store that does not answer is the one that a client may retry. */
function oauthCode(code: ErrorCode): string {
  const { status } = ERRORS[code];
  if (status === 503) return "temporarily_unavailable";
  return status >= 500 ? "server_error" : "invalid_request";
}
