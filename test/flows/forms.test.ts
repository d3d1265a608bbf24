/** The forms of a sign-in: pressed twice, gone back to, sent by strangers or too late. Nobody is trapped, and nothing happens that was not meant. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as openid from "openid-client";
import { type Answer, type Client, engines, form, withoutChromium } from "../support.ts";
import { startRelyingParty } from "./apps.ts";
import { beginJourney, CALLBACK, EMAIL, type Journey, PASSWORD, type Registered, title } from "./journey.ts";
import { allow, fillSignIn, visit } from "./visit.ts";

const noBrowser = await withoutChromium();
const ROUNDS = 5;
/** When the second press of a hurried hand comes. */
const SECOND_PRESS_MS = [0, 40, 120, 250] as const;

for (const { engine, skip } of await engines()) {
  const journey = skip === false ? beginJourney(engine) : undefined;
  const opened = async (): Promise<Journey> => {
    if (journey === undefined) throw new Error("skipped");
    return journey;
  };
  const begin = async (browser: Client, app: Registered, more: Record<string, string> = {}): Promise<Answer> => {
    const { party } = await opened();
    const url = openid.buildAuthorizationUrl(await party(app), {
      redirect_uri: CALLBACK,
      scope: "openid email",
      code_challenge: await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier()),
      code_challenge_method: "S256",
      ...more,
    });
    return browser.follow(await browser.get(url.href));
  };
  const credentials = { email: EMAIL, password: PASSWORD };
  const newApp = async (name: string): Promise<Registered> =>
    (await opened()).register({ client_type: "web", client_name: name, redirect_uris: [CALLBACK] });
  const consents = async (app: Registered): Promise<number> => {
    const { service, userId } = await opened();
    return (await service.consents.find({ userId, clientId: app.id })).length;
  };
  /** A page with an id and a way on, never a fault of ours. */
  const isPageWithWayOn = (answer: Answer, status: number): void => {
    assert.equal(answer.status, status, title(answer));
    assert.match(answer.headers["content-type"] ?? "", /^text\/html/);
    assert.match(answer.text, /<a class="[^"]*" href="(\/account|https?:[^"]+)"/, "there is a way on");
    assert.match(answer.text, /class="copy-value"/, "there is an id");
  };

  test(`a form sent twice at once, and once more afterwards, leads on (${engine})`, { skip }, async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const app = await newApp(`Twice ${round}`);
      const { client } = await opened();
      const browser = client();
      const login = await begin(browser, app);
      const match = 'name="password"';
      const presses = await Promise.all([1, 2].map(() => browser.submit(login, credentials, { match })));
      for (const press of presses) {
        assert.equal(press.status, 303);
        assert.match(press.location ?? "", /\/authorize\//);
      }
      // Before the browser followed, a third press goes the same way.
      const third = await browser.submit(login, credentials, { match });
      assert.equal(third.location, presses[0]?.location);
      const consent = await browser.follow(third);
      assert.match(consent.text, /value="allow"/);
      const allowed = { decision: "allow" };
      const answers = await Promise.all([1, 2].map(() => browser.submit(consent, allowed, { match: 'value="allow"' })));
      for (const answer of answers) assert.match(answer.location ?? "", /\/authorize\//);
      const back = await browser.follow(answers[0] as Answer);
      assert.ok(new URL(back.location ?? "").searchParams.get("code"), title(back));
      assert.equal(await consents(app), 1);
      // The same forms again, when all is over: a page that says so.
      isPageWithWayOn(await browser.submit(login, credentials, { match }), 400);
      isPageWithWayOn(await browser.submit(consent, allowed, { match: 'value="allow"' }), 400);
      isPageWithWayOn(await browser.follow(answers[1] as Answer), 400);
    }
  });

  test(`a form without our token or from another origin changes nothing (T-CONS-1, T-LOGIN-12, T-LOGIN-13, ${engine})`, {
    skip,
  }, async () => {
    const { client, service } = await opened();
    const app = await newApp("Foreign");
    const browser = client();
    const failures = async (): Promise<number> => {
      const [row] = await service.db.query<{ count: number }>(
        "select count(*)::int as count from audit_events where name like 'sign_in.%'",
      );
      return row?.count ?? -1;
    };
    const before = await failures();
    const login = await begin(browser, app);
    const stranger = client();
    const other = form((await begin(stranger, app)).text, 'name="password"').fields["csrf"] ?? "";
    const refused = [
      await browser.submit(login, { ...credentials, csrf: "" }, { match: 'name="password"' }),
      await browser.submit(login, { ...credentials, csrf: other }, { match: 'name="password"' }),
    ];
    const hostile: readonly Record<string, string>[] = [
      { origin: "https://evil.example", "sec-fetch-site": "cross-site" },
      { origin: "null", "sec-fetch-site": "cross-site" },
      { origin: new URL(login.url).origin, "sec-fetch-site": "same-site" },
      { origin: "https://evil.example", "sec-fetch-site": "same-origin" },
    ];
    for (const headers of hostile)
      refused.push(await browser.submit(login, credentials, { match: 'name="password"', headers }));
    for (const answer of refused) isPageWithWayOn(answer, 403);
    assert.equal(await failures(), before, "no password was looked at");

    const consent = await browser.follow(await browser.submit(login, credentials, { match: 'name="password"' }));
    const allowed = { decision: "allow" };
    const path = new URL(consent.url).pathname;
    isPageWithWayOn(await browser.submit(consent, { ...allowed, csrf: "" }, { match: 'value="allow"' }), 403);
    for (const headers of hostile)
      isPageWithWayOn(await browser.submit(consent, allowed, { match: 'value="allow"', headers }), 403);
    const byGet = await browser.get(`${path}/consent?decision=allow`);
    assert.equal(byGet.status, 405);
    assert.match(byGet.headers["allow"] ?? "", /POST/);
    assert.equal(await consents(app), 0);
    const back = await browser.follow(await browser.submit(consent, allowed, { match: 'value="allow"' }));
    assert.ok(new URL(back.location ?? "").searchParams.get("code"));
  });

  test(`another browser's, a mixed-up and an expired step are pages to start again from (T-LOGIN-16, T-LOGIN-17, ${engine})`, {
    skip,
  }, async () => {
    const { client, service } = await opened();
    const app = await newApp("Mixed");
    const [one, two] = [client(), client()];
    const [first, second] = [await begin(one, app), await begin(two, app)];
    // The whole form of one browser in another one: no cookie for it there.
    isPageWithWayOn(await two.get(new URL(first.url).pathname), 400);
    isPageWithWayOn(await two.submit(first, credentials, { match: 'name="password"' }), 400);
    // The cookie of one step at the address of another one: the step is the one of both, or none.
    const mine = [...one.cookies.values()].find((cookie) => cookie.path === new URL(first.url).pathname);
    const signature = [...one.cookies.values()].find(({ name }) => name === `${mine?.name}.sig`);
    for (const cookie of [mine, signature])
      two.setCookie(`${cookie?.name}=${cookie?.value}; Path=${new URL(second.url).pathname}`);
    isPageWithWayOn(await two.submit(second, credentials, { match: 'name="password"' }), 400);
    // The cookie's own browser goes on all the same.
    const consent = await one.follow(await one.submit(first, credentials, { match: 'name="password"' }));
    assert.match(consent.text, /value="allow"/);
    const provider = service.engine.current();
    const interaction = await provider.Interaction.find(new URL(consent.url).pathname.split("/")[2] ?? "");
    await interaction?.destroy();
    isPageWithWayOn(await one.get(consent.url), 400);
    isPageWithWayOn(await one.submit(consent, { decision: "allow" }, { match: 'value="allow"' }), 400);
    for (const path of ["/interaction/short", `/interaction/${"x".repeat(21)}`, `/interaction/${"x".repeat(9000)}`])
      isPageWithWayOn(await one.get(path), 400);
  });
}

test("a hurried hand and the back button end at the app or on a page with a way on", { skip: noBrowser }, async () => {
  const journey = await beginJourney("postgres");
  const app = await startRelyingParty(journey);
  for (const [round, delay] of SECOND_PRESS_MS.entries()) {
    const { page, close } = await visit();
    await page.goto(app.login(round === 0 ? {} : { prompt: "consent" }));
    await page.fill('[name="email"]', EMAIL);
    await page.fill('[name="password"]', PASSWORD);
    await page.getByRole("button", { name: "Sign in" }).dblclick({ delay });
    await page.waitForSelector('[name="decision"]');
    await page.locator('[value="allow"]').dblclick({ delay });
    await page.waitForSelector("#sub");
    await close();
  }
  const { page, close } = await visit();
  await page.goto(app.login({ prompt: "consent" }));
  await fillSignIn(page);
  await allow(page);
  await page.waitForSelector("#sub");
  for (let steps = 0; steps < 2; steps += 1) {
    await page.goBack();
    const main = (await page.textContent("main")) ?? "";
    assert.match(main, /This sign-in has ended/);
    assert.match(main, /Go back to the app and start again/);
  }
  await page.getByRole("link", { name: "Your account" }).click();
  assert.match((await page.textContent("main")) ?? "", new RegExp(EMAIL));
  await close();
});
