/** Keys at length: fifty rotations of each algorithm under traffic from two instances, one of them killed and stopped meanwhile; one a minute ahead, one a minute behind; a hundred swaps. KEYS_ROTATIONS changes the first count. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { beginJourney, type Journey } from "../flows/journey.ts";
import { collectSecrets, dumpOf, type Secrets, search } from "../flows/key-dump.ts";
import { type Instances, linesOf, mustBeUnnoticed, runTraffic } from "../flows/key-traffic.ts";
import { type SpawnedSignet, spawnSignet } from "../support.ts";

const ROTATIONS = Number(process.env["KEYS_ROTATIONS"] ?? "50");
const SWAPS = 100;
const ALGORITHMS = ["RS256", "ES256", "EdDSA"] as const;
/** Swaps that are as many again leave nothing behind: what a heap still grows by is noise of its own. */
const GROWTH_BYTES_MAX = 3 * 1024 * 1024;
const TIMES = {
  JWKS_CACHE_TIME: "1s",
  KEY_STALENESS: "3s",
  KEY_CLOCK_SKEW: "1s",
  KEY_ANNOUNCE_TIME: "6s",
  KEY_ROTATION_PERIOD: "7s",
  MAC_ROTATION_PERIOD: "20s",
  TOKEN_LIFETIME_MAX: "120s",
};

async function activations({ service }: Journey): Promise<ReadonlyMap<string, number>> {
  const rows = await service.db.query<{ algorithm: string; count: string }>(
    "select data->>'algorithm' as algorithm, count(*) as count from audit_events where name = 'key.activated' and data ? 'algorithm' group by 1",
  );
  return new Map(rows.map(({ algorithm, count }) => [algorithm, Number(count)]));
}

function leastOf(counts: ReadonlyMap<string, number>): number {
  return Math.min(...ALGORITHMS.map((algorithm) => counts.get(algorithm) ?? 0));
}

const nameOf = (journey: Journey, other: SpawnedSignet): Instances["list"] => [
  { name: "here", client: () => journey.client() },
  { name: "there", client: () => other.client() },
];

async function searchDump(journey: Journey, secrets: Secrets): Promise<void> {
  const [name = "", text = ""] = [...secrets][0] ?? [];
  await journey.service.db.query("create table planted (word text)");
  await journey.service.db.query("insert into planted values ($1)", [text]);
  assert.deepEqual(search(await dumpOf(journey.service.db), secrets), [name], "the planted one is found");
  await journey.service.db.query("drop table planted");
  const dump = await dumpOf(journey.service.db);
  const found = search(dump, secrets);
  console.log(
    `keys: ${secrets.size} texts of secret parts searched in a dump of ${dump.length} characters: ${found.length} found, a planted one before`,
  );
  assert.deepEqual(found, []);
}

test(`${ROTATIONS} rotations of each algorithm under traffic (T-REL-16, T-KEY-2)`, async () => {
  const journey = await beginJourney("redis", TIMES);
  const secrets = collectSecrets(journey.service.keyring);
  const startOther = (): Promise<SpawnedSignet> => spawnSignet({ engine: "redis", beside: { env: journey.env } });
  let other = await startOther();
  const instances: Instances = { list: nameOf(journey, other) };
  let [killedAt, stoppedAt, looks, hasReturned] = [0, 0, 0, false];
  const report = await runTraffic(journey, instances, {
    toleranceSeconds: 2,
    isOver: async () => {
      looks += 1;
      if (looks % 10 !== 0) return false;
      const done = leastOf(await activations(journey));
      if (killedAt === 0 && done >= ROTATIONS / 5) {
        // Killed, wherever it was, and started late: after rotations that it did not see.
        instances.list = instances.list.slice(0, 1);
        await other.stop("SIGKILL");
        killedAt = done;
      } else if (killedAt > 0 && !hasReturned && done >= killedAt + 2) {
        other = await startOther();
        instances.list = nameOf(journey, other);
        hasReturned = true;
      } else if (hasReturned && stoppedAt === 0 && done >= (ROTATIONS * 3) / 5) {
        // Stopped as if it were cut off, and woken in the middle of a later period.
        instances.list = instances.list.slice(0, 1);
        other.child.kill("SIGSTOP");
        stoppedAt = done;
      } else if (stoppedAt > 0 && instances.list.length === 1 && hasReturned && done >= stoppedAt + 2) {
        other.child.kill("SIGCONT");
        instances.list = nameOf(journey, other);
      }
      return done >= ROTATIONS;
    },
  });
  const counts = await activations(journey);
  console.log(
    `keys: rotations ${[...counts].map(([algorithm, count]) => `${algorithm} ${count}`).join(", ")}; one instance killed and started late, stopped and woken`,
  );
  for (const line of linesOf(report)) console.log(`keys: ${line}`);
  const { signing, published } = journey.service.keyring.current();
  console.log(`keys: ${published.length} published at the end, ${signing.length} in the engine`);
  for (const failure of [...report.failedRequests, ...report.failedVerifications].slice(0, 20))
    console.log(`keys: ${failure}`);
  for (const line of [...journey.lines, ...other.output().split("\n")]
    .filter((text) => /"detail":|"level":"(warn|error)"/.test(text))
    .slice(0, 40))
    console.log(`keys: log: ${line.trim().slice(0, 300)}`);
  await searchDump(journey, secrets);
  mustBeUnnoticed(report);
  assert.ok(killedAt > 0 && hasReturned && stoppedAt > 0);
  assert.ok(published.length < signing.length, "keys left the JWKS during the run");
  await other.stop();
  await journey.close();
});

for (const [seconds, words] of [
  [60, "ahead"],
  [-60, "behind"],
] as const) {
  test(`two rotations with an instance whose clock is a minute ${words} (T-REL-16)`, async () => {
    const times = {
      ...TIMES,
      KEY_CLOCK_SKEW: "60s",
      KEY_ANNOUNCE_TIME: "66s",
      KEY_ROTATION_PERIOD: "67s",
      MAC_ROTATION_PERIOD: "64s",
    };
    const journey = await beginJourney("postgres", times);
    // Every library of that process reads the shifted clock, not our own code alone.
    const other = await spawnSignet({ engine: "postgres", beside: { env: journey.env }, shiftTimeSeconds: seconds });
    const report = await runTraffic(
      journey,
      { list: nameOf(journey, other) },
      {
        toleranceSeconds: Math.abs(seconds) + 1,
        isOver: async () => leastOf(await activations(journey)) >= 2,
      },
    );
    for (const line of linesOf(report)) console.log(`keys: a minute ${words}: ${line}`);
    mustBeUnnoticed(report);
    for (const algorithm of ALGORITHMS) {
      const signed = [...report.byKey.keys()].filter((key) => key.startsWith(algorithm));
      assert.ok(signed.length >= 2, `${algorithm}: ${signed.length} keys signed`);
    }
    await other.stop();
    await journey.close();
  });
}

test(`${SWAPS} swaps leave the memory where it was`, async () => {
  setFlagsFromString("--expose_gc");
  const collect = runInNewContext("gc") as () => void;
  const journey = await beginJourney("postgres");
  const credentials = Buffer.from(`${journey.machine.id}:${journey.machine.secret ?? ""}`).toString("base64");
  const swap = async (): Promise<void> => {
    for (let count = 0; count < SWAPS; count += 1) {
      await journey.service.engine.reload(journey.service.keyring.current());
      const answer = await journey
        .client()
        .post("/token", { grant_type: "client_credentials" }, { authorization: `Basic ${credentials}` });
      assert.equal(answer.status, 200);
    }
    // Twice, with a pause: what waits for a timer is not what leaks.
    for (let round = 0; round < 2; round += 1) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      collect();
    }
  };
  const heaps: number[] = [];
  for (let round = 0; round < 4; round += 1) {
    const began = performance.now();
    await swap();
    heaps.push(process.memoryUsage().heapUsed);
    console.log(
      `keys: ${SWAPS} swaps with a token each in ${Math.round(performance.now() - began)} ms, heap ${((heaps.at(-1) ?? 0) / 1024 / 1024).toFixed(1)} MiB`,
    );
  }
  const growth = (heaps[3] ?? 0) - (heaps[1] ?? 0);
  console.log(`keys: the heap grew by ${(growth / 1024).toFixed(0)} KiB over the last ${2 * SWAPS} swaps`);
  assert.ok(growth < GROWTH_BYTES_MAX);
  await journey.close();
});
