/** The person's own pages. Today: /account, who is signed in in this browser, and the way out. */
import Router from "@koa/router";
import type { Middleware } from "koa";
import type { RecordEvent } from "../audit/event.ts";
import { AppError } from "../errors.ts";
import { readForm } from "../http/body.ts";
import { requestIdOf } from "../http/request-id.ts";
import type { Browser } from "../oidc/signed-in.ts";
import { type Csrf, isSameOriginPost } from "../pages/csrf.ts";
import { languageLinks, languageOf } from "../pages/language.ts";
import type { Catalogues } from "../pages/texts.ts";
import type { Views } from "../pages/views.ts";

export interface AccountParts {
  readonly issuer: string;
  readonly browser: Browser;
  readonly csrf: Csrf;
  readonly views: Views;
  readonly catalogues: Catalogues;
  readonly recordAlone: (event: Parameters<RecordEvent>[1]) => Promise<void>;
}

export function accountRoutes(parts: AccountParts): Middleware {
  const router = new Router();
  router.get("/", (ctx) => {
    ctx.status = 303;
    ctx.redirect("/account");
  });
  router.get("/account", async (ctx) => {
    const signedIn = await parts.browser.signedIn(ctx);
    const texts = languageOf(ctx, parts.catalogues);
    const who =
      signedIn === undefined
        ? {}
        : {
            user: {
              name: signedIn.user.claims.name,
              email: signedIn.user.email,
              isEmailVerified: signedIn.user.isEmailVerified,
            },
            csrf: parts.csrf.issue(`account:${signedIn.sessionUid}`),
            signedInAt: signedIn.since,
          };
    const discoveryUrl = `${parts.issuer}/.well-known/openid-configuration`;
    const locals = {
      ...who,
      issuer: parts.issuer,
      discoveryUrl,
      languages: languageLinks(ctx, parts.catalogues, texts),
    };
    parts.views.show(ctx, texts, { view: "account/home", locals });
  });
  router.post("/account/sign-out", async (ctx) => {
    const form = await readForm(ctx);
    const headers = {
      origin: ctx.get("origin") || undefined,
      "sec-fetch-site": ctx.get("sec-fetch-site") || undefined,
    };
    const signedIn = await parts.browser.signedIn(ctx);
    const isOurs = signedIn === undefined || parts.csrf.verify(`account:${signedIn.sessionUid}`, form.field("csrf"));
    if (!isSameOriginPost(headers, parts.issuer) || !isOurs) throw new AppError("form_foreign");
    if (signedIn !== undefined) {
      await parts.browser.signOut(ctx);
      const actor = { kind: "user", id: signedIn.user.id, address: ctx.ip, requestId: requestIdOf(ctx) } as const;
      await parts.recordAlone({ name: "sign_out", actor, subject: { kind: "user", id: signedIn.user.id } });
    }
    ctx.status = 303;
    ctx.redirect("/account");
  });
  return router.routes() as Middleware;
}
