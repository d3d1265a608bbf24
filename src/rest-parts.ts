/** Rest parts: every room's operations in the order of the reference, and who may call them; what spans rooms is put together here. */
import type { Context } from "koa";
import { activityOperations } from "./activity/rest.ts";
import { apiOperations } from "./apis/rest.ts";
import { auditOperations } from "./audit/rest.ts";
import { clientOperations } from "./clients/rest.ts";
import { consentOperations } from "./consents/rest.ts";
import { AppError } from "./errors.ts";
import { failureOperations } from "./failures/rest.ts";
import { createFindings, type Findings } from "./findings/finding.ts";
import { findingOperations } from "./findings/rest.ts";
import { SIGNING_ALGORITHMS } from "./keys/key.ts";
import { nextRotationAt } from "./keys/plan.ts";
import { keyOperations } from "./keys/rest.ts";
import { addressSubject } from "./limits/address.ts";
import { MAIL_TO_ADDRESS, REST_REFUSED } from "./limits/rules.ts";
import { mailOperations } from "./mail/rest.ts";
import { findJwt } from "./oidc/presented-jwt.ts";
import { languageOf } from "./pages/language.ts";
import { createCursors } from "./rest/cursor.ts";
import { ADMIN_API } from "./rest/gate.ts";
import { createIdempotentRequests } from "./rest/idempotency.ts";
import type { OpenApi } from "./rest/openapi.ts";
import type { By, Caller, Holder, Operation } from "./rest/operation.ts";
import { referenceOf } from "./rest/reference.ts";
import type { RestParts } from "./rest/routes.ts";
import { roleOperations } from "./roles/rest.ts";
import { scopesAt } from "./roles/role.ts";
import { splitScope } from "./scopes.ts";
import type { Service } from "./service.ts";
import { sessionOperations } from "./sessions/rest.ts";
import { settingsOperations } from "./settings/rest.ts";
import { parseEmail } from "./users/email.ts";
import { userOperations } from "./users/rest.ts";

export function restParts(service: Service): RestParts {
  const { config, log, db, vault, keyring, limits, views, catalogues } = service;
  return {
    issuer: config.issuer,
    log,
    operations: operationsOf(service),
    cursors: createCursors(() => keyring.current().secrets.form.map(({ key }) => key)),
    idempotent: createIdempotentRequests({ db, vault }),
    authenticate: (token) => authenticate(service, token),
    countRefused: (address) => limits.hit(REST_REFUSED, addressSubject(address)),
    scopesOf: (holder) => reachOf(service, holder),
    showReference: (ctx: Context, document: OpenApi) =>
      views.show(ctx, languageOf(ctx, catalogues), { view: "rest/reference", locals: referenceOf(document) }),
  };
}

/** The one table of routes, verbs and scopes. */
export function operationsOf(service: Service): readonly Operation[] {
  const { config, users, registered: clients, apis, roles, keys, mails, consents, sessions, revokeApp } = service;
  const { recoveries, deletions } = service;
  const checkHolder = async ({ kind, id }: Holder): Promise<void> => {
    if (kind === "user" && (await users.find(id)) === undefined) throw new AppError("user_unknown");
    if (kind === "client" && (await clients.find(id)) === undefined) throw new AppError("client_unknown");
  };
  const checkMail = (email: string): Promise<void> => countMail(service, parseEmail(email)?.canonical ?? email);
  const invite = (email: string, language: string, by: By): Promise<void> =>
    inviteOnce(service, { email, language, by });
  return [
    ...clientOperations({ clients }),
    ...apiOperations({ apis }),
    ...roleOperations({ roles, checkHolder }),
    ...userOperations({ users, recoveries, deletions, invite, checkMail }),
    ...sessionOperations({ sessions, checkHolder }),
    ...consentOperations({ consents, checkHolder, revokeApp }),
    ...keyOperations({ keys, times: config.keyTimes }),
    ...mailOperations({ mails }),
    ...auditOperations({ trail: service.trail }),
    ...failureOperations({ failures: service.failures }),
    ...activityOperations({ activity: service.activity }),
    ...findingOperations({
      findings: findingsOf(service),
      words: (language) => service.catalogues.choose({ account: language }),
    }),
    ...settingsOperations({ config }),
  ];
}

function findingsOf({ db, config, keys, transport }: Service): Findings {
  return createFindings({
    db,
    isProduction: config.isProduction,
    isMailOff: transport.kind === "none",
    async nextRotations() {
      const { signing } = await keys.list();
      const { keyTimes: times } = config;
      return SIGNING_ALGORITHMS.map((algorithm) => ({ algorithm, at: nextRotationAt(signing, algorithm, times) }));
    },
  });
}

/** The token says what was given when it was made, the roles what is given now: both must. So whoever loses a role loses it at once here. */
async function authenticate(service: Service, token: string): Promise<Caller | undefined> {
  const { config, grants, keyring, users, clients } = service;
  const publicKeys = () => keyring.current().published;
  const found = await findJwt(token, { issuer: config.issuer, grants, publicKeys });
  if (found === undefined || found.aud !== ADMIN_API || found.clientId === undefined) return undefined;
  const client = await clients.find(found.clientId);
  if (client === undefined || client.isDisabled) return undefined;
  const holder: Holder =
    found.accountId === undefined ? { kind: "client", id: client.id } : { kind: "user", id: found.accountId };
  const user = holder.kind === "user" ? await users.find(holder.id) : undefined;
  if (holder.kind === "user" && (user === undefined || user.isDisabled)) return undefined;
  const given = new Set(splitScope(typeof found.scope === "string" ? found.scope : ""));
  const held = await adminScopesOf(service, holder);
  return { ...holder, scopes: new Set(held.filter((scope) => given.has(scope))) };
}

export async function adminScopesOf({ apis, roles }: Service, holder: Holder): Promise<readonly string[]> {
  const api = await apis.find(ADMIN_API);
  return api === undefined ? [] : [...scopesAt(await roles.held(holder), api.id)];
}

/** What somebody who has this holder in hand could do here: a client acts for people, too, with whatever it may ask for in their name. */
async function reachOf(service: Service, holder: Holder): Promise<readonly string[]> {
  const held = await adminScopesOf(service, holder);
  if (holder.kind !== "client") return held;
  const client = await service.clients.find(holder.id);
  const asked = client?.apis.filter(({ identifier }) => identifier === ADMIN_API).flatMap(({ scopes }) => scopes);
  return [...new Set([...held, ...(asked ?? [])])];
}

/** An address gets no more mails from administrators than from anybody. */
async function countMail({ transport, limits }: Service, canonical: string): Promise<void> {
  if (transport.kind === "none") throw new AppError("mail_off", "Set SMTP_URL.");
  const waitSeconds = await limits.hit(MAIL_TO_ADDRESS, canonical);
  if (waitSeconds !== undefined) throw new AppError("login_throttled", "This address had its mails.", waitSeconds);
}

async function inviteOnce(service: Service, call: { email: string; language: string; by: By }): Promise<void> {
  const { email, language, by } = call;
  if (service.config.signUp === "off") throw new AppError("sign_up_closed", "Set SIGN_UP=invitation (or on).");
  const address = parseEmail(email);
  if (address === undefined) throw new AppError("user_email_invalid", "email: it cannot be used.");
  await countMail(service, address.canonical);
  await service.signUps.invite(email, language, by);
}
