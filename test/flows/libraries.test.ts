/** Standard clients, unmodified: openid-client, oauth4webapi, and oidc-client-ts as a single-page app in a real browser, each through its whole life. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { test } from "node:test";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import type { Page } from "playwright-core";
import { atEnd, type Client, engines, eventually, withoutChromium } from "../support.ts";
import { page as answerPage, serve } from "./apps.ts";
import {
  API,
  beginJourney,
  CALLBACK,
  EMAIL,
  type Journey,
  type Registered,
  signIn,
  title,
  tokensOf,
} from "./journey.ts";
import { allow, fillSignIn, visit } from "./visit.ts";

const HOME = "https://app.example/";
/** A person's name in another alphabet travels through every encoding on the way. */
const NAME = "Zoë Ångström-李";
const noBrowser = await withoutChromium();

for (const { engine, skip } of await engines()) {
  const journey = skip === false ? beginJourney(engine) : undefined;
  const opened = async (): Promise<Journey> => {
    if (journey === undefined) throw new Error("skipped");
    return journey;
  };

  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const keys = { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k1", alg: "ES256", use: "sig" }] };
  const key = (): Promise<CryptoKey> => {
    const der = privateKey.export({ format: "der", type: "pkcs8" });
    return crypto.subtle.importKey("pkcs8", der, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
  };

  for (const [method, metadata, auth] of [
    ["client_secret_basic", {}, openid.ClientSecretBasic],
    ["client_secret_post", {}, openid.ClientSecretPost],
    ["private_key_jwt", { jwks: keys }, async () => openid.PrivateKeyJwt({ key: await key(), kid: "k1" })],
    ["none", { client_type: "spa" }, () => openid.None()],
  ] as const)
    test(`openid-client goes from discovery to signing out with ${method} (${engine})`, { skip }, async () => {
      const { issuer, register, client, userId } = await opened();
      const app = await register({
        client_type: "web",
        client_name: `Whole life by ${method}`,
        redirect_uris: [CALLBACK],
        post_logout_redirect_uris: [HOME],
        token_endpoint_auth_method: method,
        ...metadata,
      });
      const authentication = await auth(app.secret ?? "");
      const execute = [openid.allowInsecureRequests];
      const config = await openid.discovery(new URL(issuer), app.id, undefined, authentication, { execute });
      const browser = client();
      const tokens = await tokensOf(browser, config, { parameters: { max_age: "600" } });
      assert.equal(tokens.claims()?.sub, userId);
      const person = await openid.fetchUserInfo(config, tokens.access_token, userId);
      assert.equal(person.email, EMAIL);
      const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
      assert.equal(renewed.claims()?.sub, userId);
      if (method !== "none") assert.equal((await openid.tokenIntrospection(config, renewed.access_token)).active, true);
      await openid.tokenRevocation(config, renewed.refresh_token ?? "", { token_type_hint: "refresh_token" });
      await assert.rejects(openid.refreshTokenGrant(config, renewed.refresh_token ?? ""), { error: "invalid_grant" });
      await assert.rejects(openid.fetchUserInfo(config, renewed.access_token, userId), { status: 401 });
      const leaving = openid.buildEndSessionUrl(config, {
        id_token_hint: renewed.id_token ?? "",
        post_logout_redirect_uri: HOME,
        state: "bye",
      });
      assert.equal(await leave(browser, leaving), `${HOME}?state=bye`);
      // An answer that says no comes back with its reason and passes the library's checks on iss and state.
      const refused = await browser.get(
        openid.buildAuthorizationUrl(config, {
          redirect_uri: CALLBACK,
          scope: "openid",
          prompt: "none",
          ...(await pkce()),
        }).href,
      );
      await assert.rejects(
        openid.authorizationCodeGrant(config, new URL(refused.location ?? ""), { pkceCodeVerifier: "x".repeat(43) }),
        { error: "login_required" },
      );
    });

  test(`oauth4webapi, which checks every answer to the letter, finds nothing (${engine})`, { skip }, async () => {
    const { issuer, web, party, client, userId } = await opened();
    const insecure = { [oauth.allowInsecureRequests]: true };
    for (const algorithm of ["oidc", "oauth2"] as const) {
      const answer = await oauth.discoveryRequest(new URL(issuer), { ...insecure, algorithm });
      assert.equal((await oauth.processDiscoveryResponse(new URL(issuer), answer)).issuer, issuer);
    }
    const as = await oauth.processDiscoveryResponse(
      new URL(issuer),
      await oauth.discoveryRequest(new URL(issuer), { ...insecure, algorithm: "oidc" }),
    );
    const me: oauth.Client = { client_id: web.id };
    const auth = oauth.ClientSecretBasic(web.secret ?? "");
    const browser = client();
    // The walk through the pages is a person's, not the library's; the callback is read by the library alone.
    const walked = await signIn(browser, await party(web), { parameters: { max_age: "600" } });
    const parameters = oauth.validateAuthResponse(as, me, walked.callback, walked.state);
    const answer = await oauth.authorizationCodeGrantRequest(
      as,
      me,
      auth,
      parameters,
      CALLBACK,
      walked.verifier,
      insecure,
    );
    const tokens = await oauth.processAuthorizationCodeResponse(as, me, answer, {
      expectedNonce: walked.nonce,
      maxAge: 600,
      requireIdToken: true,
    });
    // Over plain http the library leaves the signature to the application; it is checked here against the published keys.
    await oauth.validateApplicationLevelSignature(as, answer, insecure);
    assert.equal(oauth.getValidatedIdTokenClaims(tokens)?.sub, userId);
    const info = await oauth.userInfoRequest(as, me, tokens.access_token, insecure);
    assert.equal((await oauth.processUserInfoResponse(as, me, userId, info)).email, EMAIL);
    const renewal = await oauth.refreshTokenGrantRequest(as, me, auth, tokens.refresh_token ?? "", insecure);
    const renewed = await oauth.processRefreshTokenResponse(as, me, renewal);
    assert.notEqual(renewed.refresh_token, tokens.refresh_token);
    await oauth.validateApplicationLevelSignature(as, renewal, insecure);
    const question = await oauth.introspectionRequest(as, me, auth, renewed.access_token, insecure);
    assert.equal((await oauth.processIntrospectionResponse(as, me, question)).active, true);
    for (const token of [renewed.access_token, renewed.refresh_token ?? "", "unknown"])
      await oauth.processRevocationResponse(await oauth.revocationRequest(as, me, auth, token, insecure));
    const dead = await oauth.refreshTokenGrantRequest(as, me, auth, renewed.refresh_token ?? "", insecure);
    await assert.rejects(oauth.processRefreshTokenResponse(as, me, dead), { error: "invalid_grant" });
    await assert.rejects(
      async () =>
        oauth.processUserInfoResponse(
          as,
          me,
          userId,
          await oauth.userInfoRequest(as, me, renewed.access_token, insecure),
        ),
      (error) => error instanceof oauth.WWWAuthenticateChallengeError && error.status === 401,
    );
  });

  test(`oauth4webapi gets a service its token and checks it as the API does (${engine})`, { skip }, async () => {
    const { issuer, machine } = await opened();
    const insecure = { [oauth.allowInsecureRequests]: true };
    const as = await oauth.processDiscoveryResponse(
      new URL(issuer),
      await oauth.discoveryRequest(new URL(issuer), { ...insecure, algorithm: "oauth2" }),
    );
    const me: oauth.Client = { client_id: machine.id };
    const auth = oauth.ClientSecretPost(machine.secret ?? "");
    const answer = await oauth.clientCredentialsGrantRequest(
      as,
      me,
      auth,
      { scope: "read:things", resource: API },
      insecure,
    );
    const tokens = await oauth.processClientCredentialsResponse(as, me, answer);
    const call = (token: string): Request => new Request(API, { headers: { authorization: `Bearer ${token}` } });
    const claims = await oauth.validateJwtAccessToken(as, call(tokens.access_token), API, insecure);
    assert.deepEqual([claims.sub, claims.client_id, claims.scope], [machine.id, machine.id, "read:things"]);
    await assert.rejects(
      oauth.validateJwtAccessToken(as, call(tokens.access_token), "https://other.example", insecure),
    );
    const refused = await oauth.clientCredentialsGrantRequest(as, me, auth, { scope: "write:things" }, insecure);
    await assert.rejects(oauth.processClientCredentialsResponse(as, me, refused), { error: "invalid_scope" });
  });

  const skipped = skip === false ? noBrowser : skip;
  test(`oidc-client-ts signs in, renews by itself, revokes and signs out in a browser (${engine})`, {
    skip: skipped,
  }, async () => {
    const { issuer, register, service } = await opened();
    const email = `zoe-${engine}@lindqvist.example`;
    const claims = { name: NAME };
    const by = { kind: "system", id: "test" } as const;
    const { id } = await service.users.create({ email, password: "a sentence of my own", claims }, by);
    const app = await startSpa(issuer, register);
    const { page, newPage, complaints, close } = await visit();
    atEnd(close);
    await page.goto(app.origin);
    assert.equal(await run(page, "manager.getUser()"), null);
    // The page leaves while the call is on its way, so nobody waits for its answer.
    await run(page, "void manager.signinRedirect({ state: { from: 'the front page' } })");
    await fillSignIn(page, { email, password: "a sentence of my own" });
    await allow(page);
    await signedIn(page);
    const first = (await run(page, "manager.getUser()")) as Person;
    assert.deepEqual([first.profile.sub, first.profile.name, first.profile.email], [id, NAME, email]);
    assert.deepEqual(await run(page, "globalThis.arrived.state"), { from: "the front page" });
    // The library renews three seconds after a token came, as it would a minute before its end.
    await run(page, "void manager.startSilentRenew()");
    const renewed = await eventually(async () => {
      const person = (await run(page, "manager.getUser()")) as Person;
      return person.access_token !== first.access_token && person;
    }, 8000);
    await run(page, "void manager.stopSilentRenew()");
    assert.notEqual(renewed.refresh_token, first.refresh_token);
    assert.equal(renewed.profile.sub, id);
    // A second tab has the same tokens in its storage, and both renew at once: neither loses its sign-in.
    const tab = await newPage();
    await tab.goto(app.origin);
    const both = (await Promise.all([page, tab].map((one) => run(one, "manager.signinSilent()")))) as Person[];
    assert.equal(both[0]?.refresh_token, both[1]?.refresh_token);
    assert.ok(await run(tab, "manager.signinSilent()"));
    await run(tab, "manager.revokeTokens()");
    // The library forgets the refresh token once it was revoked; the access token it keeps is dead.
    assert.equal(((await run(tab, "manager.getUser()")) as Person).refresh_token, null);
    const dead = await fetch(`${issuer}/userinfo`, { headers: { authorization: `Bearer ${both[0]?.access_token}` } });
    assert.equal(dead.status, 401);
    await run(tab, "void manager.signoutRedirect({ state: 'bye' })");
    await tab.waitForURL(`${app.origin}/?state=*`);
    await tab.waitForFunction("globalThis.isReady === true");
    assert.equal(await run(tab, "manager.getUser()"), null);
    await tab.goto(`${issuer}/account`);
    assert.match(await tab.title(), /^Nobody is signed in/);
    assert.deepEqual(complaints, []);
  });
}

interface Person {
  readonly access_token: string;
  readonly refresh_token?: string | null;
  readonly profile: { readonly sub: string; readonly name?: string; readonly email?: string };
}

/** Runs in the page; what the library returns comes back as plain data. */
async function run(page: Page, expression: string): Promise<unknown> {
  return page.evaluate(`(async () => {
    const value = await (async () => (${expression}))();
    return value === undefined ? undefined : JSON.parse(JSON.stringify(value));
  })()`);
}

async function signedIn(page: Page): Promise<void> {
  await page.waitForFunction("globalThis.isReady === true");
  assert.equal(await run(page, "globalThis.failure ?? null"), null);
  assert.notEqual(await run(page, "manager.getUser()"), null, title({ text: await page.content() } as never));
}

/** A single-page app on an origin of its own, on the library's browser bundle as it is published. */
async function startSpa(
  issuer: string,
  register: Journey["register"],
): Promise<{ origin: string; client: Registered }> {
  const manifest = createRequire(import.meta.url).resolve("oidc-client-ts/package.json");
  const bundle = await readFile(manifest.replace("package.json", "dist/browser/oidc-client-ts.min.js"));
  let script = "";
  const origin = await serve((_request, response, url) => {
    if (!url.pathname.endsWith(".js")) {
      answerPage(response, '<script src="/library.js"></script><script src="/app.js"></script>');
      return;
    }
    response.writeHead(200, { "content-type": "text/javascript" });
    response.end(url.pathname === "/app.js" ? script : bundle);
  });
  const client = await register({
    client_type: "spa",
    client_name: "Harbor Board",
    redirect_uris: [`${origin}/callback`],
    post_logout_redirect_uris: [`${origin}/`],
  });
  const settings = {
    authority: issuer,
    client_id: client.id,
    redirect_uri: `${origin}/callback`,
    post_logout_redirect_uri: `${origin}/`,
    scope: "openid profile email",
    loadUserInfo: true,
    automaticSilentRenew: false,
    // Tokens live ten minutes.
    accessTokenExpiringNotificationTimeInSeconds: 597,
  };
  script = `
    const store = new oidc.WebStorageStateStore({ store: localStorage });
    globalThis.manager = new oidc.UserManager({ ...${JSON.stringify(settings)}, userStore: store });
    const isLeaving = location.pathname === "/" && location.search !== "";
    const done =
      location.pathname === "/callback" ? manager.signinRedirectCallback()
      : isLeaving ? manager.signoutRedirectCallback()
      : Promise.resolve();
    done.then((user) => { globalThis.arrived = user; }).catch((error) => { globalThis.failure = String(error); }).finally(() => { globalThis.isReady = true; });
  `;
  return { origin, client };
}

async function leave(browser: Client, url: URL): Promise<string | undefined> {
  const page = await browser.get(url.href);
  assert.match(page.text, /data-answered/);
  return (await browser.submit(page, { logout: "yes" }, { match: "xsrf" })).location;
}

async function pkce(): Promise<Record<string, string>> {
  const challenge = await openid.calculatePKCECodeChallenge("x".repeat(43));
  return { code_challenge: challenge, code_challenge_method: "S256" };
}
