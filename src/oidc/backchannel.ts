/**
 * Back-channel logout (OpenID Connect Back-Channel Logout 1.0): logout tokens are the library's, when they are sent is ours: by an outbox that
 * tries again, for whatever ended a session, and not only once from the page of RP-initiated logout.
 */
import type { Client, Provider } from "oidc-provider";
import type { RecordEvent } from "../audit/event.ts";
import type { Log } from "../log.ts";
import type { LogoutNotice, LogoutOutcome, Logouts } from "../sessions/logout.ts";
import type { Engine } from "./engine.ts";

type Send = (this: Client, sub: string, sid: string | undefined) => Promise<void>;

/** The library's own sender of each instance. */
const senders = new WeakMap<Provider, Send>();
const PORTION = 10;
const ERROR_CHARS_MAX = 200;

/** Replaces the library's one try, which its logout page waits for: the session's end has written the notices already. */
export function holdBackchannel(provider: Provider): void {
  const { prototype } = provider.Client;
  senders.set(provider, prototype.backchannelLogout);
  prototype.backchannelLogout = async () => undefined;
}

export interface Backchannel {
  /** Tells whoever is due; returns how many have heard. */
  flush(): Promise<number>;
}

export function createBackchannel(options: {
  readonly engine: Engine;
  readonly logouts: Logouts;
  readonly log: Log;
  readonly recordAlone: (event: Parameters<RecordEvent>[1]) => Promise<void>;
  readonly onResult: (result: "delivered" | "late" | "failed") => void;
}): Backchannel {
  const { engine, logouts, log } = options;
  const tell = async (notice: LogoutNotice): Promise<boolean> => {
    const outcome = await send(engine.current(), notice).catch((error: unknown) => ({
      failure: (error instanceof Error ? error.message : "unknown").slice(0, ERROR_CHARS_MAX),
    }));
    const state = await logouts.settle(notice, outcome);
    options.onResult(state === "queued" ? "late" : state);
    if (outcome !== "delivered")
      log.warn("an app was not told of a sign-out", {
        client_id: notice.clientId,
        attempt: notice.attempts,
        reason: outcome.failure,
      });
    if (state !== "queued") {
      await options.recordAlone({
        name: state === "delivered" ? "logout.delivered" : "logout.given_up",
        actor: { kind: "system" },
        subject: { kind: "client", id: notice.clientId },
        data: { user_id: notice.userId, attempts: notice.attempts },
      });
    }
    return state === "delivered";
  };
  return {
    async flush() {
      let told = 0;
      for (;;) {
        const due = await logouts.claim(PORTION);
        told += (await Promise.all(due.map(tell))).filter(Boolean).length;
        if (due.length < PORTION) return told;
      }
    },
  };
}

async function send(provider: Provider, notice: LogoutNotice): Promise<LogoutOutcome> {
  const client = await provider.Client.find(notice.clientId);
  const sender = senders.get(provider);
  if (sender === undefined) throw new Error("the instance has no sender");
  // There is nobody to be told, and nobody is: trying again would change nothing.
  if (client === undefined) return { failure: "the app is disabled or deleted", isFinal: true };
  if (client.backchannelLogoutUri === undefined) return { failure: "the app has no address for it", isFinal: true };
  await sender.call(client, notice.userId, notice.sid);
  return "delivered";
}
