/**
 * JWT access tokens at introspection and revocation (RFC 7662, RFC 7009). The library refuses whatever looks like a JWT before any hook of its own
 * could answer; so the parameter is exchanged for a marker while the client is looked up, and the marker is found as the token that it stands for.
 */
import {
  createLocalJWKSet,
  decodeProtectedHeader,
  errors,
  type JWK,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
} from "jose";
import { type AdapterPayload, Provider } from "oidc-provider";
import { ACCESS_TOKEN_ALGORITHMS } from "../apis/format.ts";
import { nowSeconds } from "../clock.ts";
import type { Revocations } from "../revocations/revocation.ts";
import { type GrantStore, TOMBSTONE } from "../store/grants.ts";
import { CLOCK_TOLERANCE_SECONDS } from "./lifetimes.ts";
import { ORIGIN_CLAIM, type Origin, readOrigin } from "./token-origin.ts";

/** No token of ours: those have 43 characters, or begin otherwise. */
const MARKER = "presented-jwt";
/** RFC 9068 section 2.1. */
const TYPE = "at+jwt";
/** Claims that every token of ours has and that introspection says by itself; the rest of what it says of a token stands in its `extra`. */
const SAID_BESIDE = ["auth_time", "acr", "amr", "roles"] as const;

type Kind = "AccessToken" | "ClientCredentials";

interface Presented {
  readonly token: string;
  /** Verified once, though the library asks for each kind. */
  found: Promise<AdapterPayload | undefined> | undefined;
}

export interface PresentedJwts {
  /** Called while the client of a request is looked up: the parameters are read by then, and nothing has looked at the token. */
  exchange(): void;
  /** Whether this request presented a JWT under this id. */
  isPresented(id: string): boolean;
  /** The token of this kind that the request presented, if it is ours and lives. */
  find(kind: Kind): Promise<AdapterPayload | undefined>;
  /** Kept until the token would have ended. Throws AppError store_unavailable when it cannot be recorded. */
  revoke(jti: string, expiresAt: number): Promise<void>;
}

export interface PresentedJwtOptions {
  readonly issuer: string;
  readonly grants: GrantStore;
  readonly revocations: Revocations;
  /** The public keys of this moment, those that no longer sign included. */
  readonly publicKeys: () => readonly JWK[];
}

/** Importing a key costs more than using it. */
const keySets = new WeakMap<readonly JWK[], JWTVerifyGetKey>();
/** By the request's context: it lives as long as the request. */
const presented = new WeakMap<object, Presented>();

export function createPresentedJwts(options: PresentedJwtOptions): PresentedJwts {
  return {
    exchange() {
      const ctx = Provider.ctx;
      const route = ctx?.oidc.route;
      if (ctx === undefined || (route !== "introspection" && route !== "revocation")) return;
      const token = ctx.oidc.params?.["token"];
      if (ctx.oidc.params === undefined || typeof token !== "string") return;
      const type = typeOf(token);
      // Another JWT is nothing that can be asked about; that it cannot be revoked has an error of its own (RFC 7009 section 2.2.1).
      if (type === undefined || (route === "revocation" && !isAccessToken(type))) return;
      presented.set(ctx, { token, found: undefined });
      ctx.oidc.params["token"] = MARKER;
    },
    isPresented: (id) => presentedHere() !== undefined && (id === MARKER || id === presentedJti()),
    async find(kind) {
      const here = presentedHere();
      if (here === undefined) return undefined;
      here.found ??= findJwt(here.token, options);
      const payload = await here.found;
      return payload?.kind === kind ? payload : undefined;
    },
    revoke: (jti, expiresAt) =>
      options.revocations.end({
        kind: "token",
        model: TOMBSTONE,
        id: jti,
        seconds: Math.max(1, expiresAt - nowSeconds()) + CLOCK_TOLERANCE_SECONDS,
      }),
  };
}

function presentedHere(): Presented | undefined {
  const ctx = Provider.ctx;
  return ctx === undefined ? undefined : presented.get(ctx);
}

/** After it was found the library calls the token by its own id. */
function presentedJti(): string | undefined {
  const entities = Provider.ctx?.oidc.entities;
  return (entities?.AccessToken ?? entities?.ClientCredentials)?.jti;
}

/** The `typ` of a JWT, "" when it has none; undefined: no JWT. As the library tells them. */
function typeOf(token: string): string | undefined {
  // An opaque token has no parts; to hear so from the decoder would cost an exception with its stack (measured: 2.7 µs and more the deeper it is).
  if (!token.includes(".")) return undefined;
  try {
    return String(decodeProtectedHeader(token).typ ?? "");
  } catch {
    return undefined;
  }
}

function isAccessToken(type: string): boolean {
  return [TYPE, `application/${TYPE}`].includes(type.toLowerCase());
}

/** A JWT access token as if it had been kept; undefined for everything that is not a living one of ours. Whom it is for is the caller's to check. */
export async function findJwt(
  token: string,
  options: Omit<PresentedJwtOptions, "revocations">,
): Promise<AdapterPayload | undefined> {
  const claims = await verify(token, options);
  const origin = readOrigin(claims?.[ORIGIN_CLAIM]);
  if (claims === undefined || origin === undefined) return undefined;
  const payload = payloadOf(claims);
  if (payload === undefined || (await isEnded(payload, origin, options.grants))) return undefined;
  return payload;
}

/** With our own keys, whatever the token's header says of keys; undefined for everything that is not a living token of ours. */
async function verify(
  token: string,
  { issuer, publicKeys }: Pick<PresentedJwtOptions, "issuer" | "publicKeys">,
): Promise<JWTPayload | undefined> {
  try {
    const verified = await jwtVerify(token, keySetOf(publicKeys()), {
      issuer,
      typ: TYPE,
      algorithms: [...ACCESS_TOKEN_ALGORITHMS],
      requiredClaims: ["sub", "aud", "client_id", "iat", "exp", "jti"],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
    });
    return verified.payload;
  } catch (error) {
    if (error instanceof errors.JOSEError) return undefined;
    throw error;
  }
}

function keySetOf(keys: readonly JWK[]): JWTVerifyGetKey {
  let keySet = keySets.get(keys);
  if (keySet === undefined) {
    keySet = createLocalJWKSet({ keys: [...keys] });
    keySets.set(keys, keySet);
  }
  return keySet;
}

/** As if the token had been kept. It names no Grant: what ends it was asked, so that the library need not load what may be lost. */
function payloadOf(claims: JWTPayload): AdapterPayload | undefined {
  const { sub, aud, iat, exp, jti, client_id: clientId, scope } = claims;
  if (typeof clientId !== "string" || typeof aud !== "string" || typeof jti !== "string") return undefined;
  if (Number(iat) > nowSeconds() + CLOCK_TOLERANCE_SECONDS) return undefined;
  const isMachine = sub === clientId;
  const said = Object.fromEntries(SAID_BESIDE.flatMap((name) => (name in claims ? [[name, claims[name]]] : [])));
  return {
    kind: isMachine ? "ClientCredentials" : "AccessToken",
    jti,
    iat,
    exp,
    aud,
    clientId,
    ...(typeof scope === "string" ? { scope } : {}),
    ...(isMachine ? {} : { accountId: sub }),
    // A machine's token has no account for the library to name as `sub` (RFC 9068 section 2.2).
    extra: isMachine ? { ...said, sub } : said,
  } as AdapterPayload;
}

async function isEnded(payload: AdapterPayload, origin: Origin, grants: GrantStore): Promise<boolean> {
  const { accountId: userId, clientId, jti: tokenId } = payload;
  const { grantId, sessionUid, madeAtMs, signedInAtMs } = origin;
  const [isCut, hasSession] = await Promise.all([
    grants.isEnded({ userId, clientId, grantId, tokenId }, madeAtMs, signedInAtMs),
    sessionUid === undefined ? true : holdsGrant(grants, { uid: sessionUid, userId, clientId, grantId }),
  ]);
  return isCut || !hasSession;
}

/** As the library looks at an opaque token: the session is there, is still this person's, and has this Grant for the client. */
async function holdsGrant(
  grants: GrantStore,
  what: { uid: string; userId: string | undefined; clientId: string | undefined; grantId: string | undefined },
): Promise<boolean> {
  const session = await grants.sessions.findByUid(what.uid, what.userId);
  if (session === undefined || session.fields["accountId"] !== what.userId) return false;
  return session.authorizations[what.clientId ?? ""]?.["grantId"] === what.grantId;
}
