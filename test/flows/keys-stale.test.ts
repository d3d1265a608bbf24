/** An instance that cannot confirm its keys: a lost notification costs a look, and a long silence stops it from signing, not from publishing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../support.ts";
import { beginJourney } from "./journey.ts";

/** The instance looks by itself three times a second. */
const journey = beginJourney("postgres", { KEY_STALENESS: "2s" });

test("a notification that was lost costs at most the time between two looks", async () => {
  const { client, service } = await journey;
  await service.keys.rotate([], { kind: "command" });
  await eventually(
    async () => (JSON.parse((await client().get("/jwks")).text) as { keys: unknown[] }).keys.length === 6,
  );
  // Nobody is told of this.
  await service.db.query("delete from signing_keys where state = 'announced' and algorithm = 'EdDSA'");
  const began = performance.now();
  await eventually(
    async () => (JSON.parse((await client().get("/jwks")).text) as { keys: unknown[] }).keys.length === 5,
  );
  console.log(
    `# seen after ${Math.round(performance.now() - began)} ms; it looks every ${service.keyring.pollSeconds.toFixed(2)} s`,
  );
});

test("without its keys confirmed an instance signs nothing, says 503, is unready, and lets nobody keep its JWKS; it heals by itself", async () => {
  const { client, service, machine } = await journey;
  const credentials = Buffer.from(`${machine.id}:${machine.secret ?? ""}`).toString("base64");
  const token = () =>
    client().post("/token", { grant_type: "client_credentials" }, { authorization: `Basic ${credentials}` });
  assert.equal((await token()).status, 200);
  await service.db.query("alter table signing_keys rename to signing_keys_away");
  try {
    await eventually(async () => (await token()).status === 503, 10_000);
    const refused = await token();
    assert.equal(refused.json()["error"], "temporarily_unavailable");
    assert.ok(Number(refused.headers["retry-after"]) >= 1);
    const documents = await Promise.all(
      ["/jwks", "/.well-known/openid-configuration"].map((path) => client().get(path)),
    );
    for (const { status, headers } of documents)
      assert.deepEqual([status, headers["cache-control"]], [200, "no-cache"]);
    assert.equal((await client().get("/jwks?a=1")).status, 200, "the long way, too");
    assert.equal((await client().get("/health/live")).status, 200);
    await eventually(async () => (await client().get("/health/ready")).status === 503);
    const metrics = await service.metrics.registry.metrics();
    assert.ok(Number(/signet_key_rotation_failures_total (\d+)/.exec(metrics)?.[1]) > 0);
  } finally {
    await service.db.query("alter table signing_keys_away rename to signing_keys");
  }
  await eventually(async () => (await token()).status === 200);
  await eventually(async () => (await client().get("/health/ready")).status === 200);
  assert.match((await client().get("/jwks")).headers["cache-control"] ?? "", /max-age=300/);
  const failures = await service.db.query("select data from audit_events where name = 'key.rotation_failed'");
  assert.equal(failures.length, 1, "one outage is one event");
});
