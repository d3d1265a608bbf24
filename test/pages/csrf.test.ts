/** Form tokens: what they are bound to, how long they live, and which posts count as our own. */
import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { createCsrf, isSameOriginPost } from "../../src/pages/csrf.ts";
import { randomKey } from "../../src/secrets.ts";

const ISSUER = "https://id.example";
const [older, newer, foreign] = [randomKey(), randomKey(), randomKey()];

test("a form token verifies for its binding", () => {
  const csrf = createCsrf(() => [newer]);
  assert.equal(csrf.verify("uid-1", csrf.issue("uid-1")), true);
});

test("a form token of one browser does not verify for another", () => {
  const csrf = createCsrf(() => [newer]);
  assert.equal(csrf.verify("uid-2", csrf.issue("uid-1")), false);
});

test("two form tokens for one binding differ", () => {
  const csrf = createCsrf(() => [newer]);
  assert.notEqual(csrf.issue("uid-1"), csrf.issue("uid-1"));
});

test("the first key makes form tokens and all verify them, so that a change of keys breaks no open form", () => {
  const before = createCsrf(() => [older]).issue("uid-1");
  assert.equal(createCsrf(() => [newer, older]).verify("uid-1", before), true);
  assert.equal(createCsrf(() => [newer]).verify("uid-1", createCsrf(() => [newer, older]).issue("uid-1")), true);
});

test("a form token of an unknown key is refused", () => {
  const token = createCsrf(() => [foreign]).issue("uid-1");
  assert.equal(createCsrf(() => [newer, older]).verify("uid-1", token), false);
});

test("without a key no form token is made and none verifies", () => {
  const token = createCsrf(() => [newer]).issue("uid-1");
  const keyless = createCsrf(() => []);
  assert.throws(() => keyless.issue("uid-1"), /no key/);
  assert.equal(keyless.verify("uid-1", token), false);
});

test("a form token lives two hours", (t) => {
  mock.timers.enable({ apis: ["Date"], now: Date.UTC(2030, 0, 1) });
  t.after(() => mock.timers.reset());
  const csrf = createCsrf(() => [newer]);
  const token = csrf.issue("uid-1");
  mock.timers.setTime(Date.UTC(2030, 0, 1, 1, 59, 59));
  assert.equal(csrf.verify("uid-1", token), true);
  mock.timers.setTime(Date.UTC(2030, 0, 1, 2, 0, 0));
  assert.equal(csrf.verify("uid-1", token), false);
});

test("a form token whose stated end was moved is refused", () => {
  const csrf = createCsrf(() => [newer]);
  const [expires = "", nonce, mac] = csrf.issue("uid-1").split(".");
  assert.equal(csrf.verify("uid-1", `${Number(expires) + 1}.${nonce}.${mac}`), false);
});

const good = createCsrf(() => [newer]).issue("uid-1");
const notTokens: readonly unknown[] = [
  ...[undefined, null, "", 0, {}, [good], "a.b.c", `${good} `, `${good}\n`, good.slice(0, -1), `x${good}`],
  ...[good.replaceAll(".", ""), "9".repeat(1_000_000), `${good}.${good}`],
];
for (const [index, token] of notTokens.entries())
  test(`what is no form token is refused without an error (${index}: ${String(token).slice(0, 20).trim()})`, () => {
    assert.equal(createCsrf(() => [newer]).verify("uid-1", token), false);
  });

const posts: readonly (readonly [string | undefined, string | undefined, boolean])[] = [
  [ISSUER, "same-origin", true],
  [ISSUER, undefined, true],
  [ISSUER, "none", true],
  [undefined, undefined, true],
  [undefined, "same-origin", true],
  [undefined, "none", true],
  [undefined, "same-site", false],
  [undefined, "cross-site", false],
  [undefined, "", false],
  ["null", undefined, false],
  ["null", "same-origin", false],
  ["", undefined, false],
  ["https://evil.example", undefined, false],
  ["https://evil.example", "same-origin", false],
  ["http://id.example", undefined, false],
  ["https://id.example:8443", undefined, false],
  ["https://id.example.evil.example", undefined, false],
  ["https://id.example/", undefined, false],
  [ISSUER, "cross-site", false],
  [ISSUER, "same-site", false],
];
for (const [origin, site, isOurs] of posts)
  test(`a post with Origin ${origin} and Sec-Fetch-Site ${site} is ${isOurs ? "ours" : "refused"}`, () => {
    assert.equal(isSameOriginPost({ origin, "sec-fetch-site": site }, ISSUER), isOurs);
  });
