/** The front page of the account: how it is protected, where it is signed in, which apps have access, what happened; each row one act. */
import type Router from "@koa/router";
import type { Context } from "koa";
import type { RecordedEvent } from "../audit/event.ts";
import { appearanceOf } from "../clients/appearance.ts";
import { AppError } from "../errors.ts";
import { isBuiltIn } from "../oidc/built-in-clients.ts";
import type { SignedIn } from "../oidc/signed-in.ts";
import { deviceName } from "../pages/device-name.ts";
import { idOf } from "../sessions/session.ts";
import {
  type AccountParts,
  accountToken,
  actorIn,
  readAccountForm,
  redirect,
  showPage,
  signedInOrAsk,
} from "./page.ts";

const ACTIVITY_SHOWN = 12;
const ACTIVITY_MAX = 100;
const LOGOUTS_SHOWN = 10;
/** What the page may be asked to say above its first section. */
const DONE = ["profile", "session", "app"];

export interface ConnectedApp {
  readonly clientId: string;
  readonly name: string;
  readonly host: string;
  readonly groups: readonly { readonly resource: string; readonly scopes: readonly string[] }[];
  readonly since: Date;
  readonly usedAt: Date | undefined;
}

export function homeRoutes(router: Router, parts: AccountParts): void {
  router.get("/account", async (ctx) => {
    const signedIn = await parts.browser.signedIn(ctx);
    if (signedIn === undefined) return showNobody(ctx, parts);
    await showHome(ctx, parts, signedIn);
  });
  router.get("/account/activity", async (ctx) => {
    const signedIn = await signedInOrAsk(ctx, parts, "activity");
    if (signedIn === undefined) return;
    const events = (await parts.activityOf(signedIn.user.id, ACTIVITY_MAX)).map(shownEvent);
    showPage(ctx, parts, { view: "account/activity", locals: { events } }, signedIn);
  });
  router.post("/account/sessions/end", async (ctx) => {
    const signedIn = await signedInOrAsk(ctx, parts, "home");
    if (signedIn === undefined) return;
    const form = await readAccountForm(ctx, parts, signedIn);
    const id = form.field("session") ?? "";
    // One that has ended meanwhile is what was asked for.
    await parts.sessions.end(signedIn.user.id, id, actorIn(ctx, signedIn));
    redirect(ctx, "/account?done=session");
  });
  router.post("/account/sessions/end-all", async (ctx) => {
    const signedIn = await signedInOrAsk(ctx, parts, "home");
    if (signedIn === undefined) return;
    await readAccountForm(ctx, parts, signedIn);
    await parts.sessions.endAll({ userId: signedIn.user.id }, actorIn(ctx, signedIn));
    redirect(ctx, "/account");
  });
  router.post("/account/apps/revoke", async (ctx) => {
    const signedIn = await signedInOrAsk(ctx, parts, "home");
    if (signedIn === undefined) return;
    const form = await readAccountForm(ctx, parts, signedIn);
    const clientId = form.field("app") ?? "";
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(clientId)) throw new AppError("request_malformed");
    await parts.withdrawConsent(signedIn.user.id, clientId, actorIn(ctx, signedIn));
    redirect(ctx, "/account?done=app");
  });
}

function showNobody(ctx: Context, parts: AccountParts): void {
  const discoveryUrl = `${parts.issuer}/.well-known/openid-configuration`;
  showPage(ctx, parts, {
    view: "account/home",
    locals: {
      issuer: parts.issuer,
      discoveryUrl,
      signUpUrl: parts.signUpMode === "on" ? "/signup" : undefined,
      isMailbox: parts.mailbox !== undefined,
    },
  });
}

async function showHome(ctx: Context, parts: AccountParts, signedIn: SignedIn): Promise<void> {
  const { user } = signedIn;
  const own = idOf(signedIn.sessionUid);
  const [sessions, apps, events, logouts] = await Promise.all([
    parts.sessions.list({ userId: user.id }),
    connectedApps(parts, user.id),
    parts.activityOf(user.id, ACTIVITY_SHOWN),
    parts.logouts.list({ userId: user.id }, LOGOUTS_SHOWN),
  ]);
  const done = String(ctx.query["done"] ?? "");
  showPage(
    ctx,
    parts,
    {
      view: "account/home",
      locals: {
        user: { name: user.claims.name, email: user.email, isEmailVerified: user.isEmailVerified },
        csrf: accountToken(parts, signedIn),
        done: DONE.includes(done) ? done : undefined,
        hasPassword: user.hasPassword,
        sessions: sessions.map((session) => ({
          id: session.id,
          isThis: session.id === own,
          device: deviceName(session.userAgent),
          network: session.network,
          since: session.signedInAt,
          seen: session.seenAt,
        })),
        apps,
        events: events.map(shownEvent),
        logouts: await shownLogouts(parts, logouts),
        languageCodes: languageChoices(parts),
        isMailOn: parts.isMailOn,
        issuer: parts.issuer,
        isMailbox: parts.mailbox !== undefined,
      },
    },
    signedIn,
  );
}

async function shownLogouts(
  parts: AccountParts,
  logouts: Awaited<ReturnType<AccountParts["logouts"]["list"]>>,
): Promise<readonly object[]> {
  return Promise.all(
    logouts.map(async (notice) => ({
      name: (await parts.clients.find(notice.clientId))?.name ?? notice.clientId,
      state: notice.state,
      at: notice.deliveredAt ?? notice.createdAt,
    })),
  );
}

function languageChoices(parts: AccountParts): readonly { code: string; label: string }[] {
  return parts.catalogues.languages.map((code) => ({
    code,
    label: parts.catalogues.choose({ account: code }).t("language.name"),
  }));
}

/** What is remembered as allowed, and what lives without having been asked for (the operator's own apps); by app, the newest first. */
export async function connectedApps(parts: AccountParts, userId: string): Promise<readonly ConnectedApp[]> {
  const [consents, grants] = await Promise.all([parts.consents.listOf(userId), parts.sessions.listGrants({ userId })]);
  const ids = new Set([...consents, ...grants].map(({ clientId }) => clientId).filter((id) => !isBuiltIn(id)));
  const apps: ConnectedApp[] = [];
  for (const clientId of ids) {
    const client = await parts.clients.find(clientId);
    if (client === undefined) continue;
    const given = consents.filter((consent) => consent.clientId === clientId);
    const live = grants.filter((grant) => grant.clientId === clientId);
    const groups =
      given.length > 0
        ? given.map(({ resource, granted }) => ({ resource, scopes: granted }))
        : Object.entries(live[0]?.scopes ?? {}).map(([resource, scopes]) => ({ resource, scopes }));
    const signIns = live.flatMap(({ signedInAt }) => signedInAt ?? []).sort((a, b) => a.getTime() - b.getTime());
    const since = given.map(({ createdAt }) => createdAt).sort((a, b) => a.getTime() - b.getTime())[0] ?? signIns[0];
    if (since === undefined) continue;
    const { name, host } = appearanceOf(client);
    apps.push({
      clientId,
      name,
      host,
      groups: groups.filter(({ scopes }) => scopes.length > 0),
      since,
      usedAt: signIns.at(-1),
    });
  }
  return apps.sort((a, b) => b.since.getTime() - a.since.getTime());
}

function shownEvent(event: RecordedEvent): { name: string; at: Date; address: string | undefined } {
  // What was unusual has words of its own; a new device is the usual case.
  const kind = event.name === "sign_in.unusual" ? event.data?.["kind"] : undefined;
  const name = kind === "burst" || kind === "new_network" ? `sign_in.unusual.${kind}` : event.name;
  return { name, at: event.at, address: event.actor.address };
}
