/**
 * Guesses at a client's secret: failures are counted by client and address, and whoever comes after the limit is refused unread (T-RL-5). Those
 * that are on their way together are all compared; secrets have more bits than any crowd has requests.
 */
import type { Context } from "koa";
import { monotonicMs } from "../clock.ts";
import { AppError } from "../errors.ts";
import { addressSubject } from "../limits/address.ts";
import type { Limits } from "../limits/limit.ts";
import { CLIENT_AUTHENTICATION } from "../limits/rules.ts";
import { basicOf } from "./basic.ts";

export interface ClientGuesses {
  /** Whether this address has to wait before another secret of this client is compared. Asks no store: a good request costs nothing. */
  isBlocked(clientId: string, address: string): boolean;
  /** Counts an answer that says `invalid_client`; what is to be answered instead when there were too many. Ids that no client has count alike. */
  judge(ctx: Context): Promise<AppError | undefined>;
}

interface Asked {
  readonly client?: { readonly clientId: string };
  readonly params?: { readonly client_id?: unknown; readonly client_secret?: unknown };
}

/** Stands in `error_detail`, which the caller never sees. */
export const THROTTLED = "too many secrets were tried";

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
  const { client, params } = (ctx as { oidc?: Asked }).oidc ?? {};
  const basic = basicOf(ctx);
  if (basic === undefined && params?.client_secret === undefined) return undefined;
  // Whom the library found goes by the id that is asked about before the comparison, however the request spelt it.
  const id = client?.clientId ?? basic?.id ?? params?.client_id;
  return typeof id === "string" && id !== "" ? id : undefined;
}
