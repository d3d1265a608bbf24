/** Metrics for Prometheus. Labels come from closed sets: nothing that a caller chooses becomes a label. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";

export interface Metrics {
  readonly registry: Registry;
  readonly requests: Counter<"status">;
  readonly tokens: Counter<"grant_type" | "result">;
  readonly signIns: Counter<"result">;
  readonly consents: Counter<"result">;
  readonly reuse: Counter<"what">;
  readonly storeFailures: Counter<"store">;
  readonly unusual: Counter<"kind">;
  readonly mails: Counter<"result">;
  readonly mailsWaiting: Gauge;
  readonly mailsOldest: Gauge;
  readonly logouts: Counter<"result">;
  readonly hashQueue: Gauge;
  readonly keyAge: Gauge<"algorithm">;
  readonly nextRotation: Gauge<"algorithm">;
  readonly rotations: Counter<"kind">;
  readonly rotationFailures: Counter<never>;
  readonly auditDropped: Counter<never>;
  readonly auditWaiting: Gauge;
  /** 1 while the check passes, 0 while it does not. */
  readonly checks: Gauge<"check">;
}

/** A registry per server, so that two of them in one process (tests) do not share counts. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> =>
    new Counter({ name: `signet_${name}`, help, labelNames: [...labelNames], registers: [registry] });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]): Gauge<L> =>
    new Gauge({ name: `signet_${name}`, help, labelNames: [...labelNames], registers: [registry] });
  return {
    registry,
    requests: counter("http_requests_total", "Answers by class of status.", ["status"]),
    tokens: counter("token_requests_total", "Answers of the token endpoint.", ["grant_type", "result"]),
    signIns: counter("sign_ins_total", "Sign-ins with a password.", ["result"]),
    consents: counter("consents_total", "Answers to the question for consent.", ["result"]),
    reuse: counter("reuse_detected_total", "Codes and refresh tokens that were presented a second time.", ["what"]),
    storeFailures: counter("store_failures_total", "Requests answered with 503 because a store did not answer.", [
      "store",
    ]),
    unusual: counter("unusual_sign_ins_total", "Sign-ins that do not look like the person's others, and attacks.", [
      "kind",
    ]),
    mails: counter("mails_total", "Mails handed to the mail server, put off, or given up.", ["result"]),
    mailsWaiting: gauge("mails_waiting", "Mails that wait to be sent.", []),
    mailsOldest: gauge("mails_oldest_seconds", "How long the oldest of the mails that wait has waited.", []),
    logouts: counter("backchannel_logouts_total", "Apps told of a sign-out, put off, or given up.", ["result"]),
    hashQueue: gauge("hash_queue", "Passwords waiting to be hashed.", []),
    keyAge: gauge("key_age_seconds", "How long the active signing key has been signing.", ["algorithm"]),
    nextRotation: gauge("key_next_rotation_seconds", "Seconds until the next signing key begins to sign.", [
      "algorithm",
    ]),
    rotations: counter("key_rotations_total", "Keys that this process put into use.", ["kind"]),
    rotationFailures: counter(
      "key_rotation_failures_total",
      "Attempts to rotate keys, or to read them, that failed.",
      [],
    ),
    auditDropped: counter("audit_events_dropped_total", "Audit events that found the backlog full.", []),
    auditWaiting: gauge("audit_events_waiting", "Audit events that could not be written yet.", []),
    checks: gauge("check_passes", "Whether what readiness asks for passes, by check.", ["check"]),
  };
}
