/** Who is signed in in this browser, and signing out from our own pages. */
import type { Context } from "koa";
import type { KoaContextWithOIDC, Session } from "oidc-provider";
import { nowSeconds } from "../clock.ts";
import type { Revocations } from "../revocations/revocation.ts";
import type { GrantStore } from "../store/grants.ts";
import type { User, Users } from "../users/user.ts";
import type { Engine } from "./engine.ts";
import { isPastLimits, type SessionRules } from "./session.ts";

export interface SignedIn {
  readonly user: User;
  readonly since: Date;
  /** Binds the forms of this browser's pages: the session's own name, which stays when its cookie changes. */
  readonly sessionUid: string;
}

export interface Browser {
  /** Undefined also when the session has passed its limits: pages then ask for the password as the apps do. */
  signedIn(ctx: Context): Promise<SignedIn | undefined>;
  /** Ends the session and what was issued under it, except what was granted for times of absence (offline_access; decision 16). */
  signOut(ctx: Context): Promise<void>;
}

export function createBrowser(
  options: SessionRules & {
    engine: Engine;
    users: Users;
    grants: GrantStore;
    revocations: Revocations;
  },
): Browser {
  const sessionOf = async (ctx: Context): Promise<Session | undefined> => {
    const session = await options.engine.current().Session.get(ctx as unknown as KoaContextWithOIDC);
    return session.accountId === undefined ? undefined : session;
  };
  return {
    async signedIn(ctx) {
      const session = await sessionOf(ctx);
      if (session?.accountId === undefined) return undefined;
      const record = await options.grants.sessions.findByUid(session.uid);
      if (record === undefined || isPastLimits(record, nowSeconds(), options)) return undefined;
      const user = await options.users.find(session.accountId);
      if (user === undefined || user.isDisabled) return undefined;
      return { user, since: new Date((session.loginTs ?? 0) * 1000), sessionUid: session.uid };
    },
    async signOut(ctx) {
      const session = await sessionOf(ctx);
      if (session === undefined) return;
      const grants = Object.values(session.authorizations ?? {}).flatMap(({ grantId, persistsLogout }) =>
        grantId === undefined || persistsLogout === true ? [] : [{ kind: "grant", id: grantId } as const],
      );
      await options.revocations.end([...grants, { kind: "session", id: session.uid }]);
    },
  };
}
