/** Signing in with a password: counted before anything is hashed, the same answer whatever was wrong. */

import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import { identifierOf } from "../users/email.ts";
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
      remember: shown.remember ?? false,
      error: error?.code,
      retrySeconds: error?.retryAfterSeconds,
      user: shownUser(step),
    },
  });
}

export async function signIn(step: Step, parts: InteractionParts): Promise<void> {
  const form = await readStepForm(step, parts);
  const email = form.field("email") ?? "";
  const password = form.field("password") ?? "";
  const remember = form.field("remember") === "yes";
  if (Buffer.byteLength(email) > FIELD_BYTES_MAX || Buffer.byteLength(password) > FIELD_BYTES_MAX)
    throw new AppError("request_malformed");
  // Before anything is read: who used a password while it was being changed signed in before the change.
  const atMs = now().getTime();
  const outcome = await tryPassword(step, parts, { email, password }).catch((error: unknown) => {
    if (error instanceof AppError && SHOWN_ON_PAGE.has(error.code)) return error;
    throw error;
  });
  if (outcome instanceof AppError) return showLogin(step, parts, { email, remember, error: outcome });
  await finishStep(step, parts, {
    login: { accountId: outcome, remember, amr: [PASSWORD_METHOD], ts: Math.floor(atMs / 1000), atMs },
    // Whoever signed in has chosen an account, too.
    ...(step.details.prompt.name === "select_account" ? { select_account: {} } : {}),
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
  const attempt = await parts.limits
    .beginSignIn({
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
    const result = await parts.users.authenticate(given);
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

function shownUser(step: Step): { name?: string | undefined; email: string } | undefined {
  return step.user === undefined ? undefined : { name: step.user.claims.name, email: step.user.email };
}
