/** The demo: a person, an API and an app in an empty development database, so that the first start has something to try. Never in production. */
import { dataFolder } from "./app.ts";
import type { Actor } from "./audit/event.ts";
import { type DemoIds, readDemoIds, writeDemoIds } from "./data-folder.ts";
import { randomText } from "./secrets.ts";
import type { Service } from "./service.ts";

const BY: Actor = { kind: "system", id: "demo" };
const EMAIL = "demo@example.com";
const NAME = "Demo app";
const SCOPE = "notes:read";
/** 15 random bytes, 20 characters: generated, printed once, kept as a hash only. */
const PASSWORD_BYTES = 15;

export interface Demo {
  readonly appUrl: string;
  readonly clientId: string;
  /** New at every start: only its hash is kept, so the demo app is handed a fresh one. */
  readonly clientSecret: string;
  readonly apiIdentifier: string;
  readonly scope: string;
  readonly email: string;
  /** Only at the start that made the person. */
  readonly password?: string;
}

/** Makes the demo in an empty database, or finds it again; undefined when this database never had one. */
export async function prepareDemo(service: Service): Promise<Demo | undefined> {
  const { config, clients } = service;
  if (config.isProduction) return undefined;
  const folder = dataFolder(config);
  const appUrl = `http://localhost:${config.demoPort}`;
  const known = readDemoIds(folder);
  if (known?.isBegun === true) return seed(service, appUrl, known);
  const client = known === undefined ? undefined : await clients.find(known.clientId);
  if (known === undefined || client === undefined || client.isDisabled) {
    const isEmpty = (await service.users.countUsers()) === 0 && (await clients.list({ limit: 1 })).length === 0;
    if (!isEmpty) return undefined;
    const begun = { isBegun: true, clientId: "", apiIdentifier: `${appUrl}/api`, email: EMAIL };
    writeDemoIds(folder, begun);
    return seed(service, appUrl, begun);
  }
  if (client.metadata.redirect_uris?.[0] !== `${appUrl}/callback`)
    await clients.update(client.id, addresses(appUrl), BY);
  const { secret } = await clients.rotateSecret(client.id, { overlapSeconds: 0 }, BY);
  const { apiIdentifier, email } = known;
  return { appUrl, clientId: client.id, clientSecret: secret, apiIdentifier, scope: SCOPE, email };
}

/** The password is on the screen now: from here on the demo is finished, and no start prints another. */
export function finishDemo(service: Service, { clientId, apiIdentifier, email }: Demo): void {
  writeDemoIds(dataFolder(service.config), { clientId, apiIdentifier, email });
}

/** A start that was killed on its way left a part behind: what is there is used, and the password, which nobody has seen, is made anew. */
async function seed(service: Service, appUrl: string, begun: DemoIds): Promise<Demo> {
  const { apis, clients, users } = service;
  const { apiIdentifier, email } = begun;
  const scopes = [{ scope: SCOPE, description: "Read your notes" }];
  if ((await apis.find(apiIdentifier)) === undefined)
    await apis.create({ identifier: apiIdentifier, name: "Demo notes", scopes }, BY);
  const metadata = {
    client_name: NAME,
    client_uri: appUrl,
    ...addresses(appUrl),
    apis: [{ identifier: apiIdentifier, scopes: [SCOPE], default: true }],
  };
  const made = (await clients.list({ limit: 10, query: NAME })).find(({ name }) => name === NAME);
  const { client, secret } =
    made === undefined
      ? await clients.register({ client_type: "web", ...metadata }, BY)
      : await clients.rotateSecret((await clients.update(made.id, metadata, BY)).id, { overlapSeconds: 0 }, BY);
  if (secret === undefined) throw new Error("the demo app has no secret");
  const password = randomText(PASSWORD_BYTES);
  const user = await users.findByEmail(email);
  const claims = { name: "Dana Demo", given_name: "Dana", family_name: "Demo", locale: "en" };
  if (user === undefined) await users.create({ email, password, isEmailVerified: true, claims }, BY);
  else await users.setPassword(user.id, password, BY);
  return { appUrl, clientId: client.id, clientSecret: secret, apiIdentifier, scope: SCOPE, email, password };
}

function addresses(appUrl: string): { redirect_uris: string[]; post_logout_redirect_uris: string[] } {
  return { redirect_uris: [`${appUrl}/callback`], post_logout_redirect_uris: [`${appUrl}/`] };
}
