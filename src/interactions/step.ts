/** One step of a sign-in: the interaction that the browser's cookie names, checked against the address, and how it goes on. */
import type { Context } from "koa";
import type { InteractionResults } from "oidc-provider";
import type { Apis } from "../apis/api.ts";
import type { Actor, RecordEvent } from "../audit/event.ts";
import { type Appearance, appearanceOf } from "../clients/appearance.ts";
import type { Client, Clients } from "../clients/client.ts";
import type { Consents } from "../consents/consent.ts";
import { AppError } from "../errors.ts";
import { type Form, readForm } from "../http/body.ts";
import { allowFormTarget } from "../http/headers.ts";
import { requestIdOf } from "../http/request-id.ts";
import type { Limits } from "../limits/limit.ts";
import type { Metrics } from "../metrics.ts";
import { ACCOUNT_CLIENT_ID } from "../oidc/built-in-clients.ts";
import type { Engine } from "../oidc/engine.ts";
import { type Csrf, isSameOriginPost } from "../pages/csrf.ts";
import { languageLinks, languageOf } from "../pages/language.ts";
import type { Catalogues, Texts } from "../pages/texts.ts";
import type { Views } from "../pages/views.ts";
import type { Devices } from "../sessions/device.ts";
import type { SignUps } from "../sign-ups/sign-up.ts";
import type { Deletions } from "../users/deletion.ts";
import type { Letters } from "../users/letter.ts";
import type { User, Users } from "../users/user.ts";

export interface InteractionParts {
  readonly issuer: string;
  readonly engine: Engine;
  readonly users: Users;
  readonly clients: Clients;
  readonly apis: Apis;
  readonly consents: Consents;
  readonly limits: Limits;
  readonly csrf: Csrf;
  readonly views: Views;
  readonly catalogues: Catalogues;
  readonly metrics: Metrics;
  readonly devices: Devices;
  readonly signUps: SignUps;
  readonly deletions: Deletions;
  /** Tells people by mail what happened to their account. */
  readonly letters: Letters;
  readonly signUp: SignUpSettings;
  /** Whether people may stay signed in on a device. */
  readonly mayRemember: boolean;
  /** Whether a forgotten password can be recovered by mail. */
  readonly isMailOn: boolean;
  /** Records an event that has no change of its own beside it. */
  readonly recordAlone: (event: Parameters<RecordEvent>[1]) => Promise<void>;
}

export interface SignUpSettings {
  readonly mode: "on" | "off" | "invitation";
  readonly termsUrl: string | undefined;
  readonly privacyUrl: string | undefined;
}

export type Details = Awaited<ReturnType<ReturnType<Engine["current"]>["interactionDetails"]>>;

export interface Step {
  readonly ctx: Context;
  readonly uid: string;
  readonly details: Details;
  readonly client: Client;
  /** Absent when people sign in to their account here. */
  readonly app: Appearance | undefined;
  readonly texts: Texts;
  /** Who is signed in in this browser; absent when nobody is or the account is gone. */
  readonly user: User | undefined;
}

const UID = /^[A-Za-z0-9_-]{21,64}$/;

/** Reads the step that the browser is in. An expired, finished or foreign one is a page that says so, never another person's step. */
export async function openStep(ctx: Context, parts: InteractionParts): Promise<Step> {
  const uid = /^\/interaction\/([^/]+)/.exec(ctx.path)?.[1] ?? "";
  if (!UID.test(uid)) throw new AppError("interaction_gone");
  const details = await parts.engine
    .current()
    .interactionDetails(ctx.req, ctx.res)
    .catch((error: unknown) => {
      throw isSessionNotFound(error) ? new AppError("interaction_gone") : error;
    });
  // The library acts on whatever the cookie names (measured); the address must name the same.
  if (details.uid !== uid) throw new AppError("interaction_gone");
  const client = await parts.clients.find(String(details.params["client_id"]));
  if (client === undefined || client.isDisabled) throw new AppError("interaction_gone");
  const accountId = details.session?.accountId;
  const found = accountId === undefined ? undefined : await parts.users.find(accountId);
  const user = found?.isDisabled === true ? undefined : found;
  // What the app asks for in this request comes before what the person chose for their account, and that before the browser's.
  const wish = details.params["ui_locales"];
  const own = user?.language ?? user?.claims.locale;
  const texts = languageOf(ctx, parts.catalogues, typeof wish === "string" ? wish : own);
  allowFormTarget(ctx, String(details.params["redirect_uri"]));
  return {
    ctx,
    uid,
    details,
    client,
    app: client.id === ACCOUNT_CLIENT_ID ? undefined : appearanceOf(client),
    texts,
    user,
  };
}

/** The posted form of a step, sent from our own page of this very step. */
export async function readStepForm(
  step: Step,
  parts: InteractionParts,
  repeatable: readonly string[] = [],
): Promise<Form> {
  const { ctx } = step;
  const headers = { origin: ctx.get("origin") || undefined, "sec-fetch-site": ctx.get("sec-fetch-site") || undefined };
  const form = await readForm(ctx, repeatable);
  if (!isSameOriginPost(headers, parts.issuer) || !parts.csrf.verify(step.uid, form.field("csrf")))
    throw new AppError("form_foreign");
  return form;
}

export function showStep(
  step: Step,
  parts: InteractionParts,
  page: { status?: number; view: string; locals: Record<string, unknown> },
): void {
  const { ctx, texts } = step;
  parts.views.show(ctx, texts, {
    ...page,
    locals: {
      uid: step.uid,
      csrf: parts.csrf.issue(step.uid),
      app: step.app,
      languages: languageLinks(ctx, parts.catalogues, texts),
      ...page.locals,
    },
  });
}

/** Stores what this step gave and sends the browser back to the engine, which decides what is missing next. */
export async function finishStep(step: Step, parts: InteractionParts, result: InteractionResults): Promise<void> {
  const { ctx } = step;
  const returnTo = await parts.engine
    .current()
    .interactionResult(ctx.req, ctx.res, result, { mergeWithLastSubmission: true });
  ctx.status = 303;
  ctx.redirect(returnTo);
}

/** A second press of the same button: the answer was given, so the browser goes where the first press went. */
export function isAnswered(step: Step): boolean {
  const { result, lastSubmission } = step.details as Details & { result?: object; lastSubmission?: object };
  return result !== undefined && JSON.stringify(result) !== JSON.stringify(lastSubmission ?? {});
}

export function continueAnswered(step: Step): void {
  step.ctx.status = 303;
  step.ctx.redirect(step.details.returnTo);
}

export function actorOf(step: Step): Actor {
  const address = step.ctx.ip;
  const requestId = requestIdOf(step.ctx);
  return step.user === undefined
    ? { kind: "anonymous", address, requestId }
    : { kind: "user", id: step.user.id, address, requestId };
}

function isSessionNotFound(error: unknown): boolean {
  return error instanceof Error && error.name === "SessionNotFound";
}
