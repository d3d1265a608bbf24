/** The demo: a person, an API and an app in an empty development database, so that the first start has something to try. Never in production. */
import { dataFolder, type Service } from "./app.ts";
import type { Actor } from "./audit/event.ts";
import { readDemoIds, writeDemoIds } from "./data-folder.ts";
import { randomText } from "./secrets.ts";

const BY: Actor = { kind: "system", id: "demo" };
const EMAIL = "demo@example.com";
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
  const { config, clients, users } = service;
  if (config.isProduction) return undefined;
  const folder = dataFolder(config);
  const known = readDemoIds(folder);
  const client = known === undefined ? undefined : await clients.find(known.clientId);
  const appUrl = `http://localhost:${config.demoPort}`;
  if (known !== undefined && client !== undefined && !client.isDisabled) {
    if (client.metadata.redirect_uris?.[0] !== `${appUrl}/callback`)
      await clients.update(client.id, addresses(appUrl), BY);
    const { secret } = await clients.rotateSecret(client.id, { overlapSeconds: 0 }, BY);
    return {
      appUrl,
      clientId: client.id,
      clientSecret: secret,
      apiIdentifier: known.apiIdentifier,
      scope: SCOPE,
      email: known.email,
    };
  }
  const isEmpty = (await users.countUsers()) === 0 && (await clients.list({ limit: 1 })).length === 0;
  return isEmpty ? seed(service, appUrl) : undefined;
}

async function seed(service: Service, appUrl: string): Promise<Demo> {
  const { apis, clients, users } = service;
  const apiIdentifier = `${appUrl}/api`;
  await apis.create(
    { identifier: apiIdentifier, name: "Demo notes", scopes: [{ scope: SCOPE, description: "Read your notes" }] },
    BY,
  );
  const { client, secret } = await clients.register(
    {
      client_type: "web",
      client_name: "Demo app",
      client_uri: appUrl,
      ...addresses(appUrl),
      apis: [{ identifier: apiIdentifier, scopes: [SCOPE], default: true }],
    },
    BY,
  );
  if (secret === undefined) throw new Error("the demo app has no secret");
  const password = randomText(PASSWORD_BYTES);
  const claims = { name: "Dana Demo", given_name: "Dana", family_name: "Demo", locale: "en" };
  await users.create({ email: EMAIL, password, isEmailVerified: true, claims }, BY);
  writeDemoIds(dataFolder(service.config), { clientId: client.id, apiIdentifier, email: EMAIL });
  return { appUrl, clientId: client.id, clientSecret: secret, apiIdentifier, scope: SCOPE, email: EMAIL, password };
}

function addresses(appUrl: string): { redirect_uris: string[]; post_logout_redirect_uris: string[] } {
  return { redirect_uris: [`${appUrl}/callback`], post_logout_redirect_uris: [`${appUrl}/`] };
}
