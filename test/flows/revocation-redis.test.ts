/** Revocation when Redis itself is lost: emptied under traffic, put back to an older state; and what a refresh costs in round trips. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket, connect as tcpConnect } from "node:net";
import { test } from "node:test";
import { Redis } from "ioredis";
import { atEnd, eventually, startSignet, testRedis, withoutRedis } from "../support.ts";
import { basic, ownRedisVictim } from "./faults.ts";
import { furnish, signIn } from "./journey.ts";
import {
  authorize,
  type Held,
  hold,
  introspect,
  mustBeDead,
  mustWork,
  openPair,
  type Pair,
  refresh,
  userinfo,
} from "./revoked-ground.ts";

const skip = await withoutRedis();
const BY = { kind: "system", id: "test" } as const;
const PEOPLE = 4;
const TRAFFIC_MS = 2500;
/** T-REL-29 and the bench: opaque access token, refresh token bound to its session. */
const REFRESH_TRIPS_MAX = 5;

async function openVictims(): Promise<{
  pair: Pair;
  victim: NonNullable<Awaited<ReturnType<typeof ownRedisVictim>>>;
  admin: () => Promise<Redis>;
}> {
  const victim = await ownRedisVictim(["--dbfilename", "state.rdb"]);
  if (victim === undefined) throw new Error("Redis was there a moment ago");
  const pair = await openPair("redis", { REDIS_URL: victim.url });
  const admin = async (): Promise<Redis> => {
    const client = new Redis(victim.url, { lazyConnect: true, retryStrategy: null });
    client.on("error", () => undefined);
    atEnd(async () => client.disconnect());
    await client.connect();
    return client;
  };
  return { pair, victim, admin };
}
let opened: ReturnType<typeof openVictims> | undefined;
const ground = () => {
  opened ??= openVictims();
  return opened;
};

test("T-REL-29: emptying Redis under traffic costs each person one sign-in, no consent and no 5xx but 503, and revives nothing", {
  skip,
}, async (t) => {
  const { pair, admin } = await ground();
  const emails = Array.from({ length: PEOPLE }, (_, index) => `flush-${index}@lindqvist.example`);
  const people: Held[] = [];
  for (const [index, email] of emails.entries()) {
    await pair.createUser(email);
    people.push(await hold(pair, pair.web, { email, isOffline: index % 2 === 0 }));
  }
  const revoked = await hold(pair, pair.web, { isOffline: true });
  assert.equal((await pair.client().post("/revoke", { token: revoked.refreshToken }, basic(pair.web))).status, 200);
  const gone = await hold(pair, pair.web);
  await pair.service.revocations.end({ kind: "user", id: pair.userId });
  const statuses = new Map<number, number>();
  const seen = (status: number): void => void statuses.set(status, (statuses.get(status) ?? 0) + 1);
  const end = performance.now() + TRAFFIC_MS;
  const walk = async (held: Held, at: Pair["both"][number]): Promise<void> => {
    while (performance.now() < end) {
      const refreshed = await refresh(at, held);
      seen(refreshed.status);
      if (refreshed.status === 200) held.refreshToken = String(refreshed.json()["refresh_token"]);
      for (const answer of [await userinfo(at, held), await introspect(at, held, held.accessToken)])
        seen(answer.status);
      seen((await at.client().get(held.authorizeUrl)).status);
    }
  };
  const watch = async (): Promise<void> => {
    while (performance.now() < end) {
      for (const held of [revoked, gone]) await mustBeDead(pair, held, { isSignedOut: true });
    }
  };
  const flush = async (): Promise<void> => {
    const client = await admin();
    await new Promise((resolve) => setTimeout(resolve, TRAFFIC_MS / 2));
    await client.flushall();
  };
  await Promise.all([flush(), watch(), ...people.map((held, index) => walk(held, pair.both[index % 2 === 0 ? 0 : 1]))]);
  t.diagnostic(`answers: ${JSON.stringify(Object.fromEntries(statuses))}`);
  assert.deepEqual(
    [...statuses.keys()].filter((status) => status >= 500 && status !== 503),
    [],
  );
  const config = await pair.party(pair.web);
  for (const [index, held] of people.entries()) {
    await mustBeDead(pair, held, { isSignedOut: true });
    const again = await signIn(held.browser, config, { email: emails[index] ?? "", scope: "openid profile email" });
    assert.equal(again.pages.length, 1, `the password alone: ${again.pages.join(", ")}`);
    assert.equal(await authorize(pair.both[1], held), "code");
  }
  await mustBeDead(pair, revoked, { isSignedOut: true });
});

test("T-REL-4: a Redis put back to an older state revives no revoked grant, no ended session, no disabled user, from the first answer on", {
  skip,
}, async () => {
  const { pair, victim, admin } = await ground();
  const email = "restored@lindqvist.example";
  const id = await pair.createUser(email);
  const alive = await hold(pair, pair.web);
  const revoked = await hold(pair, pair.web, { isOffline: true });
  const disabled = await hold(pair, pair.web, { email, isOffline: true });
  const signedOut = await hold(pair, pair.web);
  const token = await hold(pair, pair.web);
  await (await admin()).save();
  await pair.client().post("/revoke", { token: revoked.refreshToken }, basic(pair.web));
  await pair.client().post("/revoke", { token: token.accessToken }, basic(pair.web));
  await pair.service.users.setDisabled(id, true, BY);
  await pair.service.users.setDisabled(id, false, BY);
  const cookies = new Map(signedOut.browser.cookies);
  await signedOut.browser.submit(await signedOut.browser.get("/account"), {}, { match: "/account/sign-out" });
  for (const { name, value, path } of cookies.values()) {
    signedOut.browser.setCookie(`${name}=${value}; Path=${path}`);
  }
  await victim.kill();
  await victim.start();
  for (const at of pair.both) {
    for (const held of [revoked, disabled, signedOut]) {
      const isAnswered = async (): Promise<boolean> => {
        const answer = await refresh(at, held);
        assert.ok([400, 503].includes(answer.status), `${answer.status} ${answer.text}`);
        return answer.status !== 503;
      };
      await eventually(isAnswered, 10_000);
    }
  }
  await mustBeDead(pair, revoked, { isSignedOut: false });
  await mustBeDead(pair, disabled, { isSignedOut: true });
  await mustBeDead(pair, signedOut, { isSignedOut: true });
  for (const at of pair.both) assert.equal((await userinfo(at, token)).status, 401);
  await mustWork(pair, alive);
});

test(`a refresh takes at most ${REFRESH_TRIPS_MAX} round trips to Redis, bound to a session or not`, {
  skip,
}, async (t) => {
  const redis = await testRedis();
  assert.ok(redis !== undefined);
  const proxy = await countTrips(redis.url);
  const signet = await startSignet({ engine: "redis", env: { REDIS_URL: proxy.url } });
  const alone: Pair = { ...(await furnish(signet)), both: [signet, signet] };
  for (const isOffline of [false, true]) {
    const held = await hold(alone, alone.web, { isOffline });
    const counts: Record<string, number[]> = { refresh: [], userinfo: [], introspection: [] };
    for (let round = 0; round < 7; round += 1) {
      counts["refresh"]?.push(
        await proxy.count(async () => {
          const { refresh_token: token } = (await refresh(signet, held)).json();
          held.refreshToken = String(token);
        }),
      );
      counts["userinfo"]?.push(await proxy.count(() => userinfo(signet, held)));
      counts["introspection"]?.push(await proxy.count(() => introspect(signet, held, held.accessToken)));
    }
    // The middle one: now and then a look at the health of the store falls into one of them.
    const middle = Object.entries(counts).map(([name, list]) => [name, list.sort((a, b) => a - b)[3] ?? 0] as const);
    t.diagnostic(`${isOffline ? "offline" : "bound to a session"}: ${JSON.stringify(Object.fromEntries(middle))}`);
    for (const [name, trips] of middle) assert.ok(trips > 0 && trips <= REFRESH_TRIPS_MAX, `${name}: ${trips}`);
  }
});

/** A way to Redis that counts how often somebody waits for it: a question after an answer is a new trip, more questions before it are the same. */
async function countTrips(
  target: string,
): Promise<{ url: string; count(work: () => Promise<unknown>): Promise<number> }> {
  const { hostname, port, pathname } = new URL(target);
  let trips = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = tcpConnect(Number(port), hostname);
    let isWaiting = false;
    client.on("data", (chunk) => {
      if (!isWaiting) trips += 1;
      isWaiting = true;
      upstream.write(chunk);
    });
    upstream.on("data", (chunk) => {
      isWaiting = false;
      client.write(chunk);
    });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        client.destroy();
        upstream.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    url: `redis://127.0.0.1:${address.port}${pathname}`,
    async count(work) {
      const before = trips;
      await work();
      return trips - before;
    },
  };
}
