/**
 * `npm run bench [-- --quick] [--json] [--write] [--only <text>] [--cpu-prof <folder>]`: what an operation costs the server, as a ratio
 * to controls of the same run. Loopback only, brings its own stores, ends by itself. README.md says how to read it.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { CHECKOUT, onPath } from "../test/ladder.ts";
import { countStores } from "./count.ts";
import { loadAverage, peakMemory, processorName } from "./cpu.ts";
import { goalsOf } from "./goals.ts";
import { Connection } from "./load.ts";
import { type Entry, measureTogether, type Row, type Timing } from "./measure.ts";
import { type Compared, markdown, type Report } from "./report.ts";
import { recordSizes } from "./roundtrips.ts";
import { multiplySessions, openStores, type Stores } from "./stores.ts";
import {
  type Furnished,
  furnish,
  type Pinning,
  type SignetPlace,
  scratch,
  startHash,
  startProvider,
  startSignet,
  startStatic,
  type Target,
} from "./target.ts";
import {
  clientCredentials,
  DISCOVERY_PATH,
  document,
  fullLogin,
  hashAlone,
  introspection,
  jwtIntrospection,
  JWKS_PATH,
  login,
  refresh,
  userinfo,
  type Workload,
} from "./workloads.ts";

const FULL: Timing = { warmUpMs: 3000, sliceMs: 2500, slices: 3 };
const QUICK: Timing = { warmUpMs: 2000, sliceMs: 1000, slices: 2 };
/** Refresh is decided by the median of so many runs, since the goal is nearer than the noise of one. */
const REFRESH_RUNS = 5;
const SESSIONS = 10_000;
const PEOPLE = 8;
/** Set for the run that was started again on its own core. */
const PINNED = "SIGNET_BENCH_PINNED";
const discovery = document("discovery", DISCOVERY_PATH);
const jwks = document("JWKS", JWKS_PATH);

interface Options {
  readonly isQuick: boolean;
  readonly isJson: boolean;
  readonly isWritten: boolean;
  readonly only: string | undefined;
  readonly profileFolder: string | undefined;
}

process.exitCode = await main(process.argv.slice(2));

async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      write: { type: "boolean", default: false },
      only: { type: "string" },
      "cpu-prof": { type: "string" },
    },
  });
  if (process.platform !== "linux") throw new Error("CPU time is read from /proc: the benchmark runs on Linux");
  const canPin = onPath(["taskset"]) !== undefined && availableParallelism() > 1;
  if (canPin && process.env[PINNED] === undefined) return again(argv);
  const options: Options = {
    isQuick: values.quick,
    isJson: values.json,
    isWritten: values.write,
    only: values.only,
    profileFolder: values["cpu-prof"],
  };
  execFileSync("npm", ["run", "-s", "build"], { cwd: CHECKOUT, stdio: ["ignore", process.stderr, process.stderr] });
  const report = await bench(options, { server: process.env[PINNED] === undefined ? undefined : 1 });
  const text = markdown(report);
  console.log(options.isJson ? JSON.stringify(report, undefined, 2) : text);
  if (options.isWritten) writeFileSync(join(CHECKOUT, "bench", "results.md"), text);
  const failed = [...report.controls, ...report.compared.map(({ row }) => row)].filter((row) => row.errors > 0);
  const missed = report.goals.filter(({ isMet }) => isMet === false);
  for (const { target, workload, firstError } of failed) console.error(`failed: ${workload}, ${target}: ${firstError}`);
  for (const { name, bound, measured } of missed) console.error(`missed: ${name}: ${measured}, the goal is ${bound}`);
  return failed.length + missed.length === 0 ? 0 : 1;
}

/** The generator and the stores on one core, so that the servers have the other to themselves. */
function again(argv: readonly string[]): number {
  const command = ["-c", "0", process.execPath, "--import", "tsx", join("bench", "run.ts"), ...argv];
  const { status } = spawnSync("taskset", command, {
    cwd: CHECKOUT,
    stdio: "inherit",
    env: { ...process.env, [PINNED]: "1" },
  });
  return status ?? 1;
}

interface Field {
  readonly redis: Target;
  readonly postgres: Target;
  readonly opaque: Target;
  readonly jwt: Target;
  readonly hash: Target;
  readonly fixed: Target;
}

async function bench(options: Options, pinning: Pinning): Promise<Report> {
  const loadBefore = loadAverage();
  const stores = await openStores();
  const ground = scratch();
  const targets: Target[] = [];
  try {
    const places = [await placeOf("Redis", stores, ground), await placeOf("Postgres", stores, ground)] as const;
    const furnished = [await furnish(places[0], PEOPLE), await furnish(places[1], PEOPLE)] as const;
    const nodeArgs =
      options.profileFolder === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${options.profileFolder}`];
    const field = await openField({ places, furnished, pinning, nodeArgs, folder: ground.folder, targets });
    await login(field.redis, 0);
    const records = await recordSizes(stores.redis);
    const sessions = await multiplySessions(stores.redis, SESSIONS);
    const measured = await measureAll(field, options, { Redis: stores.redisPid, Postgres: stores.postgresPid });
    const memory = [field.redis, field.postgres].map(({ name, pid }) => {
      const { main: mainBytes, tree: treeBytes } = peakMemory(pid);
      return { name, mainBytes, treeBytes };
    });
    for (const target of targets.splice(0)) await target.stop();
    const { folder } = ground;
    const counted = await countStores({ stores, places, furnished, folder, workloads: counting(options) });
    return {
      machine: {
        date: new Date().toISOString().slice(0, 16).replace("T", " "),
        processor: processorName(),
        cores: cpus().length,
        node: process.version,
        redis: stores.versions.redis,
        postgres: stores.versions.postgres,
        pinned: pinning.server === undefined ? "no" : "servers on one core, generator and stores on the other",
        loadBefore,
        loadAfter: loadAverage(),
        mode: options.isQuick ? "quick" : "full",
      },
      ...measured,
      stores: counted,
      records,
      memory,
      goals: goalsOf({ ...measured, memory, sessions, stores: counted }),
      notes: ["Client credentials without an API give no token in Signet, so there is no opaque row for it."],
    };
  } finally {
    for (const target of targets) await target.stop();
    await stores.close();
    ground.remove();
  }
}

async function placeOf(
  engine: "Redis" | "Postgres",
  stores: Stores,
  ground: { readonly secretKey: string },
): Promise<SignetPlace> {
  return {
    name: `Signet, ${engine}`,
    databaseUrl: (await stores.database()).url,
    redisUrl: engine === "Redis" ? stores.redisUrl : undefined,
    secretKey: ground.secretKey,
  };
}

/** Everything that is measured, running; each is put into `targets` as soon as it has to be stopped. */
async function openField(options: {
  places: readonly [SignetPlace, SignetPlace];
  furnished: readonly [Furnished, Furnished];
  pinning: Pinning;
  nodeArgs: readonly string[];
  folder: string;
  targets: Target[];
}): Promise<Field> {
  const { places, furnished, pinning, nodeArgs, folder, targets } = options;
  const opened = async (starting: Promise<Target>): Promise<Target> => {
    const target = await starting;
    targets.push(target);
    return target;
  };
  const common = { pinning, folder, nodeArgs };
  const redis = await opened(startSignet({ place: places[0], clients: furnished[0], ...common }));
  const postgres = await opened(startSignet({ place: places[1], clients: furnished[1], ...common }));
  return {
    redis,
    postgres,
    opaque: await opened(startProvider("opaque", pinning, folder)),
    jwt: await opened(startProvider("jwt", pinning, folder)),
    hash: await opened(startHash(pinning, folder)),
    fixed: await opened(startStatic(await savedDocuments(redis, folder), pinning, folder)),
  };
}

/** The bytes that Signet answers, for the control that answers them without anything else. */
async function savedDocuments(target: Target, folder: string): Promise<readonly string[]> {
  const connection = new Connection(target.port, target.headers);
  const pairs: string[] = [];
  for (const [index, path] of [DISCOVERY_PATH, JWKS_PATH].entries()) {
    const file = join(folder, `document-${index}.json`);
    writeFileSync(file, (await connection.send({ method: "GET", path })).body);
    pairs.push(path, file);
  }
  connection.close();
  return pairs;
}

function counting(options: Options): readonly Workload[] {
  return chosen(options, [clientCredentials("jwt"), refresh, fullLogin, introspection, jwtIntrospection, userinfo, discovery, jwks]);
}

function chosen(options: Options, workloads: readonly Workload[]): readonly Workload[] {
  return workloads.filter(({ name }) => options.only === undefined || name.includes(options.only));
}

async function measureAll(
  field: Field,
  options: Options,
  storePids: Readonly<Record<string, number>>,
): Promise<{ compared: Compared[]; controls: Row[]; refreshRatios: number[] }> {
  const timing = options.isQuick ? QUICK : FULL;
  const [compared, controls, refreshRatios]: [Compared[], Row[], number[]] = [[], [], []];
  const together = async (entries: readonly (readonly [Target, Workload])[]): Promise<readonly Row[]> => {
    const full = entries.map(([target, workload]): Entry => {
      const isSignet = target === field.redis || target === field.postgres;
      return { target, workload, stores: isSignet ? storePids : {} };
    });
    const rows = await measureTogether(full, timing);
    for (const { workload, target, cpuMicros, cpuMicrosAll, errors } of rows) {
      const all = cpuMicrosAll.map((value) => value.toFixed(0)).join(" ");
      console.error(`${workload}, ${target}: ${cpuMicros.toFixed(1)} µs (${all}), ${errors} errors`);
    }
    return rows;
  };
  const against = async (workload: Workload, hold: readonly (readonly [Target, Workload])[]): Promise<void> => {
    if (chosen(options, [workload]).length === 0) return;
    const rows = await together([...hold, [field.redis, workload], [field.postgres, workload]]);
    const held = rows.slice(0, hold.length);
    controls.push(...held);
    const control = hold.map(([target]) => target.name).join(" + ");
    const controlMicros = held.reduce((sum, { cpuMicros }) => sum + cpuMicros, 0);
    compared.push(...rows.slice(hold.length).map((row) => ({ row, control, controlMicros })));
  };
  const machine = clientCredentials("jwt");
  await against(machine, [[field.jwt, machine]]);
  if (chosen(options, [machine]).length > 0) controls.push(...(await together([[field.opaque, clientCredentials("opaque")]])));
  for (let run = 0; run < (options.isQuick ? 1 : REFRESH_RUNS); run += 1) {
    await against(refresh, [[field.opaque, refresh]]);
    const last = compared.findLast(({ row }) => row.target === field.redis.name && row.workload === refresh.name);
    if (last !== undefined) refreshRatios.push(last.row.cpuMicros / last.controlMicros);
  }
  await against(fullLogin, [
    [field.hash, hashAlone],
    [field.opaque, fullLogin],
  ]);
  await against(introspection, [[field.opaque, introspection]]);
  await against(jwtIntrospection, [[field.opaque, introspection]]);
  await against(userinfo, [[field.opaque, userinfo]]);
  await against(discovery, [[field.fixed, discovery]]);
  await against(jwks, [[field.fixed, jwks]]);
  return { compared, controls, refreshRatios };
}
