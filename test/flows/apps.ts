/** Other people's apps, each on a port of its own: a relying party with a secret, a single-page app, and any page at all. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import * as openid from "openid-client";
import { atEnd } from "../support.ts";
import type { Journey, Registered } from "./journey.ts";

type Answer = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void> | void;

export interface RelyingParty {
  readonly origin: string;
  readonly client: Registered;
  /** The address that begins a sign-in; what is given becomes parameters of the authorization request. */
  login(parameters?: Readonly<Record<string, string>>): string;
  /** Where the browser signs out; `hint: "no"` asks without the ID token. */
  logout(parameters?: Readonly<Record<string, string>>): string;
  /** What the token endpoint gave last. */
  tokens(): Awaited<ReturnType<typeof openid.authorizationCodeGrant>> | undefined;
}

/** A server that answers every request with the function; closed at the end of the file. */
export async function serve(answer: Answer): Promise<string> {
  let origin = "";
  const server = createServer((request, response) => {
    void Promise.resolve(answer(request, response, new URL(request.url ?? "/", origin))).catch((error: Error) => {
      response.writeHead(500, { "content-type": "text/plain" }).end(`${error.name}: ${error.message}`);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(async () => {
    server.closeAllConnections();
    server.close();
  });
  origin = `http://localhost:${(server.address() as AddressInfo).port}`;
  return origin;
}

export function page(response: ServerResponse, body: string): void {
  response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
  response.end(`<!doctype html><html lang="en"><title>An app</title><link rel="icon" href="data:,">${body}`);
}

/** A web app: openid-client checks all that it can check, and the page shows who came. One person at a time. */
export async function startRelyingParty(
  journey: Journey,
  metadata: Readonly<Record<string, unknown>> = {},
  register: (metadata: Record<string, unknown>) => Promise<Registered> = journey.register,
): Promise<RelyingParty> {
  let party: Promise<openid.Configuration> | undefined;
  let pending = { verifier: "", state: "", nonce: "" };
  let tokens: Awaited<ReturnType<typeof openid.authorizationCodeGrant>> | undefined;
  const origin = await serve(async (request, response, url) => {
    const config = await party;
    if (config === undefined) throw new Error("not registered yet");
    switch (url.pathname) {
      case "/login": {
        pending = {
          verifier: openid.randomPKCECodeVerifier(),
          state: openid.randomState(),
          nonce: openid.randomNonce(),
        };
        const target = openid.buildAuthorizationUrl(config, {
          redirect_uri: `${origin}/callback`,
          scope: "openid profile email",
          code_challenge: await openid.calculatePKCECodeChallenge(pending.verifier),
          code_challenge_method: "S256",
          state: pending.state,
          nonce: pending.nonce,
          ...Object.fromEntries(url.searchParams),
        });
        response.writeHead(302, { location: target.href }).end();
        return;
      }
      case "/callback": {
        const error = url.searchParams.get("error");
        if (error !== null) return page(response, `<p id="error">${error}</p>`);
        tokens = await openid.authorizationCodeGrant(config, await callbackOf(request, url), {
          pkceCodeVerifier: pending.verifier,
          expectedState: pending.state,
          expectedNonce: pending.nonce,
          idTokenExpected: true,
        });
        const claims = tokens.claims();
        const person = await openid.fetchUserInfo(config, tokens.access_token, claims?.sub ?? "");
        return page(response, `<h1>Signed in</h1><p id="sub">${claims?.sub}</p><p id="email">${person.email}</p>`);
      }
      case "/logout": {
        const { hint, ...more } = Object.fromEntries(url.searchParams);
        const named = hint === "no" ? {} : { id_token_hint: tokens?.id_token ?? "" };
        const target = openid.buildEndSessionUrl(config, {
          ...named,
          post_logout_redirect_uri: `${origin}/`,
          ...more,
        });
        response.writeHead(302, { location: target.href }).end();
        return;
      }
      default:
        return page(response, "<h1>Front page</h1>");
    }
  });
  const client = await register({
    client_type: "web",
    client_name: "Harbor Ledger",
    client_uri: `${origin}/`,
    redirect_uris: [`${origin}/callback`],
    post_logout_redirect_uris: [`${origin}/`],
    ...metadata,
  });
  party = journey.party(client);
  const path = (name: string, parameters = {}): string => `${origin}/${name}?${new URLSearchParams(parameters)}`;
  return {
    origin,
    client,
    login: (parameters) => path("login", parameters),
    logout: (parameters) => path("logout", parameters),
    tokens: () => tokens,
  };
}

/** `response_mode=form_post` comes as a POST, everything else in the address. */
async function callbackOf(request: IncomingMessage, url: URL): Promise<URL | Request> {
  if (request.method !== "POST") return url;
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const headers = { "content-type": request.headers["content-type"] ?? "" };
  return new Request(url, { method: "POST", headers, body: Buffer.concat(chunks) });
}
