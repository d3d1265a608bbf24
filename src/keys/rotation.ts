/** Rotation: carries out the plan. One process at a time, everything in one transaction with its audit events and its notice, so that a process that dies leaves all or nothing. */
import type { Actor, AuditEvent, RecordEvent } from "../audit/event.ts";
import type { Db, Queries } from "../store/db.ts";
import { takeLock, tryLock } from "../store/locks.ts";
import type { Notices } from "../store/notices.ts";
import type { Vault } from "../vault.ts";
import { type KeyMaterial, makeSigningKey, openSigningKey, type SigningAlgorithm } from "./key.ts";
import { makeMacKey, openMacKey } from "./mac-key.ts";
import { type PlanRules, planOf, type Step } from "./plan.ts";
import * as sql from "./queries.ts";

/** What a change of keys needs. */
export interface KeyParts extends PlanRules {
  readonly db: Db;
  readonly vault: Vault;
  readonly notices: Pick<Notices, "publish">;
  readonly record: RecordEvent;
}

/** Every instance listens here, and reads its keys again. */
export const KEYS_CHANNEL = "keys";
const SYSTEM: Actor = { kind: "system" };

/** What one turn did. */
export interface Turned {
  readonly steps: readonly Step[];
  /** Another process was at it; it is not waited for. */
  readonly isBusy: boolean;
}

/**
 * Takes every step that is due. `wait` is for whoever needs the outcome, such as a start; the job does not wait for another instance that is
 * doing the same. Throws VaultError, and changes nothing, when SECRET_KEY does not open a key that is there.
 */
export async function turnKeys(parts: KeyParts, options: { readonly wait: boolean }): Promise<Turned> {
  const before = await sql.selectKeys(parts.db);
  const isRaised = needsRaise(before, parts);
  const due = planOf(before, parts);
  if (due.length === 0 && !isRaised) return { steps: [], isBusy: false };
  const made = await makeAhead(due, parts.vault);
  return changeKeys(parts, { wait: options.wait, made }, async (tx, rows, material) => {
    if (needsRaise(rows, parts)) await sql.raiseTokenSeconds(tx, parts.times.tokenSecondsMax);
    const steps = planOf(rows, parts);
    for (const step of steps) await take(tx, step, { parts, at: rows.at, material });
    return steps;
  });
}

/** Finds the key of an algorithm that was made before the lock was taken, or makes it now. */
export type TakeMaterial = (algorithm: SigningAlgorithm) => Promise<KeyMaterial>;

/** One change under the lock, on rows that were read and opened under it; tells all instances. */
export async function changeKeys(
  parts: KeyParts,
  options: { readonly wait: boolean; readonly made?: ReadonlyMap<SigningAlgorithm, KeyMaterial> },
  change: (tx: Queries, rows: sql.KeyRows, material: TakeMaterial) => Promise<readonly Step[]>,
): Promise<Turned> {
  return parts.db.transaction(async (tx) => {
    if (options.wait) await takeLock(tx, "keys");
    else if (!(await tryLock(tx, "keys"))) return { steps: [], isBusy: true };
    const rows = await sql.selectKeys(tx);
    checkOpens(rows, parts.vault);
    const steps = await change(
      tx,
      rows,
      async (algorithm) => options.made?.get(algorithm) ?? makeSigningKey(algorithm, parts.vault),
    );
    await parts.notices.publish(tx, KEYS_CHANNEL, "");
    return { steps, isBusy: false };
  });
}

/** A wrong SECRET_KEY must not seal new keys beside those that it cannot open. */
export function checkOpens(rows: sql.KeyRows, vault: Vault): void {
  for (const row of rows.signing) openSigningKey(row, vault);
  for (const row of rows.secrets) openMacKey(row, vault);
}

/** Carries out one step and records it. */
export async function take(
  tx: Queries,
  step: Step,
  { parts, at, material, actor = SYSTEM }: { parts: KeyParts; at: Date; material: TakeMaterial; actor?: Actor },
): Promise<void> {
  const tell = (name: AuditEvent["name"], id: string, data: NonNullable<AuditEvent["data"]>): Promise<void> =>
    parts.record(tx, { name, actor, subject: { kind: "key", id }, data });
  switch (step.do) {
    case "make": {
      const { algorithm, activatesAt } = step;
      const key = rowOf(await material(algorithm), { algorithm, at, activatesAt, origin: "made", parts });
      await sql.insertSigningKey(tx, key);
      return tell(activatesAt === undefined ? "key.created" : "key.announced", key.kid, {
        algorithm,
        ...(activatesAt === undefined ? {} : { activates_at: activatesAt.toISOString() }),
      });
    }
    case "activate":
      await sql.activateSigningKey(tx, step.key.kid, at);
      return tell("key.activated", step.key.kid, { algorithm: step.key.algorithm });
    case "retire":
      await sql.retireSigningKey(tx, step.key.kid, at);
      return tell("key.retired", step.key.kid, { algorithm: step.key.algorithm });
    case "unpublish":
      await sql.unpublishSigningKey(tx, step.key.kid, at);
      return tell("key.unpublished", step.key.kid, { algorithm: step.key.algorithm });
    case "remove":
      await sql.deleteSigningKey(tx, step.key.kid);
      return tell("key.removed", step.key.kid, { algorithm: step.key.algorithm });
    default:
      return takeSecretStep(tx, step, { parts, at, tell });
  }
}

async function takeSecretStep(
  tx: Queries,
  step: Extract<Step, { readonly do: `${string} secret` }>,
  options: {
    parts: KeyParts;
    at: Date;
    tell: (name: AuditEvent["name"], id: string, data: NonNullable<AuditEvent["data"]>) => Promise<void>;
  },
): Promise<void> {
  const { parts, at, tell } = options;
  if (step.do === "make secret") {
    const { purpose, version, activatesAt } = step;
    const made = makeMacKey(purpose, parts.vault);
    await sql.insertMacKey(tx, {
      ...made,
      purpose,
      version,
      state: activatesAt === undefined ? "active" : "announced",
      createdAt: at,
      activatesAt,
      activatedAt: activatesAt === undefined ? at : undefined,
      retiredAt: undefined,
    });
    return tell(activatesAt === undefined ? "key.created" : "key.announced", made.id, { purpose, version });
  }
  const { id, purpose, version } = step.key;
  const [change, name] = {
    "activate secret": [sql.activateMacKey, "key.activated"] as const,
    "retire secret": [sql.retireMacKey, "key.retired"] as const,
    "remove secret": [sql.deleteMacKey, "key.removed"] as const,
  }[step.do];
  await change(tx, id, at);
  return tell(name, id, { purpose, version });
}

/** The row of a key that signs at once, or of one that is announced. */
export function rowOf(
  material: KeyMaterial,
  options: {
    algorithm: SigningAlgorithm;
    at: Date;
    activatesAt: Date | undefined;
    origin: "made" | "imported";
    parts: KeyParts;
  },
): sql.SigningKeyRow {
  const { algorithm, at, activatesAt, origin } = options;
  return {
    ...material,
    algorithm,
    origin,
    state: activatesAt === undefined ? "active" : "announced",
    createdAt: at,
    activatesAt,
    activatedAt: activatesAt === undefined ? at : undefined,
    retiredAt: undefined,
    unpublishedAt: undefined,
    revokedAt: undefined,
    tokenSeconds: options.parts.times.tokenSecondsMax,
  };
}

/** RSA takes a while: whatever the plan wants is made before the lock, so that nobody waits for it. */
async function makeAhead(steps: readonly Step[], vault: Vault): Promise<ReadonlyMap<SigningAlgorithm, KeyMaterial>> {
  const wanted = steps.flatMap((step) => (step.do === "make" ? [step.algorithm] : []));
  return new Map(
    await Promise.all(wanted.map(async (algorithm) => [algorithm, await makeSigningKey(algorithm, vault)] as const)),
  );
}

/** Whether a key that may sign would leave the JWKS before its longest token has ended, now that tokens may live longer. */
function needsRaise({ signing }: sql.KeyRows, { times }: KeyParts): boolean {
  return signing.some(
    ({ state, tokenSeconds }) => (state === "announced" || state === "active") && tokenSeconds < times.tokenSecondsMax,
  );
}
