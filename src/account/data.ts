/** One's own data: taking it along as one document, and deleting the account after a wait. */
import type Router from "@koa/router";
import type { Context } from "koa";
import { AppError } from "../errors.ts";
import type { SignedIn } from "../oidc/signed-in.ts";
import { DELETION_DAYS } from "../users/deletion.ts";
import { connectedApps } from "./home.ts";
import { type AccountParts, accountToken, actorIn, freshOrAsk, readAccountForm, showPage, textsOf } from "./page.ts";

const EVENTS_MAX = 10_000;

export function dataRoutes(router: Router, parts: AccountParts): void {
  router.get("/account/data", async (ctx) => {
    const signedIn = await freshOrAsk(ctx, parts, "data");
    if (signedIn === undefined) return;
    ctx.type = "application/json; charset=utf-8";
    ctx.set("Content-Disposition", 'attachment; filename="account.json"');
    ctx.body = `${JSON.stringify(await everythingAbout(parts, signedIn), null, 2)}\n`;
  });
  router.get("/account/delete", async (ctx) => {
    const signedIn = await freshOrAsk(ctx, parts, "delete");
    if (signedIn !== undefined) showDelete(ctx, parts, signedIn, {});
  });
  router.post("/account/delete", async (ctx) => {
    const signedIn = await freshOrAsk(ctx, parts, "delete");
    if (signedIn !== undefined) await askDeletion(ctx, parts, signedIn);
  });
}

/** Names as in the REST API and the standards; no hash and nothing that opens anything. */
async function everythingAbout(parts: AccountParts, { user }: SignedIn): Promise<Record<string, unknown>> {
  const [apps, sessions, devices, events] = await Promise.all([
    connectedApps(parts, user.id),
    parts.sessions.list({ userId: user.id }),
    parts.devices.list(user.id),
    parts.activityOf(user.id, EVENTS_MAX),
  ]);
  return {
    issuer: parts.issuer,
    sub: user.id,
    email: user.email,
    email_verified: user.isEmailVerified,
    ...user.claims,
    language: user.language,
    // What was accepted at sign-up, by its address, and when.
    accepted_terms: user.acceptedTerms,
    created_at: user.createdAt,
    updated_at: user.updatedAt,
    apps: apps.map((app) => ({
      client_id: app.clientId,
      name: app.name,
      scopes: app.groups,
      since: app.since,
      last_sign_in: app.usedAt,
    })),
    sessions: sessions.map(({ userAgent, network, signedInAt, seenAt }) => ({
      user_agent: userAgent,
      network,
      signed_in_at: signedInAt,
      seen_at: seenAt,
    })),
    devices: devices.map(({ userAgent, network, createdAt, seenAt }) => ({
      user_agent: userAgent,
      network,
      created_at: createdAt,
      seen_at: seenAt,
    })),
    activity: events.map(({ name, at, actor, data }) => ({ name, at, address: actor.address, data })),
  };
}

async function askDeletion(ctx: Context, parts: AccountParts, signedIn: SignedIn): Promise<void> {
  const form = await readAccountForm(ctx, parts, signedIn);
  // Typed out, so that no slip of a finger deletes an account.
  if ((form.field("email") ?? "").trim().toLowerCase() !== signedIn.user.email.toLowerCase())
    return showDelete(ctx, parts, signedIn, { error: "delete.mismatch" });
  try {
    const deleteAt = await parts.deletions.ask(signedIn.user.id, actorIn(ctx, signedIn));
    showPage(ctx, parts, { view: "account/delete-asked", locals: { deleteAt } }, signedIn);
  } catch (error) {
    if (!(error instanceof AppError && error.code === "user_last_owner")) throw error;
    showDelete(ctx, parts, signedIn, { error: "delete.last_owner" });
  }
}

function showDelete(ctx: Context, parts: AccountParts, signedIn: SignedIn, page: { error?: string }): void {
  showPage(
    ctx,
    parts,
    {
      status: page.error === undefined ? 200 : 400,
      view: "account/delete",
      locals: {
        csrf: accountToken(parts, signedIn),
        email: signedIn.user.email,
        days: DELETION_DAYS,
        error: page.error === undefined ? undefined : textsOf(ctx, parts, signedIn).t(page.error),
      },
    },
    signedIn,
  );
}
