/** The pages that the engine itself asks for: errors, signing out, signed out. */
import type { Context } from "koa";
import type { KoaContextWithOIDC } from "oidc-provider";
import { type Appearance, appearanceOf } from "../clients/appearance.ts";
import type { Clients } from "../clients/client.ts";
import { now } from "../clock.ts";
import { isForPrograms, type ShownError } from "../http/errors.ts";
import { requestIdOf } from "../http/request-id.ts";
import { languageLinks, languageOf } from "../pages/language.ts";
import type { Catalogues } from "../pages/texts.ts";
import type { Views } from "../pages/views.ts";
import type { Users } from "../users/user.ts";
import type { EnginePages } from "./provider.ts";
import { ROUTES } from "./provider.ts";
import { developerReason } from "./reason.ts";

export interface PageParts {
  readonly views: Views;
  readonly catalogues: Catalogues;
  readonly clients: Clients;
  readonly users: Users;
  readonly isDevelopment: boolean;
}

/** Draws the page of an error that has no app, or whose app is not known. */
export function showError(parts: Pick<PageParts, "views" | "catalogues">): (ctx: Context, error: ShownError) => void {
  return (ctx, error) => {
    const texts = languageOf(ctx, parts.catalogues);
    const developer =
      error.description === undefined ? undefined : { error: error.code, description: error.description };
    const locals = {
      code: error.code,
      status: error.status,
      errorId: error.requestId,
      at: now(),
      developer,
      languages: languageLinks(ctx, parts.catalogues, texts),
    };
    parts.views.show(ctx, texts, { status: error.status, view: "error", locals });
  };
}

export function enginePages(parts: PageParts): EnginePages {
  const { views, catalogues } = parts;
  const textsFor = (ctx: KoaContextWithOIDC) => languageOf(ctx as Context, catalogues, uiLocales(ctx));
  return {
    async renderError(ctx, out, error) {
      if (isForPrograms(ctx as Context)) {
        ctx.body = out;
        return;
      }
      const client = await knownClient(ctx, parts.clients);
      const reason = parts.isDevelopment ? await developerReason(ctx, out, parts.clients) : undefined;
      const description = reason ?? out.error_description ?? error.message;
      const developer = { error: out.error, description, clientId: client?.id };
      views.show(ctx as Context, textsFor(ctx), {
        status: ctx.status,
        view: "error",
        locals: {
          code: codeOf(out.error, client),
          status: ctx.status,
          errorId: requestIdOf(ctx),
          at: now(),
          app: client,
          developer,
        },
      });
    },
    async logout(ctx) {
      const { session, client } = ctx.oidc;
      const user = session?.accountId === undefined ? undefined : await parts.users.find(session.accountId);
      const app = client === undefined ? undefined : await knownClient(ctx, parts.clients);
      views.show(ctx as Context, textsFor(ctx), {
        view: "oidc/logout",
        locals: {
          action: `${ROUTES.end_session}/confirm`,
          xsrf: session?.state?.["secret"],
          user: user === undefined ? undefined : { name: user.claims.name, email: user.email },
          app,
          isAnswered: isOwnHint(ctx),
        },
      });
    },
    async loggedOut(ctx) {
      views.show(ctx as Context, textsFor(ctx), {
        view: "oidc/logout-done",
        locals: { app: await knownClient(ctx, parts.clients) },
      });
    },
  };
}

/**
 * Whether the question was answered at the app: the library has verified the hint, and it was issued to this client in this very
 * session. Any other hint, an older session's of the same person too, leaves the question (RP-Initiated Logout section 2).
 */
function isOwnHint(ctx: KoaContextWithOIDC): boolean {
  const { session, client, entities } = ctx.oidc;
  const hint = entities.IdTokenHint as { payload?: { sub?: unknown; sid?: unknown } } | undefined;
  const sid = client === undefined ? undefined : session?.authorizations?.[client.clientId]?.sid;
  return sid !== undefined && hint?.payload?.sid === sid && hint.payload.sub === session?.accountId;
}

async function knownClient(ctx: KoaContextWithOIDC, clients: Clients): Promise<Appearance | undefined> {
  const id = ctx.oidc.client?.clientId;
  const client = id === undefined ? undefined : await clients.find(id).catch(() => undefined);
  return client === undefined ? undefined : appearanceOf(client);
}

/** The page's words for people; the OAuth code itself stands under "for the developer". */
function codeOf(error: string, client: Appearance | undefined): string {
  if (error === "invalid_client") return "app_unknown";
  if (error === "invalid_redirect_uri") return "redirect_uri_unknown";
  if (error === "server_error") return "internal";
  return client === undefined ? "interaction_gone" : "request_refused";
}

function uiLocales(ctx: KoaContextWithOIDC): string | undefined {
  const wish = ctx.oidc.params?.["ui_locales"];
  return typeof wish === "string" ? wish : undefined;
}
