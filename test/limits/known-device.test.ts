/** A known device has its own lane, attacks are noticed once, and networks are let in or kept out. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AppError } from "../../src/errors.ts";
import { createLimits } from "../../src/limits/limit.ts";
import { createNetworkGate } from "../../src/limits/network.ts";
import { createLog } from "../../src/log.ts";
import { createMemoryCounters } from "../../src/store/counters.ts";

const log = createLog({ level: "silent", pretty: false });

test("T-LOGIN-7: a thousand failures from many addresses keep nobody out who comes with a known device, and the device's own failures count", async () => {
  const limits = createLimits({ counters: createMemoryCounters(), log });
  const victim = { identifier: "maya@example.com", userId: "u1" };
  let refused = 0;
  for (let count = 0; count < 1000; count += 1) {
    const address = `198.18.${count >> 8}.${count & 255}`;
    const attempt = await limits.beginSignIn({ ...victim, address }).catch((error: unknown) => error);
    if (attempt instanceof AppError) refused += 1;
    else await (attempt as Awaited<ReturnType<typeof limits.beginSignIn>>).fail();
  }
  assert.ok(refused > 900, String(refused));
  await assert.rejects(limits.beginSignIn({ ...victim, address: "203.0.113.9" }), { code: "login_throttled" });
  const own = { ...victim, address: "203.0.113.9", device: "d1" };
  await (await limits.beginSignIn(own)).succeed();
  for (let count = 0; count < 5; count += 1) await (await limits.beginSignIn(own)).fail();
  await assert.rejects(limits.beginSignIn(own), { code: "login_throttled" });
  await (await limits.beginSignIn({ ...own, device: "d2" })).succeed();
});

test("networks: denied ones are out, and where any are allowed the others are", () => {
  const open = createNetworkGate({ deny: [], allow: [] });
  const denying = createNetworkGate({ deny: ["192.0.2.0/24", "2001:db8::/32"], allow: [] });
  const allowing = createNetworkGate({ deny: ["10.1.0.0/16"], allow: ["10.0.0.0/8", "::1"] });
  for (const address of ["192.0.2.1", "2001:db8::1", "not an address"]) assert.equal(open(address), true, address);
  for (const address of ["192.0.2.1", "::ffff:192.0.2.9", "2001:db8:1::5"])
    assert.equal(denying(address), false, address);
  for (const address of ["192.0.3.1", "2001:db9::1"]) assert.equal(denying(address), true, address);
  for (const address of ["10.2.0.1", "::1", "::ffff:10.9.9.9"]) assert.equal(allowing(address), true, address);
  for (const address of ["10.1.2.3", "192.0.2.1", "::2", "", "unknown"])
    assert.equal(allowing(address), false, address);
});

test("attacks are told once in a window: one network at many accounts, many attempts at one account, more failures than people make", async () => {
  const told: string[] = [];
  const onUnusual = async (kind: string, subject: { address: string; userId?: string | undefined }) =>
    void told.push(`${kind} ${kind === "burst" ? subject.userId : kind === "spraying" ? subject.address : ""}`);
  const begin = () => createLimits({ counters: createMemoryCounters(), log, onUnusual });
  const failAt = async (limits: ReturnType<typeof begin>, name: string, address: string): Promise<void> => {
    const attempt = await limits
      .beginSignIn({ identifier: name, userId: name, address })
      .catch((error: unknown) => assert.ok(error instanceof AppError, "refused by a limit and nothing else"));
    await attempt?.fail();
  };
  const sprayed = begin();
  for (let count = 0; count < 10; count += 1) await failAt(sprayed, "one-person", "198.18.0.2");
  for (let count = 0; count < 10; count += 1) await failAt(sprayed, `u${count}`, "198.18.0.1");
  assert.deepEqual(told, [], "ten are no attack yet, and one who mistypes is none");
  for (let count = 10; count < 20; count += 1) await failAt(sprayed, `u${count}`, "198.18.0.1");
  assert.deepEqual(told.splice(0), ["spraying 198.18.0.1"]);

  const hammered = begin();
  for (let count = 0; count < 60; count += 1) await failAt(hammered, "victim", `198.18.1.${count}`);
  assert.deepEqual(told.splice(0), ["burst victim"], "attempts that a limit refused count, too");

  const failing = begin();
  for (let count = 0; count < 40; count += 1)
    await (await failing.beginSignIn({ identifier: `g${count}`, address: `198.18.2.${count}` })).succeed();
  for (let count = 0; count < 40; count += 1) await failAt(failing, `b${count}`, `198.18.3.${count}`);
  assert.deepEqual(told, ["failure_rate "], "more than 30 % of at least 50");
});
