/** Pages of a sign-in: /interaction/:uid shows the step that the engine asks for, its forms answer it. */
import Router from "@koa/router";
import type { Middleware } from "koa";
import { AppError } from "../errors.ts";
import { decide, showConsent } from "./consent.ts";
import { showLogin, signIn } from "./login.ts";
import { continueSignUp, showSignUp, signUp } from "./sign-up.ts";
import {
  continueAnswered,
  finishStep,
  type InteractionParts,
  isAnswered,
  openStep,
  readStepForm,
  type Step,
  showStep,
} from "./step.ts";

/** `?account=other` shows the sign-in form where somebody is signed in already. */
const OTHER_ACCOUNT = "other";

export function interactionRoutes(parts: InteractionParts): Middleware {
  const router = new Router({ prefix: "/interaction/:uid" });
  router.get("/", async (ctx) => {
    const step = await openStep(ctx, parts);
    if (isAnswered(step)) return continueAnswered(step);
    if (ctx.query["account"] === OTHER_ACCOUNT) return showLogin(step, parts);
    await show(step, parts);
  });
  router.post("/login", answering(parts, "any", signIn));
  router.get("/signup", async (ctx) => {
    const step = await openStep(ctx, parts);
    if (isAnswered(step)) return continueAnswered(step);
    await showSignUp(step, parts);
  });
  router.post("/signup", answering(parts, "any", signUp));
  router.post("/consent", answering(parts, "consent", decide));
  router.post(
    "/select",
    answering(parts, "select_account", async (step) => {
      await readStepForm(step, parts);
      await finishStep(step, parts, { select_account: {} });
    }),
  );
  router.post(
    "/switch",
    answering(parts, "any", async (step) => {
      await readStepForm(step, parts);
      step.ctx.status = 303;
      step.ctx.redirect(`/interaction/${step.uid}?account=${OTHER_ACCOUNT}`);
    }),
  );
  router.post(
    "/abort",
    answering(parts, "any", async (step) => {
      await readStepForm(step, parts);
      await finishStep(step, parts, { error: "access_denied", error_description: "the person cancelled the sign-in" });
    }),
  );
  return router.routes() as Middleware;
}

async function show(step: Step, parts: InteractionParts): Promise<void> {
  switch (step.details.prompt.name) {
    case "login":
      return (await continueSignUp(step, parts)) ? undefined : showLogin(step, parts);
    case "create":
      return (await continueSignUp(step, parts)) ? undefined : showSignUp(step, parts);
    case "consent":
      return step.user === undefined ? showLogin(step, parts) : showConsent(step, parts);
    case "select_account":
      if (step.user === undefined) return showLogin(step, parts);
      return showStep(step, parts, {
        view: "interactions/select-account",
        locals: { user: { name: step.user.claims.name, email: step.user.email } },
      });
    default:
      throw new AppError("interaction_gone", `no page for the prompt ${step.details.prompt.name}`);
  }
}

/** A form answers the step it belongs to. Signing in is possible in every step, since another account can be chosen in each. */
function answering(
  parts: InteractionParts,
  prompt: "consent" | "select_account" | "any",
  handle: (step: Step, parts: InteractionParts) => Promise<void>,
): Middleware {
  return async (ctx) => {
    const step = await openStep(ctx, parts);
    if (isAnswered(step)) return continueAnswered(step);
    const isTheirs = prompt === "any" || step.details.prompt.name === prompt;
    if (!isTheirs) throw new AppError("interaction_gone", "the form belongs to another step");
    await handle(step, parts);
  };
}
