/** The server: every middleware and mount in order, on the public and on the management port. To find the code behind a URL, start here. */
import { createServer, type RequestListener, type Server } from "node:http";
import Koa, { type Context, type Middleware } from "koa";
import { accountRoutes } from "./account/routes.ts";
import { type App, openApp, openService, type Service } from "./app.ts";
import { sleep } from "./clock.ts";
import type { Config } from "./config.ts";
import { consoleRoutes } from "./console/routes.ts";
import { AppError } from "./errors.ts";
import { errorBoundary } from "./http/errors.ts";
import { securityHeaders } from "./http/headers.ts";
import { hostPin } from "./http/host.ts";
import { createHealth, type Health, managementRoutes, publicHealth } from "./http/management.ts";
import { requestId } from "./http/request-id.ts";
import { interactionRoutes } from "./interactions/routes.ts";
import { startJobs } from "./jobs.ts";
import type { Log } from "./log.ts";
import { showError } from "./oidc/pages.ts";
import { createBrowser } from "./oidc/signed-in.ts";
import { languageOf } from "./pages/language.ts";

/** Slow senders are cut off: headers in 10 s, the whole request in 15 s (T-REL-25). A balancer's keep-alive is shorter than ours. */
const HEADERS_MS = 10_000;
const REQUEST_MS = 15_000;
const KEEP_ALIVE_MS = 65_000;
const HEADER_BYTES_MAX = 16 * 1024;
const REQUESTS_PER_SOCKET_MAX = 1000;
/** SIGTERM to exit takes at most 15 s, the shutdown delay of at most 10 s included. */
const DRAIN_MS = 4000;
/** Waits between attempts to open what is not there yet at the start. */
const RETRY_MS_MIN = 200;
const RETRY_MS_MAX = 5000;

export interface RunningServer {
  readonly service: Service;
  readonly health: Health;
  /** Stops taking requests, finishes those in flight, closes everything. */
  close(): Promise<void>;
}

/** Listens at once and serves as soon as the stores answer: until then it is live, not ready, and says 503. Throws what cannot heal by waiting. */
export async function startServer(config: Config, log: Log): Promise<RunningServer> {
  let handle: RequestListener = starting;
  const server = createServer({ maxHeaderSize: HEADER_BYTES_MAX }, (request, response) => handle(request, response));
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = REQUEST_MS;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.maxRequestsPerSocket = REQUESTS_PER_SOCKET_MAX;
  await listenOn(server, config.port, config.host);
  try {
    const service = await openWithPatience(config, log);
    const health = createHealth(() => service.checks);
    handle = publicApp(service, health).callback();
    const management = await startManagement(service, health);
    const jobs = startJobs(service);
    log.info("listening", {
      issuer: config.issuer,
      host: config.host,
      port: config.port,
      engine: service.grants.engine,
      hash_ms: service.hasher.hashMs,
    });
    return { service, health, close: () => stop(service, health, { server, management, stopJobs: jobs.stop }) };
  } catch (error) {
    server.closeAllConnections();
    server.close();
    throw error;
  }
}

function publicApp(service: Service, health: Health): Koa {
  const { config, log, engine, users, clients, apis, consents, limits, csrf, views, catalogues, metrics, recordAlone } =
    service;
  const { issuer } = config;
  const app = new Koa();
  const show = showError({ views, catalogues });
  const isDevelopment = !config.isProduction;
  // The library sets its interaction cookies with this app's keys and flag, and reads them with its own (measured): they must be the same.
  app.keys = service.macKeys.cookie.map(({ key }) => key.toString("base64url"));
  app.proxy = true;
  app.on("error", (error: Error) => log.error("the answer could not be sent", { error: error.message }));
  app.use(requestId(log));
  app.use(counted(metrics));
  app.use(securityHeaders({ isHttps: issuer.startsWith("https:") }));
  app.use(errorBoundary({ log, isDevelopment, show }));
  // Before the host pin: they are the same for everybody, and its page for a wrong address needs the stylesheet.
  app.use(service.assets.middleware);
  app.use(hostPin({ issuer, trustProxy: config.trustProxy, log, showRightAddress: (ctx) => showHost(ctx, service) }));
  app.use(publicHealth(health));
  app.use(favicon(service));
  app.use(
    interactionRoutes({
      issuer,
      engine,
      users,
      clients,
      apis,
      consents,
      limits,
      csrf,
      views,
      catalogues,
      metrics,
      recordAlone,
    }),
  );
  app.use(
    accountRoutes({
      issuer,
      browser: createBrowser({ engine, users, grants: service.grants }),
      csrf,
      views,
      catalogues,
      recordAlone,
    }),
  );
  app.use(
    consoleRoutes({
      issuer,
      setup: service.setup,
      csrf,
      views,
      catalogues,
      command: config.isProduction ? "signet" : "npm run -s signet --",
    }),
  );
  app.use(engine.middleware);
  app.use(() => {
    throw new AppError("page_not_found");
  });
  return app;
}

function showHost(ctx: Context, { config, views, catalogues }: Service): void {
  const href = new URL(ctx.url, config.issuer).href;
  views.show(ctx, languageOf(ctx, catalogues), { status: 421, view: "host", locals: { href, issuer: config.issuer } });
}

/** Browsers ask for this address whatever the page says. */
function favicon(service: Service): Middleware {
  return async (ctx, next) => {
    if (ctx.path !== "/favicon.ico") return next();
    ctx.status = 303;
    ctx.redirect(service.assets.url("favicon.svg"));
  };
}

function counted(metrics: Service["metrics"]): Middleware {
  return async (ctx, next) => {
    try {
      await next();
    } finally {
      metrics.requests.inc({ status: `${Math.floor(ctx.status / 100)}xx` });
    }
  };
}

async function startManagement(service: Service, health: Health): Promise<Server | undefined> {
  const { config, log, hasher, metrics } = service;
  const app = new Koa();
  app.use(async (_ctx, next) => {
    metrics.hashQueue.set(hasher.queued());
    await next();
  });
  app.use(managementRoutes(health, metrics.registry));
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

async function stop(
  service: Service,
  health: Health,
  running: { server: Server; management: Server | undefined; stopJobs: () => Promise<void> },
): Promise<void> {
  health.drain();
  await sleep(service.config.shutdownDelaySeconds * 1000);
  const closed = new Promise<void>((resolve) => running.server.close(() => resolve()));
  running.server.closeIdleConnections();
  const done = new AbortController();
  await Promise.race([closed, sleep(DRAIN_MS, done.signal)]);
  // The timer would keep the process for its whole time; a connection that is still open has had that time.
  done.abort();
  running.server.closeAllConnections();
  running.management?.closeAllConnections();
  running.management?.close();
  await running.stopJobs();
  await service.close();
}

/** A database of its own may come up after the server: it is waited for. A wrong key or an edited migration is not. */
async function openWithPatience(config: Config, log: Log): Promise<Service> {
  for (let wait = RETRY_MS_MIN; ; wait = Math.min(wait * 2, RETRY_MS_MAX)) {
    let app: App | undefined;
    try {
      app = await openApp(config, log);
      return await openService(app);
    } catch (error) {
      if (!(error instanceof AppError && error.code === "store_unavailable")) throw error;
      log.warn("the database does not answer yet", { detail: error.detail });
      await sleep(wait * (0.75 + Math.random() / 2));
    }
  }
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
