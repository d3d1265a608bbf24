/** The cache in process: one load per key, nothing older than allowed, bounded memory, and life through an outage. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { unavailable } from "../../src/errors.ts";
import { createCache } from "../../src/store/cache.ts";

/** A source whose loads are counted and may be held back or refused. */
function source() {
  const state = {
    loads: 0,
    isDown: false,
    held: undefined as Promise<void> | undefined,
    values: new Map<string, string>(),
  };
  const load = async (key: string): Promise<string | undefined> => {
    state.loads += 1;
    const value = state.values.get(key);
    await state.held;
    if (state.isDown) throw unavailable("test");
    return value;
  };
  return { state, load };
}

test("a value is loaded once, by a hundred callers at once and afterwards", async () => {
  const { state, load } = source();
  state.values.set("a", "1");
  const cache = createCache({ load });
  const values = await Promise.all(Array.from({ length: 100 }, () => cache.get("a")));
  assert.deepEqual(new Set(values), new Set(["1"]));
  assert.equal(await cache.get("a"), "1");
  assert.equal(state.loads, 1);
});

test("a dropped value is loaded again, and a load that began before the drop is not kept", async () => {
  const { state, load } = source();
  const cache = createCache({ load });
  state.values.set("a", "old");
  let release: () => void = () => undefined;
  state.held = new Promise((resolve) => {
    release = resolve;
  });
  const early = cache.get("a");
  state.values.set("a", "new");
  cache.drop("a");
  const late = cache.get("a");
  release();
  assert.deepEqual([await early, await late], ["old", "new"]);
  assert.equal(await cache.get("a"), "new");
  assert.equal(state.loads, 2);
  state.values.set("a", "newest");
  cache.clear();
  assert.equal(await cache.get("a"), "newest");
});

/** The monotonic clock in the test's hand, so that a slow machine ages nothing. */
function clock(t: TestContext) {
  let time = 1_000_000;
  t.mock.method(performance, "now", () => time);
  return (milliseconds: number): void => {
    time += milliseconds;
  };
}

test("no value older than 30 s is served, and one in use is renewed before without anybody waiting", async (t) => {
  const pass = clock(t);
  const { state, load } = source();
  const cache = createCache({ load });
  state.values.set("a", "1");
  assert.equal(await cache.get("a"), "1");
  state.values.set("a", "2");
  pass(9_000);
  assert.equal(await cache.get("a"), "1", "young");
  assert.equal(state.loads, 1);
  pass(2_000);
  assert.equal(await cache.get("a"), "1", "past a third of its age it serves once more while it is renewed");
  await setImmediate();
  assert.equal(await cache.get("a"), "2");
  state.values.set("a", "3");
  pass(30_000);
  assert.equal(await cache.get("a"), "3", "too old: the caller waits for the load");
});

test("an absence is remembered for five seconds", async (t) => {
  const pass = clock(t);
  const { state, load } = source();
  const cache = createCache({ load });
  assert.equal(await cache.get("a"), undefined);
  state.values.set("a", "1");
  pass(4_999);
  assert.equal(await cache.get("a"), undefined);
  pass(1);
  assert.equal(await cache.get("a"), "1");
});

test("while the store is away an entry serves until it is 30 s old, and new keys fail at once", async (t) => {
  const pass = clock(t);
  const { state, load } = source();
  const cache = createCache({ load });
  state.values.set("a", "1");
  await cache.get("a");
  state.isDown = true;
  await assert.rejects(cache.get("b"), { code: "store_unavailable" });
  for (let step = 0; step < 299; step += 1) {
    pass(100);
    assert.equal(await cache.get("a"), "1");
  }
  // One for a, one for b, and from the tenth second on one a second: not one for each call.
  assert.ok(state.loads >= 20 && state.loads <= 24, `${state.loads} loads`);
  pass(100);
  await assert.rejects(cache.get("a"), { code: "store_unavailable" });
  state.isDown = false;
  assert.equal(await cache.get("a"), "1", "back without a restart");
});

test("100,000 made-up keys leave what is real in the cache and memory bounded", async () => {
  const { state, load } = source();
  const cache = createCache({ load, maxEntries: 100 });
  state.values.set("real", "1");
  await cache.get("real");
  for (let index = 0; index < 100_000; index += 1) await cache.get(`made-up-${index}`);
  const before = state.loads;
  assert.equal(await cache.get("real"), "1");
  assert.equal(state.loads, before, "still cached");
  await cache.get("made-up-99999");
  assert.equal(state.loads, before, "an absence is remembered");
  await cache.get("made-up-0");
  assert.equal(state.loads, before + 1, "the oldest absence was forgotten");
});

test("an entry in use stays while more others come than there is room for", async () => {
  const { state, load } = source();
  const cache = createCache({ load, maxEntries: 10 });
  for (let index = 0; index < 40; index += 1) state.values.set(`${index}`, `${index}`);
  for (let index = 0; index < 40; index += 1) {
    await cache.get(`${index}`);
    await cache.get("0");
  }
  assert.equal(state.loads, 40, "0 was loaded once");
  await cache.get("1");
  assert.equal(state.loads, 41, "1 had to go");
});

test("a dropped entry is gone, however long ago it was used", async () => {
  const { state, load } = source();
  const cache = createCache({ load, maxEntries: 4 });
  for (const key of ["a", "b", "c"]) state.values.set(key, "old");
  for (const key of ["a", "b", "c", "a"]) await cache.get(key);
  for (const key of ["a", "b", "c"]) state.values.set(key, "new");
  for (const key of ["a", "b", "c"]) cache.drop(key);
  for (const key of ["a", "b", "c"]) assert.equal(await cache.get(key), "new", key);
});
