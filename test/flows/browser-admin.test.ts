/** An administrator's first day, in a browser: from the set-up link to an app that signs people in, a mistake with its mend, a new secret, and an end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { eventually, withoutChromium } from "../support.ts";
import { startRelyingParty } from "./apps.ts";
import { beginJourney, PASSWORD, type Registered } from "./journey.ts";
import { allow, fillSignIn, visit } from "./visit.ts";

const OWNER = "olga@owner.example";
const IDENTIFIER = "https://ledger.example/api";

async function send(page: Page, fields: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, value] of Object.entries(fields)) await page.fill(`[name="${name}"]`, value);
  await page.locator('main form[method="post"] [type="submit"]').first().click();
}

/** Walks the steps of the registration and reads what the last page shows once. */
async function registerApp(page: Page, issuer: string, metadata: Record<string, unknown>): Promise<Registered> {
  const [uris, name] = [metadata["redirect_uris"] as string[], String(metadata["client_name"])];
  await page.goto(`${issuer}/admin/clients`);
  await page.goto(`${issuer}/admin/clients/new`);
  await page.check('[name="client_type"][value="web"]');
  await send(page, { client_name: name });
  await page.waitForURL("**/admin/clients/new/addresses**");
  await send(page, { redirect_uris: `${uris.join("\n")}/` });
  await page.waitForURL("**/admin/clients/new/access**");
  await page.locator("label.check", { hasText: "ledger:read" }).locator("input").check();
  await page.locator('main form[method="post"] [type="submit"]').first().click();
  const secret = (await page.locator("code.copy-value").first().textContent()) ?? "";
  const shown = (await page.locator("main").textContent()) ?? "";
  const id = /CLIENT_ID=(cl_[\w-]+)/.exec(shown)?.[1] ?? "";
  assert.match(secret, /^sgn_cs_/);
  assert.match(id, /^cl_/, shown.slice(0, 400));
  return { id, secret };
}

test("the first owner registers an API and an app, sees its sign-ins, reads the mend of a mistake, rotates the secret and disables the app", {
  skip: await withoutChromium(),
}, async () => {
  const journey = await beginJourney("postgres");
  const { issuer, service } = journey;
  const admin = await visit();
  const { page } = admin;
  await page.goto(`${issuer}/setup?token=${await service.setup.makeToken()}`);
  await send(page, { name: "Olga Owner", email: OWNER, password: PASSWORD });
  await page.click('a[href="/admin"]');
  await fillSignIn(page, { email: OWNER });
  await page.waitForURL(`${issuer}/admin`);

  await page.goto(`${issuer}/admin/apis/new`);
  await send(page, { identifier: IDENTIFIER, name: "Ledger" });
  await page.waitForURL(/\/admin\/apis\/[0-9a-f-]{36}/);
  await page.click('a[href$="/add-scope"]');
  await send(page, { scope: "ledger:read", description: "Read your ledger" });
  await page.waitForSelector('[role="status"]');

  // A slash too many, as it happens: the app asks for another address than the one that is registered.
  const app = await startRelyingParty(journey, {}, (metadata) => registerApp(page, issuer, metadata));
  const person = await visit();
  await person.page.goto(app.login());
  const errorId = await eventually(
    async () => (await person.page.locator("code.copy-value").first().textContent()) ?? "",
  );
  await service.failures.flush();
  await page.goto(`${issuer}/admin/failures`);
  await page.fill("#find", errorId);
  await page.press("#find", "Enter");
  await page.waitForURL(`**/admin/failures/${errorId}**`);
  const mend = (await page.locator("main").textContent()) ?? "";
  assert.ok(mend.includes(`${app.origin}/callback/`) && mend.includes(`${app.origin}/callback`), mend);

  await page.goto(`${issuer}/admin/clients/${app.client.id}/edit`);
  await page.fill('[name="redirect_uris"]', `${app.origin}/callback`);
  await page.locator('main form[method="post"] [type="submit"]').first().click();
  await page.waitForSelector('[role="status"]');
  await person.page.goto(app.login());
  await fillSignIn(person.page);
  await allow(person.page);
  await person.page.waitForURL(`${app.origin}/callback**`);
  assert.equal(await person.page.textContent("#sub"), journey.userId);

  await page.goto(`${issuer}/admin/audit?subject=${app.client.id}`);
  const trail = (await page.locator("main").textContent()) ?? "";
  for (const name of ["client.created", "client.updated"]) assert.ok(trail.includes(name), `${name} in: ${trail}`);

  await page.goto(`${issuer}/admin/audit?subject=${journey.userId}`);
  assert.match((await page.locator("main").textContent()) ?? "", /sign_in\.succeeded/);

  await page.goto(`${issuer}/admin/clients/${app.client.id}/secrets/new`);
  await page.locator('main form[method="post"] [type="submit"]').first().click();
  await page.waitForSelector("code.copy-value");
  const second = (await page.locator("code.copy-value").first().textContent()) ?? "";
  assert.match(second, /^sgn_cs_/);
  assert.notEqual(second, app.client.secret);
  for (const secret of [app.client.secret ?? "", second]) {
    const basic = Buffer.from(`${app.client.id}:${secret}`).toString("base64");
    const answer = await journey
      .client()
      .post("/token", { grant_type: "refresh_token", refresh_token: "x" }, { authorization: `Basic ${basic}` });
    assert.equal(answer.json()["error"], "invalid_grant", "both secrets are good for the overlap");
  }

  await page.goto(`${issuer}/admin/clients/${app.client.id}`);
  await page.locator('a[href*="/secrets/"][href$="/expire"]').first().click();
  await page.check('[name="expires_in"][value="0"]');
  await page.locator('main form[method="post"] [type="submit"]').first().click();
  await page.waitForSelector('[role="status"]');
  const old = Buffer.from(`${app.client.id}:${app.client.secret}`).toString("base64");
  const ended = await journey
    .client()
    .post("/token", { grant_type: "refresh_token", refresh_token: "x" }, { authorization: `Basic ${old}` });
  assert.equal(ended.json()["error"], "invalid_client", "the old secret has ended");

  await page.goto(`${issuer}/admin/clients/${app.client.id}/disable`);
  await page.locator('main form[method="post"] [type="submit"]').first().click();
  await page.waitForSelector('[role="status"]');
  await person.page.goto(app.login());
  assert.match((await person.page.locator("main").textContent()) ?? "", /disabled|not registered|unknown|cannot/i);
  assert.deepEqual(admin.complaints, []);
  await Promise.all([admin.close(), person.close()]);
});
