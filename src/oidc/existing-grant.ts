/** Grants: what one sign-in may do at one client. Built from the remembered consent, so that nobody is asked twice; never shared between sign-ins. */
import type { Grant, KoaContextWithOIDC } from "oidc-provider";
import type { Consent, Consents } from "../consents/consent.ts";
import { splitScope } from "../scopes.ts";
import { scopeOfClaim } from "./claims.ts";
import { GRANT_SECONDS_LEFT } from "./lifetimes.ts";
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
    // Also beside a Grant of this sign-in: in another browser the person may have decided anew, and the latest word counts everywhere.
    const decisions = canSkipConsent(ctx)
      ? requested(ctx)
      : await consents.find({ userId: account.accountId, clientId: client.clientId });
    if (own === undefined && decisions.length === 0) return undefined;
    const grant = own ?? new provider.Grant({ accountId: account.accountId, clientId: client.clientId });
    const before = stateOf(grant);
    addTo(grant, decisions);
    settleClaims(grant, { asked: ctx.oidc.requestParamClaims, askable: splitScope(client.scope ?? "") });
    const isShort = grant.remainingTTL < GRANT_SECONDS_LEFT;
    // The library keeps the end of a Grant that it read; without one it gives a new one. The store lets the later end stand, and the earlier beginning.
    if (isShort) grant.exp = undefined;
    if (own === undefined || isShort || stateOf(grant) !== before) await grant.save();
    return grant;
  };
}

/** Writes decisions into a Grant. Refused scopes are kept as refused, or the library would ask again. */
export function addTo(grant: Grant, decisions: readonly Consent[]): void {
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
}

/**
 * Claims asked one by one follow the scopes that hold them: granted or refused with them, also when the person decided anew. A
 * claim whose scope the client may not ask for is refused like an unknown one; what is left open, the library asks about.
 */
function settleClaims(
  grant: Grant,
  { asked, askable }: { asked: ReadonlySet<string>; askable: readonly string[] },
): void {
  const granted = splitScope(grant.getOIDCScope());
  const refused = splitScope(grant.getRejectedOIDCScope());
  const claims = [...new Set([...asked, ...(grant.openid?.claims ?? []), ...(grant.rejected?.openid?.claims ?? [])])];
  const inScopes = (scopes: readonly string[]) => (claim: string) => scopes.includes(scopeOfClaim(claim) ?? "");
  const isGranted = inScopes(granted);
  const isOpen = (claim: string): boolean => inScopes(askable)(claim) && !inScopes(refused)(claim);
  const given = claims.filter(isGranted);
  const withheld = claims.filter((claim) => scopeOfClaim(claim) !== undefined && !isGranted(claim) && !isOpen(claim));
  if (given.length > 0 || grant.openid?.claims !== undefined) grant.openid = { ...grant.openid, claims: given };
  if (withheld.length === 0 && grant.rejected?.openid?.claims === undefined) return;
  grant.rejected = { ...grant.rejected, openid: { ...grant.rejected?.openid, claims: withheld } };
}

function stateOf(grant: Grant): string {
  return JSON.stringify([grant.openid, grant.resources, grant.rejected]);
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
  const askable = splitScope(ctx.oidc.client?.scope ?? "");
  const held = [...ctx.oidc.requestParamClaims].map(scopeOfClaim).filter((scope) => scope !== undefined);
  const openid = [...new Set([...ctx.oidc.requestParamOIDCScopes, ...held.filter((scope) => askable.includes(scope))])];
  const resources = Object.entries(ctx.oidc.resourceServers ?? {}).map(([resource, server]) => ({
    resource,
    granted: scopes.filter((scope) => server.scopes.has(scope)),
    refused: [],
  }));
  return [{ resource: "", granted: openid, refused: [] }, ...resources];
}
