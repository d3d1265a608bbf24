/** Request ids: one per request, in its answer, in every log line about it and on error pages, so that a person's report finds its line. */
import type { Middleware } from "koa";
import { monotonicMs } from "../clock.ts";
import type { Log } from "../log.ts";
import { randomText } from "../secrets.ts";

/** 9 random bytes, 12 characters: short enough to read out, and no two of a day are the same. */
const ID_BYTES = 9;

/** Never taken from the request: a caller who chooses ids could hide among others. Writes the access log when the answer is done. */
export function requestId(log: Log): Middleware {
  return async (ctx, next) => {
    const id = randomText(ID_BYTES);
    const begin = monotonicMs();
    ctx.state["requestId"] = id;
    ctx.set("X-Request-Id", id);
    try {
      await next();
    } finally {
      // The path alone: queries carry codes, states and hints.
      if (log.isOn("info")) {
        const ms = Math.round((monotonicMs() - begin) * 10) / 10;
        log.info("request", {
          request_id: id,
          method: ctx.method,
          path: ctx.path,
          status: ctx.status,
          ms,
          address: ctx.ip,
        });
      }
    }
  };
}

/** The id of the request that the context belongs to. */
export function requestIdOf(ctx: { readonly state: { readonly requestId?: unknown } }): string {
  return typeof ctx.state.requestId === "string" ? ctx.state.requestId : "";
}
