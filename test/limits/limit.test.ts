/** The throttle of sign-in on both engines, seen from two processes' sides: what is admitted, what waits, what is refused, what happens without the store. */
import assert from "node:assert/strict";
import { after, mock, test } from "node:test";
import { AppError } from "../../src/errors.ts";
import { type Attempt, createLimits, type Limits } from "../../src/limits/limit.ts";
import type { WindowRule } from "../../src/limits/rules.ts";
import { createLog } from "../../src/log.ts";
import type { Counters } from "../../src/store/counters.ts";
import { openPostgresCounters } from "../../src/store/counters-postgres.ts";
import { openRedisCounters } from "../../src/store/counters-redis.ts";
import { openDb } from "../../src/store/db.ts";
import { type Engine, engines, testDatabase, testRedis } from "../support.ts";

const TEN_A_MINUTE: WindowRule = { name: "ten_a_minute", max: 10, windowSeconds: 60 };

// The clock stands still unless a test moves it, so that no delay ends because the machine is slow; durations go on.
mock.timers.enable({ apis: ["Date"], now: Date.now() });
const log = createLog({ level: "silent", pretty: false });
const redis = await testRedis();
const { connection } = await testDatabase();
const open: Readonly<Record<Engine, () => Promise<Counters>>> = {
  async postgres() {
    const db = openDb({ connection, max: 4, log });
    after(() => db.close());
    return openPostgresCounters(db);
  },
  async redis() {
    assert.ok(redis);
    const counters = await openRedisCounters({ urls: [redis.url], prefix: redis.prefix, log });
    after(() => counters.close());
    return counters;
  },
};

let last = 0;
/** Documentation addresses, never the same twice. */
function nextAddress(): string {
  last += 1;
  return `198.51.${last >> 8}.${last & 255}`;
}
function nextUser(): { identifier: string; userId: string } {
  last += 1;
  return { identifier: `user-${last}@example.com`, userId: `id-${last}` };
}
/** The attempt, or the seconds to wait. */
async function begin(limits: Limits, subject: Parameters<Limits["beginSignIn"]>[0]): Promise<Attempt | number> {
  try {
    return await limits.beginSignIn(subject);
  } catch (error) {
    assert.ok(error instanceof AppError && error.code === "login_throttled", String(error));
    assert.equal(error.status, 429);
    assert.ok(error.retryAfterSeconds !== undefined && error.retryAfterSeconds >= 1);
    return error.retryAfterSeconds;
  }
}
async function mustBegin(limits: Limits, subject: Parameters<Limits["beginSignIn"]>[0]): Promise<Attempt> {
  const attempt = await begin(limits, subject);
  assert.ok(typeof attempt !== "number", `refused for ${String(attempt)} s`);
  return attempt;
}

for (const { engine, skip } of await engines()) {
  const [a, b] = skip === false ? [await open[engine](), await open[engine]()] : [undefined, undefined];
  /** Two processes on one store. */
  const pair = (): readonly [Limits, Limits] => {
    assert.ok(a !== undefined && b !== undefined);
    return [createLimits({ counters: a, log }), createLimits({ counters: b, log })];
  };
  const it = (what: string, run: (first: Limits, second: Limits) => Promise<void>): void => {
    test(`${what} (${engine})`, { skip }, () => run(...pair()));
  };

  it("T-LOGIN-3: the sixth failure within 15 minutes is refused with Retry-After, by every process, the right password too", async (first, second) => {
    const user = nextUser();
    for (let index = 0; index < 5; index += 1) {
      const attempt = await mustBegin(index % 2 === 0 ? first : second, { ...user, address: nextAddress() });
      await attempt.fail();
    }
    assert.equal(await begin(first, { ...user, address: nextAddress() }), 1);
    assert.equal(await begin(second, { ...user, address: nextAddress() }), 1);
    mock.timers.setTime(Date.now() + 1000);
    await (await mustBegin(second, { ...user, address: nextAddress() })).fail();
    assert.equal(await begin(first, { ...user, address: nextAddress() }), 2);
    mock.timers.setTime(Date.now() + 2000);
    await (await mustBegin(first, { ...user, address: nextAddress() })).succeed();
    for (let index = 0; index < 5; index += 1) {
      await (await mustBegin(second, { ...user, address: nextAddress() })).fail();
    }
    assert.equal(await begin(first, { ...user, address: nextAddress() }), 1);
  });

  it("T-LOGIN-4: of 100 parallel wrong passwords no more than five reach the hash", async (first, second) => {
    const user = nextUser();
    let hashed = 0;
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const attempt = await begin(index % 2 === 0 ? first : second, { ...user, address: nextAddress() });
        if (typeof attempt === "number") return "refused";
        hashed += 1;
        await new Promise((resolve) => setTimeout(resolve, 30));
        await attempt.fail();
        return "hashed";
      }),
    );
    assert.equal(hashed, 5);
    assert.equal(outcomes.filter((outcome) => outcome === "refused").length, 95);
  });

  it("T-LOGIN-9: ten parallel right sign-ins of one user from one address all succeed", async (first, second) => {
    const subject = { ...nextUser(), address: nextAddress() };
    for (let round = 0; round < 3; round += 1) {
      const signIns = Array.from({ length: 10 }, async (_, index) => {
        const attempt = await mustBegin(index % 2 === 0 ? first : second, subject);
        await new Promise((resolve) => setTimeout(resolve, 20));
        await attempt.succeed();
      });
      await Promise.all(signIns);
    }
  });

  it("T-LOGIN-9: who waits for attempts that all fail is refused", async (first, second) => {
    const user = nextUser();
    const open = await Promise.all(
      Array.from({ length: 5 }, () => mustBegin(first, { ...user, address: nextAddress() })),
    );
    const waiting = begin(second, { ...user, address: nextAddress() });
    for (const attempt of open) await attempt.fail();
    assert.equal(typeof (await waiting), "number");
  });

  it("who waits longer than three seconds for the outcome of others is refused", async (first, second) => {
    const user = nextUser();
    await Promise.all(Array.from({ length: 5 }, () => mustBegin(first, { ...user, address: nextAddress() })));
    const began = performance.now();
    assert.equal(await begin(second, { ...user, address: nextAddress() }), 1);
    assert.ok(performance.now() - began >= 2900);
  });

  it("T-LOGIN-6: every spelling of one user counts on one counter, by id", async (first) => {
    const { userId } = nextUser();
    for (let index = 0; index < 5; index += 1) {
      const attempt = await mustBegin(first, { identifier: `spelling ${index}`, userId, address: nextAddress() });
      await attempt.fail();
    }
    const sixth = await begin(first, { identifier: "another spelling", userId, address: nextAddress() });
    assert.equal(typeof sixth, "number");
  });

  it("T-LOGIN-11: an unknown identifier is counted and refused like a known user", async (first) => {
    const { identifier } = nextUser();
    for (let index = 0; index < 5; index += 1) {
      await (await mustBegin(first, { identifier, address: nextAddress() })).fail();
    }
    assert.equal(typeof (await begin(first, { identifier, address: nextAddress() })), "number");
    await mustBegin(first, { identifier: `${identifier}x`, address: nextAddress() });
  });

  it("T-LOGIN-10, T-RL-2, T-RL-3: one address that tries many users is refused after 20 failures, however it is written", async (first, second) => {
    const spellings = ["203.0.113.9", "::ffff:203.0.113.9", "::FFFF:CB00:7109", "0:0:0:0:0:ffff:203.0.113.9"];
    const rotating = Array.from({ length: 4 }, (_, index) => `2001:db8:5:${engine === "redis" ? 1 : 2}::${index}`);
    for (const addresses of [spellings, rotating]) {
      for (let index = 0; index < 20; index += 1) {
        const address = addresses[index % addresses.length] ?? "";
        await (await mustBegin(index % 2 === 0 ? first : second, { ...nextUser(), address })).fail();
      }
      for (const address of addresses) {
        const wait = await begin(second, { ...nextUser(), address });
        assert.ok(typeof wait === "number" && wait > 60 && wait <= 600, String(wait));
      }
    }
    await mustBegin(first, { ...nextUser(), address: nextAddress() });
  });

  it("a success gives the address its place back, and an attempt that the user's limit refuses takes none", async (first) => {
    const address = nextAddress();
    for (let index = 0; index < 30; index += 1) {
      await (await mustBegin(first, { ...nextUser(), address })).succeed();
    }
    const locked = nextUser();
    for (let index = 0; index < 5; index += 1) {
      await (await mustBegin(first, { ...locked, address: nextAddress() })).fail();
    }
    for (let index = 0; index < 25; index += 1) {
      assert.equal(typeof (await begin(first, { ...locked, address })), "number");
    }
    await (await mustBegin(first, { ...nextUser(), address })).succeed();
  });

  it("an abandoned attempt is no failure, and only the first report holds", async (first) => {
    const user = nextUser();
    for (let index = 0; index < 8; index += 1) {
      const attempt = await mustBegin(first, { ...user, address: nextAddress() });
      await attempt.abandon();
      await attempt.fail();
    }
    const attempt = await mustBegin(first, { ...user, address: nextAddress() });
    await attempt.succeed();
  });

  it("a counted subject is refused beyond its number and others are not", async (first, second) => {
    const subject = `client-${engine}`;
    for (let index = 0; index < TEN_A_MINUTE.max; index += 1) {
      assert.equal(await (index % 2 === 0 ? first : second).hit(TEN_A_MINUTE, subject), undefined);
    }
    const wait = await second.hit(TEN_A_MINUTE, subject);
    assert.ok(wait !== undefined && wait >= 1 && wait <= 60);
    assert.equal(await first.hit(TEN_A_MINUTE, `${subject} elsewhere`), undefined);
  });
}

const dead: readonly (readonly [name: string, open: () => Promise<Counters>])[] = [
  ["Redis", () => openRedisCounters({ urls: ["redis://127.0.0.1:1"], prefix: "x:", log })],
  [
    "Postgres",
    async () => {
      const gone = { host: "127.0.0.1", port: 1, user: "nobody", password: "", database: "none" };
      const db = openDb({ connection: gone, max: 2, log });
      after(() => db.close());
      return openPostgresCounters(db);
    },
  ],
];
for (const [name, openDead] of dead) {
  test(`T-RL-8: without ${name} the same limits are kept in memory, never open`, async () => {
    const counters = await openDead();
    after(() => counters.close());
    const limits = createLimits({ counters, log });
    const user = nextUser();
    for (let index = 0; index < 5; index += 1) {
      await (await mustBegin(limits, { ...user, address: nextAddress() })).fail();
    }
    assert.equal(typeof (await begin(limits, { ...user, address: nextAddress() })), "number");
    const address = nextAddress();
    for (let index = 0; index < 20; index += 1) {
      await (await mustBegin(limits, { ...nextUser(), address })).fail();
    }
    assert.equal(typeof (await begin(limits, { ...nextUser(), address })), "number");
  });
}

test("T-RL-8: when the shared store is back it is used again, without a restart", async () => {
  const db = openDb({ connection, max: 2, log });
  after(() => db.close());
  const counters = openPostgresCounters(db);
  const limits = createLimits({ counters, log });
  const beside = createLimits({ counters, log });
  const user = nextUser();
  await db.query("alter table counters rename to counters_away");
  await db.query(
    "create function no_counters() returns setof counters_away language plpgsql as $$ begin raise exception 'away' using errcode = '57P03'; end $$",
  );
  await db.query("create view counters as select * from no_counters()");
  await (await mustBegin(limits, { ...user, address: nextAddress() })).fail();
  await db.query("drop view counters");
  await db.query("alter table counters_away rename to counters");
  const giveUpAt = performance.now() + 20_000;
  // Five failures are seen by the other process only if they are counted in the shared store.
  for (;;) {
    const seen = await begin(beside, { ...user, address: nextAddress() });
    if (typeof seen === "number") break;
    await seen.abandon();
    assert.ok(performance.now() < giveUpAt);
    const attempt = await begin(limits, { ...user, address: nextAddress() });
    if (typeof attempt !== "number") await attempt.fail();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
});
