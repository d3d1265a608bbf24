/** The REST API under /api/v1: finds the operation of a request, lets it through the gate, reads, runs, answers. Everything that is refused is a problem. */
import type { Context, Middleware } from "koa";
import { AppError } from "../errors.ts";
import { toAppError } from "../http/errors.ts";
import { requestIdOf } from "../http/request-id.ts";
import type { Log } from "../log.ts";
import { callerOf, type GateParts, nameScope } from "./gate.ts";
import type { IdempotentRequests } from "./idempotency.ts";
import { readJson } from "./json.ts";
import { LINES_TYPE, openApiOf } from "./openapi.ts";
import type { Caller, Operation } from "./operation.ts";
import { etagOf, type Performed, type PerformParts, prepare, queryOf } from "./perform.ts";
import { answerProblem } from "./problem.ts";

export const BASE = "/api/v1";

export interface RestParts extends GateParts, PerformParts {
  readonly issuer: string;
  readonly log: Log;
  readonly operations: readonly Operation[];
  readonly idempotent: IdempotentRequests;
  /** The readable page of the document. */
  showReference(ctx: Context, document: ReturnType<typeof openApiOf>): void;
}

interface Route {
  readonly pattern: RegExp;
  readonly names: readonly string[];
  readonly operations: readonly Operation[];
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
      nameScope(ctx, caller, operation);
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
  const query = single(ctx);
  const json = await readJson(ctx);
  const by = { kind: caller.kind, id: caller.id, address: ctx.ip, requestId: requestIdOf(ctx) };
  const work = await prepare(parts, operation, {
    ...{ params, query, caller, by, body: json?.value },
    ifMatch: ctx.get("if-match"),
  });
  const key = ctx.get("idempotency-key");
  if (operation.method !== "POST" || key === "") return send(ctx, operation, await work());
  const target = `${ctx.method} ${ctx.path}`;
  const request = { key, caller: `${caller.kind}:${caller.id}`, target, body: json?.text ?? "" };
  const answered = await parts.idempotent.once(request, work);
  if (answered.isReplayed) ctx.set("Idempotency-Replayed", "true");
  send(ctx, operation, answered);
}

function send(ctx: Context, operation: Operation, { status, body, nextCursor }: Performed): void {
  if (operation.isLines === true) {
    sendLines(ctx, body, nextCursor);
    return;
  }
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

/** The next page is the same address with another cursor (RFC 8288). */
function sendLines(ctx: Context, body: string, nextCursor: string | undefined): void {
  const query = new URLSearchParams(ctx.querystring);
  if (nextCursor !== undefined) {
    query.set("cursor", nextCursor);
    ctx.set("Link", `<${ctx.path}?${query}>; rel="next"`);
  }
  ctx.status = 200;
  ctx.body = body;
  ctx.type = LINES_TYPE;
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
