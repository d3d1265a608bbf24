/** Rotation over a real database: one at a time, all or nothing, every step on the trail; and what an administrator does with keys. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { secondsAfter } from "../../src/clock.ts";
import { KEY_TIMES } from "../../src/key-times.ts";
import { checkSealedKeys, createKeys } from "../../src/keys/administration.ts";
import { parseImportedKey } from "../../src/keys/import.ts";
import { turnKeys } from "../../src/keys/rotation.ts";
import { randomKey } from "../../src/secrets.ts";
import { createVault, VaultError } from "../../src/vault.ts";
import { keyGround } from "./ground.ts";

const DAY = 86_400;
const BY = { kind: "command" } as const;
type Rows = Awaited<ReturnType<Awaited<ReturnType<typeof keyGround>>["rows"]>>;
const states = ({ signing }: Rows, algorithm = "ES256"): readonly string[] =>
  signing.filter((row) => row.algorithm === algorithm).map(({ state }) => state);
const pem = (): string =>
  String(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" }));

test("the first start makes a key of each kind, and many starts at once make one of each", async () => {
  const ground = await keyGround();
  await Promise.all(Array.from({ length: 4 }, () => ground.turn()));
  const { signing, secrets } = await ground.rows();
  assert.deepEqual(signing.map(({ algorithm, state }) => `${algorithm} ${state}`).sort(), [
    "ES256 active",
    "EdDSA active",
    "RS256 active",
  ]);
  assert.deepEqual(secrets.map(({ purpose, state }) => `${purpose} ${state}`).sort(), [
    "audit active",
    "cookie active",
    "dpop_nonce active",
    "form active",
    "pairwise active",
    "refresh_token active",
  ]);
  assert.deepEqual(await ground.events(), Array(9).fill("key.created"));
});

test("a key lives: announced a day before, active, retired, kept for hints, gone; each step once and on the trail", async () => {
  const ground = await keyGround();
  await ground.turn();
  await ground.grow(89 * DAY + 60);
  const turns = await Promise.all(Array.from({ length: 4 }, () => turnKeys(ground.parts, { wait: false })));
  assert.ok(turns.some(({ steps }) => steps.length > 0));
  assert.deepEqual(states(await ground.rows()), ["announced", "active"]);
  await ground.grow(DAY - 120);
  await ground.turn();
  assert.deepEqual(states(await ground.rows()), ["announced", "active"], "not a minute too early");
  await ground.grow(180);
  await ground.turn();
  assert.deepEqual(states(await ground.rows()), ["active", "retired"]);
  await ground.grow(DAY + 90);
  await ground.turn();
  assert.deepEqual(states(await ground.rows()), ["active", "retired"], "its last token may still live");
  await ground.grow(60);
  await ground.turn();
  assert.deepEqual(states(await ground.rows()), ["active", "kept"]);
  await ground.grow(29 * DAY);
  await ground.turn();
  assert.deepEqual(states(await ground.rows()), ["active"]);
  const events = (
    await ground.db.query<{ name: string; algorithm: string | null }>(
      "select name, data->>'algorithm' as algorithm from audit_events order by id",
    )
  ).filter(({ algorithm }) => algorithm === "ES256");
  assert.deepEqual(
    events.map(({ name }) => name),
    ["created", "announced", "retired", "activated", "unpublished", "removed"].map((word) => `key.${word}`),
  );
});

test("random keys are replaced with overlap of their longest use, and the salt of pairwise subjects never is", async () => {
  const ground = await keyGround();
  await ground.turn();
  const versions = async (purpose: string): Promise<string> =>
    (await ground.rows()).secrets
      .filter((row) => row.purpose === purpose)
      .map(({ version, state }) => `${version} ${state}`)
      .join(", ");
  await ground.grow(30 * DAY - 60);
  await ground.turn();
  assert.equal(await versions("cookie"), "2 announced, 1 active");
  await ground.grow(100);
  await ground.turn();
  assert.equal(await versions("cookie"), "2 active, 1 retired");
  await ground.grow(3 * 3600);
  await ground.turn();
  assert.equal(await versions("form"), "2 active", "a form lives two hours");
  assert.equal(await versions("cookie"), "2 active, 1 retired", "a session lives thirty days");
  assert.equal(await versions("refresh_token"), "2 active, 1 retired");
  assert.equal(await versions("pairwise"), "1 active");
});

test("a rotation that dies in the middle leaves nothing behind, and the next one does it", async () => {
  const ground = await keyGround();
  await ground.turn();
  await ground.grow(89 * DAY + 60);
  let records = 0;
  const dying = {
    ...ground.parts,
    record: async () => {
      records += 1;
      if (records === 3) throw new Error("killed");
    },
  };
  const before = await ground.rows();
  await assert.rejects(turnKeys(dying, { wait: true }), /killed/);
  assert.deepEqual((await ground.rows()).signing, before.signing);
  assert.deepEqual((await ground.rows()).secrets, before.secrets);
  await ground.turn();
  assert.deepEqual(states(await ground.rows()), ["announced", "active"]);
});

test("a wrong SECRET_KEY is told with the key that it does not open, and nothing is written", async () => {
  const ground = await keyGround();
  await ground.turn();
  await ground.grow(100 * DAY);
  const before = await ground.rows();
  const wrong = ground.partsWith([randomKey()]);
  const known = before.signing.map(({ kid }) => kid).join("|");
  const refusal = (error: unknown): boolean =>
    error instanceof VaultError &&
    new RegExp(`the signing key (${known}) \\((RS256|ES256|EdDSA)\\) is sealed with`).test(error.message);
  await assert.rejects(turnKeys(wrong, { wait: true }), refusal);
  await assert.rejects(createKeys(wrong).rotate([], BY), refusal);
  await assert.rejects(createKeys(wrong).import(parseImportedKey(pem()), { signsNow: false }, BY), refusal);
  await assert.rejects(createKeys(wrong).reencrypt(BY), refusal);
  const after = await ground.rows();
  assert.deepEqual([after.signing, after.secrets], [before.signing, before.secrets]);
});

test("a sealed key that was copied into another row does not open", async () => {
  const ground = await keyGround();
  await ground.turn();
  await ground.db.query(
    "update signing_keys set sealed_private_jwk = (select sealed_private_jwk from signing_keys where algorithm = 'EdDSA') where algorithm = 'ES256'",
  );
  await assert.rejects(checkSealedKeys(ground.parts), /ES256.*altered or belongs to another row/);
});

test("SECRET_KEY is replaced: everything is sealed anew once, and then the old one opens nothing", async () => {
  const [old, fresh] = [randomKey(), randomKey()];
  const ground = await keyGround({ secretKeys: [old] });
  await ground.turn();
  const both = ground.partsWith([fresh, old]);
  assert.deepEqual(await checkSealedKeys(both), { count: 3, isCurrent: false });
  assert.deepEqual(await createKeys(both).reencrypt(BY), { "signing keys": 3, "random keys": 6 });
  assert.deepEqual(await createKeys(both).reencrypt(BY), { "signing keys": 0, "random keys": 0 });
  assert.deepEqual(await checkSealedKeys({ db: ground.db, vault: createVault([fresh]) }), {
    count: 3,
    isCurrent: true,
  });
  await assert.rejects(checkSealedKeys({ db: ground.db, vault: createVault([old]) }), VaultError);
  assert.equal((await ground.events()).filter((name) => name === "key.reencrypted").length, 1);
});

test("what other rooms seal is sealed anew by the same command", async () => {
  const [old, fresh] = [randomKey(), randomKey()];
  const ground = await keyGround({ secretKeys: [old] });
  await ground.turn();
  let kept = createVault([old]).seal("a secret of another room", "room:1");
  const place = {
    name: "room",
    read: async () => [{ id: "1", sealed: kept, context: "room:1" }],
    write: async (_tx: unknown, _id: string, sealed: string) => {
      kept = sealed;
    },
  };
  const counts = await createKeys({ ...ground.partsWith([fresh, old]), sealedPlaces: [place] }).reencrypt(BY);
  assert.equal(counts["room"], 1);
  assert.equal(createVault([fresh]).open(kept, "room:1"), "a secret of another room");
});

test("rotating by hand announces a successor once, however many do it at once", async () => {
  const ground = await keyGround();
  await ground.turn();
  const all = await Promise.all(Array.from({ length: 3 }, () => ground.keys.rotate(["ES256"], BY)));
  assert.deepEqual(states(await ground.rows()), ["announced", "active"]);
  assert.equal(all.flat().filter(({ isNew }) => isNew).length, 1);
  assert.equal(new Set(all.flat().map(({ kid }) => kid)).size, 1);
  const { at, signing } = await ground.rows();
  const announced = signing.find(({ state }) => state === "announced");
  assert.ok(
    announced?.activatesAt !== undefined && announced.activatesAt > secondsAfter(at, KEY_TIMES.announceSeconds - 60),
  );
  assert.deepEqual(states(await ground.rows(), "RS256"), ["active"]);
});

test("revoked: out at once, its private part destroyed, the announced key signs, and the consequences are told", async () => {
  const ground = await keyGround();
  await ground.turn();
  await ground.grow(3600);
  const [first] = (await ground.rows()).signing.filter(({ algorithm }) => algorithm === "ES256");
  assert.ok(first !== undefined);
  const told = await ground.keys.revoke(first.kid, BY);
  assert.equal(told.was, "active");
  assert.ok(told.refusedUntil !== undefined, "nobody knew the successor");
  const { at, signing } = await ground.rows();
  const gone = signing.find(({ kid }) => kid === first.kid);
  assert.deepEqual([gone?.state, gone?.sealedPrivateJwk], ["revoked", undefined]);
  const active = signing.find(({ state, algorithm }) => state === "active" && algorithm === "ES256");
  assert.equal(active?.kid, told.successor);
  const believed = (told.believedUntil.getTime() - at.getTime()) / 1000;
  assert.ok(Math.abs(believed - 630) < 10, `${believed} s: two times the cache and the staleness`);
  assert.deepEqual(told.signedFrom, first.activatedAt);
  await assert.rejects(ground.keys.revoke(first.kid, BY), { code: "key_unknown" });
  await assert.rejects(ground.keys.revoke("nobody", BY), { code: "key_unknown" });
  await ground.keys.rotate(["ES256"], BY);
  await ground.grow(3600);
  const announced = (await ground.rows()).signing.find(({ state }) => state === "announced");
  const second = await ground.keys.revoke(told.successor ?? "", BY);
  assert.equal(second.successor, announced?.kid, "who is announced takes over");
  assert.equal(second.refusedUntil, undefined, "it was published for an hour");
  assert.deepEqual(states(await ground.rows()), ["active", "revoked", "revoked"]);
  assert.ok((await ground.events()).filter((name) => name === "key.revoked").length === 2);
});

test("imported: the next of its algorithm, or the one that signs; twice, or after it was revoked, it is refused", async () => {
  const ground = await keyGround();
  await ground.turn();
  const text = pem();
  const row = await ground.keys.import(parseImportedKey(text), { signsNow: false }, BY);
  assert.deepEqual([row.state, row.origin], ["announced", "imported"]);
  await assert.rejects(ground.keys.import(parseImportedKey(text), { signsNow: false }, BY), { code: "key_taken" });
  const jwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  const named = parseImportedKey(JSON.stringify({ ...jwk, kid: row.kid }));
  await assert.rejects(ground.keys.import(named, { signsNow: false }, BY), { code: "key_taken" });
  const moved = await ground.keys.import(parseImportedKey(pem()), { signsNow: true }, BY);
  assert.deepEqual(states(await ground.rows()), ["active", "retired"]);
  await ground.keys.revoke(moved.kid, BY);
  await ground.keys.revoke((await ground.rows()).signing.find(({ state }) => state === "retired")?.kid ?? "", BY);
  assert.deepEqual(states(await ground.rows()), ["active", "revoked", "revoked"]);
});

test("when tokens may live longer, the keys that sign them stay published longer; when they may live shorter, none leaves early", async () => {
  const ground = await keyGround({ times: { tokenSecondsMax: 600 } });
  await ground.turn();
  const withMax = (tokenSecondsMax: number) => ({ ...ground.parts, times: { ...ground.parts.times, tokenSecondsMax } });
  await turnKeys(withMax(3600), { wait: true });
  assert.deepEqual([...new Set((await ground.rows()).signing.map((row) => row.tokenSeconds))], [3600]);
  await turnKeys(withMax(300), { wait: true });
  assert.deepEqual([...new Set((await ground.rows()).signing.map((row) => row.tokenSeconds))], [3600]);
});
