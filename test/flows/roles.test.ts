/** APIs of every form, several of them at once, and tokens by role, over HTTP at two processes: what a token carries, and when that changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import * as openid from "openid-client";
import { createVerifier } from "../../verifier/src/verifier.ts";
import { engines, eventually } from "../support.ts";
import { basic } from "./faults.ts";
import { API, CALLBACK, type Registered, signIn, tokensOf } from "./journey.ts";
import { command, openPair, type Pair } from "./revoked-ground.ts";

const BY = { kind: "system", id: "test" } as const;
const NOTES = "https://notes.example/v1";
const OPAQUE = "urn:example:opaque";
const ONCE = "urn:example:once";
/** What nginx takes of one header line unless told otherwise (large_client_header_buffers); others take no less. */
const HEADER_LINE_BYTES = 8192;

interface Ground extends Pair {
  readonly app: Registered;
  readonly service_: Registered;
  readonly opaqueApi: Registered;
}

async function openGround(engine: "redis" | "postgres"): Promise<Ground> {
  const pair = await openPair(engine);
  const { service, register } = pair;
  const scopes = [
    { scope: "read:notes", description: "See your notes", descriptions: { de: "Deine Notizen sehen" } },
    { scope: "write:notes", description: "Change your notes" },
  ];
  const byRole = { scopes_by_role: true, roles_claim: true, signing_alg: "RS256", token_lifetime: 120 };
  await service.apis.create({ identifier: NOTES, name: "Notes", scopes, ...byRole }, BY);
  await service.apis.create(
    { identifier: OPAQUE, name: "Opaque", scopes: [{ scope: "o" }], token_format: "opaque" },
    BY,
  );
  await service.apis.create({ identifier: ONCE, name: "Once", scopes: [{ scope: "once" }], allow_refresh: false }, BY);
  await service.roles.create({ name: "reader", permissions: [{ identifier: NOTES, scopes: ["read:notes"] }] }, BY);
  const both = ["read:notes", "write:notes"];
  await service.roles.create({ name: "editor", permissions: [{ identifier: NOTES, scopes: both }] }, BY);
  const apis = [
    { identifier: NOTES },
    { identifier: API, scopes: ["read:things"] },
    { identifier: OPAQUE },
    { identifier: ONCE },
  ];
  return {
    ...pair,
    app: await register({ client_type: "web", client_name: "Many", redirect_uris: [CALLBACK], apis }),
    service_: await register({ client_type: "service", client_name: "Robot", apis: [{ identifier: NOTES }] }),
    opaqueApi: await register({ client_type: "resource-server", client_name: "O", apis: [{ identifier: OPAQUE }] }),
  };
}

for (const { engine, skip } of await engines()) {
  let opened: Promise<Ground> | undefined;
  const ground = (): Promise<Ground> => {
    opened ??= openGround(engine);
    return opened;
  };

  test(`a role that is given or taken counts at the next refresh, at both processes within a second (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const email = "roles@lindqvist.example";
    const id = await here.createUser(email);
    const config = await here.party(here.app);
    const scope = "openid offline_access read:notes write:notes";
    const parameters = { resource: NOTES, prompt: "consent" };
    const tokens = await tokensOf(here.client(), config, { email, scope, parameters });
    assert.deepEqual(carried(tokens.access_token), [undefined, []], "no role, no scope");
    assert.equal(tokens.scope ?? "", "");
    let refreshToken = tokens.refresh_token ?? "";
    const refreshAt = async (at: Pair["both"][number]): Promise<string> => {
      const answer = await at
        .client()
        .post("/token", { grant_type: "refresh_token", refresh_token: refreshToken }, basic(here.app));
      assert.equal(answer.status, 200, answer.text);
      refreshToken = String(answer.json()["refresh_token"]);
      return String(answer.json()["access_token"]);
    };
    const mustCarry = async (expected: readonly [string | undefined, readonly string[]]): Promise<void> => {
      for (const at of here.both) {
        await eventually(async () => {
          assert.deepEqual(carried(await refreshAt(at)), expected);
          return true;
        }, 1000);
      }
    };
    const holder = { kind: "user", id } as const;
    await here.service.roles.grant(holder, "editor", BY);
    await mustCarry(["read:notes write:notes", ["editor"]]);
    await here.service.roles.grant(holder, "reader", BY);
    await here.service.roles.revoke(holder, "editor", BY);
    await mustCarry(["read:notes", ["reader"]]);
    await here.service.roles.update("reader", { permissions: [] }, BY);
    await mustCarry([undefined, []]);
    await here.service.roles.update("reader", { permissions: [{ identifier: NOTES, scopes: ["read:notes"] }] }, BY);
    await mustCarry(["read:notes", ["reader"]]);
    const shown = await command(here, "user", "revoke-role", email, "reader");
    assert.deepEqual(shown["roles"], []);
    await mustCarry([undefined, []]);
  });

  test(`a service gets what its client and its roles both allow, and an error for more (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const ask = (scope?: string) =>
      here
        .client()
        .post(
          "/token",
          { grant_type: "client_credentials", ...(scope === undefined ? {} : { scope }) },
          basic(here.service_),
        );
    assert.equal((await ask("read:notes")).json()["error"], "invalid_scope");
    assert.deepEqual((await command(here, "client", "grant-role", here.service_.id, "reader"))["roles"], ["reader"]);
    const answer = await eventually(async () => {
      const found = await ask("read:notes");
      return found.status === 200 && found;
    }, 1000);
    assert.deepEqual(carried(String(answer.json()["access_token"])), ["read:notes", ["reader"]]);
    assert.equal((await ask("write:notes")).json()["error"], "invalid_scope");
    assert.equal((await ask()).json()["scope"], "read:notes");
    const admin = await here.register({
      client_type: "service",
      client_name: "A",
      apis: [{ identifier: "urn:signet:admin" }],
    });
    await here.service.roles.grant({ kind: "client", id: admin.id }, "auditor", BY);
    const token = await openid.clientCredentialsGrant(await here.party(admin), { scope: "clients:read audit:read" });
    assert.equal(token.scope, "clients:read audit:read");
    const more = { scope: "clients:write" };
    await assert.rejects(openid.clientCredentialsGrant(await here.party(admin), more), { error: "invalid_scope" });
  });

  test(`several APIs are granted at once, each token is for one of them, in its algorithm and lifetime (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const id = await here.createUser("many@lindqvist.example");
    await here.service.roles.grant({ kind: "user", id }, "editor", BY);
    const config = await here.party(here.app);
    const { callback, verifier } = await signIn(here.client(), config, {
      scope: "openid read:notes read:things o",
      resources: [NOTES, API, OPAQUE, ONCE],
      email: "many@lindqvist.example",
    });
    const redeem = {
      grant_type: "authorization_code",
      code: callback.searchParams.get("code") ?? "",
      redirect_uri: CALLBACK,
      code_verifier: verifier,
    };
    const first = await here.client().post("/token", { ...redeem, resource: NOTES }, basic(here.app));
    assert.equal(first.status, 200, first.text);
    const keys = createRemoteJWKSet(new URL(`${here.issuer}/jwks`));
    const token = String(first.json()["access_token"]);
    const { payload } = await jwtVerify(token, keys, {
      issuer: here.issuer,
      audience: NOTES,
      typ: "at+jwt",
      algorithms: ["RS256"],
    });
    assert.deepEqual([payload["scope"], Number(payload.exp) - Number(payload.iat)], ["read:notes", 120]);
    assert.ok(typeof payload["auth_time"] === "number" && token.length < 4096);
    const refresh = (token: string, more: Record<string, string>) => openid.refreshTokenGrant(config, token, more);
    const things = await refresh(String(first.json()["refresh_token"]), { resource: API });
    assert.deepEqual([decodeProtectedHeader(things.access_token).alg, things.scope], ["ES256", "read:things"]);
    const opaque = await refresh(things.refresh_token ?? "", { resource: OPAQUE });
    assert.deepEqual([/^[\w-]{43}$/.test(opaque.access_token), opaque.scope], [true, "o"]);
    const asked = await here.client().post("/introspect", { token: opaque.access_token }, basic(here.opaqueApi));
    assert.deepEqual([asked.json()["active"], asked.json()["aud"], asked.json()["sub"]], [true, OPAQUE, id]);
    const other = await here.client().post("/introspect", { token: things.access_token }, basic(here.opaqueApi));
    assert.equal(other.text, '{"active":false}');
    const info = await openid.fetchUserInfo(config, opaque.access_token, id).catch((error: Error) => error);
    assert.ok(info instanceof Error, "a token of an API is none for userinfo");
    // RFC 6749 section 6: never less than was asked; and without a resource nobody guesses which of several is meant.
    for (const [more, error] of [
      [{ resource: API, scope: "o" }, "invalid_scope"],
      [{ resource: API, scope: "openid read:things o" }, "invalid_scope"],
      [{ scope: "openid read:things" }, "invalid_target"],
    ] as const)
      await assert.rejects(refresh(opaque.refresh_token ?? "", more), { error }, JSON.stringify(more));
    for (const resource of [ONCE, "https://api.example/unknown"])
      await assert.rejects(refresh(opaque.refresh_token ?? "", { resource }), { error: "invalid_target" }, resource);
  });

  test(`tokens of an API that allows no refresh come with none (${engine})`, { skip }, async () => {
    const here = await ground();
    const tokens = await tokensOf(here.client(), await here.party(here.app), {
      scope: "openid once",
      parameters: { resource: ONCE },
    });
    assert.deepEqual([tokens.scope, tokens.refresh_token], ["once", undefined]);
  });

  test(`a scope means the API that has it; one that was not granted is refused, as is a resource that is none (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const config = await here.party(here.app);
    const tokens = await tokensOf(here.client(), config, { scope: "openid o" });
    assert.equal(tokens.scope, "o", "no resource was named");
    const refused = async (parameters: Record<string, string>, scope: string): Promise<string | null> => {
      const { callback } = await signIn(here.client(), config, { scope, parameters });
      return callback.searchParams.get("error");
    };
    const OTHER = /^requested scope belongs to another resource than the requested ones$/;
    const NOBODY = /^requested scope is not granted to this client$/;
    // RFC 6749 section 4.1.2.1: what no requested resource has for this client is named, and nothing is silently lacking.
    for (const [scope, resources, lacking, why] of [
      ["openid write:things", [API], "write:things", NOBODY],
      ["openid read:things o", [API], "o", OTHER],
      ["openid read:things read:notes o", [API, NOTES], "o", OTHER],
      ["openid read:things nothing:known", [API], "nothing:known", NOBODY],
      ["openid o nothing:known", [], "nothing:known", NOBODY],
      ["openid nothing:known write:things", [], "write:things", NOBODY],
      ["openid clients:read", [], "clients:read", NOBODY],
    ] as const) {
      const { searchParams } = (await signIn(here.client(), config, { scope, resources })).callback;
      assert.deepEqual([searchParams.get("error"), searchParams.get("scope")], ["invalid_scope", lacking], scope);
      assert.match(searchParams.get("error_description") ?? "", why, scope);
    }
    const defaulted = await here.party(here.web);
    const both = await signIn(here.client(), defaulted, { scope: "openid read:things o" });
    assert.equal(both.callback.searchParams.get("scope"), "o", "the default API is meant, and it has no such scope");
    assert.equal(await refused({}, "openid o once"), "invalid_target");
    for (const resource of [
      "things",
      `${API}#x`,
      "https://api.example/none",
      `${API}/`,
      `https://a.example/${"a".repeat(600)}`,
    ])
      assert.equal(await refused({ resource }, "openid"), "invalid_target", resource);
    const doubled = await signIn(here.client(), config, { scope: "openid", resources: [API, API] });
    assert.equal(doubled.callback.searchParams.get("error"), "invalid_target");
    const twice = [
      ["grant_type", "client_credentials"],
      ["resource", API],
      ["resource", API],
    ] as const;
    const answer = await here.client().post("/token", twice, basic(here.machine));
    assert.deepEqual([answer.status, answer.json()["error"]], [400, "invalid_target"]);
  });

  test(`the largest token that can be made fits the header line of any web server, and nothing makes a larger one (${engine})`, {
    skip,
  }, async () => {
    const here = await ground();
    const { apis, roles } = here.service;
    // What a token carries at most: each of these is one short of what is refused below. A quote counts twice in JSON.
    const identifier = `https://large.example/${engine}/`.padEnd(500, '"');
    const scopes = Array.from({ length: 100 }, (_, n) => ({ scope: `s${n}`.padEnd(n < 99 ? 19 : 20, "~") }));
    const api = { identifier, name: "Large", scopes, scopes_by_role: true, roles_claim: true, signing_alg: "RS256" };
    const { id: apiId } = await apis.create(api, BY);
    const id = await here.createUser(`large-${engine}@lindqvist.example`);
    const holder = { kind: "user", id } as const;
    const names = Array.from({ length: 20 }, (_, n) => `r${n}-${engine}-`.padEnd(50, "x"));
    const all = [{ identifier, scopes: scopes.map(({ scope }) => scope) }];
    for (const name of names) {
      await roles.create({ name, permissions: all }, BY);
      await roles.grant(holder, name, BY);
    }
    const client = await here.register({
      client_type: "web",
      client_name: "Large",
      redirect_uris: [CALLBACK],
      apis: [{ identifier }],
    });
    const scope = ["openid", ...scopes.map((one) => one.scope)].join(" ");
    const config = await here.party(client);
    const email = `large-${engine}@lindqvist.example`;
    const tokens = await tokensOf(here.client(), config, { email, scope, parameters: { resource: identifier } });
    const { access_token: token } = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
    const claims = decodeJwt(token);
    assert.equal(String(claims["scope"]).length, 2000);
    assert.deepEqual([claims.aud, [...(claims["roles"] as string[])].sort()], [identifier, [...names].sort()]);
    const line = `Authorization: Bearer ${token}`;
    console.log(`# the largest token has ${token.length} characters (bound: a line of ${HEADER_LINE_BYTES})`);
    assert.ok(line.length < HEADER_LINE_BYTES, `${line.length} bytes`);
    const audience = identifier;
    assert.equal((await createVerifier({ issuer: here.issuer, audience }).verify(token)).subject, id);
    const larger = [...scopes.slice(0, 99), { scope: "s99".padEnd(21, "~") }];
    await assert.rejects(apis.update(apiId, { scopes: larger }, BY), { code: "api_invalid" });
    await assert.rejects(apis.create({ ...api, identifier: `${identifier}"` }, BY), { code: "api_invalid" });
    await roles.create({ name: `one-more-${engine}`, permissions: all }, BY);
    await assert.rejects(roles.grant(holder, `one-more-${engine}`, BY), { code: "role_holder_invalid" });
    await assert.rejects(roles.create({ name: "x".repeat(51), permissions: [] }, BY), { code: "role_invalid" });
  });

  test(`the consent page says each API's name and each scope in the reader's words (${engine})`, { skip }, async () => {
    const here = await ground();
    const browser = here.client();
    await tokensOf(browser, await here.party(here.web), { scope: "openid" });
    const url = openid.buildAuthorizationUrl(await here.party(here.app), {
      redirect_uri: CALLBACK,
      scope: "openid read:notes write:notes",
      resource: NOTES,
      prompt: "consent",
      ui_locales: "de",
      code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
      code_challenge_method: "S256",
    });
    const page = await browser.follow(await browser.get(url.href));
    for (const text of ["Notes", NOTES, "Deine Notizen sehen", "Change your notes"])
      assert.ok(page.text.includes(text), text);
  });
}

/** The scope and the roles that a JWT carries. */
function carried(token: string): [scope: unknown, roles: unknown] {
  const claims = decodeJwt(token);
  return [claims["scope"], claims["roles"]];
}
