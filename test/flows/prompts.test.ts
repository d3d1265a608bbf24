/** What a person is asked, and when: accounts, sign-in, consent, optional scopes, first-party and native apps; and signing out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as openid from "openid-client";
import { type Answer, type Client, engines } from "../support.ts";
import { API, beginJourney, CALLBACK, EMAIL, type Journey, PASSWORD, signIn, title, tokensOf } from "./journey.ts";

const AGAIN = "another correct horse battery";

for (const { engine, skip } of await engines()) {
  const journey = skip === false ? beginJourney(engine) : undefined;
  const opened = async (): Promise<Journey> => {
    if (journey === undefined) throw new Error("skipped");
    return journey;
  };
  const authorize = async (
    config: openid.Configuration,
    browser: Client,
    parameters: Record<string, string>,
  ): Promise<Answer> => {
    const url = openid.buildAuthorizationUrl(config, {
      redirect_uri: CALLBACK,
      scope: "openid",
      code_challenge: await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier()),
      code_challenge_method: "S256",
      ...parameters,
    });
    return browser.follow(await browser.get(url.href));
  };
  const errorOf = (answer: Answer): string | null =>
    new URL(answer.location ?? "http://none").searchParams.get("error");

  test(`prompt=none is silent with a session and says what is missing without one (${engine})`, { skip }, async () => {
    const { party, web, client, issuer } = await opened();
    const config = await party(web);
    const browser = client();
    const refused = await authorize(config, browser, { prompt: "none" });
    assert.equal(errorOf(refused), "login_required");
    assert.equal(new URL(refused.location ?? "").searchParams.get("iss"), issuer);
    await signIn(browser, config, { scope: "openid" });
    assert.ok(new URL((await authorize(config, browser, { prompt: "none" })).location ?? "").searchParams.get("code"));
    assert.equal(
      errorOf(await authorize(config, browser, { prompt: "none", scope: "openid phone" })),
      "consent_required",
    );
  });

  test(`prompt=login and max_age=0 ask for the password again and move auth_time (${engine})`, { skip }, async () => {
    const { party, web, client } = await opened();
    const config = await party(web);
    const browser = client();
    const first = await tokensOf(browser, config, { scope: "openid" });
    for (const parameters of [{ prompt: "login" }, { max_age: "0" }]) {
      const page = await authorize(config, browser, parameters);
      assert.match(page.text, /name="password"/);
    }
    const again = await tokensOf(browser, config, {
      scope: "openid",
      parameters: { prompt: "login", max_age: "1000" },
    });
    assert.ok(Number(again.claims()?.auth_time) >= Number(first.claims()?.iat ?? 0) - 1);
  });

  test(`prompt=select_account offers the account that is signed in and another one (${engine})`, { skip }, async () => {
    const { party, web, client, createUser } = await opened();
    const config = await party(web);
    const browser = client();
    const otherId = await createUser(`other-${engine}@lindqvist.example`, AGAIN);
    await signIn(browser, config, { scope: "openid" });
    const page = await authorize(config, browser, { prompt: "select_account" });
    assert.match(page.text, /maya@lindqvist\.example/);
    const same = await browser.follow(await browser.submit(page, {}, { match: "/select" }));
    assert.ok(new URL(same.location ?? "").searchParams.get("code"));
    const again = await authorize(config, browser, { prompt: "select_account" });
    const form = await browser.follow(await browser.submit(again, {}, { match: "/switch" }));
    assert.match(form.text, /name="password"/);
    let answer = await browser.follow(
      await browser.submit(
        form,
        { email: `other-${engine}@lindqvist.example`, password: AGAIN },
        { match: 'name="password"' },
      ),
    );
    // Another person signing in signs the first one out: the library posts that by a page of its own.
    answer = await browser.follow(await browser.submit(answer, {}, { match: "/logout/confirm" }));
    answer = await browser.follow(await browser.submit(answer, { decision: "allow" }, { match: 'value="allow"' }));
    assert.ok(new URL(answer.location ?? "").searchParams.get("code"), title(answer));
    const who = await browser.get("/account");
    assert.match(who.text, new RegExp(`other-${engine}@`));
    assert.equal(who.text.includes(EMAIL), false);
    assert.ok(otherId);
  });

  test(`an optional scope can be declined, is then absent, and is not asked again (T-CONS-3, ${engine})`, {
    skip,
  }, async () => {
    const { party, register, client } = await opened();
    const config = await party(
      await register({
        client_type: "web",
        client_name: "Optional",
        redirect_uris: [CALLBACK],
        optional_scopes: ["email", "write:things"],
        apis: [{ identifier: API, scopes: ["read:things", "write:things"], default: true }],
      }),
    );
    const scope = "openid profile email read:things write:things";
    const browser = client();
    const declined = await tokensOf(browser, config, { scope });
    assert.equal(declined["scope"], "read:things");
    const info = await openid.refreshTokenGrant(config, declined.refresh_token ?? "", { scope: "openid profile" });
    const person = await openid.fetchUserInfo(config, info.access_token, declined.claims()?.sub ?? "");
    assert.equal(person.name, "Maya Lindqvist");
    assert.equal("email" in person, false);
    assert.deepEqual((await signIn(browser, config, { scope })).pages, []);
    const allowed = await tokensOf(browser, config, {
      scope,
      parameters: { prompt: "consent" },
      tick: ["write:things"],
    });
    assert.equal(allowed["scope"], "read:things write:things");
  });

  test(`a scope that was not asked cannot be posted (T-CONS-2, ${engine})`, { skip }, async () => {
    const { party, register, client } = await opened();
    const config = await party(
      await register({ client_type: "web", client_name: "Greedy", redirect_uris: [CALLBACK] }),
    );
    const tokens = await tokensOf(client(), config, { scope: "openid", tick: ["phone"] });
    assert.equal(tokens["scope"], "openid");
  });

  test(`denying goes back to the app with access_denied (${engine})`, { skip }, async () => {
    const { party, register, client } = await opened();
    const config = await party(
      await register({ client_type: "web", client_name: "Denied", redirect_uris: [CALLBACK] }),
    );
    const browser = client();
    const login = await authorize(config, browser, { state: "s1" });
    const consent = await browser.follow(
      await browser.submit(login, { email: EMAIL, password: PASSWORD }, { match: 'name="password"' }),
    );
    const back = await browser.follow(await browser.submit(consent, { decision: "deny" }, { match: 'id="deny"' }));
    assert.equal(errorOf(back), "access_denied");
    assert.equal(new URL(back.location ?? "").searchParams.get("state"), "s1");
    const cancelled = await authorize(config, client(), { state: "s2" });
    assert.match(cancelled.text, /\/abort/);
  });

  test(`first-party clients are not asked, native ones always are (T-CONS-6, ${engine})`, { skip }, async () => {
    const { party, register, native, client } = await opened();
    const first = await party(
      await register({ client_type: "web", client_name: "Own", redirect_uris: [CALLBACK], first_party: true }),
    );
    assert.equal((await signIn(client(), first, { scope: "openid profile" })).pages.length, 1);
    const config = await party(native);
    const browser = client();
    const redirectUri = "com.example.pocket:/cb";
    const walked = await signIn(browser, config, { scope: "openid", redirectUri });
    assert.equal(walked.callback.protocol, "com.example.pocket:");
    assert.equal((await signIn(browser, config, { scope: "openid", redirectUri })).pages.length, 1);
    assert.equal(
      errorOf(await authorize(config, browser, { redirect_uri: redirectUri, prompt: "none" })),
      "interaction_required",
    );
    const claimed = await party(
      await register({
        client_type: "native",
        client_name: "Claimed",
        redirect_uris: ["https://pocket.example/cb"],
        first_party: true,
      }),
    );
    const quiet = await authorize(claimed, browser, { redirect_uri: "https://pocket.example/cb", prompt: "none" });
    assert.ok(new URL(quiet.location ?? "").searchParams.get("code"));
  });

  test(`signing out at the app: no question with a valid hint, and what was issued ends (${engine})`, {
    skip,
  }, async () => {
    const { party, web, client, userId } = await opened();
    const config = await party(web);
    const browser = client();
    const bound = await tokensOf(browser, config, { scope: "openid email" });
    const url = openid.buildEndSessionUrl(config, {
      id_token_hint: bound.id_token ?? "",
      post_logout_redirect_uri: "https://app.example/",
      state: "bye",
    });
    const page = await browser.get(url.href);
    assert.match(page.text, /data-answered/);
    const done = await browser.submit(page, { logout: "yes" }, { match: "xsrf" });
    assert.equal(done.location, "https://app.example/?state=bye");
    await assert.rejects(openid.refreshTokenGrant(config, bound.refresh_token ?? ""), { error: "invalid_grant" });
    await assert.rejects(openid.fetchUserInfo(config, bound.access_token, userId));
    assert.match((await authorize(config, browser, {})).text, /name="password"/);
  });

  test(`what was granted for times of absence outlives signing out (${engine})`, { skip }, async () => {
    const { party, web, client } = await opened();
    const config = await party(web);
    const browser = client();
    const tokens = await tokensOf(browser, config, {
      scope: "openid offline_access",
      parameters: { prompt: "consent" },
    });
    const account = await browser.get("/account");
    assert.match(account.text, new RegExp(EMAIL.replace(".", "\\.")));
    await browser.follow(await browser.submit(account, {}, { match: "/account/sign-out" }));
    assert.equal((await browser.get("/account")).text.includes(EMAIL), false);
    assert.ok((await openid.refreshTokenGrant(config, tokens.refresh_token ?? "")).access_token);
  });

  test(`a logout without a hint asks and names nobody else's page to go to (${engine})`, { skip }, async () => {
    const { party, web, client } = await opened();
    const config = await party(web);
    const browser = client();
    await signIn(browser, config, { scope: "openid" });
    const asked = await browser.get("/logout?post_logout_redirect_uri=https%3A%2F%2Fevil.example%2F");
    assert.equal(asked.status, 200);
    assert.equal(asked.text.includes("data-answered"), false);
    const done = await browser.follow(await browser.submit(asked, { logout: "yes" }, { match: "xsrf" }));
    assert.match(done.url, /\/logout\/success$/);
    const foreign = `/logout?client_id=${web.id}&post_logout_redirect_uri=https%3A%2F%2Fevil.example%2F`;
    assert.equal((await browser.get(foreign, { accept: "text/html" })).status, 400);
  });
}
