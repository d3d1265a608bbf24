/** What an administrator does with keys: see them, rotate before the time, take one in, take one out in an emergency, seal all anew. */
import { calculateJwkThumbprint, type JWK } from "jose";
import type { Actor } from "../audit/event.ts";
import { secondsAfter } from "../clock.ts";
import { AppError } from "../errors.ts";
import { announceSecondsMin, believedSeconds } from "../key-times.ts";
import type { Queries } from "../store/db.ts";
import type { Vault } from "../vault.ts";
import type { ImportedKey } from "./import.ts";
import {
  openNamed,
  publicPartOf,
  SIGNING_ALGORITHMS,
  type SigningAlgorithm,
  sealKey,
  signingKeyContext,
} from "./key.ts";
import { macKeyContext } from "./mac-key.ts";
import type { Step } from "./plan.ts";
import * as sql from "./queries.ts";
import { changeKeys, checkOpens, type KeyParts, rowOf, take } from "./rotation.ts";

export interface Keys {
  list(): Promise<sql.KeyRows>;
  /** Announces a successor now; where one is announced already, it stays. Without algorithms: for all. */
  rotate(algorithms: readonly SigningAlgorithm[], by: Actor): Promise<readonly Successor[]>;
  /** Takes a key in as the next one of its algorithm, or, when resource servers know it already, as the one that signs from now on. */
  import(imported: ImportedKey, options: { readonly signsNow: boolean }, by: Actor): Promise<sql.SigningKeyRow>;
  /** Takes a key out of the JWKS at once, and destroys its private part. */
  revoke(kid: string, by: Actor): Promise<Revoked>;
  /** Seals everything that a later entry of SECRET_KEY sealed with the first one; how many texts, by place. */
  reencrypt(by: Actor): Promise<Readonly<Record<string, number>>>;
}

export interface Successor {
  readonly algorithm: string;
  readonly kid: string;
  readonly signsAt: Date | undefined;
  /** False where it was announced before. */
  readonly isNew: boolean;
}

export interface Revoked {
  readonly kid: string;
  readonly algorithm: string;
  readonly was: sql.SigningKeyState;
  /** Tokens signed between these moments are no longer good. */
  readonly signedFrom: Date | undefined;
  readonly signedUntil: Date | undefined;
  /** Until then a resource server may still take them: its copy of the JWKS may be that old. */
  readonly believedUntil: Date;
  /** What signs now; absent when the key did not sign. */
  readonly successor: string | undefined;
  /** Until then a resource server that does not fetch the JWKS early may refuse new tokens; absent when the successor was published long enough. */
  readonly refusedUntil: Date | undefined;
}

/** Texts sealed by another room; it hands them over so that one command seals all anew. */
export interface SealedPlace {
  readonly name: string;
  read(tx: Queries): Promise<readonly { readonly id: string; readonly sealed: string; readonly context: string }[]>;
  write(tx: Queries, id: string, sealed: string): Promise<void>;
}

export function createKeys(parts: KeyParts & { readonly sealedPlaces: readonly SealedPlace[] }): Keys {
  return {
    list: () => sql.selectKeys(parts.db),
    rotate: (algorithms, by) => rotate(parts, algorithms.length === 0 ? SIGNING_ALGORITHMS : algorithms, by),
    import: (imported, { signsNow }, by) => importKey(parts, imported, { signsNow, by }),
    revoke: (kid, by) => revoke(parts, kid, by),
    reencrypt: (by) => reencrypt(parts, by),
  };
}

/** Opens every key without changing any. Throws VaultError that names the first that does not open. */
export async function checkSealedKeys(options: {
  db: Queries;
  vault: Vault;
}): Promise<{ readonly count: number; readonly isCurrent: boolean }> {
  const rows = await sql.selectKeys(options.db);
  checkOpens(rows, options.vault);
  const signing = rows.signing.flatMap((row) => row.sealedPrivateJwk ?? []);
  const sealed = [...signing, ...rows.secrets.map((row) => row.sealedKey)];
  return { count: signing.length, isCurrent: sealed.every((text) => options.vault.isCurrent(text)) };
}

async function rotate(
  parts: KeyParts,
  algorithms: readonly SigningAlgorithm[],
  actor: Actor,
): Promise<readonly Successor[]> {
  const before = new Set<string>();
  await changeKeys(parts, { wait: true }, async (tx, rows, material) => {
    const steps: Step[] = [];
    for (const row of rows.signing) before.add(row.kid);
    for (const algorithm of algorithms) {
      if (find(rows, algorithm, "announced") !== undefined) continue;
      const isFirst = rows.signing.length === 0;
      const activatesAt = isFirst ? undefined : secondsAfter(rows.at, parts.times.announceSeconds);
      steps.push({ do: "make", algorithm, activatesAt });
    }
    for (const step of steps) await take(tx, step, { parts, at: rows.at, material, actor });
    return steps;
  });
  const after = await sql.selectKeys(parts.db);
  return algorithms.flatMap((algorithm) => {
    const next = find(after, algorithm, "announced") ?? find(after, algorithm, "active");
    if (next === undefined) return [];
    return [{ algorithm, kid: next.kid, signsAt: next.activatesAt, isNew: !before.has(next.kid) }];
  });
}

async function importKey(
  parts: KeyParts,
  imported: ImportedKey,
  { signsNow, by }: { signsNow: boolean; by: Actor },
): Promise<sql.SigningKeyRow> {
  const { algorithm } = imported;
  const material = await sealKey(algorithm, imported.key, parts.vault, imported.kid);
  const thumbprint = await calculateJwkThumbprint(publicPartOf(material.publicJwk as JWK));
  let row: sql.SigningKeyRow | undefined;
  await changeKeys(parts, { wait: true }, async (tx, rows, made) => {
    for (const known of rows.signing) {
      const isSame = (await calculateJwkThumbprint(publicPartOf(known.publicJwk as JWK))) === thumbprint;
      if (known.kid === material.kid || isSame)
        throw new AppError("key_taken", `The key ${known.kid} is ${known.state}.`);
    }
    const context = { parts, at: rows.at, material: made, actor: by };
    const waiting = find(rows, algorithm, "announced");
    // It never signed anything, so nobody misses it.
    if (waiting !== undefined) await take(tx, { do: "remove", key: waiting }, context);
    const active = find(rows, algorithm, "active");
    if (signsNow && active !== undefined) await take(tx, { do: "retire", key: active }, context);
    const activatesAt = signsNow ? undefined : secondsAfter(rows.at, parts.times.announceSeconds);
    row = rowOf(material, { algorithm, at: rows.at, activatesAt, origin: "imported", parts });
    await sql.insertSigningKey(tx, row);
    const subject = { kind: "key", id: row.kid } as const;
    await parts.record(tx, { name: "key.imported", actor: by, subject, data: { algorithm, state: row.state } });
    return [];
  });
  if (row === undefined) throw new Error("the import did nothing");
  return row;
}

async function revoke(parts: KeyParts, kid: string, actor: Actor): Promise<Revoked> {
  let revoked: Revoked | undefined;
  await changeKeys(parts, { wait: true }, async (tx, rows, material) => {
    const { at } = rows;
    const key = rows.signing.find((row) => row.kid === kid);
    if (key === undefined) throw new AppError("key_unknown");
    if (key.state === "revoked") throw new AppError("key_unknown", "It was revoked before.");
    const algorithm = key.algorithm as SigningAlgorithm;
    const waiting = find(rows, algorithm, "announced");
    await sql.revokeSigningKey(tx, kid, at);
    const subject = { kind: "key", id: kid } as const;
    await parts.record(tx, { name: "key.revoked", actor, subject, data: { algorithm, state: key.state } });
    let successor: string | undefined;
    if (key.state === "active") {
      if (waiting !== undefined) await take(tx, { do: "activate", key: waiting }, { parts, at, material, actor });
      else await take(tx, { do: "make", algorithm, activatesAt: undefined }, { parts, at, material, actor });
      successor = find(await sql.selectKeys(tx), algorithm, "active")?.kid;
    }
    revoked = consequences(parts, { key, at, successor, successorSince: waiting?.createdAt });
    return [];
  });
  if (revoked === undefined) throw new Error("the revocation did nothing");
  return revoked;
}

/** What an administrator has to tell: which tokens died, and for how long copies of the JWKS say otherwise. */
function consequences(
  { times }: KeyParts,
  of: { key: sql.SigningKeyRow; at: Date; successor: string | undefined; successorSince: Date | undefined },
): Revoked {
  const { key, at, successor, successorSince } = of;
  const { cacheSeconds, stalenessSeconds } = times;
  const copies = secondsAfter(at, believedSeconds(times));
  const isKnown = successorSince !== undefined && secondsAfter(successorSince, announceSecondsMin(times)) <= at;
  return {
    kid: key.kid,
    algorithm: key.algorithm,
    was: key.state,
    signedFrom: key.activatedAt,
    signedUntil: key.activatedAt === undefined ? undefined : (key.retiredAt ?? at),
    believedUntil: copies,
    successor,
    refusedUntil: successor === undefined || isKnown ? undefined : secondsAfter(at, cacheSeconds + stalenessSeconds),
  };
}

async function reencrypt(
  parts: KeyParts & { readonly sealedPlaces: readonly SealedPlace[] },
  actor: Actor,
): Promise<Readonly<Record<string, number>>> {
  const places = [SIGNING_KEYS, MAC_KEYS, ...parts.sealedPlaces];
  const counts: Record<string, number> = {};
  await changeKeys(parts, { wait: true }, async (tx) => {
    for (const place of places) counts[place.name] = await sealAnew(tx, place, parts);
    const data = Object.fromEntries(Object.entries(counts).map(([name, count]) => [name.replaceAll(" ", "_"), count]));
    if (Object.values(counts).some((count) => count > 0))
      await parts.record(tx, { name: "key.reencrypted", actor, data });
    return [];
  });
  return counts;
}

async function sealAnew(tx: Queries, place: SealedPlace, { vault }: KeyParts): Promise<number> {
  const old = (await place.read(tx)).filter(({ sealed }) => !vault.isCurrent(sealed));
  for (const { id, sealed, context } of old) {
    const plain = openNamed(vault, sealed, { context, what: `${place.name}: ${id}` });
    await place.write(tx, id, vault.seal(plain, context));
  }
  return old.length;
}

const SIGNING_KEYS: SealedPlace = {
  name: "signing keys",
  read: async (tx) =>
    (await sql.selectKeys(tx)).signing.flatMap(({ kid, sealedPrivateJwk: sealed }) =>
      sealed === undefined ? [] : [{ id: kid, sealed, context: signingKeyContext(kid) }],
    ),
  write: sql.updateSealedSigningKey,
};

const MAC_KEYS: SealedPlace = {
  name: "random keys",
  read: async (tx) =>
    (await sql.selectKeys(tx)).secrets.map((row) => ({
      id: row.id,
      sealed: row.sealedKey,
      context: macKeyContext(row),
    })),
  write: sql.updateSealedMacKey,
};

function find(rows: sql.KeyRows, algorithm: string, state: sql.SigningKeyState): sql.SigningKeyRow | undefined {
  return rows.signing.find((key) => key.algorithm === algorithm && key.state === state);
}
