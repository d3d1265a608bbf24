/** The log: JSON lines for machines, one readable line on a terminal. Fields come from an allow-list; values are cut. */
import { type Logger, pino } from "pino";
import { now, sleep } from "./clock.ts";

/** What may be logged beside the message. A field that is not here does not reach the log, so that no token, code, password or cookie can. */
const FIELDS = new Set([
  "request_id",
  "method",
  "path",
  "status",
  "ms",
  "address",
  "user_id",
  "client_id",
  "api_id",
  "event",
  "error",
  "reason",
  "code",
  "detail",
  "stack",
  "kid",
  "engine",
  "place",
  "pid",
  "signal",
  "port",
  "host",
  "issuer",
  "file",
  "version",
  "count",
  "attempt",
  "job",
  "hash_ms",
  "queue",
  "name",
  "model",
  "node_version",
  "error_id",
  "warning",
  "checkpoint",
]);
/** A value longer than this is cut: a hostile header must not fill the disk (T-LOG-1). */
const VALUE_CHARS_MAX = 512;
/** A stack of our own code is worth more room; it never holds request data. */
const STACK_CHARS_MAX = 4096;

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** Whether lines of this level are written at all: the access log asks before it builds one. */
  isOn(level: "debug" | "info"): boolean;
  /** The access log: the same line as `info` would write, put together by hand, since there is one for every request. */
  request(line: RequestLine): void;
}

export interface RequestLine {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly ms: number;
  readonly address: string;
}

export interface LogSink {
  write(line: string): void;
}

/** `pretty` writes one line a person can read; otherwise JSON. The sink is standard output unless a test listens. */
export function createLog(options: { level: string; pretty: boolean; sink?: LogSink }): Log {
  const sink = options.sink ?? safeStdout();
  const target = options.pretty ? { write: (line: string) => sink.write(readable(line)) } : sink;
  const logger = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    target,
  );
  const at =
    (level: "debug" | "info" | "warn" | "error") =>
    (message: string, fields: LogFields = {}) =>
      logger[level](allowed(fields, logger), cut(message, VALUE_CHARS_MAX));
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    isOn: (level) => logger.isLevelEnabled(level),
    request: ({ id, method, path, status, ms, address }) => {
      if (!logger.isLevelEnabled("info")) return;
      const what = `"request_id":${text(id)},"method":${text(method)},"path":${text(path)},"status":${status},"ms":${ms}`;
      target.write(`{"level":"info","time":"${timeText()}",${what},"address":${text(address)},"msg":"request"}\n`);
    },
  };
}

let writtenSecond = -1;
let written = "";

/** The second is written out once: to write out a date costs more than the rest of a line. */
function timeText(): string {
  const at = now();
  const ms = at.getTime();
  const second = Math.floor(ms / 1000);
  if (second !== writtenSecond) [writtenSecond, written] = [second, at.toISOString().slice(0, -4)];
  return `${written}${String(ms % 1000).padStart(3, "0")}Z`;
}

function allowed(fields: LogFields, logger: Logger): Record<string, string | number | boolean> {
  const kept: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    if (!FIELDS.has(name)) {
      logger.error({ name }, "a field that is not on the log's list was dropped");
      continue;
    }
    kept[name] = typeof value === "string" ? cut(value, name === "stack" ? STACK_CHARS_MAX : VALUE_CHARS_MAX) : value;
  }
  return kept;
}

/** JSON of what a caller may have chosen; plain words, nearly all, need no look at each sign. */
function text(value: string): string {
  return /^[\w/.:-]{0,512}$/.test(value) ? `"${value}"` : JSON.stringify(cut(value, VALUE_CHARS_MAX));
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

/** A closed pipe (`signet serve | head -1`) must not end the server: without a listener the EPIPE is an uncaught exception (T-REL-21). */
function safeStdout(): LogSink {
  // Node's own warnings go to standard error, which may be the same pipe.
  for (const stream of [process.stdout, process.stderr]) {
    if (!stream.listeners("error").includes(ignore)) stream.on("error", ignore);
  }
  if (!process.listeners("exit").includes(flush)) process.on("exit", flush);
  return { write: gather };
}

/** A write is a system call that costs more than the answer it tells of, so the lines of ten milliseconds share one (measured: 11 µs a request, then 3). */
const GATHER_MS = 10;
const GATHER_CHARS_MAX = 64 * 1024;
/** What went well may wait a moment; what went wrong is written at once. */
const MAY_WAIT = /^\{"level":"(info|debug)"/;
let gathered = "";

function gather(line: string): void {
  if (gathered === "" && MAY_WAIT.test(line)) void sleep(GATHER_MS).then(flush);
  gathered += line;
  if (gathered.length > GATHER_CHARS_MAX || !MAY_WAIT.test(line)) flush();
}

function flush(): void {
  const lines = gathered;
  gathered = "";
  if (lines !== "") process.stdout.write(lines);
}

function ignore(): void {
  // There is nowhere left to say it.
}

/** What JSON leaves as it is and a terminal may obey: DEL, the second set of control characters, line separators, and what turns the direction of text. */
const UNSEEN = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** Control characters in values were escaped by JSON; here they stay escaped, so that no value moves the cursor or forges a line. */
function readable(line: string): string {
  const { level, time, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const clock = String(time).slice(11, 23);
  const text = JSON.stringify(msg).slice(1, -1).replaceAll('\\"', '"');
  const whole = `${clock} ${String(level).toUpperCase().padEnd(5)} ${[text, ...fields].join(" ")}`;
  return `${whole.replace(UNSEEN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`;
}
