/** The REST API under /api/v1: finds the operation of a request, lets it through the gate, reads, runs, answers. Everything that is refused is a problem. */
import type { Context, Middleware } from "koa";
import { z } from "zod";
import { AppError } from "../errors.ts";
import { toAppError } from "../http/errors.ts";
import { requestIdOf } from "../http/request-id.ts";
import type { Log } from "../log.ts";
import { isEqualSecret, sha256 } from "../secrets.ts";
import type { Cursors } from "./cursor.ts";
import { callerOf, checkGives, checkScope, type GateParts } from "./gate.ts";
import type { IdempotentRequests } from "./idempotency.ts";
import { readJson } from "./json.ts";
import { openApiOf } from "./openapi.ts";
import type { Call, Caller, Operation, Result } from "./operation.ts";
import { answerProblem, checkShape } from "./problem.ts";

export const BASE = "/api/v1";
export const PAGE_DEFAULT = 50;
export const PAGE_MAX = 200;
const CURSOR_CHARS_MAX = 2000;
const ETAG_CHARS_MAX = 1000;

export interface RestParts extends GateParts {
  readonly issuer: string;
  readonly log: Log;
  readonly operations: readonly Operation[];
  readonly cursors: Cursors;
  readonly idempotent: IdempotentRequests;
  /** The readable page of the document. */
  showReference(ctx: Context, document: ReturnType<typeof openApiOf>): void;
}

interface Route {
  readonly pattern: RegExp;
  readonly names: readonly string[];
  readonly operations: readonly Operation[];
}

/** What every list takes. A number that is none is refused by its shape, not read as another one. */
export const pageShape = {
  limit: z
    .string()
    .regex(/^[1-9]\d{0,2}$/, `is not a whole number from 1 to ${PAGE_MAX}`)
    .refine((text) => Number(text) <= PAGE_MAX, `is more than ${PAGE_MAX}`)
    .describe(`How many at most, 1 to ${PAGE_MAX}; ${PAGE_DEFAULT} unless given.`)
    .optional(),
  cursor: z.string().max(CURSOR_CHARS_MAX).describe("The next_cursor of the page before.").optional(),
};

/** The shape of an operation's query, what every list takes included. */
export function queryOf({ query, isList }: Operation): z.ZodObject {
  return z.strictObject({ ...query?.shape, ...(isList === true ? pageShape : {}) });
}

export function restRoutes(parts: RestParts): Middleware {
  const routes = routesOf(parts.operations);
  const document = openApiOf(parts.operations, { issuer: parts.issuer, base: BASE, queryOf });
  const text = JSON.stringify(document);
  return async (ctx, next) => {
    if (ctx.path !== BASE && !ctx.path.startsWith(`${BASE}/`)) return next();
    let operation: Operation | undefined;
    try {
      if (ctx.path === `${BASE}/openapi.json`) return showDocument(ctx, text);
      if (ctx.path === BASE) return showReference(ctx, parts, document);
      const caller = await callerOf(ctx, parts);
      const found = find(ctx, routes);
      operation = found.operation;
      checkScope(ctx, caller, operation);
      await serve(ctx, parts, { caller, ...found });
    } catch (thrown) {
      answerProblem(ctx, toAppError(thrown, ctx, parts.log), operation);
    }
  };
}

interface Found {
  readonly operation: Operation;
  readonly params: Readonly<Record<string, string>>;
}

async function serve(ctx: Context, parts: RestParts, of: Found & { readonly caller: Caller }): Promise<void> {
  const { operation, params, caller } = of;
  const query = checkShape(queryOf(operation), single(ctx), { prefix: "query." }) as Record<string, string>;
  const json = await readJson(ctx);
  const body = bodyOf(operation, json?.value);
  const holder = operation.touches?.(params);
  if (holder !== undefined) checkGives(caller, await parts.scopesOf(holder));
  const list = listName(operation, params, query);
  const call: Call = {
    ...{ params, query, body, caller },
    by: { kind: caller.kind, id: caller.id, address: ctx.ip, requestId: requestIdOf(ctx) },
    page: {
      limit: Number(query["limit"] ?? PAGE_DEFAULT),
      after: query["cursor"] === undefined ? undefined : parts.cursors.read(list, query["cursor"]),
    },
    checkVersion: (present) => versionCheck(ctx, present),
    checkGives: (scopes) => checkGives(caller, scopes),
  };
  const work = async () => {
    const answer = shown(parts, operation, list, await operation.run(call));
    return { status: operation.status ?? (answer === "" ? 204 : 200), body: answer };
  };
  const key = ctx.get("idempotency-key");
  if (operation.method !== "POST" || key === "") return send(ctx, operation, await work());
  const target = `${ctx.method} ${ctx.path}`;
  const request = { key, caller: `${caller.kind}:${caller.id}`, target, body: json?.text ?? "" };
  const answered = await parts.idempotent.once(request, work);
  if (answered.isReplayed) ctx.set("Idempotency-Replayed", "true");
  send(ctx, operation, answered);
}

function shown(parts: RestParts, operation: Operation, list: string, { body, next }: Result): string {
  if (body === undefined) return "";
  if (operation.isList !== true) return JSON.stringify(body);
  return JSON.stringify({ data: body, next_cursor: next === undefined ? null : parts.cursors.issue(list, next) });
}

function send(ctx: Context, operation: Operation, { status, body }: { status: number; body: string }): void {
  ctx.status = status;
  if (body === "") return;
  if (operation.isVersioned === true) {
    ctx.set("ETag", etagOf(body));
    if (operation.method === "GET" && isKnown(ctx.get("if-none-match"), etagOf(body))) {
      ctx.status = 304;
      return;
    }
  }
  ctx.body = body;
  ctx.type = "application/json";
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

function find(ctx: Context, routes: readonly Route[]): Found {
  for (const { pattern, names, operations } of routes) {
    const [, ...values] = pattern.exec(ctx.path) ?? [];
    if (values.length !== names.length || (names.length === 0 && !pattern.test(ctx.path))) continue;
    const method = ctx.method === "HEAD" ? "GET" : ctx.method;
    const operation = operations.find((candidate) => candidate.method === method);
    if (operation === undefined) {
      ctx.set("Allow", operations.map((candidate) => candidate.method).join(", "));
      throw new AppError("method_not_allowed");
    }
    return { operation, params: Object.fromEntries(names.map((name, index) => [name, decoded(values[index] ?? "")])) };
  }
  throw new AppError("resource_unknown");
}

function routesOf(operations: readonly Operation[]): readonly Route[] {
  const byPath = new Map<string, Operation[]>();
  for (const operation of operations) byPath.set(operation.path, [...(byPath.get(operation.path) ?? []), operation]);
  return [...byPath].map(([path, group]) => ({
    pattern: new RegExp(`^${BASE}${path.replace(/\{\w+\}/g, "([^/]+)")}$`),
    names: [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name),
    operations: group,
  }));
}

/** Nothing that is stored holds a NUL, and Postgres takes none. */
function decoded(segment: string): string {
  try {
    const text = decodeURIComponent(segment);
    if (!text.includes("\0")) return text;
  } catch {
    // Not UTF-8: nothing has such a name.
  }
  throw new AppError("resource_unknown");
}

/** Each parameter once: one that stands twice would be read differently by two readers. */
function single(ctx: Context): Record<string, unknown> {
  for (const value of Object.values(ctx.query)) {
    if (Array.isArray(value)) throw new AppError("request_malformed", "A parameter stands twice in the query.");
    if (value?.includes("\0") === true) throw new AppError("request_malformed", "A parameter holds a NUL.");
  }
  return { ...ctx.query };
}

/** A cursor goes on in the list that it was issued for, with the same filters. */
function listName(operation: Operation, params: object, query: Readonly<Record<string, string>>): string {
  const filters = Object.entries(query).filter(([name]) => name !== "cursor" && name !== "limit");
  return JSON.stringify([operation.id, params, filters.sort(([a], [b]) => a.localeCompare(b))]);
}

/** Strong (RFC 9110 section 8.8.3): of the very bytes that are sent. */
function etagOf(body: string): string {
  return `"${sha256(body).slice(0, 27)}"`;
}

/** RFC 9110 section 13.1.1. `*` is any version, which is there since the thing is. */
function versionCheck<T>(ctx: Context, present: (thing: T) => unknown): (thing: T) => void {
  const wanted = ctx.get("if-match").slice(0, ETAG_CHARS_MAX);
  return (thing) => {
    if (wanted === "" || wanted.trim() === "*") return;
    const current = etagOf(JSON.stringify(present(thing)));
    if (!wanted.split(",").some((tag) => isEqualSecret(tag.trim(), current))) throw new AppError("version_changed");
  };
}

function isKnown(header: string, etag: string): boolean {
  return header.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag);
}

function showDocument(ctx: Context, text: string): void {
  checkRead(ctx);
  ctx.body = text;
  ctx.type = "application/json";
}

function showReference(ctx: Context, parts: RestParts, document: ReturnType<typeof openApiOf>): void {
  checkRead(ctx);
  parts.showReference(ctx, document);
}

function checkRead(ctx: Context): void {
  if (ctx.method === "GET" || ctx.method === "HEAD") return;
  ctx.set("Allow", "GET, HEAD");
  throw new AppError("method_not_allowed");
}
