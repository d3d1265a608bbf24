/** Documents: answers that are the same for everybody, written once and sent from memory, before everything else that a request goes through. */

import { IncomingMessage, type RequestListener, ServerResponse } from "node:http";
import { Socket } from "node:net";
import Koa, { type Context, type Middleware } from "koa";
import compose from "koa-compose";
import { monotonicMs } from "../clock.ts";
import type { TrustProxy } from "../config.ts";
import type { Log } from "../log.ts";
import { sha256 } from "../secrets.ts";
import { securityHeaders } from "./headers.ts";
import { clientAddress, hostsOf } from "./host.ts";
import { newRequestId } from "./request-id.ts";

export interface Document {
  /** ASCII alone: head and body then leave in one write, which costs less than two buffers. */
  readonly text: string;
  readonly type: string;
  /** Strong (RFC 9110 section 8.8.3): the hash of the bytes. */
  readonly etag: string;
}

/** By path. */
export type Documents = ReadonlyMap<string, Document>;

export interface DocumentOptions {
  readonly issuer: string;
  readonly documents: () => Documents;
  /** How long a copy may be kept. */
  readonly cacheSeconds: number;
  /** While this process cannot confirm what it knows, copies of it are not to be kept. */
  readonly isFresh: () => boolean;
}

export interface ListenerOptions extends DocumentOptions {
  readonly log: Log;
  readonly trustProxy: TrustProxy;
  readonly onAnswer: (status: number) => void;
  readonly isDraining: () => boolean;
}

export function documentOf(value: unknown, type: string): Document {
  const text = JSON.stringify(value).replace(
    /[^\0-\x7e]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return { text, type, etag: `"${sha256(text)}"` };
}

/**
 * Answers the plain requests for a document, which are nearly all; what is in any way unusual goes the long way through every check
 * (`documentMiddleware`), and so does what is refused.
 */
export async function documentsFirst(options: ListenerOptions, listen: RequestListener): Promise<RequestListener> {
  const { issuer } = options;
  const host = new URL(issuer).host;
  const common = await securityHeadersOf(issuer);
  const headOf = headsOver(common, options.cacheSeconds);
  return (request, response) => {
    const { method, headers, url: path = "" } = request;
    const document = options.documents().get(path);
    const isPlain = (method === "GET" || method === "HEAD") && headers.host === host && !hasBody(request);
    if (document === undefined || !isPlain || hostsOf(request) !== 1) return listen(request, response);
    const began = monotonicMs();
    const id = newRequestId();
    const isKnown = matches(headers["if-none-match"], document.etag);
    const status = isKnown ? 304 : 200;
    const head = headOf(document, { isFresh: options.isFresh(), isKnown });
    head[1] = id;
    response.writeHead(status, options.isDraining() ? [...head, "Connection", "close"] : head);
    if (isKnown || method === "HEAD") response.end();
    else response.end(document.text, "latin1");
    options.onAnswer(status);
    if (options.log.isOn("info")) {
      const forwarded = headers["x-forwarded-for"];
      const ms = Math.round((monotonicMs() - began) * 10) / 10;
      const address = clientAddress(request.socket.remoteAddress ?? "", String(forwarded ?? ""), options.trustProxy);
      options.log.request({ id, method, path, status, ms, address });
    }
  };
}

/** Each head is made once per document, with room for the request's id in second place: it is written out before the next one is begun. */
function headsOver(
  common: readonly (readonly [string, string])[],
  cacheSeconds: number,
): (document: Document, of: { isFresh: boolean; isKnown: boolean }) => string[] {
  const made = new WeakMap<Document, Map<string, string[]>>();
  return (document, { isFresh, isKnown }) => {
    let heads = made.get(document);
    if (heads === undefined) {
      heads = new Map<string, string[]>();
      made.set(document, heads);
    }
    const kind = `${isFresh} ${isKnown}`;
    let head = heads.get(kind);
    if (head === undefined) {
      const body = isKnown ? [] : ["Content-Type", document.type, "Content-Length", String(document.text.length)];
      const open = openHeaders(isFresh ? cacheSeconds : undefined);
      head = ["X-Request-Id", "", "ETag", document.etag, ...body, ...open.flat(), ...common.flat()];
      heads.set(kind, head);
    }
    return head;
  };
}

/** The same for what came the long way: with a query, through another name of the host, at the end of a redirect. */
export function documentMiddleware(options: DocumentOptions): Middleware {
  return (ctx, next) => {
    const document = options.documents().get(ctx.path);
    if (document === undefined || (ctx.method !== "GET" && ctx.method !== "HEAD")) return next();
    for (const [name, value] of openHeaders(options.isFresh() ? options.cacheSeconds : undefined)) ctx.set(name, value);
    ctx.set("ETag", document.etag);
    if (matches(ctx.headers["if-none-match"], document.etag)) {
      ctx.status = 304;
      return undefined;
    }
    ctx.body = document.text;
    ctx.type = document.type;
    return undefined;
  };
}

/** What a Koa app, or a middleware alone, answers to a request that never went over a wire: its context, before it is sent. */
export async function askInMemory(
  app: Koa,
  middlewares: readonly Middleware[],
  to: { issuer: string; path: string },
): Promise<Context> {
  const request = new IncomingMessage(new Socket());
  const { host, protocol } = new URL(to.issuer);
  Object.assign(request, { method: "GET", url: to.path });
  Object.assign(request.headers, { host, "x-forwarded-proto": protocol.slice(0, -1), accept: "application/json" });
  const ctx = app.createContext(request, new ServerResponse(request)) as Context;
  await compose([...middlewares])(ctx);
  return ctx;
}

/** The security headers as they stand in every answer, but those that a document has its own value for. */
async function securityHeadersOf(issuer: string): Promise<readonly (readonly [string, string])[]> {
  const middlewares = [securityHeaders({ isHttps: issuer.startsWith("https:") })];
  const { res } = await askInMemory(new Koa(), middlewares, { issuer, path: "/" });
  const own = new Set(["cache-control", "cross-origin-resource-policy"]);
  const names = res.getHeaderNames().filter((name) => !own.has(name));
  return names.map((name) => [name, String(res.getHeader(name))] as const);
}

/** Any origin may read them, without credentials, and caches keep one copy. */
function openHeaders(cacheSeconds: number | undefined): readonly (readonly [string, string])[] {
  const isKept = cacheSeconds !== undefined;
  return [
    ["Cache-Control", isKept ? `public, max-age=${cacheSeconds}, stale-if-error=${cacheSeconds}` : "no-cache"],
    ["Access-Control-Allow-Origin", "*"],
    ["Cross-Origin-Resource-Policy", "cross-origin"],
  ];
}

/** RFC 9110 section 13.1.2: a list of tags, compared weakly, or `*`. */
function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header === etag || header.trim() === "*") return true;
  return header.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag);
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
}
