/** What may be said about a user: accepted and refused values side by side. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AppError } from "../../src/errors.ts";
import { parseNewUser, parseUserChange, parseUserFilter } from "../../src/users/schema.ts";

const email = "ada@example.com";
const values: readonly (readonly [claim: string, accepted: readonly unknown[], refused: readonly unknown[]])[] = [
  [
    "name",
    ["Ada", "Žofie Müller", "李小龍", "O'Neil <b>", "x".repeat(200)],
    ["", "  ", "x".repeat(201), "a\r\nb", "a\0b", "a\u202eb", "a\u200bb", "\ud800", 1, null, ["a"]],
  ],
  [
    "preferred_username",
    ["ada", "ada.l-1_x", "A"],
    ["ada@example.com", "\u0430da", "a b", "-ada", "ada.", "x".repeat(65)],
  ],
  [
    "picture",
    ["https://a.example/p.png", "http://a.example/"],
    [
      "javascript:alert(1)",
      "data:text/html,x",
      "ftp://a.example/",
      "/p.png",
      "https://u:p@a.example/",
      "https://",
      `https://a.example/${"x".repeat(2048)}`,
    ],
  ],
  [
    "birthdate",
    ["1815-12-10", "0000-02-29", "2000-02-29", "1815"],
    ["1815-13-01", "1815-02-30", "2001-02-29", "10.12.1815", "0000", "1815-12", "15-12-10"],
  ],
  [
    "zoneinfo",
    ["Europe/Paris", "UTC", "America/Argentina/Ushuaia"],
    ["Mars/Olympus", "+01:00", "", "Europe/Paris\n\nX"],
  ],
  ["locale", ["en", "en-US", "zh-Hant-TW"], ["english language", "en_US", "e", "*"]],
  [
    "phone_number",
    ["+49 30 1234567", "+1 (604) 555-1234;ext=5678", "+33123456789"],
    ["030 1234567", "+0123456", "+49", "+49 call me", "+491234567890123456"],
  ],
  ["gender", ["female", "non-binary"], ["x".repeat(65)]],
  ["email_verified", [true, false], ["true", 1]],
  [
    "address",
    [{ country: "FR" }, { formatted: "1 Rue X\r\nParis" }, { street_address: "1\n2" }],
    [
      { planet: "Mars" },
      { country: "" },
      { country: "a\nb" },
      { formatted: "a\u202eb" },
      { formatted: "x".repeat(1001) },
      "Paris",
    ],
  ],
];
for (const [claim, accepted, refused] of values) {
  test(`${claim} takes what is right and refuses what is not`, () => {
    for (const value of accepted)
      assert.doesNotThrow(() => parseNewUser({ email, [claim]: value }), JSON.stringify(value));
    for (const value of refused) {
      assert.throws(() => parseNewUser({ email, [claim]: value }), { code: "user_invalid" }, JSON.stringify(value));
    }
  });
}

test("T-REG-3: a line break in any one-line claim is refused", () => {
  for (const claim of ["name", "given_name", "family_name", "middle_name", "nickname", "gender", "website", "locale"]) {
    assert.throws(
      () => parseNewUser({ email, [claim]: "en\r\nBcc: eve@example.com" }),
      { code: "user_invalid" },
      claim,
    );
  }
});

test("T-NORM-3: nobody carries another's address as a user name", () => {
  assert.throws(() => parseNewUser({ email, preferred_username: "grace@example.com" }), { code: "user_invalid" });
});

test("T-NORM-2: a user name that could look like another is refused", () => {
  for (const name of ["\u0430da", "ada\u200b", "\u0131da", "ａda"]) {
    assert.throws(() => parseNewUser({ email, preferred_username: name }), { code: "user_invalid" }, name);
  }
});

test("unknown fields are refused, and every fault is named at once", () => {
  assert.throws(
    () => parseNewUser({ email, role: "admin", sub: "1", birthdate: "never", zoneinfo: "nowhere" }),
    (error) =>
      error instanceof AppError &&
      error.status === 400 &&
      ["role", "sub", "birthdate", "zoneinfo"].every((word) => error.message.includes(word)),
  );
  for (const input of [undefined, null, "x", 1, [], {}])
    assert.throws(() => parseNewUser(input), { code: "user_invalid" });
});

test("text is kept composed and without spaces around, line breaks as one sign", () => {
  const { claims } = parseNewUser({ email, name: " Zoe\u0308 ", address: { formatted: "1 Rue X \r\nParis " } });
  assert.deepEqual(claims, { name: "Zo\u00eb", address: { formatted: "1 Rue X\nParis" } });
});

test("a number counts as verified only where there is one", () => {
  assert.throws(() => parseNewUser({ email, phone_number_verified: true }), { code: "user_invalid" });
  assert.doesNotThrow(() => parseNewUser({ email, phone_number: "+4930123456", phone_number_verified: true }));
});

test("in a change null takes a claim away, but an address cannot go", () => {
  assert.deepEqual(parseUserChange({ nickname: null, address: null }).claims, { nickname: null, address: null });
  assert.deepEqual(parseUserChange({ owner: false }), {
    email: undefined,
    isEmailVerified: undefined,
    isOwner: false,
    claims: {},
  });
  assert.throws(() => parseUserChange({ email: null }), { code: "user_invalid" });
  assert.throws(() => parseUserChange({ password: "x" }), { code: "user_invalid" });
});

test("a list has 50 users unless asked otherwise, and at most 200", () => {
  assert.equal(parseUserFilter({}).limit, 50);
  assert.equal(parseUserFilter({ limit: "200" }).limit, 200);
  for (const limit of ["0", "201", "x", "1.5", "-1"]) {
    assert.throws(() => parseUserFilter({ limit }), { code: "user_invalid" }, limit);
  }
});
