/** One canonical form of an address: what is one user, what are two, what is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { identifierOf, parseEmail } from "../../src/users/email.ts";

const oneForm: readonly (readonly [name: string, spellings: readonly string[], canonical: string])[] = [
  ["T-NORM-1: upper and lower case", ["ada@example.com", "Ada@Example.COM", "ADA@EXAMPLE.COM"], "ada@example.com"],
  ["T-NORM-1: spaces around", ["ada@example.com ", "  ada@example.com"], "ada@example.com"],
  ["T-NORM-1: full-width letters", ["ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ", "ada@example。com"], "ada@example.com"],
  ["T-NORM-1: Kelvin sign and long s", ["\u212aurt@example.com", "kurt@example.com"], "kurt@example.com"],
  [
    "T-NORM-4: international domain and Punycode",
    ["ada@bücher.example", "ada@BÜCHER.example", "ada@bu\u0308cher.example", "Ada@XN--BCHER-KVA.example"],
    "ada@xn--bcher-kva.example",
  ],
];
for (const [name, spellings, canonical] of oneForm) {
  test(`${name} are one user`, () => {
    for (const spelling of spellings) assert.equal(parseEmail(spelling)?.canonical, canonical, spelling);
  });
}

test("T-NORM-2: a domain that only looks like another is another user and shows it", () => {
  const cyrillic = parseEmail("ada@\u0435xample.com");
  assert.equal(cyrillic?.canonical, "ada@xn--xample-2of.com");
  assert.equal(cyrillic?.address, "ada@xn--xample-2of.com");
});

test("the address keeps the case in which its owner writes it", () => {
  assert.equal(parseEmail(" Ada.L@Example.com")?.address, "Ada.L@example.com");
});

const refused: readonly (readonly [name: string, input: string])[] = [
  ["T-NORM-1: dotless i", "\u0131da@example.com"],
  ["T-NORM-1: capital I with a dot", "\u0130da@example.com"],
  ["T-NORM-1: zero-width space in the name", "a\u200bda@example.com"],
  ["T-NORM-1: zero-width space in the domain", "ada@exa\u200bmple.com"],
  ["T-NORM-1: soft hyphen in the domain", "ada@exam\u00adple.com"],
  ["T-NORM-2: Cyrillic letter in the name", "\u0430da@example.com"],
  ["T-REG-1: nothing", ""],
  ["T-REG-1: no domain", "ada@"],
  ["T-REG-1: no name", "@example.com"],
  ["T-REG-1: no sign", "ada.example.com"],
  ["T-REG-1: two dots in a row", "a..b@example.com"],
  ["T-REG-1: quoted name", '"a b"@example.com'],
  ["T-REG-1: space inside", "a b@example.com"],
  ["T-REG-1: two addresses", "a@example.com,b@example.com"],
  ["T-REG-1: name in brackets", "Ada <ada@example.com>"],
  ["T-REG-2: 321 characters", `${"a".repeat(309)}@example.com`],
  ["T-REG-2: 255 characters", `${"a".repeat(60)}@${"b".repeat(60)}.${"c".repeat(60)}.${"d".repeat(60)}.example.com`],
  ["T-REG-2: 65 characters before the sign", `${"a".repeat(65)}@example.com`],
  ["T-REG-3: line break at the end", "ada@example.com\r\n"],
  ["T-REG-3: line break and a header", "ada@example.com\r\nBcc: eve@example.com"],
  ["T-REG-3: NUL", "ada@example.com\0"],
  ["T-REG-3: tab", "\tada@example.com"],
  ["an IPv4 address", "ada@127.0.0.1"],
  ["an IPv4 address in short", "ada@127.1"],
  ["an IPv4 address in hexadecimal", "ada@0x7f.1"],
  ["an IPv6 address", "ada@[::1]"],
  ["a bare machine name", "ada@localhost"],
  ["a dot at the end", "ada@example.com."],
  ["a path", "ada@example.com/x"],
  ["a percent sign in the domain", "ada@exa%6dple.com"],
  ["a sign that turns into a path", "ada@\u2100.example"],
  ["invalid Punycode", "ada@xn--a.example"],
  ["an underscore in the domain", "ada@a_b.example"],
  ["a lone surrogate", "ada@\ud800.example"],
];
for (const [name, input] of refused) {
  test(`${name} is no address`, () => assert.equal(parseEmail(input), undefined));
}

test("T-LOGIN-6: what is no address is still counted under one identifier", () => {
  assert.equal(identifierOf(" Nobody "), identifierOf("ｎｏｂｏｄｙ"));
  assert.equal(identifierOf("ADA@Bücher.example"), "ada@xn--bcher-kva.example");
  assert.ok(identifierOf("x".repeat(100_000)).length <= 320);
});
