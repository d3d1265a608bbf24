/** Problems: every refusal of the REST API as RFC 9457 says, with the fields that are wrong by name. */
import type { Context } from "koa";
import { z } from "zod";
import { AppError, ERRORS } from "../errors.ts";
import { requestIdOf } from "../http/request-id.ts";
import { quoted } from "../text.ts";
import type { Operation } from "./operation.ts";

/** One field that cannot be used. */
export interface FieldFault {
  /** As it is written in a sentence: `redirect_uris[0]`, `query.limit`. */
  readonly field: string;
  readonly detail: string;
}

/** Many faults of one body say no more than some. */
const FAULTS_MAX = 20;

export const problemSchema = z
  .object({
    type: z.string().describe("A URN that names the kind of problem."),
    title: z.string(),
    status: z.int(),
    code: z.string().describe("The last part of the type."),
    detail: z.string().optional().describe("What is wrong with this very request."),
    request_id: z.string().describe("Stands in the server's log, too."),
    errors: z
      .array(z.object({ field: z.string(), detail: z.string() }))
      .optional()
      .describe("The fields that cannot be used, each with the reason."),
  })
  .describe("RFC 9457 problem details.");

/** A request whose query or body does not have the shape that the operation takes. */
export class ShapeError extends AppError {
  readonly faults: readonly FieldFault[];

  constructor(faults: readonly FieldFault[]) {
    super("request_invalid", `${faults.map(({ field, detail }) => `${field} ${detail}`).join("; ")}.`);
    this.faults = faults;
  }
}

/** Throws ShapeError. `prefix` tells a query from a body. */
export function checkShape<T>(
  schema: z.ZodType<T>,
  value: unknown,
  { prefix = "", refusalOf }: { prefix?: string; refusalOf?: Operation["refusalOf"] } = {},
): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const all = parsed.error.issues.flatMap((issue) => faultsOf(issue, refusalOf));
  // The first reason of a field is enough to mend it.
  const faults = all.filter(({ field }, index) => all.findIndex((other) => other.field === field) === index);
  throw new ShapeError(faults.slice(0, FAULTS_MAX).map((fault) => ({ ...fault, field: `${prefix}${fault.field}` })));
}

/** Replaces whatever answer was begun. */
export function answerProblem(ctx: Context, error: AppError, operation: Operation | undefined): void {
  const { status, message } = ERRORS[error.code];
  if (!ctx.req.complete) ctx.req.resume();
  ctx.remove("ETag");
  ctx.remove("Location");
  ctx.status = status;
  if (error.retryAfterSeconds !== undefined) ctx.set("Retry-After", String(error.retryAfterSeconds));
  const faults = faultsOfError(error, operation);
  // What a fault of ours was is for the log alone.
  const detail = status >= 500 ? undefined : error.detail;
  ctx.body = JSON.stringify({
    type: `urn:signet:problem:${error.code}`,
    title: message,
    status,
    code: error.code,
    detail,
    request_id: requestIdOf(ctx),
    errors: faults.length === 0 ? undefined : faults,
  });
  ctx.type = "application/problem+json";
}

/** The fields that a refusal names; none when it is about no single field. */
export function faultsOfError(error: AppError, operation: Operation | undefined): readonly FieldFault[] {
  return error instanceof ShapeError ? error.faults : namedFault(error, operation);
}

function faultsOf(issue: z.core.$ZodIssue, refusalOf: Operation["refusalOf"]): readonly FieldFault[] {
  const place = pathOf(issue.path);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const field = place === "" ? fieldName(key) : `${place}.${fieldName(key)}`;
      const reason = place === "" ? refusalOf?.(key) : undefined;
      return { field, detail: reason === undefined ? "is not a field that is known here" : `is refused: ${reason}` };
    });
  }
  if (issue.code === "invalid_key")
    return [{ field: place, detail: issue.issues[0]?.message ?? "is no key that is known here" }];
  if (issue.message.endsWith("received undefined")) return [{ field: place, detail: "is missing" }];
  return [{ field: place === "" ? "body" : place, detail: issue.message.replace(/^Invalid input: /, "") }];
}

/** The rules of the rooms begin their sentence with the field; here it is told apart, if the operation has a field of that name. */
function namedFault(error: AppError, operation: Operation | undefined): readonly FieldFault[] {
  const [, field, root, detail] = /^((\w+)(?:\[\d+\]|\.\w+)*)(?::| )\s*(.+)$/s.exec(error.detail ?? "") ?? [];
  if (field === undefined || root === undefined || detail === undefined) return [];
  return operation?.body !== undefined && Object.hasOwn(operation.body.shape, root) ? [{ field, detail }] : [];
}

function pathOf(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) =>
      typeof part === "number" ? `[${part}]` : `${index === 0 ? "" : "."}${fieldName(String(part))}`,
    )
    .join("");
}

/** A name that somebody made up is quoted and cut. */
function fieldName(name: string): string {
  return /^\w{1,60}$/.test(name) ? name : quoted(name);
}
