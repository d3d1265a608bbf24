/** Health and metrics: a word on the public port, everything on the management port. */
import type { Context, Middleware } from "koa";
import type { Registry } from "prom-client";
import { monotonicMs, sleep } from "../clock.ts";
import { AppError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Arrivals } from "./arrivals.ts";

/** A check that has not answered by then has failed: a balancer asks every few seconds. */
const CHECK_MS = 1000;
/** An answer serves whoever asks within this time: readiness stands open to strangers, and each look asks the stores. */
const FRESH_MS = 250;

export interface HealthCheck {
  readonly name: string;
  /** Throws when the thing cannot be used, with the reason. */
  check(): Promise<void>;
}

export interface CheckResult {
  readonly name: string;
  readonly isOk: boolean;
  readonly reason?: string;
}

export interface Health {
  results(): Promise<readonly CheckResult[]>;
  /** From the signal to stop on: the balancer is to send nobody here, while those who are here are served. */
  drain(): void;
  readonly isDraining: boolean;
}

/** What changes is logged once, so that the log says when and why a process was taken out of service. */
export function createHealth(checks: () => readonly HealthCheck[], log: Log): Health {
  let isDraining = false;
  let looked: { readonly at: number; readonly results: Promise<readonly CheckResult[]> } | undefined;
  const failing = new Set<string>();
  const look = async (): Promise<readonly CheckResult[]> => {
    const results = await Promise.all(checks().map(run));
    for (const { name, isOk, reason } of results) {
      if (isOk === !failing.has(name)) continue;
      if (isOk) failing.delete(name);
      else failing.add(name);
      if (isOk) log.info("ready again", { name });
      else log.error("not ready", { name, reason });
    }
    return results;
  };
  return {
    async results() {
      if (looked === undefined || monotonicMs() - looked.at > FRESH_MS) looked = { at: monotonicMs(), results: look() };
      const results = await looked.results;
      return isDraining ? [...results, { name: "serving", isOk: false, reason: "the server is stopping" }] : results;
    },
    drain() {
      isDraining = true;
    },
    get isDraining() {
      return isDraining;
    },
  };
}

/** While the process stops, each answer asks the other side to come back on a new connection, which the balancer leads elsewhere (T-REL-13). */
export function closeWhileDraining(health: Health, ctx: Context): void {
  if (health.isDraining) ctx.set("Connection", "close");
}

export const ARRIVALS_PATH = "/arrivals/";
const READY_PATHS = ["/health/ready", "/health", "/ready"];
const HEALTH_PATHS = new Set(["/health/live", ...READY_PATHS]);

/** `/health/live`: the process runs; it touches no store. `/health/ready`: it can serve. No detail for strangers. */
export function publicHealth(health: Health): Middleware {
  return (ctx, next) => (HEALTH_PATHS.has(ctx.path) ? answerHealth(ctx, health) : next());
}

async function answerHealth(ctx: Context, health: Health): Promise<void> {
  if (ctx.method !== "GET" && ctx.method !== "HEAD") {
    ctx.set("Allow", "GET, HEAD");
    throw new AppError("method_not_allowed");
  }
  if (!READY_PATHS.includes(ctx.path)) {
    ctx.body = { status: "live" };
    return;
  }
  const isReady = (await health.results()).every((result) => result.isOk);
  ctx.status = isReady ? 200 : 503;
  ctx.body = { status: isReady ? "ready" : "not ready" };
}

/**
 * The management port: `/metrics` for Prometheus, `/health` with the reason of each check, `/arrivals/…` for the doctor. Metrics begin when
 * the stores were reached.
 */
export function managementRoutes(parts: {
  readonly health: Health;
  readonly registry: () => Registry | undefined;
  readonly arrivals: Arrivals;
}): Middleware {
  const { health, registry, arrivals } = parts;
  return async (ctx) => {
    const metrics = registry();
    if (ctx.path === "/metrics" && metrics !== undefined) {
      ctx.type = metrics.contentType;
      ctx.body = await metrics.metrics();
    } else if (ctx.path === "/health" || ctx.path === "/health/ready") {
      const results = await health.results();
      ctx.status = results.every((result) => result.isOk) ? 200 : 503;
      ctx.body = { status: ctx.status === 200 ? "ready" : "not ready", checks: results };
    } else if (ctx.path === "/health/live") {
      ctx.body = { status: "live" };
    } else {
      ctx.body = ctx.path.startsWith(ARRIVALS_PATH) ? arrivals.find(ctx.path.slice(ARRIVALS_PATH.length)) : undefined;
      ctx.status = ctx.body === undefined || ctx.body === null ? 404 : 200;
    }
  };
}

async function run(check: HealthCheck): Promise<CheckResult> {
  const over = new AbortController();
  const late = sleep(CHECK_MS, over.signal).then(() => {
    if (!over.signal.aborted) throw new Error(`no answer in ${CHECK_MS} ms`);
  });
  try {
    await Promise.race([check.check(), late]);
    return { name: check.name, isOk: true };
  } catch (error) {
    return { name: check.name, isOk: false, reason: error instanceof Error ? error.message : "unknown" };
  } finally {
    over.abort();
  }
}
