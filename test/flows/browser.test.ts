/** The pages in a real browser, from other people's apps and back: by keyboard, without JavaScript, under the security policy. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { engines, withoutChromium } from "../support.ts";
import { startRelyingParty } from "./apps.ts";
import { beginJourney, EMAIL, type Journey, PASSWORD } from "./journey.ts";
import { allow, fillSignIn, visit } from "./visit.ts";

const OTHER_PASSWORD = "another correct horse battery";
const noBrowser = await withoutChromium();

/** Where the keyboard is, with what shows it. */
async function focused(page: Page): Promise<{ name: string; outline: number }> {
  return page.evaluate(() => {
    const element = document.activeElement;
    if (element === null) return { name: "", outline: 0 };
    const style = getComputedStyle(element);
    const visible = style.outlineStyle === "none" ? 0 : Number.parseFloat(style.outlineWidth);
    return { name: element.getAttribute("name") ?? element.textContent?.trim() ?? "", outline: visible };
  });
}

/** Tabs until the element has the focus; every stop on the way must show that it has it. */
async function tabTo(page: Page, name: string): Promise<void> {
  for (let stops = 0; stops < 20; stops += 1) {
    await page.keyboard.press("Tab");
    const here = await focused(page);
    assert.ok(here.outline >= 3, `the focus shows on "${here.name}": ${here.outline} px`);
    if (here.name === name) return;
  }
  assert.fail(`the keyboard does not reach "${name}"`);
}

for (const { engine, skip } of await engines()) {
  const skipped = skip === false ? noBrowser : skip;
  /** Forms, scripts and the policy know nothing of the store. */
  const isEngineOfPages = engine === "postgres";
  const begun = skipped === false ? beginJourney(engine) : undefined;
  const opened = async (): Promise<Journey> => {
    if (begun === undefined) throw new Error("skipped");
    return begun;
  };

  for (const javaScriptEnabled of isEngineOfPages ? [true, false] : [true])
    test(`the keyboard alone signs in and consents, ${javaScriptEnabled ? "with" : "without"} JavaScript (${engine})`, {
      skip: skipped,
    }, async () => {
      const journey = await opened();
      const app = await startRelyingParty(journey);
      const { page, complaints, close } = await visit({ javaScriptEnabled });
      await page.goto(app.login());
      // The browser gives the focus with its first picture, which a busy machine may paint after the page has loaded.
      await page.waitForSelector('[name="email"]:focus', { timeout: 10_000 });
      assert.ok((await focused(page)).outline >= 3);
      await page.keyboard.type(EMAIL);
      await tabTo(page, "password");
      await page.keyboard.type(PASSWORD);
      await tabTo(page, "remember");
      await page.keyboard.press("Space");
      await tabTo(page, "Sign in");
      await page.keyboard.press("Enter");
      await page.waitForSelector('[name="decision"]');
      await tabTo(page, "Skip to the content");
      await page.keyboard.press("Enter");
      for (let stops = 0; (await focused(page)).name !== "decision" && stops < 10; stops += 1)
        await page.keyboard.press("Tab");
      assert.match((await page.locator(":focus").textContent()) ?? "", /Do not allow/);
      await tabTo(page, "decision");
      assert.equal(await page.locator(":focus").textContent(), "Allow");
      await page.keyboard.press("Enter");
      await page.waitForURL(`${app.origin}/callback**`);
      assert.equal(await page.textContent("#sub"), journey.userId);
      assert.equal(await page.textContent("#email"), EMAIL);
      assert.deepEqual(complaints, []);
      await close();
    });

  test(`another account signs the first one out by a page that sends itself (T-HDR-2, ${engine})`, {
    skip: skipped,
  }, async () => {
    const journey = await opened();
    const app = await startRelyingParty(journey);
    const other = `second-${engine}@lindqvist.example`;
    const otherId = await journey.createUser(other, OTHER_PASSWORD);
    const { page, complaints, close } = await visit();
    await page.goto(app.login());
    await fillSignIn(page);
    await page.getByRole("button", { name: "Use another account" }).click();
    await fillSignIn(page, { email: other, password: OTHER_PASSWORD });
    await allow(page);
    assert.equal(await page.textContent("#sub"), otherId);
    // Consent is remembered now, so the switch ends at the app in one go.
    await page.goto(app.login({ prompt: "select_account" }));
    await page.getByRole("button", { name: "Use another account" }).click();
    await fillSignIn(page);
    await allow(page);
    assert.equal(await page.textContent("#sub"), journey.userId);
    await page.goto(app.login({ prompt: "select_account" }));
    await page.getByRole("button", { name: "Use another account" }).click();
    await fillSignIn(page, { email: other, password: OTHER_PASSWORD });
    await page.waitForSelector("#sub");
    assert.equal(await page.textContent("#sub"), otherId);
    assert.deepEqual(complaints, []);
    await close();
  });

  if (!isEngineOfPages) continue;

  test("form_post brings the answer to the app under our policy (T-HDR-2)", { skip: skipped }, async () => {
    const journey = await opened();
    const app = await startRelyingParty(journey);
    const { page, complaints, close } = await visit();
    await page.goto(app.login({ response_mode: "form_post" }));
    await fillSignIn(page);
    await allow(page);
    await page.waitForSelector("#sub");
    // Signed in and remembered, so that the answer comes at once.
    await page.goto(app.login({ response_mode: "form_post" }));
    await page.waitForSelector("#sub");
    assert.equal(page.url(), `${app.origin}/callback`);
    assert.deepEqual(complaints, []);
    await close();
  });

  for (const javaScriptEnabled of [true, false])
    test(`signing out at the app takes ${javaScriptEnabled ? "no click with" : "one click without"} JavaScript (T-HDR-2)`, {
      skip: skipped,
    }, async () => {
      const journey = await opened();
      const app = await startRelyingParty(journey);
      const { page, complaints, close } = await visit({ javaScriptEnabled });
      await page.goto(app.login());
      await fillSignIn(page);
      await allow(page);
      await page.waitForSelector("#sub");
      await page.goto(app.logout({ state: "s1" }));
      if (!javaScriptEnabled) await page.getByRole("button", { name: "Sign out" }).click();
      await page.waitForURL(`${app.origin}/?state=s1`);
      await page.goto(app.login({ prompt: "none" }));
      assert.equal(await page.textContent("#error"), "login_required");
      // Nobody is signed in any more: the same address leads back by itself, or by one click.
      await page.goto(app.logout({ state: "s2" }));
      if (!javaScriptEnabled) await page.locator('[type="submit"]').click();
      await page.waitForURL(`${app.origin}/?state=s2`);
      assert.deepEqual(complaints, []);
      await close();
    });

  test("a logout that nobody proved asks, and leads to the app or to a page of ours", {
    skip: skipped,
  }, async () => {
    const journey = await opened();
    const app = await startRelyingParty(journey);
    const { page, complaints, close } = await visit();
    await page.goto(app.login());
    await fillSignIn(page);
    await allow(page);
    await page.waitForSelector("#sub");
    await page.goto(`${journey.issuer}/logout`);
    assert.match(await page.title(), /^Sign out\?/);
    await page.getByRole("link", { name: "Stay signed in" }).click();
    assert.match((await page.textContent("main")) ?? "", new RegExp(EMAIL));
    await page.goto(app.logout({ hint: "no" }));
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL(`${app.origin}/`);
    await page.goto(`${journey.issuer}/account`);
    assert.match(await page.title(), /^Nobody is signed in/);
    assert.deepEqual(complaints, []);
    await close();
  });
}
