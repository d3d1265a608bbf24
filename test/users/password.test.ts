/** Which passwords are taken, and in which form they are hashed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AppError } from "../../src/errors.ts";
import { checkPassword, findPasswordFault, normalizePassword, passwordContext } from "../../src/users/password.ts";

const ada = { email: "ada.lovelace@example.com", name: "Ada Lovelace", issuerName: "Contoso Login" };
/** 1,001 characters without a pattern, so that every cut of it is hard to guess. */
const noise = Array.from({ length: 1001 }, (_, index) =>
  String.fromCharCode(97 + ((index * index * 7 + index * 3) % 25)),
).join("");

const taken: readonly (readonly [name: string, password: string])[] = [
  ["T-PW-1: 15 characters", noise.slice(0, 15)],
  ["T-PW-2: 64 characters", noise.slice(0, 64)],
  ["T-PW-2: 128 characters", noise.slice(0, 128)],
  ["T-PW-2: 256 characters", noise.slice(0, 256)],
  ["T-PW-2: spaces", "correct horse battery staple"],
  ["T-PW-2: emoji", "🦊🍕🚲🎻🧊🐙🌋📎🪁🧶🥨🛶🎲🪴🧭"],
  ["T-PW-2: 15 characters outside ASCII", "žluťoučký-kůň-pěl"],
  ["T-PW-4: 20 lower-case letters", "qxjvmwkzptlrbnhsdgfy"],
  ["T-PW-5: spaces at both ends", " qxjvmwkzptlrb "],
];
for (const [name, password] of taken) {
  test(`${name} is taken`, () => assert.equal(findPasswordFault(password, ada), undefined));
}

const weak: readonly string[] = [
  "password password",
  "Password1 Password1",
  "qwertyuiop asdfgh",
  "passwordXpassword",
  "P@ssw0rd P@ssw0rd!",
  "Passwort Passwort1",
  "drowssap drowssap",
  "iloveyou-princess",
  "iloveyou princess sunshine",
  "admin administrator",
  "welcome monkey dragon",
  "abcabcabc defdefdef",
  "1q2w3e4r5t6y7u8i9o",
  "2026-11-24 2026-11-24",
  "letmein.letmein.letmein",
  "PasswordPassword123",
  "ｐａｓｓｗｏｒｄ　ｐａｓｓｗｏｒｄ",
];
for (const password of weak) {
  test(`T-PW-3: common words put side by side are refused: ${password}`, () => {
    const fault = findPasswordFault(password, ada);
    assert.ok(fault === "common" || fault === "guessable", String(fault));
  });
}

const strong: readonly string[] = [
  "correct horse battery staple",
  "tangerine cupboard sailing",
  "welcome summer monkey dragon otter cinnamon",
  "the quick brown fox",
  "839201746593820",
  "vier Katzen trinken Milch",
];
for (const password of strong) {
  test(`T-PW-4: different words are taken: ${password}`, () => {
    assert.equal(findPasswordFault(password, ada), undefined);
  });
}

test("T-PW-3: what else is known of the person makes no password: other names, a birth date, a telephone number, a domain", () => {
  const context = passwordContext(
    "al@babbage-works.example",
    { given_name: "Augusta", nickname: "Countess", birthdate: "1815-12-10", phone_number: "+44 20 7946 0018" },
    "Contoso Login",
  );
  for (const password of [
    "AugustaCountess",
    "Augusta 10-12 1815-12-10",
    "18151210 Countess!",
    "442079460018-abc",
    "babbage-works-2024",
    "c0untess augusta",
  ]) {
    assert.equal(findPasswordFault(password, context), "personal", password);
  }
  assert.equal(findPasswordFault("Augusta's horse eats tangerine cupboards", context), undefined);
});

const refused: readonly (readonly [name: string, password: string, fault: string, reason: RegExp])[] = [
  ["T-PW-1: nothing", "", "too_short", /at least 15/],
  ["T-PW-1: 7 characters", noise.slice(0, 7), "too_short", /at least 15/],
  ["T-PW-1: 8 characters", noise.slice(0, 8), "too_short", /at least 15/],
  ["T-PW-1: 14 characters", noise.slice(0, 14), "too_short", /at least 15/],
  ["T-PW-1: 14 emoji, which are 28 code units", "🦊🍕🚲🎻🧊🐙🌋📎🪁🧶🥨🛶🎲🪴", "too_short", /at least 15/],
  ["T-PW-3: a word twice", "passwordpassword", "guessable", /easy to guess/],
  ["T-PW-3: one sign repeated", "aaaaaaaaaaaaaaaaaaaa", "guessable", /easy to guess/],
  ["T-PW-3: the alphabet", "abcdefghijklmnopqrst", "guessable", /easy to guess/],
  ["T-PW-3: a listed password with digits", "123456789012345", "common", /common passwords/],
  ["T-PW-3: keys beside one another", "qwertyuiopasdfgh", "common", /common passwords/],
  ["T-PW-3: the product's name", "signet-signet-1!", "personal", /name of this service/],
  ["T-PW-3: the installation's name", "Contoso-Login-12", "personal", /name of this service/],
  ["T-PW-3: the own address", "ada.lovelace@example.com", "personal", /your address/],
  ["T-PW-3: what stands before its sign", "ada.lovelace2024", "personal", /your address/],
  ["T-PW-3: the own name", "LovelaceLovelace!", "personal", /your name/],
];
for (const [name, password, fault, reason] of refused) {
  test(`${name} is refused with the reason`, () => {
    assert.equal(findPasswordFault(password, ada), fault);
    assert.throws(
      () => checkPassword(password, ada),
      (error) => error instanceof AppError && error.code === "user_password_refused" && reason.test(error.message),
    );
  });
}

test("the reason never repeats the password", () => {
  const password = "passwordpassword";
  assert.throws(
    () => checkPassword(password, {}),
    (error) => error instanceof Error && !error.message.includes(password),
  );
});

test("T-LOGIN-14: 1,024 bytes are hashed, 1,025 are refused, in characters of every width", () => {
  for (const text of ["x", "é", "€", "🦊"]) {
    const bytes = Buffer.byteLength(text);
    const longest = text.repeat(Math.floor(1024 / bytes));
    assert.equal(normalizePassword(longest), longest.normalize("NFC"));
    assert.throws(() => normalizePassword(`${longest}${text}`), { code: "user_password_refused" });
  }
  assert.throws(() => normalizePassword("x".repeat(1024 * 1024)), { code: "user_password_refused" });
});

test("T-LOGIN-14: composed and decomposed spellings are one password", () => {
  assert.equal(normalizePassword("cafe\u0301"), normalizePassword("caf\u00e9"));
  assert.notEqual(normalizePassword("cafe"), normalizePassword("caf\u00e9"));
});

test("T-LOGIN-14: a NUL stays, and half a character is refused", () => {
  assert.equal(normalizePassword("before\0after"), "before\0after");
  assert.throws(() => normalizePassword("half \ud83d"), { code: "user_password_refused" });
});

test("T-PW-5: spaces at the ends stay", () => {
  assert.equal(normalizePassword(" both "), " both ");
});

test("a hostile password is judged in bounded time", () => {
  const began = performance.now();
  findPasswordFault("password1!P4ssw0rd".repeat(56), ada);
  assert.ok(performance.now() - began < 5000);
});
