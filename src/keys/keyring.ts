/** The keyring: the keys as this process uses them now. It is read again on every notice and every few seconds, and says when it is too old to be used. */
import type { JWK } from "jose";
import { monotonicMs, now } from "../clock.ts";
import { AppError, unavailable } from "../errors.ts";
import { type KeyTimes, pollSeconds } from "../key-times.ts";
import type { Log } from "../log.ts";
import type { Notices } from "../store/notices.ts";
import type { Vault } from "../vault.ts";
import { openSigningKey, SIGNING_ALGORITHMS, type SigningKey } from "./key.ts";
import { MAC_PURPOSES, type MacKey, type MacKeys, type MacPurpose, openMacKey } from "./mac-key.ts";
import { nextRotationAt } from "./plan.ts";
import { type KeyRows, type SigningKeyState, selectKeys } from "./queries.ts";
import { KEYS_CHANNEL, type KeyParts, type Turned, turnKeys } from "./rotation.ts";

/** What is true at one moment. Whoever uses it uses all of it: keys of one purpose go together. */
export interface KeySnapshot {
  /** For the engine: what signs first, then what it verifies with. The ones that are only kept are in here, too. */
  readonly signing: readonly SigningKey[];
  /** The JWKS: announced, active and retired keys, public members alone. */
  readonly published: readonly JWK[];
  readonly secrets: MacKeys;
  readonly active: readonly ActiveKey[];
}

export interface ActiveKey {
  readonly algorithm: string;
  readonly activatedAt: Date;
  readonly nextRotationAt: Date | undefined;
}

export interface Keyring {
  current(): KeySnapshot;
  /** Whether the keys were confirmed lately enough to sign with them. */
  isFresh(): boolean;
  /** Confirms the keys if that is due. Throws AppError store_unavailable when it cannot be done: then this process must not sign. */
  ensureFresh(): Promise<void>;
  /** Reads the keys; what changed is in use everywhere in this process when it resolves. */
  refresh(): Promise<void>;
  /** Takes the steps that are due, if no other instance is doing so. */
  turn(): Promise<Turned>;
  /** Called with the new keys before they count as confirmed; a listener that throws keeps the old ones in use. */
  onChange(listener: (keys: KeySnapshot) => Promise<void>): void;
  readonly times: KeyTimes;
  readonly pollSeconds: number;
}

export interface KeyringOptions extends KeyParts {
  readonly notices: Notices;
  readonly log: Log;
}

/** Signing keys in the order in which the engine prefers them. */
const ORDER: readonly SigningKeyState[] = ["active", "announced", "retired", "kept"];
const PUBLISHED: ReadonlySet<SigningKeyState> = new Set<SigningKeyState>(["active", "announced", "retired"]);

/** Makes what is missing, then reads. Throws VaultError, and changes nothing, when SECRET_KEY does not open a key. */
export async function openKeyring(options: KeyringOptions): Promise<Keyring> {
  await turnKeys(options, { wait: true });
  const listeners: ((keys: KeySnapshot) => Promise<void>)[] = [];
  let confirmed = timeNow();
  let rows = await selectKeys(options.db);
  let current = snapshotOf(rows, options);
  let failure = "";
  const read = async (): Promise<void> => {
    // The age counts from before the question: that is the moment of which the answer is certainly true.
    const at = timeNow();
    const found = await selectKeys(options.db);
    const isChanged = fingerprintOf(found) !== fingerprintOf(rows);
    const next = isChanged ? snapshotOf(found, options) : current;
    if (isChanged) for (const listener of listeners) await listener(next);
    [rows, current, confirmed, failure] = [found, next, at, ""];
  };
  const refresh = oneAtATime(() =>
    read().catch((error: unknown) => {
      failure = error instanceof Error ? error.message : "unknown";
      throw error;
    }),
  );
  const isFresh = (): boolean => ageSeconds(confirmed) < options.times.stalenessSeconds;
  const refreshSoon = (): void => {
    refresh().catch((error: Error) => options.log.warn("keys could not be read", { error: error.message }));
  };
  options.notices.subscribe(KEYS_CHANNEL, refreshSoon);
  options.notices.onReconnect(refreshSoon);
  return {
    current: () => current,
    isFresh,
    async ensureFresh() {
      if (isFresh()) return;
      await refresh().catch((error: unknown) => {
        if (error instanceof AppError) throw error;
        throw unavailable(`the keys could not be confirmed: ${failure}`);
      });
    },
    refresh,
    turn: () => turnKeys(options, { wait: false }),
    onChange: (listener) => void listeners.push(listener),
    times: options.times,
    pollSeconds: pollSeconds(options.times),
  };
}

function snapshotOf(rows: KeyRows, { vault, times }: KeyringOptions): KeySnapshot {
  // Alike on every instance and after every rotation, since discovery lists the algorithms in this order.
  const ordered = ORDER.flatMap((state) =>
    SIGNING_ALGORITHMS.flatMap((algorithm) =>
      rows.signing.filter((key) => key.state === state && key.algorithm === algorithm),
    ),
  );
  return {
    signing: ordered.flatMap((row) => openSigningKey(row, vault) ?? []),
    published: ordered.filter(({ state }) => PUBLISHED.has(state)).map(({ publicJwk }) => publicJwk as JWK),
    secrets: secretsOf(rows, vault),
    active: ordered
      .filter(({ state }) => state === "active")
      .map(({ algorithm, activatedAt, createdAt }) => ({
        algorithm,
        activatedAt: activatedAt ?? createdAt,
        nextRotationAt: nextRotationAt(rows.signing, algorithm, times),
      })),
  };
}

function secretsOf({ secrets }: KeyRows, vault: Vault): MacKeys {
  const of = (purpose: MacPurpose): readonly [MacKey, ...MacKey[]] => {
    const own = secrets.filter((row) => row.purpose === purpose);
    // An announced key verifies before it makes: another instance may be using it a moment earlier.
    const ordered = [
      ...own.filter(({ state }) => state === "active"),
      ...own.filter(({ state }) => state !== "active"),
    ];
    const [first, ...rest] = ordered.map((row) => openMacKey(row, vault));
    if (first === undefined) throw new Error(`no key for ${purpose}`);
    return [first, ...rest];
  };
  return Object.fromEntries(MAC_PURPOSES.map((purpose) => [purpose, of(purpose)])) as unknown as MacKeys;
}

/** What makes a difference to whoever uses the keys; when a key was sealed anew, nothing does. */
function fingerprintOf({ signing, secrets }: KeyRows): string {
  return [
    ...signing.map(({ kid, state }) => `${kid} ${state}`),
    ...secrets.map(({ id, state }) => `${id} ${state}`),
  ].join("\n");
}

interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

function timeNow(): Moment {
  return { monotonicMs: monotonicMs(), wallMs: now().getTime() };
}

/** A machine that was suspended shows it on the wall clock alone, a clock that was set back on the other one alone. */
function ageSeconds(since: Moment): number {
  const at = timeNow();
  return Math.max(at.monotonicMs - since.monotonicMs, at.wallMs - since.wallMs) / 1000;
}

/** Whoever calls gets a run that begins after the call; callers that wait for the same beginning share it. */
function oneAtATime(run: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve();
  let waiting: Promise<void> | undefined;
  return () => {
    waiting ??= running
      .catch(() => undefined)
      .then(() => {
        waiting = undefined;
        running = run();
        return running;
      });
    return waiting;
  };
}
