/**
 * Revocations: what was ended before its time, kept in Postgres until the longest token that it covers has ended, and carried out in the
 * expiring store. The row comes first: whatever happens to the store, it is planted there again before the next answer.
 */
import { now, secondsAfter } from "../clock.ts";
import { sha256 } from "../secrets.ts";
import type { Db, Queries } from "../store/db.ts";
import { type GrantStore, type Revocation, type RevocationSource, storeKey } from "../store/grants.ts";
import type { Notices } from "../store/notices.ts";
import { deleteExpired, type Place, selectRevocations, upsertRevocation } from "./queries.ts";

const CHANNEL = "revocations";
/** Rows that are read and planted at once. */
const PAGE = 1000;
/** A row outlives what it covers by this: a write that was on its way when the row was written, and clocks that differ. */
const SLACK_SECONDS = 86_400;

/** What is ended: one sign-in at one client, one browser session (by its uid), one token for its remaining seconds, all of a user or of a client until now. */
export type Revoked =
  | { readonly kind: "grant" | "session" | "user" | "client"; readonly id: string }
  | { readonly kind: "grant"; readonly hash: string }
  | { readonly kind: "token"; readonly model: string; readonly id: string; readonly seconds: number };

export interface Revocations {
  /** Inside the transaction of the change that ends it. Users and clients are also told to every other process when it commits. */
  write(tx: Queries, what: Revoked): Promise<void>;
  /**
   * After the commit: when it returns, nothing of it works from the next request on, at any process. Throws AppError store_unavailable when
   * it cannot be said; doing it again is harmless.
   */
  carryOut(what: Revoked): Promise<void>;
  /** Both, where nothing else changes with it: all of it is written in one transaction, and `record` in the same one, or none is. */
  end(what: Revoked | readonly Revoked[], record?: (tx: Queries) => Promise<void>): Promise<void>;
  readonly written: RevocationSource;
  /** Removes what has ended, at most so many. */
  sweep(limit: number): Promise<number>;
}

export function createRevocations(options: {
  db: Db;
  notices: Notices;
  /** The expiring store, opened when it is first needed: most commands revoke nothing. */
  store: () => Promise<GrantStore>;
  /** How long the longest-lived token may live. */
  longestSeconds: number;
  /** Before sessions end: whoever must hear of it is written down in the same transaction, and read over its connection. */
  beforeEnd?: (tx: Queries, ended: { readonly kind: "user" | "session"; readonly id: string }) => Promise<void>;
}): Revocations {
  const { db, notices, store } = options;
  const keptSeconds = options.longestSeconds + SLACK_SECONDS;
  const row = (what: Revoked): Revocation => rowOf(what, keptSeconds);
  const write: Revocations["write"] = async (tx, what) => {
    const revocation = row(what);
    if (what.kind === "user" || what.kind === "session")
      await options.beforeEnd?.(tx, { kind: what.kind, id: what.id });
    await upsertRevocation(tx, revocation, now());
    if (isCut(what)) await notices.publish(tx, CHANNEL, JSON.stringify(revocation));
  };
  const carryOut: Revocations["carryOut"] = async (what) => {
    const revocation = row(what);
    // Once more for a cut-off: a sign-in that read the old state just before the commit dates from after the first row.
    if (isCut(what)) await upsertRevocation(db, revocation, now());
    const grants = await store();
    // The Grant itself goes, too.
    if (what.kind === "grant" && "id" in what) await grants.endGrant(what.id, keptSeconds);
    else await grants.plant([revocation]);
  };
  return {
    write,
    carryOut,
    async end(what, record) {
      const all: readonly Revoked[] = "kind" in what ? [what] : what;
      await db.transaction(async (tx) => {
        for (const one of all) await write(tx, one);
        await record?.(tx);
      });
      for (const one of all) await carryOut(one);
    },
    written: (since) => pages(db, since),
    sweep: (limit) => deleteExpired(db, now(), limit),
  };
}

/** The other processes carry it out, too: whoever wrote it may have died, or reach another part of the network than they. */
export function obeyNotices(notices: Notices, store: GrantStore): void {
  notices.subscribe(CHANNEL, (payload) => {
    store.plant([JSON.parse(payload) as Revocation]).catch(() => store.doubt());
  });
  notices.onReconnect(() => store.doubt());
  // Nobody may have been listening.
  store.doubt();
}

function isCut(what: Revoked): boolean {
  return what.kind === "user" || what.kind === "client";
}

function rowOf(what: Revoked, seconds: number): Revocation {
  const at = now();
  const expiresAtMs = secondsAfter(at, what.kind === "token" ? what.seconds : seconds).getTime();
  return { kind: what.kind, key: keyOf(what), beforeMs: at.getTime(), expiresAtMs };
}

/** A list of what a person has knows grants by their hash alone. */
function keyOf(what: Revoked): string {
  if ("hash" in what) return what.hash;
  if (what.kind === "token") return storeKey(what.model, what.id);
  return isCut(what) ? what.id : sha256(what.id);
}

async function* pages(db: Db, since: Date): AsyncGenerator<readonly Revocation[]> {
  let after: Place = { writtenAt: since, kind: "", key: "" };
  for (;;) {
    const page = await selectRevocations(db, { after, at: now(), limit: PAGE });
    if (page.length > 0) yield page;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return;
    after = last;
  }
}
