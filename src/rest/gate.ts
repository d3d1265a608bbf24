/** The gate of the REST API: an access token of this very server for Signet's own API, then the scope that the operation's row names. Default deny. */
import type { Context } from "koa";
import { AppError } from "../errors.ts";
import { quoted } from "../text.ts";
import type { Caller, Operation } from "./operation.ts";

/** The identifier of Signet's own API (migration 007), the audience of its tokens. */
export const ADMIN_API = "urn:signet:admin";

export interface GateParts {
  /** Undefined: not a living access token for ADMIN_API of somebody who is still there. */
  authenticate(token: string): Promise<Caller | undefined>;
  /** Counts a token that was refused; the seconds to wait when the address has sent too many. */
  countRefused(address: string): Promise<number | undefined>;
}

/** RFC 6750 section 2.1, b64token. */
const BEARER = /^Bearer +([A-Za-z0-9._~+/-]{1,8192}=*)$/i;

/** Throws AppError token_missing, token_invalid or rest_throttled, with the challenge that RFC 6750 section 3 asks for. Cookies are not looked at. */
export async function callerOf(ctx: Context, { authenticate, countRefused }: GateParts): Promise<Caller> {
  const header = ctx.get("authorization");
  if (header === "") {
    ctx.set("WWW-Authenticate", 'Bearer realm="signet"');
    throw new AppError("token_missing");
  }
  const [, token] = BEARER.exec(header) ?? [];
  const caller = token === undefined ? undefined : await authenticate(token);
  if (caller !== undefined) return caller;
  const waitSeconds = await countRefused(ctx.ip);
  if (waitSeconds !== undefined) throw new AppError("rest_throttled", undefined, waitSeconds);
  ctx.set("WWW-Authenticate", 'Bearer realm="signet", error="invalid_token"');
  throw new AppError("token_invalid");
}

/** The challenge of a token whose scope does not suffice names the scope (RFC 6750 section 3.1). Throws AppError scope_missing. */
export function nameScope(ctx: Context, caller: Caller, operation: Operation): void {
  if (!caller.scopes.has(operation.scope))
    ctx.set("WWW-Authenticate", `Bearer realm="signet", error="insufficient_scope", scope="${operation.scope}"`);
  checkScope(caller, operation);
}

/** Throws AppError scope_missing and names the scope. */
export function checkScope(caller: Caller, { scope }: Operation): void {
  if (!caller.scopes.has(scope)) throw new AppError("scope_missing", `It needs ${scope}.`);
}

/** Throws AppError reach_exceeded unless the caller holds all of these. */
export function checkGives(caller: Caller, scopes: readonly string[]): void {
  const beyond = scopes.filter((scope) => !caller.scopes.has(scope));
  if (beyond.length > 0) throw new AppError("reach_exceeded", `Beyond your own: ${quoted(beyond.join(" "))}.`);
}
