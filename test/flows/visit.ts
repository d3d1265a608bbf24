/** A visit: one person's browser, which notes all that a person or a console would complain about. */
import type { BrowserContextOptions, Page } from "playwright-core";
import { chromium } from "../support.ts";
import { EMAIL, PASSWORD } from "./journey.ts";

const STEP_MS = 10_000;

export interface Visit {
  readonly page: Page;
  /** Errors of the console, violations of the security policy, uncaught exceptions, dialogs. Empty on every path that is meant. */
  readonly complaints: readonly string[];
  newPage(): Promise<Page>;
  close(): Promise<void>;
}

/** A browser with nothing in it; whoever opens it closes it. */
export async function visit(options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await (await chromium()).newContext({ locale: "en-GB", ...options });
  context.setDefaultTimeout(STEP_MS);
  const complaints: string[] = [];
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${message.page()?.url()}: ${message.text()}`);
  });
  context.on("weberror", (thrown) => complaints.push(`thrown: ${thrown.error().message}`));
  context.on("dialog", (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  // The console tells of a blocked navigation, too, but not of each resource that a policy without report keeps out.
  await context.exposeBinding("tellViolation", (_source, text: string) => complaints.push(text));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      const tell = Reflect.get(globalThis, "tellViolation") as (text: string) => void;
      tell(`blocked by ${event.violatedDirective}: ${event.blockedURI}`);
    });
  });
  return {
    page: await context.newPage(),
    complaints,
    newPage: () => context.newPage(),
    close: () => context.close(),
  };
}

export async function fillSignIn(page: Page, who: { email?: string; password?: string } = {}): Promise<void> {
  await page.fill('[name="email"]', who.email ?? EMAIL);
  await page.fill('[name="password"]', who.password ?? PASSWORD);
  await press(page, '[name="password"]');
}

/** Presses the one submit button of the form that holds the element. */
export async function press(page: Page, inside: string): Promise<void> {
  await page
    .locator("form", { has: page.locator(inside) })
    .locator('[type="submit"]')
    .first()
    .click();
}

export async function allow(page: Page): Promise<void> {
  await page.locator('[name="decision"][value="allow"]').click();
}
