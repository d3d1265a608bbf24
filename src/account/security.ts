/** Password and address: the steps that decide who can get in. Both want a fresh sign-in, the password also the current one. */

import type Router from "@koa/router";
import type { Context } from "koa";
import { AppError } from "../errors.ts";
import { readCookie } from "../http/cookies.ts";
import { mayMail } from "../limits/mail.ts";
import type { SignedIn } from "../oidc/signed-in.ts";
import { identifierOf, parseEmail } from "../users/email.ts";
import { PASSWORD_CHARS_MIN } from "../users/password.ts";
import {
  type AccountParts,
  accountToken,
  actorIn,
  freshOrAsk,
  openToken,
  readAccountForm,
  readOpenForm,
  redirect,
  showPage,
  textsOf,
} from "./page.ts";

interface Faults {
  readonly current?: string;
  readonly password?: string;
}

export function securityRoutes(router: Router, parts: AccountParts): void {
  router.get("/account/password", async (ctx) => {
    const signedIn = await freshOrAsk(ctx, parts, "password");
    if (signedIn !== undefined) showPassword(ctx, parts, signedIn, {});
  });
  router.post("/account/password", async (ctx) => {
    const signedIn = await freshOrAsk(ctx, parts, "password");
    if (signedIn !== undefined) await changePassword(ctx, parts, signedIn);
  });
  router.get("/account/email", async (ctx) => {
    if (!parts.isMailOn) throw new AppError("mail_off");
    const signedIn = await freshOrAsk(ctx, parts, "email");
    if (signedIn !== undefined) showEmail(ctx, parts, signedIn, {});
  });
  router.post("/account/email", async (ctx) => {
    if (!parts.isMailOn) throw new AppError("mail_off");
    const signedIn = await freshOrAsk(ctx, parts, "email");
    if (signedIn !== undefined) await askEmail(ctx, parts, signedIn);
  });
  router.get("/account/email/confirm/:token", async (ctx) => {
    const found = await parts.emailChanges.find(tokenOf(ctx));
    if (found === undefined) throw new AppError("link_gone");
    showPage(ctx, parts, {
      view: "account/email-confirm",
      locals: { csrf: openToken(ctx, parts), action: ctx.path, email: found.email },
    });
  });
  router.post("/account/email/confirm/:token", async (ctx) => {
    await readOpenForm(ctx, parts);
    const user = await parts.emailChanges.confirm(tokenOf(ctx), actorIn(ctx));
    showPage(ctx, parts, { view: "account/email-done", locals: { email: user.email } });
  });
}

async function changePassword(ctx: Context, parts: AccountParts, signedIn: SignedIn): Promise<void> {
  const { user } = signedIn;
  const form = await readAccountForm(ctx, parts, signedIn);
  const [current, password] = [form.field("current") ?? "", form.field("password") ?? ""];
  const fault = parts.users.passwordFault(password, user);
  if (fault !== undefined) return showPassword(ctx, parts, signedIn, { password: `field.password.${fault}` });
  // The same counters as at the sign-in: a stolen session is no way to guess the password (T-LOGIN-8, T-PW-6).
  const device = await parts.devices.laneOf(user.id, readCookie(ctx, "device"));
  const attempt = await parts.limits.beginSignIn({
    identifier: identifierOf(user.email),
    userId: user.id,
    address: ctx.ip,
    device,
  });
  try {
    const isKnownDevice = device !== undefined;
    const result = await parts.users.authenticate({ email: user.email, password: current, isKnownDevice });
    if (!("user" in result)) {
      await attempt.fail();
      return showPassword(ctx, parts, signedIn, { current: "field.current.wrong" });
    }
    await attempt.succeed();
  } catch (error) {
    await attempt.abandon();
    throw error;
  }
  try {
    await parts.changePassword(user.id, password, actorIn(ctx, signedIn));
  } catch (error) {
    if (!(error instanceof AppError && error.code === "user_password_refused")) throw error;
    return showPassword(ctx, parts, signedIn, { password: "field.password.breached" });
  }
  // Every session has ended, this one too: the new password is used at once.
  redirect(ctx, "/account/sign-in?to=home");
}

async function askEmail(ctx: Context, parts: AccountParts, signedIn: SignedIn): Promise<void> {
  const form = await readAccountForm(ctx, parts, signedIn);
  const email = form.field("email") ?? "";
  const address = parseEmail(email);
  if (address === undefined) return showEmail(ctx, parts, signedIn, { email, error: "field.email.invalid" });
  if (await mayMail(parts.limits, { address: ctx.ip, identifier: identifierOf(email) }))
    await parts.emailChanges.ask(signedIn.user.id, email, actorIn(ctx, signedIn));
  showPage(ctx, parts, { view: "account/email-sent", locals: { email: address.address } }, signedIn);
}

function showPassword(ctx: Context, parts: AccountParts, signedIn: SignedIn, faults: Faults): void {
  const texts = textsOf(ctx, parts, signedIn);
  const said = (words: string | undefined): string | undefined =>
    words === undefined ? undefined : texts.t(words, { count: PASSWORD_CHARS_MIN });
  showPage(
    ctx,
    parts,
    {
      status: faults.current !== undefined ? 403 : faults.password !== undefined ? 400 : 200,
      view: "account/password",
      locals: {
        csrf: accountToken(parts, signedIn),
        email: signedIn.user.email,
        currentError: said(faults.current),
        passwordError: said(faults.password),
        minimum: PASSWORD_CHARS_MIN,
      },
    },
    signedIn,
  );
}

function showEmail(
  ctx: Context,
  parts: AccountParts,
  signedIn: SignedIn,
  page: { email?: string; error?: string },
): void {
  showPage(
    ctx,
    parts,
    {
      status: page.error === undefined ? 200 : 400,
      view: "account/email",
      locals: {
        csrf: accountToken(parts, signedIn),
        current: signedIn.user.email,
        email: page.email,
        error: page.error === undefined ? undefined : textsOf(ctx, parts, signedIn).t(page.error),
      },
    },
    signedIn,
  );
}

function tokenOf(ctx: Context): string {
  return ctx.path.split("/")[4] ?? "";
}
