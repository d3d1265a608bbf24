/** Round trips and commands of one operation: a server of its own behind counting proxies, one user, one operation after the other. */
import type { NetConnectOpts } from "node:net";
import { join } from "node:path";
import { pause } from "./load.ts";
import type { StoreRow } from "./report.ts";
import { type Counting, commandCounts, commandsPerOperation, countRoundTrips } from "./roundtrips.ts";
import type { Stores } from "./stores.ts";
import { type Furnished, type SignetPlace, startSignet } from "./target.ts";
import type { Workload } from "./workloads.ts";

const OPERATIONS = 100;
const WARM_UP_OPERATIONS = 5;
/** Later writes of an operation (an audit event) have arrived by then. */
const SETTLE_MS = 50;

export async function countStores(options: {
  stores: Stores;
  places: readonly SignetPlace[];
  furnished: readonly Furnished[];
  folder: string;
  workloads: readonly Workload[];
}): Promise<StoreRow[]> {
  const rows: StoreRow[] = [];
  for (const [index, place] of options.places.entries()) {
    const clients = options.furnished[index];
    if (clients !== undefined) rows.push(...(await countAt(options, place, clients)));
  }
  return rows;
}

async function countAt(
  { stores, folder, workloads }: { stores: Stores; folder: string; workloads: readonly Workload[] },
  place: SignetPlace,
  clients: Furnished,
): Promise<StoreRow[]> {
  const database = new URL(place.databaseUrl);
  const postgres = await countRoundTrips(postgresSocket(stores));
  const redis = place.redisUrl === undefined ? undefined : await countRoundTrips(hostAndPort(place.redisUrl));
  database.host = `127.0.0.1:${postgres.port}`;
  database.searchParams.delete("host");
  const counted: SignetPlace = {
    ...place,
    name: `${place.name}, counted`,
    databaseUrl: database.href,
    redisUrl: redis === undefined ? undefined : `redis://127.0.0.1:${redis.port}/0`,
  };
  const pinning = { server: undefined };
  const target = await startSignet({ place: counted, clients, pinning, folder: join(folder) });
  const rows: StoreRow[] = [];
  try {
    for (const workload of workloads) {
      const step = await workload.prepare(target, 0);
      for (let warm = 0; warm < WARM_UP_OPERATIONS; warm += 1) await step();
      await pause(SETTLE_MS);
      const before = {
        redis: redis?.trips() ?? 0,
        postgres: postgres.trips(),
        commands: await commandCounts(stores.redis),
      };
      for (let done = 0; done < OPERATIONS; done += 1) await step();
      await pause(SETTLE_MS);
      const each = (counting: Counting, from: number): number => (counting.trips() - from) / OPERATIONS;
      rows.push({
        engine: place.redisUrl === undefined ? "Postgres" : "Redis",
        workload: workload.name,
        redisTrips: redis === undefined ? undefined : each(redis, before.redis),
        postgresTrips: each(postgres, before.postgres),
        commands: commandsPerOperation(before.commands, await commandCounts(stores.redis), OPERATIONS),
      });
    }
  } finally {
    await target.stop();
    redis?.close();
    postgres.close();
  }
  return rows;
}

function postgresSocket({ postgres }: Stores): NetConnectOpts {
  // libpq's rule: a host that is a path is the folder of the socket.
  if (postgres.host.startsWith("/")) return { path: `${postgres.host}/.s.PGSQL.${postgres.port}` };
  return { host: postgres.host, port: postgres.port };
}

function hostAndPort(url: string): NetConnectOpts {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}
