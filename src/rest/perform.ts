/** One operation done for one caller, whatever door it came through: the REST API and the console have the same checks in the same order. */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { isEqualSecret, sha256 } from "../secrets.ts";
import type { Cursors } from "./cursor.ts";
import { checkGives, checkScope } from "./gate.ts";
import type { By, Call, Caller, Holder, Operation } from "./operation.ts";
import { checkShape } from "./problem.ts";

export const PAGE_DEFAULT = 50;
export const PAGE_MAX = 200;
/** A page of lines is written to a file, not looked at. */
export const LINES_MAX = 1000;
const CURSOR_CHARS_MAX = 2000;
const ETAG_CHARS_MAX = 1000;

export interface PerformParts {
  readonly cursors: Cursors;
  /** Which scopes of Signet's own API somebody who has this holder in hand could use at this moment. */
  scopesOf(holder: Holder): Promise<readonly string[]>;
}

export interface Request {
  readonly params: Readonly<Record<string, string>>;
  /** As it came: names and texts. */
  readonly query: Readonly<Record<string, unknown>>;
  /** Undefined: none was sent. */
  readonly body: unknown;
  readonly caller: Caller;
  readonly by: By;
  /** Empty: whatever version there is. */
  readonly ifMatch: string;
}

export interface Performed {
  readonly status: number;
  /** JSON; empty when there is nothing to say. */
  readonly body: string;
  /** Of JSON lines, when there are more. */
  readonly nextCursor?: string;
}

/** What every list takes. A number that is none is refused by its shape, not read as another one. */
const pageShape = pageShapeOf(PAGE_MAX, PAGE_DEFAULT);
const linesShape = pageShapeOf(LINES_MAX, LINES_MAX);

function pageShapeOf(max: number, usual: number) {
  return {
    limit: z
      .string()
      .regex(/^[1-9]\d{0,3}$/, `is not a whole number from 1 to ${max}`)
      .refine((text) => Number(text) <= max, `is more than ${max}`)
      .describe(`How many at most, 1 to ${max}; ${usual} unless given.`)
      .optional(),
    cursor: z.string().max(CURSOR_CHARS_MAX).describe("The next_cursor of the page before.").optional(),
  };
}

/** The shape of an operation's query, what every list takes included. */
export function queryOf({ query, isList, isLines }: Operation): z.ZodObject {
  const page = isLines === true ? linesShape : pageShape;
  return z.strictObject({ ...query?.shape, ...(isList === true ? page : {}) });
}

/**
 * Checks scope, query, body, reach and cursor, and returns the work itself, which may then be done once. Throws ShapeError and
 * AppError scope_missing, reach_exceeded, cursor_invalid.
 */
export async function prepare(
  parts: PerformParts,
  operation: Operation,
  request: Request,
): Promise<() => Promise<Performed>> {
  const { params, caller, by, ifMatch } = request;
  checkScope(caller, operation);
  // A condition that nobody looks at would be worse than none.
  if (ifMatch !== "" && operation.method !== "GET" && operation.isVersioned !== true)
    throw new AppError("request_malformed", "If-Match: this operation changes nothing that has a version.");
  const query = checkShape(queryOf(operation), request.query, { prefix: "query." }) as Record<string, string>;
  const body = bodyOf(operation, request.body);
  const holder = operation.touches?.(params);
  if (holder !== undefined) checkGives(caller, await parts.scopesOf(holder));
  const list = listName(operation, params, query);
  const call: Call = {
    ...{ params, query, body, caller, by },
    page: {
      limit: Number(query["limit"] ?? (operation.isLines === true ? LINES_MAX : PAGE_DEFAULT)),
      after: query["cursor"] === undefined ? undefined : parts.cursors.read(list, query["cursor"]),
    },
    checkVersion: (present) => versionCheck(ifMatch, present),
    checkGives: (scopes) => checkGives(caller, scopes),
  };
  return async () => {
    const { body: result, next } = await operation.run(call);
    const nextCursor = next === undefined ? null : parts.cursors.issue(list, next);
    if (operation.isLines === true) {
      const lines = (result as readonly unknown[]).map((line) => `${JSON.stringify(line)}\n`);
      return { status: 200, body: lines.join(""), ...(nextCursor === null ? {} : { nextCursor }) };
    }
    const shown = operation.isList === true ? { data: result, next_cursor: nextCursor } : result;
    const text = shown === undefined ? "" : JSON.stringify(shown);
    return { status: operation.status ?? (text === "" ? 204 : 200), body: text };
  };
}

/** Strong (RFC 9110 section 8.8.3): of the very bytes that are sent. */
export function etagOf(body: string): string {
  return `"${sha256(body).slice(0, 27)}"`;
}

/** A body where none is taken is a misunderstanding that is better told than ignored; an empty object is none. */
function bodyOf(operation: Operation, value: unknown): unknown {
  const { body: schema, refusalOf } = operation;
  if (schema === undefined) {
    if (value !== undefined) checkShape(z.strictObject({}), value);
    return undefined;
  }
  const given = value === undefined && operation.isBodyOptional === true ? {} : value;
  checkShape(schema, given, refusalOf === undefined ? {} : { refusalOf });
  return given;
}

/** A cursor goes on in the list that it was issued for, with the same filters. */
function listName(operation: Operation, params: object, query: Readonly<Record<string, string>>): string {
  const filters = Object.entries(query).filter(([name]) => name !== "cursor" && name !== "limit");
  return JSON.stringify([operation.id, params, filters.sort(([a], [b]) => a.localeCompare(b))]);
}

/** RFC 9110 section 13.1.1. `*` is any version, which is there since the thing is. */
function versionCheck<T>(ifMatch: string, present: (thing: T) => unknown): (thing: T) => void {
  const wanted = ifMatch.slice(0, ETAG_CHARS_MAX);
  return (thing) => {
    if (wanted === "" || wanted.trim() === "*") return;
    const current = etagOf(JSON.stringify(present(thing)));
    if (!wanted.split(",").some((tag) => isEqualSecret(tag.trim(), current))) throw new AppError("version_changed");
  };
}
