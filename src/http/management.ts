/** Health and metrics: a word on the public port, everything on the management port. */
import type { Middleware } from "koa";
import type { Registry } from "prom-client";

/** A check that has not answered by then has failed: a balancer asks every few seconds. */
const CHECK_MS = 1000;

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
}

export function createHealth(checks: () => readonly HealthCheck[]): Health {
  let isDraining = false;
  return {
    async results() {
      const results = await Promise.all(checks().map(run));
      return isDraining ? [...results, { name: "serving", isOk: false, reason: "the server is stopping" }] : results;
    },
    drain() {
      isDraining = true;
    },
  };
}

/** `/health/live`: the process runs; it touches no store. `/health/ready`: it can serve. No detail for strangers. */
export function publicHealth(health: Health): Middleware {
  return async (ctx, next) => {
    if (ctx.path === "/health/live") {
      ctx.body = { status: "live" };
    } else if (["/health/ready", "/health", "/ready"].includes(ctx.path)) {
      const isReady = (await health.results()).every((result) => result.isOk);
      ctx.status = isReady ? 200 : 503;
      ctx.body = { status: isReady ? "ready" : "not ready" };
    } else {
      await next();
    }
  };
}

/** The management port: `/metrics` for Prometheus, `/health` with the reason of each check. */
export function managementRoutes(health: Health, registry: Registry): Middleware {
  return async (ctx) => {
    if (ctx.path === "/metrics") {
      ctx.type = registry.contentType;
      ctx.body = await registry.metrics();
    } else if (ctx.path === "/health" || ctx.path === "/health/ready") {
      const results = await health.results();
      ctx.status = results.every((result) => result.isOk) ? 200 : 503;
      ctx.body = { status: ctx.status === 200 ? "ready" : "not ready", checks: results };
    } else if (ctx.path === "/health/live") {
      ctx.body = { status: "live" };
    } else {
      ctx.status = 404;
    }
  };
}

async function run(check: HealthCheck): Promise<CheckResult> {
  const timeout = AbortSignal.timeout(CHECK_MS);
  try {
    await Promise.race([
      check.check(),
      new Promise((_resolve, reject) =>
        timeout.addEventListener("abort", () => reject(new Error(`no answer in ${CHECK_MS} ms`))),
      ),
    ]);
    return { name: check.name, isOk: true };
  } catch (error) {
    return { name: check.name, isOk: false, reason: error instanceof Error ? error.message : "unknown" };
  }
}
