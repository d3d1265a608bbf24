/** Every page and every state of one that a person can come to: its name, and the way there in a browser. */
import * as openid from "openid-client";
import type { Page } from "playwright-core";
import { type RelyingParty, startRelyingParty } from "./apps.ts";
import { API, beginJourney, EMAIL, type Journey, PASSWORD, type Registered } from "./journey.ts";
import { allow, fillSignIn, press } from "./visit.ts";

const LONG_EMAIL =
  "maximiliane.freifrau-von-und-zu-guttenberg.schwarzenfels@verwaltungsgemeinschaft-oberes-erzgebirge.example";
/** An address that has failed too often for the next ten minutes. */
const THROTTLED_ADDRESS = "203.0.113.9";
const FAILURES_MAX = 20;

export interface Gallery {
  readonly journey: Journey;
  /** The app with a short name, and the one whose names and scopes are as long as they get. */
  readonly app: RelyingParty;
  readonly long: Registered;
  readonly setupToken: string;
}

export interface Shown {
  readonly name: string;
  /** What it shows cannot be shown again by a reload: it is looked at in one language. */
  readonly isOnce?: true;
  /** Begins in a browser with nothing in it; ends on the page. */
  open(page: Page, gallery: Gallery): Promise<void>;
}

export async function furnishGallery(): Promise<Gallery> {
  const journey = await beginJourney("postgres", { TRUST_PROXY: "1" });
  const { service, register } = journey;
  const by = { kind: "system", id: "test" } as const;
  const api = "https://urkunden.verwaltungsgemeinschaft-oberes-erzgebirge.example/schnittstellen/v2";
  await service.apis.create(
    {
      identifier: api,
      name: "Grundstücksverkehrsgenehmigungszuständigkeitsregister",
      scopes: [
        {
          scope: "urkunden:lesen",
          description: "Alle Urkunden, Genehmigungen und Bescheide sehen, die zu Ihrem Konto gehören",
        },
        { scope: "urkunden:schreiben", description: "Urkunden in Ihrem Namen einreichen, ändern und zurückziehen" },
      ],
    },
    by,
  );
  await service.users.create(
    {
      email: LONG_EMAIL,
      password: PASSWORD,
      claims: { name: "Maximiliane Freifrau von und zu Guttenberg-Schwarzenfels" },
    },
    by,
  );
  const long = await register({
    client_type: "web",
    client_name: "Elektronische Vorgangsbearbeitung der Verwaltungsgemeinschaft Oberes Erzgebirge",
    client_uri: "https://vorgangsbearbeitung.verwaltungsgemeinschaft-oberes-erzgebirge.example/",
    redirect_uris: ["https://vorgangsbearbeitung.verwaltungsgemeinschaft-oberes-erzgebirge.example/anmeldung"],
    optional_scopes: ["phone", "address", "urkunden:schreiben"],
    apis: [{ identifier: api, scopes: ["urkunden:lesen", "urkunden:schreiben"], default: true }],
  });
  const app = await startRelyingParty(journey, {
    client_name: "Harbor Notes",
    optional_scopes: ["email"],
    apis: [{ identifier: API, scopes: ["read:things"], default: true }],
  });
  const setupToken = (await service.setup.makeToken()) ?? "";
  for (let failure = 0; failure <= FAILURES_MAX; failure += 1) {
    const attempt = { identifier: `guess-${failure}`, address: THROTTLED_ADDRESS };
    await (await service.limits.beginSignIn(attempt).catch(() => undefined))?.fail();
  }
  return { journey, app, long, setupToken };
}

/** The address of an authorization request. */
async function begin(
  asked: { journey: Journey; app: Registered },
  parameters: Readonly<Record<string, string>> = {},
): Promise<string> {
  const config = await asked.journey.party(asked.app);
  return openid.buildAuthorizationUrl(config, {
    redirect_uri: "https://app.example/callback",
    scope: "openid profile email",
    code_challenge: await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier()),
    code_challenge_method: "S256",
    ...parameters,
  }).href;
}

async function signedIn(page: Page, { app }: Gallery): Promise<void> {
  await page.goto(app.login({ scope: "openid profile email read:things" }));
  await fillSignIn(page);
  await page.waitForSelector('[name="decision"]');
}

async function askLong(page: Page, { journey, long }: Gallery): Promise<void> {
  const redirect = "https://vorgangsbearbeitung.verwaltungsgemeinschaft-oberes-erzgebirge.example/anmeldung";
  const scope = "openid profile email phone address offline_access urkunden:lesen urkunden:schreiben";
  await page.goto(await begin({ journey, app: long }, { redirect_uri: redirect, scope, prompt: "consent" }));
}

async function fillSetup(page: Page, { journey, setupToken }: Gallery, who: Record<string, string>): Promise<void> {
  await page.goto(`${journey.issuer}/setup?token=${setupToken}`);
  // The browser's own checks would stand before ours.
  await page.evaluate(() => {
    for (const form of document.forms) form.noValidate = true;
  });
  for (const [name, value] of Object.entries(who)) await page.fill(`[name="${name}"]`, value);
  await press(page, '[name="password"]');
}

const to =
  (path: string) =>
  async (page: Page, { journey }: Gallery): Promise<void> => {
    await page.goto(journey.issuer + path);
  };

export const PAGES: readonly Shown[] = [
  { name: "sign-in", open: async (page, { app }) => void (await page.goto(app.login())) },
  {
    name: "sign-in-again",
    async open(page, gallery) {
      await signedIn(page, gallery);
      await page.goto(gallery.app.login({ prompt: "login", login_hint: EMAIL }));
    },
  },
  {
    name: "sign-in-error",
    async open(page, { app }) {
      await page.goto(app.login());
      await fillSignIn(page, { email: `nobody-${Date.now()}@lindqvist.example` });
      await page.waitForSelector("[role=alert]");
    },
  },
  {
    name: "sign-in-throttled",
    async open(page, { app }) {
      await page.setExtraHTTPHeaders({ "x-forwarded-for": THROTTLED_ADDRESS });
      await page.goto(app.login());
      await fillSignIn(page);
      await page.waitForSelector("[role=alert]");
    },
  },
  { name: "consent", open: signedIn },
  {
    name: "consent-long",
    async open(page, gallery) {
      await askLong(page, gallery);
      await fillSignIn(page, { email: LONG_EMAIL });
      await page.waitForSelector('[name="decision"]');
    },
  },
  {
    name: "consent-native",
    async open(page, { journey }) {
      const redirect = "com.example.pocket:/cb";
      await page.goto(
        await begin({ journey, app: journey.native }, { redirect_uri: redirect, scope: "openid profile" }),
      );
      await fillSignIn(page);
      await page.waitForSelector('[name="decision"]');
    },
  },
  {
    name: "select-account",
    async open(page, gallery) {
      await signedIn(page, gallery);
      await page.goto(gallery.app.login({ prompt: "select_account" }));
    },
  },
  {
    name: "select-account-long",
    async open(page, gallery) {
      await askLong(page, gallery);
      await fillSignIn(page, { email: LONG_EMAIL });
      await page.waitForSelector('[name="decision"]');
      const redirect = "https://vorgangsbearbeitung.verwaltungsgemeinschaft-oberes-erzgebirge.example/anmeldung";
      const asked = { journey: gallery.journey, app: gallery.long };
      await page.goto(await begin(asked, { redirect_uri: redirect, prompt: "select_account" }));
    },
  },
  {
    name: "account",
    async open(page, gallery) {
      await signedIn(page, gallery);
      await page.goto(`${gallery.journey.issuer}/account`);
    },
  },
  {
    name: "account-long",
    async open(page, gallery) {
      await askLong(page, gallery);
      await fillSignIn(page, { email: LONG_EMAIL });
      await page.waitForSelector('[name="decision"]');
      await page.goto(`${gallery.journey.issuer}/account`);
    },
  },
  { name: "account-nobody", open: to("/account") },
  {
    name: "setup",
    open: async (page, { journey, setupToken }) =>
      void (await page.goto(`${journey.issuer}/setup?token=${setupToken}`)),
  },
  {
    name: "setup-error",
    open: (page, gallery) => fillSetup(page, gallery, { name: "Olga", email: "olga@example.com", password: "short" }),
  },
  {
    name: "setup-errors",
    open: (page, gallery) => fillSetup(page, gallery, { name: "", email: "olga", password: "password password" }),
  },
  { name: "setup-gone", open: to("/setup?token=sgn_setup_gone") },
  { name: "not-found", open: to("/nowhere") },
  { name: "sign-in-gone", open: to("/interaction/aaaaaaaaaaaaaaaaaaaaa") },
  {
    name: "form-foreign",
    async open(page, { app }) {
      await page.goto(app.login());
      await page.evaluate(() => document.querySelector('[name="csrf"]')?.setAttribute("value", "other"));
      await fillSignIn(page);
      await page.waitForSelector(".copy-value");
    },
  },
  {
    name: "redirect-uri-unknown",
    async open(page, { journey }) {
      await page.goto(await begin({ journey, app: journey.web }, { redirect_uri: "https://evil.example/cb" }));
    },
  },
  {
    name: "app-unknown",
    async open(page, { journey }) {
      await page.goto(await begin({ journey, app: journey.web }, { client_id: "cl_nobody" }));
    },
  },
  {
    name: "request-refused",
    async open(page, { journey }) {
      await page.goto(`${journey.issuer}/authorize?client_id=${journey.web.id}&response_type=code`);
    },
  },
  {
    name: "other-address",
    async open(page, { journey }) {
      await page.goto(`${journey.issuer.replace("127.0.0.1", "localhost")}/account`);
    },
  },
  {
    name: "logout",
    async open(page, gallery) {
      await signedIn(page, gallery);
      await page.goto(`${gallery.journey.issuer}/logout?client_id=${gallery.app.client.id}`);
    },
  },
  {
    name: "logout-answered",
    async open(page, gallery) {
      // The page presses its own button; here it must stand still to be looked at.
      await page.route("**/submit.*.js", (route) => route.abort());
      await page.goto(gallery.app.login({ prompt: "consent" }));
      await fillSignIn(page);
      await allow(page);
      await page.waitForSelector("#sub");
      await page.goto(gallery.app.logout());
    },
  },
  { name: "logout-done", open: to("/logout/success") },
];

/** The last one, for the link dies with it. */
export const SETUP_DONE: Shown = {
  name: "setup-done",
  async open(page, gallery) {
    const token = (await gallery.journey.service.setup.makeToken()) ?? gallery.setupToken;
    await fillSetup(
      page,
      { ...gallery, setupToken: token },
      { name: "Olga Owner", email: "olga@example.com", password: PASSWORD },
    );
    await page.waitForSelector("pre");
  },
};
