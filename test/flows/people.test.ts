/** People come and go, over HTTP and real SMTP: sign-up, recovery, change of address, apps, sessions, deletion. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as openid from "openid-client";
import { type Answer, type Client, engines, eventually } from "../support.ts";
import { API, beginJourney, CALLBACK, EMAIL, type Journey, PASSWORD, signIn, title, tokensOf } from "./journey.ts";
import { startMailServer } from "./mailbox.ts";
import { limitRows, mailFaultRow, type People, passwordRows, userNameRow } from "./people-rows.ts";

const NEW_PASSWORD = "seven quiet harbours wait";
const mail = await startMailServer();
const journeys = new Map<string, Promise<Journey>>();
/** One server per engine; each test has its own forwarded address, so that limits of networks do not meet. */
function journeyOn(engine: "redis" | "postgres"): Promise<Journey> {
  const known =
    journeys.get(engine) ??
    beginJourney(engine, {
      ...{ SMTP_URL: mail.url, TRUST_PROXY: "1", TERMS_URL: "https://id.example/terms" },
      BRAND_NAME: "Harbourmaster",
    });
  journeys.set(engine, known);
  return known;
}
let lastAddress = 0;
function browserOf(journey: Journey): { browser: Client; headers: Record<string, string> } {
  lastAddress += 1;
  const headers = { "x-forwarded-for": `198.18.${lastAddress >> 8}.${lastAddress & 255}` };
  return { browser: journey.client(), headers };
}

async function authorizeUrl(journey: Journey, parameters: Record<string, string> = {}) {
  const verifier = openid.randomPKCECodeVerifier();
  const url = openid.buildAuthorizationUrl(await journey.party(journey.web), {
    redirect_uri: CALLBACK,
    scope: "openid email",
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state: "st-1",
    ...parameters,
  });
  return { url, verifier };
}

/** Along redirects with the headers of this browser, which names itself in every request. */
async function walk(browser: Client, answer: Answer, headers: Record<string, string>): Promise<Answer> {
  let at = answer;
  while (at.location?.startsWith(new URL(at.url).origin) === true) at = await browser.get(at.location, headers);
  return at;
}

async function enter(
  journey: Journey,
  { browser, headers }: { browser: Client; headers: Record<string, string> },
  { email = EMAIL, password = PASSWORD } = {},
): Promise<Answer> {
  const page = await walk(browser, await browser.get(`${journey.issuer}/account/sign-in?to=home`, headers), headers);
  return walk(browser, await browser.submit(page, { email, password }, { headers, match: 'name="password"' }), headers);
}

for (const { engine, skip } of await engines()) {
  const on = (name: string): string => `${name} (${engine})`;

  test(on("a field of the profile is marked alone, and what became of the account is told in words"), {
    skip,
  }, async () => {
    const journey = await journeyOn(engine);
    const who = browserOf(journey);
    await enter(journey, who);
    const page = await who.browser.get(`${journey.issuer}/account/profile`, who.headers);
    const answer = await who.browser.submit(
      page,
      { nickname: "n".repeat(300) },
      { headers: who.headers, match: 'name="nickname"' },
    );
    const marked = [...answer.text.matchAll(/<input[^>]*aria-invalid="true"[^>]*>/g)].map(
      ([input]) => / name="([^"]+)"/.exec(input)?.[1],
    );
    assert.deepEqual(marked, ["nickname"]);
    const by = { kind: "system", id: "test" } as const;
    await journey.service.roles.grant({ kind: "user", id: journey.userId }, "auditor", by);
    await journey.service.roles.revoke({ kind: "user", id: journey.userId }, "auditor", by);
    const activity = await who.browser.get(`${journey.issuer}/account/activity`, who.headers);
    assert.match(activity.text, /Role given/);
    assert.match(activity.text, /Role taken/);
    assert.doesNotMatch(activity.text, /role\.(granted|revoked)/);
  });

  test(on(
    "guesses at a client's secret are throttled by client and address, for an id of nobody alike (T-RL-5, T-ENUM-7)",
  ), {
    skip,
  }, async () => {
    const journey = await journeyOn(engine);
    const apis = [{ identifier: API, scopes: ["read:things"] }];
    const app = await journey.register({ client_type: "service", client_name: "Guessed at", apis });
    const [here, there] = [browserOf(journey).headers, browserOf(journey).headers];
    const ask = (id: string, secret: string, headers: Record<string, string>): Promise<Answer> => {
      const authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
      return journey.client().post("/token", { grant_type: "client_credentials" }, { ...headers, authorization });
    };
    const told = async (id: string): Promise<readonly unknown[]> => {
      const answers: unknown[] = [];
      for (let guess = 0; guess < 20; guess += 1) {
        const { status, headers, text } = await ask(id, `wrong-${guess}`, here);
        const isTold = status === 429 ? Number(headers["retry-after"]) > 0 : headers["retry-after"] === undefined;
        answers.push([status, isTold, status === 429 ? "" : text, Object.keys(headers).sort().join()]);
      }
      return answers;
    };
    const known = await told(app.id);
    assert.deepEqual(
      known.map((answer) => (answer as [number])[0]),
      [...Array.from({ length: 15 }, () => 401), ...Array.from({ length: 5 }, () => 429)],
    );
    assert.deepEqual(await told("cl_of_nobody_at_all"), known, "an id of nobody is told the same");
    const right = app.secret ?? "";
    const blocked = await ask(app.id, right, here);
    assert.deepEqual([blocked.status, typeof blocked.json()["error"]], [429, "string"]);
    // Spelt otherwise it is the same client (RFC 6749 section 2.3.1).
    const spelt = `%${app.id.charCodeAt(0).toString(16)}${app.id.slice(1)}`;
    assert.equal((await ask(spelt, right, here)).status, 429);
    const requestId = String(blocked.headers["x-request-id"]);
    const why = await eventually(async () => {
      await journey.service.failures.flush();
      return journey.service.failures.find(requestId, "en");
    });
    assert.match(why.why, /Too many secrets/);
    assert.equal((await ask(app.id, right, there)).status, 200, "from elsewhere the secret works");
    const other = await journey.register({ client_type: "service", client_name: "Beside it", apis });
    assert.equal((await ask(other.id, other.secret ?? "", here)).status, 200, "another client is not hindered");
  });

  test(on("sign-up by prompt=create, the code from the mail, and on to the app with a code"), { skip }, async () => {
    const journey = await journeyOn(engine);
    const { browser, headers } = browserOf(journey);
    const { url, verifier } = await authorizeUrl(journey, { prompt: "create" });
    let page = await browser.follow(await browser.get(url.href, headers));
    assert.match(title(page), /Create an account/);
    page = await browser.submit(
      page,
      { name: "Nora", email: "Nora@New.example", password: NEW_PASSWORD, terms: "yes" },
      { headers, match: 'name="password"' },
    );
    page = await browser.follow(page);
    assert.match(title(page), /mailbox/);
    const letter = await mail.next("Nora@new.example");
    assert.match(letter.code, /^\d{4} \d{4}$/);
    assert.match(letter.link, new RegExp(`^${journey.issuer}/sign-up/[A-Za-z0-9_-]{43}$`));
    assert.ok(letter.html.includes(letter.link) && !/<(img|link|script)\b/i.test(letter.html));
    assert.equal(
      await journey.service.users.findByEmail("nora@new.example"),
      undefined,
      "nobody exists before the proof",
    );
    page = await browser.submit(page, { code: "0000 0000" }, { headers, match: 'name="code"' });
    assert.equal(page.status, 400);
    page = await browser.follow(await browser.submit(page, { code: letter.code }, { headers, match: 'name="code"' }));
    assert.ok(page.text.includes('value="allow"'), title(page));
    page = await browser.follow(await browser.submit(page, { decision: "allow" }, { headers, match: 'value="allow"' }));
    const tokens = await openid.authorizationCodeGrant(await journey.party(journey.web), new URL(page.location ?? ""), {
      pkceCodeVerifier: verifier,
      expectedState: "st-1",
    });
    const user = await journey.service.users.findByEmail("nora@new.example");
    assert.equal(tokens.claims()?.sub, user?.id);
    assert.equal(user?.isEmailVerified, true);
    assert.equal(user?.claims.name, "Nora");
    const [row] = await journey.service.db.query<{ terms: { terms: string } }>(
      "select terms from users where id = $1",
      [user?.id ?? ""],
    );
    assert.equal(row?.terms.terms, "https://id.example/terms");
    const data = await browser.get(`${journey.issuer}/account/data`, headers);
    const accepted = data.json()["accepted_terms"] as Record<string, string>;
    assert.equal(accepted["terms"], "https://id.example/terms");
    assert.ok(Math.abs(Date.parse(accepted["at"] ?? "") - Date.now()) < 600_000, "and when");
    assert.deepEqual(user?.roles, []);
  });

  test(on("the language of the app's request comes before the account's, and that before the browser's"), {
    skip,
  }, async () => {
    const journey = await journeyOn(engine);
    const email = `sprache-${engine}@new.example`;
    const id = await journey.createUser(email);
    await journey.service.db.transaction((tx) => journey.service.users.savePerson(tx, id, { language: "de" }));
    const { browser, headers } = browserOf(journey);
    const languages: (string | undefined)[] = [];
    for (const parameters of [{ prompt: "login" }, { prompt: "consent" }, { prompt: "consent", ui_locales: "en" }]) {
      const { url } = await authorizeUrl(journey, parameters);
      let page = await walk(browser, await browser.get(url.href, headers), headers);
      languages.push(/<html lang="(\w+)"/.exec(page.text)?.[1]);
      if (!page.text.includes('name="password"')) continue;
      page = await browser.submit(page, { email, password: PASSWORD }, { headers, match: 'name="password"' });
      await walk(browser, page, headers);
    }
    assert.deepEqual(languages, ["en", "de", "en"]);
  });

  test(on(
    "T-MAIL-6: the link in another browser asks for the password, verifies, signs nobody in there, and the first browser goes on",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const { browser, headers } = browserOf(journey);
    const { url } = await authorizeUrl(journey, { prompt: "create" });
    let page = await browser.follow(await browser.get(url.href, headers));
    page = await browser.follow(
      await browser.submit(
        page,
        { email: "olof@new.example", password: NEW_PASSWORD, terms: "yes" },
        { headers, match: 'name="password"' },
      ),
    );
    const { link } = await mail.next("olof@new.example");
    const other = browserOf(journey);
    let there = await other.browser.get(link, other.headers);
    assert.equal(there.status, 200);
    assert.equal(there.headers["referrer-policy"], "no-referrer");
    assert.equal(
      await journey.service.users.findByEmail("olof@new.example"),
      undefined,
      "T-MAIL-2: opening it verifies nothing",
    );
    there = await other.browser.submit(there, { password: "not the right password" }, { headers: other.headers });
    assert.equal(there.status, 401);
    there = await other.browser.submit(there, { password: NEW_PASSWORD }, { headers: other.headers });
    assert.equal(there.status, 200);
    assert.match(there.text, /Continue to Harbor Notes/);
    assert.match((await other.browser.get(`${journey.issuer}/account`)).text, /Nobody is signed in/);
    page = await browser.follow(await browser.submit(page, {}, { headers, match: "/signup/continue" }));
    assert.ok(page.text.includes('value="allow"'), title(page));
    assert.equal((await other.browser.get(link)).status, 200, "the page says that it is proven");
  });

  test(on(
    "T-ENUM-3: an address that has an account gets the same pages; its owner gets a mail that says so, and no code fits",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const mask = (text: string, email: string): string =>
      text
        .replaceAll(email, "EMAIL")
        .replace(/name="csrf" value="[^"]+"/g, "CSRF")
        .replace(/\/interaction\/[\w-]+/g, "UID");
    const walk = async (email: string) => {
      const { browser, headers } = browserOf(journey);
      const first = await browser.follow(await browser.get(`${journey.issuer}/signup`, headers));
      const sent = await browser.submit(
        first,
        { email, password: NEW_PASSWORD, terms: "yes" },
        { headers, match: 'name="password"' },
      );
      const page = await browser.follow(sent);
      const wrong = await browser.submit(page, { code: "1234 5678" }, { headers, match: 'name="code"' });
      return [sent.status, page.status, mask(page.text, email), wrong.status, mask(wrong.text, email)];
    };
    const [taken, free] = [await walk(EMAIL), await walk("maya2@lindqvist.example")];
    assert.deepEqual(taken, free);
    const letter = await mail.next(EMAIL, /already/);
    assert.equal(letter.code, "");
    await mail.next("maya2@lindqvist.example");
    assert.equal((await journey.service.users.list({ limit: 200, query: "maya" })).users.length, 1);
  });

  test(on(
    "T-REG-1, T-REG-2, T-REG-3, T-REG-5, T-REG-7: a bad address or name is a 400 page, a field twice is refused, a role among the fields is ignored",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const { browser, headers } = browserOf(journey);
    const page = await browser.follow(await browser.get(`${journey.issuer}/signup`, headers));
    const bad = [
      { email: "no address" },
      { email: `${"x".repeat(310)}@new.example` },
      { email: "a@new.example\r\nBcc: all@new.example" },
      { email: "ok@new.example", name: "a\r\nBcc: all@new.example" },
      { email: "ok@new.example", password: "passwordpassword" },
      { email: "ok@new.example", password: "x".repeat(2000) },
      { email: "ok@new.example", terms: "" },
    ];
    for (const fields of bad) {
      const answer = await browser.submit(
        page,
        { password: NEW_PASSWORD, terms: "yes", ...fields },
        { headers, match: 'name="password"' },
      );
      assert.equal(answer.status, 400, JSON.stringify(fields).slice(0, 80));
    }
    const csrf = /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? "";
    const uid = /\/interaction\/([\w-]+)\/signup/.exec(page.text)?.[1] ?? "";
    const twice = await browser.post(
      `${journey.issuer}/interaction/${uid}/signup`,
      [
        ["csrf", csrf],
        ["email", "a@new.example"],
        ["email", "b@new.example"],
      ],
      headers,
    );
    assert.equal(twice.status, 400);
    const assigned = await browser.submit(
      page,
      {
        email: "mass@new.example",
        password: NEW_PASSWORD,
        terms: "yes",
        name: "<b>M</b>",
        role: "owner",
        email_verified: "true",
        is_owner: "true",
      },
      { headers, match: 'name="password"' },
    );
    assert.equal(assigned.status, 303);
    const { code, raw } = await mail.next("mass@new.example");
    assert.ok(!/^bcc:/im.test(raw));
    await browser.follow(
      await browser.submit(await browser.follow(assigned), { code }, { headers, match: 'name="code"' }),
    );
    assert.deepEqual((await journey.service.users.findByEmail("mass@new.example"))?.roles, []);
    const account = await browser.get(`${journey.issuer}/account`, headers);
    assert.ok(account.text.includes("&lt;b&gt;M&lt;/b&gt;"), "T-REG-4: markup in a name is shown as text");
  });

  test(on(
    "T-MAIL-1, T-MAIL-2, T-MAIL-4, T-RACE-8: a link works once, of two at once one, the newest ends the older, and afterwards everything has ended",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const email = `lost-${engine}@new.example`;
    await journey.createUser(email);
    const device = browserOf(journey);
    const party = await journey.party(journey.web);
    const tokens = await tokensOf(device.browser, party, {
      email,
      scope: "openid offline_access",
      parameters: { prompt: "consent" },
      address: device.headers["x-forwarded-for"] ?? "",
    });
    const { browser, headers } = browserOf(journey);
    const ask = async (): Promise<string> => {
      const page = await browser.get(`${journey.issuer}/recover`, headers);
      const sent = await browser.follow(await browser.submit(page, { email }, { headers }));
      assert.match(title(sent), /mailbox/);
      return (await mail.next(email, /new password/)).link;
    };
    const [older, link] = [await ask(), await ask()];
    assert.match(link, /\/recover\/[A-Za-z0-9_-]{43}$/);
    assert.equal((await browser.get(older, headers)).status, 404, "the newest ends the older");
    const stored = await journey.service.db.query("select token_hash from user_links where kind = 'recover'");
    assert.ok(!stored.some(({ token_hash }) => link.includes(String(token_hash))));
    for (let look = 0; look < 3; look += 1) assert.equal((await browser.get(link, headers)).status, 200);
    const page = await browser.get(link, headers);
    assert.equal((await browser.submit(page, { password: "passwordpassword" }, { headers })).status, 400);
    const both = await Promise.all([
      browser.submit(page, { password: NEW_PASSWORD }, { headers }),
      browser.submit(page, { password: NEW_PASSWORD }, { headers }),
    ]);
    assert.deepEqual(both.map(({ status }) => status).sort(), [200, 404]);
    assert.equal((await browser.get(link, headers)).status, 404);
    await assert.rejects(openid.refreshTokenGrant(party, tokens.refresh_token ?? ""), "the offline token has ended");
    assert.match((await device.browser.get(`${journey.issuer}/account`)).text, /Nobody is signed in/);
    assert.match((await mail.next(email, /password was changed/)).undo, /\/not-me\//);
    const after = browserOf(journey);
    assert.match((await enter(journey, after, { email })).text, /do not match an account/);
    assert.match((await enter(journey, after, { email, password: NEW_PASSWORD })).text, new RegExp(email));
  });

  test(on("T-RL-6, T-ENUM-4: recovery answers the same for anybody, and one address gets three mails an hour"), {
    skip,
  }, async () => {
    const journey = await journeyOn(engine);
    const [known, disabled, unknown, verified] = [
      `rl-${engine}@new.example`,
      `off-${engine}@new.example`,
      `nobody-${engine}@new.example`,
      `proven-${engine}@new.example`,
    ];
    const id = await journey.createUser(known);
    assert.equal((await journey.service.users.find(id))?.isEmailVerified, false);
    await journey.service.users.create({ email: verified, isEmailVerified: true }, { kind: "system" });
    await journey.service.users.setDisabled(await journey.createUser(disabled), true, { kind: "system" });
    const answers = [];
    for (const email of [known, known, known, known, known, disabled, unknown, verified]) {
      const { browser, headers } = browserOf(journey);
      const page = await browser.get(`${journey.issuer}/recover`, headers);
      const sent = await browser.submit(page, { email }, { headers });
      answers.push([sent.status, sent.location, (await browser.follow(sent)).text.replace(/csrf" value="[^"]+"/g, "")]);
    }
    for (const answer of answers) assert.deepEqual(answer, answers[0]);
    for (let count = 0; count < 3; count += 1) await mail.next(known);
    assert.match((await mail.next(verified)).link, /\/recover\//);
    assert.match((await mail.next(disabled)).subject, /^No /);
    assert.match((await mail.next(unknown)).subject, /^No /);
    assert.equal(mail.countTo(known), 3);
  });

  test(on(
    "T-MAIL-7, T-SESS-9, T-HOST-2: a new address wants a fresh sign-in, tells the old one, stays until proven, and can be undone from the old mailbox",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const [email, next] = [`old-${engine}@new.example`, `next-${engine}@new.example`];
    const id = await journey.createUser(email);
    const { browser, headers } = browserOf(journey);
    await enter(journey, { browser, headers }, { email });
    const page = await browser.get(`${journey.issuer}/account/email`, headers);
    assert.match(title(page), /Change your e\u2011mail/);
    const sent = await browser.submit(
      page,
      { email: next },
      { headers: { ...headers, "x-forwarded-host": "evil.example" } },
    );
    assert.equal(sent.status, 200);
    const told = await mail.next(email, /new address/);
    const { link } = await mail.next(next);
    assert.ok(link.startsWith(`${journey.issuer}/account/email/confirm/`));
    assert.ok(told.undo.startsWith(`${journey.issuer}/not-me/`));
    assert.equal((await journey.service.users.find(id))?.email, email);
    const elsewhere = browserOf(journey);
    const confirm = await elsewhere.browser.get(link, elsewhere.headers);
    assert.equal((await journey.service.users.find(id))?.email, email, "opening it changes nothing");
    assert.equal((await elsewhere.browser.submit(confirm, {}, { headers: elsewhere.headers })).status, 200);
    const changed = await journey.service.users.find(id);
    assert.equal(changed?.email, next);
    assert.equal(changed?.isEmailVerified, true);
    const undo = (await mail.next(email, /was changed/)).undo;
    const victim = browserOf(journey);
    const secure = await victim.browser.get(undo, victim.headers);
    assert.equal((await journey.service.users.find(id))?.email, next);
    assert.equal((await victim.browser.submit(secure, {}, { headers: victim.headers })).status, 200);
    const restored = await journey.service.users.find(id);
    assert.equal(restored?.email, email);
    assert.equal(restored?.hasPassword, false);
    assert.match((await browser.get(`${journey.issuer}/account`)).text, /Nobody is signed in/);
    assert.match((await mail.next(email, /Set a new password/)).link, /\/recover\//);
  });

  test(on(
    "T-PW-6, T-LOGIN-8: a change of password wants the current one, a wrong one counts like at the sign-in, and the right one signs out everywhere",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const email = `pw-${engine}@new.example`;
    await journey.createUser(email);
    const { browser, headers } = browserOf(journey);
    await enter(journey, { browser, headers }, { email });
    const page = await browser.get(`${journey.issuer}/account/password`, headers);
    for (let attempt = 0; attempt < 5; attempt += 1)
      assert.equal(
        (await browser.submit(page, { current: "not the right password", password: NEW_PASSWORD }, { headers })).status,
        403,
      );
    assert.equal((await browser.submit(page, { current: PASSWORD, password: NEW_PASSWORD }, { headers })).status, 429);
    const fresh = browserOf(journey);
    const email2 = `pw2-${engine}@new.example`;
    await journey.createUser(email2);
    await enter(journey, fresh, { email: email2 });
    const form = await fresh.browser.get(`${journey.issuer}/account/password`, fresh.headers);
    assert.equal(
      (await fresh.browser.submit(form, { password: NEW_PASSWORD }, { headers: fresh.headers })).status,
      403,
      "without the current one",
    );
    assert.equal(
      (await fresh.browser.submit(form, { current: PASSWORD, password: NEW_PASSWORD }, { headers: fresh.headers }))
        .status,
      303,
    );
    await mail.next(email2, /password was changed/);
    assert.match((await fresh.browser.get(`${journey.issuer}/account`)).text, /Nobody is signed in/);
  });

  test(on(
    "T-CONS-5: an app that is revoked on the account page has no working token left and asks for consent again",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const email = `apps-${engine}@new.example`;
    await journey.createUser(email);
    const { browser, headers } = browserOf(journey);
    const party = await journey.party(journey.web);
    const options = {
      email,
      scope: "openid offline_access",
      parameters: { prompt: "consent" },
      address: headers["x-forwarded-for"] ?? "",
    };
    const tokens = await tokensOf(browser, party, options);
    const page = await browser.get(`${journey.issuer}/account`, headers);
    assert.match(page.text, /Harbor Notes/);
    assert.match(page.text, /offline_access/);
    const done = await browser.follow(await browser.submit(page, {}, { headers, match: "/account/apps/revoke" }));
    assert.match(done.text, /No app has access/);
    await assert.rejects(openid.refreshTokenGrant(party, tokens.refresh_token ?? ""));
    await assert.rejects(openid.fetchUserInfo(party, tokens.access_token, openid.skipSubjectCheck));
    const again = await signIn(browser, party, { email, address: headers["x-forwarded-for"] ?? "" });
    assert.ok(
      again.pages.some((one) => /Allow/.test(one)),
      again.pages.join(),
    );
  });

  test(on("a session elsewhere is listed with its device, ended by one press, and signing out everywhere ends all"), {
    skip,
  }, async () => {
    const journey = await journeyOn(engine);
    const email = `two-${engine}@new.example`;
    await journey.createUser(email);
    const [here, there] = [browserOf(journey), browserOf(journey)];
    await enter(
      journey,
      {
        browser: here.browser,
        headers: { ...here.headers, "user-agent": "Mozilla/5.0 (Windows NT 10.0) Firefox/140.0" },
      },
      { email },
    );
    await enter(
      journey,
      {
        browser: there.browser,
        headers: { ...there.headers, "user-agent": "Mozilla/5.0 (iPhone) Version/18 Safari/605" },
      },
      { email },
    );
    const notice = await mail.next(email, /New sign-in/);
    assert.match(notice.text, /iPhone/);
    const page = await here.browser.get(`${journey.issuer}/account`, here.headers);
    assert.match(page.text, /Safari, iPhone/);
    assert.match(page.text, /Firefox, Windows/);
    const foreign = await here.browser.post(
      `${journey.issuer}/account/sessions/end`,
      { session: "x", csrf: "y" },
      here.headers,
    );
    assert.equal(foreign.status, 403);
    await here.browser.submit(page, {}, { headers: here.headers, match: "/account/sessions/end" });
    assert.match((await there.browser.get(`${journey.issuer}/account`)).text, /Nobody is signed in/);
    assert.match((await here.browser.get(`${journey.issuer}/account`)).text, new RegExp(email));
    await here.browser.submit(
      await here.browser.get(`${journey.issuer}/account`),
      {},
      { headers: here.headers, match: "/account/sessions/end-all" },
    );
    assert.match((await here.browser.get(`${journey.issuer}/account`)).text, /Nobody is signed in/);
  });

  test(on(
    "T-PW-3: a password made of this service's name is refused with that reason, and a change whose notice cannot be written does not happen",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const email = `brand-${engine}@new.example`;
    await journey.createUser(email);
    const { browser, headers } = browserOf(journey);
    await enter(journey, { browser, headers }, { email });
    const form = await browser.get(`${journey.issuer}/account/password`, headers);
    const named = { current: PASSWORD, password: "Harbourmaster Harbourmaster" };
    const refused = await browser.submit(form, named, { headers });
    assert.equal(refused.status, 400);
    assert.match(refused.text, /the name of this service/);
    assert.doesNotMatch(refused.text, /stolen/);
    const recover = await browser.get(`${journey.issuer}/recover`, headers);
    await browser.submit(recover, { email }, { headers });
    const reset = await browser.get((await mail.next(email, /new password/)).link, headers);
    const again = await browser.submit(reset, { password: named.password }, { headers });
    assert.deepEqual([again.status, /stolen/.test(again.text)], [400, false]);
    assert.match(again.text, /the name of this service/);

    const { db } = journey.service;
    await db.query(
      `create function refuse_mail() returns trigger language plpgsql as $$ begin raise exception 'no room'; end $$;
       create trigger refuse_mail before insert on mails for each row when (new.recipient = '${email}') execute function refuse_mail()`,
    );
    const failed = await browser.submit(form, { current: PASSWORD, password: NEW_PASSWORD }, { headers });
    assert.ok(failed.status >= 500, String(failed.status));
    await db.query("drop trigger refuse_mail on mails; drop function refuse_mail");
    assert.ok("user" in (await journey.service.users.authenticate({ email, password: PASSWORD })), "the old one holds");
  });

  test(on(
    "T-LOGIN-1, T-LOGIN-2, T-ENUM-1, T-ENUM-6: a wrong password looks the same for anybody and comes with a new form; the right one goes on under a new session",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const [known, disabled] = [`look-${engine}@new.example`, `gone-by-${engine}@new.example`];
    await journey.createUser(known);
    await journey.service.users.setDisabled(await journey.createUser(disabled), true, { kind: "system" });
    const escaped = (text: string): string =>
      text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
    const csrfOf = (page: Answer): string => /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? "";
    const attempt = async (email: string, password: string) => {
      const { browser, headers } = browserOf(journey);
      const page = await walk(browser, await browser.get(`${journey.issuer}/account/sign-in`, headers), headers);
      const answer = await browser.submit(page, { email, password }, { headers, match: 'name="password"' });
      assert.notEqual(csrfOf(answer), csrfOf(page));
      assert.notEqual(csrfOf(answer), "");
      const { "x-request-id": _id, date: _date, "content-length": _length, ...rest } = answer.headers;
      const masked = JSON.stringify(rest)
        .replace(/=[^;"]+/g, "=VALUE")
        .replace(/expires=[^;"]+/g, "");
      const text = answer.text
        .replaceAll(escaped(email), "EMAIL")
        .replaceAll(csrfOf(answer), "CSRF")
        .replace(/\/interaction\/[\w-]+/g, "UID")
        .replace(/from=[\w-]+/g, "FROM");
      return { status: answer.status, headers: masked, text };
    };
    const wrong = await attempt(known, "not the right password");
    assert.equal(wrong.status, 401);
    assert.match(wrong.text, /do not match an account/);
    for (const [email, password] of [
      [`nobody-at-all-${engine}@new.example`, "not the right password"],
      [disabled, "not the right password"],
      [disabled, PASSWORD],
    ] as const)
      assert.deepEqual(await attempt(email, password), wrong, email);
    const markup = await attempt('"><script>alert(1)</script>@new.example', "x");
    assert.ok(markup.text.includes("EMAIL") && !markup.text.includes("<script>alert"), "escaped");

    const { browser, headers } = browserOf(journey);
    const sessionCookies = (): readonly string[] =>
      [...browser.cookies.values()].flatMap(({ name, value }) =>
        name.startsWith("signet_session") ? [`${name}=${value}; Path=/`] : [],
      );
    let before: readonly string[] = [];
    for (const prompt of ["", "&again=yes"]) {
      const page = await walk(
        browser,
        await browser.get(`${journey.issuer}/account/sign-in?to=home${prompt}`, headers),
        headers,
      );
      const sent = await browser.submit(
        page,
        { email: known, password: PASSWORD },
        { headers, match: 'name="password"' },
      );
      assert.equal(sent.status, 303);
      assert.match(sent.location ?? "", /\/authorize\/[\w-]+$/);
      await walk(browser, sent, headers);
      assert.equal(sessionCookies().length, 2, "the id and its signature");
      assert.ok(!sessionCookies().some((cookie) => before.includes(cookie)), "a new session id");
      if (before.length > 0) {
        const thief = journey.client();
        for (const cookie of before) thief.setCookie(cookie);
        assert.match((await thief.get(`${journey.issuer}/account`)).text, /Nobody is signed in/, "the old id is dead");
      }
      before = sessionCookies();
    }
  });

  test(on("T-SESS-3: a second person in the same browser sees nothing of the first one's apps, grants and session"), {
    skip,
  }, async () => {
    const journey = await journeyOn(engine);
    const [first, second] = [`first-${engine}@new.example`, `second-${engine}@new.example`];
    await journey.createUser(first);
    await journey.createUser(second);
    const { browser, headers } = browserOf(journey);
    const address = headers["x-forwarded-for"] ?? "";
    const party = await journey.party(journey.web);
    const theirs = await tokensOf(browser, party, { email: first, address, scope: "openid email" });
    let page = await walk(
      browser,
      await browser.get((await authorizeUrl(journey, { prompt: "login" })).url.href, headers),
      headers,
    );
    page = await walk(
      browser,
      await browser.submit(page, { email: second, password: PASSWORD }, { headers, match: 'name="password"' }),
      headers,
    );
    // The library first signs the other person out, with a page that answers itself.
    if (page.text.includes('name="xsrf"'))
      page = await walk(browser, await browser.submit(page, {}, { headers, match: "xsrf" }), headers);
    assert.match(page.text, /value="allow"/, "what the first one allowed is not the second one's consent");
    assert.ok(!page.text.includes(first));
    const account = await browser.get(`${journey.issuer}/account`, headers);
    assert.ok(account.text.includes(second) && !account.text.includes(first));
    assert.doesNotMatch(account.text, /Harbor Notes/);
    const own = await tokensOf(browser, party, { email: second, address, scope: "openid email" });
    assert.notEqual(own.claims()?.sub, theirs.claims()?.sub);
    assert.notEqual(own.claims()?.["sid"], theirs.claims()?.["sid"]);
    const ended = openid.refreshTokenGrant(party, theirs.refresh_token ?? "");
    await assert.rejects(ended, { error: "invalid_grant" }, "that session has ended");
  });

  test(on(
    "T-SESS-7: signing out everywhere ends the sessions and refresh tokens of every device, offline ones too, and JWTs are inactive",
  ), { skip }, async () => {
    const journey = await journeyOn(engine);
    const email = `every-${engine}@new.example`;
    await journey.createUser(email);
    const party = await journey.party(journey.web);
    const [here, there] = [browserOf(journey), browserOf(journey)];
    const address = (who: typeof here): string => who.headers["x-forwarded-for"] ?? "";
    const bound = await tokensOf(here.browser, party, {
      email,
      address: address(here),
      scope: "openid read:things",
      parameters: { resource: API },
    });
    const offline = await tokensOf(there.browser, party, {
      email,
      address: address(there),
      scope: "openid offline_access",
      parameters: { prompt: "consent" },
    });
    const things = { client_type: "resource-server", client_name: "Things itself", apis: [{ identifier: API }] };
    const api = await journey.party(await journey.register(things));
    // A token for an API is the API's to ask about, the other one its client's.
    const isActive = async ({ access_token: token }: typeof bound): Promise<boolean> =>
      (await openid.tokenIntrospection(token === bound.access_token ? api : party, token)).active;
    for (const tokens of [bound, offline]) assert.equal(await isActive(tokens), true);
    const account = await here.browser.get(`${journey.issuer}/account`, here.headers);
    await here.browser.submit(account, {}, { headers: here.headers, match: "/account/sessions/end-all" });
    for (const tokens of [bound, offline]) {
      await assert.rejects(openid.refreshTokenGrant(party, tokens.refresh_token ?? ""), { error: "invalid_grant" });
      assert.equal(await isActive(tokens), false);
    }
    for (const { browser } of [here, there])
      assert.match((await browser.get(`${journey.issuer}/account`)).text, /Nobody is signed in/);
  });

  test(on("T-SESS-8: offline access taken from an app ends what it holds"), { skip }, async () => {
    const journey = await journeyOn(engine);
    const email = `taken-${engine}@new.example`;
    await journey.createUser(email);
    const client = await journey.register({
      ...{ client_type: "web", client_name: "Night Shift", redirect_uris: [CALLBACK] },
      scope: "openid email offline_access",
    });
    const party = await journey.party(client);
    const { browser, headers } = browserOf(journey);
    const tokens = await tokensOf(browser, party, {
      email,
      address: headers["x-forwarded-for"] ?? "",
      scope: "openid offline_access",
      parameters: { prompt: "consent" },
    });
    await journey.service.clients.update(client.id, { scope: "openid email" }, { kind: "system" });
    await assert.rejects(openid.refreshTokenGrant(party, tokens.refresh_token ?? ""), { error: "invalid_grant" });
    // What is revoked meanwhile stays so when the app may have it again (RFC 7009 section 2.1).
    await openid.tokenRevocation(party, tokens.refresh_token ?? "");
    await journey.service.clients.update(client.id, { scope: "openid email offline_access" }, { kind: "system" });
    await assert.rejects(openid.refreshTokenGrant(party, tokens.refresh_token ?? ""), { error: "invalid_grant" });
  });

  test(on("T-NORM-5: deletion waits, signing in takes it back; once done, the same address is somebody new"), {
    skip,
  }, async () => {
    const journey = await journeyOn(engine);
    const email = `gone-${engine}@new.example`;
    const id = await journey.createUser(email);
    const { browser, headers } = browserOf(journey);
    await enter(journey, { browser, headers }, { email });
    const data = await browser.get(`${journey.issuer}/account/data`, headers);
    assert.equal(data.json()["email"], email);
    assert.ok(!data.text.includes("argon2"));
    const ask = async () => {
      const page = await browser.get(`${journey.issuer}/account/delete`, headers);
      assert.equal((await browser.submit(page, { email: "another@new.example" }, { headers })).status, 400);
      assert.equal((await browser.submit(page, { email }, { headers })).status, 200);
      await mail.next(email, /will be deleted/);
    };
    await ask();
    assert.ok((await journey.service.users.find(id))?.deleteAt !== undefined);
    assert.equal(await journey.service.deletions.sweep(10), 0, "the wait is not over");
    await enter(journey, { browser, headers }, { email });
    await mail.next(email, /stays/);
    assert.equal((await journey.service.users.find(id))?.deleteAt, undefined);
    await ask();
    await journey.service.db.query("update users set delete_at = created_at where id = $1", [id]);
    await journey.service.deletions.sweep(10);
    assert.equal(await journey.service.users.find(id), undefined);
    await mail.next(email, /is deleted/);
    assert.notEqual(await journey.createUser(email), id);
  });

  const people: People = { engine, skip, mail, browserOf, walk, journey: () => journeyOn(engine) };
  // Neither hashes nor mails nor names lie in the expiring store: one engine shows them.
  if (engine === "postgres") for (const rows of [passwordRows, mailFaultRow, userNameRow]) rows(people);
  // Last, since they move the clock.
  limitRows(people);
}
