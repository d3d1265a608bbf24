/** Refresh tokens: one record per family, every use makes a new generation, and inside the window a use is answered with the same successor. */
import type { Adapter, AdapterPayload } from "oidc-provider";
import { errors, Provider } from "oidc-provider";
import type { MacKey } from "../keys/mac-key.ts";
import type { Revocations } from "../revocations/revocation.ts";
import { splitScope } from "../scopes.ts";
import { hmac, isEqualSecret, randomText } from "../secrets.ts";
import { type GrantStore, type JsonObject, standing } from "../store/grants.ts";
import { CLOCK_TOLERANCE_SECONDS } from "./lifetimes.ts";
import { noteOwners } from "./owners.ts";

/** 16 random bytes name a family; that nobody can make a token for it is the MAC's work, not the name's. */
const FAMILY_BYTES = 16;
const TOKEN = /^sgn_rt_(\d{1,6})_(\d{1,9})_([A-Za-z0-9_-]{22})([A-Za-z0-9_-]{43})$/;

/** Newest first: the first makes, all verify. The token names the version, so that keys rotate without ending anything. */
export type RefreshKeys = readonly [MacKey, ...MacKey[]];

interface Parsed {
  readonly familyId: string;
  readonly generation: number;
}

/**
 * `sgn_rt_<key version>_<generation>_<family><MAC>`. The successor is computed, not kept, so the store holds nothing that could be
 * used as a token; and a guess at a family fails at the MAC, before any store is asked, so it cannot log anybody out.
 */
export function refreshTokenOf(parsed: Parsed, keys: RefreshKeys): string {
  const [{ version, key }] = keys;
  return `sgn_rt_${version}_${parsed.generation}_${parsed.familyId}${hmac(key, macText(version, parsed))}`;
}

export function parseRefreshToken(token: string, keys: RefreshKeys): Parsed | undefined {
  const [, version, generation, familyId, mac] = TOKEN.exec(token) ?? [];
  const key = keys.find((candidate) => String(candidate.version) === version);
  if (key === undefined || familyId === undefined || mac === undefined) return undefined;
  const parsed = { familyId, generation: Number(generation) };
  return isEqualSecret(mac, hmac(key.key, macText(key.version, parsed))) ? parsed : undefined;
}

/** The id of the token that is being made: the next generation of the one that was rotated, else a new family. Synchronous, as the library demands. */
export function nextRefreshToken(keys: RefreshKeys): string {
  const rotated: unknown = Provider.ctx?.oidc.entities.RotatedRefreshToken?.jti;
  const previous = typeof rotated === "string" ? parseRefreshToken(rotated, keys) : undefined;
  if (previous === undefined) return refreshTokenOf({ familyId: randomText(FAMILY_BYTES), generation: 0 }, keys);
  return refreshTokenOf({ familyId: previous.familyId, generation: previous.generation + 1 }, keys);
}

export interface RefreshOptions {
  readonly grants: GrantStore;
  readonly revocations: Revocations;
  readonly keys: RefreshKeys;
  /** The window of the client in milliseconds; it is the client's own setting, 0 to 60 seconds. */
  readonly windowMs: (clientId: string) => Promise<number>;
  readonly nowMs: () => number;
}

/** The library's adapter for refresh tokens, over families. */
export function refreshTokenAdapter(options: RefreshOptions): Adapter {
  const { grants, keys } = options;
  return {
    async upsert(token, payload, expiresIn) {
      const parsed = required(token, keys);
      const ttl = (expiresIn ?? 0) + CLOCK_TOLERANCE_SECONDS;
      const stored = storedOf(payload);
      // A session outlives its own limits for as long as a refresh token is bound to it. Both in one tick.
      const boundTo = payload.expiresWithSession === true ? payload.sessionUid : undefined;
      await Promise.all([
        parsed.generation === 0
          ? grants.families.start(parsed.familyId, stored, ttl)
          : grants.families.save(parsed.familyId, parsed.generation, stored, ttl),
        boundTo === undefined ? undefined : grants.sessions.prolong(boundTo, ttl),
      ]);
    },
    async find(token) {
      const parsed = parseRefreshToken(token, keys);
      const family = parsed === undefined ? undefined : await grants.families.find(parsed.familyId);
      if (parsed === undefined || family === undefined) return undefined;
      const payload: AdapterPayload = { ...family.payload, jti: token, rotations: parsed.generation };
      noteOwners(payload);
      if (isAbsenceTaken(payload)) return undefined;
      const time = { nowMs: options.nowMs(), windowMs: await options.windowMs(payload.clientId ?? "") };
      switch (standing(family, parsed.generation, time)) {
        case "current":
        case "replayed":
          return payload;
        case "reused":
          // With the mark the library takes its own path: it revokes the family and the grant.
          return { ...payload, consumed: true };
        default:
          return undefined;
      }
    },
    async consume(token) {
      const parsed = required(token, keys);
      const clientId = Provider.ctx?.oidc.client?.clientId ?? "";
      const time = { nowMs: options.nowMs(), windowMs: await options.windowMs(clientId) };
      const outcome = await grants.families.spend(parsed.familyId, parsed.generation, time);
      if (outcome === "current" || outcome === "replayed") return;
      if (outcome === "reused" && time.windowMs === 0) await endRaced(options, parsed);
      throw new errors.InvalidGrant("the refresh token was used meanwhile");
    },
    async destroy(token) {
      const parsed = parseRefreshToken(token, keys);
      if (parsed !== undefined) await grants.families.end(parsed.familyId);
    },
    // Ending the Grant ends the family: every use loads it. This call also comes when an access token alone is revoked, and must then do nothing.
    revokeByGrantId: async () => undefined,
    findByUid: async () => undefined,
    findByUserCode: async () => undefined,
  };
}

/**
 * What was granted for times of absence is worth nothing while the app may not have that (T-SESS-8); the library looks at the scope when the grant
 * is made, and never again. It can be revoked all the same.
 */
function isAbsenceTaken({ clientId, scope }: AdapterPayload): boolean {
  const { client, route } = Provider.ctx?.oidc ?? {};
  if (route === "revocation" || client === undefined || client.clientId !== clientId || client.scope === undefined)
    return false;
  return splitScope(scope ?? "").includes("offline_access") && !splitScope(client.scope).includes("offline_access");
}

/**
 * Two looked before either spent, and no window excuses it: the library ends only what it saw consumed itself, so the loser does it here.
 * With a window, what was good at the look a moment ago is no theft now, however slow this process was in between: it is refused alone.
 */
async function endRaced({ grants, revocations }: RefreshOptions, { familyId }: Parsed): Promise<never> {
  const grantId = Provider.ctx?.oidc.entities.RefreshToken?.grantId;
  if (grantId !== undefined) await revocations.end({ kind: "grant", id: grantId });
  await grants.families.end(familyId);
  // In the library's own words, which `events.ts` knows for a sign of theft.
  throw new errors.InvalidGrant("refresh token already used");
}

/**
 * What the token itself says is not kept, nor what goes without saying: a hundred million families pay for each byte. A family that
 * outlives its session (`offline_access`) names no session: nothing of it is asked again.
 */
function storedOf(payload: AdapterPayload): JsonObject {
  const { jti: _secret, kind: _kind, consumed: _mark, rotations: _count, ...rest } = payload;
  const { expiresWithSession, sessionUid, claims, ...stored } = rest;
  return {
    ...stored,
    ...(claims !== undefined && Object.keys(claims).length > 0 ? { claims } : {}),
    ...(expiresWithSession === true ? { expiresWithSession, sessionUid } : {}),
  };
}

function required(token: string, keys: RefreshKeys): Parsed {
  const parsed = parseRefreshToken(token, keys);
  if (parsed === undefined) throw new Error("a refresh token that this server did not make");
  return parsed;
}

function macText(version: number, parsed: Parsed): string {
  return `refresh ${version} ${parsed.generation} ${parsed.familyId}`;
}
