/** What the hostile table stands on: a furnished server, a browser that is signed in, tokens of every kind. */
import { createHash, createHmac, generateKeyPairSync, type KeyObject, randomUUID, sign } from "node:crypto";
import * as openid from "openid-client";
import { API, CALLBACK, type Journey, type Registered, signIn, tokensOf } from "./journey.ts";

export const VERIFIER = "v".repeat(43);
export const CHALLENGE = createHash("sha256").update(VERIFIER).digest("base64url");

export interface Ground {
  readonly journey: Journey;
  readonly issuer: string;
  readonly host: string;
  readonly other: Registered;
  /** A native app with loopback redirects. */
  readonly desktop: Registered;
  /** Authenticates with a key of its own. */
  readonly keyed: Registered & { readonly key: KeyObject };
  readonly disabled: Registered;
  /** The API's own credentials, and a client that an administrator allowed to ask about its tokens. */
  readonly resourceServer: Registered;
  readonly gateway: Registered;
  /** The Cookie header of a browser in which Maya is signed in. */
  readonly cookie: string;
  readonly sessionId: string;
  readonly tokens: {
    readonly access: string;
    readonly refresh: string;
    readonly id: string;
    readonly api: string;
    readonly machine: string;
  };
  basic(client: Registered): readonly [string, string];
  /** A fresh code of the web app, for VERIFIER. */
  code(): Promise<string>;
  assertion(claims?: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): string;
}

export async function prepareGround(journey: Journey): Promise<Ground> {
  const { party, web, machine, register, client, issuer, service } = journey;
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const granted = [{ identifier: API, scopes: ["read:things"], default: true }];
  const keyed = await register({
    client_type: "service",
    client_name: "Keyed",
    apis: granted,
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [{ ...publicKey.export({ format: "jwk" }), kid: "k1" }] },
  });
  const disabled = await register({ client_type: "web", client_name: "Gone", redirect_uris: [CALLBACK] });
  await service.clients.setDisabled(disabled.id, true, { kind: "system", id: "test" });
  const desktop = await register({
    client_type: "native",
    client_name: "Harbor Desk",
    redirect_uris: ["http://127.0.0.1/cb", "http://[::1]/cb", "com.example.desk:/cb"],
  });
  const config = await party(web);
  const browser = client();
  const tokens = await tokensOf(browser, config, { scope: "openid profile email" });
  // The code's grant is a sign-in of its own: what a row does to the code must not end the tokens of the other rows.
  const second = client();
  const api = await tokensOf(browser, config, { scope: "openid read:things" });
  const machineTokens = await openid.clientCredentialsGrant(await party(machine));
  const cookies = [...browser.cookies.values()].filter(({ path }) => path === "/");
  const session = cookies.find(({ name }) => name === "signet_session");
  if (session === undefined) throw new Error("the browser holds no session");
  return {
    journey,
    issuer,
    host: new URL(issuer).host,
    other: await register({ client_type: "web", client_name: "Other", redirect_uris: ["https://other.example/cb"] }),
    desktop,
    keyed: { ...keyed, key: privateKey },
    disabled,
    resourceServer: await register({ client_type: "resource-server", client_name: "R", apis: [{ identifier: API }] }),
    gateway: await register({ client_type: "service", client_name: "Gateway", introspect_apis: [API] }),
    cookie: cookies.map(({ name, value }) => `${name}=${value}`).join("; "),
    sessionId: session.value,
    tokens: {
      access: tokens.access_token,
      refresh: tokens.refresh_token ?? "",
      id: tokens.id_token ?? "",
      api: api.access_token,
      machine: machineTokens.access_token,
    },
    basic: ({ id, secret }) => ["Authorization", `Basic ${Buffer.from(`${id}:${secret ?? ""}`).toString("base64")}`],
    code: async () => {
      const { callback } = await signIn(second, config, {
        scope: "openid profile email",
        parameters: { code_challenge: CHALLENGE },
      });
      return callback.searchParams.get("code") ?? "";
    },
    assertion: (claims = {}, header = {}) =>
      signedJwt(
        privateKey,
        { alg: "ES256", kid: "k1", ...header },
        {
          iss: keyed.id,
          sub: keyed.id,
          aud: issuer,
          jti: randomUUID(),
          exp: Math.floor(Date.now() / 1000) + 60,
          ...claims,
        },
      ),
  };
}

export function signedJwt(key: KeyObject, header: object, claims: object): string {
  const signed = `${part(header)}.${part(claims)}`;
  return `${signed}.${sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

export function unsignedJwt(header: object, claims: object): string {
  return `${part(header)}.${part(claims)}.`;
}

/** Signed with a public key as if it were a shared secret. */
export function confusedJwt(publicKey: string, claims: object): string {
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", publicKey).update(signed).digest("base64url")}`;
}

function part(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
