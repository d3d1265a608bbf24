/** The races at length, one line per kind and engine. RACES_ROUNDS, RACES_ENGINE and RACES_PARALLEL change the counts; `npm run races` sets them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RACES, runRounds } from "../flows/race-kinds.ts";
import type { Tally } from "../flows/race-tally.ts";
import { type Ground, openGround } from "../flows/racer.ts";
import { engines } from "../support.ts";

const ROUNDS = Number(process.env["RACES_ROUNDS"] ?? "500");
const PARALLEL = Number(process.env["RACES_PARALLEL"] ?? "4");
const ENGINE = process.env["RACES_ENGINE"];
/** A naive store loses nearly every round; so many without a loss mean that the races see nothing. */
const NAIVE_ROUNDS = 25;
const NAIVE_ROUNDS_MAX = 500;

function tell(kind: "progress" | "result", line: string, tally?: Tally): void {
  console.log(`races: ${line}`);
  // `npm run races` adds these up for its closing line.
  if (tally !== undefined) process.send?.({ kind, ...tally, problems: tally.problems.length });
}

function lazily(open: () => Promise<Ground>): () => Promise<Ground> {
  let ground: Promise<Ground> | undefined;
  return () => {
    ground ??= open();
    return ground;
  };
}

const wanted = (await engines()).filter(({ engine }) => ENGINE === undefined || ENGINE === engine);
for (const { engine, skip } of wanted) {
  const opened = lazily(() => openGround(engine));
  for (const race of RACES) {
    test(`${race.name}, ${ROUNDS} rounds of ${PARALLEL} (${race.demand}, ${engine})`, { skip }, async () => {
      const begun = performance.now();
      const onProgress = (line: string): void => tell("progress", line);
      const tally = await runRounds(race, await opened(), { rounds: ROUNDS, parallel: PARALLEL, onProgress });
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      const successors = tally.successorsMax > 0 ? `, ${tally.successorsMax} distinct successor(s) a round` : "";
      tell(
        "result",
        `${race.name} (${engine}): ${ROUNDS} rounds of ${PARALLEL}, ${tally.requests} requests, ${tally.doubleSpends} double spends, ${tally.falseLogouts} false logouts${successors}, ${seconds} s`,
        tally,
      );
      assert.deepEqual(tally.problems, []);
      assert.equal(tally.doubleSpends + tally.falseLogouts, 0);
      if (race.name === "refresh inside the window") assert.equal(tally.successorsMax, 1);
    });
  }
}

for (const { engine, skip } of wanted) {
  const naive = lazily(() => openGround(engine, "naive"));
  for (const race of RACES.filter(({ catchesNaive }) => catchesNaive)) {
    test(`a naive store over ${engine} is found out: ${race.name}`, { skip }, async () => {
      let [faults, rounds] = [0, 0];
      while (faults === 0 && rounds < NAIVE_ROUNDS_MAX) {
        const tally = await runRounds(race, await naive(), { rounds: NAIVE_ROUNDS, parallel: PARALLEL });
        faults += tally.doubleSpends + tally.falseLogouts;
        rounds += NAIVE_ROUNDS;
      }
      tell("progress", `${race.name} (naive over ${engine}): ${faults} faults in ${rounds} rounds, as it must be`);
      assert.ok(faults > 0, `${rounds} rounds against a store that looks first and writes then, nothing noticed`);
    });
  }
}
