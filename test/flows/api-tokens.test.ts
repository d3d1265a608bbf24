/** JWT access tokens can be asked about and revoked like any other, at two processes: who learns what, and what ends them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Redis } from "ioredis";
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import * as openid from "openid-client";
import { createVerifier, type Verifier } from "../../verifier/src/verifier.ts";
import { type Answer, engines, eventually } from "../support.ts";
import { basic } from "./faults.ts";
import { API, CALLBACK, EMAIL, type Registered, type SignInOptions, tokensOf } from "./journey.ts";
import { openPair, type Pair } from "./revoked-ground.ts";

const BY = { kind: "system", id: "test" } as const;
const OTHER_API = "https://api.example/other";
const INACTIVE = '{"active":false}';

interface Ground extends Pair {
  /** The API's own credentials, those of another API, and a client that an administrator allowed. */
  readonly api: Registered;
  readonly otherApi: Registered;
  readonly gateway: Registered;
}

async function openGround(engine: "redis" | "postgres"): Promise<Ground> {
  const pair = await openPair(engine);
  const { register, service } = pair;
  await service.apis.create({ identifier: OTHER_API, name: "Other", scopes: [{ scope: "read:other" }] }, BY);
  const bound = (name: string, identifier: string) =>
    register({ client_type: "resource-server", client_name: name, apis: [{ identifier }] });
  return {
    ...pair,
    api: await bound("Things itself", API),
    otherApi: await bound("Other itself", OTHER_API),
    gateway: await register({ client_type: "service", client_name: "Gateway", introspect_apis: [API] }),
  };
}

for (const { engine, skip } of await engines()) {
  let opened: Promise<Ground> | undefined;
  const ground = (): Promise<Ground> => {
    opened ??= openGround(engine);
    return opened;
  };

  test(`an API may ask about its tokens, so may whom an admin allowed; nobody else learns anything, the client that carries it included (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const held = await holdJwt(here, here.web);
    const machine = await machineJwt(here);
    const claims = decodeJwt(held.token);
    for (const asker of [here.api, here.gateway]) {
      assert.deepEqual((await ask(here, asker, held.token)).json(), {
        active: true,
        client_id: here.web.id,
        sub: here.userId,
        iss: here.issuer,
        aud: API,
        scope: "read:things",
        token_type: "Bearer",
        jti: claims.jti,
        iat: claims.iat,
        exp: claims.exp,
        auth_time: claims["auth_time"],
        acr: "urn:signet:acr:1fa",
        amr: ["pwd"],
      });
    }
    assert.deepEqual((await ask(here, here.api, machine)).json()["sub"], here.machine.id);
    const stranger = await here.register({ client_type: "service", client_name: "Stranger" });
    for (const asker of [here.otherApi, stranger, here.machine, here.web])
      assert.equal((await ask(here, asker, held.token)).text, INACTIVE);
    for (const asker of [here.otherApi, stranger, here.web, here.machine])
      assert.equal((await ask(here, asker, machine)).text, INACTIVE);
    // What is for no API but for Signet itself: its client, and as far as that proves who it is.
    const { access_token: plain } = await tokensOf(here.client(), await here.party(here.web), { scope: "openid" });
    for (const token of [held.refreshToken, plain]) {
      assert.equal((await ask(here, here.web, token)).json()["active"], true);
      for (const asker of [here.api, here.gateway, stranger])
        assert.equal((await ask(here, asker, token)).text, INACTIVE);
    }
    const options = { scope: "openid", redirectUri: "https://spa.example/cb" };
    const open = await tokensOf(here.client(), await here.party(here.spa), options);
    for (const token of [open.access_token, open.refresh_token ?? ""]) {
      const answer = await here.client().post("/introspect", { token, client_id: here.spa.id });
      assert.deepEqual([answer.status, answer.text], [200, INACTIVE], "a client_id proves nothing");
    }
    assert.equal((await ask(here, { id: here.spa.id, secret: "wrong" }, held.token)).status, 401);
  });

  test(`a revoked JWT is inactive at both processes, its refresh token lives; a revoked refresh token ends both (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const held = await holdJwt(here, here.web);
    const other = await holdJwt(here, here.web);
    const [first, second] = here.both;
    const refused = await first.client().post("/revoke", { token: held.token }, basic(here.machine));
    assert.deepEqual([refused.status, refused.json()["error"]], [400, "invalid_request"]);
    await mustBe(here, held.token, true);
    assert.equal((await first.client().post("/revoke", { token: held.token }, basic(here.web))).status, 200);
    await mustBe(here, held.token, false);
    await mustBe(here, other.token, true);
    const renewed = await second
      .client()
      .post("/token", { grant_type: "refresh_token", refresh_token: held.refreshToken }, basic(here.web));
    assert.equal(renewed.status, 200, renewed.text);
    const next = String(renewed.json()["access_token"]);
    await mustBe(here, next, true);
    const refreshToken = String(renewed.json()["refresh_token"]);
    assert.equal((await second.client().post("/revoke", { token: refreshToken }, basic(here.web))).status, 200);
    await mustBe(here, next, false);
    await mustBe(here, other.token, true);
    const machine = await machineJwt(here);
    const hint = { token: machine, token_type_hint: "refresh_token" };
    assert.equal((await second.client().post("/revoke", hint, basic(here.machine))).status, 200);
    await mustBe(here, machine, false);
  });

  test(`a JWT ends with its session, its user and its client, with offline access as far as that reaches (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const { service } = here;
    const tied = await holdJwt(here, here.web);
    const offline = await holdJwt(here, here.web, { scope: "openid offline_access read:things" });
    for (const { uid } of await service.grants.sessions.list({ userId: here.userId }, 100))
      await service.revocations.end({ kind: "session", id: uid });
    await mustBe(here, tied.token, false);
    await mustBe(here, offline.token, true);
    const email = "ends@lindqvist.example";
    const id = await here.createUser(email);
    const theirs = await holdJwt(here, here.web, { email, scope: "openid offline_access read:things" });
    await service.users.setDisabled(id, true, BY);
    await mustBe(here, theirs.token, false);
    await service.users.setDisabled(id, false, BY);
    await mustBe(here, theirs.token, false);
    await mustBe(here, (await holdJwt(here, here.web, { email })).token, true);
    const apis = [{ identifier: API, scopes: ["read:things"], default: true }];
    const client = await here.register({ client_type: "service", client_name: "Ends", apis });
    const machine = await machineJwt(here, client);
    await service.clients.setDisabled(client.id, true, BY);
    await mustBe(here, machine, false);
    await service.clients.setDisabled(client.id, false, BY);
    await mustBe(here, machine, false);
    await mustBe(here, await machineJwt(here, client), true);
  });

  test(`an API may have its tokens signed EdDSA: jose, the verifier and both processes know them, and their end (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const { issuer } = here;
    const identifier = `https://edwards.example/${engine}`;
    const scopes = [{ scope: "read:curves" }];
    await here.service.apis.create({ identifier, name: "Edwards", scopes, signing_alg: "EdDSA" }, BY);
    const apis = [{ identifier, scopes: ["read:curves"], default: true }];
    const client = await here.register({ client_type: "service", client_name: "Curves", apis });
    const api = await here.register({
      client_type: "resource-server",
      client_name: "Edwards itself",
      apis: [{ identifier }],
    });
    const token = await machineJwt(here, client);
    const { alg, typ } = decodeProtectedHeader(token);
    assert.deepEqual([alg, typ], ["EdDSA", "at+jwt"]);
    const published = createRemoteJWKSet(new URL(`${issuer}/jwks`));
    const expected = { issuer, audience: identifier, typ: "at+jwt", algorithms: ["EdDSA"] };
    assert.equal((await jwtVerify(token, published, expected)).payload.sub, client.id);
    const verifier = createVerifier({ issuer, audience: identifier });
    assert.equal((await verifier.verify(token, { scope: "read:curves" })).clientId, client.id);
    const es256 = createVerifier({ issuer, audience: identifier, algorithms: ["ES256"] });
    await assert.rejects(es256.verify(token), { code: "invalid_token" });
    const introspection = { clientId: api.id, clientSecret: api.secret ?? "" };
    const asking = (): Verifier => createVerifier({ issuer, audience: identifier, introspection });
    assert.equal((await asking().verify(token)).clientId, client.id);
    const isActive = async (at: Pair["both"][number]) =>
      (await at.client().post("/introspect", { token }, basic(api))).json()["active"];
    for (const at of here.both) assert.equal(await isActive(at), true);
    assert.equal((await here.both[1].client().post("/revoke", { token }, basic(client))).status, 200);
    for (const at of here.both) assert.equal(await isActive(at), false);
    await assert.rejects(asking().verify(token), { code: "invalid_token" });
  });

  test(`no claim of a person and none that an app wishes replaces a reserved one (T-JWT-9, ${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const email = `reserved-${engine}@lindqvist.example`;
    const id = await here.createUser(email);
    // No form and no command takes such names; a row that another program wrote may hold them all the same.
    const names = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "azp", "nonce", "auth_time", "sid"];
    const hostile = Object.fromEntries([...names, "roles", "sgn", "active"].map((name) => [name, "planted"]));
    await here.service.db.query("update users set claims = claims || $2::jsonb where id = $1", [
      id,
      JSON.stringify(hostile),
    ]);
    const wishes = Object.fromEntries(names.map((name) => [name, null]));
    const claims = JSON.stringify({ id_token: wishes, userinfo: wishes });
    const config = await here.party(here.web);
    const scope = "openid profile email";
    const tokens = await tokensOf(here.client(), config, { email, scope, parameters: { claims } });
    const said = tokens.claims();
    assert.deepEqual([said?.sub, said?.iss, said?.aud], [id, here.issuer, here.web.id]);
    const info = await openid.fetchUserInfo(config, tokens.access_token, id);
    const jwt = (await holdJwt(here, here.web, { email })).token;
    const carried = decodeJwt(jwt);
    assert.deepEqual([carried.sub, carried.iss, carried.aud], [id, here.issuer, API]);
    assert.deepEqual([carried["client_id"], carried["scope"]], [here.web.id, "read:things"]);
    const asked = (await ask(here, here.api, jwt)).json();
    assert.deepEqual([asked["active"], asked["sub"], asked["client_id"]], [true, id, here.web.id]);
    for (const [what, payload] of Object.entries({
      "ID token": said,
      userinfo: info,
      JWT: carried,
      introspection: asked,
    }))
      assert.ok(!JSON.stringify(payload).includes("planted"), `${what}: ${JSON.stringify(payload)}`);
  });

  const testOnRedis = engine === "redis" ? test : () => undefined;
  testOnRedis(
    "after Redis was emptied a revoked JWT is inactive within a second, and one that nobody ended is not",
    {
      skip,
    },
    async () => {
      const here = await ground();
      const revoked = await machineJwt(here);
      const alive = await machineJwt(here);
      const person = await holdJwt(here, here.web, { scope: "openid offline_access read:things" });
      const ended = await holdJwt(here, here.web, { scope: "openid offline_access read:things" });
      assert.equal((await here.client().post("/revoke", { token: revoked }, basic(here.machine))).status, 200);
      assert.equal((await here.client().post("/revoke", { token: ended.refreshToken }, basic(here.web))).status, 200);
      const admin = new Redis(here.env["REDIS_URL"] ?? "");
      await admin.flushdb();
      admin.disconnect();
      for (const at of here.both) {
        for (const [token, isActive] of [
          [revoked, false],
          [ended.token, false],
          [alive, true],
          [person.token, true],
        ] as const) {
          const began = performance.now();
          const answer = await at.client().post("/introspect", { token }, basic(here.api));
          assert.equal(answer.json()["active"], isActive, answer.text);
          assert.ok(performance.now() - began < 1000);
        }
      }
    },
  );

  test(`what an admin takes away ends at both processes within a second: the right to ask about tokens (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const token = await machineJwt(here);
    const apis = [API, OTHER_API];
    const gate = await here.register({ client_type: "service", client_name: "Gate", introspect_apis: apis });
    const isActive = async (at: Pair["both"][number]) =>
      (await at.client().post("/introspect", { token }, basic(gate))).json()["active"];
    for (const at of here.both) assert.equal(await isActive(at), true);
    await here.service.clients.update(gate.id, { introspect_apis: [OTHER_API] }, BY);
    for (const at of here.both) await eventually(async () => (await isActive(at)) === false, 1000);
    await assert.rejects(here.register({ client_type: "service", client_name: "X", introspect_apis: ["urn:none"] }), {
      code: "api_unknown",
    });
    const spa = { client_type: "spa", client_name: "X", redirect_uris: [CALLBACK], introspect_apis: [API] };
    await assert.rejects(here.register(spa), { code: "client_invalid" });
  });
}

interface HeldJwt {
  readonly token: string;
  readonly refreshToken: string;
}

async function holdJwt(here: Pair, client: Registered, options: SignInOptions = {}): Promise<HeldJwt> {
  const scope = options.scope ?? "openid read:things";
  const parameters = scope.includes("offline_access") ? { prompt: "consent" } : {};
  const tokens = await tokensOf(here.client(), await here.party(client), {
    email: EMAIL,
    ...options,
    scope,
    parameters: { resource: API, ...parameters },
  });
  return { token: tokens.access_token, refreshToken: tokens.refresh_token ?? "" };
}

async function machineJwt(here: Pair, client: Registered = here.machine): Promise<string> {
  const answer = await here.client().post("/token", { grant_type: "client_credentials" }, basic(client));
  assert.equal(answer.status, 200, answer.text);
  return String(answer.json()["access_token"]);
}

function ask(here: Pair, asker: Registered, token: string): Promise<Answer> {
  return here.client().post("/introspect", { token }, basic(asker));
}

async function mustBe(here: Ground, token: string, isActive: boolean): Promise<void> {
  for (const at of here.both) {
    const answer = await at.client().post("/introspect", { token }, basic(here.api));
    assert.equal(answer.json()["active"], isActive, answer.text);
  }
}
