/** `signet doctor`: looks at what usually goes wrong, and says for each finding the cause and what mends it. It changes nothing. */
import { databaseStatus, openDatabase } from "./app.ts";
import { now } from "./clock.ts";
import { type CommandIo, type ExitCode, printJson, usage } from "./commands.ts";
import { type Config, ConfigError, readConfig } from "./config.ts";
import { AppError } from "./errors.ts";
import { createOutgoing } from "./http/outgoing.ts";
import { checkSealedKeys } from "./keys/administration.ts";
import type { Log } from "./log.ts";
import { lookAtMail } from "./mail/transport.ts";
import { type Db, openDb } from "./store/db.ts";
import { readPostgresFacts } from "./store/postgres-facts.ts";
import { readRedisFacts } from "./store/redis-facts.ts";
import { openHasher } from "./users/hasher.ts";
import { createVault } from "./vault.ts";

interface Finding {
  readonly check: string;
  readonly level: "ok" | "warning" | "fault";
  readonly cause: string;
  readonly mend?: string;
}

const POSTGRES_MAJOR_MIN = 15;
const REDIS_MAJOR_MIN = 7;
/** Tokens are accepted with 15 s of tolerance; half of it is for the doctor to complain about. */
const CLOCK_MS_MAX = 7000;
/** argon2 compiled for this processor takes 9 ms, the package's own build 20 (measured). */
const HASH_MS_MAX = 15;

const HELP = `signet doctor [--live] [--json]
  Looks at configuration, stores, keys, clocks and the way from outside, and says what to mend. Exit code 1 with a fault.
  --live   only asks the running server on this machine whether it lives: for container health checks
`;

/** The command: one line a finding, the mend below it. */
export async function doctorCommand(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  io: CommandIo,
  log: Log,
): Promise<ExitCode> {
  const unknown = argv.find((word) => !["--json", "--live", "--help"].includes(word));
  if (unknown !== undefined) throw usage("doctor", `"${unknown.slice(0, 40)}" is not known.`);
  if (argv.includes("--help")) {
    io.out(HELP);
    return 0;
  }
  const findings = argv.includes("--live") ? await live(env) : await diagnose(env, log);
  if (io.isJson) printJson(io, findings);
  else for (const finding of findings) io.out(readable(finding));
  return findings.some(({ level }) => level === "fault") ? 1 : 0;
}

function readable({ check, level, cause, mend }: Finding): string {
  const mark = { ok: "ok     ", warning: "warning", fault: "FAULT  " }[level];
  return `${mark}  ${check}: ${cause}\n${mend === undefined ? "" : `         mend: ${mend}\n`}`;
}

async function live(env: NodeJS.ProcessEnv): Promise<readonly Finding[]> {
  const { host, port } = readConfig(env);
  const url = `http://${["0.0.0.0", "::"].includes(host) ? "127.0.0.1" : host}:${port}/health/live`;
  const answer = await createOutgoing({ allow: [host], isDevelopment: true })
    .fetch(url)
    .catch(() => undefined);
  if (answer?.status === 200) return [{ check: "live", level: "ok", cause: `${url} answers` }];
  return [{ check: "live", level: "fault", cause: `${url} does not answer`, mend: "start the server" }];
}

/** Runs every check; one that fails is a finding and stops no other. */
async function diagnose(env: NodeJS.ProcessEnv, log: Log): Promise<readonly Finding[]> {
  const findings: Finding[] = [nodeVersion()];
  let config: Config;
  try {
    config = readConfig(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [
      ...findings,
      {
        check: "configuration",
        level: "fault",
        cause: error.message,
        mend: "mend each line; config/production.env.example explains the variables",
      },
    ];
  }
  findings.push({
    check: "configuration",
    level: "ok",
    cause: `${config.isProduction ? "production" : "development"}, issuer ${config.issuer}`,
  });
  findings.push(...(await withDatabase(config, log)));
  findings.push(...(await guarded("redis", () => redis(config))));
  findings.push(...(await guarded("mail", () => lookAtMail(config))));
  findings.push(...(await guarded("hashing", () => hashing(log))));
  findings.push(...(await guarded("issuer", () => issuer(config))));
  return findings;
}

function nodeVersion(): Finding {
  const { node } = process.versions;
  const major = Number(node.split(".")[0]);
  if (major >= 22) return { check: "node", level: "ok", cause: `Node ${node}` };
  return {
    check: "node",
    level: "warning",
    cause: `Node ${node} works and is tested, but its time is over`,
    mend: "run Node 24",
  };
}

async function withDatabase(config: Config, log: Log): Promise<readonly Finding[]> {
  const open = async (): Promise<readonly Finding[]> => {
    const { connection, embedded } = await openDatabase(config, log);
    const db = openDb({ connection, max: 1, log, name: "signet doctor" });
    try {
      return [
        ...(await guarded("postgres", () => postgres(config, db))),
        ...(await guarded("migrations", () => migrations(db))),
        ...(await guarded("keys", () => keys(config, db))),
      ];
    } finally {
      await db.close();
      await embedded?.close();
    }
  };
  return guarded("postgres", open);
}

async function postgres(config: Config, db: Db): Promise<readonly Finding[]> {
  const facts = await readPostgresFacts(db);
  const findings: Finding[] = [];
  if (facts.major < POSTGRES_MAJOR_MIN) {
    findings.push({
      check: "postgres",
      level: "fault",
      cause: `Postgres ${facts.version} is older than ${POSTGRES_MAJOR_MIN}`,
      mend: `upgrade it to ${POSTGRES_MAJOR_MIN} or newer`,
    });
  } else
    findings.push({
      check: "postgres",
      level: "ok",
      cause: `Postgres ${facts.version}${config.databaseUrl === undefined ? ", started by Signet" : ""}`,
    });
  if (config.isProduction && (facts.isSuperuser || facts.isOwner)) {
    findings.push({
      check: "postgres role",
      level: "warning",
      cause: facts.isSuperuser
        ? "the role of DATABASE_URL is a superuser"
        : "the role of DATABASE_URL owns the tables, so it could switch the audit trail's triggers off",
      mend: "give the tables to another role, name that one in MIGRATION_DATABASE_URL, and grant this one select, insert, update and delete",
    });
  }
  return [...findings, clock("clock of postgres", facts.clockMs)];
}

async function migrations(db: Db): Promise<readonly Finding[]> {
  const pending = (await databaseStatus(db)).filter(({ state }) => state === "pending").map(({ name }) => name);
  if (pending.length === 0) return [{ check: "migrations", level: "ok", cause: "all are applied" }];
  return [
    {
      check: "migrations",
      level: "warning",
      cause: `not applied yet: ${pending.join(", ")}`,
      mend: "start the server, or run: signet migrate",
    },
  ];
}

async function keys(config: Config, db: Db): Promise<readonly Finding[]> {
  if (config.secretKeys === undefined)
    return [{ check: "keys", level: "ok", cause: "sealed with the key of the data folder" }];
  const { count, isCurrent } = await checkSealedKeys({ db, vault: createVault(config.secretKeys) });
  if (count === 0) return [{ check: "keys", level: "ok", cause: "none yet: the first start makes them" }];
  if (isCurrent) return [{ check: "keys", level: "ok", cause: `${count} signing keys open with the first SECRET_KEY` }];
  return [
    {
      check: "keys",
      level: "warning",
      cause: "some keys are sealed with a later entry of SECRET_KEY",
      mend: "run: signet key reencrypt; keep that entry in the list until then",
    },
  ];
}

async function redis(config: Config): Promise<readonly Finding[]> {
  if (config.redisUrls === undefined)
    return [{ check: "redis", level: "ok", cause: "not configured: what expires lives in Postgres" }];
  const facts = await readRedisFacts(config.redisUrls);
  const findings: Finding[] = [];
  const isOld = Number(facts.version.split(".")[0]) < REDIS_MAJOR_MIN;
  findings.push(
    isOld
      ? {
          check: "redis",
          level: "fault",
          cause: `Redis ${facts.version} is older than ${REDIS_MAJOR_MIN}`,
          mend: `upgrade it to ${REDIS_MAJOR_MIN} or newer`,
        }
      : { check: "redis", level: "ok", cause: `Redis ${facts.version}` },
  );
  if (facts.evictionPolicy !== "noeviction") {
    findings.push({
      check: "redis eviction",
      level: "fault",
      cause: `maxmemory-policy is ${facts.evictionPolicy}: under pressure live sign-ins vanish without a word`,
      mend: "config set maxmemory-policy noeviction, and the same in redis.conf",
    });
  }
  if (!facts.isAppendOnly) {
    findings.push({
      check: "redis persistence",
      level: "warning",
      cause: "appendonly is off: a restart of Redis signs everybody out",
      mend: "set appendonly yes and appendfsync everysec",
    });
  }
  return [...findings, clock("clock of redis", facts.clockMs)];
}

async function hashing(log: Log): Promise<readonly Finding[]> {
  const hasher = await openHasher({ log, children: 1 });
  try {
    const cause = `one password takes ${hasher.hashMs} ms`;
    const mend = "compile argon2 for this processor, as the Dockerfile does: it takes half the time";
    return hasher.hashMs <= HASH_MS_MAX
      ? [{ check: "hashing", level: "ok", cause }]
      : [{ check: "hashing", level: "warning", cause, mend }];
  } finally {
    await hasher.close();
  }
}

/** Asks for the metadata from outside, on the way that apps and browsers take. */
async function issuer(config: Config): Promise<readonly Finding[]> {
  const url = `${config.issuer}/.well-known/openid-configuration`;
  const outgoing = createOutgoing({ allow: [new URL(config.issuer).hostname], isDevelopment: true });
  let answer: Response;
  try {
    answer = await outgoing.fetch(url);
  } catch (error) {
    const cause = `${url} does not answer from here: ${error instanceof Error ? error.message : "unknown"}`;
    return [
      {
        check: "issuer",
        level: "warning",
        cause,
        mend: "start the server; then check the name, the proxy and its certificate, in this order",
      },
    ];
  }
  if (answer.status === 421) {
    return [
      {
        check: "issuer",
        level: "fault",
        cause: "the proxy changes the Host header",
        mend: `let it pass Host unchanged (nginx: proxy_set_header Host $host;), or set ISSUER to what people type`,
      },
    ];
  }
  const metadata = (await answer.json().catch(() => undefined)) as { issuer?: unknown } | undefined;
  if (answer.status !== 200 || metadata?.issuer !== config.issuer) {
    return [
      {
        check: "issuer",
        level: "fault",
        cause: `${url} answered ${answer.status} with the issuer ${String(metadata?.issuer)}`,
        mend: "another program or another Signet answers there: check the proxy's target",
      },
    ];
  }
  return [{ check: "issuer", level: "ok", cause: `${url} answers as it should` }];
}

function clock(check: string, theirsMs: number): Finding {
  const apartMs = Math.abs(now().getTime() - theirsMs);
  const cause = `${Math.round(apartMs)} ms apart from this machine's`;
  return apartMs <= CLOCK_MS_MAX
    ? { check, level: "ok", cause }
    : { check, level: "fault", cause, mend: "synchronise both clocks (NTP): tokens would be refused as not yet valid" };
}

async function guarded(check: string, find: () => Promise<readonly Finding[]>): Promise<readonly Finding[]> {
  try {
    return await find();
  } catch (error) {
    const cause =
      error instanceof AppError && error.detail !== undefined
        ? error.detail
        : error instanceof Error
          ? error.message
          : "unknown";
    return [{ check, level: "fault", cause, mend: "see the cause; nothing was changed" }];
  }
}
