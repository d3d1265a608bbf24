/** What the engine tells: refusals to the log, counts to the metrics, signs of theft to the audit trail. Listeners are lost with their instance, so each one gets them. */
import type { KoaContextWithOIDC, Provider } from "oidc-provider";
import { AppError } from "../errors.ts";
import { requestIdOf } from "../http/request-id.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { notedToken } from "./owners.ts";

const GRANT_TYPES = new Set(["authorization_code", "refresh_token", "client_credentials"]);

export interface EventOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  /** A code or refresh token was presented again: the library has ended its grant. */
  readonly onReuse: (what: "code" | "refresh_token", reuse: Reuse) => void;
  readonly onSignOut: (userId: string, from: { address: string; requestId: string }) => void;
}

export interface Reuse {
  readonly grantId: string;
  readonly clientId: string;
  readonly userId?: string | undefined;
  readonly address?: string;
  readonly requestId?: string;
}

/** The library hides the cause of a server_error from the caller, rightly; the middleware around it needs it to say 503. */
const causes = new WeakMap<object, AppError>();

/** The store failure that made the library answer this request with a server_error. */
export function storeFailureOf(ctx: object): AppError | undefined {
  return causes.get(ctx);
}

/** Listeners are called in the middle of a request: they must not throw and must not wait. */
export function listen(provider: Provider, options: EventOptions): void {
  const { log, metrics } = options;
  const refused = (ctx: KoaContextWithOIDC, error: Error): void => {
    const detail = "error_detail" in error && typeof error.error_detail === "string" ? error.error_detail : undefined;
    log.info("refused", {
      request_id: requestIdOf(ctx),
      client_id: ctx.oidc?.client?.clientId,
      error: error.message,
      detail: detail ?? ("error_description" in error ? String(error.error_description) : undefined),
    });
    if (detail === "refresh token already used")
      options.onReuse("refresh_token", reuseOf(ctx, ctx.oidc.entities.RefreshToken));
    // The library names the code only after it was consumed; what was read of it says whose it is.
    if (detail === "authorization code already consumed") options.onReuse("code", reuseOf(ctx, notedToken(ctx)));
  };
  provider.on("authorization.error", refused);
  provider.on("grant.error", (ctx, error) => {
    refused(ctx, error);
    metrics.tokens.inc({ grant_type: grantTypeOf(ctx), result: "refused" });
  });
  provider.on("grant.success", (ctx) => metrics.tokens.inc({ grant_type: grantTypeOf(ctx), result: "issued" }));
  provider.on("introspection.error", refused);
  provider.on("revocation.error", refused);
  provider.on("userinfo.error", refused);
  provider.on("end_session.error", refused);
  provider.on("server_error", (ctx, error) => {
    if (error instanceof AppError) {
      causes.set(ctx, error);
      // The library asks for this mark next, and then sends the error to the redirect URI if that is the client's own.
      Object.assign(error, { allow_redirect: true });
      const { code, detail } = error;
      log.warn("refused", { request_id: requestIdOf(ctx), client_id: ctx.oidc?.client?.clientId, code, detail });
    } else log.error("the engine failed", { request_id: requestIdOf(ctx), error: error.message, stack: error.stack });
  });
  provider.on("end_session.success", (ctx) => {
    const userId = ctx.oidc.session?.accountId;
    if (userId !== undefined && ctx.oidc.params?.["logout"] !== undefined) {
      options.onSignOut(userId, { address: ctx.ip, requestId: requestIdOf(ctx) });
    }
  });
}

function reuseOf(
  ctx: KoaContextWithOIDC,
  token: { readonly grantId?: string | undefined; readonly accountId?: string | undefined } | undefined,
): Reuse {
  return {
    userId: token?.accountId,
    grantId: token?.grantId ?? "",
    clientId: ctx.oidc.client?.clientId ?? "",
    address: ctx.ip,
    requestId: requestIdOf(ctx),
  };
}

function grantTypeOf(ctx: KoaContextWithOIDC): string {
  const type = ctx.oidc?.params?.["grant_type"];
  return typeof type === "string" && GRANT_TYPES.has(type) ? type : "other";
}
