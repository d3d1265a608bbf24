/** What the tests of revocation stand on: two processes of one installation, a person's tokens of either kind, and asking every place that could still honour them. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { CHECKOUT, nodeArgs } from "../ladder.ts";
import { type Answer, type Client, type Engine, type Signet, spawnSignet, startSignet } from "../support.ts";
import { basic } from "./faults.ts";
import { furnish, type Journey, type Registered, signIn } from "./journey.ts";

const run = promisify(execFile);
const OPENID = "openid profile email";

/** Tokens of one sign-in at one client, and the browser in which it was done. */
export interface Held {
  readonly client: Registered;
  readonly browser: Client;
  readonly authorizeUrl: string;
  accessToken: string;
  refreshToken: string;
}

export interface Pair extends Journey {
  /** Two processes; the first is this one. */
  readonly both: readonly [Signet, Signet];
}

export async function openPair(engine: Engine, env: Readonly<Record<string, string>> = {}): Promise<Pair> {
  const first = await startSignet({ engine, env });
  const second = await spawnSignet({ engine, beside: { env: first.env } });
  const journey = await furnish(first);
  return { ...journey, both: [first, second] };
}

/** `signet …` as an operator calls it, with the server's environment. */
export async function command(pair: Pair, ...argv: readonly string[]): Promise<Record<string, unknown>> {
  const { stdout } = await run(process.execPath, [...nodeArgs("src/main.ts"), ...argv, "--json"], {
    cwd: CHECKOUT,
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", ...pair.env },
  });
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Signs in, in a browser of its own unless one is given. The access token serves userinfo. */
export async function hold(
  pair: Pair,
  client: Registered,
  options: { email?: string; password?: string; isOffline?: boolean; browser?: Client } = {},
): Promise<Held> {
  const config = await pair.party(client);
  const browser = options.browser ?? pair.client();
  const scope = options.isOffline === true ? `${OPENID} offline_access` : OPENID;
  const consent: Record<string, string> = options.isOffline === true ? { prompt: "consent" } : {};
  const { callback, verifier } = await signIn(browser, config, { ...options, scope, parameters: consent });
  const tokens = await pair.client().post(
    "/token",
    {
      grant_type: "authorization_code",
      code: callback.searchParams.get("code") ?? "",
      redirect_uri: callback.origin + callback.pathname,
      code_verifier: verifier,
      scope,
    },
    basic(client),
  );
  assert.equal(tokens.status, 200, tokens.text);
  const silent = new URL("/authorize", pair.issuer);
  silent.search = new URLSearchParams({
    client_id: client.id,
    redirect_uri: callback.origin + callback.pathname,
    response_type: "code",
    scope: OPENID,
    prompt: "none",
    code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    code_challenge_method: "S256",
  }).toString();
  const held = { client, browser, authorizeUrl: silent.href, ...tokensOf(tokens) };
  // A client with an API of its own gets its token for that one; one that asks for OpenID scopes gets one for userinfo.
  await mustWork(pair, held);
  return held;
}

function tokensOf(answer: Answer): { accessToken: string; refreshToken: string } {
  const { access_token: accessToken, refresh_token: refreshToken } = answer.json();
  return { accessToken: String(accessToken), refreshToken: String(refreshToken) };
}

export function refresh(at: Signet, { client, refreshToken }: Held): Promise<Answer> {
  return at
    .client()
    .post("/token", { grant_type: "refresh_token", refresh_token: refreshToken, scope: OPENID }, basic(client));
}

export function userinfo(at: Signet, { accessToken }: Held): Promise<Answer> {
  return at.client().get("/userinfo", { authorization: `Bearer ${accessToken}` });
}

export function introspect(at: Signet, { client }: Held, token: string): Promise<Answer> {
  return at.client().post("/introspect", { token }, basic(client));
}

/** A silent sign-in with the cookies of the browser, at any of the processes. */
export async function authorize(at: Signet, held: Held): Promise<string | null> {
  const browser = at.client();
  for (const { name, value, path } of held.browser.cookies.values())
    browser.setCookie(`${name}=${value}; Path=${path}`);
  const answer = await browser.get(held.authorizeUrl);
  const location = new URL(answer.location ?? "http://none");
  return location.searchParams.get("error") ?? (location.searchParams.has("code") ? "code" : null);
}

/** Everywhere; the refresh rotates, so the newest token is held afterwards. */
export async function mustWork(pair: Pair, held: Held): Promise<void> {
  for (const at of pair.both) {
    const refreshed = await refresh(at, held);
    assert.equal(refreshed.status, 200, refreshed.text);
    Object.assign(held, tokensOf(refreshed));
    assert.equal((await userinfo(at, held)).status, 200);
    for (const token of [held.accessToken, held.refreshToken]) {
      assert.equal((await introspect(at, held, token)).json()["active"], true);
    }
  }
}

/** Nowhere, by no way; `isSignedOut` says that the browser session is dead, too. */
export async function mustBeDead(
  pair: Pick<Pair, "both">,
  held: Held,
  { isSignedOut, isClientGone = false }: { isSignedOut: boolean; isClientGone?: boolean },
): Promise<void> {
  for (const at of pair.both) {
    const [refreshed, info, ofAccess, ofRefresh, silent] = await Promise.all([
      refresh(at, held),
      userinfo(at, held),
      introspect(at, held, held.accessToken),
      introspect(at, held, held.refreshToken),
      isClientGone ? null : authorize(at, held),
    ]);
    const errors = isClientGone ? ["invalid_grant", "invalid_client"] : ["invalid_grant"];
    assert.ok(errors.includes(String(refreshed.json()["error"])), `${refreshed.status} ${refreshed.text}`);
    assert.equal(info.status, 401, info.text);
    for (const answer of [ofAccess, ofRefresh]) {
      const isRefused = isClientGone && answer.status === 401;
      assert.ok(isRefused || answer.json()["active"] === false, answer.text);
    }
    if (!isClientGone) assert.equal(silent, isSignedOut ? "login_required" : "code");
  }
}
