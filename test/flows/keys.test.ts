/** Keys over HTTP: what is published and how, what outlives rotations of keys and of SECRET_KEY, what an emergency does, and what a swap must not lose. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from "jose";
import * as openid from "openid-client";
import { run } from "../../src/main.ts";
import { randomText } from "../../src/secrets.ts";
import { type Client, eventually, listen, startSignet } from "../support.ts";
import { basic } from "./faults.ts";
import { beginJourney, CALLBACK, EMAIL, type Journey, PASSWORD, type Registered, signIn, tokensOf } from "./journey.ts";
import { collectSecrets, dumpOf, search } from "./key-dump.ts";
import { registerEdwards } from "./key-traffic.ts";

const DAY = 86_400;
const DOCUMENTS = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"] as const;
const journey = beginJourney("postgres", { JWKS_CACHE_TIME: "2s" });

/** As if so many seconds had passed for every signing key; then the steps that are due. */
async function age({ service }: Pick<Journey, "service">, seconds: number): Promise<void> {
  const columns = ["created_at", "activates_at", "activated_at", "retired_at", "unpublished_at"];
  const changes = columns.map((column) => `${column} = ${column} - make_interval(secs => $1)`).join(", ");
  await service.db.query(`update signing_keys set ${changes}`, [seconds]);
  // The job may be at it, too.
  await eventually(async () => !(await service.keyring.turn()).isBusy);
  await service.keyring.refresh();
}

async function rotateOnce(at: Pick<Journey, "service">): Promise<void> {
  await age(at, 89 * DAY + 60);
  await age(at, DAY);
}

async function signet(env: Readonly<Record<string, string>>, ...argv: string[]) {
  const { io, said } = listen();
  const code = await run(argv, env, { io });
  return { code, ...said };
}

async function machineToken(client: Client, machine: Registered): Promise<string> {
  const answer = await client.post("/token", { grant_type: "client_credentials" }, basic(machine));
  assert.equal(answer.status, 200, answer.text);
  return String(answer.json()["access_token"]);
}

async function kidsOf(client: Client): Promise<readonly string[]> {
  const { keys } = (await client.get("/jwks")).json() as unknown as JSONWebKeySet;
  return keys.map(({ kid }) => kid ?? "");
}

test("the documents come with ETag, max-age and open CORS, unchanged ones as 304, whichever way they are asked for", async () => {
  const { client } = await journey;
  for (const path of DOCUMENTS) {
    const answer = await client().get(path, { origin: "https://any.example" });
    const { etag = "" } = answer.headers;
    assert.match(etag, /^"[\w-]{43}"$/);
    assert.equal(answer.headers["cache-control"], "public, max-age=2, stale-if-error=2");
    assert.equal(answer.headers["access-control-allow-origin"], "*");
    assert.match(answer.headers["x-request-id"]?.toString() ?? "", /^[\w-]{12}$/);
    const long = await client().get(`${path}?a=1`);
    assert.deepEqual([long.status, long.text], [200, answer.text], "the long way gives the same bytes");
    for (const name of ["etag", "cache-control", "content-type", "access-control-allow-origin"] as const)
      assert.equal(long.headers[name], answer.headers[name], `${path} ${name}`);
    for (const url of [path, `${path}?a=1`]) {
      for (const tag of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
        const same = await client().get(url, { "if-none-match": tag });
        assert.deepEqual([same.status, same.text, same.headers.etag], [304, "", etag], `${url} ${tag}`);
      }
      assert.equal((await client().get(url, { "if-none-match": '"other"' })).status, 200);
      const head = await client().request({ method: "HEAD", url });
      assert.deepEqual([head.status, head.text, head.headers.etag], [200, "", etag]);
    }
    assert.equal((await client().get(path, { host: "evil.example" })).status, 421, "another Host is refused here, too");
    assert.equal((await client().post(path, {})).status, 405);
    const preflight = await client().request({
      method: "OPTIONS",
      url: path,
      headers: { origin: "https://any.example", "access-control-request-method": "GET" },
    });
    assert.equal(preflight.status, 204);
  }
  assert.equal((await client().get("/jwks")).headers["content-type"], "application/jwk-set+json; charset=utf-8");
});

test("every answer from memory is logged and counted like any other", async () => {
  const { client, lines, service } = await journey;
  const metric = async (): Promise<number> =>
    Number(/signet_http_requests_total\{status="2xx"\} (\d+)/.exec(await service.metrics.registry.metrics())?.[1] ?? 0);
  const before = await metric();
  const answer = await client().get("/jwks");
  assert.equal(await metric(), before + 1);
  const line = lines.map((text) => JSON.parse(text) as Record<string, unknown>).at(-1) ?? {};
  assert.deepEqual(
    [line["msg"], line["path"], line["status"], line["method"], line["address"], line["request_id"]],
    ["request", "/jwks", 200, "GET", "127.0.0.1", answer.headers["x-request-id"]],
  );
});

test("a client may choose EdDSA for its ID tokens", async () => {
  const at = await journey;
  const edwards = await registerEdwards(at);
  const config = await at.party(edwards);
  const tokens = await tokensOf(at.client(), config);
  assert.equal(decodeProtectedHeader(tokens.id_token ?? "").alg, "EdDSA");
});

test("sign in, rotate twice: the ID token of before is a hint at /authorize and at sign-out, and its key is not published (T-KEY-5)", async () => {
  const at = await journey;
  const browser = at.client();
  const config = await at.party(at.web);
  const tokens = await tokensOf(browser, config);
  const { kid = "" } = decodeProtectedHeader(tokens.id_token ?? "");
  for (let rotation = 0; rotation < 2; rotation += 1) {
    assert.equal((await signet(at.env, "key", "rotate")).code, 0);
    await age(at, DAY + 60);
    assert.notEqual(at.service.keyring.current().signing[0]?.kid, kid);
  }
  await age(at, 60);
  assert.ok(!(await kidsOf(at.client())).includes(kid), "the old key is out of the JWKS");
  assert.ok(!(await at.client().get("/jwks?x")).text.includes(kid), "by no way");
  // OpenID Connect Core section 3.1.2.1: whom the hint names is what counts, not whether its key still signs.
  const asking = openid.buildAuthorizationUrl(config, {
    redirect_uri: CALLBACK,
    scope: "openid",
    code_challenge: await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier()),
    code_challenge_method: "S256",
    prompt: "none",
    id_token_hint: tokens.id_token ?? "",
  });
  const hinted = await browser.get(asking.pathname + asking.search);
  assert.match(hinted.location ?? hinted.text, /[?&]code=/, "the same person, so the answer is a code");
  const nobody = await at.client().get(asking.pathname + asking.search);
  assert.match(nobody.location ?? nobody.text, /[?&]error=login_required/, "the hint alone signs nobody in");
  const url = openid.buildEndSessionUrl(config, {
    id_token_hint: tokens.id_token ?? "",
    post_logout_redirect_uri: "https://app.example/",
  });
  const page = await browser.get(url.pathname + url.search);
  assert.match(page.text, /data-answered/, "the hint is believed");
  const done = await browser.submit(page, { logout: "yes" }, { match: "xsrf" });
  assert.equal(done.location, "https://app.example/");
  // A key that is kept for hints signs nothing and is believed for nothing else: its time as an access token's key is over.
  assert.notEqual(decodeProtectedHeader(await machineToken(at.client(), at.machine)).kid, kid);
});

test("an emergency: the key is gone at once, copies end with their max-age, and the successor signs (T-REL-17)", async () => {
  const at = await journey;
  const before = await machineToken(at.client(), at.machine);
  const { kid = "" } = decodeProtectedHeader(before);
  const copy = createLocalJWKSet((await at.client().get("/jwks")).json() as unknown as JSONWebKeySet);
  await jwtVerify(before, copy);
  const told = await signet(at.env, "key", "revoke", kid, "--json");
  assert.equal(told.code, 0, told.err);
  const { believed_until: until, successor } = JSON.parse(told.out) as Record<string, string>;
  assert.ok(Date.parse(until ?? "") > Date.now());
  const began = performance.now();
  await eventually(async () => !(await kidsOf(at.client())).includes(kid));
  console.log(`# out of the JWKS ${Math.round(performance.now() - began)} ms after the command`);
  const after = await machineToken(at.client(), at.machine);
  assert.equal(decodeProtectedHeader(after).kid, successor);
  // A resource server with an old copy: this is what the traffic runs would count, if a key ever signed unannounced.
  await jwtVerify(before, copy);
  await assert.rejects(jwtVerify(after, copy), { code: "ERR_JWKS_NO_MATCHING_KEY" });
  const fresh = createLocalJWKSet((await at.client().get("/jwks")).json() as unknown as JSONWebKeySet);
  await assert.rejects(jwtVerify(before, fresh), { code: "ERR_JWKS_NO_MATCHING_KEY" });
  await jwtVerify(after, fresh);
});

test("swaps lose nothing: hashed secrets, refresh, events, metrics and the trail work, each once", async () => {
  const at = await journey;
  const config = await at.party(at.web);
  const tokens = await tokensOf(at.client(), config);
  for (let count = 0; count < 20; count += 1) await at.service.engine.reload(at.service.keyring.current());
  const issued = async (): Promise<number> => {
    const text = await at.service.metrics.registry.metrics();
    return Number(/grant_type="client_credentials",result="issued"\} (\d+)/.exec(text)?.[1] ?? 0);
  };
  const before = await issued();
  await machineToken(at.client(), at.machine);
  assert.equal(await issued(), before + 1, "one listener, not twenty and not none");
  const wrong = await at
    .client()
    .post("/token", { grant_type: "client_credentials" }, basic({ ...at.machine, secret: "no" }));
  assert.equal(wrong.status, 401);
  const next = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "");
  assert.match(next.refresh_token ?? "", /^sgn_rt_/);
  const reuses = async (): Promise<number> =>
    Number(
      (
        await at.service.db.query<{ n: string }>(
          "select count(*) as n from audit_events where name = 'code.reuse_detected'",
        )
      )[0]?.n,
    );
  const [reusedBefore, signedIn] = [await reuses(), await signIn(at.client(), config)];
  const checks = { pkceCodeVerifier: signedIn.verifier, expectedNonce: signedIn.nonce, expectedState: signedIn.state };
  await openid.authorizationCodeGrant(config, signedIn.callback, checks);
  await assert.rejects(openid.authorizationCodeGrant(config, signedIn.callback, checks));
  await eventually(async () => (await reuses()) === reusedBefore + 1);
});

test("a request that began before a swap ends on the provider it began with", async () => {
  const at = await journey;
  const old = at.service.engine.current();
  const slow = Array.from({ length: 20 }, () => machineToken(at.client(), at.machine));
  await at.service.engine.reload(at.service.keyring.current());
  await Promise.all(slow);
  assert.notEqual(at.service.engine.current(), old);
});

test("the metrics say how old each active key is and when the next one signs; every step is on the trail", async () => {
  const at = await journey;
  const text = await eventually(async () => {
    const metrics = await at.service.metrics.registry.metrics();
    return /signet_key_age_seconds\{algorithm="EdDSA"\}/.test(metrics) && metrics;
  }, 10_000);
  for (const algorithm of ["RS256", "ES256", "EdDSA"]) {
    const next = Number(
      new RegExp(`signet_key_next_rotation_seconds\\{algorithm="${algorithm}"\\} ([\\d.e+]+)`).exec(text)?.[1],
    );
    assert.ok(next > 0 && next <= 90 * DAY, `${algorithm}: ${next}`);
  }
  assert.match(text, /signet_key_rotation_failures_total 0/);
  const names = await at.service.db.query<{ name: string }>(
    "select distinct name from audit_events where name like 'key.%'",
  );
  for (const word of ["created", "announced", "activated", "retired", "unpublished"])
    assert.ok(
      names.some(({ name }) => name === `key.${word}`),
      word,
    );
});

test("a dump holds no private part of any key in any form; a planted one is found first (T-KEY-2)", async () => {
  const at = await journey;
  const secrets = collectSecrets(at.service.keyring);
  await rotateOnce(at);
  await signet(at.env, "key", "rotate");
  await at.service.keyring.refresh();
  const [planted] = [...secrets.values()].slice(-1);
  assert.ok(planted !== undefined && secrets.size > 100, `${secrets.size} texts`);
  await at.service.db.query("create table planted (word text)");
  for (const text of secrets.values()) await at.service.db.query("insert into planted values ($1)", [`x${text}x`]);
  assert.equal(search(await dumpOf(at.service.db), secrets).length, secrets.size, "each form of each is found");
  await at.service.db.query("drop table planted");
  const dump = await dumpOf(at.service.db);
  assert.ok(dump.includes("sealed_private_jwk") && dump.includes("v1."), "the sealed ones are in it");
  assert.deepEqual(search(dump, secrets), []);
  console.log(`# ${secrets.size} texts of secret parts searched in ${dump.length} characters`);
});

test("SECRET_KEY is replaced: nobody is signed out, no refresh token is refused, no form fails; the old key opens nothing (T-KEY-4)", async () => {
  const [old, fresh] = [randomText(), randomText()];
  const first = await beginJourney("postgres", { SECRET_KEY: old });
  const config = await first.party(first.web);
  const browser = first.client();
  const tokens = await tokensOf(browser, config);
  const stranger = first.client();
  const authorize = openid.buildAuthorizationUrl(config, {
    redirect_uri: CALLBACK,
    scope: "openid",
    code_challenge: await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier()),
    code_challenge_method: "S256",
  });
  const address = authorize.pathname + authorize.search;
  const form = await stranger.follow(await stranger.get(address));
  await first.close();
  const with_ = (secretKey: string) =>
    ({ engine: "postgres", beside: { env: { ...first.env, SECRET_KEY: secretKey } } }) as const;
  const both = await startSignet(with_(`${fresh},${old}`));
  const told = await signet({ ...both.env }, "key", "reencrypt", "--json");
  const reencrypted = { "signing keys": 3, "random keys": 6, mails: 0, "sign-up codes": 0, answers: 0 };
  assert.deepEqual(JSON.parse(told.out), { reencrypted }, told.err);
  await both.close();
  const last = await startSignet(with_(fresh));
  const moved = (from: Client): Client => {
    const to = last.client();
    for (const { name, value, path } of from.cookies.values()) to.setCookie(`${name}=${value}; Path=${path}`);
    return to;
  };
  const session = await moved(browser).get(`${address}&prompt=none`);
  assert.match(session.location ?? "", /[?&]code=/, "the browser is still signed in");
  const refreshed = await last
    .client()
    .post("/token", { grant_type: "refresh_token", refresh_token: tokens.refresh_token ?? "" }, basic(first.web));
  assert.equal(refreshed.status, 200, refreshed.text);
  const sender = moved(stranger);
  const consent = await sender.follow(
    await sender.submit(form, { email: EMAIL, password: PASSWORD }, { match: 'name="password"' }),
  );
  assert.match(consent.location ?? consent.text, /code=|value="allow"/, "a form of before is taken");
  await last.close();
  const refused = await signet({ ...first.env, SECRET_KEY: old }, "key", "rotate");
  assert.equal(refused.code, 1);
  assert.match(
    refused.err,
    /SECRET_KEY does not open what this database holds: the signing key \S+ \(\w+\) is sealed with the key [0-9a-f]{8}, which is not in SECRET_KEY\..*Nothing was changed/,
  );
  await assert.rejects(startSignet(with_(old)), /the signing key .* is sealed with the key/);
});
