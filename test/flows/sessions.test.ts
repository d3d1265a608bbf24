/** Sessions: an id that is replaced is dead, and time ends what it should and nothing else. The clock of this whole process is moved: server, library, app and browser. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as openid from "openid-client";
import type { Mailbox } from "../../src/mail/transport.ts";
import { shiftTime } from "../shift-time.ts";
import { type Answer, type Client, engines, eventually, startSignet } from "../support.ts";
import { beginJourney, CALLBACK, EMAIL, type Journey, PASSWORD, signIn, tokensOf } from "./journey.ts";

type Tokens = openid.TokenEndpointResponse & openid.TokenEndpointResponseHelpers;

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;
const OTHER_EMAIL = "mallory@lindqvist.example";
const OFFLINE = { scope: "openid offline_access", parameters: { prompt: "consent" } };

/** Whatever the type, a refresh token ends after this rest; and by its type at this age. */
const IDLE_DAYS = 14;
interface Family {
  readonly type: string;
  readonly config: openid.Configuration;
  /** One that is let alone, and one that is used all the time. */
  resting: string;
  aging: string;
}
const LIMITS = [
  { type: "web", redirectUri: CALLBACK, absoluteDays: 90 },
  { type: "spa", redirectUri: "https://spa.example/cb", absoluteDays: 30 },
  { type: "native", redirectUri: "com.example.pocket:/cb", absoluteDays: 90 },
];

/** Forward only, over all tests of the file: servers live on while it moves. */
let shifted = 0;
function pass(seconds: number): void {
  shifted += seconds;
  shiftTime(shifted);
}

/** What a visit to the app's sign-in leads to. */
async function visit(browser: Client, config: openid.Configuration): Promise<"password" | "code"> {
  const page = await authorize(browser, config);
  if (page.text.includes('name="password"')) return "password";
  assert.ok(page.location?.startsWith(CALLBACK), `${page.status} ${page.location ?? page.text.slice(0, 300)}`);
  return "code";
}

async function authorize(browser: Client, config: openid.Configuration, more = {}): Promise<Answer> {
  const url = openid.buildAuthorizationUrl(config, {
    redirect_uri: CALLBACK,
    scope: "openid email",
    code_challenge: await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier()),
    code_challenge_method: "S256",
    ...more,
  });
  return browser.follow(await browser.get(url.href));
}

/** The session's cookie and its signature, as a thief would copy them. */
function sessionCookies(browser: Client): readonly string[] {
  const kept = [...browser.cookies.values()].filter(({ name }) => name.startsWith("signet_session"));
  return kept.map(({ name, value }) => `${name}=${value}; Path=/; HttpOnly`);
}

/** Whether these cookies still open the person's session, by both ways in. */
async function opens(journey: Journey, config: openid.Configuration, cookies: readonly string[]): Promise<boolean> {
  const thief = journey.client();
  for (const cookie of cookies) thief.setCookie(cookie);
  const account = await thief.get("/account");
  const quiet = await authorize(thief, config, { prompt: "none" });
  const error = new URL(quiet.location ?? "").searchParams.get("error");
  const isIn = account.text.includes(EMAIL);
  if (!isIn) assert.equal(error, "login_required");
  return isIn;
}

for (const { engine, skip } of await engines()) {
  let journey: Promise<Journey> | undefined;
  const opened = (): Promise<Journey> => {
    journey ??= beginJourney(engine);
    return journey;
  };

  test(`an id is dead after signing in and after signing out (T-SESS-2, ${engine})`, { skip }, async () => {
    const home = await opened();
    const config = await home.party(home.web);
    const browser = home.client();
    await signIn(browser, config);
    const first = sessionCookies(browser);
    assert.equal(first.length, 2, "a cookie and its signature");
    assert.equal(await opens(home, config, first), true);
    // Signing in once more in the same browser replaces the id, and the old one does not last for even a moment.
    await signIn(browser, config, { parameters: { prompt: "login" } });
    const second = sessionCookies(browser);
    assert.notDeepEqual(second, first);
    assert.equal(await opens(home, config, first), false);
    assert.equal(await opens(home, config, second), true);
    const account = await browser.get("/account");
    await browser.follow(await browser.submit(account, {}, { match: "/account/sign-out" }));
    assert.equal(await opens(home, config, second), false);
    assert.equal(await opens(home, config, sessionCookies(browser)), false);
  });

  test(`a cookie that somebody planted is not the person's session (T-SESS-2, ${engine})`, { skip }, async () => {
    const home = await opened();
    const config = await home.party(home.web);
    const made = home.client();
    made.setCookie("signet_session=chosen-by-somebody-else; Path=/");
    const invented = sessionCookies(made);
    await signIn(made, config);
    assert.equal(sessionCookies(made).join().includes("chosen-by-somebody-else"), false);
    assert.equal(await opens(home, config, invented), false);
    // A real session of somebody else, signature and all, in the browser of the person who signs in next.
    await home.createUser(OTHER_EMAIL);
    const mallory = home.client();
    await signIn(mallory, config, { email: OTHER_EMAIL });
    const planted = sessionCookies(mallory);
    const victim = home.client();
    for (const cookie of planted) victim.setCookie(cookie);
    const form = await authorize(victim, config, { prompt: "login" });
    let page = await victim.submit(form, { email: EMAIL, password: PASSWORD }, { match: 'name="password"' });
    page = await victim.follow(page);
    // The library first signs the other person out, with a page that answers itself.
    if (page.text.includes('name="xsrf"')) await victim.follow(await victim.submit(page, {}, { match: "xsrf" }));
    assert.notDeepEqual(sessionCookies(victim), planted);
    const account = await mallory.get("/account");
    assert.equal(account.text.includes(EMAIL), false);
  });

  test(`after half an hour without a visit the password is asked, and refresh tokens go on (T-SESS-4, ${engine})`, {
    skip,
  }, async () => {
    const home = await opened();
    const config = await home.party(home.web);
    const browser = home.client();
    let tokens: Tokens = await tokensOf(browser, config);
    for (let visits = 0; visits < 3; visits += 1) {
      pass(29 * MINUTE);
      assert.equal(await visit(browser, config), "code", "a visit in time keeps the session");
    }
    pass(31 * MINUTE);
    assert.equal(await visit(browser, config), "password");
    assert.equal((await browser.get("/account")).text.includes(EMAIL), false);
    assert.equal(await visit(browser, config), "password", "a visit alone does not revive it");
    pass(MINUTE);
    assert.equal(await visit(browser, config), "password");
    tokens = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
    assert.equal((await openid.fetchUserInfo(config, tokens.access_token, home.userId)).email, EMAIL);
    await signIn(browser, config);
    assert.equal(await visit(browser, config), "code", "the password does");
  });

  test(`after twelve hours the password is asked, however often somebody visits (T-SESS-4, ${engine})`, {
    skip,
  }, async () => {
    const home = await opened();
    const config = await home.party(home.web);
    const browser = home.client();
    const tokens = await tokensOf(browser, config);
    for (let minutes = 29; minutes < 12 * 60; minutes += 29) {
      pass(29 * MINUTE);
      assert.equal(await visit(browser, config), "code", `after ${minutes} minutes`);
    }
    pass(29 * MINUTE);
    assert.equal(await visit(browser, config), "password");
    assert.equal(await visit(browser, config), "password");
    assert.ok((await openid.refreshTokenGrant(config, tokens.refresh_token ?? "")).access_token);
  });

  test(`a remembered device signs in without a password for thirty days (T-SESS-4, ${engine})`, { skip }, async () => {
    const home = await opened();
    const config = await home.party(home.web);
    const browser = home.client();
    const form = await authorize(browser, config);
    const fields = { email: EMAIL, password: PASSWORD, remember: "yes" };
    const end = await browser.follow(await browser.submit(form, fields, { match: 'name="password"' }));
    assert.ok(end.location?.startsWith(CALLBACK));
    pass(29 * DAY);
    assert.equal(await visit(browser, config), "code");
    pass(DAY + HOUR);
    assert.equal(await visit(browser, config), "password");
    assert.equal(await visit(browser, config), "password");
  });

  // The rule is the same whatever keeps the session.
  if (engine === "postgres")
    test(`with remembering switched off, what was remembered asks for the password and nobody is remembered anew; refresh tokens go on (T-SESS-8, ${engine})`, {
      skip,
    }, async () => {
      const home = await opened();
      const config = await home.party(home.web);
      const browser = home.client();
      const fields = { email: EMAIL, password: PASSWORD, remember: "yes" };
      let form = await authorize(browser, config, { scope: "openid offline_access", prompt: "consent" });
      assert.match(form.text, /name="remember"/);
      await browser.follow(await browser.submit(form, fields, { match: 'name="password"' }));
      const tokens = await tokensOf(browser, config, OFFLINE);
      assert.equal(await visit(browser, config), "code");
      const strict = await startSignet({ engine, beside: home, env: { REMEMBER_ME: "off" } });
      const there = strict.client();
      for (const cookie of sessionCookies(browser)) there.setCookie(cookie);
      assert.equal(await visit(there, config), "password");
      assert.match((await there.get("/account")).text, /Nobody is signed in/);
      form = await authorize(there, config);
      assert.doesNotMatch(form.text, /name="remember"/);
      const end = await there.follow(await there.submit(form, fields, { match: 'name="password"' }));
      assert.ok(end.location?.startsWith(CALLBACK), `${end.status} ${end.location}`);
      const kept = [...there.cookies.values()].filter(({ name }) => name.startsWith("signet_session"));
      assert.deepEqual(
        kept.map(({ expiresAt }) => expiresAt),
        [undefined, undefined],
        "the browser keeps it until it is closed",
      );
      assert.equal(await visit(there, config), "code");
      pass(31 * MINUTE);
      assert.equal(await visit(there, config), "password");
      assert.ok((await openid.refreshTokenGrant(config, tokens.refresh_token ?? "")).access_token);
      await strict.close();
    });

  test(`thirteen days without a visit and a refresh each hour: still signed in; signing out ends all but the offline token (T-SESS-12, ${engine})`, {
    skip,
  }, async () => {
    const home = await opened();
    const config = await home.party(home.web);
    const offline = await home.party(
      await home.register({ client_type: "web", client_name: "Night Shift", redirect_uris: [CALLBACK] }),
    );
    const browser = home.client();
    let bound: Tokens = await tokensOf(browser, config);
    let absent: Tokens = await tokensOf(browser, offline, OFFLINE);
    for (let hours = 0; hours < 13 * 24; hours += 1) {
      pass(HOUR);
      bound = await openid.refreshTokenGrant(config, bound.refresh_token ?? "");
      if (hours % 24 === 0) absent = await openid.refreshTokenGrant(offline, absent.refresh_token ?? "");
    }
    assert.equal((await openid.fetchUserInfo(config, bound.access_token, home.userId)).email, EMAIL);
    assert.equal(await visit(browser, config), "password", "the browser is not signed in");
    const end = openid.buildEndSessionUrl(config, { id_token_hint: bound.id_token ?? "" });
    const page = await browser.get(end.href);
    await browser.follow(await browser.submit(page, { logout: "yes" }, { match: "xsrf" }));
    await assert.rejects(openid.refreshTokenGrant(config, bound.refresh_token ?? ""), { error: "invalid_grant" });
    await assert.rejects(openid.fetchUserInfo(config, bound.access_token, home.userId));
    assert.ok((await openid.refreshTokenGrant(offline, absent.refresh_token ?? "")).access_token);
  });

  test(`every link in a mail is good until its end and refused one second after it (T-MAIL-3, ${engine})`, {
    skip,
  }, async () => {
    const home = await opened();
    const { service } = home;
    const none = { terms: undefined, interactionUid: undefined, request: undefined };
    const by = { kind: "system" } as const;
    const newest = (template: RegExp, to: string): Promise<string> =>
      eventually(() => {
        const { transport } = service;
        const found = "list" in transport ? (transport as Mailbox).list() : [];
        const mail = found.find((one) => one.to === to && template.test(one.text));
        return template.exec(mail?.text ?? "")?.[0];
      }, 10_000);
    const [lost, moved, fresh] = ["lost", "moved", "fresh"].map((name) => `${name}-${shifted}@links.example`);
    const id = await home.createUser(lost ?? "");
    const other = await home.createUser(moved ?? "");
    const asks: readonly (readonly [string, string, number, () => Promise<unknown>, RegExp, string])[] = [
      [
        "recovery",
        "recover",
        30 * MINUTE,
        () => service.recoveries.ask({ email: lost ?? "", language: "en" }, by),
        /http\S+\/recover\/[\w-]{43}/,
        lost ?? "",
      ],
      [
        "a new address",
        "email_change",
        DAY,
        () => service.emailChanges.ask(other, `next-${moved}`, by),
        /http\S+\/account\/email\/confirm\/[\w-]{43}/,
        `next-${moved}`,
      ],
      [
        "a notice",
        "not_me",
        7 * DAY,
        () => service.emailChanges.ask(id, `later-${moved}`, by),
        /http\S+\/not-me\/[\w-]{43}/,
        lost ?? "",
      ],
      [
        "an invitation",
        "invite",
        7 * DAY,
        () => service.signUps.invite(fresh ?? "", "en", by),
        /http\S+\/signup\?invitation=[\w-]{43}/,
        fresh ?? "",
      ],
      [
        "a sign-up",
        "",
        DAY,
        () =>
          service.signUps.begin(
            { email: `new-${fresh}`, password: PASSWORD, name: undefined, language: "en", ...none },
            by,
            true,
          ),
        /http\S+\/sign-up\/[\w-]{43}/,
        `new-${fresh}`,
      ],
    ];
    for (const [what, kind, seconds, ask, words, to] of asks) {
      await ask();
      const link = await newest(words, to);
      const browser = home.client();
      const [row] = await service.db.query<{ end: Date }>(
        what === "a sign-up"
          ? 'select max(expires_at) as "end" from sign_ups'
          : 'select max(expires_at) as "end" from user_links where kind = $1',
        what === "a sign-up" ? [] : [kind],
      );
      const secondsLeft = (): number => ((row?.end.getTime() ?? 0) - Date.now()) / 1000;
      assert.ok(Math.abs(secondsLeft() - seconds) < 60, `${what}: ${secondsLeft()}`);
      pass(secondsLeft() - 5);
      const page = await browser.get(link);
      assert.ok(page.status < 400, `${what} before its end: ${page.status}`);
      pass(secondsLeft() + 1);
      assert.equal((await browser.get(link)).status, 404, `${what} after its end`);
      if (what === "an invitation") continue;
      const late = await browser.submit(page, { password: "seven quiet harbours wait" }, { match: "csrf" });
      assert.equal(late.status, 404, `${what}, with the form that was open`);
    }
    assert.equal((await service.users.find(other))?.email, moved);
  });

  test(`a Grant never dies before its refresh token: a later visit's token lives its full time, whenever the Grant was made (${engine})`, {
    skip,
  }, async () => {
    const home = await opened();
    const app = await home.register({ client_type: "web", client_name: "Long Since", redirect_uris: [CALLBACK] });
    const config = await home.party(app);
    const browser = home.client();
    const form = await authorize(browser, config);
    const fields = { email: EMAIL, password: PASSWORD, remember: "yes" };
    await browser.follow(await browser.submit(form, fields, { match: 'name="password"' }));
    await tokensOf(browser, config, OFFLINE);
    const grants = async (): Promise<number> =>
      (await home.service.sessions.listGrants({ userId: home.userId, clientId: app.id })).length;
    assert.equal(await grants(), 1);
    pass(29 * DAY);
    let tokens: Tokens = await tokensOf(browser, config, { scope: "openid offline_access" });
    assert.equal(await grants(), 1, "the same sign-in, the same Grant");
    // The web app's refresh tokens end 90 days after they were first given.
    for (let days = 13; days < 90; days += 13) {
      pass(13 * DAY);
      tokens = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "").catch((error: unknown) => {
        throw new Error(`${days} days after it was given: ${error}`);
      });
    }
    pass(90 * DAY - 78 * DAY + MINUTE);
    await assert.rejects(openid.refreshTokenGrant(config, tokens.refresh_token ?? ""), { error: "invalid_grant" });
  });

  test(`a refresh token ends by rest and by age, each at the limit of its type of client and not before (${engine})`, {
    skip,
  }, async () => {
    const home = await opened();
    const browser = home.client();
    const families: Family[] = [];
    for (const { type, redirectUri } of LIMITS) {
      const client = await home.register({
        client_type: type,
        client_name: `By ${type}`,
        redirect_uris: [redirectUri],
      });
      const config = await home.party(client);
      // Two sign-ins at each app: one rests, the other is used all the time and only grows old.
      const resting = await tokensOf(browser, config, { ...OFFLINE, redirectUri });
      const aging = await tokensOf(browser, config, { ...OFFLINE, redirectUri });
      families.push({
        type,
        config,
        resting: String(resting.refresh_token),
        aging: String(aging.refresh_token),
      });
    }
    const began = shifted;
    const at = (days: number, minutes = 0): void => pass(began + days * DAY + minutes * MINUTE - shifted);
    const use = async (which: "resting" | "aging"): Promise<readonly string[]> => {
      const alive: string[] = [];
      for (const family of families) {
        const next = await openid.refreshTokenGrant(family.config, family[which]).catch((error: unknown) => {
          assert.equal((error as { error?: string }).error, "invalid_grant", `${family.type}: ${error}`);
          return undefined;
        });
        if (next === undefined) continue;
        family[which] = String(next.refresh_token);
        alive.push(family.type);
      }
      return alive;
    };
    const all = LIMITS.map(({ type }) => type);
    at(13);
    assert.deepEqual(await use("aging"), all);
    at(IDLE_DAYS, -1);
    assert.deepEqual(await use("resting"), all, "a minute before the idle limit");
    at(26);
    assert.deepEqual(await use("aging"), all);
    at(2 * IDLE_DAYS, 1);
    assert.deepEqual(await use("resting"), [], "a minute or two after it");
    for (const days of [30, 43, 56, 69, 82, 90]) {
      at(days, -1);
      assert.deepEqual(
        await use("aging"),
        LIMITS.flatMap((one) => (one.absoluteDays >= days ? one.type : [])),
      );
      at(days, 1);
      assert.deepEqual(
        await use("aging"),
        LIMITS.flatMap((one) => (one.absoluteDays > days ? one.type : [])),
      );
    }
  });
}
