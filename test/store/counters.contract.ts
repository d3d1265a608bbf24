/** What every engine of the counters keeps; one test file per engine calls it. */
import assert from "node:assert/strict";
import { type TestOptions, test } from "node:test";
import type { Counters } from "../../src/store/counters.ts";

/** `open` gives two connections to one store, as two processes have. */
export function countersContract(
  name: string,
  options: TestOptions,
  open: () => Promise<readonly [Counters, Counters]>,
): void {
  const it = (what: string, run: (a: Counters, b: Counters) => Promise<void>): void => {
    test(`counters (${name}): ${what}`, options, async () => run(...(await open())));
  };
  const first = (next: string) => ({ current: undefined, next });

  it("what is written by one is read by the other", async (a, b) => {
    assert.equal(await b.read("written"), undefined);
    assert.equal(await a.swap("written", first('{"x":"ü"}'), 60), true);
    assert.equal(await b.read("written"), '{"x":"ü"}');
    assert.equal(await b.read("other"), undefined);
  });

  it("a value is replaced only by who knows it", async (a, b) => {
    assert.equal(await a.swap("known", first("1"), 60), true);
    assert.equal(await b.swap("known", first("2"), 60), false);
    assert.equal(await b.swap("known", { current: "0", next: "2" }, 60), false);
    assert.equal(await a.read("known"), "1");
    assert.equal(await b.swap("known", { current: "1", next: "2" }, 60), true);
    assert.equal(await a.read("known"), "2");
    assert.equal(await b.swap("absent", { current: "1", next: "2" }, 60), false);
    assert.equal(await a.read("absent"), undefined);
  });

  it("of many who change one value at once exactly one wins each round", async (a, b) => {
    for (let round = 0; round < 25; round += 1) {
      const current = round === 0 ? undefined : String(round);
      const tries = Array.from({ length: 8 }, (_, index) =>
        (index % 2 === 0 ? a : b).swap("raced", { current, next: String(round + 1) }, 60),
      );
      const won = (await Promise.all(tries)).filter((isWon) => isWon);
      assert.equal(won.length, 1, `round ${round}`);
    }
  });

  it("an expired value is as if it had never been", async (a, b) => {
    assert.equal(await a.swap("short", first("1"), 1), true);
    assert.equal(await b.read("short"), "1");
    const giveUpAt = performance.now() + 10_000;
    while ((await b.read("short")) !== undefined && performance.now() < giveUpAt) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal(await b.read("short"), undefined);
    assert.equal(await b.swap("short", { current: "1", next: "2" }, 60), false);
    assert.equal(await b.swap("short", first("3"), 60), true);
    assert.equal(await a.read("short"), "3");
  });

  it("a change begins a new life", async (a, b) => {
    await a.swap("renewed", first("1"), 1);
    assert.equal(await b.swap("renewed", { current: "1", next: "2" }, 60), true);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    assert.equal(await a.read("renewed"), "2");
  });

  it("a sweep leaves what is alive, and the store says that it answers", async (a) => {
    await a.swap("alive", first("1"), 60);
    await a.sweep(100);
    assert.equal(await a.read("alive"), "1");
    await a.check();
  });
}
