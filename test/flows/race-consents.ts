/** The races of the consent page: one consent pressed many times, and several apps' tabs in one browser at once. */
import { type Client, form } from "../support.ts";
import { CALLBACK } from "./journey.ts";
import {
  at,
  doubleSpend,
  expectAlive,
  expectRefused,
  falseLogout,
  fire,
  problem,
  type Race,
  told,
} from "./race-tally.ts";
import {
  authorization,
  codeFields,
  cookiesFor,
  formShot,
  keepCookies,
  nextAddress,
  type RaceClient,
  times,
} from "./racer.ts";

const WEB = { client_type: "web", redirect_uris: [CALLBACK] };

export const CONSENT_RACES: readonly Race[] = [
  {
    name: "consent submitted twice",
    demand: "T-RACE-5",
    catchesNaive: true,
    async prepare(ground, parallel) {
      const client = await ground.register({ ...WEB, client_name: "Twice" });
      const browser = ground.browser();
      await ground.signIn(browser, client);
      return async (tally) => {
        const page = await consentPage(browser, client);
        if (page === undefined) throw new Error("the browser is no longer signed in");
        const answers = await fire(
          tally,
          ground,
          times(ground, parallel, () => page.allow()),
        );
        const targets = new Set(answers.map(({ status, location }) => `${status} ${location}`));
        if (targets.size !== 1 || answers[0]?.status !== 303)
          problem(tally, `answers differ: ${[...targets].join(", ")}`);
        const resume = pathOf(answers[0]?.location);
        const headers = { cookie: cookiesFor(browser, resume), "x-forwarded-for": nextAddress() };
        const shots = times(ground, parallel, () => ({ method: "GET", path: resume, headers }));
        const resumed = await fire(tally, ground, shots);
        const won = resumed.filter(({ location }) => location?.startsWith(CALLBACK));
        if (won.length > 1) doubleSpend(tally, `${won.length} codes for one consent`, won.length - 1);
        if (won.length === 0) falseLogout(tally, `no code: ${resumed.map(told).join("; ")}`);
        for (const reply of resumed) if (!won.includes(reply)) expectRefused(tally, reply, { status: 400 });
        for (const reply of won) keepCookies(browser, reply);
        const code = codeFields(won[0]?.location ?? CALLBACK, page.verifier);
        const redeemed = await ground.post("/token", client, code);
        if (redeemed.status !== 200) falseLogout(tally, `the code: ${told(redeemed)}`);
        const rows = await ground.app.db.query("select 1 from consents where client_id = $1", [client.id]);
        if (rows.length !== 1) problem(tally, `${rows.length} consent rows`);
      };
    },
  },
  {
    name: "consents in parallel",
    demand: "T-RACE-6",
    catchesNaive: true,
    async prepare(ground, parallel) {
      const names = Array.from({ length: Math.max(2, Math.min(parallel - 1, 4)) }, (_, index) => `Tab ${index}`);
      const clients = await Promise.all(names.map((client_name) => ground.register({ ...WEB, client_name })));
      let browser = ground.browser();
      const enter = async (): Promise<void> => {
        browser = ground.browser();
        for (const client of clients) await ground.signIn(browser, client);
      };
      await enter();
      return async (tally) => {
        const shown = await Promise.all(clients.map((client) => consentPage(browser, client)));
        const pages = shown.filter((page) => page !== undefined);
        if (pages.length < shown.length) {
          falseLogout(tally, "a tab of somebody who is signed in was asked for the password");
          return enter();
        }
        const answers = await fire(
          tally,
          ground,
          times(ground, pages.length, (index) => at(pages, index).allow()),
        );
        // All tabs but one go on at once, the last one when the others are through; each still with the cookies of before.
        const resumes = answers.map(({ location }) => {
          const path = pathOf(location);
          const headers = { cookie: cookiesFor(browser, path), "x-forwarded-for": nextAddress() };
          return { method: "GET", path, headers } as const;
        });
        const together = times(ground, resumes.length, (index) => at(resumes, index));
        const early = await fire(tally, ground, together.slice(0, -1));
        const late = await fire(tally, ground, together.slice(-1));
        const ends = [...early, ...late];
        const results = await Promise.all(
          ends.map(async (end, index) => {
            const client = at(clients, index);
            keepCookies(browser, end);
            if (end.location?.startsWith(CALLBACK) !== true)
              return { client, refused: `a tab was refused: ${told(end)}` };
            const fields = codeFields(end.location, at(pages, index).verifier);
            return { client, reply: await ground.post("/token", client, fields, index) };
          }),
        );
        for (const { client, refused, reply } of results) {
          if (reply === undefined) falseLogout(tally, refused);
          else if (reply.status !== 200) falseLogout(tally, `the code of a tab: ${told(reply)}`);
          else await expectAlive(tally, ground, client, reply.json);
        }
      };
    },
  },
];

interface ConsentPage {
  readonly verifier: string;
  allow(): ReturnType<typeof formShot>;
}

/** The page that asks, up to but not including the press of the button; undefined when it asks for a password first. */
async function consentPage(browser: Client, client: RaceClient): Promise<ConsentPage | undefined> {
  const { path, verifier } = authorization(client, { prompt: "consent" });
  const page = await browser.follow(await browser.get(path, { "x-forwarded-for": nextAddress() }));
  if (page.text.includes('name="password"')) return undefined;
  const found = form(page.text, 'value="allow"');
  const target = new URL(found.action === "" ? page.url : found.action, page.url);
  return {
    verifier,
    allow: () =>
      formShot(
        target.pathname,
        { ...found.fields, decision: "allow" },
        { origin: target.origin, "sec-fetch-site": "same-origin", cookie: cookiesFor(browser, target.pathname) },
      ),
  };
}

function pathOf(location: string | undefined): string {
  if (location === undefined) throw new Error("no redirect to follow");
  return new URL(location, "http://localhost").pathname;
}
