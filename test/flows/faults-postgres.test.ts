/** Postgres refuses, hangs, loses its connections, is locked, comes late: what clients see, how soon, and that all comes back by itself. */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { asOwner } from "../ladder.ts";
import { type Answer, eventually, startSignet, withoutRedis } from "../support.ts";
import {
  askAll,
  authorizeUrl,
  backAfter,
  basic,
  emptyDatabase,
  environmentOn,
  fillDisk,
  isFine,
  isRetryLater,
  isRetryPage,
  letLooksAge,
  machineToken,
  openSignIn,
  ownPostgres,
  ownRedisVictim,
  type Probe,
  redirectsUnavailable,
} from "./faults.ts";
import { CALLBACK, EMAIL, furnish, type Journey, PASSWORD, signIn, tokensOf } from "./journey.ts";

const REFUSING_MS = 1000;
const HANGING_MS = 3000;
const BACK_MS = 3000;
/** A pause of two seconds at most, and two more to connect. */
const LISTENING_MS = 15_000;
/** Of the disk that Postgres has: its databases and log of this file, several times. */
const DISK_MB = 400;
const DISK_MS = 20_000;

// Asked before the first test: a pause between two of them would look like the end of the file.
const skip = await withoutRedis();
const isRoot = process.getuid?.() === 0;
const postgres = await ownPostgres(isRoot ? { diskMb: DISK_MB } : {});
afterEach(async () => {
  // A test that failed midway must not take the others with it.
  await postgres.thaw().catch(() => undefined);
  await postgres.start();
});
const journeys = new Map<string, Promise<Journey>>();

/** One server per engine, on a database of this cluster. */
function opened(engine: "postgres" | "redis"): Promise<Journey> {
  const known = journeys.get(engine) ?? begin(engine);
  journeys.set(engine, known);
  return known;
}

async function begin(engine: "postgres" | "redis"): Promise<Journey> {
  const redis = engine === "redis" ? await ownRedisVictim() : undefined;
  const { url } = await emptyDatabase(postgres, `faults_${engine}`);
  const env = await environmentOn({ DATABASE_URL: url, ...(redis === undefined ? {} : { REDIS_URL: redis.url }) });
  return furnish(await startSignet({ engine, beside: { env }, env }));
}

/** After the fault before this one a server may still have to listen again, and then forgets once more what it knows by heart. */
async function settled(journey: Journey): Promise<void> {
  await eventually(() => {
    const told = journey.lines.filter((line) => line.includes('"notices: '));
    return told.at(-1)?.includes("listening again") ?? true;
  }, LISTENING_MS);
  // What was silent a moment ago is left alone for a moment; then somebody is answered.
  await eventually(async () => {
    const answer = await journey.client().get(authorizeUrl(journey));
    return answer.status === 303 && !String(answer.location).includes("error=");
  }, LISTENING_MS);
}

/** The app hears of it, or the person: a process that lost its connection a moment ago has forgotten where the app is. */
function tellsSo(answer: Answer): void {
  if (answer.status === 303) redirectsUnavailable(answer);
  else isRetryPage(answer);
}

/** Everything that a client or a person may be about to do when the database goes away. */
async function prepare(journey: Journey) {
  await settled(journey);
  const { web, machine, client, party } = journey;
  const config = await party(web);
  const browser = client();
  const tokens = await tokensOf(browser, config, {
    scope: "openid profile email offline_access",
    parameters: { prompt: "consent" },
  });
  const waiting = await signIn(browser, config, { scope: "openid profile email" });
  const stranger = client();
  const page = await openSignIn(stranger, authorizeUrl(journey));
  const at = client();
  // So that the process knows the client and the API.
  isFine(await machineToken(at, machine));
  const refresh = () =>
    at.post("/token", { grant_type: "refresh_token", refresh_token: tokens.refresh_token ?? "" }, basic(web));
  const probe = (name: string, ask: () => Promise<Answer>, check: (answer: Answer) => void): Probe => ({
    name,
    ask,
    check,
  });
  await letLooksAge();
  return {
    refresh,
    control: () => at.get("/jwks"),
    /** With the cached client and nothing to store. */
    machine: probe("token, client credentials", () => machineToken(at, machine), isFine),
    refreshing: probe("token, refresh", refresh, isRetryLater),
    code: probe(
      "token, code",
      () =>
        at.post(
          "/token",
          {
            grant_type: "authorization_code",
            code: waiting.callback.searchParams.get("code") ?? "",
            redirect_uri: CALLBACK,
            code_verifier: waiting.verifier,
          },
          basic(web),
        ),
      isRetryLater,
    ),
    userinfo: probe(
      "userinfo",
      () => at.get("/userinfo", { authorization: `Bearer ${tokens.access_token}` }),
      isRetryLater,
    ),
    introspect: probe(
      "introspect",
      () => at.post("/introspect", { token: tokens.access_token }, basic(web)),
      isRetryLater,
    ),
    revoke: probe("revoke", () => at.post("/revoke", { token: tokens.access_token }, basic(web)), isRetryLater),
    signedIn: probe("authorize, signed in", () => browser.get(authorizeUrl(journey), html), tellsSo),
    authorize: probe("authorize, not signed in", () => client().get(authorizeUrl(journey), html), tellsSo),
    unknown: probe(
      "authorize, a client never seen",
      () => client().get(authorizeUrl(journey, "cl_unknown"), html),
      isRetryPage,
    ),
    submit: probe(
      "sign-in form",
      () => stranger.submit(page, { email: EMAIL, password: PASSWORD }, { match: 'name="password"', headers: html }),
      isRetryPage,
    ),
    account: probe("account page", () => browser.get("/account", html), isRetryPage),
    always: [
      probe("jwks", () => at.get("/jwks"), isFine),
      probe("discovery", () => at.get("/.well-known/openid-configuration"), isFine),
      probe("authorization server metadata", () => at.get("/.well-known/oauth-authorization-server"), isFine),
      probe("health/live", () => at.get("/health/live"), isFine),
      probe(
        "health/ready",
        () => at.get("/health/ready"),
        (answer) => assert.equal(answer.status, 503),
      ),
    ],
  };
}

const html = { accept: "text/html" };

function allOf(ready: Awaited<ReturnType<typeof prepare>>): readonly Probe[] {
  const { refreshing, code, userinfo, introspect, revoke, signedIn, authorize, unknown, submit, account } = ready;
  return [
    ...[refreshing, code, userinfo, introspect, revoke],
    ...[signedIn, authorize, unknown, submit, account],
    ...ready.always,
  ];
}

test("Postgres is killed: what concerns a user is 503 within a second, cached clients go on, all comes back (T-REL-8, T-REL-5)", async () => {
  const journey = await opened("postgres");
  const ready = await prepare(journey);
  await postgres.kill();
  await askAll("postgres killed", [...allOf(ready), ready.machine], { boundMs: REFUSING_MS, control: ready.control });
  // Once more: now the pools know.
  await askAll("postgres still down", allOf(ready), { boundMs: REFUSING_MS, control: ready.control });
  await postgres.start();
  await backAfter("refresh", BACK_MS, ready.refresh);
  await backAfter("readiness", BACK_MS, () => journey.client().get("/health/ready"));
  const about = await ready.introspect.ask();
  assert.equal(about.json()["active"], true, "a revocation that was answered with 503 has not half happened");
  assert.equal((await ready.revoke.ask()).status, 200);
  assert.equal((await ready.introspect.ask()).json()["active"], false);
});

test("Postgres hangs: the same within three seconds, and as soon as it goes on, so does Signet (T-REL-11)", async () => {
  const journey = await opened("postgres");
  const ready = await prepare(journey);
  await postgres.freeze();
  await askAll("postgres hangs", [...allOf(ready), ready.machine], { boundMs: HANGING_MS, control: ready.control });
  // Whoever comes later is not made to wait for what is known.
  await askAll("postgres still hangs", allOf(ready), { boundMs: HANGING_MS, control: ready.control });
  await postgres.thaw();
  await backAfter("refresh", BACK_MS, ready.refresh);
  await backAfter("readiness", BACK_MS, () => journey.client().get("/health/ready"));
});

test("with Redis for what expires, a dead or hanging Postgres costs what concerns a user and nothing else (T-REL-8, T-REL-11)", {
  skip,
}, async () => {
  const journey = await opened("redis");
  for (const [what, hurt, heal, boundMs] of [
    ["killed", postgres.kill, postgres.start, REFUSING_MS],
    ["hangs", postgres.freeze, postgres.thaw, HANGING_MS],
  ] as const) {
    const ready = await prepare(journey);
    await hurt();
    const { refreshing, code, userinfo, unknown, submit, machine } = ready;
    const goesOn = [{ ...ready.introspect, check: isFine }, machine];
    await askAll(
      `postgres ${what}, redis fine`,
      [refreshing, code, userinfo, unknown, submit, ...goesOn, ...ready.always],
      {
        boundMs,
        control: ready.control,
      },
    );
    await heal();
    await backAfter("refresh", BACK_MS, ready.refresh);
    await backAfter("readiness", BACK_MS, () => journey.client().get("/health/ready"));
  }
});

test("connections that are cut again and again cost hardly a request, and never the process (T-REL-9)", async () => {
  const journey = await opened("postgres");
  const { web, client, party } = journey;
  const config = await party(web);
  await settled(journey);
  const tokens = await tokensOf(client(), config);
  let [isOver, asked, failed] = [false, 0, 0];
  const worker = async (): Promise<void> => {
    const at = client();
    while (!isOver) {
      const answer = await at.get("/userinfo", { authorization: `Bearer ${tokens.access_token}` });
      asked += 1;
      if (answer.status !== 200) failed += 1;
    }
  };
  const workers = [worker(), worker(), worker(), worker()];
  let cut = 0;
  await asOwner({ ...postgres.connection, database: "faults_postgres" }, async (owner) => {
    for (let round = 0; round < 3; round += 1) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const { rowCount } = await owner.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
      );
      cut += rowCount ?? 0;
    }
  });
  isOver = true;
  await Promise.all(workers);
  for (const line of journey.lines.filter((line) => line.includes('"refused"')).slice(-3))
    console.log(`#   ${line.trim()}`);
  console.log(`#   ${cut} connections cut under ${asked} requests: ${failed} failed`);
  assert.ok(cut >= 3 && asked > 30, `${cut} cuts, ${asked} requests`);
  assert.ok(failed <= Math.ceil(asked / 1000), `${failed} of ${asked} failed`);
});

test("a locked table makes sign-ins wait two seconds and then 503; tokens and keys do not notice (T-REL-10)", async () => {
  const journey = await opened("postgres");
  const ready = await prepare(journey);
  const pages = await Promise.all(
    Array.from({ length: 15 }, async () => {
      const browser = journey.client();
      return { browser, page: await openSignIn(browser, authorizeUrl(journey)) };
    }),
  );
  await asOwner({ ...postgres.connection, database: "faults_postgres" }, async (owner) => {
    await owner.query("begin; lock table users in access exclusive mode");
    const logins = pages.map(
      ({ browser, page }, index): Probe => ({
        name: `sign-in ${index + 1}`,
        ask: () =>
          browser.submit(page, { email: EMAIL, password: PASSWORD }, { match: 'name="password"', headers: html }),
        check: isRetryPage,
      }),
    );
    const others = [
      ready.machine,
      ...ready.always.slice(0, 4),
      {
        ...ready.always[4],
        name: "health/ready",
        ask: () => journey.client().get("/health/ready"),
        check: () => undefined,
      },
    ];
    const seen = askAll("users locked", [...logins, ready.refreshing, ready.userinfo], {
      boundMs: HANGING_MS,
      control: ready.control,
    });
    await new Promise((resolve) => setTimeout(resolve, 500));
    await askAll("users locked, beside it", others, { boundMs: REFUSING_MS, control: ready.control });
    assert.ok(
      (await seen).every(({ ms }) => ms > 1000),
      "it waits for the lock, which may come free",
    );
    await owner.query("rollback");
  });
  await backAfter("refresh", BACK_MS, ready.refresh);
});

test("the disk of Postgres is full: what writes is 503, the process stays up, nothing acknowledged is lost, and with room all goes on (T-REL-20)", {
  skip: isRoot ? false : "only root mounts a disk of its own",
}, async () => {
  const journey = await opened("postgres");
  const ready = await prepare(journey);
  const at = journey.client();
  let token = String((await ready.refresh()).json()["refresh_token"]);
  const refresh = () => at.post("/token", { grant_type: "refresh_token", refresh_token: token }, basic(journey.web));
  const keep = (answer: Answer): number => {
    if (answer.status === 200) token = String(answer.json()["refresh_token"]);
    return answer.status;
  };
  const refreshAndKeep = async (): Promise<Answer> => {
    const answer = await refresh();
    keep(answer);
    return answer;
  };
  const fill = join(postgres.place, "filler");
  await fillDisk(fill);
  let acknowledged = 0;
  try {
    // What still fits into pages and log that it holds is taken; a new part of the log has no room.
    const status = await eventually(async () => {
      const seen = keep(await refresh());
      if (seen === 200) acknowledged += 1;
      await asOwner(postgres.connection, (owner) => owner.query("select pg_switch_wal()")).catch(() => undefined);
      return seen !== 200 && seen;
    }, DISK_MS);
    assert.equal(status, 503, "the first that had no room");
    // A Postgres that begins again finds a little room, so one or the other may still be taken; then it is kept, as the end shows.
    const writes = [ready.code, ready.revoke, ready.submit, { ...ready.refreshing, ask: refreshAndKeep }].map(
      (probe) => ({
        ...probe,
        check: (answer: Answer) => (answer.status < 400 ? undefined : probe.check(answer)),
      }),
    );
    const others = [ready.machine, ...ready.always.slice(0, 4)];
    await askAll("the disk of postgres is full", [...writes, ...others], {
      boundMs: HANGING_MS,
      control: ready.control,
    });
  } finally {
    await rm(fill);
  }
  // It gives up when its log has no room; whoever looks after it starts it again.
  await postgres.start();
  await backAfter("refresh with the last token that was given", DISK_MS, refreshAndKeep);
  await backAfter("readiness", BACK_MS, () => journey.client().get("/health/ready"));
  console.log(`#   ${acknowledged} refreshes were still taken on the full disk, and none of them is lost`);
});

test("a server that starts before its database lives, is not ready, says why on the management port, and comes up with it (T-REL-8)", async () => {
  const { url } = await emptyDatabase(postgres, "late");
  await postgres.kill();
  const env = await environmentOn({ DATABASE_URL: url });
  const starting = startSignet({ engine: "postgres", beside: { env }, env });
  const { cookieJarClient } = await import("../support.ts");
  const at = cookieJarClient(env.ISSUER);
  await eventually(async () => (await at.get("/health/live")).status === 200);
  assert.equal((await at.get("/health/ready")).status, 503);
  isRetryLater(await at.get("/.well-known/openid-configuration"));
  isRetryLater(await at.post("/token", { grant_type: "client_credentials" }));
  const why = await eventually(async () => {
    const answer = await fetch(`http://127.0.0.1:${env.MANAGEMENT_PORT}/health`);
    assert.equal(answer.status, 503);
    const { checks } = (await answer.json()) as { checks: { name: string; reason?: string }[] };
    return checks.find(({ reason }) => reason?.includes("Postgres: "))?.reason;
  });
  console.log(`#   the management port says: ${why}`);
  await postgres.start();
  const signet = await starting;
  await backAfter("readiness of the late start", BACK_MS, () => at.get("/health/ready"));
  assert.ok(signet.lines.some((line) => line.includes("the database does not answer yet")));
});
