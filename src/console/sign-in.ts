/** The way into the console: through Signet itself, by code and PKCE as the client signet-console, and again before what is dangerous. */
import type Router from "@koa/router";
import type { Context } from "koa";
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import { dropCookie, readCookie, setCookie } from "../http/cookies.ts";
import { requestIdOf } from "../http/request-id.ts";
import { consoleSignInUrl, redeemConsoleCode } from "../oidc/built-in-clients.ts";
import type { Engine } from "../oidc/engine.ts";
import type { Browser, SignedIn } from "../oidc/signed-in.ts";
import { type Csrf, FORM_SECONDS } from "../pages/csrf.ts";
import type { By, Caller, Holder } from "../rest/operation.ts";
import { isEqualSecret, randomText } from "../secrets.ts";

export interface SignInParts {
  readonly issuer: string;
  readonly browser: Browser;
  readonly engine: Engine;
  readonly csrf: Csrf;
  /** Which scopes of Signet's own API the roles of the holder give at this moment. */
  rightsOf(holder: Holder): Promise<readonly string[]>;
}

/** Who is at the console, and what they may do there at this moment. */
export interface Admin extends SignedIn {
  readonly caller: Caller;
  readonly by: By;
}

/** What is dangerous wants a sign-in of the last five minutes (T-SESS-9). */
const FRESH_SECONDS = 300;
const SIGN_IN_SECONDS = 600;
/** A page of the console and nothing else: no host, no query, no second slash (T-REDIR-1). */
const PAGE = /^\/admin(\/[\w.~:%-]+)*$/;
const PAGE_CHARS_MAX = 500;
/** State, verifier, and the page that was asked for, which is sent nowhere. */
const PENDING = /^([\w-]{43})\.([\w-]{43})\.([\w-]{0,700})$/;

export function signInRoutes(router: Router, parts: SignInParts): void {
  router.get("/admin/sign-in", async (ctx) => {
    const to = pageOf(ctx.query["to"]);
    const signedIn = ctx.query["again"] === "yes" ? await parts.browser.signedIn(ctx) : undefined;
    const [state, verifier] = [randomText(), randomText()];
    setCookie(ctx, "console_sign_in", `${state}.${verifier}.${Buffer.from(to).toString("base64url")}`, SIGN_IN_SECONDS);
    const again = signedIn === undefined ? {} : { prompt: "login", login_hint: signedIn.user.email };
    redirect(ctx, consoleSignInUrl({ state, ...again }, { issuer: parts.issuer, verifier }));
  });
  router.get("/admin/return", async (ctx) => {
    const [, state = "", verifier = "", to = ""] = PENDING.exec(readCookie(ctx, "console_sign_in")) ?? [];
    dropCookie(ctx, "console_sign_in");
    if (state === "" || !isEqualSecret(String(ctx.query["state"] ?? ""), state)) throw new AppError("interaction_gone");
    // Whoever cancelled goes where everybody may be.
    if (typeof ctx.query["code"] !== "string") return redirect(ctx, "/account");
    const sessionUid = await redeemConsoleCode(parts.engine, { code: ctx.query["code"], verifier });
    const signedIn = await parts.browser.signedIn(ctx);
    if (sessionUid === undefined || signedIn?.sessionUid !== sessionUid) throw new AppError("interaction_gone");
    setCookie(ctx, "console", parts.csrf.issue(consoleBinding(signedIn)), FORM_SECONDS);
    redirect(ctx, pageOf(Buffer.from(to, "base64url").toString()));
  });
}

/** The administrator, or undefined when the answer is the way to sign in. Throws AppError console_closed for somebody without any right. */
export async function adminOrAsk(ctx: Context, parts: SignInParts): Promise<Admin | undefined> {
  const signedIn = await parts.browser.signedIn(ctx);
  const isIn = signedIn !== undefined && parts.csrf.verify(consoleBinding(signedIn), readCookie(ctx, "console"));
  if (!isIn) {
    redirect(ctx, `/admin/sign-in?to=${encodeURIComponent(pageOf(ctx.path))}`);
    return undefined;
  }
  const { id } = signedIn.user;
  const scopes = new Set(await parts.rightsOf({ kind: "user", id }));
  if (scopes.size === 0) throw new AppError("console_closed");
  const who = { kind: "user", id } as const;
  return {
    ...signedIn,
    caller: { ...who, scopes },
    by: { ...who, address: ctx.ip, requestId: requestIdOf(ctx) },
  };
}

/** True when the sign-in is of the last minutes. */
export function isFresh(admin: Admin): boolean {
  return now().getTime() - admin.since.getTime() < FRESH_SECONDS * 1000;
}

/** The way to sign in again, and back to this page. */
export function signInAgain(ctx: Context): string {
  return `/admin/sign-in?again=yes&to=${encodeURIComponent(pageOf(ctx.path))}`;
}

export function redirect(ctx: Context, path: string): void {
  ctx.status = 303;
  ctx.redirect(path);
}

function pageOf(wish: unknown): string {
  return typeof wish === "string" && wish.length <= PAGE_CHARS_MAX && PAGE.test(wish) ? wish : "/admin";
}

/** Whoever signs out of the account, or has their session ended, is out of the console, too. */
function consoleBinding({ sessionUid }: SignedIn): string {
  return `console:${sessionUid}`;
}
