/** Sessions: where a person is signed in, which apps have access, and ending one or all (decision 16 says what ends what). */
import type { Actor, RecordEvent } from "../audit/event.ts";
import type { Revocations } from "../revocations/revocation.ts";
import { sha256 } from "../secrets.ts";
import type { Db } from "../store/db.ts";
import type { GrantStore, SessionRecord } from "../store/grants.ts";

export interface ListedSession {
  /** Names the session on pages; it opens nothing and leads back to nothing. */
  readonly id: string;
  readonly uid: string;
  readonly userAgent: string | undefined;
  readonly network: string | undefined;
  readonly signedInAt: Date;
  readonly seenAt: Date;
  readonly clientIds: readonly string[];
}

/** A sign-in at an app that goes on without the person. */
export interface ListedGrant {
  readonly clientId: string;
  readonly hash: string;
  readonly signedInAt: Date | undefined;
  /** By API; empty: the OpenID scopes. */
  readonly scopes: Readonly<Record<string, readonly string[]>>;
}

export interface Sessions {
  list(userId: string): Promise<readonly ListedSession[]>;
  /** False: there is no such session of this person. */
  end(userId: string, id: string, by: Actor): Promise<boolean>;
  endAll(userId: string, by: Actor): Promise<void>;
  grants(userId: string): Promise<readonly ListedGrant[]>;
  /** Whatever this person has at the app; a consent is the caller's to withdraw. */
  endGrants(userId: string, clientId: string): Promise<number>;
}

const LISTED_MAX = 200;

export function createSessions(options: {
  readonly db: Db;
  readonly store: () => Promise<GrantStore>;
  readonly revocations: Revocations;
  readonly record: RecordEvent;
}): Sessions {
  const { db, store, revocations, record } = options;
  const recordsOf = async (userId: string): Promise<readonly SessionRecord[]> =>
    (await store()).sessions.list({ userId }, LISTED_MAX);
  return {
    list: async (userId) =>
      (await recordsOf(userId)).map(toListed).sort((a, b) => b.seenAt.getTime() - a.seenAt.getTime()),
    async end(userId, id, by) {
      const found = (await recordsOf(userId)).find(({ uid }) => idOf(uid) === id);
      if (found === undefined) return false;
      for (const authorization of Object.values(found.authorizations)) {
        const { grantId, persistsLogout } = authorization;
        if (typeof grantId === "string" && persistsLogout !== true)
          await revocations.end({ kind: "grant", id: grantId });
      }
      await revocations.end({ kind: "session", id: found.uid });
      await record(db, {
        name: "user.sessions_ended",
        actor: by,
        subject: { kind: "user", id: userId },
        data: { count: 1 },
      });
      return true;
    },
    async endAll(userId, by) {
      await revocations.signOutEverywhere(userId);
      await record(db, { name: "user.sessions_ended", actor: by, subject: { kind: "user", id: userId } });
    },
    async grants(userId) {
      return (await (await store()).listGrants({ userId }, LISTED_MAX)).map(({ hash, payload }) => ({
        hash,
        clientId: String(payload["clientId"]),
        signedInAt: typeof payload["signedInAtMs"] === "number" ? new Date(payload["signedInAtMs"]) : undefined,
        scopes: scopesOf(payload),
      }));
    },
    async endGrants(userId, clientId) {
      const theirs = (await (await store()).listGrants({ userId }, LISTED_MAX)).filter(
        ({ payload }) => payload["clientId"] === clientId,
      );
      for (const { hash } of theirs) await revocations.end({ kind: "grant", hash });
      return theirs.length;
    },
  };
}

/** Of a session's uid; pages and forms name sessions by it. */
export function idOf(uid: string): string {
  return sha256(`session:${uid}`).slice(0, 22);
}

function toListed({ uid, fields, seenAt, authorizations }: SessionRecord): ListedSession {
  const { agent, network, loginTs, signedInAtMs } = fields;
  return {
    id: idOf(uid),
    uid,
    userAgent: typeof agent === "string" ? agent : undefined,
    network: typeof network === "string" ? network : undefined,
    signedInAt: new Date(typeof signedInAtMs === "number" ? signedInAtMs : Number(loginTs ?? 0) * 1000),
    seenAt: new Date(seenAt * 1000),
    clientIds: Object.keys(authorizations),
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
