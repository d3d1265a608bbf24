/** What the driver's errors mean: Postgres does not answer, the connection was cut, it is silent, or a value was taken. */
import { type AppError, unavailable } from "../errors.ts";

/** Of the operating system. */
const SYSTEM_ERRORS = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOENT",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
]);
/**
 * SQLSTATEs that speak of the server's condition and not of the statement: connections and their refusal (08, 28, 3D, 57P), resources and
 * the disk (53, 58), locks and time (40001, 40P01, 55P03, 57014, 25P03), a transaction in which one of these came before (25P02), a standby that takes no writes (25006), a table that somebody
 * has taken away (42P01).
 */
const UNAVAILABLE_STATES = /^(08|28|3D|57P|53|58|40001|40P01|55P03|57014|25P0[23]|25006|42P01)/;
/** The messages that the driver gives no code. */
const CUT = /terminated unexpectedly|^Connection terminated$|Connection ended|not queryable/i;
const SILENT = /Query read timeout|due to connection timeout|timeout expired/i;
const EXHAUSTED = /timeout exceeded when trying to connect/i;
/** Their messages name a role or a database and nothing that a caller sent. */
const SAYS_WHY = /^(28|3D)/;

/** Whether a driver's error means that Postgres is not answering; then it becomes the 503 that the caller may retry. */
export function asUnavailable(error: unknown): AppError | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = codeOf(error);
  const isDown =
    SYSTEM_ERRORS.has(code) ||
    UNAVAILABLE_STATES.test(code) ||
    (code === "" && [CUT, SILENT, EXHAUSTED].some((pattern) => pattern.test(error.message)));
  if (!isDown) return undefined;
  const failure = unavailable(
    `Postgres: ${code === "" || SAYS_WHY.test(code) ? `${code} ${error.message}`.trim() : code}`,
  );
  // For our own eyes: what leaves the process is the sentence of the error.
  failure.cause = error;
  return failure;
}

/** The connection is gone, and what was asked of it may or may not have been done. */
export function isCut(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = codeOf(error);
  return ["ECONNRESET", "EPIPE", "57P01", "57P02"].includes(code) || (code === "" && CUT.test(error.message));
}

/** No word came in the time that was given. */
export function isSilent(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === "" && SILENT.test(error.message);
}

/** Whether a unique index refused the statement; the caller knows which value was taken. */
export function isUniqueViolation(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === "23505";
}

/** SQLSTATE, or the operating system's name. */
export function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : "";
}
