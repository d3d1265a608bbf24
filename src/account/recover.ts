/** A forgotten password: asking for a link, using it, and the link of every notice for whoever says "this was not me". */

import type Router from "@koa/router";
import type { Context } from "koa";
import { AppError } from "../errors.ts";
import { readCookie, setCookie } from "../http/cookies.ts";
import { addressSubject } from "../limits/address.ts";
import { mayMail } from "../limits/mail.ts";
import { DEVICE_SECONDS } from "../sessions/device.ts";
import { identifierOf, parseEmail } from "../users/email.ts";
import { PASSWORD_CHARS_MIN } from "../users/password.ts";
import { type AccountParts, actorIn, openToken, readOpenForm, redirect, showPage, textsOf } from "./page.ts";

/** An interaction's own id; it leads to a page that looks at its cookie itself. */
const UID = /^[A-Za-z0-9_-]{21,64}$/;

export function recoverRoutes(router: Router, parts: AccountParts): void {
  router.get("/recover", (ctx) => {
    if (!parts.isMailOn) throw new AppError("mail_off");
    showAsk(ctx, parts, { from: fromOf(ctx.query["from"]) });
  });
  router.post("/recover", (ctx) => ask(ctx, parts));
  router.get("/recover/sent", (ctx) => showPage(ctx, parts, { view: "account/recover-sent", locals: {} }));
  router.get("/recover/:token", async (ctx) => {
    const found = await parts.recoveries.find(tokenOf(ctx));
    if (found === undefined) throw new AppError("link_gone");
    showReset(ctx, parts, { email: found.user.email });
  });
  router.post("/recover/:token", (ctx) => reset(ctx, parts));
  router.get("/not-me/:token", async (ctx) => {
    if ((await parts.recoveries.findNotice(tokenOf(ctx))) === undefined) throw new AppError("link_gone");
    showPage(ctx, parts, {
      view: "account/not-me",
      locals: { csrf: openToken(ctx, parts), action: ctx.path },
    });
  });
  router.post("/not-me/:token", async (ctx) => {
    await readOpenForm(ctx, parts);
    await parts.recoveries.notMe(tokenOf(ctx), actorIn(ctx));
    showPage(ctx, parts, { view: "account/not-me-done", locals: {} });
  });
}

async function ask(ctx: Context, parts: AccountParts): Promise<void> {
  if (!parts.isMailOn) throw new AppError("mail_off");
  const form = await readOpenForm(ctx, parts);
  const [email, from] = [form.field("email") ?? "", fromOf(form.field("from"))];
  if (parseEmail(email) === undefined) return showAsk(ctx, parts, { from, email, error: "field.email.invalid" });
  if (await mayMail(parts.limits, { address: ctx.ip, identifier: identifierOf(email) })) {
    const language = textsOf(ctx, parts).language;
    await parts.recoveries.ask({ email, language, from }, actorIn(ctx));
  }
  redirect(ctx, "/recover/sent");
}

async function reset(ctx: Context, parts: AccountParts): Promise<void> {
  const form = await readOpenForm(ctx, parts);
  const found = await parts.recoveries.find(tokenOf(ctx));
  if (found === undefined) throw new AppError("link_gone");
  const password = form.field("password") ?? "";
  const fault = parts.users.passwordFault(password, found.user);
  if (fault !== undefined) return showReset(ctx, parts, { email: found.user.email, error: `field.password.${fault}` });
  try {
    await parts.recoveries.recover(tokenOf(ctx), password, actorIn(ctx));
  } catch (error) {
    if (!(error instanceof AppError && error.code === "user_password_refused")) throw error;
    return showReset(ctx, parts, { email: found.user.email, error: "field.password.breached" });
  }
  await noteDevice(ctx, parts, found.user.id);
  const uid = fromOf(found.from);
  const waiting = uid === undefined ? undefined : await parts.engine.current().Interaction.find(uid);
  showPage(ctx, parts, {
    view: "account/recover-done",
    locals: { continueUrl: waiting === undefined ? "/account" : `/interaction/${uid}` },
  });
}

/**
 * Whoever opened the link reads the person's mails: this browser gets its own lane in the limits, or guesses that go on elsewhere would keep the
 * person out with the new password, too (T-LOGIN-7). The notice of the change is told anyway.
 */
async function noteDevice(ctx: Context, parts: AccountParts, userId: string): Promise<void> {
  const device = { userId, token: readCookie(ctx, "device"), userAgent: ctx.get("user-agent") };
  const seen = await parts.devices.note({ ...device, network: addressSubject(ctx.ip) }, async () => undefined);
  setCookie(ctx, "device", seen.token, DEVICE_SECONDS);
}

function showAsk(
  ctx: Context,
  parts: AccountParts,
  page: { from: string | undefined; email?: string; error?: string },
): void {
  showPage(ctx, parts, {
    status: page.error === undefined ? 200 : 400,
    view: "account/recover",
    locals: {
      csrf: openToken(ctx, parts),
      from: page.from,
      email: page.email,
      error: page.error === undefined ? undefined : textsOf(ctx, parts).t(page.error),
    },
  });
}

function showReset(ctx: Context, parts: AccountParts, page: { email: string; error?: string }): void {
  const texts = textsOf(ctx, parts);
  showPage(ctx, parts, {
    status: page.error === undefined ? 200 : 400,
    view: "account/recover-reset",
    locals: {
      csrf: openToken(ctx, parts),
      action: ctx.path,
      email: page.email,
      minimum: PASSWORD_CHARS_MIN,
      error: page.error === undefined ? undefined : texts.t(page.error, { count: PASSWORD_CHARS_MIN }),
    },
  });
}

function fromOf(value: unknown): string | undefined {
  return typeof value === "string" && UID.test(value) ? value : undefined;
}

function tokenOf(ctx: Context): string {
  return ctx.path.split("/")[2] ?? "";
}
