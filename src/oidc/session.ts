/** The library's adapter for browser sessions: what one request changed is merged into the record, so that two tabs never undo each other. */
import type { Adapter, AdapterPayload, KoaContextWithOIDC } from "oidc-provider";
import { Provider } from "oidc-provider";
import { now, nowSeconds } from "../clock.ts";
import { addressSubject } from "../limits/address.ts";
import type { Revocations } from "../revocations/revocation.ts";
import type { GrantStore, JsonObject, SessionRecord } from "../store/grants.ts";
import {
  CLOCK_TOLERANCE_SECONDS,
  SESSION_ABSOLUTE_SECONDS,
  SESSION_ALIAS_SECONDS,
  SESSION_IDLE_SECONDS,
  SESSION_REMEMBERED_SECONDS,
} from "./lifetimes.ts";
import { expectSession } from "./owners.ts";

const AGENT_CHARS_MAX = 256;

/** What the request read, by its context: the difference to it is what the request changed. */
const snapshots = new WeakMap<object, SessionRecord>();

export interface SessionRules {
  /** False: nobody's sign-in is remembered, also not one that was while it was allowed (T-SESS-8). */
  readonly mayRemember: boolean;
}

/** When a session stops sparing its person the password: by rest, by age, or both. Refresh tokens know nothing of it. */
export function isPastLimits(
  session: { readonly fields: JsonObject; readonly seenAt: number },
  atSeconds: number,
  { mayRemember }: SessionRules,
): boolean {
  const signedInAt = Number(session.fields["loginTs"] ?? 0);
  const isRemembered = session.fields["transient"] !== true;
  if (isRemembered) return !mayRemember || atSeconds - signedInAt > SESSION_REMEMBERED_SECONDS;
  return atSeconds - signedInAt > SESSION_ABSOLUTE_SECONDS || atSeconds - session.seenAt > SESSION_IDLE_SECONDS;
}

/** Whether the session that this request came with has passed its limits. */
export function isSessionPastLimits(ctx: object, rules: SessionRules): boolean {
  const snapshot = snapshots.get(ctx);
  return snapshot !== undefined && isPastLimits(snapshot, nowSeconds(), rules);
}

/**
 * When the sign-in began that this request acts for, in milliseconds since 1970: before the password was looked at, so that one who used the
 * old password while it was changed is covered by the cut-off. Undefined in a request that the library did not begin.
 */
export function signInMs(): number | undefined {
  const ctx = Provider.ctx;
  if (ctx === undefined) return undefined;
  const login = (ctx.oidc as { result?: { login?: { atMs?: unknown; ts?: unknown } } }).result?.login;
  if (login !== undefined) return typeof login.atMs === "number" ? login.atMs : Number(login.ts ?? nowSeconds()) * 1000;
  const kept = snapshots.get(ctx)?.fields["signedInAtMs"];
  return typeof kept === "number" ? kept : undefined;
}

export function sessionAdapter(options: SessionRules & { grants: GrantStore; revocations: Revocations }): Adapter {
  const { grants, revocations } = options;
  /** A session in which somebody was signed in stays ended, also when the store is put back to an older state. */
  const endSession = async (id: string): Promise<void> => {
    const snapshot = Provider.ctx === undefined ? undefined : snapshots.get(Provider.ctx);
    if (snapshot?.fields["accountId"] !== undefined) await revocations.end({ kind: "session", id: snapshot.uid });
    await grants.sessions.end(id);
  };
  return {
    async find(id) {
      const record = await grants.sessions.findById(id);
      if (record === undefined) return undefined;
      const ctx = Provider.ctx;
      if (ctx !== undefined) snapshots.set(ctx, record);
      return { ...payloadOf(record), jti: id };
    },
    // Sessions found this way are only read by the library; their cookie id is not known and not needed.
    async findByUid(uid) {
      const record = await grants.sessions.findByUid(uid, expectSession(grants, uid));
      return record === undefined ? undefined : payloadOf(record);
    },
    async upsert(id, payload) {
      const ctx = Provider.ctx;
      const before = ctx === undefined ? undefined : snapshots.get(ctx);
      const uid = payload.uid;
      if (uid === undefined) throw new Error("a session without uid");
      const known = before?.uid === uid ? before : undefined;
      const { jti: _secret, uid: _uid, exp: _exp, authorizations = {}, ...fields } = payload;
      const ttl =
        (payload.transient === true ? SESSION_ABSOLUTE_SECONDS : SESSION_REMEMBERED_SECONDS) + CLOCK_TOLERANCE_SECONDS;
      await grants.sessions.save(
        id,
        {
          uid,
          isNew: known === undefined,
          fields: {
            ...fields,
            ...(fields.accountId === undefined
              ? {}
              : { signedInAtMs: signInMs() ?? now().getTime(), ...deviceOf(ctx) }),
          },
          ...difference(known?.authorizations ?? {}, authorizations as Record<string, JsonObject>),
          seenAt: seenAt(known, fields["loginTs"], options),
        },
        ttl,
      );
    },
    async destroy(id) {
      const oidc = Provider.ctx?.oidc;
      const session = oidc?.entities.Session as { oldId?: string } | undefined;
      if (session?.oldId !== id) return endSession(id);
      // The id changes on every resume. A visitor's second tab may hold the old one for a moment, unless this resume signed somebody in.
      const isSignIn = (oidc as { result?: { login?: unknown } } | undefined)?.result?.login !== undefined;
      return grants.sessions.forget(id, isSignIn ? 0 : SESSION_ALIAS_SECONDS);
    },
    consume: async () => undefined,
    revokeByGrantId: async () => undefined,
    findByUserCode: async () => undefined,
  };
}

/** What a person recognises a session by: the program and the network of the latest visit. */
function deviceOf(ctx: KoaContextWithOIDC | undefined): { agent?: string; network?: string } {
  if (ctx === undefined) return {};
  return { agent: ctx.get("user-agent").slice(0, AGENT_CHARS_MAX), network: addressSubject(ctx.ip) };
}

/** A record past its limits still answers: refresh tokens are bound to it, and it can be signed out. So the library must not see an expiry. */
function payloadOf(record: SessionRecord): AdapterPayload {
  const exp = nowSeconds() + SESSION_REMEMBERED_SECONDS;
  return {
    ...record.fields,
    uid: record.uid,
    exp,
    authorizations: structuredClone(record.authorizations) as NonNullable<AdapterPayload["authorizations"]>,
  };
}

/** A visit to a session past its limits does not revive it; only a new sign-in does. */
function seenAt(before: SessionRecord | undefined, loginTs: unknown, rules: SessionRules): number | undefined {
  const now = nowSeconds();
  const isNewSignIn = before === undefined || before.fields["loginTs"] !== loginTs;
  return isNewSignIn || !isPastLimits(before, now, rules) ? now : undefined;
}

function difference(
  before: Readonly<Record<string, JsonObject>>,
  after: Readonly<Record<string, JsonObject>>,
): { set: Record<string, JsonObject>; removed: string[] } {
  const isChanged = ([clientId, value]: [string, JsonObject]): boolean =>
    JSON.stringify(before[clientId]) !== JSON.stringify(value);
  return {
    set: Object.fromEntries(Object.entries(after).filter(isChanged)),
    removed: Object.keys(before).filter((clientId) => after[clientId] === undefined),
  };
}
