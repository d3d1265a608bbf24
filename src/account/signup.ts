/** Signing up, outside of a sign-in: the way in, the code from the mail, and the link of the mail in whatever browser it opens. */
import type Router from "@koa/router";
import type { Context } from "koa";
import { AppError } from "../errors.ts";
import { readCookie, setCookie } from "../http/cookies.ts";
import { allowFormTarget } from "../http/headers.ts";
import { addressSubject } from "../limits/address.ts";
import { PROOFS_FROM_NETWORK } from "../limits/rules.ts";
import { accountSignInUrl } from "../oidc/built-in-clients.ts";
import type { SignUp } from "../sign-ups/sign-up.ts";
import { secondsOf } from "../users/link.ts";
import { type AccountParts, actorIn, openToken, readOpenForm, redirect, showPage } from "./page.ts";

const INVITATION = /^[A-Za-z0-9_-]{43}$/;

export function signUpRoutes(router: Router, parts: AccountParts): void {
  router.get("/signup", async (ctx) => {
    if (parts.signUpMode === "off") throw new AppError("sign_up_closed");
    const { invitation } = ctx.query;
    if (typeof invitation === "string") {
      const isLive = INVITATION.test(invitation) && (await parts.signUps.findInvitation(invitation)) !== undefined;
      if (!isLive) throw new AppError("link_gone");
      // Kept by the browser and out of every address from here on; it is used up by the form alone.
      setCookie(ctx, "invitation", invitation, secondsOf("invite"));
    } else if (parts.signUpMode === "invitation" && readCookie(ctx, "invitation") === "") {
      throw new AppError("sign_up_closed");
    }
    redirect(ctx, accountSignInUrl({ prompt: "create", state: "home" }, parts.issuer));
  });
  router.get("/signup/check", async (ctx) => {
    const signUp = await ownSignUp(ctx, parts);
    if (signUp.isProven) return showContinue(ctx, parts, signUp);
    showCode(ctx, parts, signUp, undefined);
  });
  router.post("/signup/check", async (ctx) => {
    const form = await readOpenForm(ctx, parts);
    const signUp = await ownSignUp(ctx, parts);
    await countProof(ctx, parts);
    const proof = await parts.signUps.proveByCode(readCookie(ctx, "sign_up"), form.field("code") ?? "", actorIn(ctx));
    if (proof === "gone") throw new AppError("link_gone");
    if (proof === "proven") return goOn(ctx, parts, signUp);
    showCode(ctx, parts, signUp, proof);
  });
  router.post("/signup/continue", async (ctx) => {
    await readOpenForm(ctx, parts);
    const signUp = await ownSignUp(ctx, parts);
    // Proven elsewhere meanwhile, or not yet: the page says which.
    if (!signUp.isProven) return redirect(ctx, "/signup/check");
    await goOn(ctx, parts, signUp);
  });
  router.get("/sign-up/:token", async (ctx) => {
    const found = await parts.signUps.findByLink(tokenOf(ctx), readCookie(ctx, "sign_up"));
    if (found === undefined) throw new AppError("link_gone");
    showLink(ctx, parts, { signUp: found, isOwn: found.isOwn, error: undefined });
  });
  router.post("/sign-up/:token", (ctx) => proveByLink(ctx, parts));
}

async function proveByLink(ctx: Context, parts: AccountParts): Promise<void> {
  const form = await readOpenForm(ctx, parts);
  const [token, browserToken] = [tokenOf(ctx), readCookie(ctx, "sign_up")];
  const found = await parts.signUps.findByLink(token, browserToken);
  if (found === undefined) throw new AppError("link_gone");
  await countProof(ctx, parts);
  const password = form.field("password") ?? "";
  const proof = await parts.signUps.proveByLink({ token, browserToken, password }, actorIn(ctx));
  if (proof === "gone") throw new AppError("link_gone");
  if (proof !== "proven") return showLink(ctx, parts, { signUp: found, isOwn: found.isOwn, error: proof });
  if (found.isOwn) return goOn(ctx, parts, found);
  // No session comes of a link that opened elsewhere (T-MAIL-6); the request can be begun again here.
  showPage(ctx, parts, {
    view: "account/signup-done",
    locals: { email: found.email, continueUrl: requestUrl(found, parts), appName: await appName(found, parts) },
  });
}

/** Back into the sign-in if it still waits, else the same request anew: either finds that this browser has proven itself. */
async function goOn(ctx: Context, parts: AccountParts, signUp: SignUp): Promise<void> {
  const { interactionUid } = signUp;
  const waiting =
    interactionUid === undefined ? undefined : await parts.engine.current().Interaction.find(interactionUid);
  redirect(ctx, waiting === undefined ? requestUrl(signUp, parts) : `/interaction/${interactionUid}`);
}

function requestUrl({ request }: SignUp, parts: AccountParts): string {
  if (request === undefined) return accountSignInUrl({ state: "home" }, parts.issuer);
  return `/authorize?${new URLSearchParams(request).toString()}`;
}

async function ownSignUp(ctx: Context, parts: AccountParts): Promise<SignUp> {
  const signUp = await parts.signUps.find(readCookie(ctx, "sign_up"));
  if (signUp === undefined || signUp.isUsed) throw new AppError("link_gone");
  return signUp;
}

/** Chromium applies form-action to the whole chain, which may end at the app. */
function letThrough(ctx: Context, signUp: SignUp): void {
  const target = signUp.request?.["redirect_uri"];
  if (target !== undefined) allowFormTarget(ctx, target);
}

function showCode(ctx: Context, parts: AccountParts, signUp: SignUp, error: "wrong" | "over" | undefined): void {
  letThrough(ctx, signUp);
  const again = signUp.interactionUid === undefined ? "/signup" : `/interaction/${signUp.interactionUid}/signup`;
  showPage(ctx, parts, {
    status: error === undefined ? 200 : error === "over" ? 429 : 400,
    view: "account/signup-check",
    locals: { csrf: openToken(ctx, parts), email: signUp.email, error, againUrl: again },
  });
}

async function showContinue(ctx: Context, parts: AccountParts, signUp: SignUp): Promise<void> {
  letThrough(ctx, signUp);
  showPage(ctx, parts, {
    view: "account/signup-continue",
    locals: { csrf: openToken(ctx, parts), email: signUp.email, appName: await appName(signUp, parts) },
  });
}

function showLink(
  ctx: Context,
  parts: AccountParts,
  page: { signUp: SignUp; isOwn: boolean; error: "wrong" | "over" | undefined },
): void {
  letThrough(ctx, page.signUp);
  showPage(ctx, parts, {
    status: page.error === undefined ? 200 : page.error === "over" ? 429 : 401,
    view: "account/signup-link",
    locals: {
      csrf: openToken(ctx, parts),
      action: ctx.path,
      email: page.signUp.email,
      isOwn: page.isOwn || page.signUp.isProven,
      error: page.error,
    },
  });
}

async function appName({ request }: SignUp, parts: AccountParts): Promise<string | undefined> {
  const id = request?.["client_id"];
  return id === undefined ? undefined : (await parts.clients.find(id))?.name;
}

async function countProof(ctx: Context, parts: AccountParts): Promise<void> {
  const wait = await parts.limits.hit(PROOFS_FROM_NETWORK, addressSubject(ctx.ip));
  if (wait !== undefined) throw new AppError("login_throttled", undefined, wait);
}

function tokenOf(ctx: Context): string {
  return ctx.path.split("/")[2] ?? "";
}
