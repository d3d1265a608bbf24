/** Packing of family payloads: lossless for any JSON object, small for what a sign-in holds, and a torn record is noticed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { pack, unpack } from "../../src/store/grants-pack.ts";

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_ é漢\u0000\ud800"\\';
const BASE64URL_CHARACTERS = 64;
const NAMES = [
  "scope",
  "nonce",
  "amr",
  "sid",
  "iat",
  "exp",
  "iiat",
  "accountId",
  "__proto__",
  "constructor",
  "",
  "é",
  "a b",
  "acr",
  "kind",
];
const UUID = "0f8fad5b-d9cb-469f-a165-70867728950e";

test("every JSON object comes back as JSON would give it", () => {
  const random = createRandom(7);
  const text = (length: number, characters = ALPHABET.length): string =>
    Array.from({ length }, () => ALPHABET[random(characters)]).join("");
  const values: readonly (() => unknown)[] = [
    () => text(random(300), BASE64URL_CHARACTERS),
    () => text(random(300)),
    () => 2 ** 32 - 5 + random(10),
    () => -random(9),
    () => random(9) / 7,
    () => random(2) === 0,
    () => null,
    () => undefined,
    () => [text(3), random(9)],
    () => ({ [text(2)]: text(9) }),
    () => "openid email",
    () => "openid  email",
    () => ["pwd", "otp"],
    () => ["pwd otp"],
    () => [],
    () => 1_700_000_000 + random(2 ** 25) - 2 ** 24,
    () => UUID,
    () => UUID.toUpperCase(),
    () => "urn:signet:acr:1fa",
    () => "RefreshToken",
  ];
  for (let round = 0; round < 5000; round += 1) {
    const entries = Array.from({ length: random(8) }, () => [
      NAMES[random(NAMES.length)],
      values[random(values.length)]?.(),
    ]);
    const payload = Object.fromEntries(entries) as Record<string, unknown>;
    assert.deepEqual(unpack(pack(payload)), JSON.parse(JSON.stringify(payload)));
  }
});

test("identifiers, scopes and times take less than two thirds of their JSON, and a torn one is no payload", () => {
  const id = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYm0";
  const payload = {
    accountId: UUID,
    exp: 1_701_209_600,
    grantId: id,
    nonce: id,
    scope: "openid profile email",
    sid: id,
  };
  const packed = pack(payload);
  assert.ok(packed.length * 3 < JSON.stringify(payload).length * 2, `${packed.length} bytes`);
  assert.throws(() => unpack(packed.subarray(0, -1)), /too early/);
  assert.throws(() => unpack(Buffer.of(0xff)), /unknown/);
});

/** Small and repeatable, so that a failure can be run again (the minimal standard generator). */
function createRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}
