/** Every page in a browser, under its own security policy, which nothing on the way to it violates: axe-core finds nothing, nothing sticks out at 320 px. With PICTURES=<folder> each is also drawn, to be looked at. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";
import { ownRedis, startSignet, withoutChromium } from "../support.ts";
import { furnish } from "./journey.ts";
import { furnishGallery, type Gallery, PAGES, SETUP_DONE, type Shown } from "./pages.ts";
import { PEOPLE_PAGES } from "./pages-people.ts";
import { fillSignIn, type Visit, visit } from "./visit.ts";

const skip = await withoutChromium();
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const pictures = process.env["PICTURES"];
const NARROW = { width: 320, height: 700 };
const PHONE = { width: 390, height: 844 };
const DESKTOP = { width: 1280, height: 800 };
/** The structure is the same in both languages and both colour schemes. */
const LOOKS_AND_WORDS = ["color-contrast", "target-size", "link-in-text-block", "document-title", "html-lang-valid"];
const LOOK = { viewport: DESKTOP, reducedMotion: "reduce" } as const;
/** A page that refuses is told in the console as a failed load, as is a script that the walk itself holds back; what a policy blocks has other words. */
const LOADING_FAILED = /Failed to load resource: (the server responded with|net::ERR_FAILED)/;

/** What axe-core finds, its best practices and the target size of WCAG 2.2 included; or only what other words and colours can change. */
async function findings(page: Page, only?: readonly string[]): Promise<readonly string[]> {
  await page.evaluate(axeSource);
  const rules = only === undefined ? { rules: { "target-size": { enabled: true } } } : { runOnly: only };
  const results = await page.evaluate((options) => {
    const axe = Reflect.get(globalThis, "axe") as { run(context: Document, options: object): Promise<AxeResults> };
    return axe.run(document, { ...options, resultTypes: ["violations"] });
  }, rules);
  return results.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 200)}`));
}

/** What is wider than the window, if anything is. */
async function stickingOut(page: Page): Promise<readonly string[]> {
  return page.evaluate(() => {
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    const all = [...document.querySelectorAll("body *")];
    return all
      .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
      .map((one) => one.outerHTML.slice(0, 120));
  });
}

async function draw(page: Page, name: string, language: string): Promise<void> {
  if (pictures === undefined) return;
  for (const [width, viewport] of Object.entries({ narrow: NARROW, phone: PHONE, desktop: DESKTOP })) {
    for (const colorScheme of ["light", "dark"] as const) {
      if (colorScheme === "dark" && (width === "narrow" || language !== "en")) continue;
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme });
      const path = join(pictures, `${name}-${language}-${width}-${colorScheme}.png`);
      await page.screenshot({ path, fullPage: width !== "desktop" });
    }
  }
}

async function examine(page: Page, name: string, language: string, only?: readonly string[]): Promise<void> {
  assert.equal(await page.getAttribute("html", "lang"), language);
  assert.deepEqual(await complaintsSince(), [], `${name}, ${language}: the console on the way here`);
  assert.deepEqual(await findings(page, only), [], `${name}, ${language}`);
  await page.setViewportSize(NARROW);
  assert.deepEqual(await stickingOut(page), [], `${name}, ${language}, at ${NARROW.width} px`);
  await draw(page, name, language);
  await page.setViewportSize(DESKTOP);
  // What axe-core does to a page is not the page's.
  await complaintsSince();
}

/** One page for all of them: a browser takes longer to open a new one than to show ours. */
let opened: Promise<Visit> | undefined;
let heard = 0;

/** Violations of the policy, uncaught errors and dialogs since this was asked last. */
async function complaintsSince(): Promise<readonly string[]> {
  opened ??= visit(LOOK);
  const { page, complaints } = await opened;
  // What the page has told stands before the answer to this.
  await page.evaluate(() => document.readyState);
  const since = complaints.slice(heard);
  heard = complaints.length;
  return since.filter((complaint) => !LOADING_FAILED.test(complaint));
}

/** As a browser that never was here. */
async function emptyPage(): Promise<Page> {
  opened ??= visit(LOOK);
  const { page } = await opened;
  await page.goto("about:blank");
  await page.context().clearCookies();
  await page.setExtraHTTPHeaders({});
  await page.emulateMedia({ colorScheme: "light" });
  return page;
}

/** In English and light, then the same page in German and dark: words and structure do not depend on colours, nor colours on words. */
async function examineBoth(shown: Shown, gallery: Gallery): Promise<void> {
  const page = await emptyPage();
  await shown.open(page, gallery);
  await examine(page, shown.name, "en");
  // The owner is made once, a link is used once; in the other language there is no second one.
  if (shown !== SETUP_DONE && shown.isOnce !== true) {
    await page.context().addCookies([{ name: "signet_language", value: "de", url: page.url() }]);
    await page.emulateMedia({ colorScheme: "dark" });
    await page.reload();
    await examine(page, shown.name, "de", LOOKS_AND_WORDS);
  }
}

const gallery = skip === false ? furnishGallery() : undefined;

for (const shown of [...PAGES, ...PEOPLE_PAGES, SETUP_DONE])
  test(`the page ${shown.name} is accessible and fits`, { skip }, async () => {
    if (gallery === undefined) throw new Error("skipped");
    await examineBoth(shown, await gallery);
  });

test("a page that asked for more than its policy allows would be noticed", { skip }, async () => {
  if (gallery === undefined) throw new Error("skipped");
  const { journey } = await gallery;
  const page = await emptyPage();
  await page.goto(`${journey.issuer}/recover`);
  assert.deepEqual(await complaintsSince(), []);
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'ran'";
    const picture = document.createElement("img");
    picture.src = "https://evil.example/x.png";
    document.body.append(script, picture);
    document.body.setAttribute("style", "color: red");
  });
  const told = (await complaintsSince()).filter((complaint) => complaint.startsWith("blocked by"));
  assert.deepEqual(
    told.map((complaint) => complaint.split(":")[0]).sort(),
    ["blocked by img-src", "blocked by script-src-elem", "blocked by style-src-attr"],
    "none of them happened in silence",
  );
  assert.notEqual(await page.title(), "ran");
});

test("the page of a store that is gone is accessible and fits", { skip }, async (t) => {
  const own = await ownRedis();
  if (own === undefined) return t.skip("no Redis to take away");
  const journey = await furnish(await startSignet({ engine: "postgres", env: { REDIS_URL: own.url } }));
  const page = await emptyPage();
  const query = { client_id: journey.web.id, response_type: "code", redirect_uri: "https://app.example/callback" };
  const pkce = { code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", code_challenge_method: "S256" };
  await page.goto(`${journey.issuer}/authorize?${new URLSearchParams({ ...query, ...pkce, scope: "openid" })}`);
  await own.close();
  await fillSignIn(page);
  await page.waitForSelector(".copy-value");
  assert.match(await page.title(), /^A part of this service is not answering/);
  await examine(page, "store-unavailable", "en");
});
