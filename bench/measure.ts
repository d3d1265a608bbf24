/** One measurement: workloads against targets, slice by slice in turn, and what each came to. */
import { cpuSecondsOf } from "./cpu.ts";
import { type Marks, runLoad, type Slice, type Step } from "./load.ts";
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

/** What is measured beside one another. */
export interface Entry {
  readonly target: Target;
  readonly workload: Workload;
  /** Process ids by name. */
  readonly stores: Readonly<Record<string, number>>;
}

interface Taken {
  readonly entry: Entry;
  readonly steps: readonly Step[];
  readonly slices: Slice[];
  errors: number;
  firstError: string | undefined;
}

const SERVER = "server";
/** V8 compiles what runs often: before so many operations a slice measures the compiler (seen on a busy machine: 1,280 µs after 2,000, 800 after 6,000). */
const WARM_UP_OPERATIONS = 5000;
/** Between slices the others ran: caches fill again. */
const AGAIN_MS = 200;
const warmed = new Set<string>();

/** One slice of each in turn, so that whatever else the machine does meets all of them. */
export async function measureTogether(entries: readonly Entry[], timing: Timing): Promise<Row[]> {
  const all: Taken[] = [];
  for (const entry of entries) {
    const steps: Step[] = [];
    // One after the other: the preparation signs in, and hashing is bounded.
    for (let user = 0; user < entry.workload.users; user += 1)
      steps.push(await entry.workload.prepare(entry.target, user));
    all.push({ entry, steps, slices: [], errors: 0, firstError: undefined });
  }
  for (let slice = 0; slice < timing.slices; slice += 1)
    for (const taken of all) await takeSlice(taken, { ...timing, warmUpMs: slice === 0 ? timing.warmUpMs : AGAIN_MS });
  return all.map(rowOf);
}

async function takeSlice(taken: Taken, timing: Timing): Promise<void> {
  const { target, workload, stores } = taken.entry;
  const mark = (): Marks => ({
    [SERVER]: cpuSecondsOf(target.pid),
    ...Object.fromEntries(Object.entries(stores).map(([name, pid]) => [name, cpuSecondsOf(pid)])),
  });
  const pauseMs = workload.pauseMs === undefined ? {} : { pauseMs: workload.pauseMs };
  const name = `${target.pid} ${workload.name}`;
  const warmUpOperations = warmed.has(name) ? 0 : (workload.warmUpOperations ?? WARM_UP_OPERATIONS);
  warmed.add(name);
  const loaded = await runLoad({ ...timing, ...pauseMs, steps: taken.steps, mark, warmUpOperations, slices: 1 });
  taken.slices.push(...loaded.slices);
  taken.errors += loaded.errors;
  taken.firstError ??= loaded.firstError;
}

function rowOf({ entry: { target, workload, stores }, slices, errors, firstError }: Taken): Row {
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
