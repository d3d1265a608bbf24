/** Who is signed in to the demo app, and who is on the way: in memory, bounded, found by a random cookie. */
import { randomBytes } from "node:crypto";
import type { SignedIn } from "./relying-party.ts";

/** Cookies ignore ports: a name of its own keeps this one apart from the cookies of every other site on localhost. */
const COOKIE = "signet_demo";
const COOKIE_VALUE = /^[A-Za-z0-9_-]{43}$/;
const SESSIONS_MAX = 500;
const SESSION_MS = 12 * 60 * 60 * 1000;
const ATTEMPTS_MAX = 500;
const ATTEMPT_MS = 60 * 60 * 1000;

export interface Session {
  readonly id: string;
  readonly since: number;
  signedIn: SignedIn;
  /** What the last button did; shown until the next one is pressed. */
  outcome: Outcome | undefined;
  /** Requests of one session that change its tokens run one after another: two of them must not spend one refresh token. */
  turn: Promise<unknown>;
}

export type Outcome =
  | { readonly kind: "refreshed" }
  | { readonly kind: "api"; readonly status: number; readonly challenge: string | null; readonly body: unknown }
  | { readonly kind: "fault"; readonly doing: string; readonly code: string; readonly words: string };

/** What must be remembered between leaving for Signet and coming back. */
export interface Attempt {
  readonly codeVerifier: string;
  readonly nonce: string;
}

export interface Sessions {
  find(cookieHeader: string | undefined): Session | undefined;
  /** A new id at every sign-in, so that nobody can have planted one; the old session of this browser ends. */
  start(
    cookieHeader: string | undefined,
    signedIn: SignedIn,
  ): { readonly session: Session; readonly setCookie: string };
  end(session: Session): { readonly setCookie: string };
  /** Remembers an attempt under its `state`, for this browser alone. */
  begin(cookieHeader: string | undefined, state: string, attempt: Attempt): { readonly setCookie: string };
  /** The attempt, once: a second answer with the same `state` finds nothing. */
  takeAttempt(cookieHeader: string | undefined, state: string): Attempt | undefined;
}

export function createSessions(): Sessions {
  const sessions = new Map<string, Session>();
  // Apart from the sessions: a flood of begun sign-ins pushes out begun sign-ins, and nobody who is signed in.
  const attempts = new Map<string, Attempt & { readonly browser: string; readonly since: number }>();
  return {
    find: (cookieHeader) => {
      const session = sessions.get(readCookie(cookieHeader) ?? "");
      return session !== undefined && Date.now() - session.since < SESSION_MS ? session : undefined;
    },
    start(cookieHeader, signedIn) {
      sessions.delete(readCookie(cookieHeader) ?? "");
      const id = randomId();
      const session: Session = { id, since: Date.now(), signedIn, outcome: undefined, turn: Promise.resolve() };
      sessions.set(id, session);
      dropOldest(sessions, SESSIONS_MAX);
      return { session, setCookie: cookie(id) };
    },
    end(session) {
      sessions.delete(session.id);
      return { setCookie: `${cookie("")}; Max-Age=0` };
    },
    begin(cookieHeader, state, attempt) {
      const browser = readCookie(cookieHeader) ?? randomId();
      attempts.set(state, { ...attempt, browser, since: Date.now() });
      dropOldest(attempts, ATTEMPTS_MAX);
      return { setCookie: cookie(browser) };
    },
    takeAttempt(cookieHeader, state) {
      const attempt = attempts.get(state);
      // Only the browser that began it may end it; another one cannot even use it up.
      if (attempt === undefined || attempt.browser !== readCookie(cookieHeader)) return undefined;
      attempts.delete(state);
      return Date.now() - attempt.since < ATTEMPT_MS ? attempt : undefined;
    },
  };
}

/** Runs when the session's earlier turns are over, however they ended. */
export function inTurn<T>(session: Session, work: () => Promise<T>): Promise<T> {
  const result = session.turn.then(work, work);
  session.turn = result.catch(() => undefined);
  return result;
}

function randomId(): string {
  return randomBytes(32).toString("base64url");
}

function cookie(value: string): string {
  // Lax, because the way back from Signet is a link from elsewhere; Secure is missing because this runs on http://localhost.
  return `${COOKIE}=${value}; Path=/; HttpOnly; SameSite=Lax`;
}

function readCookie(header: string | undefined): string | undefined {
  const pairs = (header ?? "").split(";").map((pair) => pair.trim());
  const value = pairs.find((pair) => pair.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1);
  return value !== undefined && COOKIE_VALUE.test(value) ? value : undefined;
}

/** A Map keeps the order of insertion, so its first key is the oldest. */
function dropOldest(map: Map<string, unknown>, max: number): void {
  for (const key of map.keys()) {
    if (map.size <= max) return;
    map.delete(key);
  }
}
