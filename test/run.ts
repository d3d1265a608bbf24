/** The runner behind `npm test` and `npm run test:long`: checks, services, test files, and a closing account that hides nothing. */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative, sep } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { compile } from "./compile.ts";
import { CHECKOUT, type Missing, openLadder, SERVICES_VARIABLE, type Services } from "./ladder.ts";

/** A file that hangs fails after this time and is named. The launcher's rows take 240 s beside a busy machine (measured), so the bound lies far above. */
const FILE_MS = 600_000;
const LONG_FILE_MS = 2_400_000;
/** Whoever wants the run to be shorter begins with these. */
const SLOWEST_SHOWN = 12;

interface Outcome {
  readonly name: string;
  readonly file: string;
  readonly reason: string;
}
interface Totals {
  readonly failed: readonly Outcome[];
  readonly skipped: readonly Outcome[];
  /** node:test's own closing lines: tests 12, pass 11, ... */
  readonly lines: readonly string[];
  readonly tests: number;
  /** The files that took longest, the slowest first. */
  readonly slowest: readonly { readonly file: string; readonly seconds: number }[];
}
interface Check {
  readonly name: string;
  readonly isPassed: boolean;
  readonly seconds: number;
}

process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  const began = performance.now();
  const isLong = args.includes("--long");
  const filters = args.filter((arg) => !arg.startsWith("--"));
  const files = findFiles(isLong, filters);
  const isStrict = process.env["CI"] === "true";
  if (files.length === 0) {
    const where = [isLong ? "in test/long" : "in test", ...filters.map((filter) => `with "${filter}" in its path`)];
    console.log(`# tests 0\n# pass 0\n# fail 0\n✖ no test ran: there is no file ${where.join(" ")}`);
    return 1;
  }
  const [checks, ladder] = await Promise.all([isLong ? [] : runChecks(), openLadder()]);
  const tree = compile(CHECKOUT);
  const interrupted = new AbortController();
  // Once only: a second signal ends the runner at once, and the watchdogs clean up behind it.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => interrupted.abort());
  try {
    console.log(table(ladder.service, []));
    const totals = await runFiles({
      files,
      tree: tree.folder,
      services: ladder.service,
      isLong,
      signal: interrupted.signal,
    });
    const problems = judge({ checks, totals, services: ladder.service, isStrict });
    if (interrupted.signal.aborted) problems.push("interrupted");
    report({ checks, totals, services: ladder.service, problems, seconds: (performance.now() - began) / 1000 });
    return problems.length === 0 ? 0 : 1;
  } finally {
    await ladder.close();
    tree.remove();
  }
}

/** Node 20's runner expands no globs: the files are found here. A filter is a part of the path. */
function findFiles(isLong: boolean, filters: readonly string[]): readonly string[] {
  const root = join(CHECKOUT, "test");
  const long = join(root, "long") + sep;
  const names = readdirSync(root, { recursive: true, encoding: "utf8" }).map((name) => join(root, name));
  const wanted = names.filter((name) =>
    isLong ? name.startsWith(long) && name.endsWith(".ts") : name.endsWith(".test.ts") && !name.startsWith(long),
  );
  const matches = (name: string): boolean =>
    filters.length === 0 || filters.some((filter) => relative(CHECKOUT, name).includes(filter));
  return wanted.filter(matches).sort();
}

async function runChecks(): Promise<readonly Check[]> {
  const bin = (name: string): string => join(CHECKOUT, "node_modules", ".bin", name);
  return Promise.all([runCheck("types", bin("tsc"), ["--noEmit"]), runCheck("lint", bin("biome"), ["check", "."])]);
}

function runCheck(name: string, command: string, args: readonly string[]): Promise<Check> {
  const began = performance.now();
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: CHECKOUT, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    const add = (chunk: Buffer): void => {
      text += chunk.toString();
    };
    child.stdout.on("data", add);
    child.stderr.on("data", add);
    const end = (isPassed: boolean): void => {
      const seconds = (performance.now() - began) / 1000;
      console.log(`${isPassed ? "✔" : "✖"} ${name} (${seconds.toFixed(1)} s)`);
      if (!isPassed) console.log(text);
      resolve({ name, isPassed, seconds });
    };
    child.on("error", (error) => {
      text += error.message;
      end(false);
    });
    child.on("close", (code) => end(code === 0));
  });
}

/** Each file is a process of its own, compiled beforehand; in the long run one at a time, since figures are measured there. */
async function runFiles(options: {
  files: readonly string[];
  tree: string;
  services: Services;
  isLong: boolean;
  signal: AbortSignal;
}): Promise<Totals> {
  const failed: Outcome[] = [];
  const skipped: Outcome[] = [];
  const lines: string[] = [];
  process.env[SERVICES_VARIABLE] = JSON.stringify(options.services);
  // The runner hands its own flags on, and the loader that this process needs would cost each file two seconds of CPU.
  process.execArgv.length = 0;
  const { tree } = options;
  const compiled = (file: string): string => join(tree, relative(CHECKOUT, file)).replace(/\.ts$/, ".js");
  const source = (file: string): string => relative(tree, file).replace(/\.js$/, ".ts");
  const stream = run({
    files: options.files.map(compiled),
    concurrency: options.isLong ? 1 : Math.max(2, availableParallelism()),
    timeout: options.isLong ? LONG_FILE_MS : FILE_MS,
    signal: options.signal,
  });
  const outcome = (event: { name: string; file?: string }, reason: string): Outcome => ({
    name: event.name,
    file: event.file === undefined ? "" : source(event.file),
    reason,
  });
  const times = new Map<string, { began: number; ended: number }>();
  stream.on("test:dequeue", ({ name }) => {
    if (name.startsWith(tree)) times.set(name, { began: performance.now(), ended: performance.now() });
  });
  const touch = (file: string | undefined): void => {
    const time = times.get(file ?? "");
    if (time !== undefined) time.ended = performance.now();
  };
  stream.on("test:pass", (event) => {
    touch(event.file);
    const why = event.skip ?? event.todo;
    if (why !== undefined && why !== false) skipped.push(outcome(event, why === true ? "no reason given" : why));
  });
  stream.on("test:fail", (event) => {
    touch(event.file);
    // A test marked todo may fail; it is no pass either, and is named with the skipped ones.
    if (event.todo !== undefined && event.todo !== false) skipped.push(outcome(event, `todo: ${event.todo}`));
    else failed.push(outcome(event, event.details.error.message));
  });
  stream.on("test:diagnostic", (event) => {
    if (event.nesting === 0 && /^[a-z_]+ \d+(\.\d+)?$/.test(event.message)) lines.push(event.message);
  });
  const printed = stream.compose(new spec());
  for await (const chunk of printed) process.stdout.write(chunk as string);
  const tests = Number(lines.find((line) => line.startsWith("tests "))?.slice(6) ?? 0);
  const slowest = [...times]
    .map(([file, { began, ended }]) => ({ file: source(file), seconds: (ended - began) / 1000 }))
    .sort((one, other) => other.seconds - one.seconds)
    .slice(0, SLOWEST_SHOWN);
  return { failed, skipped, lines, tests, slowest };
}

/** Why the run is not a success, one sentence each; empty means that it is one. */
function judge(options: { checks: readonly Check[]; totals: Totals; services: Services; isStrict: boolean }): string[] {
  const { checks, totals, services, isStrict } = options;
  const problems = checks.filter(({ isPassed }) => !isPassed).map(({ name }) => `${name}: failed`);
  const failures = Number(totals.lines.find((line) => line.startsWith("fail "))?.slice(5) ?? 0);
  const cancelled = Number(totals.lines.find((line) => line.startsWith("cancelled "))?.slice(10) ?? 0);
  if (failures + cancelled > 0 || totals.failed.length > 0) {
    problems.push(`${Math.max(failures + cancelled, totals.failed.length)} tests failed`);
  }
  if (totals.tests === 0) problems.push("no test ran");
  if (isStrict && totals.skipped.length > 0) problems.push(`CI=true and ${totals.skipped.length} tests were skipped`);
  const needsRedis = isStrict || process.env["REQUIRE_REDIS"] === "1";
  if (needsRedis && "missing" in services.redis) problems.push(`Redis is required: ${services.redis.missing}`);
  if (isStrict && "missing" in services.chromium) problems.push(`Chromium is required: ${services.chromium.missing}`);
  return problems;
}

function report(options: {
  checks: readonly Check[];
  totals: Totals;
  services: Services;
  problems: readonly string[];
  seconds: number;
}): void {
  const { totals } = options;
  console.log(`\n${table(options.services, totals.skipped)}`);
  for (const { name, isPassed, seconds } of options.checks) {
    console.log(`${name}: ${isPassed ? "passed" : "FAILED"} (${seconds.toFixed(1)} s)`);
  }
  if (totals.skipped.length > 0) console.log(`\nskipped (${totals.skipped.length}):`);
  for (const { name, file, reason } of totals.skipped) console.log(`  - ${file}: ${name} [${reason}]`);
  if (totals.failed.length > 0) console.log(`\nfailed (${totals.failed.length}):`);
  for (const { name, file, reason } of totals.failed) console.log(`  ✖ ${file}: ${name} [${reason.split("\n")[0]}]`);
  console.log(`\nslowest files (${totals.slowest.length}):`);
  for (const { file, seconds } of totals.slowest) console.log(`  ${seconds.toFixed(1).padStart(6)} s  ${file}`);
  console.log("");
  for (const line of totals.lines) console.log(`# ${line}`);
  if (totals.lines.length === 0) console.log("# tests 0\n# pass 0\n# fail 0");
  console.log(`# total_seconds ${options.seconds.toFixed(1)}`);
  for (const problem of options.problems) console.log(`✖ ${problem}`);
  if (options.problems.length === 0) console.log("✔ all passed");
}

/** service, found, version, and what its absence cost. */
function table(services: Services, skipped: readonly Outcome[]): string {
  const count = (word: string): number => skipped.filter(({ reason }) => reason.startsWith(word)).length;
  const row = (name: string, found: { found: string; version: string } | Missing, lost: number): readonly string[] =>
    "missing" in found
      ? [name, `MISSING: ${found.missing}`, "-", String(lost)]
      : [name, found.found, found.version, String(lost)];
  const [redis, chromium] = [count("no Redis"), count("no Chromium")];
  const rows = [
    ["service", "found", "version", "tests skipped"],
    row("Node", { found: process.execPath, version: process.versions.node }, 0),
    row("Postgres", services.postgres, 0),
    row("Redis", services.redis, redis),
    row("Chromium", services.chromium, chromium),
    ["other", "-", "-", String(skipped.length - redis - chromium)],
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((cells) => (cells[column] ?? "").length)));
  return rows.map((cells) => cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")).join("\n");
}
