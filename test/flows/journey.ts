/** A journey: a running server with a person, an API and a client of each type, and the steps of a sign-in as a browser takes them. */
import assert from "node:assert/strict";
import * as openid from "openid-client";
import type { Actor } from "../../src/audit/event.ts";
import { AppError } from "../../src/errors.ts";
import { type Answer, type Client, type Engine, type SignetOptions, startSignet } from "../support.ts";

export const PASSWORD = "correct horse battery staple";
export const EMAIL = "maya@lindqvist.example";
export const API = "https://api.example/things";
export const CALLBACK = "https://app.example/callback";
const BY: Actor = { kind: "system", id: "test" };

export interface Registered {
  readonly id: string;
  readonly secret: string | undefined;
}

export interface Journey extends Awaited<ReturnType<typeof startSignet>> {
  readonly userId: string;
  readonly web: Registered;
  readonly spa: Registered;
  readonly native: Registered;
  readonly machine: Registered;
  register(metadata: Record<string, unknown>): Promise<Registered>;
  createUser(email: string, password?: string): Promise<string>;
  /** The relying party's configuration, from discovery alone. */
  party(client: Registered, auth?: (secret: string) => openid.ClientAuth): Promise<openid.Configuration>;
}

export async function beginJourney(engine: Engine, env: Readonly<Record<string, string>> = {}): Promise<Journey> {
  return furnish(await startSignet({ engine, env } satisfies SignetOptions));
}

/** Puts a person, an API and clients into a running server. */
export async function furnish(signet: Awaited<ReturnType<typeof startSignet>>): Promise<Journey> {
  const { users, clients, apis } = signet.service;
  const claims = { name: "Maya Lindqvist", given_name: "Maya", family_name: "Lindqvist", locale: "en" };
  const user = await patiently(() =>
    users.create({ email: EMAIL, password: PASSWORD, isEmailVerified: true, claims }, BY),
  );
  await apis.create(
    {
      identifier: API,
      name: "Things",
      scopes: [
        { scope: "read:things", description: "See your things" },
        { scope: "write:things", description: "Change your things" },
      ],
    },
    BY,
  );
  const register = async (metadata: Record<string, unknown>): Promise<Registered> => {
    const { client, secret } = await clients.register(metadata, BY);
    return { id: client.id, secret };
  };
  const granted = [{ identifier: API, scopes: ["read:things"], default: true }];
  const redirects = { redirect_uris: [CALLBACK], post_logout_redirect_uris: ["https://app.example/"] };
  return {
    ...signet,
    userId: user.id,
    register,
    createUser: async (email, password = PASSWORD) => (await patiently(() => users.create({ email, password }, BY))).id,
    web: await register({ client_type: "web", client_name: "Harbor Notes", ...redirects, apis: granted }),
    spa: await register({
      client_type: "spa",
      client_name: "Harbor Board",
      redirect_uris: ["https://spa.example/cb"],
      apis: granted,
    }),
    native: await register({
      client_type: "native",
      client_name: "Harbor Pocket",
      redirect_uris: ["com.example.pocket:/cb"],
      apis: granted,
    }),
    machine: await register({ client_type: "service", client_name: "Harbor Sync", apis: granted }),
    party: async ({ id, secret }, auth = openid.ClientSecretBasic) => {
      const authentication = secret === undefined ? openid.None() : auth(secret);
      return openid.discovery(new URL(signet.issuer), id, {}, authentication, {
        execute: [openid.allowInsecureRequests],
      });
    },
  };
}

/** Hashing is refused when the machine is busy; whoever prepares a test asks again, as a person would. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === 10 || !(error instanceof AppError && error.code === "hasher_busy")) throw error;
    }
  }
}

export interface SignInOptions {
  readonly redirectUri?: string;
  readonly scope?: string;
  readonly parameters?: Readonly<Record<string, string>>;
  /** RFC 8707: the parameter may stand several times. */
  readonly resources?: readonly string[];
  readonly email?: string;
  readonly password?: string;
  /** What to tick on the consent page, by scope. */
  readonly tick?: readonly string[];
  /** A forwarded address of one's own; the server must trust one hop. */
  readonly address?: string;
}

export interface SignedIn {
  readonly callback: URL;
  readonly verifier: string;
  readonly nonce: string;
  readonly state: string;
  /** Titles of the pages on the way. */
  readonly pages: readonly string[];
}

/** Walks from the authorization request to the redirect to the client, answering each page as a person who agrees. */
export async function signIn(
  browser: Client,
  config: openid.Configuration,
  options: SignInOptions = {},
): Promise<SignedIn> {
  const verifier = openid.randomPKCECodeVerifier();
  const [nonce, state] = [openid.randomNonce(), openid.randomState()];
  const url = openid.buildAuthorizationUrl(config, {
    redirect_uri: options.redirectUri ?? CALLBACK,
    scope: options.scope ?? "openid profile email",
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    nonce,
    state,
    ...options.parameters,
  });
  for (const resource of options.resources ?? []) url.searchParams.append("resource", resource);
  const forwarded: Record<string, string> = options.address === undefined ? {} : { "x-forwarded-for": options.address };
  const pages: string[] = [];
  let page = await browser.follow(await browser.get(url.href, forwarded));
  for (let steps = 0; page.location === undefined && steps < 5; steps += 1) {
    pages.push(title(page));
    page = await browser.follow(await answerPage(browser, page, options, forwarded));
  }
  assert.ok(page.location !== undefined, `the walk ended on a page: ${page.status} ${title(page)}`);
  return { callback: new URL(page.location), verifier, nonce, state, pages };
}

async function answerPage(
  browser: Client,
  page: Answer,
  options: SignInOptions,
  headers: Record<string, string>,
): Promise<Answer> {
  if (page.text.includes('name="password"')) {
    return browser.submit(
      page,
      { email: options.email ?? EMAIL, password: options.password ?? PASSWORD },
      { headers, match: 'name="password"' },
    );
  }
  if (page.text.includes('value="allow"')) {
    const fields: Record<string, string> = { decision: "allow" };
    for (const scope of options.tick ?? []) fields["scope"] = scope;
    return browser.submit(page, fields, { headers, match: 'value="allow"' });
  }
  throw new Error(`no answer known for the page "${title(page)}" (${page.status}): ${page.text.slice(0, 1500)}`);
}

export function title(page: Answer): string {
  return /<title>([^<]*)<\/title>/.exec(page.text)?.[1] ?? `(${page.status} without a title)`;
}

/** The whole code flow, with the relying party's library checking everything it can check. */
export async function tokensOf(
  browser: Client,
  config: openid.Configuration,
  options: SignInOptions = {},
): Promise<Awaited<ReturnType<typeof openid.authorizationCodeGrant>>> {
  const signedIn = await signIn(browser, config, options);
  return openid.authorizationCodeGrant(config, signedIn.callback, {
    pkceCodeVerifier: signedIn.verifier,
    expectedNonce: signedIn.nonce,
    expectedState: signedIn.state,
    idTokenExpected: true,
  });
}
