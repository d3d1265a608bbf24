/** What people do with their accounts, in a real browser with real mails: the six journeys from end to end. With PICTURES=<folder> each page is drawn. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { withoutChromium } from "../support.ts";
import { type RelyingParty, startRelyingParty } from "./apps.ts";
import { beginJourney, type Journey, PASSWORD } from "./journey.ts";
import { type MailServer, startMailServer } from "./mailbox.ts";
import { allow, fillSignIn, press, visit } from "./visit.ts";

const skip = await withoutChromium();
const pictures = process.env["PICTURES"];
const NEW_PASSWORD = "seven quiet harbours wait";
const PHONE = { width: 390, height: 844 };
const DESKTOP = { width: 1280, height: 800 };
/** Of no meaning to the page: long and short words of a script that is written from right to left. */
const ARABIC = "إدارة حسابك والأجهزة التي سجلت الدخول منها";

interface Ground {
  readonly journey: Journey;
  readonly mail: MailServer;
  readonly app: RelyingParty;
}
let opened: Promise<Ground> | undefined;
/** One server, one app, one mail server for all journeys. */
function ground(): Promise<Ground> {
  opened ??= (async () => {
    const mail = await startMailServer();
    const journey = await beginJourney("postgres", { SMTP_URL: mail.url });
    return { journey, mail, app: await startRelyingParty(journey) };
  })();
  return opened;
}

async function draw(page: Page, name: string): Promise<void> {
  if (pictures === undefined) return;
  for (const [width, viewport] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
    for (const colorScheme of ["light", "dark"] as const) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.screenshot({ path: join(pictures, `people-${name}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
  await page.emulateMedia({ colorScheme: null });
}

async function signInToAccount(page: Page, { issuer }: Journey, who: { email: string; password?: string }) {
  await page.goto(`${issuer}/account/sign-in?to=home`);
  await fillSignIn(page, who);
  await page.waitForURL(`${issuer}/account`);
}

test("from an app to an account and to its first token: sign-up, the code of the mail, consent", { skip }, async () => {
  const { mail, app, journey } = await ground();
  const { page, complaints, close } = await visit();
  await page.goto(app.login({ prompt: "create" }));
  await page.fill('[name="name"]', "Nora Quist");
  await page.fill('[name="email"]', "nora@new.example");
  await page.fill('[name="password"]', NEW_PASSWORD);
  await draw(page, "sign-up");
  await press(page, '[name="password"]');
  await page.waitForSelector('[name="code"]');
  await draw(page, "sign-up-code");
  await page.fill('[name="code"]', (await mail.next("nora@new.example")).code);
  await press(page, '[name="code"]');
  await allow(page);
  await page.waitForSelector("#sub");
  assert.equal(await page.textContent("#email"), "nora@new.example");
  assert.equal(app.tokens()?.claims()?.sub, (await journey.service.users.findByEmail("nora@new.example"))?.id);
  assert.deepEqual(complaints, []);
  await close();
});

test("T-MAIL-5: a lost password: the link of the mail, a new one, and on to the app; the link is told to nobody", {
  skip,
}, async () => {
  const { mail, app, journey } = await ground();
  const email = "lost@new.example";
  await journey.createUser(email);
  const { page, complaints, close } = await visit();
  await page.goto(app.login());
  await page.locator('a[href^="/recover"]').click();
  await page.fill('[name="email"]', email);
  await draw(page, "recover");
  await press(page, '[name="email"]');
  await page.waitForURL(/\/recover\/sent$/);
  await draw(page, "recover-sent");
  const { link } = await mail.next(email, /new password/);
  const asked: Promise<{ url: string; referer: string | undefined }>[] = [];
  page.on("request", (request) => {
    // What was really sent; what a request says of itself at first is a guess.
    asked.push(request.allHeaders().then(({ referer }) => ({ url: request.url(), referer })));
  });
  await page.goto(link);
  await page.fill('[name="password"]', NEW_PASSWORD);
  await draw(page, "recover-reset");
  await press(page, '[name="password"]');
  await page.waitForSelector('a[href^="/interaction/"]');
  await draw(page, "recover-done");
  assert.ok(asked.length >= 3, "the page, its stylesheet, the form");
  const secret = new URL(link).pathname;
  for (const { url, referer } of await Promise.all(asked)) {
    assert.equal(new URL(url).origin, journey.issuer, "no other host is asked");
    assert.ok(referer?.includes(secret) !== true, `${url} was asked for with ${referer}`);
  }
  await page.locator('a[href^="/interaction/"]').click();
  await fillSignIn(page, { email, password: NEW_PASSWORD });
  await allow(page);
  await page.waitForSelector("#sub");
  assert.equal(await page.textContent("#email"), email);
  assert.deepEqual(complaints, []);
  await close();
});

test("another address: asked for on the account page, proven from its own mailbox, told to both", {
  skip,
}, async () => {
  const { mail, journey } = await ground();
  const [email, next] = ["before@new.example", "after@new.example"];
  await journey.createUser(email);
  const here = await visit();
  await signInToAccount(here.page, journey, { email });
  await here.page.locator('a[href="/account/email"]').click();
  await draw(here.page, "email");
  await here.page.fill('[name="email"]', next);
  await press(here.page, '[name="email"]');
  await here.page.waitForSelector(`text=${next}`);
  await draw(here.page, "email-sent");
  const there = await visit();
  await there.page.goto((await mail.next(next)).link);
  await draw(there.page, "email-confirm");
  await there.page.locator('[type="submit"]').click();
  await there.page.waitForSelector(`text=${next}`);
  await draw(there.page, "email-done");
  await mail.next(email, /was changed/);
  await mail.next(next, /was changed/);
  await here.page.goto(`${journey.issuer}/account`);
  assert.ok(((await here.page.textContent("main")) ?? "").includes(next));
  assert.deepEqual([...here.complaints, ...there.complaints], []);
  await Promise.all([here.close(), there.close()]);
});

test("an app that is revoked asks again, a session elsewhere is ended by one press, and the page reads from right to left, too", {
  skip,
}, async () => {
  const { app, journey } = await ground();
  const email = "apps@new.example";
  await journey.createUser(email);
  const [here, there] = [await visit(), await visit({ userAgent: "Mozilla/5.0 (iPhone) Version/18 Safari/605" })];
  await here.page.goto(app.login());
  await fillSignIn(here.page, { email });
  await allow(here.page);
  await here.page.waitForSelector("#sub");
  await signInToAccount(there.page, journey, { email });
  await here.page.goto(`${journey.issuer}/account`);
  await draw(here.page, "account");
  await press(here.page, '[name="app"]');
  await here.page.waitForURL(/done=app$/);
  await draw(here.page, "app-revoked");
  assert.equal(await here.page.locator('[name="app"]').count(), 0);
  await press(here.page, '[name="session"]');
  await here.page.waitForURL(/done=session$/);
  await there.page.goto(`${journey.issuer}/account`);
  assert.match(await there.page.title(), /^Nobody is signed in/);
  await here.page.goto(app.login());
  await here.page.waitForSelector('[name="decision"]');

  await here.page.goto(`${journey.issuer}/account`);
  const turned = await here.page.evaluate((words) => {
    document.documentElement.dir = "rtl";
    document.documentElement.lang = "ar";
    for (const one of document.querySelectorAll("h1, h2, .row-title, .help, .row a, .row button"))
      if (one.childElementCount === 0) one.textContent = one.matches("a, button") ? (words.split(" ")[0] ?? "") : words;
    const rows = [...document.querySelectorAll(".row")].filter(({ childElementCount }) => childElementCount > 1);
    return rows.map((row) => {
      const [words, act] = [row.firstElementChild, row.lastElementChild].map((one) => one?.getBoundingClientRect());
      return (words?.right ?? 0) - (act?.right ?? 0);
    });
  }, ARABIC);
  await draw(here.page, "account-right-to-left");
  assert.ok(turned.length > 5 && turned.every((apart) => apart >= 0), `words stand to the right of acts: ${turned}`);
  await here.page.setViewportSize({ width: 320, height: 700 });
  const width = await here.page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 320, `${width} px wide`);
  assert.deepEqual([...here.complaints, ...there.complaints], []);
  await Promise.all([here.close(), there.close()]);
});

test("an account is deleted after a wait, and who changes the mind signs in", { skip }, async () => {
  const { mail, journey } = await ground();
  const email = "gone@new.example";
  const id = await journey.createUser(email);
  const { page, complaints, close } = await visit();
  await signInToAccount(page, journey, { email });
  for (const name of ["password", "profile", "activity"]) {
    await page.goto(`${journey.issuer}/account/${name}`);
    await draw(page, name);
  }
  await page.goto(`${journey.issuer}/account`);
  await page.locator('a[href="/account/delete"]').click();
  await page.fill('[name="email"]', email);
  await draw(page, "delete");
  await press(page, '[name="email"]');
  await page.waitForSelector("h1");
  await mail.next(email, /will be deleted/);
  await draw(page, "delete-asked");
  assert.ok((await journey.service.users.find(id))?.deleteAt !== undefined);
  await page.goto(`${journey.issuer}/account`);
  assert.match(await page.title(), /^Nobody is signed in/);
  await signInToAccount(page, journey, { email, password: PASSWORD });
  const undo = (await mail.next(email, /stays/)).undo;
  assert.equal((await journey.service.users.find(id))?.deleteAt, undefined);
  if (undo !== "") {
    await page.goto(undo);
    await draw(page, "not-me");
  }
  assert.deepEqual(complaints, []);
  await close();
});
