/** The pages of signing up, recovering and looking after an account, each with the way there in a browser. Mails are read out of the development mailbox. */
import type { Page } from "playwright-core";
import type { Received } from "../../src/mail/transport.ts";
import { eventually } from "../support.ts";
import { PASSWORD } from "./journey.ts";
import type { Gallery, Shown } from "./pages.ts";
import { fillSignIn, press } from "./visit.ts";

const NEW_PASSWORD = "seven quiet harbours wait";
let people = 0;

/** Nobody else has this address, nor this network: limits of one page do not meet another's. */
async function somebody(page: Page): Promise<string> {
  people += 1;
  await page.setExtraHTTPHeaders({ "x-forwarded-for": `198.18.7.${people}` });
  return `person-${people}@gallery.example`;
}

async function letterTo(email: string, { journey }: Gallery): Promise<Received> {
  const { transport } = journey.service;
  if (!("list" in transport)) throw new Error("there is no mailbox");
  const list = transport.list as () => readonly Received[];
  return eventually(() => list().find(({ to }) => to === email), 30_000);
}

/** The first address in the mail that has these words. */
function addressIn({ text }: Received, words: RegExp): string {
  const found = [...text.matchAll(/https?:\/\/\S+/g)].map(([link]) => link).find((link) => words.test(link));
  if (found === undefined) throw new Error(`no such address in: ${text}`);
  return found;
}

/** The browser's own checks would stand before ours. */
async function uncheck(page: Page): Promise<void> {
  await page.evaluate(() => {
    for (const form of document.forms) form.noValidate = true;
  });
}

async function fill(page: Page, fields: Readonly<Record<string, string>>): Promise<void> {
  await uncheck(page);
  for (const [name, value] of Object.entries(fields)) await page.fill(`[name="${name}"]`, value);
  await press(page, `[name="${Object.keys(fields)[0]}"]`);
}

/** Ends where the code from the mail is asked for. */
async function beginSignUp(page: Page, gallery: Gallery): Promise<Received> {
  const email = await somebody(page);
  await page.goto(gallery.app.login({ prompt: "create" }));
  await fill(page, { email, password: NEW_PASSWORD });
  await page.waitForSelector('[name="code"]');
  return letterTo(email, gallery);
}

/** The link in a browser that is not the one where the sign-up began; returns that one's cookies. */
async function openLinkElsewhere(page: Page, gallery: Gallery) {
  const letter = await beginSignUp(page, gallery);
  const cookies = await page.context().cookies();
  await page.context().clearCookies();
  await page.goto(addressIn(letter, /\/sign-up\//));
  return cookies;
}

/** A user of this page alone, signed in there: what is done to an account must not meet another page. */
const inAccount =
  (word: string, andThen?: (page: Page, email: string) => Promise<void>) =>
  async (page: Page, gallery: Gallery): Promise<void> => {
    const email = await somebody(page);
    await gallery.journey.createUser(email);
    await page.goto(`${gallery.journey.issuer}/account/sign-in?to=${word}`);
    await fillSignIn(page, { email });
    await page.waitForURL(word === "home" ? "**/account" : `**/account/${word}`);
    await andThen?.(page, email);
  };

const alerted = (page: Page) => page.waitForSelector('[role="alert"], [aria-invalid="true"]');

async function askRecovery(page: Page, gallery: Gallery): Promise<string> {
  const email = await somebody(page);
  await gallery.journey.createUser(email);
  await page.goto(`${gallery.journey.issuer}/recover`);
  await fill(page, { email });
  await page.waitForURL("**/recover/sent");
  return email;
}

async function openReset(page: Page, gallery: Gallery): Promise<string> {
  const email = await askRecovery(page, gallery);
  await page.goto(addressIn(await letterTo(email, gallery), /\/recover\//));
  return email;
}

async function openNotMe(page: Page, gallery: Gallery): Promise<void> {
  const email = await openReset(page, gallery);
  const first = await letterTo(email, gallery);
  await fill(page, { password: NEW_PASSWORD });
  await page.waitForURL("**/recover/*");
  // The newest mail stands first: that of the change replaces that of the link.
  const notice = await eventually(async () => {
    const latest = await letterTo(email, gallery);
    return latest !== first && latest;
  }, 30_000);
  await page.goto(addressIn(notice, /\/not-me\//));
}

async function openEmailLink(page: Page, gallery: Gallery): Promise<void> {
  const next = `next-${people + 1}@gallery.example`;
  await inAccount("email", (at) => fill(at, { email: next }))(page, gallery);
  await page.goto(addressIn(await letterTo(next, gallery), /\/account\/email\/confirm\//));
}

/** Presses the one button of a page that asks for nothing else. */
async function confirm(page: Page): Promise<void> {
  await page.locator('main form [type="submit"]').first().click();
}

export const PEOPLE_PAGES: readonly Shown[] = [
  { name: "sign-up", open: async (page, { app }) => void (await page.goto(app.login({ prompt: "create" }))) },
  {
    name: "sign-up-errors",
    async open(page, { app }) {
      await page.goto(app.login({ prompt: "create" }));
      await fill(page, { email: "nora", password: "short" });
      await alerted(page);
    },
  },
  { name: "sign-up-check", open: async (page, gallery) => void (await beginSignUp(page, gallery)) },
  {
    name: "sign-up-check-wrong",
    async open(page, gallery) {
      await beginSignUp(page, gallery);
      await fill(page, { code: "0000 0000" });
      await alerted(page);
    },
  },
  { name: "sign-up-link", open: async (page, gallery) => void (await openLinkElsewhere(page, gallery)) },
  {
    name: "sign-up-done",
    isOnce: true,
    async open(page, gallery) {
      await openLinkElsewhere(page, gallery);
      await fill(page, { password: NEW_PASSWORD });
      await page.waitForSelector('h1:has-text("is confirmed")');
    },
  },
  {
    name: "sign-up-continue",
    async open(page, gallery) {
      const cookies = await openLinkElsewhere(page, gallery);
      await fill(page, { password: NEW_PASSWORD });
      await page.waitForSelector('h1:has-text("is confirmed")');
      await page.context().clearCookies();
      await page.context().addCookies(cookies);
      await page.goto(`${gallery.journey.issuer}/signup/check`);
    },
  },
  { name: "recover", open: async (page, { journey }) => void (await page.goto(`${journey.issuer}/recover`)) },
  {
    name: "recover-error",
    async open(page, { journey }) {
      await page.goto(`${journey.issuer}/recover`);
      await fill(page, { email: "nora" });
      await alerted(page);
    },
  },
  { name: "recover-sent", open: async (page, gallery) => void (await askRecovery(page, gallery)) },
  { name: "recover-reset", open: async (page, gallery) => void (await openReset(page, gallery)) },
  {
    name: "recover-reset-error",
    async open(page, gallery) {
      await openReset(page, gallery);
      await fill(page, { password: "short" });
      await alerted(page);
    },
  },
  {
    name: "recover-done",
    isOnce: true,
    async open(page, gallery) {
      await openReset(page, gallery);
      await fill(page, { password: NEW_PASSWORD });
      await page.waitForSelector('h1:has-text("is changed")');
    },
  },
  { name: "not-me", open: openNotMe },
  {
    name: "not-me-done",
    isOnce: true,
    async open(page, gallery) {
      await openNotMe(page, gallery);
      await confirm(page);
      await page.waitForSelector('h1:has-text("is secured")');
    },
  },
  {
    name: "link-gone",
    open: async (page, { journey }) => void (await page.goto(`${journey.issuer}/recover/${"x".repeat(43)}`)),
  },
  { name: "account-own", open: inAccount("home") },
  { name: "account-activity", open: inAccount("activity") },
  { name: "account-profile", open: inAccount("profile") },
  {
    name: "account-profile-error",
    open: inAccount("profile", async (page) => {
      await fill(page, { website: "nowhere", birthdate: "yesterday" });
      await alerted(page);
    }),
  },
  { name: "account-password", open: inAccount("password") },
  {
    name: "account-password-error",
    open: inAccount("password", async (page) => {
      await fill(page, { current: PASSWORD, password: "short" });
      await alerted(page);
    }),
  },
  { name: "account-email", open: inAccount("email") },
  {
    name: "account-email-error",
    open: inAccount("email", async (page) => {
      await fill(page, { email: "nora" });
      await alerted(page);
    }),
  },
  {
    name: "account-email-sent",
    isOnce: true,
    open: inAccount("email", async (page, email) => {
      await fill(page, { email: `new-${email}` });
      await page.waitForSelector('h1:has-text("mailbox")');
    }),
  },
  { name: "account-email-confirm", open: openEmailLink },
  {
    name: "account-email-done",
    isOnce: true,
    async open(page, gallery) {
      await openEmailLink(page, gallery);
      await confirm(page);
      await page.waitForSelector('h1:has-text("is changed")');
    },
  },
  { name: "account-delete", open: inAccount("delete") },
  {
    name: "account-delete-error",
    open: inAccount("delete", async (page) => {
      await fill(page, { email: "somebody else" });
      await alerted(page);
    }),
  },
  {
    name: "account-delete-asked",
    isOnce: true,
    open: inAccount("delete", async (page, email) => {
      await fill(page, { email });
      await page.waitForSelector('h1:has-text("will be deleted")');
    }),
  },
  { name: "mailbox", open: async (page, { journey }) => void (await page.goto(`${journey.issuer}/mailbox`)) },
];
