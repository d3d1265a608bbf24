/** What every page of the account needs: who is signed in, forms that came from our own page, and the way to sign in again before a sensitive step. */
import type { Context } from "koa";
import type { Actor, RecordEvent, RecordedEvent } from "../audit/event.ts";
import type { Clients } from "../clients/client.ts";
import { now } from "../clock.ts";
import type { Consents } from "../consents/consent.ts";
import { AppError } from "../errors.ts";
import { type Form, readForm } from "../http/body.ts";
import { readCookie, setCookie } from "../http/cookies.ts";
import { requestIdOf } from "../http/request-id.ts";
import type { Limits } from "../limits/limit.ts";
import type { Received } from "../mail/transport.ts";
import type { Engine } from "../oidc/engine.ts";
import type { Browser, SignedIn } from "../oidc/signed-in.ts";
import { type Csrf, isSameOriginPost } from "../pages/csrf.ts";
import { languageLinks, languageOf } from "../pages/language.ts";
import type { Catalogues, Texts } from "../pages/texts.ts";
import type { Page, Views } from "../pages/views.ts";
import { randomText } from "../secrets.ts";
import type { Devices } from "../sessions/device.ts";
import type { Logouts } from "../sessions/logout.ts";
import type { Sessions } from "../sessions/session.ts";
import type { SignUps } from "../sign-ups/sign-up.ts";
import type { Deletions } from "../users/deletion.ts";
import type { EmailChanges } from "../users/email-change.ts";
import type { Recoveries } from "../users/recovery.ts";
import type { Users } from "../users/user.ts";

export interface AccountParts {
  readonly issuer: string;
  readonly browser: Browser;
  readonly engine: Engine;
  readonly users: Users;
  readonly clients: Clients;
  readonly consents: Consents;
  readonly sessions: Sessions;
  readonly devices: Devices;
  readonly logouts: Logouts;
  readonly signUps: SignUps;
  readonly recoveries: Recoveries;
  readonly emailChanges: EmailChanges;
  readonly deletions: Deletions;
  readonly limits: Limits;
  readonly csrf: Csrf;
  readonly views: Views;
  readonly catalogues: Catalogues;
  readonly signUpMode: "on" | "off" | "invitation";
  readonly isMailOn: boolean;
  /** Development without SMTP_URL: the mails of this process. */
  readonly mailbox: (() => readonly Received[]) | undefined;
  readonly changePassword: (userId: string, password: string, by: Actor) => Promise<void>;
  readonly withdrawConsent: (userId: string, clientId: string, by: Actor) => Promise<void>;
  readonly saveLanguage: (userId: string, language: string) => Promise<void>;
  readonly activityOf: (userId: string, limit: number) => Promise<readonly RecordedEvent[]>;
  readonly recordAlone: (event: Parameters<RecordEvent>[1]) => Promise<void>;
}

/** What changes who can get in wants a sign-in of the last five minutes (T-SESS-9). */
const FRESH_SECONDS = 300;
/** Links of mails; what answers their form is shown at the same address. */
const SECRET_ADDRESS = /^\/(recover|not-me|sign-up|account\/email\/confirm)\/[^/]{43}$/;
/** Longer than any field that could be right. */
const FIELD_BYTES_MAX = 4096;

/** The person, or the way to sign in: undefined means that the answer is given. `to` is a word of DESTINATIONS. */
export async function signedInOrAsk(ctx: Context, parts: AccountParts, to: string): Promise<SignedIn | undefined> {
  const signedIn = await parts.browser.signedIn(ctx);
  if (signedIn === undefined) redirect(ctx, `/account/sign-in?to=${to}`);
  return signedIn;
}

/** The same before a sensitive step: whoever signed in a while ago signs in again, with all that this takes. */
export async function freshOrAsk(ctx: Context, parts: AccountParts, to: string): Promise<SignedIn | undefined> {
  const signedIn = await signedInOrAsk(ctx, parts, to);
  if (signedIn === undefined || isFresh(signedIn)) return signedIn;
  redirect(ctx, `/account/sign-in?to=${to}&again=yes`);
  return undefined;
}

function isFresh({ since }: SignedIn): boolean {
  return now().getTime() - since.getTime() < FRESH_SECONDS * 1000;
}

/** A form of the account, sent from our own page by this very session. Throws AppError form_foreign. */
export async function readAccountForm(ctx: Context, parts: AccountParts, signedIn: SignedIn): Promise<Form> {
  return checkedForm(ctx, parts, accountBinding(signedIn));
}

/** A form that changes nothing when nobody is signed in: from our own pages all the same. */
export async function readIdleForm(ctx: Context, parts: AccountParts): Promise<void> {
  await checkedForm(ctx, parts);
}

/** A form of somebody who is not signed in: bound to a cookie that only this browser has. */
export async function readOpenForm(ctx: Context, parts: AccountParts): Promise<Form> {
  const binding = readCookie(ctx, "form");
  if (binding === "") throw new AppError("form_foreign");
  return checkedForm(ctx, parts, `form:${binding}`);
}

async function checkedForm(ctx: Context, parts: AccountParts, binding?: string): Promise<Form> {
  const form = await readForm(ctx);
  const headers = { origin: ctx.get("origin") || undefined, "sec-fetch-site": ctx.get("sec-fetch-site") || undefined };
  const isOurs = binding === undefined || parts.csrf.verify(binding, form.field("csrf"));
  if (!isSameOriginPost(headers, parts.issuer) || !isOurs) throw new AppError("form_foreign");
  for (const name of form.names) {
    if (Buffer.byteLength(form.field(name) ?? "") > FIELD_BYTES_MAX) throw new AppError("request_malformed");
  }
  return form;
}

export function accountToken(parts: AccountParts, signedIn: SignedIn): string {
  return parts.csrf.issue(accountBinding(signedIn));
}

export function openToken(ctx: Context, parts: AccountParts): string {
  let binding = readCookie(ctx, "form");
  if (!/^[A-Za-z0-9_-]{22}$/.test(binding)) {
    binding = randomText(16);
    setCookie(ctx, "form", binding);
  }
  return parts.csrf.issue(`form:${binding}`);
}

function accountBinding({ sessionUid }: SignedIn): string {
  return `account:${sessionUid}`;
}

export function showPage(ctx: Context, parts: AccountParts, page: Page, signedIn?: SignedIn): void {
  const texts = textsOf(ctx, parts, signedIn);
  parts.views.show(ctx, texts, {
    ...page,
    locals: {
      languages: languageLinks(ctx, parts.catalogues, texts),
      isSecretAddress: SECRET_ADDRESS.test(ctx.path),
      ...page.locals,
    },
  });
}

/** The person's own choice comes before the browser's. */
export function textsOf(ctx: Context, parts: AccountParts, signedIn?: SignedIn): Texts {
  return languageOf(ctx, parts.catalogues, signedIn?.user.language ?? signedIn?.user.claims.locale);
}

export function actorIn(ctx: Context, signedIn?: SignedIn): Actor {
  const from = { address: ctx.ip, requestId: requestIdOf(ctx) };
  return signedIn === undefined ? { kind: "anonymous", ...from } : { kind: "user", id: signedIn.user.id, ...from };
}

export function redirect(ctx: Context, path: string): void {
  ctx.status = 303;
  ctx.redirect(path);
}
