/** `signet doctor`: looks at what usually goes wrong, and says for each finding the cause and what mends it. It changes nothing. */
import { databaseStatus, openDatabase } from "./app.ts";
import { type CommandIo, type ExitCode, printJson, usage } from "./commands.ts";
import { type Config, ConfigError, readConfig } from "./config.ts";
import { AppError } from "./errors.ts";
import {
  type Arrival,
  arrivalFindings,
  clockFinding,
  cookieFindings,
  cookieSettingFinding,
  type Finding,
  FORGED_ADDRESS,
  postgresFindings,
  redisFindings,
} from "./findings.ts";
import { newProbeWord, PROBE_HEADER } from "./http/arrivals.ts";
import { ARRIVALS_PATH } from "./http/management.ts";
import { createOutgoing, type Outgoing } from "./http/outgoing.ts";
import { checkSealedKeys } from "./keys/administration.ts";
import type { Log } from "./log.ts";
import { lookAtMail } from "./mail/transport.ts";
import { type Db, openDb } from "./store/db.ts";
import { readPostgresFacts } from "./store/postgres-facts.ts";
import { readRedisFacts } from "./store/redis-facts.ts";
import { openHasher } from "./users/hasher.ts";
import { createVault } from "./vault.ts";

/** argon2 compiled for this processor takes 9 ms, the package's own build 20 (measured). */
const HASH_MS_MAX = 15;

const HELP = `signet doctor [--live] [--json]
  Looks at configuration, stores, keys, clocks, cookies and the way from outside, and says what to mend. Exit code 1 with a fault.
  Run it where the server runs: only its management port tells how a request through the proxy arrived.
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

/** Where this machine reaches what listens there: all addresses are reached at loopback, and a URL has IPv6 in brackets. */
function fromHere(host: string, port: number): string {
  const address = ["0.0.0.0", "::"].includes(host) ? "127.0.0.1" : host;
  return `${address.includes(":") ? `[${address}]` : address}:${port}`;
}

async function live(env: NodeJS.ProcessEnv): Promise<readonly Finding[]> {
  const { host, port } = readConfig(env);
  const place = fromHere(host, port);
  const url = `http://${place}/health/live`;
  const answer = await createOutgoing({ allow: [new URL(url).hostname], isDevelopment: true })
    .fetch(url)
    .catch(() => undefined);
  if (answer?.status === 200) return [{ check: "live", level: "ok", cause: `${url} answers` }];
  return [{ check: "live", level: "fault", cause: `${url} does not answer`, mend: "start the server" }];
}

/** What a look at the settings and one question to each store can find, when the server starts: it is logged, and nobody waits for it. */
export async function checkAtStart({ config, db, log }: { config: Config; db: Db; log: Log }): Promise<void> {
  const found = [
    cookieSettingFinding(config),
    ...(await guarded("postgres", () => postgres(config, db))),
    ...(await guarded("redis", () => redis(config))),
  ];
  for (const { check, level, cause, mend } of found) {
    if (level === "ok") continue;
    log[level === "fault" ? "error" : "warn"]("a check at the start found something", {
      name: check,
      reason: cause,
      detail: mend,
    });
  }
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
  findings.push(cookieSettingFinding(config));
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
  const { isProduction } = config;
  return postgresFindings(await readPostgresFacts(db), { isProduction, isEmbedded: config.databaseUrl === undefined });
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
  return redisFindings(await readRedisFacts(config.redisUrls));
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
  return [
    { check: "issuer", level: "ok", cause: `${url} answers as it should` },
    ...(await guarded("arrival", () => arrival(config, outgoing))),
  ];
}

/** Opens a page on the way that browsers take, and asks the server on its management port how that request arrived. */
async function arrival(config: Config, outgoing: Outgoing): Promise<readonly Finding[]> {
  const word = newProbeWord();
  const headers = new Headers({ [PROBE_HEADER]: word, "x-forwarded-for": FORGED_ADDRESS, accept: "text/html" });
  // A language that is chosen is remembered in a cookie: the one page that sets one and keeps nothing.
  const page = await outgoing.fetch(`${config.issuer}/account?ui_locales=en`, { headers });
  const theirs = Date.parse(page.headers.get("date") ?? "");
  const found = [
    ...cookieFindings(page.headers.getSetCookie(), config.issuer),
    ...(Number.isNaN(theirs) ? [] : [clockFinding("clock of the server", theirs)]),
  ];
  const place = fromHere(config.managementHost, config.managementPort);
  const management = `http://${place}${ARRIVALS_PATH}${word}`;
  const told = await createOutgoing({ allow: [new URL(management).hostname], isDevelopment: true })
    .fetch(management)
    .catch(() => undefined);
  if (told?.status === 200)
    return [...found, ...arrivalFindings((await told.json()) as Arrival, config.issuer, config.trustProxy)];
  const cause =
    told === undefined
      ? `the management port at ${place} does not answer, so nobody tells how a request arrives`
      : "the request did not reach this server: another instance answered, or the proxy drops headers that it does not know";
  return [...found, { check: "arrival", level: "warning", cause, mend: "run the doctor where the server runs" }];
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
