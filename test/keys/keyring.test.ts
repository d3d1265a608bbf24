/** The keyring: what a process uses is what the database says, within a second by notice, and never longer than the staleness without having asked. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { base64url, CompactSign, compactVerify } from "jose";
import { engineKey } from "../../src/oidc/signing-key.ts";
import { randomKey } from "../../src/secrets.ts";
import { eventually } from "../support.ts";
import { keyGround } from "./ground.ts";

const DAY = 86_400;
const BY = { kind: "command" } as const;

test("a change is in use everywhere within a second of its commit, and listeners hear it before it counts as confirmed", async () => {
  const ground = await keyGround();
  const keyring = await ground.keyring();
  const heard: number[] = [];
  keyring.onChange(async ({ published }) => void heard.push(published.length));
  assert.equal(keyring.current().published.length, 3);
  const began = performance.now();
  await ground.keys.rotate([], BY);
  await eventually(() => keyring.current().published.length === 6);
  console.log(`# in use ${Math.round(performance.now() - began)} ms after the command began, three new keys included`);
  assert.deepEqual(heard, [6]);
});

test("the engine's signature of each algorithm is what Web Crypto makes or verifies, under the key's own name", async () => {
  const { signing, published } = (await (await keyGround()).keyring()).current();
  assert.deepEqual(signing.map(({ algorithm }) => algorithm).sort(), ["ES256", "EdDSA", "RS256"]);
  for (const key of signing) {
    const alg = key.algorithm;
    const signer = engineKey(key);
    assert.deepEqual([signer.kid, signer.alg, signer.use], [key.kid, alg, "sig"]);
    const payload = new TextEncoder().encode(`{"sub":"${alg}"}`);
    const theirs = await new CompactSign(payload).setProtectedHeader({ alg }).sign(key.privateJwk);
    const input = theirs.slice(0, theirs.lastIndexOf("."));
    const ours = `${input}.${base64url.encode(await signer.sign(new TextEncoder().encode(input)))}`;
    const isRandom = alg === "ES256";
    assert.equal(ours === theirs, !isRandom, `${alg}: the same bytes, unless each signature draws a number of its own`);
    const shown = published.find(({ kid }) => kid === key.kid);
    assert.ok(shown !== undefined, `${alg} is published`);
    assert.deepEqual((await compactVerify(ours, shown)).payload, payload);
  }
});

test("what is published are announced, active and retired keys, without private members; kept ones still verify", async () => {
  const ground = await keyGround();
  const keyring = await ground.keyring();
  await ground.grow(89 * DAY + 60);
  await keyring.turn();
  await ground.grow(DAY);
  await keyring.turn();
  await keyring.refresh();
  const active = keyring.current().signing[0];
  assert.equal(keyring.current().published.length, 6);
  await ground.grow(2 * DAY);
  await keyring.turn();
  await keyring.refresh();
  const { published, signing } = keyring.current();
  assert.deepEqual([published.length, signing.length], [3, 6]);
  assert.equal(signing[0]?.kid, active?.kid, "the active key of each algorithm stands before the others");
  for (const jwk of published) {
    const allowed = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"];
    assert.deepEqual(
      Object.keys(jwk).filter((name) => !allowed.includes(name)),
      [],
    );
  }
  assert.deepEqual(
    signing.map(({ algorithm }) => algorithm),
    ["RS256", "ES256", "EdDSA", "RS256", "ES256", "EdDSA"],
  );
});

test("a listener that fails keeps the old keys in use, and they are not taken for confirmed", async () => {
  const ground = await keyGround({ times: { stalenessSeconds: 1 } });
  const keyring = await ground.keyring();
  let isBroken = true;
  keyring.onChange(async () => {
    if (isBroken) throw new Error("the engine did not come up");
  });
  await ground.keys.rotate([], BY);
  await eventually(() => !keyring.isFresh());
  assert.equal(keyring.current().published.length, 3);
  await assert.rejects(keyring.ensureFresh(), { code: "store_unavailable" });
  isBroken = false;
  await keyring.ensureFresh();
  assert.equal(keyring.current().published.length, 6);
  assert.equal(keyring.isFresh(), true);
});

test("keys that could not be confirmed are not used longer than the staleness; asked again they are", async () => {
  const ground = await keyGround({ times: { stalenessSeconds: 1 } });
  const keyring = await ground.keyring();
  assert.equal(keyring.isFresh(), true);
  await eventually(() => !keyring.isFresh());
  await ground.db.query("alter table signing_keys rename to signing_keys_away");
  await assert.rejects(keyring.ensureFresh());
  await ground.db.query("alter table signing_keys_away rename to signing_keys");
  await keyring.ensureFresh();
  assert.equal(keyring.isFresh(), true);
});

test("a clock that jumps ahead, as after a machine slept, makes the keys stale at once", async (t) => {
  const ground = await keyGround();
  const keyring = await ground.keyring();
  assert.equal(keyring.isFresh(), true);
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 60_000 });
  assert.equal(keyring.isFresh(), false);
  t.mock.timers.reset();
});

test("a key that this process cannot open is no reason to go on with old ones", async () => {
  const ground = await keyGround({ times: { stalenessSeconds: 1 } });
  const keyring = await ground.keyring();
  // Another process was given a SECRET_KEY that this one does not have, and seals with it.
  await ground.db.query("delete from signing_keys");
  await ground.db.query("delete from mac_keys");
  const other = await keyGround({ secretKeys: [randomKey()] });
  await other.turn();
  const [row] = await other.db.query<Record<string, unknown>>("select to_jsonb(s) as row from signing_keys s limit 1");
  await ground.db.query("insert into signing_keys select * from jsonb_populate_record(null::signing_keys, $1::jsonb)", [
    JSON.stringify(row?.["row"]),
  ]);
  await eventually(() => !keyring.isFresh());
  await assert.rejects(keyring.ensureFresh(), /could not be confirmed: the signing key .* is sealed with the key/);
});
