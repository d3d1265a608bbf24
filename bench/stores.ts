/** The stores of a run: a Postgres and a Redis of its own, a fresh database per server, and the process ids whose CPU is read. */
import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { asOwner, type Connection, openPostgres, postgresUrl, redisBinary, startRedis } from "../test/ladder.ts";
import { parentOf } from "./cpu.ts";

export interface Stores {
  readonly redis: Redis;
  readonly redisUrl: string;
  readonly redisPid: number;
  readonly postgresPid: number;
  readonly postgres: Connection;
  readonly versions: { readonly redis: string; readonly postgres: string };
  /** A migrated database that nobody else uses; its URL. */
  database(): Promise<{ readonly name: string; readonly url: string }>;
  close(): Promise<void>;
}

export async function openStores(): Promise<Stores> {
  const binary = await redisBinary();
  if (binary === undefined) throw new Error("the benchmark needs a redis-server on PATH");
  const redisServer = await startRedis({ ...binary, found: "own" });
  const postgresServer = await openPostgres().catch(async (error: unknown) => {
    await redisServer.close();
    throw error;
  });
  const redis = new Redis(redisServer.service.url);
  const { connection, template, version } = postgresServer.service;
  const names: string[] = [];
  return {
    redis,
    redisUrl: redisServer.service.url,
    redisPid: Number(/process_id:(\d+)/.exec(await redis.info("server"))?.[1] ?? 0),
    postgresPid: await postmasterOf(connection),
    postgres: connection,
    versions: { redis: redisServer.service.version, postgres: version },
    async database() {
      const name = `bench_${randomBytes(6).toString("hex")}`;
      await asOwner(connection, (client) => client.query(`create database "${name}" template ${template}`));
      names.push(name);
      return { name, url: postgresUrl({ ...connection, database: name }) };
    },
    async close() {
      redis.disconnect();
      for (const name of names)
        await asOwner(connection, (client) => client.query(`drop database if exists "${name}" with (force)`));
      await redisServer.close();
      await postgresServer.close();
    },
  };
}

/** The backend is a child of the server whose whole tree is counted; asked while the backend lives. */
async function postmasterOf(connection: Connection): Promise<number> {
  return asOwner(connection, async (client) => {
    const { rows } = await client.query("select pg_backend_pid() as pid");
    return parentOf(Number((rows[0] as { pid: number }).pid));
  });
}

/** So many more sessions beside a real one: copies of its record under names of their own. */
export async function multiplySessions(redis: Redis, count: number): Promise<number> {
  let model: string | undefined;
  for await (const page of redis.scanStream({ match: "signet:.s:*", count: 1000 })) {
    model ??= (page as string[])[0];
  }
  if (model === undefined) return 0;
  const dump = await redis.dumpBuffer(model);
  const ttl = await redis.pttl(model);
  for (let made = 0; made < count; made += 1000) {
    const pipeline = redis.pipeline();
    for (let index = made; index < Math.min(count, made + 1000); index += 1)
      pipeline.restore(`signet:.s:${randomBytes(32).toString("base64url")}`, ttl, dump);
    await pipeline.exec();
  }
  return count;
}
