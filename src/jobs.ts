/** Jobs: what runs by itself, each with its period. A job that fails is logged and runs again at its next time. */

import { sleep } from "./clock.ts";
import type { Health } from "./http/management.ts";
import type { Service } from "./service.ts";

interface Job {
  readonly name: string;
  readonly periodSeconds: number;
  run(service: Service, health: Health): Promise<void>;
}

/** Small batches, so that a sweep never holds many rows; what is left over waits for the next time. */
const SWEEP_ROWS = 1000;
const SWEEP_BATCHES_MAX = 20;

const JOBS: readonly Job[] = [
  {
    name: "sweep of what expired",
    periodSeconds: 60,
    async run({ grants, counters, revocations }) {
      for (const store of [grants, counters, revocations]) {
        for (let batch = 0; batch < SWEEP_BATCHES_MAX; batch += 1) {
          if ((await store.sweep(SWEEP_ROWS)) < SWEEP_ROWS) break;
        }
      }
    },
  },
  {
    name: "audit events that wait",
    periodSeconds: 2,
    async run({ backlog, metrics }) {
      await backlog.flush().finally(() => metrics.auditWaiting.set(backlog.size));
    },
  },
  {
    // Nobody may be asking for readiness; the log and the metrics tell all the same.
    name: "look at the stores",
    periodSeconds: 10,
    async run({ metrics }, health) {
      for (const { name, isOk } of await health.results()) metrics.checks.set({ check: name }, isOk ? 1 : 0);
    },
  },
];

export function startJobs(service: Service, health: Health): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const loops = JOBS.map((job) => loop(job, { service, health }, stopping.signal));
  return {
    async stop() {
      stopping.abort();
      await Promise.all(loops);
    },
  };
}

async function loop(job: Job, on: { service: Service; health: Health }, stopped: AbortSignal): Promise<void> {
  let isFailing = false;
  while (!stopped.aborted) {
    await sleep(job.periodSeconds * 1000, stopped);
    if (stopped.aborted) return;
    try {
      await job.run(on.service, on.health);
      isFailing = false;
    } catch (error) {
      // An outage is one line a job, however long it lasts.
      const fields = { job: job.name, error: error instanceof Error ? error.message : "unknown" };
      if (isFailing) on.service.log.debug("a job failed again", fields);
      else on.service.log.warn("a job failed", fields);
      isFailing = true;
    }
  }
}
