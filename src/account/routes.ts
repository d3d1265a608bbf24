/** The person's own pages: /account and what belongs to it, /signup, /recover, and in development the mailbox. */
import Router from "@koa/router";
import type { Middleware } from "koa";
import { AppError } from "../errors.ts";
import { accountSignInUrl } from "../oidc/built-in-clients.ts";
import { dataRoutes } from "./data.ts";
import { homeRoutes } from "./home.ts";
import { type AccountParts, actorIn, readAccountForm, readIdleForm, redirect, showPage } from "./page.ts";
import { profileRoutes } from "./profile.ts";
import { recoverRoutes } from "./recover.ts";
import { securityRoutes } from "./security.ts";
import { signUpRoutes } from "./signup.ts";

/** Where a sign-in to the account may lead: words of ours, never an address out of a request (T-REDIR-1). */
const DESTINATIONS: Readonly<Record<string, string>> = {
  home: "/account",
  profile: "/account/profile",
  activity: "/account/activity",
  password: "/account/password",
  email: "/account/email",
  delete: "/account/delete",
  data: "/account/data",
};

export function accountRoutes(parts: AccountParts): Middleware {
  const router = new Router();
  router.get("/", (ctx) => redirect(ctx, "/account"));
  router.get("/account/sign-in", async (ctx) => {
    const to = String(ctx.query["to"] ?? "home");
    const state = Object.hasOwn(DESTINATIONS, to) ? to : "home";
    const signedIn = ctx.query["again"] === "yes" ? await parts.browser.signedIn(ctx) : undefined;
    // Asked again, the person is the same; whoever wants to be another one signs out first.
    const again = signedIn === undefined ? {} : { prompt: "login", login_hint: signedIn.user.email };
    redirect(ctx, accountSignInUrl({ state, ...again }, parts.issuer));
  });
  // The session is there; the code that came along is nobody's.
  router.get("/account/return", (ctx) => {
    const state = String(ctx.query["state"] ?? "home");
    redirect(ctx, (Object.hasOwn(DESTINATIONS, state) ? DESTINATIONS[state] : undefined) ?? "/account");
  });
  homeRoutes(router, parts);
  profileRoutes(router, parts);
  securityRoutes(router, parts);
  dataRoutes(router, parts);
  signUpRoutes(router, parts);
  recoverRoutes(router, parts);
  router.get("/mailbox", (ctx) => {
    if (parts.mailbox === undefined) throw new AppError("page_not_found");
    const mails = parts.mailbox().map(({ to, subject, text, link, at }) => ({ to, subject, text, link, at }));
    showPage(ctx, parts, { view: "account/mailbox", locals: { mails } });
  });
  router.post("/account/sign-out", async (ctx) => {
    const signedIn = await parts.browser.signedIn(ctx);
    if (signedIn === undefined) {
      await readIdleForm(ctx, parts);
      return redirect(ctx, "/account");
    }
    await readAccountForm(ctx, parts, signedIn);
    await parts.browser.signOut(ctx);
    await parts.recordAlone({
      name: "sign_out",
      actor: actorIn(ctx, signedIn),
      subject: { kind: "user", id: signedIn.user.id },
    });
    redirect(ctx, "/account");
  });
  return router.routes() as Middleware;
}
