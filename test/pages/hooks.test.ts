/** What single pages promise: the hooks that other people's tools rely on, where the focus is, and what the words say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ERRORS } from "../../src/errors.ts";
import { loadAssets } from "../../src/pages/assets.ts";
import { loadTexts } from "../../src/pages/texts.ts";
import { createViews } from "../../src/pages/views.ts";

type Locals = Readonly<Record<string, unknown>>;

const VIEWS = fileURLToPath(new URL("../../views", import.meta.url));
const catalogues = loadTexts(VIEWS);
const views = createViews({
  viewsDir: VIEWS,
  assets: loadAssets(VIEWS),
  brand: { name: "Northwind" },
  issuerHost: "id.example",
  isDevelopment: false,
});
const english = catalogues.choose({});
const german = catalogues.choose({ uiLocales: "de" });

const user = { name: "Maya Lindqvist", email: "maya@lindqvist.example" };
const app = { id: "notes", name: "Harbor Notes", host: "notes.example", url: "https://notes.example/" };
const step = { uid: "u1", csrf: "token", app, user };
const scope = { name: "read:documents", title: "Read", help: "Titles and text.", isOptional: false, isChecked: true };
const groups = [{ name: "Documents", identifier: "https://api.example", scopes: [scope] }];
const at = new Date("2026-11-22T04:31:00Z");
const server = { issuer: "https://id.example", discoveryUrl: "https://id.example/.well-known/openid-configuration" };

function render(view: string, locals: Locals, texts = english): string {
  return views.render(view, texts, locals);
}

test("the sign-in page has the fields email and password, and a password is never sent back", () => {
  const html = render("interactions/login", { ...step, error: "login_failed", email: "m@x.example", remember: true });
  assert.match(
    html,
    /<input id="email" name="email" type="email" value="m@x.example" autocomplete="username" required/,
  );
  assert.match(html, /<input id="password" name="password" type="password" autocomplete="current-password" required/);
  assert.match(html, /<input type="checkbox" name="remember" value="yes" checked/);
  assert.match(html, /action="\/interaction\/u1\/login"/);
  assert.match(html, /action="\/interaction\/u1\/abort"/);
});

const states: readonly (readonly [Locals, string])[] = [
  [{ ...step, user: undefined }, "email"],
  [{ ...step, email: "m@x.example" }, "password"],
];
for (const [locals, name] of states)
  test(`the sign-in page begins in the field ${name} when ${locals["email"] ? "the address is known" : "nothing is known"}`, () => {
    const focused = [...render("interactions/login", locals).matchAll(/<[^>]* autofocus[^>]*>/g)].map(String);
    assert.equal(focused.length, 1);
    assert.match(focused[0] ?? "", new RegExp(`name="${name}"`));
  });

test("an error takes the focus, is announced and comes first in the title", () => {
  for (const error of ["login_failed", "login_throttled", "hasher_busy", "store_unavailable"]) {
    const html = render("interactions/login", { ...step, error, retrySeconds: 30, email: "m@x.example" });
    assert.match(html, /<div class="notice notice-danger" role="alert" tabindex="-1" autofocus/);
    assert.equal(html.match(/ autofocus/g)?.length, 1, error);
    assert.match(html, /<title>Error: Sign in/);
  }
  assert.match(render("interactions/login", { ...step, error: "login_throttled", retrySeconds: 30 }), /in 30 seconds/);
});

test("the page after a wrong password is the same for every address but for the address itself", () => {
  const page = (email: string) =>
    render("interactions/login", { ...step, user: undefined, error: "login_failed", email });
  assert.equal(page("known@x.example").replaceAll("known@", "other@"), page("other@x.example"));
});

test("consent has decision allow and deny, a box for what is optional and none for what is needed", () => {
  const optional = { ...scope, name: "write:documents", isOptional: true, isChecked: false };
  const html = render("interactions/consent", {
    ...step,
    groups: [{ scopes: [scope, optional] }],
    returnHost: "n.example",
  });
  const decisions = [...html.matchAll(/<button[^>]* name="decision" value="(\w+)"/g)].map(([, value]) => value);
  assert.deepEqual(decisions, ["deny", "allow"]);
  assert.deepEqual(html.match(/<input type="checkbox"[^>]*>/g), [
    '<input type="checkbox" name="scope" value="write:documents">',
  ]);
  assert.match(html, /You return to <strong><bdi>n\.example<\/bdi><\/strong>\./);
});

test("a scope of an API keeps its own words, and one of OpenID Connect gets the catalogue's", () => {
  const scopes = [
    { name: "offline_access", isOptional: false },
    { name: "email", title: "Our own words", isOptional: false },
    { name: "read:unnamed", isOptional: false },
  ];
  const html = render("interactions/consent", { ...step, groups: [{ scopes }] });
  const titles = [...html.matchAll(/scope-title">([^<]*)</g)].map(([, title]) => title);
  assert.deepEqual(titles, ["Keep access while you are away", "Our own words", "read:unnamed"]);
});

test("consent for an app on the device says that its name cannot be proven", () => {
  const sentence = /its name cannot be proven/;
  assert.match(render("interactions/consent", { ...step, groups, isNative: true }), sentence);
  assert.doesNotMatch(render("interactions/consent", { ...step, groups, isNative: false }), sentence);
});

for (const code of [...Object.keys(ERRORS), "redirect_uri_unknown", "app_unknown", "request_refused", "unheard_of"])
  test(`the error ${code} has a page that names the id and the time and hides what was not given`, () => {
    const status = Object.hasOwn(ERRORS, code) ? ERRORS[code as keyof typeof ERRORS].status : 400;
    for (const texts of [english, german]) {
      const html = render("error", { code, status, errorId: "er_7KQ2-M4XD", at }, texts);
      assert.match(html, /<code class="copy-value"[^>]*>er_7KQ2-M4XD</);
      assert.match(html, /<time datetime="2026-11-22T04:31:00.000Z">22\.? November 2026, 04:31 UTC</);
      assert.doesNotMatch(html, /<details/);
    }
  });

const unknownCodes: readonly (readonly [number, string])[] = [
  [404, "There is no page at this address"],
  [503, "A part of this service is not answering"],
  [500, "Something broke on our side"],
  [502, "Something broke on our side"],
  [400, "The request could not be read"],
];
for (const [status, title] of unknownCodes)
  test(`an error without words of its own and of status ${status} says "${title}"`, () => {
    assert.ok(render("error", { code: "constructor", status }).includes(`<h1>${title}</h1>`));
  });

test("the front page says who is signed in, or that nobody is", () => {
  const signedIn = render("account/home", { ...server, user: { ...user, isEmailVerified: true }, csrf: "token" });
  assert.match(signedIn, /<h1><bdi>Maya Lindqvist<\/bdi><\/h1>/);
  assert.match(signedIn, /<form method="post" action="\/account\/sign-out">/);
  const nobody = render("account/home", server);
  assert.match(nobody, /Nobody is signed in/);
  assert.doesNotMatch(nobody, /<form/);
});
