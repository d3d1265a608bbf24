/** The first owner: the link of a new server works once, for an hour, for one; its form marks what it needs and keeps what was typed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { randomText } from "../../src/secrets.ts";
import {
  type Answer,
  type Client,
  cookieJarClient,
  decodeEntities,
  eventually,
  freePort,
  startSignet,
} from "../support.ts";
import { PASSWORD, title } from "./journey.ts";

const OWNER = { name: "Olga Owner", email: "olga@example.com", password: PASSWORD };
const HOUR_MS = 3_600_000;

type Signet = Awaited<ReturnType<typeof startSignet>>;

async function linkOf({ service }: Signet): Promise<string> {
  const token = await service.setup.makeToken();
  assert.ok(token !== undefined, "there is no owner yet");
  return `/setup?token=${token}`;
}

async function ownersOf({ service }: Signet): Promise<number> {
  const [row] = await service.db.query<{ count: number }>("select count(*)::int as count from user_roles");
  return row?.count ?? -1;
}

/** Which fields are marked, and the words of the summary. */
function faultsOf(page: Answer): { marked: readonly string[]; said: readonly string[] } {
  const inputs = [...page.text.matchAll(/<input id="(\w+)"[^>]*aria-invalid="true"[^>]*>/g)];
  const links = [...page.text.matchAll(/<li><a href="#(\w+)">([^<]*)/g)];
  assert.deepEqual(
    links.map(([, field]) => field),
    inputs.map(([, field]) => field),
    "each marked field is linked",
  );
  return { marked: inputs.map(([, id = ""]) => id), said: links.map(([, , words = ""]) => decodeEntities(words)) };
}

const submit = (browser: Client, page: Answer, fields: Record<string, string>): Promise<Answer> =>
  browser.submit(page, fields, { match: 'name="token"' });

test("the link makes one owner, however many use it at once, and dies with the first", async () => {
  const signet = await startSignet({ engine: "postgres" });
  const link = await linkOf(signet);
  const browsers = [signet.client(), signet.client(), signet.client()];
  const pages = await Promise.all(browsers.map((browser) => browser.get(link)));
  for (const page of pages) assert.equal(page.status, 200);
  const answers = await Promise.all(
    browsers.map((browser, index) =>
      submit(browser, pages[index] as Answer, { ...OWNER, email: `olga${index}@example.com` }),
    ),
  );
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 404, 404]);
  assert.equal(await ownersOf(signet), 1);
  assert.equal(await signet.service.users.countUsers(), 1, "who came late left nothing behind");
  const done = answers.find(({ status }) => status === 200);
  for (const command of ["client create", "api create", "user create", "client list"])
    assert.ok(done?.text.includes(`npm run -s signet -- ${command}`), command);
  const gone = await signet.client().get(link);
  assert.equal(gone.status, 404);
  assert.match(title(gone), /^This set-up link has ended/);
  assert.equal(await signet.service.setup.makeToken(), undefined, "a server that has its owner makes no link");
});

test("the link ends after an hour, with the next one, and with a text that is none; a foreign form does nothing", async () => {
  const signet = await startSignet({ engine: "postgres" });
  const first = await linkOf(signet);
  const link = await linkOf(signet);
  const browser = signet.client();
  for (const path of [first, "/setup", "/setup?token=", `/setup?token=${"x".repeat(5000)}`, `${link}&token=a`])
    assert.equal((await browser.get(path)).status, 404, path.slice(0, 60));
  const page = await browser.get(link);
  for (const [fields, headers] of [
    [{ ...OWNER, csrf: "" }, {}],
    [OWNER, { origin: "https://evil.example", "sec-fetch-site": "cross-site" }],
    [OWNER, { origin: "null", "sec-fetch-site": "cross-site" }],
  ] as const)
    assert.equal((await browser.submit(page, fields, { match: 'name="token"', headers })).status, 403);
  const { token: _, ...other } = OWNER as Record<string, string>;
  assert.equal((await submit(browser, page, { ...other, token: "sgn_setup_other" })).status, 403);
  // As it will be in an hour.
  await signet.service.db.query("update setup_links set created_at = created_at - $1::interval, expires_at = $2", [
    "1 hour",
    new Date(Date.now() - 1),
  ]);
  assert.equal((await browser.get(link)).status, 404);
  assert.equal((await submit(browser, page, OWNER)).status, 404);
  assert.equal(await ownersOf(signet), 0);
  const [row] = await signet.service.db.query<{ hours: number }>(
    "select count(*)::int as hours from setup_links where token_hash like '%sgn_%'",
  );
  assert.equal(row?.hours, 0, "the link is kept as a hash");
  await linkOf(signet);
  const [fresh] = await signet.service.db.query<{ expires_at: Date }>("select expires_at from setup_links");
  const left = (fresh?.expires_at.getTime() ?? 0) - Date.now();
  assert.ok(left > HOUR_MS - 60_000 && left <= HOUR_MS, `${left} ms`);
});

test("bad input marks every field at once, keeps what was typed but never a password, in the language of the page", async () => {
  const signet = await startSignet({ engine: "postgres" });
  await signet.service.users.create({ email: "taken@example.com" }, { kind: "system", id: "test" });
  const link = await linkOf(signet);
  const browser = signet.client();
  const page = await browser.get(`${link}&ui_locales=de`);
  assert.match(title(page), /^Den ersten Inhaber anlegen/);
  assert.match(page.text, /href="\/setup\?ui_locales=en&amp;token=sgn_setup_/, "the other language keeps the link");
  const all = await submit(browser, page, { name: " ", email: "olga", password: "kurz" });
  assert.equal(all.status, 400);
  assert.deepEqual(faultsOf(all).marked, ["name", "email", "password"]);
  assert.match(all.text, /3 Angaben brauchen eine Änderung/);
  assert.match(all.text, /value="olga"/);
  assert.equal(all.text.includes("kurz"), false);
  for (const [fields, field, words] of [
    [{ name: "x".repeat(201) }, "name", /höchstens 200 Zeichen/],
    [{ name: "Olga\u202egnp" }, "name", /höchstens 200 Zeichen/],
    [{ email: "taken@example.com" }, "email", /hat schon jemand/],
    [{ password: "fourteen chars" }, "password", /mindestens 15 Zeichen/],
    [{ password: "olga owner olga owner" }, "password", /nicht in Ihrem Namen/],
    [{ password: "passwordpassword" }, "password", /häufiger Passwörter|schwerer zu erraten/],
    [{ password: "x".repeat(1025) }, "password", /kürzeres Passwort/],
  ] as const) {
    const answer = await submit(browser, page, { ...OWNER, ...fields });
    assert.equal(answer.status, 400, JSON.stringify(fields).slice(0, 60));
    const { marked, said } = faultsOf(answer);
    assert.deepEqual(marked, [field]);
    assert.match(said[0] ?? "", words);
  }
  assert.equal(await ownersOf(signet), 0);
  const done = await submit(browser, page, OWNER);
  assert.equal(done.status, 200);
  assert.match(title(done), /^Der Server hat seinen Inhaber/);
  assert.match(title(await browser.get("/account")), /^Niemand ist angemeldet/, "the language stays");
});

test("in production the link works behind TLS and the page names the commands; without SMTP_URL what needs a mail is off and says so", async () => {
  const port = await freePort();
  const issuer = "https://id.example.test";
  const env = {
    NODE_ENV: "production",
    ISSUER: issuer,
    PORT: String(port),
    TRUST_PROXY: "1",
    SECRET_KEY: randomText(),
  };
  const signet = await startSignet({ engine: "postgres", env });
  // The proxy ends TLS and speaks HTTP to us.
  const browser = cookieJarClient(`http://127.0.0.1:${port}`);
  const headers = { host: "id.example.test", "x-forwarded-proto": "https", origin: issuer };
  const page = await browser.get(await linkOf(signet), headers);
  assert.equal(page.status, 200);
  const done = await browser.submit(page, OWNER, { match: 'name="token"', headers });
  assert.equal(done.status, 200);
  assert.match(done.text, /npm run -s signet -- client create/);
  assert.equal(await ownersOf(signet), 1);

  // Walked by hand: the origin of the pages is the proxy's, the client's is ours.
  const follow = async (answer: Answer): Promise<Answer> => {
    let at = answer;
    while (at.location !== undefined)
      at = await browser.get(new URL(at.location).pathname + new URL(at.location).search, headers);
    return at;
  };
  const login = await follow(await browser.get("/account/sign-in?to=home", headers));
  assert.doesNotMatch(login.text, /href="\/recover|\/signup"/, "no way to what is off");
  const { email, password } = OWNER;
  const home = await follow(await browser.submit(login, { email, password }, { match: 'name="password"', headers }));
  assert.match(home.text, /This server sends no mail/);
  assert.doesNotMatch(home.text, /href="\/account\/email"/);
  for (const path of ["/account/email", "/recover"]) {
    const answer = await browser.get(path, headers);
    assert.deepEqual([answer.status, title(answer).includes("sends no mail")], [503, true], path);
  }
  const posted = await browser.post("/account/email", { email: "new@example.com" }, headers);
  assert.equal(posted.status, 503);
  assert.equal((await browser.get("/signup", headers)).status, 404);
  // A notice is still written with what it tells of; it ends at once, and with the reason.
  const asked = await browser.get("/account/password", headers);
  const changed = await browser.submit(
    asked,
    { current: password, password: "seven quiet harbours wait" },
    { match: 'name="current"', headers },
  );
  assert.equal(changed.status, 303);
  const [mail] = await eventually(async () => {
    const failed = await signet.service.mails.list({ state: "failed", limit: 5 });
    return failed.length > 0 ? failed : undefined;
  });
  assert.deepEqual([mail?.template, /SMTP_URL/.test(mail?.error ?? "")], ["password_changed", true]);
  assert.equal((await signet.service.outbox.waiting()).waiting, 0);
  assert.ok(
    signet.lines.some((line) => line.includes("no mail is sent")),
    "the start says it",
  );
});
