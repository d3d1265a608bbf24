/** The demo app: a relying party as anybody would write it, on its own port and origin. It knows an issuer, a client id and a secret. */
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";
import * as client from "openid-client";
import { createApi } from "./api.ts";
import type { Html } from "./html.ts";
import { deniedPage, faultPage, type Site, signedInPage, signedOutPage } from "./pages.ts";
import { createRelyingParty, NoRefreshToken, type SignedIn } from "./relying-party.ts";
import { createSessions, inTurn, type Outcome, type Session } from "./sessions.ts";

const port = Number(needed("PORT"));
// Its name is localhost, and only localhost: the redirect URI that is registered says so.
const self = `http://localhost:${port}`;
const options = {
  issuer: needed("ISSUER"),
  clientId: needed("CLIENT_ID"),
  clientSecret: needed("CLIENT_SECRET"),
  self,
  api: needed("API"),
  apiScope: needed("API_SCOPE"),
};
const party = createRelyingParty(options);
const api = createApi({ issuer: options.issuer, audience: options.api, scope: options.apiScope });
const sessions = createSessions();
const site: Site = { ...options, scope: party.scope };

/** A request that takes longer to arrive is nobody's browser. */
const REQUEST_MS = 10_000;
const HEADERS: Readonly<Record<string, string>> = {
  // Chromium holds redirects of a form against form-action: signing out goes on to the issuer.
  "Content-Security-Policy": `default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' ${new URL(options.issuer).origin}; base-uri 'none'; frame-ancestors 'none'`,
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  // "no-referrer" would make browsers send "Origin: null" with our own forms.
  "Referrer-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cache-Control": "no-store",
};
const FILES: Readonly<Record<string, { readonly type: string; readonly body: Buffer }>> = {
  "/style.css": { type: "text/css; charset=utf-8", body: readFileSync(join(import.meta.dirname, "style.css")) },
  "/icon.svg": { type: "image/svg+xml", body: readFileSync(join(import.meta.dirname, "icon.svg")) },
};

type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void> | void;
const ROUTES: Readonly<Record<string, Handler>> = {
  "GET /": home,
  "GET /login": login,
  "GET /callback": callback,
  "POST /call-api": signedInOnly(callApi),
  "POST /refresh": signedInOnly(refresh),
  "POST /logout": signedInOnly(logout),
};

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
  const url = new URL(request.url?.startsWith("/") === true ? `${self}${request.url}` : self);
  if (request.headers.host !== new URL(self).host) return redirect(response, `${self}/`);
  if (url.pathname.startsWith("/api/")) return api(request, response);
  const file = request.method === "GET" ? FILES[url.pathname] : undefined;
  if (file !== undefined) {
    response.writeHead(200, { "Content-Type": file.type }).end(file.body);
    return;
  }
  const route = ROUTES[`${request.method} ${url.pathname}`];
  if (route === undefined)
    return fault(response, 404, "There is nothing here", "No page has this address.", "not_found");
  // A form elsewhere could be sent with the cookie of whoever visits it: only our own pages may post.
  if (request.method === "POST" && request.headers.origin !== self)
    return fault(response, 403, "That form is not ours", "It was sent from another page.", "origin_foreign");
  await route(request, response, url);
}

function home(request: IncomingMessage, response: ServerResponse): void {
  const session = sessions.find(request.headers.cookie);
  show(response, 200, session === undefined ? signedOutPage(site) : signedInPage(site, session));
}

async function login(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { url, state, attempt } = await party.begin();
  response.setHeader("Set-Cookie", sessions.begin(request.headers.cookie, state, attempt).setCookie);
  redirect(response, url.href);
}

async function callback(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  const state = url.searchParams.get("state") ?? "";
  const attempt = sessions.takeAttempt(request.headers.cookie, state);
  // Whatever such a request says, an error of its choosing included, is not Signet's answer to us.
  if (attempt === undefined) {
    const words = "This sign-in was begun in another browser, took too long, or is already over.";
    return fault(response, 400, "We do not know this sign-in", words, "state_unknown");
  }
  let signedIn: SignedIn;
  try {
    signedIn = await party.finish(url, state, attempt);
  } catch (error) {
    const { code, words } = explain(error);
    if (code === "access_denied") return show(response, 200, deniedPage(site));
    return fault(response, isUnreachable(error) ? 502 : 400, "The sign-in did not work", words, code);
  }
  const { session, setCookie } = sessions.start(request.headers.cookie, signedIn);
  response.setHeader("Set-Cookie", setCookie);
  if (signedIn.refreshToken !== undefined) {
    const loaded = inTurn(session, () => party.loadUserinfo(session.signedIn, keepIn(session)));
    await loaded.catch((error: unknown) => {
      session.outcome = { kind: "fault", doing: "Asking /userinfo", ...explain(error) };
    });
  }
  redirect(response, "/");
}

async function callApi(session: Session, response: ServerResponse): Promise<void> {
  await attemptTo(session, "Calling the API", async () => ({
    kind: "api",
    ...(await party.callApi(session.signedIn)),
  }));
  redirect(response, "/#result");
}

async function refresh(session: Session, response: ServerResponse): Promise<void> {
  await attemptTo(session, "Refreshing", async () => {
    await party.refresh(session.signedIn, keepIn(session));
    return { kind: "refreshed" };
  });
  redirect(response, "/#result");
}

async function logout(session: Session, response: ServerResponse): Promise<void> {
  // Out of this app first: whatever happens next, its own session is over.
  response.setHeader("Set-Cookie", sessions.end(session).setCookie);
  const url = await inTurn(session, () => party.signOut(session.signedIn));
  redirect(response, url.href);
}

/** Does it in the session's turn; the outcome, or what went wrong, is shown by the next page. */
async function attemptTo(session: Session, doing: string, work: () => Promise<Outcome>): Promise<void> {
  session.outcome = await inTurn(session, work).catch((error: unknown) => ({
    kind: "fault" as const,
    doing,
    ...explain(error),
  }));
}

function keepIn(session: Session): (signedIn: SignedIn) => void {
  return (signedIn) => {
    session.signedIn = signedIn;
  };
}

function signedInOnly(work: (session: Session, response: ServerResponse) => Promise<void>): Handler {
  return async (request, response) => {
    const session = sessions.find(request.headers.cookie);
    if (session === undefined) return redirect(response, "/");
    await work(session, response);
  };
}

/** The code is the protocol's where there is one; the words are for a reader and hold no token. */
function explain(error: unknown): { readonly code: string; readonly words: string } {
  if (error instanceof client.AuthorizationResponseError || error instanceof client.ResponseBodyError)
    return { code: error.error, words: `Signet answered: ${error.error_description ?? "it gave no reason"}.` };
  if (error instanceof client.WWWAuthenticateChallengeError) {
    const { error: code, error_description } = error.cause[0]?.parameters ?? {};
    return {
      code: code ?? String(error.status),
      words: `Signet answered: ${error_description ?? "it gave no reason"}.`,
    };
  }
  if (error instanceof NoRefreshToken)
    return {
      code: "no_refresh_token",
      words: "You did not allow offline_access, so there is nothing to refresh with.",
    };
  if (isUnreachable(error))
    return { code: "issuer_unreachable", words: `Signet does not answer at ${options.issuer}. Is it running?` };
  if (error instanceof client.ClientError)
    return { code: error.code ?? "client_error", words: `Signet's answer was refused: ${error.message}.` };
  return { code: "internal", words: "Something went wrong in this app." };
}

/** fetch says "failed" with a TypeError whose cause is the socket's error; a time-out has its own name. */
function isUnreachable(error: unknown): boolean {
  if (error instanceof client.ClientError) return error.code === "OAUTH_TIMEOUT";
  return error instanceof Error && (error.name === "TimeoutError" || (error instanceof TypeError && "cause" in error));
}

function fault(response: ServerResponse, status: number, title: string, words: string, code: string): void {
  show(response, status, faultPage(site, { title, words, code }));
}

function show(response: ServerResponse, status: number, { html }: Html): void {
  response.writeHead(status, { "Content-Type": "text/html; charset=utf-8" }).end(html);
}

/** 303: whatever the request was, the next one is a GET (RFC 9110 section 15.4.4). */
function redirect(response: ServerResponse, location: string): void {
  response.writeHead(303, { Location: location }).end();
}

function needed(name: string): string {
  const value = process.env[name];
  if (value !== undefined && value !== "") return value;
  process.stderr.write(`The demo app needs ${name}. "npm start" starts it with everything it needs.\n`);
  process.exit(1);
}

const server = createServer((request, response) => {
  handle(request, response).catch((error: unknown) => {
    const { code, words } = explain(error);
    // Names only: a message of somebody else's code may quote what it was given.
    const what = error instanceof Error ? error.name : "unknown";
    process.stderr.write(`demo app: ${request.method} ended with ${code} (${what})\n`);
    if (!response.headersSent) fault(response, isUnreachable(error) ? 502 : 500, "That did not work", words, code);
    else response.destroy();
  });
});
server.requestTimeout = REQUEST_MS;
server.on("error", (error: NodeJS.ErrnoException) => {
  const reason =
    error.code === "EADDRINUSE" ? "is in use: set DEMO_PORT to a free one" : `cannot be used (${error.code})`;
  process.stderr.write(`The demo app did not start: port ${port} ${reason}.\n`);
  process.exit(1);
});
// The server that started it is gone, and with it the secret's use.
process.on("disconnect", () => process.exit(0));
server.listen(port, "127.0.0.1");
