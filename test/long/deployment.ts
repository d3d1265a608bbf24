/** The Dockerfile's steps, as they stand in it, executed in a copied tree without an engine; what they make is started as an ordinary user and asked. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { randomText } from "../../src/secrets.ts";
import { CHECKOUT, onPath } from "../ladder.ts";
import { atEnd, eventually, freePort, testDatabase } from "../support.ts";

const exec = promisify(execFile);
/** Compiling argon2 and installing twice take a minute on a machine at rest. */
const STEP_MS = 1_200_000;
const READY_MS = 120_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** What changes the system and not the tree; the programs that it installs are looked for instead. */
const SYSTEM = /^apt-get\b/;
/** Debian's nobody: an ordinary user that every machine has. */
const NOBODY = 65534;

interface Step {
  readonly word: string;
  readonly text: string;
}
interface Stage {
  readonly name: string;
  readonly steps: readonly Step[];
}
/** What a stage has come to: a folder that is its root, where it stands in it, and what is set. */
interface State {
  readonly root: string;
  workdir: string;
  user: string;
  readonly env: Record<string, string>;
  command: readonly string[];
  healthCheck: readonly string[];
}

/** Instructions one a line, continued lines joined, comments gone. */
function parseDockerfile(text: string): readonly Stage[] {
  const joined = text
    .split("\n")
    .filter((line) => !/^\s*#/.test(line))
    .join("\n")
    .replace(/\\\n\s*/g, " ");
  const stages: { name: string; steps: Step[] }[] = [];
  for (const line of joined.split("\n").filter((each) => each.trim() !== "")) {
    const [, word = "", rest = ""] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    assert.notEqual(word, "", `a line that is no instruction: ${line}`);
    if (word === "FROM") stages.push({ name: / AS (\S+)$/i.exec(rest)?.[1] ?? String(stages.length), steps: [] });
    else stages.at(-1)?.steps.push({ word, text: rest });
  }
  return stages;
}

function parseList(text: string): readonly string[] {
  const list: unknown = JSON.parse(text);
  assert.ok(Array.isArray(list) && list.every((word) => typeof word === "string"), `no list of words: ${text}`);
  return list as string[];
}

async function copy(text: string, state: State, roots: ReadonlyMap<string, string>): Promise<void> {
  const [, from, places = ""] = /^(?:--from=(\S+)\s+)?(.*)$/.exec(text) ?? [];
  const names = places.split(/\s+/);
  const target = names.pop() ?? "";
  const source = from === undefined ? CHECKOUT : roots.get(from);
  assert.ok(source !== undefined, `there is no stage ${from}`);
  const place = join(state.root, state.workdir, target);
  // A folder's contents are copied, a file goes under its name into a folder that is named with a slash or a dot.
  for (const name of names) {
    const path = join(source, name);
    const isInto = !(await stat(path)).isDirectory() && (target === "./" || target.endsWith("/"));
    await cp(path, isInto ? join(place, basename(name)) : place, { recursive: true, verbatimSymlinks: true });
  }
}

/** Whether it was executed; what needs an engine is left, and named in the figures. */
async function take(step: Step, state: State, roots: ReadonlyMap<string, string>): Promise<boolean> {
  const { word, text } = step;
  const [, name = "", value = ""] = /^([A-Z0-9_]+)=(.*)$/.exec(text) ?? [];
  if (word === "WORKDIR") {
    state.workdir = text;
    await mkdir(join(state.root, text), { recursive: true });
  } else if (word === "ARG" || word === "ENV") state.env[name] = value.replace(/^"(.*)"$/, "$1");
  else if (word === "COPY") await copy(text, state, roots);
  else if (word === "USER") state.user = text;
  else if (word === "CMD") state.command = parseList(text);
  else if (word === "HEALTHCHECK") state.healthCheck = parseList(text.replace(/^.*?CMD /, ""));
  else if (word === "RUN" && SYSTEM.test(text)) {
    for (const program of ["g++", "make", "python3"].filter((each) => text.includes(each)))
      assert.ok(onPath([program]) !== undefined, `${program} is not here: it is what the step would install`);
    return false;
  } else if (word === "RUN") {
    const env = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", ...state.env };
    const options = { cwd: join(state.root, state.workdir), env, timeout: STEP_MS, maxBuffer: OUTPUT_BYTES_MAX };
    await exec("/bin/sh", ["-c", text], options);
  } else if (word === "EXPOSE") return false;
  else assert.fail(`an instruction that this test does not know: ${word} ${text}`);
  return true;
}

async function megabytesOf(folder: string): Promise<number> {
  const { stdout } = await exec("du", ["-sk", folder]);
  return Math.round(Number.parseInt(stdout, 10) / 1024);
}

test("every step of the Dockerfile that needs no engine works, and what it makes serves as an ordinary user", async () => {
  const base = await mkdtemp(join(tmpdir(), "signet-image-"));
  atEnd(() => rm(base, { recursive: true, force: true }));
  await chmod(base, 0o755);
  const roots = new Map<string, string>();
  const left: string[] = [];
  let executed = 0;
  let state: State | undefined;
  for (const stage of parseDockerfile(await readFile(join(CHECKOUT, "Dockerfile"), "utf8"))) {
    const root = join(base, stage.name);
    await mkdir(root);
    state = { root, workdir: "/", user: "root", env: {}, command: [], healthCheck: [] };
    for (const step of stage.steps) {
      const began = performance.now();
      const isDone = await take(step, state, roots);
      const seconds = (performance.now() - began) / 1000;
      if (isDone) executed += 1;
      else left.push(`${step.word} ${step.text.slice(0, 30)}`);
      if (seconds >= 1)
        console.log(`deployment: ${stage.name}: ${step.word} ${step.text.slice(0, 70)}: ${seconds.toFixed(1)} s`);
    }
    roots.set(stage.name, root);
  }
  assert.ok(state !== undefined, "the Dockerfile has a stage");
  const tree = join(state.root, state.workdir);
  console.log(`deployment: ${executed} steps executed, ${left.length} left to an engine (${left.join("; ")})`);
  console.log(
    `deployment: the image's own files take ${await megabytesOf(tree)} MB: ${(await readdir(tree)).join(" ")}`,
  );
  await serves(state, tree);
});

/** Starts the image's command with its environment, as its user if we may, and runs both health checks beside it. */
async function serves(state: State, tree: string): Promise<void> {
  assert.notEqual(state.user, "root");
  const [port, managementPort] = [await freePort(), await freePort()];
  const env = {
    PATH: process.env["PATH"] ?? "",
    ...state.env,
    ISSUER: `http://127.0.0.1:${port}`,
    PORT: String(port),
    MANAGEMENT_PORT: String(managementPort),
    DATABASE_URL: (await testDatabase()).url,
    SECRET_KEY: randomText(),
    SHUTDOWN_DELAY: "0",
  };
  const identity = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
  const run = async (words: readonly string[]): Promise<void> => {
    const [program = "", ...args] = words;
    await exec(program, args, { cwd: tree, env, ...identity });
  };
  const [program = "", ...args] = state.command;
  const began = performance.now();
  const child = spawn(program, args, { cwd: tree, env, ...identity, stdio: ["ignore", "pipe", "pipe"] });
  atEnd(async () => void child.kill("SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.on("exit", (code) => resolve(code)));
  const ready = async (): Promise<boolean> => {
    assert.equal(child.exitCode, null, output);
    return (await fetch(`${env.ISSUER}/health/ready`).catch(() => undefined))?.status === 200;
  };
  await eventually(ready, READY_MS);
  const seconds = (performance.now() - began) / 1000;
  await run(state.healthCheck);
  const compose = await readFile(join(CHECKOUT, "docker-compose.yml"), "utf8");
  const block = /^ {2}signet:\n([\s\S]*?)^ {2}[a-z]+:\n/m.exec(compose)?.[1] ?? "";
  const [kind, ...check] = parseList(/^ {6}test: (\[.*\])$/m.exec(block)?.[1] ?? "[]");
  assert.equal(kind, "CMD");
  await run(check);
  const document = await fetch(`${env.ISSUER}/.well-known/openid-configuration`);
  assert.equal(((await document.json()) as { issuer?: unknown }).issuer, env.ISSUER);
  const hashMs = /"hash_ms":([\d.]+)/.exec(output)?.[1];
  child.kill("SIGTERM");
  assert.equal(await ended, 0, output);
  console.log(
    `deployment: serves after ${seconds.toFixed(1)} s as uid ${identity.uid ?? "of the test"}, both health checks pass, one password takes ${hashMs} ms, stops with 0`,
  );
}
