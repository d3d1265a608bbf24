/** Hashes that other systems made: which are read, and that the right password opens each of them and no other does. */
import assert from "node:assert/strict";
import { pbkdf2Sync, scryptSync } from "node:crypto";
import { after, test } from "node:test";
import argon2 from "argon2";
import bcrypt from "bcryptjs";
import { createLog } from "../../src/log.ts";
import { parseForeignHash } from "../../src/users/foreign-hash.ts";
import { openHasher } from "../../src/users/hasher.ts";

const hasher = await openHasher({ log: createLog({ level: "silent", pretty: false }), children: 1 });
after(() => hasher.close());
const PASSWORD = "correct horse battery staple";
const SALT = Buffer.from("sixteen  letters");
const b64 = (bytes: Buffer): string => bytes.toString("base64").replaceAll("=", "");
const dotted = (bytes: Buffer): string => b64(bytes).replaceAll("+", ".");

const made: readonly (readonly [string, string])[] = [
  ["bcrypt 2b", await bcrypt.hash(PASSWORD, 6)],
  ["bcrypt 2y, as PHP writes it", (await bcrypt.hash(PASSWORD, 5)).replace("$2b$", "$2y$")],
  ["scrypt", `$scrypt$ln=14,r=8,p=1$${b64(SALT)}$${b64(scryptSync(PASSWORD, SALT, 32))}`],
  [
    "PBKDF2 with SHA-256, dots for plus",
    `$pbkdf2-sha256$29000$${dotted(SALT)}$${dotted(pbkdf2Sync(PASSWORD, SALT, 29_000, 32, "sha256"))}`,
  ],
  [
    "PBKDF2 with SHA-512, PHC",
    `$pbkdf2-sha512$i=25000,l=64$${b64(SALT)}$${b64(pbkdf2Sync(PASSWORD, SALT, 25_000, 64, "sha512"))}`,
  ],
  ["PBKDF2 with SHA-1", `$pbkdf2$131000$${b64(SALT)}$${b64(pbkdf2Sync(PASSWORD, SALT, 131_000, 20, "sha1"))}`],
  ["argon2i", await argon2.hash(PASSWORD, { type: argon2.argon2i, memoryCost: 4096, timeCost: 3 })],
  ["argon2d", await argon2.hash(PASSWORD, { type: argon2.argon2d, memoryCost: 4096, timeCost: 3 })],
];
for (const [name, stored] of made) {
  test(`${name}: the right password matches, others do not, and it is renewed at the next sign-in`, async () => {
    assert.ok(parseForeignHash(stored), stored);
    assert.equal(await hasher.verify(stored, PASSWORD), true);
    assert.equal(await hasher.verify(stored, `${PASSWORD} `), false);
    assert.equal(await hasher.verify(stored, ""), false);
    assert.equal(hasher.needsRehash(stored), true);
  });
}

const bounded: readonly (readonly [string, string])[] = [
  ["bcrypt of a cost that takes seconds", `$2b$14$${"a".repeat(53)}`],
  ["bcrypt of a broken program", `$2x$10$${"a".repeat(53)}`],
  ["bcrypt cut short", `$2b$10$${"a".repeat(52)}`],
  ["scrypt of 1 GiB", `$scrypt$ln=20,r=8,p=1$${b64(SALT)}$${b64(Buffer.alloc(32))}`],
  ["scrypt of many lanes", `$scrypt$ln=14,r=8,p=64$${b64(SALT)}$${b64(Buffer.alloc(32))}`],
  ["scrypt of no blocks", `$scrypt$ln=14,r=0,p=1$${b64(SALT)}$${b64(Buffer.alloc(32))}`],
  ["PBKDF2 of ten rounds", `$pbkdf2-sha256$10$${b64(SALT)}$${b64(Buffer.alloc(32))}`],
  ["PBKDF2 of nine million rounds", `$pbkdf2-sha256$9000000$${b64(SALT)}$${b64(Buffer.alloc(32))}`],
  ["PBKDF2 with MD5", `$pbkdf2-md5$29000$${b64(SALT)}$${b64(Buffer.alloc(16))}`],
  ["PBKDF2 with a tag of four bytes", `$pbkdf2-sha256$29000$${b64(SALT)}$${b64(Buffer.alloc(4))}`],
  ["argon2 of 4 GiB", `$argon2i$v=19$m=4194304,t=2,p=1$${b64(SALT)}$${b64(Buffer.alloc(32))}`],
  ["SHA-256 alone", "5e884898da28047151d0e56f8dc6292773603d0d6aabbd62a11ef721d1542d8"],
  ["clear text", "password"],
  ["nothing", ""],
  ["a whole page", `$2b$10$${"a".repeat(5000)}`],
];
for (const [name, stored] of bounded) {
  test(`T-PW-8: ${name} is not read`, () => assert.equal(parseForeignHash(stored), undefined));
}

test("the hashing child keeps its speed: loading what imported hashes need costs the first argon2 hash nothing", async () => {
  const times: number[] = [];
  for (let round = 0; round < 9; round += 1) {
    const began = performance.now();
    await hasher.hash(PASSWORD);
    times.push(performance.now() - began);
  }
  // A hash takes 20 ms at rest; an order of magnitude is for a busy machine.
  assert.ok((times.sort((a, b) => a - b)[4] ?? Infinity) < 500, String(times));
});
