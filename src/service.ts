/** The service: what the server adds to the app: the engine, its stores, its pages. Commands do without it, so they do not wait for it to load. */

import { join } from "node:path";
import type { Middleware } from "koa";
import { type App, type Closing, closeAll, LONGEST_USE, REDIS_PREFIX, ROOT_DIR } from "./app.ts";
import { type Backlog, createBacklog } from "./audit/backlog.ts";
import { type AuditEvent, record } from "./audit/event.ts";
import { now } from "./clock.ts";
import { type Config, ConfigError } from "./config.ts";
import type { ListenerOptions } from "./http/documents.ts";
import type { HealthCheck } from "./http/management.ts";
import { createOutgoing } from "./http/outgoing.ts";
import { type Keyring, openKeyring } from "./keys/keyring.ts";
import type { MacKeys } from "./keys/mac-key.ts";
import { createLimits, type Limits } from "./limits/limit.ts";
import { tellUnusual } from "./limits/unusual.ts";
import type { Log } from "./log.ts";
import { createOutbox, type Outbox } from "./mail/outbox.ts";
import { createMailbox, noTransport, smtpTransport, type Transport } from "./mail/transport.ts";
import { createMetrics, type Metrics } from "./metrics.ts";
import { createAdapterFactory, rememberClients } from "./oidc/adapter.ts";
import { type Backchannel, createBackchannel } from "./oidc/backchannel.ts";
import { withBuiltInClients } from "./oidc/built-in-clients.ts";
import { type ClientGuesses, createClientGuesses } from "./oidc/client-guesses.ts";
import { type Engine, openEngine } from "./oidc/engine.ts";
import { listen, type Reuse } from "./oidc/events.ts";
import { enginePages, showError } from "./oidc/pages.ts";
import { createPresentedJwts } from "./oidc/presented-jwt.ts";
import { buildProvider } from "./oidc/provider.ts";
import { type Assets, loadAssets } from "./pages/assets.ts";
import { type Csrf, createCsrf } from "./pages/csrf.ts";
import { type Catalogues, loadTexts } from "./pages/texts.ts";
import { createViews, type Views } from "./pages/views.ts";
import { obeyNotices } from "./revocations/revocation.ts";
import { sha256 } from "./secrets.ts";
import type { Counters } from "./store/counters.ts";
import { openPostgresCounters } from "./store/counters-postgres.ts";
import { openRedisCounters } from "./store/counters-redis.ts";
import { openDb } from "./store/db.ts";
import type { GrantStore } from "./store/grants.ts";
import { openPostgresGrants } from "./store/grants-postgres.ts";
import { readRedisFacts } from "./store/redis-facts.ts";
import { sendNotice } from "./users/letter.ts";

const VIEWS_DIR = join(ROOT_DIR, "views");

export interface Service extends App {
  /** The clients that have a row, for whoever administers them. */
  readonly registered: App["clients"];
  readonly metrics: Metrics;
  readonly grants: GrantStore;
  readonly counters: Counters;
  readonly limits: Limits;
  readonly engine: Engine;
  readonly csrf: Csrf;
  readonly views: Views;
  readonly catalogues: Catalogues;
  readonly assets: Assets;
  readonly keyring: Keyring;
  readonly checks: readonly HealthCheck[];
  readonly outbox: Outbox;
  /** Where mails go; in development a mailbox that a page shows. */
  readonly transport: Transport;
  readonly backchannel: Backchannel;
  /** Records an event that has no change of its own beside it. */
  readonly recordAlone: (event: AuditEvent) => Promise<void>;
  readonly backlog: Backlog;
}

/** What the server adds: the engine, its stores, its pages. It closes the app, too. */
export async function openService(app: App): Promise<Service> {
  const { config, log, db, vault, notices } = app;
  const opened: Closing[] = [() => app.close()];
  try {
    await app.hasher.open();
    const metrics = createMetrics();
    await refuseEviction(config);
    const redis = config.redisUrls === undefined ? undefined : { urls: config.redisUrls, prefix: REDIS_PREFIX, log };
    const grants = await app.openGrants();
    obeyNotices(app.notices, grants);
    const counters = redis === undefined ? openPostgresCounters(db) : await openRedisCounters(redis);
    opened.unshift(() => counters.close());
    const keyParts = { db, vault, notices, record, log, times: config.keyTimes, longestUse: LONGEST_USE };
    const keyring = await openKeyring(keyParts);
    const assets = loadAssets(VIEWS_DIR);
    const catalogues = loadTexts(VIEWS_DIR);
    const isDevelopment = !config.isProduction;
    const brand = { name: config.brandName };
    const views = createViews({
      viewsDir: VIEWS_DIR,
      assets,
      brand,
      issuerHost: new URL(config.issuer).host,
      isDevelopment,
    });
    const backlog = createBacklog({ db, log, onDropped: () => metrics.auditDropped.inc() });
    // A pool of its own: while all other connections wait for a lock, this process is busy but not ill (T-REL-10).
    const probe = openDb({ connection: app.connection, max: 1, log, name: "signet health" });
    opened.unshift(() => probe.close());
    const base = {
      ...app,
      metrics,
      backlog,
      recordAlone: (event: AuditEvent) => backlog.record(app.activity.seen(event)),
      grants,
      counters,
      keyring,
      assets,
      catalogues,
      views,
      registered: app.clients,
      // Signing in to the account or the console goes the way of every app.
      clients: withBuiltInClients(app.clients, { issuer: config.issuer, name: config.brandName }),
    };
    const limits = createLimits({ counters, log, onUnusual: tellUnusual(base) });
    const engine = await openEngineOver(base, createClientGuesses(limits));
    const delivery = openDelivery(base, engine);
    opened.unshift(async () => delivery.transport.close());
    return {
      ...base,
      engine,
      ...delivery,
      limits,
      csrf: createCsrf(() => keyring.current().secrets.form.map(({ key }) => key)),
      checks: [
        { name: "postgres", check: async () => void (await probe.query("select 1")) },
        {
          name: "expiring store",
          check: () =>
            (redis === undefined
              ? openPostgresGrants({ db: probe, log, revocations: app.revocations.written })
              : grants
            ).check(),
        },
        { name: "keys", check: () => keyring.ensureFresh() },
      ],
      close: () => closeAll(opened),
    };
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

type EngineBase = Omit<Service, "engine" | "limits" | "csrf" | "checks" | "outbox" | "transport" | "backchannel">;

/** What leaves later: mails to people, sign-outs to apps. */
function openDelivery(base: EngineBase, engine: Engine): Pick<Service, "transport" | "outbox" | "backchannel"> {
  const { config, log, db, vault, views, catalogues, metrics, logouts, recordAlone } = base;
  const transport = openTransport(config, log);
  return {
    transport,
    outbox: createOutbox({
      ...{ db, vault, log, transport },
      words: { views, catalogues, brandName: config.brandName, issuer: config.issuer },
      onResult: (result) => metrics.mails.inc({ result }),
    }),
    backchannel: createBackchannel({
      ...{ engine, log, logouts, recordAlone },
      onResult: (result) => metrics.logouts.inc({ result }),
    }),
  };
}

function openTransport(config: Config, log: Log): Transport {
  const { smtpUrl, mailFrom, brandName, issuer } = config;
  if (smtpUrl !== undefined) return smtpTransport({ url: smtpUrl, from: mailFrom, brandName, issuer });
  return config.isProduction ? noTransport(log) : createMailbox({ log, issuer });
}

function openEngineOver(base: EngineBase, guesses: ClientGuesses): Promise<Engine> {
  const { config, log, metrics, clients, users, apis, consents, grants, revocations, keyring } = base;
  const pages = { views: base.views, catalogues: base.catalogues, clients, users, isDevelopment: !config.isProduction };
  const storing = {
    clients,
    presented: createPresentedJwts({
      issuer: config.issuer,
      grants,
      revocations,
      publicKeys: () => keyring.current().published,
    }),
    grants,
    revocations,
    mayRemember: config.mayRemember,
    nowMs: () => now().getTime(),
    windowMs: async (clientId: string) => ((await clients.find(clientId))?.settings.refreshWindowSeconds ?? 0) * 1000,
  };
  const outgoing = createOutgoing({ allow: config.outboundAllow, isDevelopment: !config.isProduction });
  return openEngine({
    issuer: config.issuer,
    ...{ keyring, clients, guesses },
    metrics,
    isDevelopment: !config.isProduction,
    show: showError(pages),
    build: ({ signing, secrets }) => {
      const provider = buildProvider({
        issuer: config.issuer,
        adapter: createAdapterFactory({ ...storing, keys: secrets.refresh_token }),
        users,
        clients,
        apis,
        roles: base.roles,
        consents,
        signingKeys: signing,
        cookieKeys: cookieKeysOf(secrets),
        ...{ refreshKeys: secrets.refresh_token, guesses },
        pages: enginePages(pages),
        outgoing,
        tokenSecondsMax: config.keyTimes.tokenSecondsMax,
        ...{ isSignUpOpen: config.signUp !== "off", mayRemember: config.mayRemember },
      });
      rememberClients(provider, storing);
      listen(provider, {
        ...{ log, metrics, clients, activity: base.activity, failures: base.failures },
        onReuse: (what, reuse) => noteReuse(base, what, reuse),
        onSignOut: (userId, from) => {
          const user = { kind: "user", id: userId } as const;
          void base.recordAlone({ name: "sign_out", actor: { ...user, ...from }, subject: user });
        },
      });
      return provider;
    },
  });
}

/** As the cookie library takes them: the first signs, all verify. */
function cookieKeysOf({ cookie }: MacKeys): string[] {
  return cookie.map(({ key }) => key.toString("base64url"));
}

/** Gives the app the keys of its cookies, now and after every rotation; the middleware keeps requests from keys that may have been replaced. */
export function followKeys(app: { keys: unknown }, { keyring, engine }: Service): Middleware {
  app.keys = cookieKeysOf(keyring.current().secrets);
  keyring.onChange(async ({ secrets }) => {
    app.keys = cookieKeysOf(secrets);
  });
  // Whoever could not confirm the keys for too long neither signs nor verifies: the answer is 503. The JWKS is still sent.
  return (ctx, next) =>
    keyring.isFresh() || engine.documents().has(ctx.path) ? next() : keyring.ensureFresh().then(next);
}

/** What is sent from memory, and what counts and logs it. */
export function documentOptions(service: Service, isDraining: () => boolean): ListenerOptions {
  const { config, engine, keyring, log, metrics } = service;
  const [sent, unchanged] = [metrics.requests.labels("2xx"), metrics.requests.labels("3xx")];
  return {
    issuer: config.issuer,
    documents: () => engine.documents(),
    cacheSeconds: keyring.times.cacheSeconds,
    isFresh: () => keyring.isFresh(),
    log,
    trustProxy: config.trustProxy,
    onAnswer: (status) => (status === 304 ? unchanged : sent).inc(),
    isDraining,
  };
}

/** A sign of theft: counted, and on the audit trail with the grant that was ended. */
function noteReuse(base: EngineBase, what: "code" | "refresh_token", reuse: Reuse): void {
  base.metrics.reuse.inc({ what });
  void base.recordAlone({
    name: what === "code" ? "code.reuse_detected" : "token.reuse_detected",
    actor: { kind: "client", id: reuse.clientId, address: reuse.address, requestId: reuse.requestId },
    subject: { kind: "grant", id: sha256(reuse.grantId) },
  });
  if (reuse.userId !== undefined) void tellOfTheft(base, { ...reuse, userId: reuse.userId });
}

/** The person hears of it, too; that the mail cannot be written changes nothing about the grant, which has ended. */
async function tellOfTheft(base: EngineBase, reuse: Reuse & { readonly userId: string }): Promise<void> {
  try {
    const [user, client] = [await base.users.find(reuse.userId), await base.clients.find(reuse.clientId)];
    if (user === undefined || user.isDisabled) return;
    await base.db.transaction((tx) =>
      sendNotice(tx, base.letters, {
        template: "token_theft",
        reader: user,
        values: { app: client?.name ?? reuse.clientId },
        // One grant, one mail, however often what is left of it is tried.
        cause: `token_theft:${sha256(reuse.grantId)}`,
      }),
    );
  } catch (error) {
    base.log.warn("a notice was not queued", { reason: error instanceof Error ? error.message : "unknown" });
  }
}

/** Production does not begin on a Redis that may drop live tokens; one that does not answer yet is looked at by readiness when it does (T-REL-7). */
async function refuseEviction({ isProduction, redisUrls }: Config): Promise<void> {
  if (!isProduction || redisUrls === undefined) return;
  const policy = await readRedisFacts(redisUrls).then(
    (facts) => facts.evictionPolicy,
    () => "unknown",
  );
  if (policy === "noeviction" || policy === "unknown") return;
  throw new ConfigError(
    `The configuration cannot be used:\n  - REDIS_URL leads to a Redis whose maxmemory-policy is ${policy}: it drops live tokens when it is full. Set it to noeviction`,
  );
}
