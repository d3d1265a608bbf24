/** The one-time link by which the first owner is made. It is printed at the start of a server that has no owner, and dies with the first one. */
import type { RecordEvent } from "../audit/event.ts";
import { now, secondsAfter } from "../clock.ts";
import { AppError } from "../errors.ts";
import { newSecret, sha256 } from "../secrets.ts";
import type { Db } from "../store/db.ts";
import type { NewUser, User, Users } from "../users/user.ts";
import { hasSetupLink, replaceSetupLink, takeSetupLink } from "./queries.ts";

const LINK_SECONDS = 3600;
const TOKEN_PREFIX = "sgn_setup";
const TOKEN_CHARS_MAX = 200;

export interface Setup {
  /** A new token, the only one that works from now on; undefined when there is an owner. */
  makeToken(): Promise<string | undefined>;
  isLive(token: string): Promise<boolean>;
  /** Throws AppError setup_link_gone, and what `Users.create` throws; then the link still works. */
  createOwner(token: string, input: NewUser, from: { address: string; requestId: string }): Promise<User>;
}

export function createSetup(options: { db: Db; users: Users; record: RecordEvent }): Setup {
  const { db, users, record } = options;
  return {
    async makeToken() {
      if (await users.hasOwner()) return undefined;
      const token = newSecret(TOKEN_PREFIX);
      const createdAt = now();
      await db.transaction(async (tx) => {
        await replaceSetupLink(tx, {
          tokenHash: sha256(token),
          createdAt,
          expiresAt: secondsAfter(createdAt, LINK_SECONDS),
        });
        await record(tx, { name: "setup.link_made", actor: { kind: "system" } });
      });
      return token;
    },
    async isLive(token) {
      if (token.length > TOKEN_CHARS_MAX || (await users.hasOwner())) return false;
      return hasSetupLink(db, sha256(token), now());
    },
    createOwner: (token, input, from) =>
      users.createOwner(input, { kind: "anonymous", ...from }, async (tx) => {
        if (!(await takeSetupLink(tx, sha256(token.slice(0, TOKEN_CHARS_MAX)), now())))
          throw new AppError("setup_link_gone");
        await record(tx, {
          name: "setup.owner_created",
          actor: { kind: "anonymous", ...from },
          subject: { kind: "setup", id: "first-owner" },
        });
      }),
  };
}
