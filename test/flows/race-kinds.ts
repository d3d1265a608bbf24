/** The races: what happens once, or to all alike, when many requests ask at one moment. A kind prepares once and then runs any number of rounds. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { AppError } from "../../src/errors.ts";
import { makeLink } from "../../src/users/link.ts";
import { form } from "../support.ts";
import { API, CALLBACK, EMAIL } from "./journey.ts";
import { CONSENT_RACES } from "./race-consents.ts";
import {
  at,
  doubleSpend,
  expectDead,
  expectOne,
  expectRefused,
  falseLogout,
  fire,
  newTally,
  problem,
  type Race,
  type Tally,
  told,
} from "./race-tally.ts";
import {
  BY,
  codeFields,
  cookiesFor,
  formShot,
  type Ground,
  nextAddress,
  type RaceClient,
  type Reply,
  refreshFields,
  times,
  tokenShot,
} from "./racer.ts";

const WEB = { client_type: "web", redirect_uris: [CALLBACK] };
const SECOND_MS = 1000;
const NAIVE_PAUSE_MS = 250;

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
  ...CONSENT_RACES,
  {
    name: "revocation beside refresh",
    demand: "T-RACE-7",
    catchesNaive: true,
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
    name: "link in a mail",
    demand: "T-RACE-8",
    catchesNaive: true,
    async prepare(ground, parallel) {
      const { app } = ground;
      const domain = `${ground.name.replaceAll(" ", "-")}.example`;
      const user = await app.users.create({ email: `links@${domain}` }, BY);
      let number = 0;
      return async (tally) => {
        number += 1;
        const link = { kind: "email_change", userId: user.id, email: `links-${number}@${domain}` } as const;
        const path = `/account/email/confirm/${await app.db.transaction((tx) => makeLink(tx, link))}`;
        const browser = ground.browser();
        const fields = form((await browser.get(path, { "x-forwarded-for": nextAddress() })).text, "csrf").fields;
        const headers = { origin: ground.issuer, cookie: cookiesFor(browser, path) };
        const shots = times(ground, parallel, () => formShot(path, fields, headers));
        expectOne(tally, await fire(tally, ground, shots), { status: 404 });
      };
    },
  },
  {
    name: "one e-mail registered twice",
    demand: "T-RACE-9",
    catchesNaive: true,
    spoil: async ({ app }) =>
      void (await app.db.query("alter table users drop constraint if exists users_email_canonical_key", [])),
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

/** Runs the rounds one after the other; on long ways it says how far it is. */
export async function runRounds(
  race: Race,
  ground: Ground,
  options: { rounds: number; parallel: number; onProgress?: (line: string) => void },
): Promise<Tally> {
  const { rounds, parallel, onProgress } = options;
  const tally = newTally();
  if (ground.isNaive) await race.spoil?.(ground);
  const round = await race.prepare(ground, parallel);
  let saidAt = performance.now();
  for (let done = 0; done < rounds; done += 1) {
    await round(tally);
    // The naive store ends things late: what one round ended must not end in the middle of the next.
    if (ground.isNaive) await new Promise((resolve) => setTimeout(resolve, NAIVE_PAUSE_MS));
    if (performance.now() - saidAt < 5 * SECOND_MS) continue;
    saidAt = performance.now();
    onProgress?.(`${race.name} (${ground.name}): ${done + 1} of ${rounds} rounds`);
  }
  return tally;
}

// --- Steps ---------------------------------------------------------------------------------------------------------

async function exchange(
  ground: Ground,
  client: RaceClient,
  { callback, verifier }: { callback: URL; verifier: string },
): Promise<Reply["json"]> {
  const reply = await ground.post("/token", client, codeFields(callback, verifier));
  if (reply.status !== 200) throw new Error(`the code was refused: ${told(reply)}`);
  return reply.json;
}
