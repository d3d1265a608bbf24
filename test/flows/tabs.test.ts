/** One browser, several tabs, accounts and apps: sign-ins cross without harm, and what has ended says so and says what to do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeJwt } from "jose";
import * as openid from "openid-client";
import { shiftTime } from "../shift-time.ts";
import { type Answer, type Client, engines } from "../support.ts";
import { beginJourney, CALLBACK, EMAIL, PASSWORD, signIn, title } from "./journey.ts";

const OTHER_EMAIL = "olga@lindqvist.example";
const ROUNDS = 10;
/** An interaction lives ten minutes. */
const EXPIRED_SECONDS = 660;

interface Tab {
  readonly config: openid.Configuration;
  readonly verifier: string;
  readonly nonce: string;
  /** What the tab shows. */
  readonly page: Answer;
}

for (const { engine, skip } of await engines()) {
  const begin = async () => {
    const journey = await beginJourney(engine);
    const otherId = await journey.createUser(OTHER_EMAIL);
    const app = async (name: string, more: Record<string, unknown> = {}): Promise<openid.Configuration> =>
      journey.party(await journey.register(webApp(name, more)));
    return { ...journey, otherId, app };
  };
  const ground = skip === false ? begin() : undefined;
  type Ground = Awaited<ReturnType<typeof begin>>;
  const check = (name: string, run: (ground: Ground) => Promise<void>): void => {
    test(`${name} (${engine})`, { skip }, async () => {
      if (ground === undefined) throw new Error("skipped");
      await run(await ground);
    });
  };

  check(
    "two tabs of one app cross: each gets a code of its own, whichever is finished first",
    async ({ client, app, userId }) => {
      const config = await app("Two tabs");
      const browser = client();
      const [first, second] = [await open(browser, config), await open(browser, config)];
      const later = await press(browser, second, "login");
      const earlier = await press(browser, first, "login");
      for (const tab of [earlier, later]) {
        const done = await settle(browser, tab);
        assert.equal(await subjectOf(done), userId);
      }
      assert.equal((await signIn(browser, config, { scope: "openid" })).pages.length, 0, "still signed in");
    },
  );

  check(
    "apps cross in one browser: the second needs no password, and both are signed in",
    async ({ client, app, userId }) => {
      const [one, two] = [await app("Crossing one"), await app("Crossing two")];
      const browser = client();
      const first = await press(browser, await open(browser, one), "login");
      const second = await open(browser, two);
      assert.match(second.page.text, /value="allow"/, "signed in by the first tab already");
      const secondDone = await settle(browser, second);
      const firstDone = await settle(browser, first);
      const tokens = await Promise.all([secondDone, firstDone].map(redeem));
      for (const [index, { claims, refresh }] of tokens.entries()) {
        assert.equal(claims.sub, userId);
        assert.ok((await openid.refreshTokenGrant([two, one][index] ?? one, refresh)).access_token);
      }
    },
  );

  check(
    `two apps that ask for consent at once both get a code that works, ${ROUNDS} times (T-RACE-6)`,
    async ({ client, app, userId }) => {
      const [one, two] = [await app("Racing one"), await app("Racing two")];
      const browser = client();
      await signIn(browser, one, { scope: "openid" });
      for (let round = 0; round < ROUNDS; round += 1) {
        const tabs = [await open(browser, one, { prompt: "consent" }), await open(browser, two, { prompt: "consent" })];
        const done = await Promise.all(tabs.map((tab) => press(browser, tab, "consent")));
        assert.deepEqual(await Promise.all(done.map(subjectOf)), [userId, userId], `round ${round}`);
      }
      assert.ok((await openid.fetchUserInfo(one, (await redeem(await open(browser, one))).access, userId)).sub);
    },
  );

  check(
    "another account in a second tab ends the first one's, and no code is ever for the wrong person",
    async ({ client, app, userId, otherId }) => {
      const [one, two] = [await app("Mine"), await app("Hers")];
      const browser = client();
      const mine = await press(browser, await open(browser, one), "login");
      const kept = await redeem(await settle(browser, await open(browser, two)));
      assert.equal(kept.claims.sub, userId);
      const hers = await open(browser, two, { prompt: "login" });
      const switched = await settle(browser, await press(browser, hers, "login", OTHER_EMAIL));
      assert.equal(await subjectOf(switched), otherId);
      // The first tab still shows the first person's consent page. Its answer would be given for somebody who is signed out.
      const stale = await press(browser, mine, "consent");
      assertGone(stale.page);
      await assert.rejects(openid.refreshTokenGrant(two, kept.refresh), { error: "invalid_grant" });
      assert.match((await browser.get("/account")).text, new RegExp(OTHER_EMAIL));
      // Starting again at the app works, for the person who is signed in now.
      assert.equal(await subjectOf(await settle(browser, await open(browser, one))), otherId);
    },
  );

  check(
    "an account can be switched on the consent page, and the consent is the second person's",
    async ({ client, app, otherId, userId, service }) => {
      const config = await app("Switches");
      const browser = client();
      const mine = await press(browser, await open(browser, config), "login");
      const form = await browser.follow(await browser.submit(mine.page, {}, { match: "/switch" }));
      assert.match(form.text, /name="password"/);
      const done = await settle(browser, await press(browser, { ...mine, page: form }, "login", OTHER_EMAIL));
      assert.equal(await subjectOf(done), otherId);
      const clientId = config.clientMetadata().client_id;
      assert.equal((await service.consents.find({ userId: otherId, clientId })).length, 1);
      assert.deepEqual(await service.consents.find({ userId, clientId }), []);
    },
  );

  check(
    "signing in again as the same person in one tab leaves the other tab's step alone",
    async ({ client, app, userId }) => {
      const config = await app("Again");
      const browser = client();
      const first = await press(browser, await open(browser, config), "login");
      const second = await press(browser, await open(browser, config, { prompt: "login" }), "login");
      assert.equal(await subjectOf(await settle(browser, second)), userId);
      assert.equal(await subjectOf(await settle(browser, first)), userId);
    },
  );

  check("signing out in one tab ends the steps of the others (T-LOGIN-16)", async ({ client, app }) => {
    const config = await app("Signed out meanwhile");
    const browser = client();
    const tab = await press(browser, await open(browser, config), "login");
    const account = await browser.get("/account");
    await browser.follow(await browser.submit(account, {}, { match: "/account/sign-out" }));
    assertGone((await press(browser, tab, "consent")).page);
  });

  check(
    "a finished sign-in has its page, by reload, by the back button, by a form (T-LOGIN-16)",
    async ({ client, app, userId }) => {
      const config = await app("Finished");
      const browser = client();
      const login = await open(browser, config);
      const consent = await press(browser, login, "login");
      // The back button shows the sign-in form, which was answered: sent again it goes on, and asks for nothing twice.
      const again = await press(browser, login, "login");
      assertGone(again.page);
      const done = await settle(browser, consent);
      assert.equal(await subjectOf(done), userId);
      for (const page of [login.page, consent.page]) assertGone(await browser.get(page.url));
      for (const [tab, form] of [
        [login, "login"],
        [consent, "consent"],
      ] as const)
        assertGone((await press(browser, tab, form)).page);
      const callback = done.page.location ?? "";
      await assert.rejects(subjectOf({ ...done, page: { ...done.page, location: callback } }), {
        error: "invalid_grant",
      });
    },
  );

  check("a button pressed twice at once is answered once (T-RACE-5)", async ({ client, app, userId, service }) => {
    const config = await app("Twice");
    const browser = client();
    const consent = await press(browser, await open(browser, config), "login");
    const send = (): Promise<Answer> => browser.submit(consent.page, { decision: "allow" }, { match: 'value="allow"' });
    const [first, second] = await Promise.all([send(), send()]);
    assert.equal(first?.location, second?.location, "both lead on to the same place");
    // A browser follows the answer to its last press only; whoever follows both gets one code.
    const end = await browser.follow(second ?? consent.page);
    assert.equal(await subjectOf({ ...consent, page: end }), userId);
    assertGone(await browser.follow(first ?? consent.page));
    const clientId = config.clientMetadata().client_id;
    assert.equal((await service.consents.find({ userId, clientId })).length, 1);
  });

  check("an expired sign-in has its page, and the next one works (T-LOGIN-16)", async ({ client, app }) => {
    const config = await app("Expired");
    const browser = client();
    const login = await open(browser, config);
    shiftTime(EXPIRED_SECONDS);
    try {
      assertGone(await browser.get(login.page.url));
      assertGone((await press(browser, login, "login")).page);
      const next = await settle(browser, await press(browser, await open(browser, config), "login"));
      assert.ok(new URL(next.page.location ?? "").searchParams.get("code"));
    } finally {
      shiftTime(0);
    }
  });

  check(
    "a foreign sign-in is nobody's: another browser's, another tab's cookie, a made-up one (T-LOGIN-17)",
    async ({ client, app }) => {
      const config = await app("Foreign");
      const [mine, theirs] = [client(), client()];
      const own = await open(mine, config);
      const other = await open(theirs, config);
      assertGone(await theirs.get(own.page.url));
      assertGone(await client().get(own.page.url));
      // The form of one step with the cookie of another: neither moves.
      assertGone((await press(theirs, own, "login")).page);
      const path = new URL(own.page.url).pathname;
      for (const { name, value } of [...theirs.cookies.values()])
        if (name.startsWith("signet_interaction")) theirs.setCookie(`${name}=${value}; path=${path}; httponly`);
      assertGone(await theirs.get(own.page.url));
      assertGone((await press(theirs, own, "login")).page);
      assert.match((await theirs.get(other.page.url)).text, /name="password"/);
      for (const uid of ["x", "x".repeat(43), "..%2f..", "%00", "x".repeat(500)]) {
        const answer = await mine.get(`/interaction/${uid}`);
        assert.ok([400, 404].includes(answer.status), `${uid}: ${answer.status}`);
      }
      for (const path of [`/authorize/${"x".repeat(43)}`, `/authorize/${own.page.url.split("/").pop()}`])
        assertGone(await theirs.get(path, { accept: "text/html" }));
      // Nothing of this has touched the owner's own step.
      assert.match((await mine.get(own.page.url)).text, /name="password"/);
    },
  );
}

// --- What a person does in a tab ----------------------------------------------------------------------------------

function webApp(name: string, more: Record<string, unknown>): Record<string, unknown> {
  const home = { client_uri: "https://app.example/" };
  return { client_type: "web", client_name: name, redirect_uris: [CALLBACK], ...home, ...more };
}

async function open(
  browser: Client,
  config: openid.Configuration,
  parameters: Record<string, string> = {},
): Promise<Tab> {
  const [verifier, nonce] = [openid.randomPKCECodeVerifier(), openid.randomNonce()];
  const url = openid.buildAuthorizationUrl(config, {
    redirect_uri: CALLBACK,
    scope: "openid profile",
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    nonce,
    ...parameters,
  });
  return { config, verifier, nonce, page: await browser.follow(await browser.get(url.href)) };
}

async function press(browser: Client, tab: Tab, what: "login" | "consent", email = EMAIL): Promise<Tab> {
  const [match, fields] =
    what === "login" ? ['name="password"', { email, password: PASSWORD }] : ['value="allow"', { decision: "allow" }];
  return {
    ...tab,
    page: await browser.follow(await browser.submit(tab.page, fields as Record<string, string>, { match })),
  };
}

/** Goes on from what the tab shows to the app: the page that signs another account out sends itself, consent is given. */
async function settle(browser: Client, tab: Tab): Promise<Tab> {
  let { page } = tab;
  for (let steps = 0; page.location === undefined && steps < 3; steps += 1) {
    const [match, fields] = page.text.includes("/logout/confirm")
      ? ["xsrf", {}]
      : ['value="allow"', { decision: "allow" }];
    page = await browser.follow(await browser.submit(page, fields as Record<string, string>, { match: String(match) }));
  }
  assert.ok(page.location !== undefined, `the tab ended on a page: ${page.status} ${title(page)}`);
  return { ...tab, page };
}

async function redeem({ config, verifier, nonce, page }: Tab) {
  const tokens = await openid.authorizationCodeGrant(config, new URL(page.location ?? "http://none"), {
    pkceCodeVerifier: verifier,
    expectedNonce: nonce,
    idTokenExpected: true,
  });
  return { claims: decodeJwt(tokens.id_token ?? ""), access: tokens.access_token, refresh: tokens.refresh_token ?? "" };
}

async function subjectOf(tab: Tab): Promise<string | undefined> {
  return (await redeem(tab)).claims.sub;
}

/** The page that says that this sign-in has ended, what to do about it, and a way out; no redirect, nothing to send again. */
function assertGone(page: Answer, status = 400): void {
  assert.deepEqual([page.status, page.location], [status, undefined], title(page));
  assert.match(page.text, /This sign-in has ended/);
  assert.match(page.text, /Go back to the app and start again/);
  assert.match(page.text, /href="(\/account|https:\/\/app\.example\/)"/);
  assert.equal(page.text.includes("<form"), false);
}
