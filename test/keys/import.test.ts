/** Import: good keys of every form are taken, bad ones refused with their reason, and no refusal repeats a part of the key. */
import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { test } from "node:test";
import type { JWK } from "jose";
import { AppError } from "../../src/errors.ts";
import { parseImportedKey } from "../../src/keys/import.ts";

const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const ed = generateKeyPairSync("ed25519").privateKey;
const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;

const pem = (key: KeyObject, type: "pkcs8" | "pkcs1" | "sec1" = "pkcs8"): string =>
  String(key.export({ type, format: "pem" }));
const jwk = (key: KeyObject, more: Record<string, unknown> = {}): string =>
  JSON.stringify({ ...key.export({ format: "jwk" }), ...more });
const without = (key: KeyObject, ...names: string[]): string =>
  JSON.stringify(
    Object.fromEntries(Object.entries(key.export({ format: "jwk" })).filter(([name]) => !names.includes(name))),
  );

const taken: readonly (readonly [string, string, string, string | undefined])[] = [
  ["RSA, PKCS #8", pem(rsa), "RS256", undefined],
  ["RSA, PKCS #1, with spaces around it", `\n  ${pem(rsa, "pkcs1")}\n`, "RS256", undefined],
  ["RSA, JWK", jwk(rsa, { alg: "RS256", use: "sig", kid: "old-1" }), "RS256", "old-1"],
  ["P-256, PKCS #8", pem(ec), "ES256", undefined],
  ["P-256, SEC 1", pem(ec, "sec1"), "ES256", undefined],
  ["P-256, JWK", jwk(ec), "ES256", undefined],
  ["Ed25519, PKCS #8", pem(ed), "EdDSA", undefined],
  ["Ed25519, JWK by its newer name", jwk(ed, { alg: "Ed25519" }), "EdDSA", undefined],
  ["members that nobody asked for", jwk(ec, { x5t: "abc", iat: 5 }), "ES256", undefined],
];
for (const [what, text, algorithm, kid] of taken)
  test(`imported: ${what}`, () => {
    const imported = parseImportedKey(text);
    assert.equal(imported.algorithm, algorithm);
    assert.equal(imported.kid, kid);
    assert.equal(imported.key.type, "private");
  });

const small = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;
const pss = generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).privateKey;
const three = generateKeyPairSync("rsa", { modulusLength: 2048, publicExponent: 3 }).privateKey;
const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey;
const koblitz = generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey;
const ed448 = generateKeyPairSync("ed448").privateKey;
const x25519 = generateKeyPairSync("x25519").privateKey;
const publicOnly = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey;
const encrypted = rsa.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "word" });
const foreign = other.export({ format: "jwk" }) as JWK;

const refused: readonly (readonly [string, string, RegExp])[] = [
  ["RSA of 1024 bits", pem(small), /1024 bits; at least 2048/],
  ["RSA of 1024 bits, JWK", jwk(small), /1024 bits; at least 2048/],
  ["RSA with a small exponent", pem(three), /public exponent is not 65537/],
  ["RSA for PSS alone", pem(pss), /type rsa-pss does not sign here/],
  ["P-384", pem(p384), /curve is not P-256/],
  ["P-384, JWK", jwk(p384), /curve is not P-256/],
  ["secp256k1", pem(koblitz), /curve is not P-256/],
  ["a curve that nobody knows", jwk(ec, { crv: "P-257" }), /curve is not P-256/],
  ["Ed448", pem(ed448), /type ed448 does not sign/],
  ["X25519, which does not sign", pem(x25519), /type x25519 does not sign/],
  ["X25519, JWK", jwk(x25519), /curve is not Ed25519/],
  ["a public key", String(publicOnly.export({ type: "spki", format: "pem" })), /no private key/],
  ["a public JWK", JSON.stringify(publicOnly.export({ format: "jwk" })), /no private part/],
  ["a private RSA key without its public part", without(rsa, "n", "e"), /lacks n, e/],
  ["a private RSA key without its primes", without(rsa, "p", "q", "dp", "dq", "qi"), /lacks p, q, dp, dq, qi/],
  ["a private P-256 key without its public part", without(ec, "x", "y"), /lacks x, y/],
  ["a private Ed25519 key without its public part", without(ed, "x"), /lacks x/],
  ["the private part of one key and the public part of another", jwk(ec, { x: foreign.x, y: foreign.y }), /do not/],
  ["an alg of another kind", jwk(ec, { alg: "RS256" }), /Its alg is RS256; a key of its kind signs ES256/],
  ["a key for encryption", jwk(rsa, { use: "enc" }), /cannot be used: use/],
  ["a kid that would break a line", jwk(ec, { kid: "a\nb" }), /cannot be used: kid/],
  ["a kid that reads as a flag", jwk(ec, { kid: "--json" }), /kid .*begins with --/],
  ["a kid that is too long", jwk(ec, { kid: "a".repeat(129) }), /cannot be used: kid/],
  ["a shared secret", JSON.stringify({ kty: "oct", k: "AAAA" }), /cannot be used: kty/],
  ["a set of keys", JSON.stringify({ keys: [ec.export({ format: "jwk" })] }), /one at a time/],
  ["two keys in one file", pem(rsa) + pem(ec), /one at a time/],
  ["an encrypted key", String(encrypted), /encrypted. Decrypt it first/],
  ["a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", /no private key/],
  ["a damaged PEM", pem(ec).replace(/\n.{12}/, "\n"), /PEM cannot be read/],
  ["broken JSON", '{"kty":', /JSON cannot be read/],
  ["a number", "{}", /cannot be used: kty/],
  ["nothing", "", /neither PEM nor a JWK/],
  ["DER", "\u0000\u0001", /neither PEM nor a JWK/],
  ["a book", "x".repeat(40_000), /longer than/],
];
for (const [what, text, reason] of refused)
  test(`refused on import: ${what}`, () => {
    assert.throws(
      () => parseImportedKey(text),
      (error: unknown) => {
        assert.ok(error instanceof AppError && error.code === "key_invalid", String(error));
        assert.match(error.message, reason);
        for (const part of text.match(/[A-Za-z0-9_-]{40,}/g) ?? []) assert.ok(!error.message.includes(part));
        return true;
      },
    );
  });
