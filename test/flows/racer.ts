/** The ground of the races over HTTP: one installation served by two processes, a person signed in, and requests that are let go at one moment. */
import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { connect, type Socket } from "node:net";
import * as openid from "openid-client";
import { type App, openApp } from "../../src/app.ts";
import type { Actor } from "../../src/audit/event.ts";
import { readConfig } from "../../src/config.ts";
import { createLog } from "../../src/log.ts";
import { LOADER, programUrl } from "../ladder.ts";
import { atEnd, type Client, cookieJarClient, type Engine, spawnSignet } from "../support.ts";
import { API, CALLBACK, EMAIL, PASSWORD, type SignedIn, signIn } from "./journey.ts";

export const BY: Actor = { kind: "system", id: "races" };
/** Loads the naive store instead of the engines. */
const NAIVE_OPTIONS = [...LOADER, "--import", programUrl("test/flows/naive.ts")].join(" ");
const ANSWER_MS = 15_000;

export interface RaceClient {
  readonly id: string;
  readonly secret: string | undefined;
  readonly config: openid.Configuration;
}

export interface Ground {
  readonly name: string;
  readonly isNaive: boolean;
  readonly issuer: string;
  readonly ports: readonly number[];
  /** The same rooms in this process: for furnishing, and for what no HTTP call can do yet. */
  readonly app: App;
  readonly env: Readonly<Record<string, string>>;
  readonly userId: string;
  register(metadata: Readonly<Record<string, unknown>>): Promise<RaceClient>;
  /** A browser whose requests reach the processes in turn, as behind a balancer. */
  browser(): Client;
  /** Walks to the client's callback; the person signs in and allows where it is asked. */
  signIn(browser: Client, client: RaceClient, options?: Parameters<typeof signIn>[2]): Promise<SignedIn>;
  /** One request to the token endpoint (or another one) of a process; the first unless said otherwise. */
  post(path: string, client: RaceClient, fields: Fields, process?: number): Promise<Reply>;
  userinfo(accessToken: string): Promise<number>;
}

export type Fields = Readonly<Record<string, string>>;

/** Processes of one installation, two unless said otherwise. "naive" is the same server over a store that looks first and writes then; one process of it is enough to lose. */
export async function openGround(
  engine: Engine,
  kind: "real" | "naive" = "real",
  processes = kind === "naive" ? 1 : 2,
): Promise<Ground> {
  const env = {
    TRUST_PROXY: "1",
    LOG_LEVEL: "warn",
    ...(kind === "naive" ? { NODE_OPTIONS: NAIVE_OPTIONS } : {}),
  };
  const first = await spawnSignet({ engine, env });
  if (kind === "naive" && !first.output().includes("looks first and writes then"))
    throw new Error("the naive store was not loaded: its preload no longer finds where the engines are opened");
  const servers = [first];
  while (servers.length < processes) servers.push(await spawnSignet({ engine, beside: first }));
  const app = await openApp(readConfig(first.env), createLog({ level: "error", pretty: false }));
  atEnd(() => app.close());
  const user = await app.users.create({ email: EMAIL, password: PASSWORD, isEmailVerified: true }, BY);
  await app.apis.create(
    { identifier: API, name: "Things", scopes: [{ scope: "read:things", description: "See things" }] },
    BY,
  );
  const { issuer } = first;
  const ports = servers.map(({ port }) => port);
  const portOf = (process: number): number => ports[process % ports.length] ?? first.port;
  return {
    isNaive: kind === "naive",
    name: kind === "naive" ? `naive over ${engine}` : engine,
    issuer,
    ports,
    app,
    env: first.env,
    userId: user.id,
    async register(metadata) {
      const { client, secret } = await app.clients.register(metadata, BY);
      const authentication = secret === undefined ? openid.None() : openid.ClientSecretBasic(secret);
      const execute = [openid.allowInsecureRequests];
      const config = await openid.discovery(new URL(issuer), client.id, {}, authentication, { execute });
      return { id: client.id, secret, config };
    },
    browser() {
      let turn = 0;
      // Read for each request anew: the next one goes to the other process.
      const connectTo = {
        host: "127.0.0.1",
        get port(): number {
          turn += 1;
          return portOf(turn);
        },
      };
      return cookieJarClient(issuer, { connectTo });
    },
    signIn: (browser, client, options = {}) =>
      signIn(browser, client.config, { scope: "openid email", address: nextAddress(), ...options }),
    post: async (path, client, fields, process = 0) =>
      only(await volley(issuer, [{ port: portOf(process), ...tokenShot(path, client, fields) }])),
    userinfo: async (accessToken) => {
      const headers = { authorization: `Bearer ${accessToken}` };
      return only(await volley(issuer, [{ port: portOf(0), method: "GET", path: "/userinfo", headers }])).status;
    },
  };
}

let addresses = 0;
/** Each round comes from an address of its own (RFC 2544 has a network for it): what races are refused must not add up to a limit. */
export function nextAddress(): string {
  addresses += 1;
  return `198.18.${(addresses >> 8) & 255}.${addresses & 255}`;
}

// --- Shots ---------------------------------------------------------------------------------------------------------

export interface Shot {
  readonly port: number;
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  readonly location: string | undefined;
  /** Of a JSON answer; empty for anything else. */
  readonly json: Readonly<Record<string, unknown>>;
}

export function formShot(path: string, fields: Fields, headers: Readonly<Record<string, string>> = {}) {
  const type = { "content-type": "application/x-www-form-urlencoded", "x-forwarded-for": nextAddress() };
  return {
    method: "POST",
    path,
    headers: { ...type, ...headers },
    body: new URLSearchParams(fields).toString(),
  } as const;
}

/** An authenticated form: by its secret, or as a public client by its id. */
export function tokenShot(path: string, client: RaceClient, fields: Fields) {
  if (client.secret === undefined) return formShot(path, { client_id: client.id, ...fields });
  const pair = `${encodeURIComponent(client.id)}:${encodeURIComponent(client.secret)}`;
  return formShot(path, fields, { authorization: `Basic ${Buffer.from(pair).toString("base64")}` });
}

/** The same shot so many times, the processes in turn. */
export function times(ground: Ground, count: number, shot: (index: number) => Omit<Shot, "port">): readonly Shot[] {
  return Array.from({ length: count }, (_, index) => ({
    ...shot(index),
    port: ground.ports[index % ground.ports.length] ?? 0,
  }));
}

/** Every connection stands and every body lies with its server but for the last byte; then all are let go in one tick. */
export async function volley(issuer: string, shots: readonly Shot[]): Promise<readonly Reply[]> {
  const { host } = new URL(issuer);
  const aimed = await Promise.all(shots.map((shot) => aim(host, shot)));
  return Promise.all(aimed.map((fire) => fire()));
}

async function aim(host: string, shot: Shot): Promise<() => Promise<Reply>> {
  const socket = await open(shot.port);
  const body = shot.body ?? "";
  const length = shot.method === "GET" ? {} : { "content-length": String(Buffer.byteLength(body)) };
  const headers = { host, connection: "close", ...length, ...shot.headers };
  const request = httpRequest({ method: shot.method, path: shot.path, headers, createConnection: () => socket });
  request.setTimeout(ANSWER_MS, () => request.destroy(new Error(`no answer to ${shot.path}`)));
  const reply = new Promise<Reply>((resolve, reject) => {
    request.on("error", reject);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = (response.headers["content-type"] ?? "").includes("json");
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          location: response.headers.location,
          json: isJson ? (JSON.parse(text) as Record<string, unknown>) : {},
        });
      });
    });
  });
  // Whoever fires gets the error; until then nobody listens.
  reply.catch(() => undefined);
  if (body.length > 1) await new Promise<void>((resolve) => request.write(body.slice(0, -1), () => resolve()));
  return () => {
    request.end(body.slice(-1));
    return reply;
  };
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true }, () => {
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
  });
}

/** What the browser would send to this path, and what it keeps of the answer. */
export function cookiesFor(browser: Client, path: string): string {
  const fits = (at: string): boolean => path === at || path.startsWith(at.endsWith("/") ? at : `${at}/`);
  const pairs = [...browser.cookies.values()].filter((cookie) => fits(cookie.path));
  return pairs.map(({ name, value }) => `${name}=${value}`).join("; ");
}

export function keepCookies(browser: Client, reply: Reply): void {
  for (const header of reply.headers["set-cookie"] ?? []) browser.setCookie(header);
}

/** The parameters of an authorization request and the verifier that its code needs. */
export function authorization(client: RaceClient, more: Fields = {}): { path: string; verifier: string } {
  const verifier = randomBytes(32).toString("base64url");
  const parameters = new URLSearchParams({
    client_id: client.id,
    response_type: "code",
    redirect_uri: CALLBACK,
    scope: "openid email",
    state: randomBytes(8).toString("base64url"),
    nonce: randomBytes(32).toString("base64url"),
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    ...more,
  });
  return { path: `/authorize?${parameters}`, verifier };
}

export function codeFields(callback: URL | string | undefined, verifier: string): Fields {
  const code = new URL(String(callback)).searchParams.get("code") ?? "";
  return { grant_type: "authorization_code", code, redirect_uri: CALLBACK, code_verifier: verifier };
}

export function refreshFields(token: unknown): Fields {
  return { grant_type: "refresh_token", refresh_token: String(token) };
}

function only(replies: readonly Reply[]): Reply {
  const [reply] = replies;
  if (reply === undefined) throw new Error("no reply");
  return reply;
}
