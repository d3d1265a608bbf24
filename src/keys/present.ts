/** How keys are shown to administrators, on the command line and through the API: what each does until when, never a private part. */
import { believedSeconds, type KeyTimes } from "../key-times.ts";
import type { Revoked, Successor } from "./administration.ts";
import { SIGNING_ALGORITHMS } from "./key.ts";
import { nextRotationAt, removesAt, unpublishesAt } from "./plan.ts";
import type { KeyRows, SigningKeyRow } from "./queries.ts";

export function presentKeys({ signing, secrets }: KeyRows, times: KeyTimes) {
  return {
    believed_seconds: believedSeconds(times),
    signing_keys: signing.map((key) => presentKey(key, times)),
    rotation: SIGNING_ALGORITHMS.map((algorithm) => ({
      algorithm,
      next_rotation_at: nextRotationAt(signing, algorithm, times)?.toISOString(),
    })),
    random_keys: secrets.map((key) => ({
      id: key.id,
      purpose: key.purpose,
      version: key.version,
      state: key.state,
      created_at: key.createdAt.toISOString(),
      activates_at: key.activatesAt?.toISOString(),
      retired_at: key.retiredAt?.toISOString(),
    })),
  };
}

export function presentKey(key: SigningKeyRow, times: KeyTimes) {
  const isLeaving = key.state === "retired" || key.state === "kept";
  return {
    kid: key.kid,
    algorithm: key.algorithm,
    state: key.state,
    origin: key.origin,
    created_at: key.createdAt.toISOString(),
    activates_at: key.activatesAt?.toISOString(),
    activated_at: key.activatedAt?.toISOString(),
    retired_at: key.retiredAt?.toISOString(),
    unpublishes_at: isLeaving ? (key.unpublishedAt ?? unpublishesAt(key, times))?.toISOString() : undefined,
    removes_at: isLeaving ? removesAt(key, times)?.toISOString() : undefined,
    revoked_at: key.revokedAt?.toISOString(),
  };
}

export function presentSuccessor({ algorithm, kid, signsAt, isNew }: Successor) {
  return { algorithm, kid, signs_at: signsAt?.toISOString(), is_new: isNew };
}

export function presentRevoked(revoked: Revoked) {
  const { kid, algorithm, was, signedFrom, signedUntil, believedUntil, successor, refusedUntil } = revoked;
  return {
    kid,
    algorithm,
    was,
    signed_from: signedFrom?.toISOString(),
    signed_until: signedUntil?.toISOString(),
    believed_until: believedUntil.toISOString(),
    successor,
    refused_until: refusedUntil?.toISOString(),
  };
}
