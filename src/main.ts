/** The command table: what `signet …` can do, signals and exit codes. */
import { realpathSync } from "node:fs";
import { apiCommands } from "./apis/commands.ts";
import { type App, databaseStatus, migrateDatabase, openApp, openDatabase } from "./app.ts";
import { clientCommands } from "./clients/commands.ts";
import {
  type CommandGroup,
  type CommandIo,
  type ExitCode,
  printJson,
  printTable,
  reportFailure,
  runCommand,
} from "./commands.ts";
import { type Config, ConfigError, misspelledNames, readConfig } from "./config.ts";
import { type Demo, prepareDemo } from "./demo.ts";
import { doctorCommand } from "./doctor.ts";
import { AppError } from "./errors.ts";
import { createOutgoing } from "./http/outgoing.ts";
import { createLog, type Log } from "./log.ts";
import { type RunningServer, startServer } from "./server.ts";
import { openDb } from "./store/db.ts";
import { EmbeddedPostgresError } from "./store/embedded-postgres.ts";
import { MigrationError } from "./store/migrate.ts";
import { userCommands } from "./users/commands.ts";
import { VaultError } from "./vault.ts";
import { welcome } from "./welcome.ts";

/** A password or a metadata file on standard input is small. */
const STDIN_BYTES_MAX = 1024 * 1024;
const GROUPS: readonly CommandGroup<App>[] = [clientCommands, apiCommands, userCommands];

const HELP = `signet: an OAuth 2.0 and OpenID Connect authorization server

  serve             starts the server
  migrate           brings the database to this version
  migrate status    shows which migrations are applied
  doctor            finds what is wrong, and says what mends it
${GROUPS.map((group) => `  ${group.noun.padEnd(18)}${group.summary}`).join("\n")}

Every command takes --help, and every one but serve takes --json.
The environment configures it; config/production.env.example lists every variable.
`;

export interface ServeHooks {
  /** Called when the demo is ready: whoever started the server starts the demo app. */
  readonly onDemo?: (demo: Demo, config: Config) => void;
}

/** Runs one command and resolves with its exit code; `serve` resolves when the server has stopped. */
export async function run(argv: readonly string[], env: NodeJS.ProcessEnv, hooks: ServeHooks = {}): Promise<ExitCode> {
  const [noun, ...rest] = argv;
  const io = standardIo(argv);
  if (noun === undefined || noun === "help" || noun === "--help" || noun === "-h") {
    io.out(HELP);
    return 0;
  }
  try {
    if (noun === "serve") return await serve(env, io, hooks);
    if (noun === "doctor") return await doctorCommand(rest, env, io);
    const config = readConfig(env, false);
    // A command's output is its result; its log is for what went wrong.
    const log = createLog({ level: "error", pretty: true, sink: process.stderr });
    if (noun === "migrate") return await migrateCommand(rest, config, log, io);
    const group = GROUPS.find((candidate) => candidate.noun === noun);
    if (group === undefined)
      throw new AppError("command_usage", `"${noun.slice(0, 40)}" is no command. See: signet --help`);
    return await runCommand(group, rest, io, (use) => withApp(config, log, use));
  } catch (error) {
    return failure(error, io);
  }
}

async function withApp(config: Config, log: Log, use: (app: App) => Promise<void>): Promise<void> {
  const app = await openApp(config, log);
  try {
    await use(app);
  } finally {
    await app.close();
  }
}

async function serve(env: NodeJS.ProcessEnv, io: CommandIo, hooks: ServeHooks): Promise<ExitCode> {
  const config = readConfig(env, process.stdout.isTTY === true);
  const log = createLog({ level: config.logLevel, pretty: config.isLogPretty });
  for (const warning of misspelledNames(env)) log.warn(warning);
  const signals = stopSignals();
  let running: RunningServer;
  try {
    running = await startServer(config, log);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") {
      io.err(await portInUse(config));
      return 1;
    }
    throw error;
  }
  if (!config.isProduction) {
    const demo = hooks.onDemo === undefined ? undefined : await prepareDemo(running.service);
    io.out(
      welcome({
        config,
        embedded: running.service.embedded,
        setupToken: await running.service.setup.makeToken(),
        demo,
      }),
    );
    if (demo !== undefined) hooks.onDemo?.(demo, config);
  }
  const signal = await signals;
  log.info("stopping", { signal });
  await running.close();
  log.info("stopped");
  return 0;
}

/** The first signal asks to stop; a second one does not wait. */
function stopSignals(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.once(signal, () => {
        resolve(signal);
        process.once(signal, () => process.exit(1));
      });
    }
  });
}

async function portInUse(config: Config): Promise<string> {
  const url = `http://${config.host === "0.0.0.0" ? "127.0.0.1" : config.host}:${config.port}/health/live`;
  const isSignet = await createOutgoing({ allow: [], isDevelopment: true })
    .fetch(url)
    .then(async (answer) => ((await answer.json()) as { status?: unknown }).status === "live")
    .catch(() => false);
  return isSignet
    ? `Signet is already running on port ${config.port}: open ${config.issuer}, or stop that process first. Commands such as "client list" work beside it.\n`
    : `Port ${config.port} is in use by another program. Set ISSUER and PORT to a free one, for example ISSUER=http://localhost:3100.\n`;
}

async function migrateCommand(argv: readonly string[], config: Config, log: Log, io: CommandIo): Promise<ExitCode> {
  const words = argv.filter((word) => !word.startsWith("--"));
  const unknown =
    argv.find((word) => word.startsWith("--") && !["--json", "--help"].includes(word)) ??
    words.slice(words[0] === "status" ? 1 : 0)[0];
  if (argv.includes("--help")) {
    io.out(
      "signet migrate [status] [--json]\n  Applies pending migrations in order, or shows which are applied. MIGRATION_DATABASE_URL is used where it is set.\n",
    );
    return 0;
  }
  if (unknown !== undefined)
    throw new AppError("command_usage", `"${unknown.slice(0, 40)}" is not known. See: signet migrate --help`);
  const { connection, embedded } = await openDatabase(config, log);
  const db = openDb({ connection, max: 1, log });
  try {
    const applied = words[0] === "status" ? [] : await migrateDatabase(config, db, log);
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

function failure(error: unknown, io: CommandIo): ExitCode {
  const isSaid = [ConfigError, MigrationError, VaultError, EmbeddedPostgresError].some((kind) => error instanceof kind);
  if (error instanceof AppError) return reportFailure(error, io);
  if (error instanceof VaultError) {
    io.err(
      `SECRET_KEY does not open what this database holds: ${error.message}. Start with the key that sealed it (a list may hold several). Nothing was changed.\n`,
    );
  } else {
    io.err(
      `${isSaid && error instanceof Error ? error.message : `Unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`}\n`,
    );
  }
  return 1;
}

function standardIo(argv: readonly string[]): CommandIo {
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    isJson: argv.includes("--json"),
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
