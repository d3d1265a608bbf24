/** Signing in with a password: counted before anything is hashed, the same answer whatever was wrong. */

import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import { readCookie, setCookie } from "../http/cookies.ts";
import { addressSubject } from "../limits/address.ts";
import { ACR_ONE_FACTOR } from "../oidc/claims.ts";
import { deviceName } from "../pages/device-name.ts";
import { DEVICE_SECONDS } from "../sessions/device.ts";
import { identifierOf } from "../users/email.ts";
import { sendNotice } from "../users/letter.ts";
import { actorOf, finishStep, type InteractionParts, readStepForm, type Step, showStep } from "./step.ts";

/** RFC 8176: how the person was recognised. */
const PASSWORD_METHOD = "pwd";
/** Longer than any password or address that could be right; the field itself is cut off there. */
const FIELD_BYTES_MAX = 4096;
const SHOWN_ON_PAGE = new Set(["login_failed", "login_throttled", "hasher_busy"]);

export function showLogin(
  step: Step,
  parts: InteractionParts,
  shown: { email?: string; remember?: boolean; error?: AppError } = {},
): void {
  const hint = step.details.params["login_hint"];
  const error = shown.error;
  if (error?.retryAfterSeconds !== undefined) step.ctx.set("Retry-After", String(error.retryAfterSeconds));
  showStep(step, parts, {
    status: error?.status ?? 200,
    view: "interactions/login",
    locals: {
      email: shown.email ?? (typeof hint === "string" && hint.length <= 254 ? hint : undefined),
      remember: parts.mayRemember ? (shown.remember ?? false) : undefined,
      error: error?.code,
      retrySeconds: error?.retryAfterSeconds,
      user: shownUser(step),
      signUpUrl: isSignUpShown(parts, readCookie(step.ctx, "invitation"))
        ? `/interaction/${step.uid}/signup`
        : undefined,
      recoverUrl: parts.isMailOn ? `/recover?from=${step.uid}` : undefined,
    },
  });
}

export async function signIn(step: Step, parts: InteractionParts): Promise<void> {
  const form = await readStepForm(step, parts);
  const email = form.field("email") ?? "";
  const password = form.field("password") ?? "";
  const remember = parts.mayRemember && form.field("remember") === "yes";
  if (Buffer.byteLength(email) > FIELD_BYTES_MAX || Buffer.byteLength(password) > FIELD_BYTES_MAX)
    throw new AppError("request_malformed");
  // Before anything is read: who used a password while it was being changed signed in before the change.
  const atMs = now().getTime();
  const outcome = await tryPassword(step, parts, { email, password }).catch((error: unknown) => {
    if (error instanceof AppError && SHOWN_ON_PAGE.has(error.code)) return error;
    throw error;
  });
  if (outcome instanceof AppError) return showLogin(step, parts, { email, remember, error: outcome });
  await finishSignIn(step, parts, { userId: outcome, remember, atMs });
}

/** The way to the sign-up page: open to all, or to whoever holds an invitation. */
export function isSignUpShown(parts: InteractionParts, invitation: string): boolean {
  return parts.signUp.mode === "on" || (parts.signUp.mode === "invitation" && invitation !== "");
}

/** Somebody has proven who they are: their device is noted, a deletion that waits is off, and the engine goes on. */
export async function finishSignIn(
  step: Step,
  parts: InteractionParts,
  proven: { readonly userId: string; readonly remember: boolean; readonly atMs: number },
): Promise<void> {
  const { userId, remember, atMs } = proven;
  await noteDevice(step, parts, userId);
  await parts.deletions.cancel(userId, { ...actorOf(step), kind: "user", id: userId });
  const { name } = step.details.prompt;
  await finishStep(step, parts, {
    login: {
      accountId: userId,
      remember,
      acr: ACR_ONE_FACTOR,
      amr: [PASSWORD_METHOD],
      ts: Math.floor(atMs / 1000),
      atMs,
    },
    // Whoever signed in has chosen an account, too, and needs no new one.
    ...(name === "select_account" || name === "create" ? { [name]: {} } : {}),
  });
}

async function noteDevice(step: Step, parts: InteractionParts, userId: string): Promise<void> {
  const { ctx } = step;
  const user = await parts.users.find(userId);
  if (user === undefined) return;
  const userAgent = ctx.get("user-agent");
  const network = addressSubject(ctx.ip);
  const actor = { ...actorOf(step), kind: "user", id: userId } as const;
  const device = { userId, token: readCookie(ctx, "device"), userAgent, network };
  const seen = await parts.devices.note(device, (tx) =>
    sendNotice(tx, parts.letters, {
      template: "new_device",
      reader: user,
      values: { ...deviceValue(userAgent), network, app: step.app?.name ?? step.client.name },
      language: step.texts.language,
    }),
  );
  setCookie(ctx, "device", seen.token, DEVICE_SECONDS);
  if (!seen.isElsewhere) return;
  const kind = seen.isNew ? "new_device" : "new_network";
  parts.metrics.unusual.inc({ kind });
  await parts.recordAlone({
    name: "sign_in.unusual",
    actor,
    subject: { kind: "user", id: userId },
    data: { kind },
  });
}

async function tryPassword(
  step: Step,
  parts: InteractionParts,
  given: { email: string; password: string },
): Promise<string> {
  const { ctx } = step;
  const actor = { kind: "anonymous", address: ctx.ip, requestId: actorOf(step).requestId } as const;
  const about = { kind: "client", id: step.client.id } as const;
  const known = await parts.users.findByEmail(given.email);
  const device = known === undefined ? undefined : await parts.devices.laneOf(known.id, readCookie(ctx, "device"));
  const attempt = await parts.limits
    .beginSignIn({
      device,
      identifier: identifierOf(given.email),
      address: ctx.ip,
      ...(known === undefined ? {} : { userId: known.id }),
    })
    .catch(async (error: unknown) => {
      if (error instanceof AppError && error.code === "login_throttled") {
        parts.metrics.signIns.inc({ result: "throttled" });
        await parts.recordAlone({
          name: "sign_in.throttled",
          actor,
          subject: known === undefined ? about : { kind: "user", id: known.id },
        });
      }
      throw error;
    });
  try {
    const result = await parts.users.authenticate({ ...given, isKnownDevice: device !== undefined });
    if ("user" in result) {
      await attempt.succeed();
      parts.metrics.signIns.inc({ result: "succeeded" });
      const user = { kind: "user", id: result.user.id } as const;
      await parts.recordAlone({
        name: "sign_in.succeeded",
        actor: { ...actor, ...user },
        subject: user,
        data: { client_id: step.client.id },
      });
      return result.user.id;
    }
    await attempt.fail();
    parts.metrics.signIns.inc({ result: "failed" });
    const subject = result.userId === undefined ? about : ({ kind: "user", id: result.userId } as const);
    await parts.recordAlone({ name: "sign_in.failed", actor, subject, data: { client_id: step.client.id } });
    throw new AppError("login_failed");
  } catch (error) {
    if (!(error instanceof AppError && error.code === "login_failed")) await attempt.abandon();
    throw error;
  }
}

/** A program that says nothing of itself has no line in the mail. */
function deviceValue(userAgent: string): { device?: string } {
  const device = deviceName(userAgent);
  return device === undefined ? {} : { device };
}

function shownUser(step: Step): { name?: string | undefined; email: string } | undefined {
  return step.user === undefined ? undefined : { name: step.user.claims.name, email: step.user.email };
}
