/**
 * The epoch of the Redis engine: one key that tells a Redis which was emptied or put back to an older state. Revocations are then read from
 * the durable store and planted again before the next answer, the epoch last. Its value is a random name and the moment up to which
 * everything written is planted in this very state; so a reconnection costs what was revoked since, not all that ever was.
 */
import type { Result } from "ioredis";
import { monotonicMs, now, sleep } from "../clock.ts";
import { unavailable } from "../errors.ts";
import type { Log } from "../log.ts";
import { randomText } from "../secrets.ts";
import type { Revocation, RevocationSource } from "./grants.ts";
import type { RedisConnection } from "./grants-redis-connection.ts";

const EPOCH = "epoch";
const NAME_BYTES = 9;
/** Its end costs a planting of everything, nothing else. */
const EPOCH_SECONDS = 86_400;
/** A planting that its process did not finish: another one takes it over at once, this only cleans up. */
const PROVISIONAL_SECONDS = 600;
/** Planting again what was written since the last time also mends what a process left undone that died in between. */
const RENEW_MS = 3_600_000;
/** A transaction that was open at the last planting shows its rows later, and the clocks of processes differ; far more than both. */
const OVERLAP_MS = 600_000;
/** Planting goes on behind it; whoever asks again finds it done. */
const WAIT_MS = 2000;
/** Each further attempt means that Redis was emptied or connected to anew during the one before; a cluster's nodes connect one by one. */
const ATTEMPTS_MAX = 8;

const BEGIN = `
local value = redis.call('GET', KEYS[1])
if value then return value end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]`;

/** Only in the state in which the planting began: one that was emptied since has no epoch, or another. The later moment stands. */
const END = `
local value = redis.call('GET', KEYS[1])
if not value then return false end
local name, planted = string.match(value, '^~?([^.]+)%.(%d+)$')
if name ~= ARGV[1] then return false end
if tonumber(planted) < tonumber(ARGV[2]) then planted = ARGV[2] end
value = name .. '.' .. planted
redis.call('SET', KEYS[1], value, 'EX', ARGV[3])
return value`;
/** A value with this mark says that the planting is not done. */
const PROVISIONAL = "~";

declare module "ioredis" {
  interface RedisCommander<Context> {
    beginPlanting(key: string, provisional: string, ttlSeconds: number): Result<string, Context>;
    endPlanting(key: string, name: string, plantedMs: number, ttlSeconds: number): Result<string | null, Context>;
  }
}

/** What was read, and the epoch that was read in the same tick. */
export interface Sighting<T> {
  readonly epoch: string | null | undefined;
  readonly answer: T;
}

export interface Epoch {
  /** The key that a sighting reads. */
  readonly key: string;
  /** The answer of a sighting in a state where everything revoked is planted; it may be asked again, after a planting. */
  sound<T>(see: () => Promise<Sighting<T>>): Promise<T>;
  /** Trusts nothing until everything was planted again. */
  doubt(): void;
}

export function createEpoch(
  connection: RedisConnection,
  options: {
    source: RevocationSource;
    plant: (revocations: readonly Revocation[]) => Promise<void>;
    log: Log;
    prefix: string;
  },
): Epoch {
  const { client, run, isCluster } = connection;
  client.defineCommand("beginPlanting", { lua: BEGIN, numberOfKeys: 1 });
  client.defineCommand("endPlanting", { lua: END, numberOfKeys: 1 });
  const key = options.prefix + EPOCH;
  let trusted: string | undefined;
  let doubts = 0;
  let plantedAtMs = 0;
  let running: Promise<void> | undefined;

  const doubt = (): void => {
    doubts += 1;
    trusted = undefined;
  };
  connection.onConnect(doubt);

  const isTrusted = (value: string | null | undefined): boolean => {
    if (value === null || value === undefined || trusted === undefined) return false;
    if (value === trusted) return true;
    const [seen, known] = [parse(value), parse(trusted)];
    // An earlier moment under the same name is an older state.
    if (seen.isProvisional || seen.name !== known.name || seen.plantedMs < known.plantedMs) return false;
    trusted = value;
    return true;
  };

  /** False: the state or the connection changed meanwhile. */
  const plantOnce = async (): Promise<boolean> => {
    const [began, startedMs] = [doubts, now().getTime()];
    const provisional = `${PROVISIONAL}${randomText(NAME_BYTES)}.0`;
    const value = await run((redis) => redis.beginPlanting(key, provisional, PROVISIONAL_SECONDS));
    const { name, plantedMs } = parse(value);
    // Of a cluster the one key tells nothing about the other nodes.
    const since = isCluster ? 0 : Math.max(0, plantedMs - OVERLAP_MS);
    let count = 0;
    for await (const page of options.source(new Date(since))) {
      await options.plant(page);
      count += page.length;
    }
    // Asked in the tick in which the command goes out: over a new connection it might reach another state, and call that one planted.
    if (doubts !== began) return false;
    const planted = await run((redis) => redis.endPlanting(key, name, startedMs, EPOCH_SECONDS));
    if (planted === null || doubts !== began) return false;
    trusted = planted;
    plantedAtMs = monotonicMs();
    options.log.info("revocations were planted", { engine: "redis", count });
    return true;
  };
  const plantAll = async (): Promise<void> => {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) if (await plantOnce()) return;
    throw unavailable("Redis: it was emptied or replaced too often at once");
  };
  /** One planting for all who wait. */
  const planting = (): Promise<void> => {
    running ??= plantAll().finally(() => {
      running = undefined;
    });
    return running;
  };
  const renew = (): void => {
    if (running !== undefined || monotonicMs() - plantedAtMs < RENEW_MS) return;
    // Nobody waits for it: what is trusted stays trusted, and the next answer tries again.
    planting().catch((error: Error) => options.log.warn("revocations were not planted", { error: error.message }));
  };

  return {
    key,
    doubt,
    async sound(see) {
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
        const { epoch, answer } = await see();
        if (isTrusted(epoch)) {
          renew();
          return answer;
        }
        await inTime(planting());
      }
      throw unavailable("Redis: it was emptied or replaced too often at once");
    },
  };
}

async function inTime(planting: Promise<void>): Promise<void> {
  const over = new AbortController();
  const late = sleep(WAIT_MS, over.signal).then((): never => {
    throw unavailable("Redis: revocations are being planted");
  });
  late.catch(() => undefined);
  try {
    await Promise.race([planting, late]);
  } finally {
    over.abort();
  }
}

function parse(value: string): { isProvisional: boolean; name: string; plantedMs: number } {
  const isProvisional = value.startsWith(PROVISIONAL);
  const [name = "", planted] = value.slice(isProvisional ? 1 : 0).split(".");
  const plantedMs = Number(planted);
  return { isProvisional, name, plantedMs: Number.isFinite(plantedMs) ? plantedMs : 0 };
}
