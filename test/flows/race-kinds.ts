/** The races: what happens once, or to all alike, when many requests ask at one moment. A kind prepares once and then runs any number of rounds. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { AppError } from "../../src/errors.ts";
import { type Client, form } from "../support.ts";
import { API, CALLBACK, EMAIL } from "./journey.ts";
import {
  authorization,
  BY,
  codeFields,
  cookiesFor,
  formShot,
  type Ground,
  keepCookies,
  nextAddress,
  type RaceClient,
  type Reply,
  refreshFields,
  times,
  tokenShot,
  volley,
} from "./racer.ts";

/** What the rounds of a kind came to. */
export interface Tally {
  requests: number;
  /** Successes beyond the one that may be, and tokens that work though they must not. */
  doubleSpends: number;
  /** Refusals of somebody who did nothing wrong. */
  falseLogouts: number;
  /** The most different successors that one refresh token got. */
  successorsMax: number;
  /** Everything that was not as it must be, in words; the first ones. */
  readonly problems: string[];
}

export interface Race {
  readonly name: string;
  readonly demand: string;
  /** Whether a store that looks first and writes then is found out by this race; where all answers are alike by design, it cannot be. */
  readonly catchesNaive: boolean;
  prepare(ground: Ground, parallel: number): Promise<(tally: Tally) => Promise<void>>;
}

const PROBLEMS_KEPT = 10;
const WEB = { client_type: "web", redirect_uris: [CALLBACK] };
const SECOND_MS = 1000;

export const RACES: readonly Race[] = [
  {
    name: "authorization code",
    demand: "T-RACE-1",
    catchesNaive: true,
    async prepare(ground, parallel) {
      const client = await ground.register({ ...WEB, client_name: "Code" });
      const browser = ground.browser();
      return async (tally) => {
        const { callback, verifier } = await ground.signIn(browser, client);
        const fields = codeFields(callback, verifier);
        const replies = await fire(
          tally,
          ground,
          times(ground, parallel, () => tokenShot("/token", client, fields)),
        );
        const won = replies.filter(({ status }) => status === 200);
        expectOne(tally, replies, { status: 400, error: "invalid_grant" });
        for (const { json } of won) await expectDead(tally, ground, client, json);
      };
    },
  },
  {
    name: "refresh without a window",
    demand: "T-RACE-2",
    catchesNaive: true,
    async prepare(ground, parallel) {
      const client = await ground.register({ ...WEB, client_name: "Strict", refresh_window: 0 });
      const browser = ground.browser();
      return async (tally) => {
        const first = await exchange(ground, client, await ground.signIn(browser, client));
        const fields = refreshFields(first["refresh_token"]);
        const replies = await fire(
          tally,
          ground,
          times(ground, parallel, () => tokenShot("/token", client, fields)),
        );
        expectOne(tally, replies, { status: 400, error: "invalid_grant" });
        for (const { status, json } of replies) if (status === 200) await expectDead(tally, ground, client, json);
        await expectDead(tally, ground, client, first);
      };
    },
  },
  {
    name: "refresh inside the window",
    demand: "T-RACE-2",
    catchesNaive: false,
    async prepare(ground, parallel) {
      const client = await ground.register({ ...WEB, client_name: "Tabs" });
      const foreign = await ground.register({ ...WEB, client_name: "Foreign" });
      let token = (await exchange(ground, client, await ground.signIn(ground.browser(), client)))["refresh_token"];
      return async (tally) => {
        const shots = times(ground, parallel, () => tokenShot("/token", client, refreshFields(token)));
        const replies = await fire(tally, ground, shots);
        const refused = replies.filter(({ status }) => status !== 200);
        for (const reply of refused) falseLogout(tally, `a tab inside the window: ${told(reply)}`);
        const successors = new Set(replies.flatMap(({ json }) => json["refresh_token"] ?? []));
        tally.successorsMax = Math.max(tally.successorsMax, successors.size);
        if (successors.size > 1) doubleSpend(tally, `${successors.size} successors`, successors.size - 1);
        const [successor] = successors;
        const next = await ground.post("/token", client, refreshFields(successor), 1);
        if (next.status !== 200) falseLogout(tally, `the successor: ${told(next)}`);
        // Two behind is no thief; another client is nobody at all. Neither gets anything, and neither touches the family.
        const stale = await ground.post("/token", client, refreshFields(token), 1);
        const other = await ground.post("/token", foreign, refreshFields(next.json["refresh_token"]));
        for (const reply of [stale, other]) {
          if (reply.status === 200) doubleSpend(tally, "a stale or foreign token was taken");
          expectRefused(tally, reply, { status: 400, error: "invalid_grant" });
        }
        const last = await ground.post("/token", client, refreshFields(next.json["refresh_token"]));
        if (last.status !== 200) falseLogout(tally, `after stale and foreign tokens: ${told(last)}`);
        token = last.json["refresh_token"];
      };
    },
  },
  {
    name: "client assertion",
    demand: "T-RACE-3",
    catchesNaive: true,
    async prepare(ground, parallel) {
      const keys = await generateKeyPair("ES256", { extractable: true });
      const jwk = { ...(await exportJWK(keys.publicKey)), kid: "race", alg: "ES256" };
      const apis = [{ identifier: API, scopes: ["read:things"], default: true }];
      const metadata = { client_type: "service", client_name: "Robot", apis };
      const auth = { token_endpoint_auth_method: "private_key_jwt", jwks: { keys: [jwk] } };
      const { id } = await ground.register({ ...metadata, ...auth });
      return async (tally) => {
        const assertion = await new SignJWT({ jti: nextAddress() + Math.random() })
          .setProtectedHeader({ alg: "ES256", kid: "race" })
          .setIssuer(id)
          .setSubject(id)
          .setAudience(ground.issuer)
          .setIssuedAt()
          .setExpirationTime("60s")
          .sign(keys.privateKey);
        const fields = {
          grant_type: "client_credentials",
          client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
          client_assertion: assertion,
        };
        const replies = await fire(
          tally,
          ground,
          times(ground, parallel, () => formShot("/token", fields)),
        );
        expectOne(tally, replies, { status: 401, error: "invalid_client" });
      };
    },
  },
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
      const names = Array.from({ length: Math.max(2, Math.min(parallel, 4)) }, (_, index) => `Tab ${index}`);
      const clients = await Promise.all(names.map((client_name) => ground.register({ ...WEB, client_name })));
      const browser = ground.browser();
      for (const client of clients) await ground.signIn(browser, client);
      return async (tally) => {
        const pages = await Promise.all(clients.map((client) => consentPage(browser, client)));
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
  {
    name: "revocation beside refresh",
    demand: "T-RACE-7",
    catchesNaive: false,
    async prepare(ground, parallel) {
      const client = await ground.register({ ...WEB, client_name: "Revoked" });
      const browser = ground.browser();
      return async (tally) => {
        const first = await exchange(ground, client, await ground.signIn(browser, client));
        const token = String(first["refresh_token"]);
        const shots = times(ground, parallel, (index) =>
          // Both kinds reach both processes.
          index % 4 < 2
            ? tokenShot("/token", client, refreshFields(token))
            : tokenShot("/revoke", client, { token, token_type_hint: "refresh_token" }),
        );
        const replies = await fire(tally, ground, shots);
        for (const [index, reply] of replies.entries()) {
          const isRefresh = index % 4 < 2;
          if (isRefresh && reply.status === 200) await expectDead(tally, ground, client, reply.json);
          else if (isRefresh) expectRefused(tally, reply, { status: 400, error: "invalid_grant" });
          else if (reply.status !== 200) problem(tally, `the revocation: ${told(reply)}`);
        }
        await expectDead(tally, ground, client, first);
      };
    },
  },
  {
    name: "one e-mail registered twice",
    demand: "T-RACE-9",
    catchesNaive: false,
    async prepare(ground, parallel) {
      let number = 0;
      return async (tally) => {
        number += 1;
        const [name = "", domain = ""] = EMAIL.split("@");
        const address = `${name}-${ground.name.replaceAll(" ", "-")}-${number}`;
        const variants = [
          `${address}@${domain}`,
          `${address.toUpperCase()}@${domain}`,
          `${address}@${domain.toUpperCase()}`,
        ];
        const created = await Promise.all(
          Array.from({ length: parallel }, (_, index) =>
            ground.app.users.create({ email: at(variants, index % variants.length) }, BY).then(
              () => "created",
              (error: unknown) => (error instanceof AppError ? error.code : String(error)),
            ),
          ),
        );
        tally.requests += parallel;
        const won = created.filter((outcome) => outcome === "created").length;
        if (won > 1) doubleSpend(tally, `${won} accounts for one address`, won - 1);
        if (won === 0) falseLogout(tally, "nobody got the account");
        for (const outcome of created)
          if (!["created", "user_email_taken"].includes(outcome)) problem(tally, `the registration: ${outcome}`);
      };
    },
  },
];

export function newTally(): Tally {
  return { requests: 0, doubleSpends: 0, falseLogouts: 0, successorsMax: 0, problems: [] };
}

/** Runs the rounds one after the other; on long ways it says how far it is. */
export async function runRounds(
  race: Race,
  ground: Ground,
  options: { rounds: number; parallel: number; onProgress?: (line: string) => void },
): Promise<Tally> {
  const { rounds, parallel, onProgress } = options;
  const tally = newTally();
  const round = await race.prepare(ground, parallel);
  let saidAt = performance.now();
  for (let done = 0; done < rounds; done += 1) {
    await round(tally);
    if (performance.now() - saidAt < 5 * SECOND_MS) continue;
    saidAt = performance.now();
    onProgress?.(`${race.name} (${ground.name}): ${done + 1} of ${rounds} rounds`);
  }
  return tally;
}

// --- Expectations --------------------------------------------------------------------------------------------------

async function fire(tally: Tally, ground: Ground, shots: Parameters<typeof volley>[1]): Promise<readonly Reply[]> {
  tally.requests += shots.length;
  return volley(ground.issuer, shots);
}

/** One 200, and every other answer is the protocol's own refusal. */
function expectOne(tally: Tally, replies: readonly Reply[], refusal: { status: number; error: string }): void {
  const won = replies.filter(({ status }) => status === 200);
  if (won.length > 1) doubleSpend(tally, `${won.length} of ${replies.length} succeeded`, won.length - 1);
  if (won.length === 0) falseLogout(tally, `nobody succeeded: ${replies.map(told).join("; ")}`);
  for (const reply of replies) if (reply.status !== 200) expectRefused(tally, reply, refusal);
}

function expectRefused(tally: Tally, reply: Reply, refusal: { status: number; error?: string }): void {
  const isRight = reply.status === refusal.status && (refusal.error ?? reply.json["error"]) === reply.json["error"];
  if (!isRight) problem(tally, `not refused with ${refusal.status} ${refusal.error ?? ""}: ${told(reply)}`);
}

async function expectDead(tally: Tally, ground: Ground, client: RaceClient, tokens: Reply["json"]): Promise<void> {
  const [refreshed, status] = await Promise.all([
    ground.post("/token", client, refreshFields(tokens["refresh_token"]), 1),
    ground.userinfo(String(tokens["access_token"])),
  ]);
  if (refreshed.status === 200) doubleSpend(tally, "a refresh token survived");
  else expectRefused(tally, refreshed, { status: 400, error: "invalid_grant" });
  if (status === 200) doubleSpend(tally, "an access token survived");
  else if (status !== 401) problem(tally, `userinfo answered ${status}`);
}

async function expectAlive(tally: Tally, ground: Ground, client: RaceClient, tokens: Reply["json"]): Promise<void> {
  const status = await ground.userinfo(String(tokens["access_token"]));
  if (status !== 200) falseLogout(tally, `userinfo answered ${status}`);
  const refreshed = await ground.post("/token", client, refreshFields(tokens["refresh_token"]), 1);
  if (refreshed.status !== 200) falseLogout(tally, `the refresh: ${told(refreshed)}`);
}

async function exchange(
  ground: Ground,
  client: RaceClient,
  { callback, verifier }: { callback: URL; verifier: string },
): Promise<Reply["json"]> {
  const reply = await ground.post("/token", client, codeFields(callback, verifier));
  if (reply.status !== 200) throw new Error(`the code was refused: ${told(reply)}`);
  return reply.json;
}

interface ConsentPage {
  readonly verifier: string;
  allow(): ReturnType<typeof formShot>;
}

/** The page that asks, up to but not including the press of the button. */
async function consentPage(browser: Client, client: RaceClient): Promise<ConsentPage> {
  const { path, verifier } = authorization(client, { prompt: "consent" });
  const page = await browser.follow(await browser.get(path, { "x-forwarded-for": nextAddress() }));
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

function doubleSpend(tally: Tally, what: string, count = 1): void {
  tally.doubleSpends += count;
  problem(tally, `double spend: ${what}`);
}

function falseLogout(tally: Tally, what: string): void {
  tally.falseLogouts += 1;
  problem(tally, `false logout: ${what}`);
}

function problem(tally: Tally, what: string): void {
  if (tally.problems.length < PROBLEMS_KEPT) tally.problems.push(what);
}

function told({ status, json, location }: Reply): string {
  return [status, json["error"], json["error_description"], location].filter((part) => part !== undefined).join(" ");
}

function pathOf(location: string | undefined): string {
  if (location === undefined) throw new Error("no redirect to follow");
  return new URL(location, "http://localhost").pathname;
}

function at<T>(list: readonly T[], index: number): T {
  const value = list[index];
  if (value === undefined) throw new Error(`nothing at ${index}`);
  return value;
}
