/** Sessions: who is signed in where, which apps have access, and ending it, of a user or of a client (decision 16 says what ends what). */
import type { Actor, AuditEvent, RecordEvent } from "../audit/event.ts";
import { unavailable } from "../errors.ts";
import type { Revocations, Revoked } from "../revocations/revocation.ts";
import { sha256 } from "../secrets.ts";
import type { GrantStore, Owner, SessionRecord, ListedGrant as StoredGrant, UserAtClient } from "../store/grants.ts";

export interface ListedSession {
  /** Names the session on pages; it opens nothing and leads back to nothing. */
  readonly id: string;
  readonly userId: string;
  readonly userAgent: string | undefined;
  readonly network: string | undefined;
  readonly signedInAt: Date;
  readonly seenAt: Date;
  readonly clientIds: readonly string[];
}

/** A sign-in at an app that goes on without the person: the Grant, and with it the family of its refresh tokens. */
export interface ListedGrant {
  readonly userId: string;
  readonly clientId: string;
  readonly hash: string;
  readonly signedInAt: Date | undefined;
  /** By API; empty: the OpenID scopes. */
  readonly scopes: Readonly<Record<string, readonly string[]>>;
}

export interface Sessions {
  /** Of a user, or in which somebody signed in to the client; those that live, the latest visit first, at most `LISTED_MAX`. */
  list(of: Owner): Promise<readonly ListedSession[]>;
  /** False: there is no such session of this person. */
  end(userId: string, id: string, by: Actor): Promise<boolean>;
  /** Of a user all sessions and apps, of a client all that people allowed it until now; access for times of absence (`offline_access`) too. */
  endAll(of: Owner, by: Actor): Promise<void>;
  /** Those that live, at most `LISTED_MAX`. */
  listGrants(of: Owner | UserAtClient): Promise<readonly ListedGrant[]>;
  /** One of `listGrants`, by its hash. False: there is no such grant of this person. */
  endGrant(userId: string, hash: string, by: Actor): Promise<boolean>;
  /**
   * Whatever this person has at the client; returns how many Grants. A consent is the caller's to withdraw. Throws AppError store_unavailable when
   * so many were ended that it took too long; asked again it goes on.
   */
  endGrants(of: UserAtClient): Promise<number>;
}

export const LISTED_MAX = 200;
/** Twenty thousand sign-ins of one person at one app: more come from a program, and whoever asked is told to ask again. */
const GRANT_PAGES_MAX = 100;

export function createSessions(options: {
  readonly store: () => Promise<GrantStore>;
  readonly revocations: Revocations;
  readonly record: RecordEvent;
}): Sessions {
  const { store, revocations, record } = options;
  const recordsOf = async (of: Owner): Promise<readonly SessionRecord[]> =>
    (await store()).sessions.list(of, LISTED_MAX);
  return {
    list: async (of) => (await recordsOf(of)).map(toListed).sort((a, b) => b.seenAt.getTime() - a.seenAt.getTime()),
    async end(userId, id, by) {
      const found = (await recordsOf({ userId })).find(({ uid }) => idOf(uid) === id);
      if (found === undefined) return false;
      const grants = Object.values(found.authorizations).flatMap(({ grantId, persistsLogout }) =>
        typeof grantId === "string" && persistsLogout !== true ? [{ kind: "grant", id: grantId } as const] : [],
      );
      await revocations.end([...grants, { kind: "session", id: found.uid }], (tx) =>
        record(tx, { ...ended({ userId }, by), data: { count: 1 } }),
      );
      return true;
    },
    async endAll(of, by) {
      const what: Revoked = "userId" in of ? { kind: "user", id: of.userId } : { kind: "client", id: of.clientId };
      await revocations.end(what, (tx) => record(tx, ended(of, by)));
    },
    listGrants: async (of) => (await (await store()).listGrants(of, LISTED_MAX)).map(toListedGrant),
    async endGrants(of) {
      let count = 0;
      for (let pages = 0; pages < GRANT_PAGES_MAX; pages += 1) {
        const page = await (await store()).listGrants(of, LISTED_MAX);
        await revocations.end(page.map(({ hash }) => ({ kind: "grant", hash })));
        count += page.length;
        if (page.length < LISTED_MAX) return count;
      }
      throw unavailable(`${count} grants of one person at one app were ended, and there are more`);
    },
    async endGrant(userId, hash, by) {
      const theirs = await (await store()).listGrants({ userId }, LISTED_MAX);
      if (!theirs.some((grant) => grant.hash === hash)) return false;
      await revocations.end({ kind: "grant", hash }, (tx) =>
        record(tx, {
          name: "grant.ended",
          actor: by,
          subject: { kind: "user", id: userId },
          data: { grant: hash },
        }),
      );
      return true;
    },
  };
}

/** In the names of the wire; of the session itself nothing that leads back to it. */
export function presentSession(session: ListedSession) {
  return {
    id: session.id,
    user_agent: session.userAgent ?? null,
    network: session.network ?? null,
    signed_in_at: session.signedInAt.toISOString(),
    seen_at: session.seenAt.toISOString(),
    client_ids: [...session.clientIds],
  };
}

export function presentGrant(grant: ListedGrant) {
  return {
    id: grant.hash,
    client_id: grant.clientId,
    signed_in_at: grant.signedInAt?.toISOString() ?? null,
    scopes: Object.entries(grant.scopes).map(([resource, scopes]) => ({ resource, scopes: [...scopes] })),
  };
}

function ended(of: Owner, actor: Actor): AuditEvent {
  if ("clientId" in of) return { name: "client.access_ended", actor, subject: { kind: "client", id: of.clientId } };
  return { name: "user.sessions_ended", actor, subject: { kind: "user", id: of.userId } };
}

/** Of a session's uid; pages and forms name sessions by it. */
export function idOf(uid: string): string {
  return sha256(`session:${uid}`).slice(0, 22);
}

function toListed({ uid, fields, seenAt, authorizations }: SessionRecord): ListedSession {
  const { accountId, agent, network, loginTs, signedInAtMs } = fields;
  return {
    id: idOf(uid),
    userId: String(accountId),
    userAgent: typeof agent === "string" ? agent : undefined,
    network: typeof network === "string" ? network : undefined,
    signedInAt: new Date(typeof signedInAtMs === "number" ? signedInAtMs : Number(loginTs ?? 0) * 1000),
    seenAt: new Date(seenAt * 1000),
    clientIds: Object.keys(authorizations),
  };
}

function toListedGrant({ hash, payload }: StoredGrant): ListedGrant {
  const { accountId, clientId, signedInAtMs } = payload;
  return {
    userId: String(accountId),
    clientId: String(clientId),
    hash,
    signedInAt: typeof signedInAtMs === "number" ? new Date(signedInAtMs) : undefined,
    scopes: scopesOf(payload),
  };
}

function scopesOf(payload: Readonly<Record<string, unknown>>): Record<string, readonly string[]> {
  const { openid, resources } = payload as { openid?: { scope?: string }; resources?: Record<string, string> };
  const words = (scope: string | undefined): readonly string[] => (scope ?? "").split(" ").filter((one) => one !== "");
  return {
    ...(openid?.scope === undefined ? {} : { "": words(openid.scope) }),
    ...Object.fromEntries(Object.entries(resources ?? {}).map(([name, scope]) => [name, words(scope)])),
  };
}
