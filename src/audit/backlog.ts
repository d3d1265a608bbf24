/** The backlog: events that could not be written at their time wait here, in order and bounded, until the trail takes them again. */
import { now } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Queries } from "../store/db.ts";
import type { AuditEvent } from "./event.ts";
import { insertEvent } from "./queries.ts";

/** An event is some hundred bytes, so this is a few megabytes; more are counted as dropped (T-REL-22). */
const EVENTS_MAX = 10_000;
/** Written one by one in small portions, so that a long backlog is no load. */
const PORTION = 500;

export interface Backlog {
  /** Writes the event, or keeps it for later. Never throws: beside it nothing changes in Postgres, and a sign-in does not fail for its record. */
  record(event: AuditEvent): Promise<void>;
  /** Writes what waits; stops at the first that fails again. */
  flush(): Promise<void>;
  readonly size: number;
}

export function createBacklog(options: { db: Queries; log: Log; onDropped: () => void }): Backlog {
  const { db, log, onDropped } = options;
  const waiting: { readonly event: AuditEvent; readonly at: Date }[] = [];
  const keep = (event: AuditEvent, at: Date, reason: string): void => {
    if (waiting.length >= EVENTS_MAX) {
      // Counted, since a line for each would bury the log that has to tell why.
      onDropped();
      return;
    }
    if (waiting.length === 0)
      log.error("the audit trail cannot be written; events wait", { event: event.name, reason });
    waiting.push({ event, at });
  };
  return {
    async record(event) {
      const at = now();
      // Behind others that wait, so that the order stays and a trail that is out of order is not asked with every request.
      if (waiting.length > 0) return keep(event, at, "others wait");
      await insertEvent(db, event, at).catch((error: Error) => keep(event, at, error.message));
    },
    async flush() {
      for (let written = 0; written < PORTION && waiting[0] !== undefined; written += 1) {
        const [{ event, at }] = waiting;
        await insertEvent(db, event, at);
        waiting.shift();
        if (waiting.length === 0) log.info("the audit trail is written again");
      }
    },
    get size() {
      return waiting.length;
    },
  };
}
