/** What the engine tells: refusals to the log, counts to the metrics, signs of theft to the audit trail. Listeners are lost with their instance, so each one gets them. */
import type { Context } from "koa";
import type { KoaContextWithOIDC, Provider } from "oidc-provider";
import type { Activity } from "../activity/activity.ts";
import type { Clients } from "../clients/client.ts";
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Failures } from "../failures/failure.ts";
import { requestIdOf } from "../http/request-id.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { methodsOf } from "./admission.ts";
import { droppedScope, explain } from "./explain.ts";
import { notedToken } from "./owners.ts";

const GRANT_TYPES = new Set(["authorization_code", "refresh_token", "client_credentials"]);

export interface EventOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly activity: Activity;
  readonly failures: Failures;
  /** To explain a refusal: what the client may, and whether it is disabled. */
  readonly clients: Clients;
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
    options.activity.count("failure", ctx.oidc?.client?.clientId ?? "");
    void note(ctx, error, options);
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
  provider.on("grant.success", (ctx) => {
    metrics.tokens.inc({ grant_type: grantTypeOf(ctx), result: "issued" });
    options.activity.count("token", ctx.oidc.client?.clientId ?? "");
  });
  provider.on("authorization.success", (ctx) => {
    options.activity.count("authorization", ctx.oidc.client?.clientId ?? "");
    if (ctx.oidc.route === "authorization") noteDropped(ctx, options);
  });
  provider.on("interaction.started", (ctx) => {
    if (ctx.oidc.route === "authorization") noteDropped(ctx, options);
  });
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

/** Explains the refusal when the request is over; nobody waits for it, and that it fails changes nothing. */
async function note(ctx: KoaContextWithOIDC, error: Error, { failures, clients, log }: EventOptions): Promise<void> {
  try {
    const { cause, facts } = await explain(ctx, error, clients);
    const description = "error_description" in error ? String(error.error_description) : undefined;
    failures.note({ ...placeOf(ctx), error: error.message, description, cause, facts });
  } catch (failure) {
    const reason = failure instanceof Error ? failure.message : "unknown";
    log.debug("a refusal was not explained", { request_id: requestIdOf(ctx), reason });
  }
}

/** What was refused before the library saw it: a body that is no form, a method that the address does not take. */
export function noteAdmission(failures: Failures): (ctx: Context, error: AppError) => void {
  return (ctx, { code, message }) => {
    const registered = methodsOf(ctx.path)?.join(", ");
    if (registered === undefined || (code !== "body_type_unsupported" && code !== "method_not_allowed")) return;
    const isBody = code === "body_type_unsupported";
    const facts = isBody ? { sent: ctx.get("content-type") || "(none)" } : { sent: ctx.method, registered };
    const place = { id: requestIdOf(ctx), at: now(), clientId: "", route: ctx.path };
    failures.note({ ...place, error: code, description: message, cause: isBody ? "body_type" : "method", facts });
  };
}

function noteDropped(ctx: KoaContextWithOIDC, { failures }: EventOptions): void {
  const dropped = droppedScope(ctx);
  if (dropped !== undefined)
    failures.note({ ...placeOf(ctx), error: "scope_dropped", description: "offline_access was dropped", ...dropped });
}

function placeOf(ctx: KoaContextWithOIDC) {
  return { id: requestIdOf(ctx), at: now(), clientId: ctx.oidc?.client?.clientId ?? "", route: ctx.path.slice(0, 100) };
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
