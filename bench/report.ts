/** The report: one table of costs with their ratios, one of what the stores are asked, and the goals. */
import type { Row } from "./measure.ts";

export interface Machine {
  readonly date: string;
  readonly processor: string;
  readonly cores: number;
  readonly node: string;
  readonly redis: string;
  readonly postgres: string;
  readonly pinned: string;
  readonly loadBefore: string;
  readonly loadAfter: string;
  readonly mode: string;
}

/** A row beside the control that it is held against. */
export interface Compared {
  readonly row: Row;
  /** Names of the controls, and CPU microseconds of an operation of theirs, summed. */
  readonly control: string;
  readonly controlMicros: number;
}

export interface StoreRow {
  readonly engine: string;
  readonly workload: string;
  readonly redisTrips: number | undefined;
  readonly postgresTrips: number;
  readonly commands: Readonly<Record<string, number>>;
}

export interface Goal {
  readonly name: string;
  readonly bound: string;
  readonly measured: string;
  readonly isMet: boolean | undefined;
}

export interface Report {
  readonly machine: Machine;
  readonly compared: readonly Compared[];
  readonly controls: readonly Row[];
  readonly stores: readonly StoreRow[];
  readonly records: Readonly<Record<string, { readonly count: number; readonly bytes: number }>>;
  readonly memory: readonly { readonly name: string; readonly mainBytes: number; readonly treeBytes: number }[];
  readonly goals: readonly Goal[];
  readonly notes: readonly string[];
}

const MIB = 1024 * 1024;
/** Above this the generator may have been what was measured. */
const GENERATOR_SHARE_MAX = 0.5;

export function markdown(report: Report): string {
  return [...opening(report), ...costs(report), ...storesAndMemory(report), ...goals(report)].join("\n");
}

function opening({ machine }: Report): readonly string[] {
  return [
    "# Benchmark: the latest table",
    "",
    "Made by `npm run bench -- --write`. Server CPU per operation is what is compared: the user and system time of the server's whole",
    "process tree, the hashing child included, from the operating system. The metric is the ratio to the named control of the same run, since",
    "absolute figures move with the machine. Signet runs as in production: compiled, access log to a file, limits, audit, metrics and",
    "headers on. Loopback HTTP behind a proxy's headers, without TLS; Postgres without fsync.",
    "",
    ...Object.entries(machine).map(([name, value]) => `- ${name}: ${value}`),
    "",
  ];
}

function costs(report: Report): readonly string[] {
  return [
    "## Cost of one operation",
    "",
    ...table(
      [
        "operation",
        "server",
        "CPU µs",
        "control µs",
        "ratio",
        "store CPU µs",
        "per s",
        "p50 ms",
        "p99 ms",
        "errors",
        "generator",
      ],
      report.compared.map(({ row, control, controlMicros }) => [
        row.workload,
        row.target,
        micros(row.cpuMicros),
        `${micros(controlMicros)} (${control})`,
        `**${(row.cpuMicros / controlMicros).toFixed(2)}**`,
        Object.entries(row.storeMicros)
          .map(([name, value]) => `${name} ${micros(value)}`)
          .join(", "),
        ...rates(row),
      ]),
    ),
    "",
    "## Controls",
    "",
    ...table(
      ["operation", "control", "CPU µs", "all slices", "per s", "p50 ms", "p99 ms", "errors", "generator"],
      report.controls.map((row) => [
        row.workload,
        row.target,
        micros(row.cpuMicros),
        row.cpuMicrosAll.map(micros).join(" "),
        ...rates(row),
      ]),
    ),
    "",
  ];
}

function storesAndMemory(report: Report): readonly string[] {
  return [
    "## What an operation asks of the stores",
    "",
    ...table(
      [
        "operation",
        "engine",
        "Redis round trips",
        "Postgres round trips",
        "Redis commands, those inside scripts included",
      ],
      report.stores.map(({ workload, engine, redisTrips, postgresTrips, commands }) => [
        workload,
        engine,
        redisTrips === undefined ? "-" : redisTrips.toFixed(1),
        postgresTrips.toFixed(1),
        Object.entries(commands)
          .map(([name, count]) => `${name} ${count}`)
          .join(", "),
      ]),
    ),
    "",
    "## Records in Redis and memory",
    "",
    ...table(
      ["record", "bytes (MEMORY USAGE, mean)", "counted"],
      Object.entries(report.records).map(([kind, { bytes, count }]) => [kind, String(bytes), String(count)]),
    ),
    "",
    ...table(
      ["process", "peak RSS", "with its hashing child"],
      report.memory.map(({ name, mainBytes, treeBytes }) => [
        name,
        `${Math.round(mainBytes / MIB)} MiB`,
        `${Math.round(treeBytes / MIB)} MiB`,
      ]),
    ),
    "",
  ];
}

function goals(report: Report): readonly string[] {
  return [
    "## Goals",
    "",
    ...table(
      ["goal", "bound", "measured", "met"],
      report.goals.map(({ name, bound, measured, isMet }) => [
        name,
        bound,
        measured,
        isMet === undefined ? "not measured here" : isMet ? "yes" : "**no**",
      ]),
    ),
    "",
    ...report.notes.map((note) => `- ${note}`),
    "",
  ];
}

function rates(row: Row): readonly string[] {
  const isTooBusy = row.generatorShare > GENERATOR_SHARE_MAX;
  return [
    Math.round(row.perSecond).toString(),
    row.p50Ms.toFixed(2),
    row.p99Ms.toFixed(2),
    row.errors === 0 ? "0" : `${row.errors} (${row.firstError})`,
    `${row.generatorShare.toFixed(2)}${isTooBusy ? " (too busy: does not count)" : ""}`,
  ];
}

function micros(value: number): string {
  return value >= 100 ? Math.round(value).toString() : value.toFixed(1);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), `|${head.map(() => "---|").join("")}`, ...rows.map(line)];
}
