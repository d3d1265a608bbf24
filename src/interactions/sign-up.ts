/** Signing up inside a sign-in: the form, then the way back into the very request once the address is proven. */
import { now } from "../clock.ts";
import { AppError } from "../errors.ts";
import { dropCookie, readCookie, setCookie } from "../http/cookies.ts";
import { mayMail } from "../limits/mail.ts";
import { SIGN_UP_SECONDS } from "../sign-ups/sign-up.ts";
import { isDisplayText } from "../text.ts";
import { identifierOf, parseEmail } from "../users/email.ts";
import { PASSWORD_CHARS_MIN } from "../users/password.ts";
import { NAME_CHARS_MAX } from "../users/schema.ts";
import { finishSignIn, isSignUpShown } from "./login.ts";
import { actorOf, type InteractionParts, readStepForm, type Step, showStep } from "./step.ts";

interface Typed {
  readonly name: string;
  readonly email: string;
}

interface Fault {
  readonly field: "name" | "email" | "password" | "terms";
  readonly words: string;
}

const FIELD_BYTES_MAX = 4096;
const PARAMETERS_KEPT_MAX = 40;

export async function showSignUp(
  step: Step,
  parts: InteractionParts,
  shown: { typed?: Typed; faults?: readonly Fault[]; error?: AppError } = {},
): Promise<void> {
  const { ctx, texts } = step;
  const invitation = readCookie(ctx, "invitation");
  if (!isSignUpShown(parts, invitation)) throw new AppError("sign_up_closed");
  const invited = invitation === "" ? undefined : await parts.signUps.findInvitation(invitation);
  if (invited === undefined && parts.signUp.mode === "invitation") throw new AppError("link_gone");
  const { error, faults = [], typed } = shown;
  if (error?.retryAfterSeconds !== undefined) ctx.set("Retry-After", String(error.retryAfterSeconds));
  const { termsUrl, privacyUrl } = parts.signUp;
  const hint = step.details.params["login_hint"];
  showStep(step, parts, {
    status: error?.status ?? (faults.length === 0 ? 200 : 400),
    view: "interactions/signup",
    locals: {
      name: typed?.name,
      email: typed?.email ?? (typeof hint === "string" && hint.length <= 254 ? hint : undefined),
      invited,
      errors: faults.map(({ field, words }) => ({ field, text: texts.t(words, { count: PASSWORD_CHARS_MIN }) })),
      error: error?.code,
      termsUrl,
      privacyUrl,
      minimum: PASSWORD_CHARS_MIN,
    },
  });
}

export async function signUp(step: Step, parts: InteractionParts): Promise<void> {
  const { ctx } = step;
  if (!isSignUpShown(parts, readCookie(ctx, "invitation"))) throw new AppError("sign_up_closed");
  const form = await readStepForm(step, parts);
  const given = (field: string): string => form.field(field) ?? "";
  const typed = { name: given("name").trim(), email: given("email") };
  const password = given("password");
  if (Object.values({ ...typed, password }).some((text) => Buffer.byteLength(text) > FIELD_BYTES_MAX))
    throw new AppError("request_malformed");
  const token = readCookie(ctx, "invitation");
  const invited = token === "" ? undefined : await parts.signUps.findInvitation(token);
  if (invited === undefined && parts.signUp.mode === "invitation") throw new AppError("link_gone");
  const wanted = { ...typed, email: invited ?? typed.email };
  const faults = faultsOf(parts, wanted, { password, isAccepted: given("terms") === "yes" });
  if (faults.length > 0) return showSignUp(step, parts, { typed: wanted, faults });
  try {
    if (invited === undefined) await beginSignUp(step, parts, { ...wanted, password });
    else await acceptInvitation(step, parts, { ...wanted, password, token });
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const words = { user_password_refused: "field.password.breached", user_email_taken: "field.email.taken" };
    if (error.code === "user_password_refused" || error.code === "user_email_taken") {
      const field = error.code === "user_email_taken" ? "email" : "password";
      return showSignUp(step, parts, { typed: wanted, faults: [{ field, words: words[error.code] }] });
    }
    if (error.code !== "hasher_busy" && error.code !== "login_throttled") throw error;
    return showSignUp(step, parts, { typed: wanted, error });
  }
}

/** Once the address is proven, the browser in which the sign-up began is signed in, in whatever request it stands now. */
export async function continueSignUp(step: Step, parts: InteractionParts): Promise<boolean> {
  const token = readCookie(step.ctx, "sign_up");
  if (token === "") return false;
  const atMs = now().getTime();
  const userId = await parts.signUps.use(token);
  if (userId === undefined) return false;
  dropCookie(step.ctx, "sign_up");
  const user = await parts.users.find(userId);
  if (user === undefined || user.isDisabled) return false;
  await finishSignIn(step, parts, { userId, remember: false, atMs });
  return true;
}

async function beginSignUp(step: Step, parts: InteractionParts, wanted: Typed & { password: string }): Promise<void> {
  const { ctx } = step;
  const isMailed = await mayMail(parts.limits, { address: ctx.ip, identifier: identifierOf(wanted.email) });
  const token = await parts.signUps.begin(
    {
      ...wanted,
      name: wanted.name === "" ? undefined : wanted.name,
      language: step.texts.language,
      terms: termsOf(parts),
      interactionUid: step.uid,
      request: requestOf(step),
    },
    actorOf(step),
    isMailed,
  );
  setCookie(ctx, "sign_up", token, SIGN_UP_SECONDS);
  ctx.status = 303;
  ctx.redirect("/signup/check");
}

async function acceptInvitation(
  step: Step,
  parts: InteractionParts,
  wanted: Typed & { password: string; token: string },
): Promise<void> {
  const atMs = now().getTime();
  const user = await parts.signUps.accept(
    wanted.token,
    {
      password: wanted.password,
      name: wanted.name === "" ? undefined : wanted.name,
      language: step.texts.language,
      terms: termsOf(parts),
    },
    actorOf(step),
  );
  dropCookie(step.ctx, "invitation");
  await finishSignIn(step, parts, { userId: user.id, remember: false, atMs });
}

/** Everything at once, in the order of the page. */
function faultsOf(
  parts: InteractionParts,
  typed: Typed,
  given: { password: string; isAccepted: boolean },
): readonly Fault[] {
  const faults: Fault[] = [];
  if (typed.name !== "" && (!isDisplayText(typed.name) || typed.name.length > NAME_CHARS_MAX))
    faults.push({ field: "name", words: "field.name.invalid" });
  if (parseEmail(typed.email) === undefined) faults.push({ field: "email", words: "field.email.invalid" });
  const claims = typed.name === "" ? {} : { name: typed.name };
  const fault = parts.users.passwordFault(given.password, { email: typed.email, claims });
  if (fault !== undefined) faults.push({ field: "password", words: `field.password.${fault}` });
  if (parts.signUp.termsUrl !== undefined && !given.isAccepted)
    faults.push({ field: "terms", words: "field.terms.missing" });
  return faults;
}

/** The addresses as they were shown. */
function termsOf(parts: InteractionParts): Record<string, string> | undefined {
  const { termsUrl, privacyUrl } = parts.signUp;
  if (termsUrl === undefined && privacyUrl === undefined) return undefined;
  return {
    ...(termsUrl === undefined ? {} : { terms: termsUrl }),
    ...(privacyUrl === undefined ? {} : { privacy: privacyUrl }),
  };
}

/** The authorization request, to be made again when this sign-in is over before the mail was read; it was checked, and will be again. */
function requestOf(step: Step): Record<string, string> {
  const { prompt: _asked, ...params } = step.details.params;
  const texts = Object.entries(params).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(texts.slice(0, PARAMETERS_KEPT_MAX));
}
