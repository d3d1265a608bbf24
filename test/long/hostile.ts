/** The hostile table ten times over one server: the event loop is never held up, and the memory is flat. */
import assert from "node:assert/strict";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { prepareGround } from "../flows/hostile-ground.ts";
import { GROUPS, runGroup } from "../flows/hostile-table.ts";
import { beginJourney } from "../flows/journey.ts";
import { engines } from "../support.ts";

const PASSES = 10;
/** The first passes fill caches and compile code. */
const WARM_PASSES = 3;
const LAG_MS_MAX = 50;
/** The log of the run is kept by the test itself, and each pass registers five clients. */
const GROWTH_MIB_MAX = 16;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

for (const { engine, skip } of await engines()) {
  test(`the hostile table ${PASSES} times (T-DOS-7, ${engine})`, { skip }, async () => {
    const journey = await beginJourney(engine);
    const lag = monitorEventLoopDelay({ resolution: 5 });
    const heaps: number[] = [];
    let rows = 0;
    for (let pass = 0; pass < PASSES; pass += 1) {
      const ground = await prepareGround(journey);
      lag.enable();
      for (const group of GROUPS) {
        const { count, faults } = await runGroup(group, ground);
        rows += count;
        assert.deepEqual(faults, [], `pass ${pass + 1}, ${group.name}`);
      }
      lag.disable();
      journey.lines.length = 0;
      collect();
      heaps.push(process.memoryUsage().heapUsed / 1024 ** 2);
    }
    const p99 = lag.percentile(99) / 1e6;
    const growth = (heaps.at(-1) ?? 0) - (heaps[WARM_PASSES - 1] ?? 0);
    console.log(
      `hostile (${engine}): ${rows} rows, event loop p99 ${p99.toFixed(1)} ms, max ${(lag.max / 1e6).toFixed(0)} ms, heap ${heaps.map((mib) => mib.toFixed(1)).join(" ")} MiB`,
    );
    assert.ok(p99 <= LAG_MS_MAX, `p99 ${p99} ms`);
    assert.ok(growth <= GROWTH_MIB_MAX, `the heap grew by ${growth} MiB`);
  });
}
