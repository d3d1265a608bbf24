/** Hostile words in a browser: whatever an app, a person or a link puts into our pages stands there as text, and nothing of it runs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { withoutChromium } from "../support.ts";
import { startRelyingParty } from "./apps.ts";
import { beginJourney, type Journey, PASSWORD } from "./journey.ts";
import { allow, fillSignIn, visit } from "./visit.ts";

const skip = await withoutChromium();
const SCRIPT = `"><script>alert(1)</script></title><img src=x onerror=alert(2)>#{7*1337}{{7*1337}}\${7*1337}'`;
const LINK = "javascript:alert(3)";
const EMAIL = "mallory@lindqvist.example";
/** What a quarter of the markup would look like had it become markup, or a template. */
const RUNNING = ["script:not([src])", "img", "[onerror]", '[href^="javascript:"]'].join(", ");

async function assertHarmless(page: Page, isShown: boolean): Promise<void> {
  // The library's own page of form_post sends itself by a script with a hash; it never stays.
  assert.equal(await page.locator(RUNNING).count(), 0, await page.title());
  const text = (await page.textContent("body")) ?? "";
  assert.equal(/(^|\D)9359(\D|$)/.test(text), false, "no template ran");
  if (isShown) assert.ok(text.includes(SCRIPT), `it is shown as it is: ${text.slice(0, 200)}`);
}

async function prepare(journey: Journey) {
  const { users } = journey.service;
  const by = { kind: "system", id: "test" } as const;
  await users.create({ email: EMAIL, password: PASSWORD, claims: { name: SCRIPT.slice(0, 100) } }, by);
  return startRelyingParty(journey, { client_name: SCRIPT });
}

test("markup in names, hints, states and languages is text (T-XSS-1, T-XSS-2, T-XSS-3, T-XSS-4, T-XSS-5, T-XSS-6, T-CONS-7)", {
  skip,
}, async () => {
  const journey = await beginJourney("postgres");
  const app = await prepare(journey);
  const { page, complaints, close } = await visit();
  const wishes = { login_hint: SCRIPT, ui_locales: SCRIPT };
  await page.goto(app.login(wishes));
  await assertHarmless(page, true);
  assert.equal(await page.inputValue('[name="email"]'), SCRIPT);
  assert.equal(await page.getAttribute("html", "lang"), "en");
  // The button goes back to the app, not to where a name or a hint says.
  await fillSignIn(page, { email: EMAIL });
  await page.waitForSelector('[name="decision"]');
  await assertHarmless(page, true);
  await allow(page);
  await page.waitForSelector("#sub");
  for (const path of ["/account", `/account?ui_locales=${encodeURIComponent(SCRIPT)}`]) {
    await page.goto(journey.issuer + path);
    await assertHarmless(page, false);
    assert.match((await page.textContent("h1")) ?? "", /^"><script>alert\(1\)/);
  }
  for (const prompt of ["login", "select_account", "consent"]) {
    await page.goto(app.login({ prompt }));
    await assertHarmless(page, true);
  }
  const state = `${SCRIPT}${LINK}`;
  await page.goto(app.login({ response_mode: "form_post", prompt: "none", state, nonce: "n" }));
  await page.waitForURL(`${app.origin}/callback`);
  await page.goto(app.logout({ state }));
  await page.waitForURL(`${app.origin}/?state=*`);
  assert.equal(new URL(page.url()).searchParams.get("state"), state);
  assert.deepEqual(
    complaints.filter((complaint) => !complaint.startsWith(app.origin)),
    [],
    "no dialog, no violation, no error",
  );
  await close();
});

test("markup in a refused request is text, and no link leads where it says (T-XSS-1, T-XSS-4)", { skip }, async () => {
  const journey = await beginJourney("postgres");
  const app = await prepare(journey);
  const { page, complaints, close } = await visit();
  const query = (more: Record<string, string>): string =>
    `${journey.issuer}/authorize?${new URLSearchParams({ client_id: app.client.id, response_type: "code", ...more })}`;
  for (const [url, isShown] of [
    [query({ redirect_uri: LINK }), true],
    [query({ redirect_uri: `https://evil.example/${SCRIPT}` }), true],
    [query({ redirect_uri: SCRIPT, scope: SCRIPT, state: SCRIPT, response_type: SCRIPT }), true],
    [query({ client_id: SCRIPT }), false],
    [`${journey.issuer}/logout?client_id=${app.client.id}&post_logout_redirect_uri=${encodeURIComponent(LINK)}`, true],
    [`${journey.issuer}/logout?id_token_hint=${encodeURIComponent(SCRIPT)}&state=${encodeURIComponent(SCRIPT)}`, false],
    [`${journey.issuer}/${encodeURIComponent(SCRIPT)}?error=${encodeURIComponent(SCRIPT)}`, false],
    [`${journey.issuer}/setup?token=${encodeURIComponent(SCRIPT)}`, false],
    [`${journey.issuer}/logout/success?client_id=${app.client.id}`, false],
  ] as const) {
    await page.goto(url);
    assert.match(await page.title(), / · Signet$/);
    await page.evaluate(() => document.querySelector("details")?.setAttribute("open", ""));
    await assertHarmless(page, isShown);
    const links = await page.locator("a").evaluateAll((all) => all.map((one) => (one as HTMLAnchorElement).href));
    for (const link of links) assert.ok([journey.issuer, app.origin].includes(new URL(link).origin), link);
  }
  // A page that refuses is told in the console as a failed load, which is all there may be.
  assert.deepEqual(
    complaints.filter((complaint) => !complaint.includes("Failed to load resource: the server responded with")),
    [],
  );
  await close();
});
