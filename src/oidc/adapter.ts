/** The library's Adapter over our stores: clients from Postgres, everything that expires from the expiring store, every loser its protocol's error. */
import type { Adapter, AdapterFactory, AdapterPayload, Client } from "oidc-provider";
import { errors, Provider } from "oidc-provider";
import { type Clients, toProviderMetadata } from "../clients/client.ts";
import { now, nowSeconds } from "../clock.ts";
import type { GrantStore, JsonObject } from "../store/grants.ts";
import { TRAITS_PROPERTY, traitsOf } from "./client-traits.ts";
import { ASSERTION_SECONDS_MAX, CLOCK_TOLERANCE_SECONDS } from "./lifetimes.ts";
import { findGrant, noteOwners } from "./owners.ts";
import type { PresentedJwts } from "./presented-jwt.ts";
import { type RefreshOptions, refreshTokenAdapter } from "./refresh.ts";
import { type SessionRules, sessionAdapter, signInMs } from "./session.ts";
import { noteGrantDates } from "./token-origin.ts";

export interface AdapterOptions extends RefreshOptions, SessionRules {
  readonly clients: Clients;
  readonly presented: PresentedJwts;
}

/** An arrow function, since the library takes anything that can be constructed for a class. */
export function createAdapterFactory(options: AdapterOptions): AdapterFactory {
  const special: Readonly<Record<string, () => Adapter>> = {
    Client: () => clientAdapter(options),
    Session: () => sessionAdapter(options),
    RefreshToken: () => refreshTokenAdapter(options),
    Grant: () => grantAdapter(options),
    AccessToken: () => accessTokenAdapter(options),
    ClientCredentials: () => machineTokenAdapter(options),
    AuthorizationCode: () => codeAdapter(options),
    Interaction: () => interactionAdapter(options.grants),
    ReplayDetection: () => replayAdapter(options.grants),
  };
  return (name) => special[name]?.() ?? expiringAdapter(options.grants, name);
}

/** Access tokens and the like: put, find, remove. Ending the grant ends them, since every use loads the grant. */
function expiringAdapter(grants: GrantStore, model: string): Adapter {
  return {
    async upsert(id, payload, expiresIn) {
      const { jti: _secret, ...stored } = payload;
      // An interaction names the grant it began with, but does not end with it: another person may be signing in.
      const links = model === "Interaction" ? {} : { grantId: payload.grantId };
      await grants.put(model, id, stored as JsonObject, lifetime(expiresIn), links);
    },
    async find(id) {
      const record = await grants.find(model, id);
      if (record === undefined) return undefined;
      const payload = {
        ...record.payload,
        jti: id,
        ...(record.isConsumed ? { consumed: true } : {}),
      } as AdapterPayload;
      noteOwners(payload);
      return payload;
    },
    consume: async (id) => {
      if ((await grants.consume(model, id)) !== "won") throw new errors.InvalidGrant(`the ${model} was used before`);
    },
    destroy: (id) => grants.remove(model, id),
    revokeByGrantId: async () => undefined,
    findByUid: async () => undefined,
    findByUserCode: async () => undefined,
  };
}

function codeAdapter(options: AdapterOptions): Adapter {
  const base = expiringAdapter(options.grants, "AuthorizationCode");
  return {
    ...base,
    async consume(code) {
      if ((await options.grants.consume("AuthorizationCode", code)) === "won") return;
      // The library revokes only what it saw consumed itself; the loser of a race has to do it here (RFC 6749 section 4.1.2).
      const payload = await base.find(code);
      if (payload?.grantId === undefined) throw new errors.InvalidGrant("the authorization code has ended");
      await options.revocations.end({ kind: "grant", id: payload.grantId });
      // In the library's own words, which `events.ts` knows for a sign of theft.
      throw new errors.InvalidGrant("authorization code already consumed");
    },
  };
}

/** A cut-off ends what dates from before it: of a person the sign-ins, of a client the Grants. */
function grantAdapter({ grants, revocations }: AdapterOptions): Adapter {
  const base = expiringAdapter(grants, "Grant");
  return {
    ...base,
    async upsert(id, payload, expiresIn) {
      const signedInAtMs = signInMs();
      const dated = { madeAtMs: now().getTime(), ...(signedInAtMs === undefined ? {} : { signedInAtMs }) };
      await base.upsert(id, { ...payload, ...dated } as AdapterPayload, expiresIn);
    },
    async find(id) {
      const record = await findGrant(grants, id);
      if (record === undefined) return undefined;
      noteGrantDates(id, record.payload);
      return { ...record.payload, jti: id } as AdapterPayload;
    },
    destroy: (id) => revocations.end({ kind: "grant", id }),
  };
}

/** Access tokens of people. */
function accessTokenAdapter(options: AdapterOptions): Adapter {
  const base = expiringAdapter(options.grants, "AccessToken");
  return {
    ...base,
    find: (id) => (options.presented.isPresented(id) ? options.presented.find("AccessToken") : base.find(id)),
    destroy: (id) => revokeToken(options, "AccessToken", id),
  };
}

/** Opaque access tokens of clients themselves. No Grant ends them, so the client's cut-off is asked for here. */
function machineTokenAdapter(options: AdapterOptions): Adapter {
  const { grants, presented } = options;
  const base = expiringAdapter(grants, "ClientCredentials");
  return {
    ...base,
    upsert: (id, payload, expiresIn) =>
      base.upsert(id, { ...payload, madeAtMs: now().getTime() } as AdapterPayload, expiresIn),
    async find(id) {
      if (presented.isPresented(id)) return presented.find("ClientCredentials");
      const payload = await base.find(id);
      if (payload === undefined) return undefined;
      const madeAtMs = Number((payload as { madeAtMs?: unknown }).madeAtMs ?? 0);
      return (await grants.isEnded({ clientId: payload.clientId }, madeAtMs)) ? undefined : payload;
    },
    destroy: (id) => revokeToken(options, "ClientCredentials", id),
  };
}

/** A revoked token stays revoked when the store is put back to an older state (RFC 7009 section 2). */
async function revokeToken(
  { presented, revocations }: AdapterOptions,
  model: "AccessToken" | "ClientCredentials",
  id: string,
): Promise<void> {
  const expiresAt = Provider.ctx?.oidc.entities[model]?.exp ?? nowSeconds();
  if (presented.isPresented(id)) return presented.revoke(id, expiresAt);
  await revocations.end({ kind: "token", model, id, seconds: lifetime(expiresAt - nowSeconds()) });
}

function interactionAdapter(grants: GrantStore): Adapter {
  const base = expiringAdapter(grants, "Interaction");
  return {
    ...base,
    async upsert(id, payload, expiresIn) {
      // The library copies the session's cookie id into the record; nothing reads it there, and it is a secret.
      const { cookie: _secret, ...session } = (payload.session ?? {}) as Record<string, unknown>;
      await base.upsert(
        id,
        payload.session === undefined ? payload : ({ ...payload, session } as AdapterPayload),
        expiresIn,
      );
    },
    async destroy(id) {
      // The resume is what uses an interaction up: of two at once, one goes on.
      const taken = await grants.take("Interaction", id);
      if (taken === undefined && Provider.ctx?.oidc.route === "resume")
        throw new errors.SessionNotFound("this sign-in was finished before");
    },
  };
}

/** The library looks first and saves later; here the look reserves, so that of two at once one passes (RFC 7523 section 3, jti). */
function replayAdapter(grants: GrantStore): Adapter {
  const seconds = ASSERTION_SECONDS_MAX + 2 * CLOCK_TOLERANCE_SECONDS;
  return {
    ...expiringAdapter(grants, "ReplayDetection"),
    upsert: async () => undefined,
    async find(id) {
      const isFirst = await grants.claim("ReplayDetection", id, seconds);
      return isFirst ? undefined : { jti: id, kind: "ReplayDetection", iat: nowSeconds(), exp: nowSeconds() + seconds };
    },
  };
}

/**
 * The library finds what it parsed by a hash of all properties: they would be put together, written as JSON and hashed for every request, and
 * beyond a hundred clients parsed anew. Our cache knows without looking whether a client is the one of before. The model's `find` is replaced
 * as `compareClientSecret` is; what it does not know it still asks the library.
 */
export function rememberClients(
  provider: Provider,
  { clients, presented }: Pick<AdapterOptions, "clients" | "presented">,
): void {
  // Of this instance alone: another one's clients sign and verify with its keys.
  const byRow = new WeakMap<object, Client>();
  const { Client: model } = provider;
  const find = model.find.bind(model);
  model.find = async (id) => {
    const row = typeof id === "string" ? await clients.find(id) : undefined;
    const known = row === undefined ? undefined : byRow.get(row);
    if (known === undefined) {
      const found = await find(id);
      if (row !== undefined && found !== undefined) byRow.set(row, found);
      return found;
    }
    presented.exchange();
    return known;
  };
}

/** Clients are rows that admins change, never something the library writes. A disabled one is as unknown as one that never was. */
function clientAdapter({ clients, presented }: AdapterOptions): Adapter {
  return {
    async find(id) {
      presented.exchange();
      const client = await clients.find(id);
      if (client === undefined || client.isDisabled) return undefined;
      return { ...toProviderMetadata(client), [TRAITS_PROPERTY]: traitsOf(client) } as AdapterPayload;
    },
    upsert: refuse,
    consume: refuse,
    destroy: refuse,
    revokeByGrantId: refuse,
    findByUid: async () => undefined,
    findByUserCode: async () => undefined,
  };
}

async function refuse(): Promise<void> {
  throw new Error("clients are not written by the engine");
}

function lifetime(expiresIn: number | undefined): number {
  if (expiresIn === undefined) throw new Error("no record without an end");
  return expiresIn + CLOCK_TOLERANCE_SECONDS;
}
