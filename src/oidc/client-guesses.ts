/** Guesses at a client's secret: failures are counted by client and address, and beyond the limit no secret is looked at any more (T-RL-5). */
import type { Context } from "koa";
import { monotonicMs } from "../clock.ts";
import { AppError } from "../errors.ts";
import { addressSubject } from "../limits/address.ts";
import type { Limits } from "../limits/limit.ts";
import { CLIENT_AUTHENTICATION } from "../limits/rules.ts";

export interface ClientGuesses {
  /** Whether this address has to wait before another secret of this client is compared. Asks no store: a good request costs nothing. */
  isBlocked(clientId: string, address: string): boolean;
  /** Counts an answer that says `invalid_client`; what is to be answered instead when there were too many. Ids that no client has count alike. */
  judge(ctx: Context): Promise<AppError | undefined>;
}

/** Whoever is forgotten early is found again by the next failure: the count stands in the store that all processes share. */
const BLOCKED_MAX = 10_000;
const ID_CHARS_MAX = 100;

export function createClientGuesses(limits: Limits): ClientGuesses {
  const blockedUntil = new Map<string, number>();
  return {
    isBlocked: (clientId, address) => (blockedUntil.get(subjectOf(clientId, address)) ?? 0) > monotonicMs(),
    async judge(ctx) {
      if (ctx.status !== 401 || (ctx.body as { error?: unknown } | null)?.error !== "invalid_client") return undefined;
      const clientId = guessedAt(ctx);
      if (clientId === undefined) return undefined;
      const subject = subjectOf(clientId, ctx.ip);
      const waitSeconds = await limits.hit(CLIENT_AUTHENTICATION, subject);
      if (waitSeconds === undefined) return undefined;
      if (blockedUntil.size >= BLOCKED_MAX) blockedUntil.delete(blockedUntil.keys().next().value ?? "");
      blockedUntil.set(subject, monotonicMs() + waitSeconds * 1000);
      return new AppError("client_throttled", undefined, waitSeconds);
    },
  };
}

function subjectOf(clientId: string, address: string): string {
  return `${clientId.slice(0, ID_CHARS_MAX)} ${addressSubject(address)}`;
}

/** The client whose secret was tried, whether there is such a client or not (RFC 6749 section 2.3.1). Nobody guesses a signature: assertions do not count. */
function guessedAt(ctx: Context): string | undefined {
  const { params } = (ctx as { oidc?: { params?: { client_id?: unknown; client_secret?: unknown } } }).oidc ?? {};
  const [scheme = "", credentials = ""] = ctx.get("authorization").split(" ");
  const isBasic = scheme.toLowerCase() === "basic";
  const id = isBasic ? Buffer.from(credentials, "base64").toString().split(":")[0] : params?.client_id;
  const isTried = isBasic || params?.client_secret !== undefined;
  return isTried && typeof id === "string" && id !== "" ? id : undefined;
}
