/**
 * A run of everything, with every secret that leaves the server noted by the test's own client; then logs, Redis and Postgres are searched for
 * each in every form it could be kept in. One is planted in each place first, and found.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Redis } from "ioredis";
import * as openid from "openid-client";
import {
  API,
  beginJourney,
  CALLBACK,
  type Journey,
  PASSWORD,
  type Registered,
  signIn,
  tokensOf,
} from "../flows/journey.ts";
import { dumpOf } from "../flows/key-dump.ts";
import { type MailServer, startMailServer } from "../flows/mailbox.ts";
import { type Answer, type Client, engines } from "../support.ts";

const NEW_PASSWORD = "seven quiet harbours wait";
const WRONG_PASSWORD = "eleven loud lighthouses leave";
/** Shorter ones would be found by chance. */
const SECRET_CHARS_MIN = 16;
/** These name a sign-in by its address, which pages and mails hold, too; without the signature beside them, which is in no store, they open nothing. */
const NAMES_ONLY = /^signet_(interaction|resume)$/;

class Secrets {
  readonly #found = new Map<string, string>();

  note(what: string, value: unknown): void {
    if (typeof value === "string" && value.length >= SECRET_CHARS_MIN) this.#found.set(value, what);
  }

  get size(): number {
    return this.#found.size;
  }

  /** Whatever an answer gives away: cookies, codes and tokens in addresses and bodies, tokens of forms. */
  noteAnswer({ headers, text, location }: Answer): void {
    for (const cookie of headers["set-cookie"] ?? []) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      if (!NAMES_ONLY.test(name)) this.note(`the cookie ${name}`, value);
    }
    const target = location === undefined ? undefined : new URL(location);
    for (const name of ["code", "id_token_hint"]) this.note(name, target?.searchParams.get(name));
    for (const [, value] of text.matchAll(/name="(?:csrf|xsrf)" value="([^"]+)"/g)) this.note("a form's token", value);
    this.noteJson(text);
  }

  noteJson(text: string): void {
    for (const [, name = "", value] of text.matchAll(
      /"((?:access|refresh|id|logout)_token|code|client_secret)":\s*"([^"]+)"/g,
    ))
      this.note(name, value);
  }

  /** What is in the text, each secret in every form that it could be written in. */
  search(text: string): readonly string[] {
    const lower = text.toLowerCase();
    return [...this.#found].flatMap(([value, what]) => {
      const hex = Buffer.from(value).toString("hex");
      const isThere = formsOf(value).some((form) => text.includes(form)) || lower.includes(hex);
      return isThere ? [`${what} ${value.slice(0, 6)}…`] : [];
    });
  }

  first(): string {
    return [...this.#found.keys()][0] ?? "";
  }
}

/** The last group of a base64 depends on what follows; without it the text stands in every base64 that begins with these bytes. */
function formsOf(value: string): readonly string[] {
  const bytes = Buffer.from(value);
  const isBase64 = /^[A-Za-z0-9_-]{43}$/.test(value);
  return [
    value,
    encodeURIComponent(value),
    JSON.stringify(value).slice(1, -1),
    bytes.toString("base64").replace(/=+$/, "").slice(0, -2),
    bytes.toString("base64url").slice(0, -2),
    // What was decoded to be kept in fewer bytes.
    ...(isBase64
      ? [Buffer.from(value, "base64url").toString("latin1"), Buffer.from(value, "base64url").toString("hex")]
      : []),
  ];
}

/** Its cookies are its own; everything that it is answered is noted. */
function recording(journey: Journey, secrets: Secrets): Client {
  const client = journey.client();
  const { request } = client;
  return Object.assign(client, {
    request: async (options: Parameters<Client["request"]>[0]) => {
      const answer = await request(options);
      secrets.noteAnswer(answer);
      return answer;
    },
  });
}

async function partyOf(journey: Journey, client: Registered, secrets: Secrets): Promise<openid.Configuration> {
  const party = await journey.party(client);
  secrets.note("client_secret", client.secret);
  party[openid.customFetch] = async (url, options) => {
    const answer = await fetch(url, options as RequestInit);
    secrets.noteJson(await answer.clone().text());
    return answer;
  };
  return party;
}

async function everyRowOfRedis(url: string | undefined): Promise<string> {
  if (url === undefined) return "";
  const redis = new Redis(url);
  const parts: string[] = [];
  for await (const keys of redis.scanStream({ count: 500 }) as AsyncIterable<string[]>) {
    for (const key of keys) {
      const type = await redis.type(key);
      const read = {
        string: ["get"],
        hash: ["hgetall"],
        set: ["smembers"],
        zset: ["zrange", 0, -1],
        list: ["lrange", 0, -1],
      }[type];
      assert.ok(read !== undefined, `the key ${key} is a ${type}`);
      const [command = "", ...rest] = read;
      const value = (await redis.callBuffer(String(command), key, ...rest)) as Buffer | readonly Buffer[];
      parts.push(key, ...[value].flat().map((bytes) => bytes.toString("latin1")));
    }
  }
  redis.disconnect();
  return parts.join("\n");
}

/** Sign-up, sign-in, consent, tokens, refresh and its replay, recovery, a new address, an invitation, the account's acts, sign-out. */
async function everything(journey: Journey, mail: MailServer, secrets: Secrets): Promise<void> {
  const by = { kind: "system", id: "test" } as const;
  const noteMail = async (to: string, subject?: RegExp) => {
    const letter = await mail.next(to, subject);
    for (const address of [letter.link, letter.undo]) {
      const [token] = /[A-Za-z0-9_-]{43}/.exec(address) ?? [];
      secrets.note("the token of a mail", token);
    }
    return letter;
  };
  for (const password of [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD]) secrets.note("a password", password);
  const { issuer } = journey;
  const party = await partyOf(journey, journey.web, secrets);

  const newcomer = recording(journey, secrets);
  let page = await newcomer.follow(await newcomer.get(`${issuer}/signup`));
  const wanted = { name: "Nora", email: "nora@secrets.example", password: NEW_PASSWORD };
  page = await newcomer.follow(await newcomer.submit(page, wanted, { match: 'name="password"' }));
  const { code } = await noteMail(wanted.email);
  await newcomer.follow(await newcomer.submit(page, { code }, { match: 'name="code"' }));

  const person = recording(journey, secrets);
  page = await person.follow(await person.get(`${issuer}/account/sign-in`));
  const email = "olga@secrets.example";
  const id = await journey.createUser(email);
  await person.submit(page, { email, password: WRONG_PASSWORD }, { match: 'name="password"' });
  const options = { email, scope: "openid email offline_access", parameters: { prompt: "consent" } };
  const tokens = await tokensOf(person, party, options);
  await noteMail(email, /keeps access/);
  await tokensOf(person, party, { email, scope: "openid read:things", parameters: { resource: API } });
  const refreshed = await openid.refreshTokenGrant(party, tokens.refresh_token ?? "");
  await openid.refreshTokenGrant(party, tokens.refresh_token ?? "");
  await openid.fetchUserInfo(party, refreshed.access_token, openid.skipSubjectCheck);
  await openid.tokenIntrospection(party, refreshed.access_token);
  await openid.clientCredentialsGrant(await partyOf(journey, journey.machine, secrets), {});
  // Where none belongs: in addresses, in headers of pages, as a client's name.
  await person.get(`/account?access_token=${refreshed.access_token}&code=${refreshed.refresh_token}`);
  await person.get("/userinfo", { authorization: `Bearer ${refreshed.refresh_token}` });
  await person.post("/token", {
    grant_type: "refresh_token",
    refresh_token: refreshed.refresh_token ?? "",
    client_id: refreshed.access_token,
  });
  const { callback } = await signIn(person, party, { email, scope: "openid" });
  secrets.note("code", callback.searchParams.get("code"));
  await person.get(`/authorize?code=${callback.searchParams.get("code")}`);

  page = await person.get(`${issuer}/account/email`);
  await person.submit(page, { email: "next@secrets.example" });
  await noteMail(email, /new address/);
  page = await person.get((await noteMail("next@secrets.example")).link);
  await person.submit(page);
  await noteMail(email, /was changed/);
  page = await person.get(`${issuer}/account/password`);
  await person.submit(page, { current: PASSWORD, password: NEW_PASSWORD });
  await noteMail("next@secrets.example", /password was changed/);

  page = await person.get(`${issuer}/recover`);
  await person.submit(page, { email: "next@secrets.example" });
  page = await person.get((await noteMail("next@secrets.example", /new password/)).link);
  await person.submit(page, { password: PASSWORD });
  const { undo } = await noteMail("next@secrets.example", /password was changed/);
  page = await person.get(undo);
  await person.submit(page);
  await noteMail("next@secrets.example", /Set a new password/);

  await journey.service.signUps.invite("guest@secrets.example", "en", by);
  const guest = recording(journey, secrets);
  page = await guest.follow(await guest.get((await noteMail("guest@secrets.example")).link));
  await guest.follow(await guest.submit(page, { password: NEW_PASSWORD }, { match: 'name="password"' }));
  await guest.get(`${issuer}/account/data`);
  page = await guest.get(`${issuer}/account`);
  await guest.submit(page, {}, { match: "/account/sign-out" });
  await journey
    .register({ client_type: "web", client_name: "Later", redirect_uris: [CALLBACK] })
    .then(({ secret }) => secrets.note("client_secret", secret));
  await journey.service.users.setDisabled(id, true, by);
}

for (const { engine, skip } of await engines()) {
  test(`T-LOG-2: after a run of everything no secret is in logs, Redis or Postgres (${engine})`, { skip }, async () => {
    const mail = await startMailServer();
    const journey = await beginJourney(engine, { SMTP_URL: mail.url, LOG_LEVEL: "debug" });
    const secrets = new Secrets();
    await everything(journey, mail, secrets);
    const { db } = journey.service;
    const places = async (): Promise<Readonly<Record<string, string>>> => ({
      logs: journey.lines.join(""),
      postgres: await dumpOf(db),
      redis: await everyRowOfRedis(journey.env["REDIS_URL"]),
    });
    const found = await places();
    const planted = secrets.first();
    for (const [name, text] of Object.entries(found)) {
      for (const form of formsOf(planted))
        assert.equal(
          secrets.search(`${text}\n{"a":"${form}"}`).length,
          secrets.search(text).length + 1,
          `planted in ${name}`,
        );
    }
    await db.query("create table planted (word text)");
    await db.query("insert into planted values ($1)", [planted]);
    assert.equal(secrets.search(await dumpOf(db)).length, secrets.search(found["postgres"] ?? "").length + 1);
    await db.query("drop table planted");
    const sizes = Object.entries(found).map(([name, text]) => `${name} ${text.length}`);
    const hits = Object.entries(found).flatMap(([name, text]) =>
      secrets.search(text).map((what) => `${name}: ${what}`),
    );
    console.log(
      `secrets (${engine}): ${secrets.size} noted, searched in ${sizes.join(", ")} characters: ${hits.length} found, a planted one before`,
    );
    assert.ok(secrets.size > 60, `${secrets.size} secrets were noted`);
    assert.deepEqual(hits, []);
  });
}
