/** Jobs: what runs by itself, each with its period. A job that fails is logged and runs again at its next time. */
import { setMaxListeners } from "node:events";
import { now, sleep } from "./clock.ts";
import type { Health } from "./http/management.ts";
import { sweepRequests } from "./rest/idempotency.ts";
import type { Service } from "./service.ts";
import { sweepLinks } from "./users/link.ts";

interface Job {
  readonly name: string;
  readonly periodSeconds: number | ((service: Service) => number);
  run(service: Service, health: Health): Promise<void>;
}

/** Small batches, so that a sweep never holds many rows; what is left over waits for the next time. */
const SWEEP_ROWS = 1000;
const SWEEP_BATCHES_MAX = 20;

const JOBS: readonly Job[] = [
  {
    name: "sweep of what expired",
    periodSeconds: 60,
    async run({ grants, counters, revocations, mails, signUps, deletions, logouts, failures, activity, db }) {
      const links = { sweep: (limit: number) => sweepLinks(db, limit) };
      const answers = { sweep: (limit: number) => sweepRequests(db, limit) };
      for (const store of [
        grants,
        counters,
        revocations,
        mails,
        signUps,
        links,
        answers,
        deletions,
        logouts,
        failures,
        activity,
      ]) {
        for (let batch = 0; batch < SWEEP_BATCHES_MAX; batch += 1) {
          if ((await store.sweep(SWEEP_ROWS)) < SWEEP_ROWS) break;
        }
      }
    },
  },
  {
    name: "mails that are due",
    periodSeconds: 1,
    run: async ({ outbox }) => void (await outbox.flush()),
  },
  {
    // By itself: a mail server that hangs holds the sending up, and that is when somebody looks.
    name: "mails that wait",
    periodSeconds: 2,
    async run({ outbox, metrics }) {
      const { waiting, oldestSeconds } = await outbox.waiting();
      metrics.mailsWaiting.set(waiting);
      metrics.mailsOldest.set(oldestSeconds);
    },
  },
  {
    name: "apps to be told of a sign-out",
    periodSeconds: 1,
    run: async ({ backchannel }) => void (await backchannel.flush()),
  },
  {
    name: "activity",
    periodSeconds: 10,
    run: ({ activity }) => activity.flush(),
  },
  {
    name: "failures of apps",
    periodSeconds: 1,
    run: ({ failures }) => failures.flush(),
  },
  {
    name: "audit events that wait",
    periodSeconds: 2,
    async run({ backlog, metrics }) {
      await backlog.flush().finally(() => metrics.auditWaiting.set(backlog.size));
    },
  },
  {
    // Within five seconds of its commit an event is numbered and chained, whatever the number of instances.
    name: "sealing of the audit trail",
    periodSeconds: 2,
    run: async ({ sealer, keyring }) => void (await sealer.seal(keyring.current().secrets.audit)),
  },
  {
    name: "retention of the audit trail",
    periodSeconds: 600,
    run: async ({ sealer, keyring }) => void (await sealer.prune(keyring.current().secrets.audit)),
  },
  {
    name: "keys",
    periodSeconds: ({ keyring }) => keyring.pollSeconds,
    run: (service) => tendKeys(service),
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

/** Keyrings whose last look failed: an outage is one event, however long it lasts. */
const failingKeys = new WeakSet<object>();

/** Reads the keys, takes the steps that are due, and says on the metrics how things stand; a failure is counted, and on the trail once. */
async function tendKeys({ keyring, metrics, recordAlone, log }: Service): Promise<void> {
  try {
    await keyring.refresh();
    const { steps } = await keyring.turn();
    if (steps.length > 0) await keyring.refresh();
    for (const step of steps) {
      if (step.do === "activate") metrics.rotations.inc({ kind: "signing" });
      if (step.do === "activate secret") metrics.rotations.inc({ kind: "random" });
      const kid = "key" in step && "kid" in step.key ? step.key.kid : undefined;
      log.info("keys: a step was taken", { event: step.do, kid });
    }
    failingKeys.delete(keyring);
  } catch (error) {
    metrics.rotationFailures.inc();
    // What the database itself could not take waits in the backlog, and is written when it can be.
    if (!failingKeys.has(keyring)) {
      const reason = error instanceof Error ? error.message : "unknown";
      void recordAlone({
        name: "key.rotation_failed",
        actor: { kind: "system" },
        data: { reason: reason.slice(0, 200) },
      });
    }
    failingKeys.add(keyring);
    throw error;
  } finally {
    for (const { algorithm, activatedAt, nextRotationAt } of keyring.current().active) {
      metrics.keyAge.set({ algorithm }, (now().getTime() - activatedAt.getTime()) / 1000);
      if (nextRotationAt !== undefined)
        metrics.nextRotation.set({ algorithm }, (nextRotationAt.getTime() - now().getTime()) / 1000);
    }
  }
}

export function startJobs(service: Service, health: Health): { stop(): Promise<void> } {
  const stopping = new AbortController();
  // Each job listens while it sleeps: that is no leak, whatever their number.
  setMaxListeners(JOBS.length, stopping.signal);
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
  const { periodSeconds: period } = job;
  const periodSeconds = typeof period === "number" ? period : period(on.service);
  while (!stopped.aborted) {
    await sleep(periodSeconds * 1000, stopped);
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
