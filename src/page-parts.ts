/** Page parts: what the pages of signing in and of an account are made of; what spans rooms in one transaction is put together here. */
import type { AccountParts } from "./account/page.ts";
import { listOfUser } from "./audit/event.ts";
import type { ConsoleParts } from "./console/page.ts";
import type { InteractionParts } from "./interactions/step.ts";
import type { Mailbox } from "./mail/transport.ts";
import { type Browser, createBrowser } from "./oidc/signed-in.ts";
import type { RestParts } from "./rest/routes.ts";
import { adminScopesOf } from "./rest-parts.ts";
import type { Service } from "./service.ts";
import { sendNotice } from "./users/letter.ts";

/** What the pages of a sign-in are made of. */
export function interactionParts(service: Service): InteractionParts {
  const { config } = service;
  const { issuer, mayRemember, signUp: mode, termsUrl, privacyUrl } = config;
  const signUp = { mode, termsUrl, privacyUrl };
  return { ...service, issuer, mayRemember, signUp, isMailOn: isMailOn(service) };
}

/** What the pages of an account are made of. */
export function accountParts(service: Service): AccountParts {
  const { config, db, users, letters, transport } = service;
  return {
    ...service,
    issuer: config.issuer,
    browser: browserOf(service),
    signUpMode: config.signUp,
    isMailOn: isMailOn(service),
    mailbox: "list" in transport ? (transport as Mailbox).list : undefined,
    async changePassword(userId, password, by) {
      await users.setPassword(userId, password, by, (tx, reader) =>
        sendNotice(tx, letters, { template: "password_changed", reader }),
      );
    },
    async withdrawConsent(userId, clientId, by) {
      await service.revokeApp(userId, clientId, by);
    },
    saveLanguage: (userId, language) => db.transaction((tx) => users.savePerson(tx, userId, { language })),
    activityOf: (userId, limit) => listOfUser(db, userId, limit),
  };
}

/** What the console is made of. It does what the REST API does, so it is given the same table. */
export function consoleParts(service: Service, rest: RestParts): ConsoleParts {
  const { config, recordAlone } = service;
  const browser = browserOf(service);
  return {
    ...service,
    issuer: config.issuer,
    browser,
    operations: rest.operations,
    perform: rest,
    isDevelopment: !config.isProduction,
    rightsOf: (holder) => adminScopesOf(service, holder),
    async signOut(ctx, { by, user }) {
      await browser.signOut(ctx);
      await recordAlone({ name: "sign_out", actor: by, subject: { kind: "user", id: user.id } });
    },
  };
}

function browserOf({ config, engine, users, grants, revocations }: Service): Browser {
  return createBrowser({ engine, users, grants, revocations, mayRemember: config.mayRemember });
}

function isMailOn({ transport }: Service): boolean {
  return transport.kind !== "none";
}
