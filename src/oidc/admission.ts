/** Admission: what a request to the engine must be before the library sees it, and what is put right on its way there. */
import type { Context, Middleware, Next } from "koa";
import compose from "koa-compose";
import type { Clients } from "../clients/client.ts";
import { AppError } from "../errors.ts";
import { BODY_BYTES_MAX, checkFormType, readParameters } from "../http/body.ts";
import { ROUTES } from "./provider.ts";

/** With the cookies of a browser the headers must stay below 16 KiB, and a hint of 2 KiB has room here. */
const TARGET_CHARS_MAX = 8 * 1024;
const PARAMETERS_MAX = 100;
/** It is kept with every sign-in that was begun; what an app has to remember it keeps itself. */
const STATE_CHARS_MAX = 2048;

/** Methods of each path; the library answers another method with 404 (measured), HTTP says 405 with Allow (RFC 9110 section 15.5.6). */
const METHODS: Readonly<Record<string, readonly string[]>> = {
  [ROUTES.authorization]: ["GET", "HEAD", "POST"],
  [ROUTES.token]: ["POST", "OPTIONS"],
  [ROUTES.userinfo]: ["GET", "HEAD", "POST", "OPTIONS"],
  [ROUTES.jwks]: ["GET", "HEAD", "OPTIONS"],
  [ROUTES.introspection]: ["POST", "OPTIONS"],
  [ROUTES.revocation]: ["POST", "OPTIONS"],
  [ROUTES.end_session]: ["GET", "HEAD", "POST"],
  [`${ROUTES.end_session}/confirm`]: ["POST"],
  [`${ROUTES.end_session}/success`]: ["GET", "HEAD"],
  "/.well-known/openid-configuration": ["GET", "HEAD", "OPTIONS"],
  "/.well-known/oauth-authorization-server": ["GET", "HEAD", "OPTIONS"],
};
/** Where a sign-in goes on; the library makes these ids. */
const RESUME = new RegExp(`^${ROUTES.authorization}/[A-Za-z0-9_-]{21,64}$`);
const RESUME_METHODS = ["GET", "HEAD"];

/**
 * Only paths that are ours to the letter. The library's router also takes other cases, and a slash at the end (measured): each would be a way
 * around every rule that is bound to a path.
 */
export function methodsOf(path: string): readonly string[] | undefined {
  if (RESUME.test(path)) return RESUME_METHODS;
  return Object.hasOwn(METHODS, path) ? METHODS[path] : undefined;
}

export function admission(clients: Clients): Middleware {
  return compose([
    checkMethod,
    checkTarget,
    checkBody,
    countChunks,
    continueByGet,
    defaultScope(clients),
  ]) as Middleware;
}

function checkMethod(ctx: Context, next: Next): Promise<void> {
  const allowed = methodsOf(ctx.path);
  if (allowed !== undefined && !allowed.includes(ctx.method)) {
    ctx.set("Allow", allowed.join(", "));
    throw new AppError("method_not_allowed");
  }
  return next();
}

function checkTarget(ctx: Context, next: Next): Promise<void> {
  if (ctx.url.length > TARGET_CHARS_MAX) throw new AppError("request_target_too_long");
  if (ctx.search === "") return next();
  const values = Object.values(ctx.query).flat();
  if (values.length > PARAMETERS_MAX)
    throw new AppError("request_malformed", `more than ${PARAMETERS_MAX} parameters are not read`);
  const { state } = ctx.query;
  // Sent back, a cut one would be a wrong one, and a whole one would not fit where it goes.
  if (ctx.path === ROUTES.authorization && String(state ?? "").length > STATE_CHARS_MAX)
    throw new AppError("request_malformed", `state is longer than ${STATE_CHARS_MAX} characters`);
  return next();
}

/** The library calls another content type an invalid request; HTTP has 415 for it, and 413 for what is too large. */
function checkBody(ctx: Context, next: Next): Promise<void> {
  if ((ctx.request.length ?? 0) > BODY_BYTES_MAX) throw new AppError("body_too_large");
  const hasBody = ctx.get("transfer-encoding") !== "" || (ctx.request.length ?? 0) > 0;
  if (ctx.method === "POST" && (hasBody || ctx.get("content-type") !== "")) checkFormType(ctx);
  return next();
}

/** A body without Content-Length is counted while it is read: the library would take 56 KiB of it and call more than that unreadable. */
function countChunks(ctx: Context, next: Next): Promise<void> {
  return ctx.request.length === undefined ? countWhileRead(ctx, next) : next();
}

async function countWhileRead(ctx: Context, next: Next): Promise<void> {
  const { req } = ctx;
  const iterate = req.iterator.bind(req);
  let isTooLarge = false;
  req.iterator = async function* counted(options) {
    let bytes = 0;
    for await (const chunk of iterate(options)) {
      bytes += (chunk as Buffer).length;
      isTooLarge = bytes > BODY_BYTES_MAX;
      if (isTooLarge) throw new AppError("body_too_large");
      yield chunk;
    }
  };
  await next();
  if (isTooLarge) throw new AppError("body_too_large");
}

/**
 * OpenID Connect Core section 3.1.2.1 and RP-Initiated Logout section 2 want POST too. The library would need cookies of SameSite=None for it;
 * a redirect to the GET does not.
 */
function continueByGet(ctx: Context, next: Next): Promise<void> {
  const isTheirs = ctx.path === ROUTES.authorization || ctx.path === ROUTES.end_session;
  return isTheirs && ctx.method === "POST" ? redirectToGet(ctx) : next();
}

async function redirectToGet(ctx: Context): Promise<void> {
  const { encoded } = await readParameters(ctx, ["resource"]);
  const target = `${ctx.path}?${encoded}`;
  if (target.length > TARGET_CHARS_MAX) throw new AppError("body_too_large");
  ctx.status = 303;
  ctx.redirect(target);
}

/** A request without `scope` gets the client's default one (RFC 6749 section 3.3): some clients send none. An empty parameter is an absent one (section 3.1). */
function defaultScope(clients: Clients): (ctx: Context, next: Next) => Promise<void> {
  return (ctx, next) => {
    const { client_id: clientId, scope = "" } = ctx.query;
    if (ctx.path !== ROUTES.authorization || scope !== "" || typeof clientId !== "string") return next();
    return clients.find(clientId).then((client) => {
      const standard = client?.metadata.scope;
      if (standard !== undefined) ctx.query = { ...ctx.query, scope: standard };
      return next();
    });
  };
}
