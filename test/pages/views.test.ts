/** Views: every one renders, escapes whatever it is given, and needs neither script nor inline style. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import Koa from "koa";
import { loadAssets } from "../../src/pages/assets.ts";
import { loadTexts, type Texts } from "../../src/pages/texts.ts";
import { createViews } from "../../src/pages/views.ts";
import { consoleSamples } from "./console-samples.ts";

type Locals = Readonly<Record<string, unknown>>;

const VIEWS = fileURLToPath(new URL("../../views", import.meta.url));
const assets = loadAssets(VIEWS);
const catalogues = loadTexts(VIEWS);
const options = { viewsDir: VIEWS, assets, issuerHost: "id.example", isDevelopment: true };
const views = createViews({ ...options, brand: { name: "Northwind" } });
const english = catalogues.choose({});
const german = catalogues.choose({ uiLocales: "de" });

const app = { id: "notes", name: "Harbor Notes", host: "notes.example", url: "https://notes.example/" };
const user = { name: "Maya Lindqvist", email: "maya@lindqvist.example" };
const form = { uid: "u1", csrf: "token", app };
const step = { uid: "u1", csrf: "token", app, user };
const scope = { name: "read:documents", title: "Read", help: "Titles and text.", isOptional: false, isChecked: true };
const groups = [
  { scopes: [{ name: "profile", isOptional: false, isChecked: true }] },
  { name: "Documents", identifier: "https://api.example", scopes: [scope, { ...scope, isOptional: true }] },
];
const at = new Date("2026-11-22T04:31:00Z");
const server = { issuer: "https://id.example", discoveryUrl: "https://id.example/.well-known/openid-configuration" };
const failure = { code: "request_refused", status: 400, errorId: "er_1", at };
const developer = { error: "invalid_request", description: "The request lacks a parameter.", clientId: "notes" };

const lists = {
  hasPassword: true,
  sessions: [
    { id: "s1", isThis: true, device: "Firefox, Windows", network: "192.0.2.7", since: at, seen: at },
    { id: "s2", isThis: false, device: "Safari, iPhone", network: undefined, since: at, seen: at },
  ],
  apps: [
    {
      ...{ clientId: "notes", name: "Harbor Notes", host: "notes.example", since: at, usedAt: at },
      groups: [
        { resource: "", scopes: ["openid"] },
        { resource: "https://api.example", scopes: ["read:things"] },
      ],
    },
  ],
  events: [
    { name: "sign_in.succeeded", at, address: "192.0.2.7" },
    { name: "user.created", at, address: undefined },
  ],
  logouts: ["queued", "delivered", "failed"].map((state) => ({ name: "Harbor Notes", state, at })),
  languageCodes: [
    { code: "de", label: "Deutsch" },
    { code: "en", label: "English" },
  ],
};

/** Each view in every state that changes what it shows. */
const samples: readonly (readonly [string, Locals])[] = [
  ...consoleSamples,
  ["interactions/login", { ...step, user: undefined }],
  ["interactions/login", { ...step, app: undefined, email: "maya@lindqvist.example", remember: true }],
  ["interactions/login", { ...step, error: "login_failed", email: "maya@lindqvist.example" }],
  ["interactions/login", { ...step, error: "login_throttled", retrySeconds: 30 }],
  ["interactions/login", { ...step, error: "hasher_busy" }],
  ["interactions/consent", { ...step, groups, returnHost: "notes.example", isNative: false }],
  ["interactions/consent", { ...step, groups, isNative: true }],
  ["interactions/select-account", step],
  ["error", { ...failure, app, developer }],
  ["error", { ...failure, developer: { error: "invalid_request" } }],
  ["host", { href: "http://localhost:3000/account", issuer: "http://localhost:3000" }],
  ["oidc/logout", { action: "/logout/confirm", xsrf: "token", user, app }],
  ["oidc/logout", { action: "/logout/confirm", xsrf: "token", user, app, isAnswered: true }],
  ["oidc/logout", { action: "/logout/confirm", xsrf: "token" }],
  ["oidc/logout-done", { app }],
  ["oidc/logout-done", {}],
  ["account/home", { ...server, user: { ...user, isEmailVerified: true }, csrf: "token", ...lists }],
  ["account/home", { ...server, user: { email: user.email, isEmailVerified: false }, csrf: "token", done: "app" }],
  ["account/activity", { events: lists.events }],
  ["account/activity", { events: [] }],
  ["account/mailbox", { mails: [{ to: "a@b.example", subject: "S", text: "T", link: "https://id.example/x", at }] }],
  ["account/mailbox", { mails: [] }],
  ["account/password", { csrf: "token", email: user.email, minimum: 15 }],
  ["account/password", { csrf: "token", email: user.email, currentError: "x", passwordError: "y" }],
  ["account/email", { csrf: "token", current: user.email }],
  ["account/email", { csrf: "token", current: user.email, email: "a@", error: "x" }],
  ["account/email-sent", { email: user.email }],
  ["account/email-confirm", { csrf: "token", action: "/account/email/confirm/x", email: user.email }],
  ["account/email-done", { email: user.email }],
  [
    "account/profile",
    {
      csrf: "token",
      fields: ["name", "website", "birthdate"].map((name) => ({ name, value: "x", isFaulty: name !== "name" })),
    },
  ],
  ["account/delete", { csrf: "token", email: user.email, days: 7 }],
  ["account/delete", { csrf: "token", email: user.email, days: 7, error: "x" }],
  ["account/delete-asked", { deleteAt: at }],
  ["account/signup-check", { csrf: "token", email: user.email, againUrl: "/signup" }],
  ["account/signup-check", { csrf: "token", email: user.email, againUrl: "/signup", error: "over" }],
  ["account/signup-continue", { csrf: "token", email: user.email, appName: app.name }],
  ["account/signup-continue", { csrf: "token", email: user.email }],
  ["account/signup-link", { csrf: "token", action: "/sign-up/x", email: user.email, isOwn: true }],
  ["account/signup-link", { csrf: "token", action: "/sign-up/x", email: user.email, isOwn: false, error: "wrong" }],
  ["account/signup-done", { email: user.email, continueUrl: "/authorize?x=y", appName: app.name }],
  ["account/recover", { csrf: "token" }],
  ["account/recover", { csrf: "token", email: "a@", from: "u1", error: "x" }],
  ["account/recover-sent", {}],
  ["account/recover-reset", { csrf: "token", action: "/recover/x", email: user.email, minimum: 15 }],
  ["account/recover-reset", { csrf: "token", action: "/recover/x", email: user.email, error: "x" }],
  ["account/recover-done", { continueUrl: "/account" }],
  ["account/not-me", { csrf: "token", action: "/not-me/x" }],
  ["account/not-me-done", {}],
  [
    "interactions/signup",
    { ...form, minimum: 15, termsUrl: "https://id.example/t", privacyUrl: "https://id.example/p" },
  ],
  ["interactions/signup", { ...form, invited: user.email, error: "login_throttled" }],
  [
    "interactions/signup",
    {
      ...form,
      termsUrl: "https://id.example/t",
      errors: ["name", "email", "password", "terms"].map((field) => ({ field, text: "x" })),
    },
  ],
  ["account/home", server],
  ["console/setup", { csrf: "token", token: "one-time" }],
  [
    "console/setup",
    { csrf: "token", token: "one-time", name: "A", email: "a@", errors: [{ field: "email", text: "x" }] },
  ],
  [
    "console/setup",
    {
      ...{ csrf: "token", token: "one-time", name: "A", email: "a@" },
      errors: ["name", "email", "password"].map((field) => ({ field, text: "x" })),
    },
  ],
  ["console/setup-done", { user }],
  [
    "rest/reference",
    {
      base: "https://id.example/api/v1",
      groups: [
        {
          tag: "clients",
          entries: [
            {
              ...{
                id: "createClient",
                method: "POST",
                path: "/clients",
                scope: "clients:write",
                summary: "Register a client",
              },
              words: "The secret is in this answer and nowhere else.",
              fields: [{ name: "client_name", kind: "string", isRequired: true, words: "As people read it" }],
            },
          ],
        },
      ],
    },
  ],
];
const named = samples.map(([view, locals], index) => [`${view} (${index})`, view, locals] as const);

function render(view: string, locals: Locals, texts: Texts = english): string {
  const languages = catalogues.others(texts, (code) => `/here?ui_locales=${code}`);
  return views.render(view, texts, { languages, ...locals });
}

const scriptOf = (name: string): string => `<script src="${assets.url(name)}" defer></script>`;
/** The two scripts there are: one presses a button that waits for a click where scripts do not run, the other takes no notice of a second press. */
const SUBMIT = scriptOf("submit.js");
const ONCE = scriptOf("once.js");

function withoutScripts(html: string): string {
  return html.replace(SUBMIT, "").replace(ONCE, "");
}

function pugFiles(): readonly string[] {
  return readdirSync(VIEWS, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".pug"));
}

/** The same shape with the text in place of every text. */
function withText(value: unknown, text: string): unknown {
  if (typeof value === "string") return text;
  if (Array.isArray(value)) return value.map((item) => withText(item, text));
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withText(inner, text)]));
}

test("every view has a sample here", () => {
  const files = pugFiles().filter((name) => name !== "layout.pug" && !/^(frames|mail)\//.test(name));
  const known = new Set(samples.map(([view]) => view));
  assert.deepEqual([...known].sort(), files.map((name) => name.slice(0, -".pug".length)).sort());
});

const hostile = `"><script>alert(1)</script>'\`</title>#{7*7}{{7*7}}\${7*7}{app}<img src=x onerror=alert(1)>`;
for (const [name, view, locals] of named)
  test(`markup in any local of ${name} is shown as text`, () => {
    for (const texts of [english, german]) {
      const html = withoutScripts(render(view, withText(locals, hostile) as Locals, texts));
      assert.doesNotMatch(html, /<script|<img|\[object|undefined/i);
      assert.ok(!html.includes(hostile.slice(0, 5)), "a quote and a bracket stay together");
      assert.doesNotMatch(html, /\b49\b/);
      assert.doesNotMatch(html, /javascript:/);
      if (JSON.stringify(withText(locals, "<script>")).includes("<script>"))
        assert.match(html, /&gt;&lt;script&gt;alert\(1\)/);
    }
  });

test("markup in the brand and in the links of the footer is shown as text", () => {
  const branded = createViews({ ...options, brand: { name: hostile }, issuerHost: hostile });
  const languages = [{ code: hostile, label: hostile, href: hostile }];
  for (const [, view, locals] of named)
    assert.doesNotMatch(withoutScripts(branded.render(view, english, { ...locals, languages })), /<script|<img/i, view);
});

test("an address that is no web address never becomes a link", () => {
  for (const url of [
    "javascript:alert(1)",
    "data:text/html,x",
    "com.example.app:/back",
    " javascript:x",
    "//x",
    "",
    7,
  ]) {
    const html =
      render("error", { ...failure, app: { ...app, url } }) + render("oidc/logout-done", { app: { ...app, url } });
    const links = [...html.matchAll(/href="([^"]*)"/g)].map(([, href = ""]) => href);
    for (const href of links) assert.match(href, /^(\/(?!\/)|#)/, String(url));
  }
  for (const href of ["javascript:alert(1)", undefined])
    assert.match(render("host", { href, issuer: "http://localhost:3000" }), /<a class="button" href="\/"/);
});

test("no view puts out what is not escaped, and none holds a style or a script of its own", () => {
  for (const name of pugFiles()) {
    const source = readFileSync(join(VIEWS, name), "utf8");
    assert.doesNotMatch(source, /!=(?!=)|!\{/, name);
    // A mail has no stylesheet to ask for, so its style stands in it; test/mail looks at it.
    if (name.startsWith("mail")) continue;
    assert.doesNotMatch(
      source,
      /^\s*(script(?!\(src=asset\("[a-z-]+\.js"\) defer\)$)|style\b)|[( ]style=|[( ]on\w+=|\|\s*</m,
      name,
    );
  }
});

for (const [name, view, locals] of named)
  test(`${name} is a whole page of one language and asks no other host`, () => {
    for (const texts of [english, german]) {
      const html = render(view, locals, texts);
      assert.ok(html.startsWith(`<!DOCTYPE html><html lang="${texts.language}" dir="ltr">`));
      assert.match(html, /<title>[^<]+ · Northwind<\/title>/);
      assert.equal(html.match(/<h1[ >]/g)?.length, 1, "one h1");
      assert.equal(html.match(/<main /g)?.length, 1, "one main");
      assert.match(html, /<body[^>]*><a class="skip" href="#main">/);
      assert.doesNotMatch(withoutScripts(html), / style=| on\w+=|<style|<script/);
      assert.equal(html.includes(SUBMIT), locals["isAnswered"] === true);
      const loaded = [...html.matchAll(/<(?:link|img)[^>]* (?:href|src)="([^"]*)"/g)].map(([, from]) => from);
      assert.deepEqual(loaded, [assets.url("favicon.svg"), assets.url("style.css")]);
      const ids = [...html.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
      assert.equal(new Set(ids).size, ids.length, "ids are unique");
    }
  });

for (const [name, view, locals] of named)
  test(`every form of ${name} is posted to this server with a token and one submit button`, () => {
    const forms = [...render(view, locals).matchAll(/<form([^>]*)>(.*?)<\/form>/g)];
    for (const [, attributes = "", inside = ""] of forms) {
      // Filters ask for the same page with other parameters and change nothing.
      if (/method="get"/.test(attributes)) {
        assert.match(attributes, /action="\/(?!\/)/);
        assert.doesNotMatch(inside, /token/);
        continue;
      }
      assert.match(attributes, /method="post"/);
      assert.match(attributes, /action="\/(?!\/)/);
      assert.match(inside, /<input type="hidden" name="(csrf|xsrf)" value="token"\/?>/);
      const buttons = [...inside.matchAll(/<button([^>]*)>/g)].map(([, given = ""]) => given);
      for (const button of buttons) assert.match(button, /type="submit"/);
      const own = buttons.filter((button) => !button.includes('form="deny"'));
      assert.equal(own.length, attributes.includes('id="deny"') ? 0 : 1);
    }
  });

test("the hint for developing is shown in development only", () => {
  const production = createViews({ ...options, brand: { name: "Northwind" }, isDevelopment: false });
  assert.match(views.render("account/home", english, server), /README/);
  assert.doesNotMatch(production.render("account/home", english, server), /README/);
});

test("a view is given the locals its header names and no others", () => {
  const render = (locals: Locals) => () => views.render("oidc/logout-done", english, locals);
  assert.throws(render({ brand: { name: "Another" } }), /names no local brand/);
  assert.throws(render({ self: true }), /names no local self/);
  assert.throws(() => views.render("layout", english, {}), /no view layout/);
  assert.throws(() => views.render("../README", english, {}), /no view/);
  const inherited = Object.create({ app: { id: "x", name: "Inherited", url: "https://x.example/" } }) as Locals;
  assert.doesNotMatch(views.render("oidc/logout-done", english, inherited), /Inherited/);
});

test("a page is answered with its status, as HTML, in its language, and is kept by no cache", async (t) => {
  const koa = new Koa().use((ctx) => views.show(ctx, german, { view: "oidc/logout-done", locals: {}, status: 421 }));
  const listening = koa.listen(0, "127.0.0.1");
  t.after(() => listening.close());
  await once(listening, "listening");
  const response = await fetch(`http://127.0.0.1:${(listening.address() as AddressInfo).port}/`);
  assert.equal(response.status, 421);
  const headers = ["content-type", "cache-control", "content-language"].map((name) => response.headers.get(name));
  assert.deepEqual(headers, ["text/html; charset=utf-8", "no-store", "de"]);
  assert.match(await response.text(), /^<!DOCTYPE html><html lang="de"/);
});

test("the stylesheet has a rule for every class that a page uses, and none that no page uses", () => {
  const css = readFileSync(join(VIEWS, "style.css"), "utf8").replaceAll(/url\([^)]*\)|\/\*.*?\*\//gs, "");
  const styled = new Set([...css.matchAll(/\.([a-z][a-z0-9-]*)/g)].map(([, name = ""]) => name));
  const apps = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"].map((id) =>
    render("oidc/logout", { app: { ...app, id } }),
  );
  const pages = [...named.map(([, view, locals]) => render(view, locals)), ...apps].join("");
  const used = new Set([...pages.matchAll(/ class="([^"]*)"/g)].flatMap(([, names = ""]) => names.split(" ")));
  assert.deepEqual(
    [...styled].filter((name) => !used.has(name)),
    [],
  );
  assert.deepEqual(
    [...used].filter((name) => !styled.has(name) && name !== "tile-1"),
    [],
  );
});
