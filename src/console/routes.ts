/** The console: every page under /admin in one table, and /setup before there is anybody to sign in. */
import Router from "@koa/router";
import type { Middleware } from "koa";
import { AppError } from "../errors.ts";
import { activityPages } from "./activity.ts";
import { apiScopePages } from "./api-scopes.ts";
import { apiPages } from "./apis.ts";
import { auditPages } from "./audit.ts";
import { editPages } from "./client-edit.ts";
import { clientPages } from "./client-page.ts";
import { settingsPage } from "./client-settings.ts";
import { wizardPages } from "./client-wizard.ts";
import { clientList } from "./clients.ts";
import { failurePages } from "./failures.ts";
import { keyPages } from "./keys.ts";
import { mailPages } from "./mail.ts";
import { overviewPage } from "./overview.ts";
import { type ConsolePage, type ConsoleParts, readConsoleForm, visitPage } from "./page.ts";
import { rolePages } from "./roles.ts";
import { settingsPages } from "./settings.ts";
import { setupRoutes } from "./setup.ts";
import { adminOrAsk, redirect, signInRoutes } from "./sign-in.ts";
import { userAccessPages } from "./user-access.ts";
import { userPage } from "./user-page.ts";
import { userPages } from "./users.ts";

/** What the console can do. The order decides which of two addresses that both fit is meant: `/new` stands before `/:id`. */
export const CONSOLE_PAGES: readonly ConsolePage[] = [
  overviewPage,
  ...activityPages,
  ...[clientList, ...wizardPages, ...clientPages, ...editPages, settingsPage],
  ...rolePages,
  ...apiPages,
  ...apiScopePages,
  ...userPages,
  userPage,
  ...userAccessPages,
  ...auditPages,
  ...failurePages,
  ...mailPages,
  ...keyPages,
  ...settingsPages,
];

export function consoleRoutes(parts: ConsoleParts): Middleware {
  const router = new Router();
  setupRoutes(router, parts);
  signInRoutes(router, parts);
  router.post("/admin/sign-out", async (ctx) => {
    const admin = await adminOrAsk(ctx, parts);
    if (admin === undefined) return;
    await readConsoleForm(ctx, {}, parts, admin);
    await parts.signOut(ctx, admin);
    redirect(ctx, "/account");
  });
  for (const page of CONSOLE_PAGES) {
    router.get(page.path, (ctx) => visitPage(ctx, page, parts));
    if (page.submit !== undefined) router.post(page.path, (ctx) => visitPage(ctx, page, parts));
  }
  // Whoever is not signed in learns no more of what there is than anybody does.
  router.get(/^\/admin(\/|$)/, async (ctx) => {
    if ((await adminOrAsk(ctx, parts)) !== undefined) throw new AppError("page_not_found");
  });
  return router.routes() as Middleware;
}
