/**
 * What ends a JWT access token. It is kept nowhere, so it says itself where it comes from, in one private claim: the Grant and the session that it
 * ends with, and the moments that cut-offs are measured against. The ids open nothing; to whoever verifies the token the claim means nothing.
 */
import { type KoaContextWithOIDC, Provider } from "oidc-provider";
import { now } from "../clock.ts";
import type { JsonObject } from "../store/grants.ts";
import { datedGrant } from "../store/grants-owners.ts";

/** A private claim name (RFC 7519 section 4.3). */
export const ORIGIN_CLAIM = "sgn";
const ORIGIN = /^([\w-]{0,64})\.([\w-]{0,64})\.([0-9a-z]{1,9})\.([0-9a-z]{1,9})$/;

export interface Origin {
  /** Undefined: a token of the client itself. */
  readonly grantId: string | undefined;
  /** Undefined: the token outlives its session (offline_access). */
  readonly sessionUid: string | undefined;
  /** Milliseconds since 1970, of the Grant. */
  readonly signedInAtMs: number;
  readonly madeAtMs: number;
}

/** What `formats.customizers.jwt` needs of the library's token. */
interface NewToken {
  readonly kind: string;
  readonly grantId?: string | undefined;
  readonly expiresWithSession?: boolean | undefined;
  readonly sessionUid?: string | undefined;
}

interface Authenticated {
  readonly authTime?: number | undefined;
  readonly acr?: string | undefined;
  readonly amr?: readonly string[] | undefined;
}

/** The dates of the Grant that this request loaded; the library's own model drops them. */
const dates = new WeakMap<
  object,
  { readonly grantId: string; readonly signedInAtMs: number; readonly madeAtMs: number }
>();

export function noteGrantDates(grantId: string, payload: JsonObject): void {
  const ctx = Provider.ctx;
  if (ctx !== undefined) dates.set(ctx, { grantId, ...datedGrant(payload) });
}

/**
 * The library's customizer of JWT access tokens: our private claim, and how the person signed in (RFC 9068 section 2.2.1). It sets names of its own
 * and no others, so nothing replaces a reserved claim.
 */
export function addOrigin(ctx: KoaContextWithOIDC, token: NewToken, jwt: { payload: Record<string, unknown> }): void {
  jwt.payload[ORIGIN_CLAIM] = writeOrigin(originOf(ctx, token));
  if (token.kind !== "AccessToken") return;
  const source: Authenticated | undefined = ctx.oidc.entities.AuthorizationCode ?? ctx.oidc.entities.RefreshToken;
  if (source?.authTime !== undefined) jwt.payload["auth_time"] = source.authTime;
  if (source?.acr !== undefined) jwt.payload["acr"] = source.acr;
  if (source?.amr !== undefined) jwt.payload["amr"] = source.amr;
}

/** Undefined: no claim of ours. */
export function readOrigin(claim: unknown): Origin | undefined {
  const [, grantId, sessionUid, signedInAt, madeAt] = typeof claim === "string" ? (ORIGIN.exec(claim) ?? []) : [];
  if (signedInAt === undefined || madeAt === undefined) return undefined;
  return {
    grantId: grantId === "" ? undefined : grantId,
    sessionUid: sessionUid === "" ? undefined : sessionUid,
    signedInAtMs: Number.parseInt(signedInAt, 36),
    madeAtMs: Number.parseInt(madeAt, 36),
  };
}

export function writeOrigin({ grantId = "", sessionUid = "", signedInAtMs, madeAtMs }: Origin): string {
  return `${grantId}.${sessionUid}.${signedInAtMs.toString(36)}.${madeAtMs.toString(36)}`;
}

function originOf(ctx: KoaContextWithOIDC, { grantId, expiresWithSession, sessionUid }: NewToken): Origin {
  const noted = dates.get(ctx);
  const known = noted !== undefined && noted.grantId === grantId ? noted : undefined;
  const atMs = now().getTime();
  return {
    grantId,
    sessionUid: expiresWithSession === true ? sessionUid : undefined,
    // A Grant that was made in this very request is as old as the request.
    signedInAtMs: known?.signedInAtMs ?? atMs,
    madeAtMs: known?.madeAtMs ?? atMs,
  };
}
