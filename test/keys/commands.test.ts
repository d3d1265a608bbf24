/** `signet key` from its flags to what becomes of the keys. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { calculateJwkThumbprint, type JWK } from "jose";
import { runCommand } from "../../src/commands.ts";
import { KEY_TIMES } from "../../src/key-times.ts";
import { keyCommands } from "../../src/keys/commands.ts";
import { randomKey } from "../../src/secrets.ts";
import { listen } from "../support.ts";
import { keyGround } from "./ground.ts";

const ground = await keyGround();
await ground.turn();

async function signet(argv: readonly string[], options: { stdin?: string; keys?: typeof ground.keys } = {}) {
  const { io, said } = listen(options.stdin ?? "");
  const app = { keys: options.keys ?? ground.keys, config: { keyTimes: KEY_TIMES } };
  const code = await runCommand(keyCommands, argv, io, (run) => run(app));
  return { code, ...said, json: () => JSON.parse(said.out) as Record<string, unknown> };
}

test("list shows each key with its state and times, as a table and as JSON, and nothing that is secret", async () => {
  const { out } = await signet(["list"]);
  assert.match(out, /kid +algorithm +state +origin +signs from +signs until +published until/);
  assert.equal(out.match(/ active /g)?.length, 3 + 6);
  const json = (await signet(["list", "--json"])).json();
  const keys = json["signing_keys"] as Record<string, unknown>[];
  assert.deepEqual(keys.map((key) => key["algorithm"]).sort(), ["ES256", "EdDSA", "RS256"]);
  const text = JSON.stringify(json);
  for (const { sealedPrivateJwk } of (await ground.rows()).signing)
    assert.ok(sealedPrivateJwk !== undefined && !text.includes(sealedPrivateJwk));
  assert.doesNotMatch(text, /"d"|sealed|"key"/);
  const [next] = json["rotation"] as Record<string, string>[];
  assert.ok(Date.parse(next?.["next_rotation_at"] ?? "") > Date.now() + 89 * 86_400_000);
});

test("rotate announces, says from when the new key signs, and does it once", async () => {
  const first = await signet(["rotate", "--algorithm", "ES256", "--json"]);
  const [row] = JSON.parse(first.out) as Record<string, unknown>[];
  assert.equal(row?.["is_new"], true);
  assert.ok(Date.parse(String(row?.["signs_at"])) > Date.now() + 86_000_000);
  const second = await signet(["rotate", "--algorithm", "ES256"]);
  assert.match(second.out, /ES256 .* was announced before/);
  const all = await signet(["rotate"]);
  assert.equal(all.out.match(/announced now/g)?.length, 2);
  const wrong = await signet(["rotate", "--algorithm", "HS256"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.err, /one of RS256, ES256, EdDSA/);
});

test("import reads a file or standard input, shows the key without its private part, and says why it refuses", async () => {
  const key = generateKeyPairSync("ed25519").privateKey;
  const text = String(key.export({ type: "pkcs8", format: "pem" }));
  const taken = await signet(["import", "--key-file", "-", "--json"], { stdin: text });
  assert.equal(taken.code, 0, taken.err);
  assert.deepEqual([taken.json()["state"], taken.json()["algorithm"]], ["announced", "EdDSA"]);
  assert.ok(!taken.out.includes(String(key.export({ format: "jwk" }).d)));
  const again = await signet(["import", "--key-file", "-"], { stdin: text });
  assert.deepEqual([again.code, /has or had this key already/.test(again.err)], [1, true]);
  const none = await signet(["import"]);
  assert.deepEqual([none.code, /--key-file is missing/.test(none.err)], [2, true]);
  const bad = await signet(["import", "--key-file", "-"], { stdin: "no key" });
  assert.deepEqual([bad.code, /neither PEM nor a JWK/.test(bad.err)], [1, true]);
});

test("revoke says which tokens die, how long others may believe them, and what signs now", async () => {
  const active = (await ground.rows()).signing.find((row) => row.algorithm === "RS256" && row.state === "active");
  const { out, code } = await signet(["revoke", active?.kid ?? ""]);
  assert.equal(code, 0);
  assert.match(out, /is out of the JWKS, and its private part is destroyed/);
  assert.match(out, /issued from \d{4}-.* to \d{4}-/);
  assert.match(out, /may still take them until \d{4}-/);
  assert.match(out, /signs from now on/);
  const announced = (await ground.rows()).signing.find((row) => row.state === "announced");
  assert.match((await signet(["revoke", announced?.kid ?? ""])).out, /It has signed nothing/);
  const unknown = await signet(["revoke", "nobody", "--json"]);
  assert.deepEqual([unknown.code, JSON.parse(unknown.err).error], [1, "key_unknown"]);
});

test("reencrypt counts what it sealed anew, and says when there was nothing", async () => {
  assert.match((await signet(["reencrypt"])).out, /Everything is sealed with the first entry/);
  const [old, fresh] = [randomKey(), randomKey()];
  const other = await keyGround({ secretKeys: [old] });
  await other.turn();
  const { createKeys } = await import("../../src/keys/administration.ts");
  const { json } = await signet(["reencrypt", "--json"], { keys: createKeys(other.partsWith([fresh, old])) });
  assert.deepEqual(json(), { reencrypted: { "signing keys": 3, "random keys": 6 } });
});

test("a key whose thumbprint begins like a flag is named so that every command can name it", async () => {
  let pem: string | undefined;
  // One in 64 begins so.
  for (let tries = 0; pem === undefined && tries < 5000; tries += 1) {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const thumbprint = await calculateJwkThumbprint(publicKey.export({ format: "jwk" }) as JWK);
    if (thumbprint.startsWith("-")) pem = privateKey.export({ format: "pem", type: "pkcs8" }) as string;
  }
  assert.ok(pem !== undefined, "no key had such a thumbprint");
  const imported = await signet(["import", "--key-file", "-", "--json"], { stdin: pem });
  assert.equal(imported.code, 0, imported.err);
  const revoked = await signet(["revoke", String(imported.json()["kid"])]);
  assert.equal(revoked.code, 0, revoked.err);
  // One that other servers know by such a name keeps it: they would not find it under another.
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  for (const [kid, isTaken] of [
    ["-Zk3", true],
    ["--json", false],
  ] as const) {
    const stdin = JSON.stringify({ ...privateKey.export({ format: "jwk" }), kid });
    const named = await signet(["import", "--key-file", "-", "--json"], { stdin });
    assert.deepEqual([named.code, named.err.includes("begins with --")], [isTaken ? 0 : 1, !isTaken], named.err);
    if (isTaken) assert.equal((await signet(["revoke", kid, "--json"])).json()["kid"], kid);
  }
});
