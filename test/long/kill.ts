/** One of two processes is killed under refresh traffic, 20 times on each engine: one retry brings every client through, nobody is signed out, and what was dead stays dead (T-REL-12). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { sleep } from "../../src/clock.ts";
import { CALLBACK } from "../flows/journey.ts";
import {
  codeFields,
  type Ground,
  openGround,
  type RaceClient,
  type Reply,
  refreshFields,
  tokenShot,
  volley,
} from "../flows/racer.ts";
import { engines, spawnSignet } from "../support.ts";

const KILLS = 20;
const CLIENTS = 12;
/** Short, so that tokens from before it exist after each kill; long enough for the one retry. */
const WINDOW_SECONDS = 3;
const TRAFFIC_MS = 700;

interface Chain {
  token: string;
  refreshes: number;
  retries: number;
  /** Why this client would have to sign in again. */
  lost: string | undefined;
}

/** Refreshes until told to stop: at the given process, and once more at the other one when the connection breaks. */
async function keepRefreshing(
  chain: Chain,
  refresh: (token: string, turn: number) => Promise<Reply>,
  traffic: { readonly isOver: boolean },
  first: number,
): Promise<void> {
  for (let turn = first; !traffic.isOver && chain.lost === undefined; turn += 1) {
    let reply = await refresh(chain.token, turn).catch(() => undefined);
    if (reply === undefined || reply.status >= 500) {
      chain.retries += 1;
      reply = await refresh(chain.token, turn + 1).catch(() => undefined);
    }
    if (reply?.status !== 200) {
      chain.lost = reply === undefined ? "the retry got no answer" : `${reply.status} ${reply.text}`;
      return;
    }
    chain.token = String(reply.json["refresh_token"]);
    chain.refreshes += 1;
  }
}

async function tokenOf(ground: Ground, client: RaceClient): Promise<string> {
  const { callback, verifier } = await ground.signIn(ground.browser(), client);
  const reply = await ground.post("/token", client, codeFields(callback, verifier));
  assert.equal(reply.status, 200, reply.text);
  return String(reply.json["refresh_token"]);
}

/** The tokens of a family that its app gave back: the one it was spent from, and the one that was live. */
async function endedFamily(ground: Ground, client: RaceClient): Promise<readonly string[]> {
  const first = await tokenOf(ground, client);
  const live = String((await ground.post("/token", client, refreshFields(first))).json["refresh_token"]);
  const revoked = await ground.post("/revoke", client, { token: live });
  assert.equal(revoked.status, 200, revoked.text);
  return [first, live];
}

function refused(reply: Reply): void {
  assert.equal(reply.status, 400, `${reply.status} ${reply.text}`);
  assert.equal(reply.json["error"], "invalid_grant");
}

for (const { engine, skip } of await engines()) {
  test(`kill -9 of one of two processes, ${KILLS} times under refresh traffic (T-REL-12, ${engine})`, {
    skip,
  }, async () => {
    const ground = await openGround(engine, "real", 1);
    const client = await ground.register({
      client_type: "web",
      client_name: "Steady",
      redirect_uris: [CALLBACK],
      refresh_window: WINDOW_SECONDS,
    });
    const chains: Chain[] = [];
    for (let index = 0; index < CLIENTS; index += 1)
      chains.push({ token: await tokenOf(ground, client), refreshes: 0, retries: 0, lost: undefined });
    // The two that may be killed are of this test's own; the ground's own process stays out of it.
    const servers = [await spawnSignet({ engine, beside: ground }), await spawnSignet({ engine, beside: ground })];
    const send = async (token: string, turn: number): Promise<Reply> => {
      const port = servers[turn % servers.length]?.port ?? 0;
      const [reply] = await volley(ground.issuer, [{ port, ...tokenShot("/token", client, refreshFields(token)) }]);
      if (reply === undefined) throw new Error("no reply");
      return reply;
    };
    const recoveries: number[] = [];
    for (let kill = 0; kill < KILLS; kill += 1) {
      const traffic = { isOver: false };
      const old = await tokenOf(ground, client);
      const next = await ground.post("/token", client, refreshFields(old));
      const ended = await endedFamily(ground, client);
      const flowing = chains.map((chain, index) => keepRefreshing(chain, send, traffic, index));
      await sleep(TRAFFIC_MS * (0.5 + Math.random()));
      const index = Math.floor(Math.random() * servers.length);
      const begun = performance.now();
      await servers[index]?.stop("SIGKILL");
      await sleep(TRAFFIC_MS / 2);
      servers[index] = await spawnSignet({ engine, beside: ground });
      recoveries.push(performance.now() - begun);
      // An ended family is not accepted even inside its window, by the process that went on and by the one that just began.
      for (const process of [index, index + 1]) for (const token of ended) refused(await send(token, process));
      await sleep(TRAFFIC_MS / 2);
      traffic.isOver = true;
      await Promise.all(flowing);
      assert.deepEqual(
        chains.flatMap(({ lost }) => lost ?? []),
        [],
        `kill ${kill + 1}: nobody is signed out`,
      );
      // The new process knows what the old one knew: a token from before its window, and then all of its family, are refused.
      await sleep(Math.max(0, WINDOW_SECONDS * 1000 + 200 - (performance.now() - begun)));
      for (const token of [...ended, old, String(next.json["refresh_token"])]) refused(await send(token, index));
    }
    const total = (of: (chain: Chain) => number): number => chains.reduce((sum, chain) => sum + of(chain), 0);
    const slowest = Math.round(Math.max(...recoveries));
    console.log(
      `kill (${engine}): ${KILLS} kills, ${CLIENTS} clients, ${total(({ refreshes }) => refreshes)} refreshes, ${total(({ retries }) => retries)} of them by a retry, 0 signed out, a new process within ${slowest} ms`,
    );
    assert.ok(total(({ retries }) => retries) > 0, "no kill hit a request: the traffic was too thin to show anything");
  });
}
