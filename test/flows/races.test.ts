/** Races over HTTP: two processes of one installation, requests let go at one moment, on both engines; and the same rounds against a naive store, which must lose them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { engines } from "../support.ts";
import { RACES, runRounds } from "./race-kinds.ts";
import { type Ground, openGround } from "./racer.ts";

const ROUNDS = 25;
const PARALLEL = 4;
/** A naive store loses nearly every round; a machine that is very busy may serialise some. */
const NAIVE_ROUNDS = 5;
const NAIVE_ROUNDS_MAX = 200;

/** Opened by the first test that needs it, so that the processes of all grounds do not start at once. */
function lazily(open: () => Promise<Ground>): () => Promise<Ground> {
  let ground: Promise<Ground> | undefined;
  return () => {
    ground ??= open();
    return ground;
  };
}

for (const { engine, skip } of await engines()) {
  const opened = lazily(() => openGround(engine));
  for (const race of RACES) {
    test(`${race.name}: ${ROUNDS} rounds of ${PARALLEL} over two processes (${race.demand}, ${engine})`, {
      skip,
    }, async () => {
      const tally = await runRounds(race, await opened(), { rounds: ROUNDS, parallel: PARALLEL });
      assert.deepEqual(tally.problems, []);
      assert.equal(tally.doubleSpends + tally.falseLogouts, 0);
      if (race.name === "refresh inside the window") assert.equal(tally.successorsMax, 1);
    });
  }
}

const naive = lazily(() => openGround("postgres", "naive"));
// Under the naive store the pages themselves break before two consents can meet, so that race shows nothing there.
const CAUGHT = RACES.filter(({ catchesNaive, name }) => catchesNaive && name !== "consents in parallel");
for (const race of CAUGHT) {
  test(`a naive store is found out: ${race.name}`, async () => {
    const ground = await naive();
    let [faults, rounds] = [0, 0];
    while (faults === 0 && rounds < NAIVE_ROUNDS_MAX) {
      const tally = await runRounds(race, ground, { rounds: NAIVE_ROUNDS, parallel: PARALLEL });
      faults += tally.doubleSpends + tally.falseLogouts;
      rounds += NAIVE_ROUNDS;
    }
    assert.ok(faults > 0, `${rounds} rounds against a store that looks first and writes then, and nothing was noticed`);
  });
}
