/**
 * Devices: browsers that a person has signed in with, each known by a random cookie. A known one has its own lane in the limits, so that an
 * attacker's guesses keep nobody out; a new one is told to the person.
 */
import { now } from "../clock.ts";
import { randomText, sha256 } from "../secrets.ts";
import type { Db, Queries } from "../store/db.ts";
import { deleteDevices, deleteSurplus, findDevice, insertDevice, selectDevices, touchDevice } from "./queries.ts";

export interface SeenDevice {
  /** What the browser keeps; the one that it sent, or a new one. */
  readonly token: string;
  /** Never seen with this person, who has used others before. */
  readonly isNew: boolean;
  /** Not seen in this network the last time, or never. */
  readonly isElsewhere: boolean;
}

export interface Devices {
  /** The lane of a known device, undefined for any other. Asked before a password is looked at. */
  laneOf(userId: string, token: string): Promise<string | undefined>;
  /** After a sign-in. `onNew` runs in the same transaction when the device is new. */
  note(
    device: { readonly userId: string; readonly token: string; readonly userAgent: string; readonly network: string },
    onNew: (tx: Queries) => Promise<void>,
  ): Promise<SeenDevice>;
  list(userId: string): Promise<readonly { userAgent: string; network: string; createdAt: Date; seenAt: Date }[]>;
  /** "This was not me": no lane is left to whoever was here. */
  forgetAll(tx: Queries, userId: string): Promise<void>;
}

/** As long as browsers keep a cookie (RFC 6265bis section 5.5). */
export const DEVICE_SECONDS = 400 * 86_400;
const TOKEN = /^[A-Za-z0-9_-]{43}$/;
const DEVICES_MAX = 50;
const AGENT_CHARS_MAX = 256;

export function createDevices({ db }: { db: Db }): Devices {
  return {
    async laneOf(userId, token) {
      if (!TOKEN.test(token)) return undefined;
      const tokenHash = sha256(token);
      return (await findDevice(db, { userId, tokenHash })) ? tokenHash : undefined;
    },
    async note(device, onNew) {
      const token = TOKEN.test(device.token) ? device.token : randomText();
      const row = { ...device, userAgent: device.userAgent.slice(0, AGENT_CHARS_MAX), tokenHash: sha256(token) };
      return db.transaction(async (tx) => {
        const before = await touchDevice(tx, row, now());
        if (before !== undefined) return { token, isNew: false, isElsewhere: before.network !== row.network };
        // A browser that somebody else used keeps its token: the row is per person.
        const others = await selectDevices(tx, row.userId, 1);
        await insertDevice(tx, row, now());
        await deleteSurplus(tx, row.userId, DEVICES_MAX);
        const isNew = others.length > 0;
        if (isNew) await onNew(tx);
        return { token, isNew, isElsewhere: isNew };
      });
    },
    list: async (userId) =>
      (await selectDevices(db, userId, DEVICES_MAX)).map((row) => ({
        userAgent: row.user_agent,
        network: row.network,
        createdAt: row.created_at,
        seenAt: row.seen_at,
      })),
    forgetAll: deleteDevices,
  };
}
