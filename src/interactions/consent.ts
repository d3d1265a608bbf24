/** Consent: what the app may do with this account; remembered, so that only what is new is asked. */
import type { Grant } from "oidc-provider";
import { wordsOf } from "../apis/scope.ts";
import type { Consent } from "../consents/consent.ts";
import { AppError } from "../errors.ts";
import { claimNames, scopeOfClaim } from "../oidc/claims.ts";
import { addTo } from "../oidc/existing-grant.ts";
import { isOpenIdScope, splitScope } from "../scopes.ts";
import { sendNotice } from "../users/letter.ts";
import { actorOf, type Details, finishStep, type InteractionParts, readStepForm, type Step, showStep } from "./step.ts";

interface AskedScope {
  readonly name: string;
  readonly title?: string;
  readonly isOptional: boolean;
}

interface AskedGroup {
  /** Empty: the OpenID scopes. */
  readonly resource: string;
  readonly name?: string;
  readonly scopes: readonly AskedScope[];
}

export async function showConsent(step: Step, parts: InteractionParts): Promise<void> {
  const groups = await askedGroups(step, parts);
  const before = await parts.consents.find(who(step));
  const wasAllowed = (resource: string, scope: string): boolean =>
    before.some((consent) => consent.resource === resource && consent.granted.includes(scope));
  const redirect = new URL(String(step.details.params["redirect_uri"]));
  showStep(step, parts, {
    view: "interactions/consent",
    locals: {
      user: { name: step.user?.claims.name, email: step.user?.email },
      groups: groups.map((group) => ({
        ...(group.name === undefined ? {} : { name: group.name, identifier: group.resource }),
        scopes: group.scopes.map((scope) => ({
          ...scope,
          isChecked: !scope.isOptional || wasAllowed(group.resource, scope.name),
        })),
      })),
      ...(/^https?:$/.test(redirect.protocol) ? { returnHost: redirect.host } : {}),
      isNative: step.client.type === "native",
    },
  });
}

export async function decide(step: Step, parts: InteractionParts): Promise<void> {
  const form = await readStepForm(step, parts, ["scope"]);
  const decision = form.field("decision");
  if (decision === "deny") return refuse(step, parts);
  if (decision !== "allow") throw new AppError("request_malformed", "decision is allow or deny");
  const ticked = new Set(form.fields("scope"));
  // Only what was offered can be granted: a posted scope that stands nowhere on the page changes nothing (T-CONS-2).
  const decisions = (await askedGroups(step, parts)).map(({ resource, scopes }): Consent => {
    const isGranted = (scope: AskedScope): boolean => !scope.isOptional || ticked.has(scope.name);
    return {
      resource,
      granted: scopes.filter(isGranted).map((scope) => scope.name),
      refused: scopes.filter((scope) => !isGranted(scope)).map((scope) => scope.name),
    };
  });
  const grant = await grantOf(step, parts);
  addTo(grant, decisions);
  const grantId = await grant.save();
  await parts.consents.grant(who(step), decisions, actorOf(step), (tx) => tellOfAbsence(tx, step, parts, decisions));
  parts.metrics.consents.inc({ result: "granted" });
  await finishStep(step, parts, { consent: { grantId } });
}

/** Access for times of absence is worth a mail: whoever borrowed the browser for a minute would keep it for months. */
async function tellOfAbsence(
  tx: Parameters<typeof sendNotice>[0],
  step: Step,
  parts: InteractionParts,
  decisions: readonly Consent[],
): Promise<void> {
  const { user } = step;
  if (user === undefined || !decisions.some(({ granted }) => granted.includes("offline_access"))) return;
  await sendNotice(tx, parts.letters, {
    template: "offline_access",
    reader: user,
    values: { app: step.client.name },
    language: step.texts.language,
  });
}

async function refuse(step: Step, parts: InteractionParts): Promise<void> {
  parts.metrics.consents.inc({ result: "refused" });
  await parts.recordAlone({
    name: "consent.refused",
    actor: actorOf(step),
    subject: { kind: "client", id: step.client.id },
  });
  await finishStep(step, parts, { error: "access_denied", error_description: "the person did not allow the request" });
}

/** What the page asks: only what is new, or everything when the app or the kind of app demands the question itself. */
async function askedGroups(step: Step, parts: InteractionParts): Promise<readonly AskedGroup[]> {
  const { details, client } = step;
  const isOptional = (scope: string): boolean => scope !== "openid" && client.settings.optionalScopes.includes(scope);
  const all = askForAll(details);
  const missing = details.prompt.details as {
    missingOIDCScope?: string[];
    missingOIDCClaims?: string[];
    missingResourceScopes?: Record<string, string[]>;
  };
  const requested = splitScope(String(details.params["scope"] ?? ""));
  const claims = all ? claimNames(details.params["claims"]) : (missing.missingOIDCClaims ?? []);
  const openid = [
    ...new Set([
      ...(all ? requested.filter(isOpenIdScope) : (missing.missingOIDCScope ?? [])),
      ...scopesOf(claims).filter((scope) => splitScope(client.metadata.scope ?? "").includes(scope)),
    ]),
  ];
  const groups: AskedGroup[] =
    openid.length === 0
      ? []
      : [{ resource: "", scopes: openid.map((name) => ({ name, isOptional: isOptional(name) })) }];
  for (const resource of resourcesOf(details)) {
    const api = await parts.apis.find(resource);
    const granted = client.apis.find((entry) => entry.identifier === resource)?.scopes ?? [];
    const asked = all
      ? requested.filter((scope) => granted.includes(scope))
      : (missing.missingResourceScopes?.[resource] ?? []);
    const scopes = asked.map((name) => {
      const scope = api?.scopes.find((candidate) => candidate.scope === name);
      const title = scope === undefined ? undefined : wordsOf(scope, step.texts.language);
      return { name, isOptional: isOptional(name), ...(title === undefined || title === "" ? {} : { title }) };
    });
    if (api !== undefined && scopes.length > 0) groups.push({ resource, name: api.name, scopes });
  }
  return groups;
}

/** A claim asked for by name is asked about as the scope that holds it. */
function scopesOf(claims: readonly string[]): readonly string[] {
  return claims.map(scopeOfClaim).filter((scope) => scope !== undefined);
}

function askForAll(details: Details): boolean {
  return details.prompt.reasons.some((reason) => reason === "consent_prompt" || reason === "native_client_prompt");
}

function resourcesOf(details: Details): readonly string[] {
  const resource = details.params["resource"];
  const list = Array.isArray(resource) ? resource : [resource];
  return list.filter((entry): entry is string => typeof entry === "string");
}

/** The Grant of this sign-in at this client; another account's is never added to. */
async function grantOf(step: Step, parts: InteractionParts): Promise<Grant> {
  const provider = parts.engine.current();
  const accountId = who(step).userId;
  const found = step.details.grantId === undefined ? undefined : await provider.Grant.find(step.details.grantId);
  const isOwn = found?.accountId === accountId && found.clientId === step.client.id;
  return found !== undefined && isOwn ? found : new provider.Grant({ accountId, clientId: step.client.id });
}

function who(step: Step): { userId: string; clientId: string } {
  if (step.user === undefined) throw new AppError("interaction_gone");
  return { userId: step.user.id, clientId: step.client.id };
}
