/** Jobs: what runs by itself, each with its period. A job that fails is logged and runs again at its next time. */
import type { Service } from "./app.ts";
import { sleep } from "./clock.ts";

interface Job {
  readonly name: string;
  readonly periodSeconds: number;
  run(service: Service): Promise<void>;
}

/** Small batches, so that a sweep never holds many rows; what is left over waits for the next time. */
const SWEEP_ROWS = 1000;
const SWEEP_BATCHES_MAX = 20;

const JOBS: readonly Job[] = [
  {
    name: "sweep of what expired",
    periodSeconds: 60,
    async run({ grants, counters }) {
      for (const store of [grants, counters]) {
        for (let batch = 0; batch < SWEEP_BATCHES_MAX; batch += 1) {
          if ((await store.sweep(SWEEP_ROWS)) < SWEEP_ROWS) break;
        }
      }
    },
  },
];

export function startJobs(service: Service): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const loops = JOBS.map((job) => loop(job, service, stopping.signal));
  return {
    async stop() {
      stopping.abort();
      await Promise.all(loops);
    },
  };
}

async function loop(job: Job, service: Service, stopped: AbortSignal): Promise<void> {
  while (!stopped.aborted) {
    await sleep(job.periodSeconds * 1000, stopped);
    if (stopped.aborted) return;
    try {
      await job.run(service);
    } catch (error) {
      service.log.warn("a job failed", { job: job.name, error: error instanceof Error ? error.message : "unknown" });
    }
  }
}
