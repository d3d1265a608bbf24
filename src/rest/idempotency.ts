/** Idempotency-Key: a POST that is sent again, because its answer was lost, is not done again; it gets the same answer for a day. */
import { now, secondsAfter } from "../clock.ts";
import { AppError } from "../errors.ts";
import { sha256 } from "../secrets.ts";
import type { Db, Queries } from "../store/db.ts";
import type { Vault } from "../vault.ts";
import * as sql from "./queries.ts";

/** A client that lost an answer asks again at once, or when its machine is back. */
const KEPT_SECONDS = 86_400;
/** No request works as long. A process that died in between blocks its key for this time, since nobody knows how far it came. */
const CLAIMED_SECONDS = 60;
const KEY = /^[\x21-\x7e]{1,255}$/;

export interface Answered {
  readonly status: number;
  readonly body: string;
  readonly isReplayed: boolean;
}

export interface IdempotentRequests {
  /**
   * Runs the work once for this key of this caller at this address. Throws AppError idempotency_key_invalid, idempotency_key_reused (another
   * body), idempotency_running; what the work refuses with a 4xx did nothing, and the key is free again.
   */
  once(
    request: { readonly key: string; readonly caller: string; readonly target: string; readonly body: string },
    work: () => Promise<{ readonly status: number; readonly body: string }>,
  ): Promise<Answered>;
}

export function createIdempotentRequests({ db, vault }: { db: Db; vault: Vault }): IdempotentRequests {
  return {
    async once({ key, caller, target, body }, work) {
      if (!KEY.test(key)) throw new AppError("idempotency_key_invalid");
      const keyHash = sha256(`${caller}\n${target}\n${key}`);
      const requestHash = sha256(body);
      const at = now();
      if (!(await sql.claimRequest(db, { keyHash, requestHash, at, until: secondsAfter(at, CLAIMED_SECONDS) })))
        return replay(await sql.findRequest(db, keyHash), requestHash, vault);
      try {
        const answer = await work();
        const sealed = vault.seal(answer.body, contextOf(keyHash));
        await sql.settleRequest(db, keyHash, { ...answer, sealed, until: secondsAfter(at, KEPT_SECONDS) });
        return { ...answer, isReplayed: false };
      } catch (error) {
        if (error instanceof AppError && error.status < 500) await sql.releaseRequest(db, keyHash);
        throw error;
      }
    },
  };
}

/** Removes what has ended, at most so many. */
export function sweepRequests(db: Db, limit: number): Promise<number> {
  return sql.deleteEndedRequests(db, now(), limit);
}

function replay(row: sql.RequestRow | undefined, requestHash: string, vault: Vault): Answered {
  // Released or swept between the two looks.
  if (row === undefined) throw new AppError("idempotency_running", undefined, 1);
  if (row.request_hash !== requestHash) throw new AppError("idempotency_key_reused");
  if (row.status === null || row.sealed_answer === null)
    throw new AppError("idempotency_running", undefined, CLAIMED_SECONDS);
  const body = vault.open(row.sealed_answer, contextOf(row.key_hash));
  return { status: row.status, body, isReplayed: true };
}

/** Binds an answer to its row. */
function contextOf(keyHash: string): string {
  return `idempotent_requests:${keyHash}`;
}

/** What `signet key reencrypt` seals anew here. */
export const SEALED_ANSWERS = {
  name: "answers",
  read: async (tx: Queries) =>
    (await sql.selectSealedAnswers(tx)).map((row) => ({ id: row.id, sealed: row.sealed, context: contextOf(row.id) })),
  write: sql.updateSealedAnswer,
};
