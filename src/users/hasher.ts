/** The hasher: argon2id in child processes of lower priority behind a bounded queue, so that signing a token never waits for a password. */
import { fork } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism, setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import { monotonicMs } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Log } from "../log.ts";
import { randomText } from "../secrets.ts";
import { parseForeignHash } from "./foreign-hash.ts";
import type { HashParameters, HashReply } from "./hasher-child.ts";
import { type ChildEvents, type ChildHandle, createPool, type Pool } from "./hasher-pool.ts";

export interface Hasher {
  /** A PHC string of argon2id with the current parameters. Throws AppError hasher_busy when the queue is full or a child fails. */
  hash(password: string): Promise<string>;
  /** Also hashes that were imported. False for a stored hash of an unknown kind or one that asks for more than the bounds; that costs the same time. `isAhead` for who may pass a queue. Throws AppError hasher_busy. */
  verify(hash: string, password: string, isAhead?: boolean): Promise<boolean>;
  /** Whether a stored hash is weaker than the current parameters. */
  needsRehash(hash: string): boolean;
  /** A hash that no password matches, with the current parameters: verified when there is no user, so that both failures take the same time. */
  readonly decoyHash: string;
  /** Milliseconds of one hash, measured once at start. */
  readonly hashMs: number;
  /** Calls that wait for a child. */
  queued(): number;
  close(): Promise<void>;
}

/** OWASP's parameters for argon2id; an idle core needs about 20 ms for them (measured). */
const DEFAULT_PARAMETERS: HashParameters = { memoryKiB: 19_456, passes: 2, lanes: 1 };
/** A row that asks for more was tampered with: it would take memory and time from everybody (T-PW-8). 128 MiB and 8 passes take about a second. */
const MEMORY_KIB_MAX = 131_072;
const PASSES_MAX = 8;
const LANES_MAX = 4;
/** argon2id, version 1.3, the base64 of 8 to 64 bytes of salt and of 16 to 64 bytes of tag. */
const PHC = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$/;

/** Loading Node, the loader and argon2 takes 0.2 to 0.5 s; a child of low priority on a busy machine needs many times that. */
const START_MS = 90_000;
/** Measured between 5 and 19: at 19 a saturated token path starves sign-in, at 5 token signing feels the hashes. */
const NICENESS = 5;
/** `nice` gives the whole process its priority; setPriority moves one thread on Linux, and the pool's threads are others. */
const NICE = ["/usr/bin/nice", "/bin/nice"].find((path) => existsSync(path));
/** Of what a dying child said, so much is worth logging. */
const ERROR_TAIL_CHARS = 400;
/** Own file, own ending: TypeScript beside a loader, JavaScript after the build. */
const ENDING = import.meta.url.endsWith(".ts") ? "ts" : "js";
const CHILD_FILE = fileURLToPath(new URL(`./hasher-child.${ENDING}`, import.meta.url));

/** Starts the first child and measures one hash. `children` bounds how many run at once; a command needs one, the server one less than it has cores. */
export async function openHasher(options: {
  log: Log;
  parameters?: HashParameters;
  children?: number;
}): Promise<Hasher> {
  const { log, parameters = DEFAULT_PARAMETERS, children = Math.max(1, availableParallelism() - 1) } = options;
  const pool = createPool({ log, size: children, start: startChild });
  let lastId = 0;
  const nextId = (): number => {
    lastId += 1;
    return lastId;
  };
  const hash = async (password: string): Promise<string> => {
    const reply = await pool.run({ id: nextId(), kind: "hash", password, parameters });
    if (reply.kind !== "hash") throw new Error("the hashing child answered something else");
    return reply.hash;
  };
  const decoyHash = await firstHash(pool, parameters);
  const startedAt = monotonicMs();
  await firstHash(pool, parameters);
  const hashMs = Math.round((monotonicMs() - startedAt) * 10) / 10;
  log.info("passwords are hashed in a child process", { hash_ms: hashMs, count: children });
  return {
    hash,
    decoyHash,
    hashMs,
    queued: pool.queued,
    close: pool.close,
    needsRehash: (stored) => isWeaker(stored, parameters),
    async verify(stored, password, isAhead) {
      const isOurs = parseHash(stored) !== undefined || parseForeignHash(stored) !== undefined;
      if (!isOurs) log.error("a stored password hash is of no known kind or asks for too much; it matches nothing");
      const call = { id: nextId(), kind: "verify", password, hash: isOurs ? stored : decoyHash } as const;
      const reply = await pool.run(call, isAhead);
      return isOurs && reply.kind === "verify" && reply.isMatch;
    },
  };
}

/** The parameters of a stored hash, undefined when it is no argon2id hash within the bounds. */
export function parseHash(stored: string): HashParameters | undefined {
  const [, memory, passes, lanes] = PHC.exec(stored) ?? [];
  const found = { memoryKiB: Number(memory), passes: Number(passes), lanes: Number(lanes) };
  const isBounded =
    found.memoryKiB >= 8 * found.lanes &&
    found.memoryKiB <= MEMORY_KIB_MAX &&
    found.passes >= 1 &&
    found.passes <= PASSES_MAX &&
    found.lanes >= 1 &&
    found.lanes <= LANES_MAX;
  return isBounded ? found : undefined;
}

function isWeaker(stored: string, current: HashParameters): boolean {
  const found = parseHash(stored);
  return found === undefined || found.memoryKiB < current.memoryKiB || found.passes < current.passes;
}

/** Calls at the start wait for the first child, which takes longer than any later call may. */
async function firstHash(pool: Pool, parameters: HashParameters): Promise<string> {
  const giveUpAt = monotonicMs() + START_MS;
  for (;;) {
    try {
      const reply = await pool.run({ id: 0, kind: "hash", password: randomText(), parameters });
      if (reply.kind !== "hash") throw new Error("the hashing child answered something else");
      return reply.hash;
    } catch (error) {
      if (error instanceof AppError && monotonicMs() < giveUpAt) continue;
      await pool.close();
      throw new Error("the hashing child does not start", { cause: error });
    }
  }
}

/** The child gets no environment: it needs none of the secrets that are in ours. */
function startChild(events: ChildEvents): ChildHandle {
  const run = [process.execPath, ...loaders()];
  const [execPath = process.execPath, ...execArgv] = NICE === undefined ? run : [NICE, "-n", String(NICENESS), ...run];
  const child = fork(CHILD_FILE, [], {
    execPath,
    execArgv,
    env: { UV_THREADPOOL_SIZE: "1" },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  if (NICE === undefined && child.pid !== undefined) setPriority(child.pid, NICENESS);
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-ERROR_TAIL_CHARS);
  });
  child.on("message", (reply: HashReply) => events.onReply(reply));
  child.on("error", (error) => events.onGone(error.message));
  child.on("exit", (code, signal) => events.onGone(`${signal ?? `exit ${code}`} ${said}`.trim()));
  const gone = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  return {
    pid: child.pid,
    send: (call) =>
      child.send(call, (error) => {
        if (error !== null) child.kill("SIGKILL");
      }),
    kill() {
      child.kill("SIGKILL");
      return gone;
    },
  };
}

/** Of Node's own flags only those that load TypeScript go to the child: a second inspector, or `--test`, would not. */
function loaders(): readonly string[] {
  if (ENDING === "js") return [];
  const names = ["--import", "--require", "-r", "--loader", "--experimental-loader"];
  return process.execArgv.flatMap((word, index, all) => {
    const value = all[index + 1];
    if (names.includes(word) && value !== undefined) return [word, value];
    return names.some((name) => word.startsWith(`${name}=`)) ? [word] : [];
  });
}
