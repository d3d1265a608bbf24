/** Administration by token: people with each role and an app that may ask for Signet's own API, in one running server. */

import type { Operation } from "../../src/rest/operation.ts";
import { operationsOf } from "../../src/rest-parts.ts";
import type { Answer } from "../support.ts";
import { beginJourney, CALLBACK, type Journey, type Registered, tokensOf } from "./journey.ts";

export const BY = { kind: "system", id: "test" } as const;
export const ADMIN = "urn:signet:admin";
export const ROLES = ["owner", "admin", "auditor", "support"] as const;
export type RoleName = (typeof ROLES)[number];

export interface Ground extends Journey {
  readonly operations: readonly Operation[];
  readonly app: Registered;
  /** An access token of a person who has this role; "none" has no role at all. */
  readonly tokens: Readonly<Record<RoleName | "none", string>>;
  readonly people: Readonly<Record<RoleName | "none", string>>;
  /** A call of the API; `body` is sent as JSON. */
  call(token: string | undefined, method: string, path: string, options?: CallOptions): Promise<Answer>;
}

export interface CallOptions {
  readonly body?: unknown;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Whoever knocks with bad tokens comes from an address of their own, since such are counted. */
export async function openGround(): Promise<Ground> {
  const journey = await beginJourney("postgres", { TRUST_PROXY: "1" });
  const { service, register, createUser } = journey;
  const scopes = (await service.apis.find(ADMIN))?.scopes.map(({ scope }) => scope) ?? [];
  const apis = [{ identifier: ADMIN, scopes, default: true }];
  const app = await register({
    ...{ client_type: "web", client_name: "Console", redirect_uris: [CALLBACK], first_party: true },
    apis,
  });
  const config = await journey.party(app);
  const tokens: Record<string, string> = {};
  const people: Record<string, string> = {};
  for (const name of [...ROLES, "none"] as const) {
    const email = `${name}@lindqvist.example`;
    const id = await createUser(email);
    if (name !== "none") await service.roles.grant({ kind: "user", id }, name, BY);
    people[name] = id;
    const scope = `openid ${scopes.join(" ")}`;
    const given = await tokensOf(journey.client(), config, { email, scope, parameters: { resource: ADMIN } });
    tokens[name] = given.access_token;
  }
  return {
    ...journey,
    operations: operationsOf(service),
    app,
    tokens: tokens as Ground["tokens"],
    people: people as Ground["people"],
    call: (token, method, path, { body, text, headers } = {}) => {
      const sent = text ?? (body === undefined ? undefined : JSON.stringify(body));
      return journey.client().request({
        method,
        url: `/api/v1${path}`,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(sent === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(sent === undefined ? {} : { body: sent }),
      });
    },
  };
}
