/** Grants: what one sign-in may do at one client. Built from the remembered consent, so that nobody is asked twice; never shared between sign-ins. */
import type { Grant, KoaContextWithOIDC } from "oidc-provider";
import type { Consent, Consents } from "../consents/consent.ts";
import { canSkipConsent } from "./policy.ts";

/** The library's `loadExistingGrant`: this sign-in's own Grant, or a new one from what the person allowed this client before. */
export function loadExistingGrant(consents: Consents): (ctx: KoaContextWithOIDC) => Promise<Grant | undefined> {
  return async (ctx) => {
    const { client, session, provider, account, result } = ctx.oidc;
    if (client === undefined || session === undefined || account === undefined) return undefined;
    const grantId = result?.consent?.grantId ?? session.grantIdFor(client.clientId);
    const found = grantId === undefined ? undefined : await provider.Grant.find(grantId);
    // A grant of another account or client makes the library throw, and the person would see a 500.
    const own =
      found !== undefined && found.accountId === account.accountId && found.clientId === client.clientId
        ? found
        : undefined;
    const isSkipped = canSkipConsent(ctx);
    if (own !== undefined && !isSkipped) return own;
    const remembered = isSkipped
      ? requested(ctx)
      : await consents.find({ userId: account.accountId, clientId: client.clientId });
    if (own === undefined && remembered.length === 0) return undefined;
    const grant = own ?? new provider.Grant({ accountId: account.accountId, clientId: client.clientId });
    if (!addTo(grant, remembered) && own !== undefined) return own;
    await grant.save();
    return grant;
  };
}

/** Writes decisions into a Grant; true when that changed it. Refused scopes are kept as refused, or the library would ask again. */
export function addTo(grant: Grant, decisions: readonly Consent[]): boolean {
  const before = JSON.stringify([grant.openid, grant.resources, grant.rejected]);
  for (const { resource, granted, refused } of decisions) {
    if (resource === "") {
      if (granted.length > 0) grant.addOIDCScope([...granted]);
      if (refused.length > 0) grant.rejectOIDCScope([...refused]);
    } else {
      if (granted.length > 0) grant.addResourceScope(resource, [...granted]);
      if (refused.length > 0) grant.rejectResourceScope(resource, [...refused]);
    }
    if (granted.length > 0) unreject(grant, resource, granted);
  }
  return before !== JSON.stringify([grant.openid, grant.resources, grant.rejected]);
}

/** A scope that is allowed now is no longer refused; the library would subtract it. */
function unreject(grant: Grant, resource: string, granted: readonly string[]): void {
  const { rejected } = grant;
  if (rejected === undefined) return;
  const without = (scope: string): string =>
    scope
      .split(" ")
      .filter((part) => !granted.includes(part))
      .join(" ");
  if (resource === "" && rejected.openid?.scope !== undefined) rejected.openid.scope = without(rejected.openid.scope);
  const refusedThere = rejected.resources?.[resource];
  if (rejected.resources !== undefined && refusedThere !== undefined)
    rejected.resources[resource] = without(refusedThere);
}

/** All that the request asks, as if it had been allowed: for first-party clients, which skip the question. */
function requested(ctx: KoaContextWithOIDC): readonly Consent[] {
  const scopes = [...ctx.oidc.requestParamScopes];
  const openid = [...ctx.oidc.requestParamOIDCScopes];
  const resources = Object.entries(ctx.oidc.resourceServers ?? {}).map(([resource, server]) => ({
    resource,
    granted: scopes.filter((scope) => server.scopes.has(scope)),
    refused: [],
  }));
  return [{ resource: "", granted: openid, refused: [] }, ...resources];
}
