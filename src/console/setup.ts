/** /setup: where the first owner is made, by whoever holds the link that the start printed. */
import type Router from "@koa/router";
import type { Context } from "koa";
import { AppError } from "../errors.ts";
import { readForm } from "../http/body.ts";
import { requestIdOf } from "../http/request-id.ts";
import { type Csrf, isSameOriginPost } from "../pages/csrf.ts";
import { languageLinks, languageOf } from "../pages/language.ts";
import type { Catalogues } from "../pages/texts.ts";
import type { Views } from "../pages/views.ts";
import type { Setup } from "../setup/setup.ts";
import { isDisplayText } from "../text.ts";
import { parseEmail } from "../users/email.ts";
import { PASSWORD_CHARS_MIN } from "../users/password.ts";
import { NAME_CHARS_MAX } from "../users/schema.ts";
import type { Users } from "../users/user.ts";

export interface SetupParts {
  readonly issuer: string;
  readonly setup: Setup;
  readonly users: Pick<Users, "passwordFault">;
  readonly csrf: Csrf;
  readonly views: Views;
  readonly catalogues: Catalogues;
}

interface Typed {
  readonly name: string;
  readonly email: string;
}

type Field = "name" | "email" | "password";
/** A field, and the key of the words that say what it needs. */
interface Fault {
  readonly field: Field;
  readonly words: string;
}

export function setupRoutes(router: Router, parts: SetupParts): void {
  router.get("/setup", async (ctx) => {
    const token = typeof ctx.query["token"] === "string" ? ctx.query["token"] : "";
    if (!(await parts.setup.isLive(token))) throw new AppError("setup_link_gone");
    show(ctx, parts, { token, typed: { name: "", email: "" }, faults: [] });
  });
  router.post("/setup", (ctx) => createOwner(ctx, parts));
}

async function createOwner(ctx: Context, parts: SetupParts): Promise<void> {
  const form = await readForm(ctx);
  const token = form.field("token") ?? "";
  const headers = { origin: ctx.get("origin") || undefined, "sec-fetch-site": ctx.get("sec-fetch-site") || undefined };
  if (!isSameOriginPost(headers, parts.issuer) || !parts.csrf.verify(`setup:${token}`, form.field("csrf")))
    throw new AppError("form_foreign");
  if (!(await parts.setup.isLive(token))) throw new AppError("setup_link_gone");
  const typed = { name: (form.field("name") ?? "").trim(), email: form.field("email") ?? "" };
  const password = form.field("password") ?? "";
  const faults = faultsOf(parts, typed, password);
  if (faults.length > 0) return show(ctx, parts, { token, typed, faults });
  const input = { email: typed.email, password, claims: { name: typed.name }, isEmailVerified: false };
  try {
    const user = await parts.setup.createOwner(token, input, { address: ctx.ip, requestId: requestIdOf(ctx) });
    parts.views.show(ctx, languageOf(ctx, parts.catalogues), {
      view: "console/setup-done",
      locals: { user: { name: user.claims.name, email: user.email } },
    });
  } catch (error) {
    const code = error instanceof AppError ? error.code : undefined;
    if (code === "user_email_taken")
      return show(ctx, parts, { token, typed, faults: [{ field: "email", words: "field.email.taken" }] });
    // Everything else was asked before; the list of stolen passwords is asked last.
    if (code === "user_password_refused")
      return show(ctx, parts, { token, typed, faults: [{ field: "password", words: "field.password.breached" }] });
    throw error;
  }
}

/** Everything at once, in the order of the page: nobody mends a form field by field. */
function faultsOf({ users }: SetupParts, typed: Typed, password: string): Fault[] {
  const faults: Fault[] = [];
  if (!isDisplayText(typed.name) || typed.name.length > NAME_CHARS_MAX)
    faults.push({ field: "name", words: "field.name.invalid" });
  if (parseEmail(typed.email) === undefined) faults.push({ field: "email", words: "field.email.invalid" });
  const fault = users.passwordFault(password, { email: typed.email, claims: { name: typed.name } });
  if (fault !== undefined) faults.push({ field: "password", words: `field.password.${fault}` });
  return faults;
}

function show(ctx: Context, parts: SetupParts, page: { token: string; typed: Typed; faults: readonly Fault[] }): void {
  const texts = languageOf(ctx, parts.catalogues);
  parts.views.show(ctx, texts, {
    status: page.faults.length === 0 ? 200 : 400,
    view: "console/setup",
    locals: {
      csrf: parts.csrf.issue(`setup:${page.token}`),
      token: page.token,
      name: page.typed.name,
      email: page.typed.email,
      errors: page.faults.map(({ field, words }) => ({ field, text: texts.t(words, { count: PASSWORD_CHARS_MIN }) })),
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
