/** When a person is asked: to choose an account, to sign in, to consent. The library walks the prompts in this order. */
import type { KoaContextWithOIDC } from "oidc-provider";
import { errors, interactionPolicy } from "oidc-provider";
import { isSessionPastLimits, type SessionRules } from "./session.ts";

const { Check, Prompt, base } = interactionPolicy;

export function createPolicy(
  options: SessionRules & { readonly isSignUpOpen: boolean },
): interactionPolicy.DefaultPolicy {
  const policy = base();
  policy.add(new Prompt({ name: "select_account", requestable: true }), 0);
  // Initiating User Registration via OpenID Connect 1.0; where nobody can sign up the value is as unknown as any other.
  if (options.isSignUpOpen) policy.add(new Prompt({ name: "create", requestable: true }), 0);
  const login = policy.get("login");
  const consent = policy.get("consent");
  if (login === undefined || consent === undefined)
    throw new Error("the library's base policy has no login or consent prompt");
  // Without this the library answers a session of a disabled user with a 500 (measured).
  login.checks.add(
    new Check("account_gone", "the account of this session cannot sign in", "login_required", (ctx) => {
      return ctx.oidc.session?.accountId !== undefined && ctx.oidc.account === undefined;
    }),
  );
  login.checks.add(
    new Check("session_past_limits", "the session has passed its idle or absolute limit", "login_required", (ctx) => {
      return (
        ctx.oidc.session?.accountId !== undefined &&
        isSessionPastLimits(ctx, options) &&
        ctx.oidc.result?.login === undefined
      );
    }),
  );
  login.checks.add(
    new Check("other_person", "another person is asked for", "login_required", async (ctx) => {
      if (ctx.oidc.result?.login !== undefined && !(await isPersonAsked(ctx)))
        throw new errors.LoginRequired("the person who signed in is not the one that was asked for");
      return false;
    }),
  );
  consent.checks.remove("native_client_prompt");
  consent.checks.add(
    new Check("native_client_prompt", "native clients require End-User interaction", "interaction_required", (ctx) => {
      return (
        ctx.oidc.client?.applicationType === "native" && !canSkipConsent(ctx) && ctx.oidc.result?.consent === undefined
      );
    }),
  );
  return policy;
}

/**
 * First-party clients skip consent. Anybody can claim the redirects of a native app (RFC 8252 section 8.6), so a native one may
 * skip it only when all its redirects are https addresses that the operating system gives to one app.
 */
export function canSkipConsent(ctx: KoaContextWithOIDC): boolean {
  const client = ctx.oidc.client;
  if (client === undefined || !client.signet.isFirstParty) return false;
  return client.applicationType !== "native" || (client.redirectUris ?? []).every((uri) => uri.startsWith("https://"));
}

/**
 * Whether the person who has just signed in is the one of `id_token_hint` and of the `sub` asked by value (OpenID Connect Core sections
 * 3.1.2.1 and 5.5.1): only then may the answer be a good one. The library looks at the hint when the request comes, not after the sign-in.
 */
async function isPersonAsked(ctx: KoaContextWithOIDC): Promise<boolean> {
  const { client, session, provider, params, claims } = ctx.oidc;
  const hint = params?.["id_token_hint"];
  const asked = (claims.id_token?.["sub"] as { value?: unknown } | null | undefined)?.value;
  const isNamed = asked === undefined || asked === session?.accountId;
  if (typeof hint !== "string" || client === undefined) return isNamed;
  const { payload } = await provider.IdToken.validate(hint, client);
  return isNamed && payload.sub === session?.accountId;
}
