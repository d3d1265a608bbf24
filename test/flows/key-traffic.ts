/** Traffic while keys rotate: two instances, an app with a session and two refresh tokens, a service, and resource servers that keep the JWKS as long as they may and ask for it no earlier. */
import assert from "node:assert/strict";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import * as openid from "openid-client";
import type { Client } from "../support.ts";
import { CALLBACK, type Journey, type Registered, tokensOf } from "./journey.ts";

/** Seconds between the issue of a token and its second verification, shortly before its end. */
const LATE_SECONDS = 90;
const PAUSE_MS = 40;
const RESOURCE_SERVERS = 5;

export interface TrafficReport {
  requests: number;
  readonly failedRequests: string[];
  verifications: number;
  readonly failedVerifications: string[];
  /** Verifications by key. */
  readonly byKey: Map<string, number>;
  /** Times that a resource server fetched the JWKS. */
  fetches: number;
  /** Looks that came too late: on a busy machine the token had ended. Each of them is a verification that was not made. */
  ended: number;
  /** The longest wait for an answer, in milliseconds. */
  slowestMs: number;
}

/** What the traffic goes to; an instance that was stopped is taken out, one that came up is put in. */
export interface Instances {
  list: readonly { readonly name: string; client(): Client }[];
}

interface Token {
  readonly text: string;
  readonly audience: string | undefined;
  readonly issuedMs: number;
}

/** A resource server: verifies with the copy of the JWKS that it has, and fetches another one only when the copy's max-age is over. */
class ResourceServer {
  #keys: JSONWebKeySet | undefined;
  #until = 0;
  readonly #toleranceSeconds: number;
  constructor(toleranceSeconds: number) {
    this.#toleranceSeconds = toleranceSeconds;
  }

  async verify(token: Token, from: Client, issuer: string, report: TrafficReport): Promise<void> {
    if (this.#keys === undefined || performance.now() >= this.#until) await this.#fetch(from, report);
    assert.ok(this.#keys !== undefined);
    const { kid = "", alg = "" } = decodeProtectedHeader(token.text);
    // The key set of this moment, with nothing behind it that could fetch a newer one for an unknown kid.
    await jwtVerify(token.text, createLocalJWKSet(this.#keys), {
      issuer,
      clockTolerance: this.#toleranceSeconds,
      ...(token.audience === undefined ? {} : { audience: token.audience }),
    });
    report.byKey.set(`${alg} ${kid}`, (report.byKey.get(`${alg} ${kid}`) ?? 0) + 1);
  }

  async #fetch(from: Client, report: TrafficReport): Promise<void> {
    const began = performance.now();
    const answer = await from.get("/jwks");
    assert.equal(answer.status, 200);
    const seconds = /max-age=(\d+)/.exec(answer.headers["cache-control"] ?? "")?.[1];
    this.#keys = answer.json() as unknown as JSONWebKeySet;
    this.#until = began + Number(seconds ?? 0) * 1000;
    report.fetches += 1;
  }
}

export function emptyReport(): TrafficReport {
  return {
    requests: 0,
    failedRequests: [],
    verifications: 0,
    failedVerifications: [],
    byKey: new Map(),
    fetches: 0,
    ended: 0,
    slowestMs: 0,
  };
}

/** An app whose ID tokens are EdDSA; the other one's are RS256, and access tokens are ES256. */
export function registerEdwards(journey: Journey): Promise<Registered> {
  return journey.register({
    client_type: "web",
    client_name: "Edwards",
    redirect_uris: [CALLBACK],
    id_token_signed_response_alg: "EdDSA",
  });
}

interface Actors {
  readonly browser: Client;
  readonly authorize: string;
  readonly secretOf: (client: Registered) => string;
  /** The living refresh token of each app. */
  readonly refresh: Map<Registered, string>;
}

async function prepare(journey: Journey): Promise<Actors> {
  const browser = journey.client();
  const refresh = new Map<Registered, string>();
  const edwards = await registerEdwards(journey);
  for (const client of [journey.web, edwards]) {
    const tokens = await tokensOf(browser, await journey.party(client), { scope: "openid profile" });
    refresh.set(client, tokens.refresh_token ?? "");
  }
  const config = await journey.party(journey.web);
  const challenge = await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier());
  const parameters = { redirect_uri: CALLBACK, scope: "openid profile", prompt: "none" };
  const url = openid.buildAuthorizationUrl(config, {
    ...parameters,
    code_challenge: challenge,
    code_challenge_method: "S256",
  });
  return { browser, authorize: url.pathname + url.search, secretOf: ({ secret }) => secret ?? "", refresh };
}

/** Goes on until `isOver`; then every token that has not ended is verified once more. */
export async function runTraffic(
  journey: Journey,
  instances: Instances,
  options: { isOver: () => boolean | Promise<boolean>; toleranceSeconds: number },
): Promise<TrafficReport> {
  const report = emptyReport();
  const actors = await prepare(journey);
  const servers = Array.from({ length: RESOURCE_SERVERS }, () => new ResourceServer(options.toleranceSeconds));
  const held: Token[] = [];
  let turn = 0;
  const next = (): Client => {
    turn += 1;
    const instance = instances.list[turn % instances.list.length];
    assert.ok(instance !== undefined);
    return instance.client();
  };
  const check = async (tokens: readonly Token[]): Promise<void> => {
    for (const token of tokens)
      for (const [index, server] of servers.entries()) {
        if (hasEnded(token, options.toleranceSeconds)) {
          report.ended += 1;
          continue;
        }
        report.verifications += 1;
        await server.verify(token, next(), journey.issuer, report).catch((error: Error) => {
          const { kid, alg } = decodeProtectedHeader(token.text);
          const age = Math.round((performance.now() - token.issuedMs) / 1000);
          report.failedVerifications.push(`${alg} ${kid}, resource server ${index}, ${age} s old: ${error.message}`);
        });
      }
  };
  while (!(await options.isOver())) {
    const issued = await issue(journey, { actors, next, report });
    await check(issued);
    held.push(...issued);
    const late = held.findIndex(({ issuedMs }) => performance.now() - issuedMs < LATE_SECONDS * 1000);
    await check(held.splice(0, late === -1 ? held.length : late));
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  await check(held);
  return report;
}

/** One round of requests; each token that came out of it. */
async function issue(
  journey: Journey,
  { actors, next, report }: { actors: Actors; next: () => Client; report: TrafficReport },
): Promise<readonly Token[]> {
  const tokens: Token[] = [];
  // Once only: what is told to come again has failed.
  const ask = async (what: string, work: () => Promise<void>): Promise<void> => {
    report.requests += 1;
    const began = performance.now();
    await work().catch((error: Error) => {
      const waited = Math.round(performance.now() - began);
      report.failedRequests.push(`${new Date().toISOString()} ${what}, ${waited} ms: ${error.message}`);
    });
    report.slowestMs = Math.max(report.slowestMs, performance.now() - began);
  };
  const basic = (client: Registered): Record<string, string> => ({
    authorization: `Basic ${Buffer.from(`${client.id}:${actors.secretOf(client)}`).toString("base64")}`,
  });
  await ask("client credentials", async () => {
    const answer = await next().post("/token", { grant_type: "client_credentials" }, basic(journey.machine));
    assert.equal(answer.status, 200, answer.text);
    const issuedMs = performance.now();
    tokens.push({ text: String(answer.json()["access_token"]), audience: undefined, issuedMs });
  });
  for (const client of actors.refresh.keys()) {
    await ask("refresh", async () => {
      const fields = { grant_type: "refresh_token", refresh_token: actors.refresh.get(client) ?? "" };
      const answer = await next().post("/token", fields, basic(client));
      assert.equal(answer.status, 200, answer.text);
      actors.refresh.set(client, String(answer.json()["refresh_token"]));
      const issuedMs = performance.now();
      tokens.push({ text: String(answer.json()["id_token"]), audience: client.id, issuedMs });
    });
  }
  await ask("session", async () => {
    // The browser's jar belongs to one client of the helper; what another instance answers is put into it.
    const at = next();
    for (const { name, value, path } of actors.browser.cookies.values()) at.setCookie(`${name}=${value}; Path=${path}`);
    const answer = await at.get(actors.authorize);
    assert.equal(answer.status, 303, answer.text.slice(0, 300));
    assert.match(answer.location ?? "", /[?&]code=/);
    for (const { name, value, path } of at.cookies.values())
      actors.browser.setCookie(`${name}=${value}; Path=${path}; Max-Age=3600`);
  });
  return tokens;
}

/** A resource server that takes it a second later refuses it, rightly. */
function hasEnded({ text }: Token, toleranceSeconds: number): boolean {
  return ((decodeJwt(text).exp ?? 0) + toleranceSeconds) * 1000 <= Date.now() + 1000;
}

/** Nothing failed, nothing was told to come again, and nothing was left out. */
export function mustBeUnnoticed(report: TrafficReport): void {
  assert.deepEqual(report.failedRequests.slice(0, 5), []);
  assert.deepEqual(report.failedVerifications.slice(0, 5), []);
  assert.equal(report.ended, 0, "a token had ended before its second verification");
}

/** The lines of a report, for people. */
export function linesOf(report: TrafficReport): readonly string[] {
  const kinds = new Map<string, number[]>();
  for (const [key, count] of report.byKey) {
    const [alg = ""] = key.split(" ");
    kinds.set(alg, [...(kinds.get(alg) ?? []), count]);
  }
  return [
    `${report.requests} requests, ${report.failedRequests.length} failed, the slowest took ${Math.round(report.slowestMs)} ms; ${report.verifications} verifications, ${report.failedVerifications.length} failed; ${report.fetches} fetches of the JWKS; ${report.ended} looks at tokens that had ended`,
    ...[...kinds].map(
      ([alg, counts]) =>
        `${alg}: ${counts.length} keys signed, verifications by key ${[...counts].sort((a, b) => a - b).join(" ")}`,
    ),
  ];
}
