/** The authorization code flow over HTTP on both engines, with an unmodified relying party. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import * as openid from "openid-client";
import { engines, eventually } from "../support.ts";
import { API, beginJourney, CALLBACK, EMAIL, type Journey, signIn, title, tokensOf } from "./journey.ts";

const WEB = { client_type: "web", redirect_uris: [CALLBACK] };
const FULL_SCOPE = "openid profile email offline_access read:things";

for (const { engine, skip } of await engines()) {
  const journey = skip === false ? beginJourney(engine) : undefined;
  const opened = async (): Promise<Journey> => {
    if (journey === undefined) throw new Error("skipped");
    return journey;
  };

  test(`a web app signs a person in, reads userinfo, refreshes, revokes (${engine})`, { skip }, async () => {
    const { party, web, userId, client } = await opened();
    const config = await party(web);
    const tokens = await tokensOf(client(), config);
    const claims = tokens.claims();
    assert.equal(claims?.sub, userId);
    assert.ok(tokens.refresh_token?.startsWith("sgn_rt_"));
    const info = await openid.fetchUserInfo(config, tokens.access_token, userId);
    assert.equal(info.sub, userId);
    assert.equal(info.email, EMAIL);
    assert.equal(info.email_verified, true);
    assert.equal(info.name, "Maya Lindqvist");
    assert.equal("phone_number" in info, false);
    assert.equal("nickname" in info, false);
    const refreshed = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
    assert.notEqual(refreshed.refresh_token, tokens.refresh_token);
    assert.equal(refreshed.claims()?.sub, userId);
    const about = await openid.tokenIntrospection(config, refreshed.access_token);
    assert.equal(about.active, true);
    await openid.tokenRevocation(config, refreshed.access_token);
    assert.equal((await openid.tokenIntrospection(config, refreshed.access_token)).active, false);
    // Revoking an access token leaves the refresh token; revoking that ends all of it.
    const again = await openid.refreshTokenGrant(config, refreshed.refresh_token ?? "");
    await openid.tokenRevocation(config, again.refresh_token ?? "");
    await assert.rejects(openid.refreshTokenGrant(config, again.refresh_token ?? ""), { error: "invalid_grant" });
    await assert.rejects(openid.fetchUserInfo(config, again.access_token, userId));
  });

  test(`an API's token is verified with nothing but the published keys (${engine})`, { skip }, async () => {
    const { party, web, spa, machine, issuer, userId, client } = await opened();
    const metadata = (await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json()) as {
      jwks_uri: string;
    };
    const keys = createRemoteJWKSet(new URL(metadata.jwks_uri));
    const verify = (token: string) =>
      jwtVerify(token, keys, { issuer, audience: API, typ: "at+jwt", algorithms: ["ES256"] });
    const webTokens = await tokensOf(client(), await party(web), {
      scope: FULL_SCOPE,
      parameters: { resource: API, prompt: "consent" },
    });
    const spaTokens = await tokensOf(client(), await party(spa), {
      scope: "openid read:things",
      redirectUri: "https://spa.example/cb",
    });
    const machineTokens = await openid.clientCredentialsGrant(await party(machine), { scope: "read:things" });
    for (const [token, sub, clientId] of [
      [webTokens.access_token, userId, web.id],
      [spaTokens.access_token, userId, spa.id],
      [machineTokens.access_token, machine.id, machine.id],
    ] as const) {
      const { payload } = await verify(token);
      assert.equal(payload.sub, sub);
      assert.equal(payload["client_id"], clientId);
      assert.equal(payload["scope"], "read:things");
      assert.equal(payload.aud, API);
      assert.equal((payload.exp ?? 0) - (payload.iat ?? 0), 600);
      assert.ok(typeof payload.jti === "string");
      assert.equal(decodeProtectedHeader(token).typ, "at+jwt");
    }
    assert.equal(machineTokens["scope"], "read:things");
    assert.equal(machineTokens.refresh_token, undefined);
  });

  test(`a refresh that names OpenID scopes only gives the token for userinfo (${engine})`, { skip }, async () => {
    const { party, web, userId, client } = await opened();
    const config = await party(web);
    const tokens = await tokensOf(client(), config, {
      scope: FULL_SCOPE,
      parameters: { resource: API, prompt: "consent" },
    });
    await assert.rejects(openid.fetchUserInfo(config, tokens.access_token, userId));
    const forUserinfo = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "", {
      scope: "openid profile email",
    });
    assert.equal((await openid.fetchUserInfo(config, forUserinfo.access_token, userId)).sub, userId);
    const forApi = await openid.refreshTokenGrant(config, forUserinfo.refresh_token ?? "");
    assert.equal(decodeProtectedHeader(forApi.access_token).typ, "at+jwt");
  });

  test(`client credentials fail closed (${engine})`, { skip }, async () => {
    const { party, machine, register } = await opened();
    const config = await party(machine);
    for (const scope of ["write:things", "read:things write:things", "openid", "nothing:known"]) {
      await assert.rejects(openid.clientCredentialsGrant(config, { scope }), { error: "invalid_scope" }, scope);
    }
    await assert.rejects(openid.clientCredentialsGrant(config, { resource: "https://other.example" }), {
      error: "invalid_target",
    });
    assert.equal((await openid.clientCredentialsGrant(config))["scope"], "read:things");
    const bare = await party(await register({ client_type: "service", client_name: "Bare" }));
    await assert.rejects(openid.clientCredentialsGrant(bare, { scope: "read:things" }), { error: "invalid_scope" });
    await assert.rejects(openid.clientCredentialsGrant(bare), { error: "invalid_target" });
  });

  test(`consent is remembered, and only what is new is asked (T-CONS-4, ${engine})`, { skip }, async () => {
    const { party, register, client } = await opened();
    const registered = await register({
      client_type: "web",
      client_name: "Remembers",
      redirect_uris: [CALLBACK],
      apis: [{ identifier: API, scopes: ["read:things"], default: true }],
    });
    const config = await party(registered);
    const first = await signIn(client(), config, { scope: "openid profile" });
    assert.equal(first.pages.length, 2);
    // Another browser, so nothing of the session helps: the consent itself is remembered.
    const second = await signIn(client(), config, { scope: "openid profile" });
    assert.equal(second.pages.length, 1);
    const third = client();
    const more = await signIn(third, config, { scope: "openid profile email" });
    assert.equal(more.pages.length, 2);
    const quiet = await signIn(third, config, { scope: "openid profile email" });
    assert.deepEqual(quiet.pages, []);
    // A sign-in that allowed one thing hears of what was allowed elsewhere meanwhile, and is asked for the rest alone (T-CONS-4).
    const old = client();
    const narrow = await party(
      await register({
        client_type: "web",
        client_name: "Grows",
        redirect_uris: [CALLBACK],
        optional_scopes: ["phone"],
      }),
    );
    assert.equal((await signIn(old, narrow, { scope: "openid email" })).pages.length, 2);
    assert.equal((await signIn(client(), narrow, { scope: "openid email profile" })).pages.length, 2);
    assert.deepEqual((await signIn(old, narrow, { scope: "openid email profile" })).pages, []);
    const url = openid.buildAuthorizationUrl(narrow, {
      redirect_uri: CALLBACK,
      scope: "openid email profile phone",
      code_challenge: await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier()),
      code_challenge_method: "S256",
    });
    const page = await old.follow(await old.get(url.href));
    const asked = [...page.text.matchAll(/name="scope"[^>]* value="([^"]+)"/g)].map(([, scope]) => scope);
    assert.deepEqual(asked, ["phone"], title(page));
  });

  test(`a refresh token used again outside its window ends its sign-in and no other (T-SESS-13, ${engine})`, {
    skip,
  }, async () => {
    const { party, register, client, userId } = await opened();
    const strict = await party(
      await register({ client_type: "web", client_name: "Strict", redirect_uris: [CALLBACK], refresh_window: 0 }),
    );
    const one = await tokensOf(client(), strict);
    const other = await tokensOf(client(), strict);
    const rotated = await openid.refreshTokenGrant(strict, one.refresh_token ?? "");
    await assert.rejects(openid.refreshTokenGrant(strict, one.refresh_token ?? ""), { error: "invalid_grant" });
    await assert.rejects(openid.refreshTokenGrant(strict, rotated.refresh_token ?? ""), { error: "invalid_grant" });
    await assert.rejects(openid.fetchUserInfo(strict, rotated.access_token, userId));
    assert.ok((await openid.refreshTokenGrant(strict, other.refresh_token ?? "")).refresh_token);
  });

  test(`a code and a refresh token that come again are each one event on the audit trail and one in the metrics (T-LOG-3, ${engine})`, {
    skip,
  }, async () => {
    const { party, register, client, service, managementUrl } = await opened();
    const app = await register({ ...WEB, client_name: "Told", refresh_window: 0 });
    const config = await party(app);
    const counted = async (what: string): Promise<number> => {
      const text = await (await fetch(`${managementUrl}/metrics`)).text();
      return Number(new RegExp(`^signet_reuse_detected_total\\{what="${what}"\\} (\\d+)`, "m").exec(text)?.[1] ?? 0);
    };
    const recorded = async (name: string): Promise<readonly Record<string, unknown>[]> =>
      service.db.query(
        "select actor_kind, actor_id, subject_kind, data from audit_events where name = $1 and actor_id = $2",
        [name, app.id],
      );
    const { callback, verifier, nonce, state } = await signIn(client(), config);
    const checks = { pkceCodeVerifier: verifier, expectedNonce: nonce, expectedState: state };
    const redeem = () => openid.authorizationCodeGrant(config, callback, checks);
    const tokens = await openid.refreshTokenGrant(config, (await tokensOf(client(), config)).refresh_token ?? "");
    await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
    await redeem();
    for (const [what, name, again] of [
      ["code", "code.reuse_detected", redeem],
      ["refresh_token", "token.reuse_detected", () => openid.refreshTokenGrant(config, tokens.refresh_token ?? "")],
    ] as const) {
      const before = await counted(what);
      assert.deepEqual(await recorded(name), []);
      await assert.rejects(again(), { error: "invalid_grant" });
      assert.equal(await counted(what), before + 1);
      const rows = await eventually(async () => {
        const found = await recorded(name);
        return found.length > 0 && found;
      });
      assert.equal(rows.length, 1);
      assert.deepEqual([rows[0]?.["actor_kind"], rows[0]?.["subject_kind"]], ["client", "grant"]);
    }
  });

  test(`two tabs that refresh at once get the same successor (${engine})`, { skip }, async () => {
    const { party, spa, client } = await opened();
    const config = await party(spa);
    const tokens = await tokensOf(client(), config, { redirectUri: "https://spa.example/cb" });
    const tabs = await Promise.all([1, 2, 3].map(() => openid.refreshTokenGrant(config, tokens.refresh_token ?? "")));
    assert.equal(new Set(tabs.map((tab) => tab.refresh_token)).size, 1);
    assert.ok((await openid.refreshTokenGrant(config, tabs[0]?.refresh_token ?? "")).access_token);
  });
}
