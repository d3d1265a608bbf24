/** The server: every middleware and mount in order, on the public and on the management port. To find the code behind a URL, start here. */
import { createServer, type RequestListener, type Server } from "node:http";
import Koa, { type Context, type Middleware } from "koa";
import { accountRoutes } from "./account/routes.ts";
import { type App, openApp } from "./app.ts";
import { withBudget } from "./budget.ts";
import { sleep } from "./clock.ts";
import type { Config } from "./config.ts";
import { consoleRoutes } from "./console/routes.ts";
import { checkAtStart } from "./doctor.ts";
import { AppError } from "./errors.ts";
import { type Arrivals, createArrivals } from "./http/arrivals.ts";
import { documentsFirst } from "./http/documents.ts";
import { errorBoundary } from "./http/errors.ts";
import { securityHeaders } from "./http/headers.ts";
import { hostPin } from "./http/host.ts";
import { closeWhileDraining, createHealth, type Health, managementRoutes, publicHealth } from "./http/management.ts";
import { requestId } from "./http/request-id.ts";
import { interactionRoutes } from "./interactions/routes.ts";
import { startJobs } from "./jobs.ts";
import { createNetworkGate } from "./limits/network.ts";
import type { Log } from "./log.ts";
import { noteAdmission } from "./oidc/events.ts";
import { showError } from "./oidc/pages.ts";
import { accountParts, consoleParts, interactionParts } from "./page-parts.ts";
import { languageOf } from "./pages/language.ts";
import { restRoutes } from "./rest/routes.ts";
import { restParts } from "./rest-parts.ts";
import { documentOptions, followKeys, openService, type Service } from "./service.ts";

/** Slow senders are cut off: headers in 10 s, the whole request in 15 s (T-REL-25). A balancer's keep-alive is shorter than ours. */
const HEADERS_MS = 10_000;
const REQUEST_MS = 15_000;
const KEEP_ALIVE_MS = 65_000;
const HEADER_BYTES_MAX = 16 * 1024;
const REQUESTS_PER_SOCKET_MAX = 1000;
/** SIGTERM to exit takes at most 15 s, the shutdown delay of at most 10 s included. */
const DRAIN_MS = 3000;
/** After a failure that nobody caught nothing is certain: what is in flight gets a moment, and no delay. */
const URGENT_DRAIN_MS = 500;
/** Stores that do not answer are left: whoever closes them ends the process. */
const CLOSE_MS = 1500;
/** One request waits for the database this long in all, so that it is answered within three seconds. */
const DATABASE_MS = 2500;
const PAGES_OF_PEOPLE = /^\/(interaction|account|signup|sign-up|recover|not-me|authorize|admin)(\/|$)/;
/** Waits between attempts to open what is not there yet at the start. */
const RETRY_MS_MIN = 200;
const RETRY_MS_MAX = 5000;

export interface RunningServer {
  readonly service: Service;
  readonly health: Health;
  /** Stops taking requests, finishes those in flight, closes everything; within 15 s, whatever does not answer. `isUrgent` leaves out the delay. */
  close(options?: { readonly isUrgent: boolean }): Promise<void>;
}

/** What the two ports tell while the stores are not reached yet. */
interface Opening {
  service: Service | undefined;
  reason: string;
  readonly arrivals: Arrivals;
}

/**
 * Listens at once and serves as soon as the stores answer: until then it is live, not ready, and says 503. Throws what cannot heal
 * by waiting, and StartStopped when `stopping` is aborted before it serves.
 */
export async function startServer(config: Config, log: Log, stopping?: AbortSignal): Promise<RunningServer> {
  let handle: RequestListener = starting;
  const server = createServer({ maxHeaderSize: HEADER_BYTES_MAX }, (request, response) => handle(request, response));
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = REQUEST_MS;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.maxRequestsPerSocket = REQUESTS_PER_SOCKET_MAX;
  await listenOn(server, config.port, config.host);
  const arrivals = createArrivals();
  const opening: Opening = { service: undefined, reason: "the server is starting", arrivals };
  const notYet = { name: "start", check: () => Promise.reject(new Error(opening.reason)) };
  const health = createHealth(() => opening.service?.checks ?? [notYet], log);
  let management: Server | undefined;
  try {
    management = await startManagement({ config, log, health, opening });
    const service = await openWithPatience({ config, log, opening, stopping });
    opening.service = service;
    void checkAtStart(service);
    const listen = publicApp(service, health, arrivals).callback();
    handle = await documentsFirst(
      documentOptions(service, () => health.isDraining),
      listen,
    );
    const jobs = startJobs(service, health);
    log.info("listening", {
      issuer: config.issuer,
      host: config.host,
      port: config.port,
      engine: service.grants.engine,
      hash_ms: service.hasher.hashMs,
    });
    const running: Running = { service, health, server, management, stopJobs: jobs.stop };
    return { service, health, close: ({ isUrgent } = { isUrgent: false }) => stop(running, isUrgent) };
  } catch (error) {
    for (const listener of [server, management]) {
      listener?.closeAllConnections();
      listener?.close();
    }
    throw error;
  }
}

/** The process was asked to stop while it waited for its stores. */
export class StartStopped extends Error {}

function publicApp(service: Service, health: Health, arrivals: Arrivals): Koa {
  const { config, log, engine, views, catalogues, metrics } = service;
  const { issuer } = config;
  const app = new Koa();
  const show = showError({ views, catalogues });
  const isDevelopment = !config.isProduction;
  // The library sets its interaction cookies with this app's flag and keys, and reads them with its own (measured): they must be the same.
  app.proxy = true;
  app.on("error", (error: Error) => log.error("the answer could not be sent", { error: error.message }));
  // What passes a request on hands back what it gets, without waiting: each layer that waits costs every request a few microseconds.
  app.use(requestId(log, answered(metrics, health)));
  app.use((_ctx, next) => withBudget(DATABASE_MS, next));
  app.use(securityHeaders({ isHttps: issuer.startsWith("https:") }));
  app.use(errorBoundary({ log, isDevelopment, show, onRefused: noteAdmission(service.failures) }));
  // Before the host pin: they are the same for everybody, and its page for a wrong address needs the stylesheet.
  app.use(service.assets.middleware);
  const showRightAddress = (ctx: Context): void => showHost(ctx, service);
  app.use(hostPin({ issuer, trustProxy: config.trustProxy, log, arrivals, showRightAddress }));
  app.use(publicHealth(health));
  app.use(favicon(service));
  app.use(followKeys(app, service));
  app.use(keepOut(config));
  // Its paths are no page's, and nearly all requests are for them.
  app.use(engine.middleware);
  app.use(interactionRoutes(interactionParts(service)));
  app.use(accountRoutes(accountParts(service)));
  const rest = restParts(service);
  app.use(consoleRoutes(consoleParts(service, rest)));
  app.use(restRoutes(rest));
  app.use(() => {
    throw new AppError("page_not_found");
  });
  return app;
}

function showHost(ctx: Context, { config, views, catalogues }: Service): void {
  const href = new URL(ctx.url, config.issuer).href;
  views.show(ctx, languageOf(ctx, catalogues), { status: 421, view: "host", locals: { href, issuer: config.issuer } });
}

/** Whoever is kept out sees no page where people sign in or up; apps go on with the tokens that they have. */
function keepOut({ denyNetworks, allowNetworks }: Config): Middleware {
  const isLetIn = createNetworkGate({ deny: denyNetworks, allow: allowNetworks });
  return (ctx, next) => {
    if (PAGES_OF_PEOPLE.test(ctx.path) && !isLetIn(ctx.ip)) throw new AppError("network_denied");
    return next();
  };
}

/** Browsers ask for this address whatever the page says. */
function favicon(service: Service): Middleware {
  return (ctx, next) => {
    if (ctx.path !== "/favicon.ico") return next();
    ctx.status = 303;
    ctx.redirect(service.assets.url("favicon.svg"));
    return undefined;
  };
}

function answered(metrics: Service["metrics"], health: Health): (ctx: Context) => void {
  const classes = [1, 2, 3, 4, 5].map((first) => metrics.requests.labels(`${first}xx`));
  return (ctx) => {
    closeWhileDraining(health, ctx);
    classes[Math.floor(ctx.status / 100) - 1]?.inc();
  };
}

async function startManagement(parts: {
  config: Config;
  log: Log;
  health: Health;
  opening: Opening;
}): Promise<Server | undefined> {
  const { config, log, health, opening } = parts;
  const app = new Koa();
  app.use(async (_ctx, next) => {
    opening.service?.metrics.hashQueue.set(opening.service.hasher.queued());
    await next();
  });
  app.use(managementRoutes({ health, registry: () => opening.service?.metrics.registry, arrivals: opening.arrivals }));
  const server = createServer(app.callback());
  try {
    await listenOn(server, config.managementPort, config.managementHost);
    return server;
  } catch (error) {
    // Two servers for trying things out on one machine are usual; in production somebody watches this port.
    if (config.isProduction) throw error;
    log.warn("the management port is in use: no metrics from this process; set MANAGEMENT_PORT", {
      port: config.managementPort,
    });
    return undefined;
  }
}

interface Running {
  readonly service: Service;
  readonly health: Health;
  readonly server: Server;
  readonly management: Server | undefined;
  readonly stopJobs: () => Promise<void>;
}

async function stop({ service, health, server, management, stopJobs }: Running, isUrgent: boolean): Promise<void> {
  health.drain();
  if (!isUrgent) await sleep(service.config.shutdownDelaySeconds * 1000);
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  await within(isUrgent ? URGENT_DRAIN_MS : DRAIN_MS, closed);
  server.closeAllConnections();
  management?.closeAllConnections();
  management?.close();
  await within(
    CLOSE_MS,
    stopJobs()
      .then(() => Promise.allSettled([service.activity.flush(), service.failures.flush()]))
      .then(() => service.backlog.flush())
      .catch((error: Error) =>
        service.log.warn("audit events were lost", { count: service.backlog.size, error: error.message }),
      )
      .then(() => service.close()),
  );
}

async function within(milliseconds: number, work: Promise<void>): Promise<void> {
  const over = new AbortController();
  await Promise.race([work, sleep(milliseconds, over.signal)]).finally(() => over.abort());
}

/** A database of its own may come up after the server: it is waited for. A wrong key or an edited migration is not. */
async function openWithPatience(parts: {
  config: Config;
  log: Log;
  opening: Opening;
  stopping: AbortSignal | undefined;
}): Promise<Service> {
  const { config, log, opening, stopping } = parts;
  for (let wait = RETRY_MS_MIN; stopping?.aborted !== true; wait = Math.min(wait * 2, RETRY_MS_MAX)) {
    let app: App | undefined;
    try {
      app = await openApp(config, log);
      return await openService(app);
    } catch (error) {
      if (!(error instanceof AppError && error.code === "store_unavailable")) throw error;
      opening.reason = `the database does not answer yet: ${error.detail ?? error.message}`;
      log.warn("the database does not answer yet", { detail: error.detail });
      // Never in step with others that wait for the same database.
      await sleep(Math.max(RETRY_MS_MIN, wait * (0.5 + Math.random() / 2)), stopping);
    }
  }
  throw new StartStopped("asked to stop before the stores answered");
}

function listenOn(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

const starting: RequestListener = (request, response) => {
  const isLive = request.url === "/health/live";
  response.writeHead(isLive ? 200 : 503, {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    ...(isLive ? {} : { "Retry-After": "2" }),
  });
  response.end(
    JSON.stringify(
      isLive ? { status: "live" } : { error: "temporarily_unavailable", error_description: "the server is starting" },
    ),
  );
};
