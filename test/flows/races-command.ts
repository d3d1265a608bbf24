/** `npm run races -- --rounds N [--engine redis|postgres] [--parallel 4..20]`: the races at any length, on servers and stores of their own; closes with one line of totals. */
import { fork } from "node:child_process";
import { parseArgs } from "node:util";
import { CHECKOUT, LOADER, programFile } from "../ladder.ts";

const ROUNDS_MAX = 1_000_000;
const OUTPUT_KEPT = 20_000;

interface Result {
  readonly kind: "progress" | "result";
  readonly requests: number;
  readonly doubleSpends: number;
  readonly falseLogouts: number;
  readonly successorsMax: number;
  readonly problems: number;
}

process.exitCode = await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: { rounds: { type: "string" }, engine: { type: "string" }, parallel: { type: "string" } },
  });
  const rounds = Number(values.rounds ?? "500");
  const parallel = Number(values.parallel ?? "4");
  const isUnderstood =
    Number.isInteger(rounds) &&
    rounds >= 1 &&
    rounds <= ROUNDS_MAX &&
    Number.isInteger(parallel) &&
    parallel >= 4 &&
    parallel <= 20 &&
    ["redis", "postgres", undefined].includes(values.engine);
  if (!isUnderstood) {
    console.error(`usage: npm run races -- --rounds 1..${ROUNDS_MAX} [--engine redis|postgres] [--parallel 4..20]`);
    return 2;
  }
  const engine: Record<string, string> = values.engine === undefined ? {} : { RACES_ENGINE: values.engine };
  const begun = performance.now();
  const { code, results, failures } = await run({
    RACES_ROUNDS: String(rounds),
    RACES_PARALLEL: String(parallel),
    ...engine,
  });
  if (code !== 0) console.error(failures);
  const sum = (of: (result: Result) => number): number => results.reduce((total, result) => total + of(result), 0);
  const seconds = Math.round((performance.now() - begun) / 1000);
  const totals = [
    `${results.length} races of ${rounds} rounds`,
    `${sum(({ requests }) => requests)} requests`,
    `${sum(({ doubleSpends }) => doubleSpends)} double spends`,
    `${sum(({ falseLogouts }) => falseLogouts)} false logouts`,
    `${Math.max(0, ...results.map(({ successorsMax }) => successorsMax))} distinct successor(s) a round`,
    `${seconds} s`,
  ];
  const isGood = code === 0 && results.length > 0;
  console.log(`races: total: ${totals.join(", ")}: ${isGood ? "passed" : "FAILED"}`);
  return isGood ? 0 : 1;
}

/** The long test file as a process of its own; its lines are passed on, its test report is kept for the case that something failed. */
function run(env: Readonly<Record<string, string>>): Promise<{ code: number; results: Result[]; failures: string }> {
  const results: Result[] = [];
  let failures = "";
  // The reporter writes to standard error, so that standard output holds the figures alone.
  const reporter = ["--test-reporter=spec", "--test-reporter-destination=stderr"];
  const child = fork(programFile("test/long/races.ts"), {
    cwd: CHECKOUT,
    execArgv: [...LOADER, ...reporter],
    env: { ...process.env, ...env },
    stdio: ["ignore", "inherit", "pipe", "ipc"],
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => child.kill(signal));
  child.stderr?.on("data", (chunk: Buffer) => {
    failures = (failures + chunk.toString()).slice(-OUTPUT_KEPT);
  });
  child.on("message", (message) => {
    const result = message as Result;
    if (result.kind === "result") results.push(result);
  });
  return new Promise((resolve) => {
    child.on("exit", (code, signal) => resolve({ code: signal === null ? (code ?? 1) : 1, results, failures }));
  });
}
