/** The command table: what `signet …` can do, signals and exit codes. */
import { realpathSync } from "node:fs";
import { type App, databaseStatus, migrateDatabase, openApp, openDatabase } from "./app.ts";
import { type CommandIo, type ExitCode, printJson, printTable, reportFailure, runCommand, usage } from "./commands.ts";
import { type Config, ConfigError, misspelledNames, readConfig } from "./config.ts";
import type { Demo } from "./demo.ts";
import { AppError } from "./errors.ts";
import { createOutgoing } from "./http/outgoing.ts";
import { createLog, type Log } from "./log.ts";
import { NOUNS } from "./nouns.ts";
import type { RunningServer } from "./server.ts";
import { openDb } from "./store/db.ts";
import { EmbeddedPostgresError } from "./store/embedded-postgres.ts";
import { MigrationError } from "./store/migrate.ts";
import { VaultError } from "./vault.ts";
import { welcome } from "./welcome.ts";

/** A password or a metadata file on standard input is small. */
const STDIN_BYTES_MAX = 1024 * 1024;
const HELP = `signet: an OAuth 2.0 and OpenID Connect authorization server

  serve             starts the server
  migrate           brings the database to this version
  migrate status    shows which migrations are applied
  doctor            finds what is wrong, and says what mends it
${NOUNS.map((group) => `  ${group.noun.padEnd(18)}${group.summary}`).join("\n")}

Every command takes --help, and every one but serve takes --json. Exit codes: 0 done, 1 refused or failed, 2 called wrongly.
The environment configures it; config/production.env.example lists every variable.
`;

const SERVE_HELP = `signet serve
  Starts the server; SIGTERM or Ctrl-C ends it after what is in flight, a second one at once.
  NODE_ENV=production needs ISSUER, DATABASE_URL and SECRET_KEY; development makes for itself what is missing.
`;
const MIGRATE_HELP = `signet migrate [status] [--json]
  Applies pending migrations in order, or shows which are applied. MIGRATION_DATABASE_URL is used where it is set.
`;

export interface RunOptions {
  /** Where the command reads and writes; the process's own streams unless given. */
  readonly io?: Omit<CommandIo, "isJson">;
  /** Called when the demo is ready: whoever started the server starts the demo app. */
  readonly onDemo?: (demo: Demo, config: Config) => void;
}

/** Runs one command and resolves with its exit code; `serve` resolves when the server has stopped. */
export async function run(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  options: RunOptions = {},
): Promise<ExitCode> {
  const [noun, ...rest] = argv;
  const io = { ...(options.io ?? standardIo()), isJson: argv.includes("--json") };
  if (noun === undefined || noun === "help" || noun === "--help" || noun === "-h") {
    io.out(HELP);
    return 0;
  }
  try {
    if (noun === "serve") return await serve(rest, env, io, options);
    if (noun === "migrate") return await migrateCommand(rest, env, io);
    // Both know the whole server, which the other commands need not wait for.
    if (noun === "doctor") return await (await import("./doctor.ts")).doctorCommand(rest, env, io, commandLog());
    const group = NOUNS.find((candidate) => candidate.noun === noun);
    if (group === undefined)
      throw new AppError("command_usage", `"${noun.slice(0, 40)}" is no command. See: signet --help`);
    return await runCommand(group, rest, io, (use) => withApp(env, use));
  } catch (error) {
    return failure(error, env, io);
  }
}

async function withApp(env: NodeJS.ProcessEnv, use: (app: App) => Promise<void>): Promise<void> {
  const app = await openApp(readConfig(env), commandLog());
  try {
    await use(app);
  } finally {
    await app.close();
  }
}

/** A command's output is its result; its log is for what went wrong. */
function commandLog(): Log {
  return createLog({ level: "error", pretty: true, sink: process.stderr });
}

async function serve(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  io: CommandIo,
  options: RunOptions,
): Promise<ExitCode> {
  if (argv.includes("--help")) {
    io.out(SERVE_HELP);
    return 0;
  }
  if (argv[0] !== undefined)
    throw usage("serve", `"${argv[0].slice(0, 40)}" is not known: the environment configures it.`);
  const config = readConfig(env, process.stdout.isTTY === true);
  const log = createLog({ level: config.logLevel, pretty: config.isLogPretty });
  for (const warning of misspelledNames(env)) log.warn(warning);
  const ending = awaitEnding(log);
  const { StartStopped, startServer } = await import("./server.ts");
  let running: RunningServer;
  try {
    running = await startServer(config, log, ending.stopping);
  } catch (error) {
    if (error instanceof StartStopped) return 0;
    if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") {
      io.err(await portInUse(config, "port" in error ? error.port : undefined));
      return 1;
    }
    throw error;
  }
  try {
    if (!config.isProduction) await greet(running, config, io, options);
  } catch (error) {
    await running.close({ isUrgent: true });
    throw error;
  }
  const { signal } = await ending.begun;
  log.info("stopping", { signal });
  await running.close({ isUrgent: signal === undefined });
  log.info("stopped");
  // What still holds the process, such as the socket of a store that does not answer, is no reason to stay.
  process.exit(signal === undefined ? 1 : 0);
}

async function greet(running: RunningServer, config: Config, io: CommandIo, options: RunOptions): Promise<void> {
  const { finishDemo, prepareDemo } = await import("./demo.ts");
  const demo = options.onDemo === undefined ? undefined : await prepareDemo(running.service);
  io.out(
    welcome({
      config,
      embedded: running.service.embedded,
      setupToken: await running.service.setup.makeToken(),
      demo,
    }),
  );
  if (demo === undefined) return;
  finishDemo(running.service, demo);
  options.onDemo?.(demo, config);
}

interface Ending {
  /** Aborted with the first signal or failure. */
  readonly stopping: AbortSignal;
  /** Without a signal it is a failure that nobody caught (T-REL-33): the process is in an unknown state and is replaced. */
  readonly begun: Promise<{ readonly signal?: string }>;
}

/** The first signal asks to stop; a second one does not wait. */
function awaitEnding(log: Log): Ending {
  const stopping = new AbortController();
  const begun = new Promise<{ signal?: string }>((resolve) => {
    const begin = (why: { signal?: string }): void => {
      if (stopping.signal.aborted && why.signal !== undefined) process.exit(1);
      resolve(why);
      stopping.abort();
    };
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => begin({ signal }));
    process.on("uncaughtException", (error: Error) => {
      log.error("a failure that nobody caught ends the server", { error: error.message, stack: error.stack });
      begin({});
    });
  });
  return { stopping: stopping.signal, begun };
}

async function portInUse(config: Config, port: unknown): Promise<string> {
  if (port === config.managementPort && port !== config.port) {
    return `The management port ${config.managementPort} is in use by another program. Set MANAGEMENT_PORT to a free one.\n`;
  }
  const url = `http://${config.host === "0.0.0.0" ? "127.0.0.1" : config.host}:${config.port}/health/live`;
  const isSignet = await createOutgoing({ allow: [], isDevelopment: true })
    .fetch(url)
    .then(async (answer) => ((await answer.json()) as { status?: unknown }).status === "live")
    .catch(() => false);
  return isSignet
    ? `Signet is already running on port ${config.port}: open ${config.issuer}, or stop that process first. Commands such as "client list" work beside it.\n`
    : `Port ${config.port} is in use by another program. Set ISSUER and PORT to a free one, for example ISSUER=http://localhost:3100.\n`;
}

async function migrateCommand(argv: readonly string[], env: NodeJS.ProcessEnv, io: CommandIo): Promise<ExitCode> {
  if (argv.includes("--help")) {
    io.out(MIGRATE_HELP);
    return 0;
  }
  const words = argv.filter((word) => word !== "--json");
  const isStatus = words[0] === "status";
  const unknown = words[isStatus ? 1 : 0];
  if (unknown !== undefined) throw usage("migrate", `"${unknown.slice(0, 40)}" is not known.`);
  const [config, log] = [readConfig(env), commandLog()];
  const { connection, embedded } = await openDatabase(config, log);
  const db = openDb({ connection, max: 1, log });
  try {
    const applied = isStatus ? [] : await migrateDatabase(config, db, log);
    const states = await databaseStatus(db);
    if (io.isJson)
      printJson(io, {
        applied,
        migrations: states.map(({ name, state, appliedAt }) => ({ name, state, applied_at: appliedAt?.toISOString() })),
      });
    else
      printTable(
        io,
        ["migration", "state", "applied at"],
        states.map((row) => [
          row.name,
          applied.includes(row.name) ? "applied now" : row.state,
          row.appliedAt?.toISOString() ?? "",
        ]),
      );
    return 0;
  } finally {
    await db.close();
    await embedded?.close();
  }
}

/** What the errors of other rooms are called in a machine's answer, and what they say to a person. */
function failure(error: unknown, env: NodeJS.ProcessEnv, io: CommandIo): ExitCode {
  if (error instanceof AppError) return reportFailure(error, io);
  const kinds = [
    [ConfigError, "configuration"],
    [MigrationError, "migration"],
    [EmbeddedPostgresError, "embedded_postgres"],
    [VaultError, "secret_key"],
  ] as const;
  const code = kinds.find(([kind]) => error instanceof kind)?.[1] ?? "internal";
  const said = error instanceof Error ? error.message : String(error);
  const isTraced = env["LOG_LEVEL"] === "debug" && error instanceof Error && error.stack !== undefined;
  const message =
    code === "secret_key"
      ? `SECRET_KEY does not open what this database holds: ${said}. Start with the key that sealed it (a list may hold several). Nothing was changed.`
      : code === "internal"
        ? `Something unexpected happened: ${isTraced ? error.stack : `${said} (LOG_LEVEL=debug shows where)`}`
        : said;
  io.err(io.isJson ? `${JSON.stringify({ error: code, message })}\n` : `${message}\n`);
  return 1;
}

function standardIo(): Omit<CommandIo, "isJson"> {
  // `signet client list | head -1` closes the pipe early: that is no failure.
  process.stdout.on("error", () => undefined);
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    async readStdin() {
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of process.stdin) {
        const part = Buffer.from(chunk as Uint8Array);
        bytes += part.length;
        if (bytes > STDIN_BYTES_MAX) throw new AppError("command_usage", "standard input is larger than 1 MiB");
        chunks.push(part);
      }
      return Buffer.concat(chunks).toString("utf8");
    },
  };
}

const entry = process.argv[1];
if (entry !== undefined && realpathSync(entry) === import.meta.filename) {
  process.exitCode = await run(process.argv.slice(2), process.env);
}
