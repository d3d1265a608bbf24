/** Client secrets: how they look, how they are kept, how they are compared (T-KEY-3). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClientSecret, isClientSecret, makeClientSecret, planRotation } from "../../src/clients/secret.ts";
import { secondsAfter } from "../../src/clock.ts";
import { isWellFormedSecret, sha256 } from "../../src/secrets.ts";

const at = new Date("2030-01-01T00:00:00Z");
const kept = (expiresAt?: Date): { secret: string; row: ClientSecret } => {
  const { secret, hash, hint } = makeClientSecret();
  return { secret, row: { id: "s", hash, hint, createdAt: at, ...(expiresAt === undefined ? {} : { expiresAt }) } };
};

test("a secret has a prefix, 256 random bits and a checksum, and is kept as SHA-256 with its last four characters (T-KEY-3)", () => {
  const { secret, row } = kept();
  assert.match(secret, /^sgn_cs_[A-Za-z0-9_-]{49}$/);
  assert.equal(isWellFormedSecret("sgn_cs", secret), true);
  assert.equal(row.hash, sha256(secret));
  assert.equal(row.hint, secret.slice(-4));
  assert.equal(JSON.stringify(row).includes(secret), false);
  assert.equal(new Set(Array.from({ length: 100 }, () => makeClientSecret().secret)).size, 100);
});

test("every live secret is accepted, and nothing else", () => {
  const [first, second, ended] = [kept(), kept(secondsAfter(at, 60)), kept(at)];
  const client = { secrets: [first.row, second.row, ended.row] };
  assert.equal(isClientSecret(client, first.secret, at), true);
  assert.equal(isClientSecret(client, second.secret, at), true);
  assert.equal(isClientSecret(client, second.secret, secondsAfter(at, 60)), false, "it ends at its time");
  assert.equal(isClientSecret(client, ended.secret, at), false);
  for (const wrong of [
    "",
    first.row.hash,
    `${first.secret} `,
    first.secret.slice(0, -1),
    first.secret.toUpperCase(),
    makeClientSecret().secret,
  ]) {
    assert.equal(isClientSecret(client, wrong, at), false, wrong);
  }
  assert.equal(isClientSecret({ secrets: [] }, "", at), false);
});

test("a rotation is refused when three secrets live, unless it ends them at once", () => {
  const three = { secrets: [kept().row, kept().row, kept().row] };
  assert.throws(() => planRotation(three.secrets, { overlapSeconds: 1, now: at }), { code: "client_secrets_too_many" });
  assert.deepEqual(planRotation(three.secrets, { overlapSeconds: 0, now: at }), { until: at });
  const oneEnded = [kept().row, kept().row, kept(at).row];
  assert.deepEqual(planRotation(oneEnded, { overlapSeconds: 60, now: at }), { until: secondsAfter(at, 60) });
  for (const overlapSeconds of [-1, 0.5, Number.NaN, 30 * 86_400 + 1]) {
    assert.throws(() => planRotation([], { overlapSeconds, now: at }), { code: "client_invalid" });
  }
});
