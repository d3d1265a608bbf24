/** The console over HTTP: who gets in, and that it does what the REST API does, no more and no less. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CONSOLE_PAGES } from "../../src/console/routes.ts";
import { type Ground, openGround } from "./admin.ts";
import { atConsole } from "./console-ground.ts";
import { title } from "./journey.ts";

let opened: Promise<Ground> | undefined;
const ground = (): Promise<Ground> => {
  opened ??= openGround();
  return opened;
};

test("the console is entered through Signet's own sign-in, by code and PKCE, and leads back to the page that was asked for", async () => {
  const here = await ground();
  const browser = here.client();
  const asked = await browser.get("/admin/roles/owner");
  assert.equal(asked.status, 303);
  const signIn = await browser.get(String(asked.location));
  const authorize = new URL(String(signIn.location));
  assert.equal(authorize.pathname, "/authorize");
  assert.equal(authorize.searchParams.get("client_id"), "signet-console");
  assert.equal(authorize.searchParams.get("code_challenge_method"), "S256");
  const page = await atConsole(here, "owner", "/admin/roles/owner");
  assert.equal(page.answer.status, 200, page.answer.text.slice(0, 500));
  assert.match(title(page.answer), /^owner/);
  assert.equal(new URL(page.answer.url).pathname, "/admin/roles/owner");
});

test("a code of the console is good once, in the browser that asked for it, and leads to no page outside", async () => {
  const here = await ground();
  const { browser } = await atConsole(here, "owner");
  const begun = await browser.get("/admin/sign-in?to=//evil.example/admin");
  const back = await browser.get(String(begun.location));
  const [code, state] = ["code", "state"].map((name) => new URL(String(back.location)).searchParams.get(name));
  const kept = [...browser.cookies.values()].find(({ name }) => name === "signet_console_sign_in")?.value;
  const stranger = here.client();
  assert.equal((await stranger.get(`/admin/return?code=${code}&state=${state}`)).status, 400);
  assert.equal((await browser.get(`/admin/return?code=${code}&state=x`)).status, 400);
  browser.setCookie(`signet_console_sign_in=${kept}; Path=/`);
  const entered = await browser.get(`/admin/return?code=${code}&state=${state}`);
  assert.equal(new URL(String(entered.location)).pathname, "/admin");
  browser.setCookie(`signet_console_sign_in=${kept}; Path=/`);
  assert.equal((await browser.get(`/admin/return?code=${code}&state=${state}`)).status, 400);
});

test("somebody without a role is told so, and a session alone does not open the console", async () => {
  const here = await ground();
  const { answer, browser } = await atConsole(here, "none", "/admin/roles");
  assert.equal(answer.status, 403);
  assert.match(answer.text, /This account has no right in the console/);
  const owner = await atConsole(here, "owner", "/admin/roles");
  const session = [...owner.browser.cookies.values()].find(({ name }) => name === "signet_console");
  assert.ok(session !== undefined, "the console has a cookie of its own");
  // The token of one session is worth nothing in another.
  browser.setCookie(`signet_console=${session.value}; Path=/`);
  assert.equal((await browser.get("/admin/roles")).status, 303);
});

test("a form from elsewhere, without a token or with another session's is refused (T-API-9)", async () => {
  const here = await ground();
  const { browser, answer } = await atConsole(here, "owner", "/admin/new-role");
  const fields = { name: "from-elsewhere", description: "x" };
  for (const headers of [
    { origin: "https://evil.example" },
    { origin: "null" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
  ])
    assert.equal((await browser.submit(answer, fields, { headers, match: 'name="version"' })).status, 403);
  assert.equal((await browser.submit(answer, { ...fields, csrf: "" }, { match: 'name="version"' })).status, 403);
  const other = await atConsole(here, "owner", "/admin/new-role");
  const foreign = /name="csrf" value="([^"]+)"/.exec(other.answer.text)?.[1] ?? "";
  assert.equal((await browser.submit(answer, { ...fields, csrf: foreign }, { match: 'name="version"' })).status, 403);
  assert.equal(await here.service.roles.find("from-elsewhere"), undefined);
});

test("every address of the console leads somebody who is not signed in to the sign-in, whether it exists or not", async () => {
  const { client } = await ground();
  for (const path of [...CONSOLE_PAGES.map(({ path }) => path.replace(/:\w+/g, "x")), "/admin/nothing/here"]) {
    const answer = await client().get(path);
    assert.equal(answer.status, 303, path);
    assert.match(String(answer.location), /\/admin\/sign-in\?to=/, path);
  }
});

test("whatever the REST API can do has its page: every operation of the OpenAPI document is named by one", async () => {
  const { client } = await ground();
  const document = (await client().get("/api/v1/openapi.json")).json() as {
    paths: Record<string, Record<string, { operationId?: string }>>;
  };
  const operations = Object.values(document.paths).flatMap((methods) =>
    Object.values(methods).flatMap(({ operationId }) => operationId ?? []),
  );
  assert.ok(operations.length >= 50, String(operations.length));
  const named = new Map<string, string>();
  for (const { path, shows, does = [], submit } of CONSOLE_PAGES) {
    assert.ok(does.length === 0 || submit !== undefined, `${path} says that it does something and has no form`);
    for (const id of [...shows, ...does]) {
      assert.ok(operations.includes(id), `${path} names ${id}, which the REST API does not have`);
      // What an operation changes is done by a form; what it reads is shown.
      if (!named.has(id) || does.includes(id)) named.set(id, path);
    }
  }
  for (const id of operations) console.log(`# ${id.padEnd(24)} ${named.get(id) ?? "NO PAGE"}`);
  assert.deepEqual(
    operations.filter((id) => !named.has(id)),
    [],
  );
  const reads = new Set(Object.values(document.paths).flatMap(({ get }) => get?.operationId ?? []));
  const done = new Set(CONSOLE_PAGES.flatMap(({ does = [] }) => does));
  assert.deepEqual(
    operations.filter((id) => !reads.has(id) && !done.has(id)),
    [],
    "every change has its form",
  );
});
