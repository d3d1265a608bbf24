/** Pages of administration. Today: /setup, where the first owner is made. */
import Router from "@koa/router";
import type { Context, Middleware } from "koa";
import { AppError, type ErrorCode } from "../errors.ts";
import { readForm } from "../http/body.ts";
import { requestIdOf } from "../http/request-id.ts";
import { type Csrf, isSameOriginPost } from "../pages/csrf.ts";
import { languageLinks, languageOf } from "../pages/language.ts";
import type { Catalogues, Texts } from "../pages/texts.ts";
import type { Views } from "../pages/views.ts";
import type { Setup } from "../setup/setup.ts";
import { PASSWORD_CHARS_MIN } from "../users/password.ts";

export interface ConsoleParts {
  readonly issuer: string;
  readonly setup: Setup;
  readonly csrf: Csrf;
  readonly views: Views;
  readonly catalogues: Catalogues;
  /** How the command line is called here. */
  readonly command: string;
}

interface Typed {
  readonly name: string;
  readonly email: string;
}

type Field = "name" | "email" | "password";
const FIELD_OF: Partial<Record<ErrorCode, Field>> = {
  user_email_invalid: "email",
  user_email_taken: "email",
  user_password_refused: "password",
  user_invalid: "name",
};

export function consoleRoutes(parts: ConsoleParts): Middleware {
  const router = new Router();
  router.get("/setup", async (ctx) => {
    const token = typeof ctx.query["token"] === "string" ? ctx.query["token"] : "";
    if (!(await parts.setup.isLive(token))) throw new AppError("setup_link_gone");
    show(ctx, parts, { token, typed: { name: "", email: "" }, faults: [] });
  });
  router.post("/setup", (ctx) => createOwner(ctx, parts));
  return router.routes() as Middleware;
}

async function createOwner(ctx: Context, parts: ConsoleParts): Promise<void> {
  const form = await readForm(ctx);
  const token = form.field("token") ?? "";
  const headers = { origin: ctx.get("origin") || undefined, "sec-fetch-site": ctx.get("sec-fetch-site") || undefined };
  if (!isSameOriginPost(headers, parts.issuer) || !parts.csrf.verify(`setup:${token}`, form.field("csrf")))
    throw new AppError("form_foreign");
  if (!(await parts.setup.isLive(token))) throw new AppError("setup_link_gone");
  const typed = { name: (form.field("name") ?? "").trim(), email: form.field("email") ?? "" };
  const texts = languageOf(ctx, parts.catalogues);
  try {
    if (typed.name === "") throw new AppError("user_invalid");
    const input = {
      email: typed.email,
      password: form.field("password") ?? "",
      claims: { name: typed.name },
      isEmailVerified: false,
    };
    const user = await parts.setup.createOwner(token, input, { address: ctx.ip, requestId: requestIdOf(ctx) });
    parts.views.show(ctx, texts, {
      view: "console/setup-done",
      locals: { user: { name: user.claims.name, email: user.email }, command: parts.command },
    });
  } catch (error) {
    const field = error instanceof AppError ? FIELD_OF[error.code] : undefined;
    if (field === undefined) throw error;
    show(ctx, parts, { token, typed, faults: [{ field, text: words(texts, field, form.field("password") ?? "") }] });
  }
}

function show(
  ctx: Context,
  parts: ConsoleParts,
  page: { token: string; typed: Typed; faults: { field: Field; text: string }[] },
): void {
  const texts = languageOf(ctx, parts.catalogues);
  parts.views.show(ctx, texts, {
    status: page.faults.length === 0 ? 200 : 400,
    view: "console/setup",
    locals: {
      csrf: parts.csrf.issue(`setup:${page.token}`),
      token: page.token,
      name: page.typed.name,
      email: page.typed.email,
      errors: page.faults,
      languages:
        ctx.method === "GET"
          ? languageLinks(ctx, parts.catalogues, texts).map((link) => ({
              ...link,
              href: `${link.href}&token=${encodeURIComponent(page.token)}`,
            }))
          : [],
    },
  });
}

function words(texts: Texts, field: Field, password: string): string {
  if (field !== "password") return texts.t(`field.${field}.invalid`);
  const count = [...password].length;
  return count < PASSWORD_CHARS_MIN
    ? texts.t("field.password.short", { count: PASSWORD_CHARS_MIN })
    : texts.t("field.password.guessable");
}
