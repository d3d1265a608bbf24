/** Request ids: one per request, in its answer, in every log line about it and on error pages, so that a person's report finds its line. */
import type { Context, Middleware } from "koa";
import { monotonicMs } from "../clock.ts";
import type { Log } from "../log.ts";
import { randomName } from "../secrets.ts";

/** 9 random bytes, 12 characters: short enough to read out, and no two of a day are the same. */
const ID_BYTES = 9;
/** No page's own name is as long; ids of 126 random bits and more are. */
const LONG_SEGMENT = /\/[A-Za-z0-9_-]{21,}(?=\/|$)/g;

/** Never taken from the request: a caller who chooses ids could hide among others. */
export function newRequestId(): string {
  return randomName(ID_BYTES);
}

/** Names the request, calls `onAnswer` when the answer is made, and writes the access log. The one layer of all that waits for the rest: each costs every request. */
export function requestId(log: Log, onAnswer: (ctx: Context) => void): Middleware {
  return async (ctx, next) => {
    const id = newRequestId();
    const begin = monotonicMs();
    ctx.state["requestId"] = id;
    ctx.set("X-Request-Id", id);
    try {
      await next();
    } finally {
      onAnswer(ctx);
      // The path alone: queries carry codes, states and hints.
      if (log.isOn("info")) {
        const ms = Math.round((monotonicMs() - begin) * 10) / 10;
        log.request({ id, method: ctx.method, path: pathForLog(ctx.path), status: ctx.status, ms, address: ctx.ip });
      }
    }
  };
}

/** A sign-in is named in its address by what its cookie holds: the log tells which page it was, and by the request's id which request (T-LOG-2). */
function pathForLog(path: string): string {
  return path.replace(LONG_SEGMENT, "/:id");
}

/** The id of the request that the context belongs to. */
export function requestIdOf(ctx: { readonly state: { readonly requestId?: unknown } }): string {
  return typeof ctx.state.requestId === "string" ? ctx.state.requestId : "";
}
