/** A single-page app in a real browser: tokens by fetch from its own origin, two tabs, and what other origins are kept from. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { engines, withoutChromium } from "../support.ts";
import { page as answerPage, serve } from "./apps.ts";
import { beginJourney, EMAIL, type Journey } from "./journey.ts";
import { type Called, call, type Spa, startSpa } from "./spa.ts";
import { allow, fillSignIn, type Visit, visit } from "./visit.ts";

const noBrowser = await withoutChromium();
const TAB_ROUNDS = 5;

async function signedIn(app: Spa): Promise<Visit> {
  const visiting = await visit();
  const { page } = visiting;
  await page.goto(app.origin);
  await call(page, "signIn");
  await fillSignIn(page);
  await allow(page);
  await page.waitForSelector("#state:text-is('signed in')");
  return visiting;
}

const refreshTokenOf = ({ status, body }: Called): unknown => {
  assert.equal(status, 200, JSON.stringify(body));
  return body?.["refresh_token"];
};
const stored = (page: Page): Promise<string | null> => page.evaluate(() => localStorage.getItem("refresh"));

for (const { engine, skip } of await engines()) {
  const skipped = skip === false ? noBrowser : skip;
  const journey = skipped === false ? beginJourney(engine) : undefined;
  const opened = async (): Promise<Journey> => {
    if (journey === undefined) throw new Error("skipped");
    return journey;
  };

  test(`a single-page app signs in, refreshes in silence in two tabs at once, and revokes (${engine})`, {
    skip: skipped,
  }, async () => {
    const { userId, issuer } = await opened();
    const app = await startSpa(await opened());
    const { page, newPage, complaints, close } = await signedIn(app);
    assert.equal(page.url(), `${app.origin}/`);
    const person = await call(page, "userinfo");
    assert.deepEqual([person.status, person.body?.["sub"], person.body?.["email"]], [200, userId, EMAIL]);

    const other = await newPage();
    await other.goto(app.origin);
    for (let round = 0; round < TAB_ROUNDS; round += 1) {
      const token = await stored(page);
      const [one, two] = await Promise.all([call(page, "refresh", token), call(other, "refresh", token)]);
      assert.notEqual(refreshTokenOf(one), token);
      assert.equal(refreshTokenOf(one), refreshTokenOf(two), "both tabs hold the same successor");
      for (const tab of [page, other]) assert.equal((await call(tab, "userinfo")).status, 200);
    }
    // A response that got lost on the way: the app asks again with the token it has.
    const before = await stored(page);
    const lost = refreshTokenOf(await call(page, "refresh", before));
    assert.equal(refreshTokenOf(await call(other, "refresh", before)), lost);
    assert.equal(page.url(), `${app.origin}/`, "no page was left for it");

    // The session answers without a question, too.
    await call(other, "signIn", { prompt: "none" });
    await other.waitForSelector("#state:text-is('signed in')");
    const second = await stored(other);
    const revoked = await call(page, "revoke", lost);
    assert.deepEqual(revoked, { status: 200, body: {} });
    assert.deepEqual(complaints, []);
    const refused = await call(page, "refresh", lost);
    assert.deepEqual([refused.status, refused.body?.["error"]], [400, "invalid_grant"]);
    assert.ok(second !== lost && issuer !== "");
    await close();
  });
}

test("a foreign origin's scripts get nothing but the public documents (T-CORS-1)", { skip: noBrowser }, async () => {
  const journey = await beginJourney("postgres");
  const app = await startSpa(journey);
  const { page, newPage, close } = await signedIn(app);
  const { issuer } = journey;
  const token = await page.evaluate(() => (Reflect.get(globalThis, "app") as { accessToken: string }).accessToken);
  const refresh = (await stored(page)) ?? "";
  const foreign = await newPage();
  await foreign.goto(await serve((_request, response) => answerPage(response, "")));
  const read = (url: string, options: RequestInit = {}): Promise<string> =>
    foreign.evaluate(
      ([target, given]) =>
        fetch(target, given).then(
          async (answer) => `${answer.status} ${(await answer.text()).slice(0, 40)}`,
          (error: Error) => error.name,
        ),
      [url, options] as const,
    );
  for (const path of ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"]) {
    assert.match(await read(issuer + path), /^200 \{/, path);
    assert.equal(await read(issuer + path, { credentials: "include" }), "TypeError", `${path} is not for credentials`);
  }
  const form = (fields: Record<string, string>): RequestInit => ({
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({ client_id: app.client.id, ...fields }).toString(),
  });
  const authorize = `/authorize?${new URLSearchParams({ client_id: app.client.id, response_type: "code", redirect_uri: `${app.origin}/` })}`;
  for (const [path, options] of [
    ["/token", form({ grant_type: "refresh_token", refresh_token: refresh })],
    ["/revoke", form({ token: "made-up" })],
    ["/introspect", form({ token })],
    ["/userinfo", { headers: { authorization: `Bearer ${token}` } }],
    [authorize, {}],
    [authorize, { credentials: "include" as const }],
    ["/account", {}],
    ["/account", { credentials: "include" as const }],
    ["/logout", { credentials: "include" as const }],
    ["/setup?token=x", {}],
  ] as const) {
    assert.equal(await read(issuer + path, options), "TypeError", path);
  }
  // The app itself goes on: what was kept back was the answer, and its own origin still gets one.
  assert.equal((await call(page, "userinfo")).status, 200);
  // Its own origin reads no page and no authorization answer either.
  for (const path of [authorize, "/account", "/logout"]) {
    assert.deepEqual(
      await call(page, "read", issuer + path, { credentials: "include" }),
      { failed: "TypeError" },
      path,
    );
  }
  await close();
});
