/** One measurement: a workload against a target for some slices, and what they came to. */
import { cpuSecondsOf } from "./cpu.ts";
import { type Marks, runLoad } from "./load.ts";
import type { Target } from "./target.ts";
import type { Workload } from "./workloads.ts";

export interface Timing {
  readonly warmUpMs: number;
  readonly sliceMs: number;
  readonly slices: number;
}

export interface Row {
  readonly target: string;
  readonly workload: string;
  /** Server CPU of one operation in microseconds: of the cheapest slice, and of all. */
  readonly cpuMicros: number;
  readonly cpuMicrosAll: readonly number[];
  /** CPU of the stores for one operation, by store. */
  readonly storeMicros: Readonly<Record<string, number>>;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly operations: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  readonly generatorShare: number;
}

const SERVER = "server";

export async function measure(
  target: Target,
  workload: Workload,
  timing: Timing,
  stores: Readonly<Record<string, number>>,
): Promise<Row> {
  const users = Array.from({ length: workload.users }, (_, user) => user);
  const steps = [];
  // One after the other: the preparation signs in, and hashing is bounded.
  for (const user of users) steps.push(await workload.prepare(target, user));
  const mark = (): Marks => ({
    [SERVER]: cpuSecondsOf(target.pid),
    ...Object.fromEntries(Object.entries(stores).map(([name, pid]) => [name, cpuSecondsOf(pid)])),
  });
  const pauseMs = workload.pauseMs === undefined ? {} : { pauseMs: workload.pauseMs };
  const { slices, errors, firstError } = await runLoad({ steps, mark, ...timing, ...pauseMs });
  const micros = (name: string): number[] =>
    slices.map(({ before, after, operations }) =>
      operations === 0 ? Number.NaN : (((after[name] ?? 0) - (before[name] ?? 0)) / operations) * 1e6,
    );
  const latencies = slices.flatMap(({ latenciesMs }) => latenciesMs).sort((a, b) => a - b);
  const at = (share: number): number =>
    latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? 0;
  const cpuMicrosAll = micros(SERVER);
  const seconds = slices.reduce((sum, slice) => sum + slice.seconds, 0);
  return {
    target: target.name,
    workload: workload.name,
    cpuMicros: Math.min(...cpuMicrosAll),
    cpuMicrosAll,
    storeMicros: Object.fromEntries(Object.keys(stores).map((name) => [name, Math.min(...micros(name))])),
    perSecond: latencies.length / seconds,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    operations: latencies.length,
    errors,
    firstError,
    generatorShare: Math.max(...slices.map((slice) => slice.generatorShare)),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
