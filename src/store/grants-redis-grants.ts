/** Grants in Redis: read in one command with what ends them and the epoch, so that revoking is one write whatever was issued under them. */
import type { Result } from "ioredis";
import { unavailable } from "../errors.ts";
import { sha256 } from "../secrets.ts";
import {
  type GrantStore,
  type JsonObject,
  type ListedGrant,
  type Owner,
  type Owners,
  type StoredRecord,
  TOMBSTONE,
  type UserAtClient,
} from "./grants.ts";
import { lifetimeSeconds } from "./grants-lifetime.ts";
import { GRANT_MODEL, mergeGrants } from "./grants-merge.ts";
import { CLIENT_CUT, datedGrant, isCovered, isOwnedBy, USER_CUT } from "./grants-owners.ts";
import type { RedisConnection } from "./grants-redis-connection.ts";
import type { Epoch } from "./grants-redis-epoch.ts";
import { ownersOf, type RedisIndex } from "./grants-redis-index.ts";
import { LIVE, parseRecord } from "./grants-redis-record.ts";

/** Each failed attempt means that another one succeeded; more than this many at once is no consent of a person. */
const MERGE_ATTEMPTS_MAX = 32;

/** Compare and set; the lifetime is never shortened. */
const SWAP = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', math.max(tonumber(ARGV[3]), redis.call('TTL', KEYS[1])))
return 1`;

declare module "ioredis" {
  interface RedisCommander<Context> {
    swapRecord(key: string, before: string, after: string, ttlSeconds: number): Result<number, Context>;
  }
}

/** The part of the store that knows Grants. */
export interface RedisGrants extends Pick<GrantStore, "findGrant" | "isEnded" | "listGrants"> {
  put(id: string, payload: JsonObject, ttlSeconds: number): Promise<void>;
}

export interface Ground {
  readonly connection: RedisConnection;
  readonly epoch: Epoch;
  readonly index: RedisIndex;
}

export function createRedisGrants(ground: Ground): RedisGrants {
  const { connection, index } = ground;
  const { client, key } = connection;
  client.defineCommand("swapRecord", { lua: SWAP, numberOfKeys: 1 });
  return {
    async put(id, payload, ttlSeconds) {
      const ttl = lifetimeSeconds(ttlSeconds);
      await Promise.all([
        putGrant(connection, key(GRANT_MODEL, id), payload, ttl),
        index.add(ownersOf(datedGrant(payload)), "g", sha256(id), ttl * 1000),
      ]);
    },
    findGrant: (id, owners = {}) => findByHash(ground, sha256(id), owners),
    async isEnded({ grantId, tokenId, ...owners }, madeAtMs, signedInAtMs = madeAtMs) {
      const tombstones = [grantId, tokenId].filter((id) => id !== undefined).map((id) => key(TOMBSTONE, id));
      const cuts = cutKeys(connection, owners);
      const values = await see(ground, [...cuts, ...tombstones]);
      if (values.slice(cuts.length).some((value) => typeof value === "string")) return true;
      return isCovered({ ...owners, madeAtMs, signedInAtMs }, parseCuts(owners, values));
    },
    listGrants: (of, limit) => list(ground, of, limit),
  };
}

/** The keys of the cut-offs, the user's first. */
export function cutKeys({ key }: RedisConnection, { userId, clientId }: Owners): readonly string[] {
  return [
    ...(userId === undefined ? [] : [key(USER_CUT, userId)]),
    ...(clientId === undefined ? [] : [key(CLIENT_CUT, clientId)]),
  ];
}

/** The values of `cutKeys`, in its order. */
export function parseCuts(
  { userId, clientId }: Owners,
  values: readonly (string | null | undefined)[],
): { user: number | undefined; client: number | undefined } {
  const moment = (value: string | null | undefined): number | undefined =>
    value === null || value === undefined ? undefined : Number(value);
  const [first, second] = values;
  const user = userId === undefined ? undefined : moment(first);
  const client = clientId === undefined ? undefined : moment(userId === undefined ? first : second);
  return { user, client };
}

/** The values of the keys, in a state where everything revoked is planted: one round trip. */
async function see({ connection, epoch }: Ground, keys: readonly string[]): Promise<readonly (string | null)[]> {
  return epoch.sound(async () => {
    const [value, ...answer] = await connection.read([epoch.key, ...keys]);
    return { epoch: value, answer };
  });
}

async function findByHash(ground: Ground, hash: string, owners: Owners): Promise<StoredRecord | undefined> {
  const { connection } = ground;
  const keys = [connection.keyOfHash(GRANT_MODEL, hash), connection.keyOfHash(TOMBSTONE, hash)];
  const [stored, tombstone, ...cuts] = await see(ground, [...keys, ...cutKeys(connection, owners)]);
  const record = parseRecord(stored);
  if (record === undefined || typeof tombstone === "string") return undefined;
  const dated = datedGrant(record.payload);
  const isAsked = dated.userId === owners.userId && dated.clientId === owners.clientId;
  const values = isAsked ? cuts : await see(ground, cutKeys(connection, dated));
  return isCovered(dated, parseCuts(dated, values)) ? undefined : record;
}

async function list(ground: Ground, of: Owner | UserAtClient, limit: number): Promise<readonly ListedGrant[]> {
  const { index } = ground;
  const listed: ListedGrant[] = [];
  for await (const hashes of index.pages(of, "g")) {
    const records = await Promise.all(hashes.map((hash) => findByHash(ground, hash, of)));
    const gone: string[] = [];
    for (const [place, hash] of hashes.entries()) {
      const payload = records[place]?.payload;
      if (payload === undefined) gone.push(hash);
      else if (isOwnedBy(of, datedGrant(payload))) listed.push({ hash, payload });
    }
    await index.forget(of, "g", gone);
    if (listed.length >= limit) break;
  }
  return listed.slice(0, limit);
}

async function putGrant({ run }: RedisConnection, key: string, payload: JsonObject, ttl: number): Promise<void> {
  const first = LIVE + JSON.stringify(payload);
  for (let attempt = 0; attempt < MERGE_ATTEMPTS_MAX; attempt += 1) {
    if ((await run((redis) => redis.set(key, first, "EX", ttl, "NX"))) !== null) return;
    const stored = await run((redis) => redis.get(key));
    if (stored === null) continue;
    const record = parseRecord(stored);
    if (record === undefined) return;
    const merged = stored.slice(0, 1) + JSON.stringify(mergeGrants(record.payload, payload));
    if ((await run((redis) => redis.swapRecord(key, stored, merged, ttl))) === 1) return;
  }
  throw unavailable("Redis: a Grant was written too often at once to be merged");
}
