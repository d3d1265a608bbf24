/** The console's pages for watching over HTTP: overview, audit, failures, mail, keys and settings do what their operations do. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { VARIABLES } from "../../src/console/settings.ts";
import { knownNames } from "../../src/environment.ts";
import { presentSettings } from "../../src/settings/setting.ts";
import { type Client, eventually } from "../support.ts";
import { type Ground, openGround } from "./admin.ts";
import { atConsole } from "./console-ground.ts";
import { title } from "./journey.ts";

let here: Ground;
let owner: Client;
let auditor: Client;
before(async () => {
  here = await openGround();
  owner = (await atConsole(here, "owner")).browser;
  auditor = (await atConsole(here, "auditor")).browser;
});

async function shown(browser: Client, path: string, status = 200): Promise<Awaited<ReturnType<Client["get"]>>> {
  const answer = await browser.get(path);
  assert.equal(answer.status, status, `${path}: ${answer.text.slice(0, 600)}`);
  return answer;
}

function placeOf({ location }: { readonly location?: string | undefined }): string {
  const { pathname, search } = new URL(String(location), here.issuer);
  return pathname + search;
}

test("the overview says what happened and what to mend, with charts that are pictures with words and a table, and shows support no more than it may see", async () => {
  const { service, client, web } = here;
  await service.clients.update(web.id, { pkce_optional: true }, { kind: "system", id: "test" });
  await client().get(`/authorize?client_id=${web.id}&redirect_uri=https://wrong.example/callback&state=s`);
  await Promise.all([service.failures.flush(), service.activity.flush()]);
  const page = await shown(owner, "/admin");
  assert.match(page.text, /may sign people in without PKCE/);
  assert.match(page.text, new RegExp(`href="/admin/clients/${web.id}"`));
  assert.match(page.text, /Only one person is an owner/);
  assert.match(page.text, /role="img" aria-label="In 14 days [1-9]\d* sign-ins and [1-9]\d* refused requests/);
  assert.equal([...page.text.matchAll(/<svg class="chart /g)].length, 2, "two widths");
  assert.doesNotMatch(page.text, / style="/);
  assert.match(page.text, /href="\/admin\/failures\?cause=redirect_host"/);
  assert.match(page.text, /Retires on/);
  const { browser: support } = await atConsole(here, "support");
  const less = await shown(support, "/admin");
  assert.doesNotMatch(less.text, /PKCE|Retires on|<svg class="chart /);
  for (const path of ["/admin/audit", "/admin/audit/export", "/admin/failures", "/admin/keys", "/admin/settings"])
    await shown(support, path, 403);
  await service.clients.update(web.id, { pkce_optional: null }, { kind: "system", id: "test" });
  assert.doesNotMatch((await shown(owner, "/admin")).text, /without PKCE/);
});

test("a refusal is found by the id on the error page, explained with its values as plain text, in both languages", async () => {
  const { client, service, web } = here;
  const wrong = "https://wrong.example/<script>alert(1)</script>";
  const query = new URLSearchParams({ client_id: web.id, redirect_uri: wrong, state: "kept-nowhere" });
  const refused = await client().get(`/authorize?${query}`);
  const id = String(refused.headers["x-request-id"]);
  // It is noted beside the answer, which does not wait for it.
  const list = await eventually(async () => {
    await service.failures.flush();
    const page = await shown(auditor, `/admin/failures?client_id=${web.id}`);
    return page.text.includes(`/admin/failures/${id}`) ? page : undefined;
  });
  const found = await auditor.submit(list, { id }, { match: 'id="find"' });
  assert.equal(found.status, 303);
  const page = await shown(auditor, String(found.location));
  assert.match(page.text, /registered is https:\/\/app\.example\/callback/);
  assert.ok(page.text.includes("&lt;script&gt;") && !page.text.includes("<script>alert"), "no markup");
  assert.doesNotMatch(page.text, /kept-nowhere/);
  assert.match((await shown(auditor, `/admin/failures/${id}?ui_locales=de`)).text, /registriert ist/);
  await shown(auditor, "/admin/failures?ui_locales=en");
  const unknown = await shown(auditor, "/admin/failures?id=nothing-like-it");
  assert.match(unknown.text, /There is no refusal with this id/);
  assert.match(unknown.text, /value="nothing-like-it"/);
  assert.match((await shown(auditor, "/admin/failures?cause=code_used")).text, /Nothing fits these filters/);
});

test("the trail is shown by days with its proof, filtered, checked by a button and exported as a file", async () => {
  const { service, people } = here;
  await service.sealer.seal(service.keyring.current().secrets.audit);
  const page = await shown(auditor, "/admin/audit");
  assert.match(page.text, /The newest \d+ entries are unbroken/);
  assert.match(page.text, /<h2 class="trail-day">\d+ \w+ 20\d\d<\/h2>/);
  const one = await shown(auditor, `/admin/audit?subject=${people.support}&action=role.granted`);
  assert.match(one.text, /role\.granted/);
  assert.doesNotMatch(one.text, /client\.created/);
  assert.match((await shown(auditor, "/admin/audit?to=2001-01-01T00:00")).text, /Nothing fits these filters/);
  const checked = await auditor.submit(page, {}, { match: "/admin/audit/verify" });
  assert.equal(checked.status, 200, checked.text.slice(0, 400));
  assert.match(title(checked), /^The trail is unbroken/);
  assert.equal((await auditor.get("/admin/audit/verify")).status, 303);
  const file = await shown(auditor, "/admin/audit/export?action=client.");
  assert.match(String(file.headers["content-disposition"]), /attachment; filename="signet-audit\.jsonl"/);
  const lines = file.text.trimEnd().split("\n");
  assert.ok(lines.length > 0 && lines.every((line) => JSON.parse(line).action.startsWith("client.")), file.text);
  // The whole of it ends in its checkpoints.
  const whole = (await shown(auditor, "/admin/audit/export")).text.trimEnd().split("\n");
  assert.equal(JSON.parse(whole.at(-1) ?? "{}").type, "checkpoint");
});

test("mails are listed by state and sent again, one or all, by whoever may", async () => {
  const { service } = here;
  await service.db.query(
    `insert into mails (id, template, language, recipient, sealed_values, state, error, due_at, expires_at, created_at)
     select gen_random_uuid(), 'notice', 'en', n || '@example.com', 'x', 'failed', '550 no such mailbox', now(), now() + interval '1 day', now()
     from unnest(array['one', 'two']) n`,
  );
  const list = await shown(owner, "/admin/mail?state=failed");
  assert.match(list.text, /550 no such mailbox/);
  assert.doesNotMatch((await shown(auditor, "/admin/mail")).text, /Send again/);
  const sent = await owner.submit(list, {}, { match: "/retry" });
  assert.equal(placeOf(sent), "/admin/mail?done=mail_retried", sent.text.slice(0, 300));
  const waiting = async () =>
    (await service.db.query("select 1 from mails where recipient like '%@example.com' and state <> 'failed'")).length;
  assert.equal(await waiting(), 1);
  const again = await owner.post(
    `/admin/mail/00000000-0000-4000-8000-00000000dead/retry`,
    { csrf: /name="csrf" value="([^"]+)"/.exec(list.text)?.[1] ?? "" },
    { origin: here.issuer, "sec-fetch-site": "same-origin" },
  );
  assert.equal(again.status, 404);
  assert.match(again.text, /This mail was not sent again/);
  const confirm = await shown(owner, "/admin/mail/retry");
  const all = await owner.submit(confirm, {}, { match: 'action="/admin/mail/retry"' });
  assert.equal(placeOf(all), "/admin/mail?done=mails_retried");
  assert.equal(await waiting(), 2);
  assert.equal((await auditor.get("/admin/mail/retry")).status, 403);
});

test("keys are rotated for the ticked algorithms, and one is revoked by its name after the page said what dies", async () => {
  const { service } = here;
  const page = await shown(owner, "/admin/keys/rotate");
  const none = await owner.submit(page, { algorithms: "" }, { match: 'name="version"' });
  assert.equal(none.status, 400);
  const rotated = await owner.submit(page, { algorithms: "ES256" }, { match: 'name="version"' });
  assert.equal(placeOf(rotated), "/admin/keys?done=keys_rotated", rotated.text.slice(0, 300));
  const announced = (await service.keys.list()).signing.filter(({ state }) => state === "announced");
  assert.deepEqual(
    announced.map(({ algorithm }) => algorithm),
    ["ES256"],
  );
  assert.match((await shown(owner, "/admin/keys?done=keys_rotated")).text, /Signs from/);
  const active = (await service.keys.list()).signing.find(
    ({ algorithm, state }) => algorithm === "ES256" && state === "active",
  );
  const kid = String(active?.kid);
  assert.doesNotMatch((await shown(auditor, "/admin/keys")).text, /\/revoke"/);
  const confirm = await shown(owner, `/admin/keys/${kid}/revoke`);
  assert.match(confirm.text, /that it has signed since .* is no longer good/);
  assert.match(confirm.text, /may believe them for 11 minutes more/);
  const untyped = await owner.submit(confirm, { typed: "x" }, { match: 'name="typed"' });
  assert.equal(untyped.status, 400);
  const revoked = await owner.submit(confirm, { typed: kid }, { match: 'name="typed"' });
  assert.match(title(revoked), /^The key is revoked/);
  assert.match(revoked.text, /Resource servers may believe them until/);
  assert.equal((await service.keys.list()).signing.find((key) => key.kid === kid)?.state, "revoked");
  await shown(owner, `/admin/keys/${kid}/revoke`, 404);
  assert.equal((await auditor.get("/admin/keys/rotate")).status, 403);
});

test("every setting names the variable that changes it", async () => {
  const page = await shown(auditor, "/admin/settings");
  for (const name of Object.keys(presentSettings(here.service.config))) {
    assert.ok(knownNames().includes(String(VARIABLES[name])), name);
    assert.ok(page.text.includes(`>${VARIABLES[name]}<`), name);
  }
  for (const word of [
    String(here.env["DATABASE_URL"] ?? "postgres://"),
    String(here.env["SECRET_KEY"] ?? "x".repeat(99)),
  ])
    assert.ok(!page.text.includes(word), "no secret");
});

test("an installation without an app says what to do first instead of empty charts", async () => {
  const { service } = here;
  for (const { id } of await service.clients.list({ limit: 200 }))
    await service.clients.delete(id, { kind: "system", id: "test" });
  const page = await shown(owner, "/admin");
  assert.match(page.text, /What to do first/);
  assert.match(page.text, /href="\/admin\/clients\/new"/);
  assert.doesNotMatch(page.text, /<svg class="chart /);
});
