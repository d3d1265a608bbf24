/** OpenID Connect Core and OAuth to the letter, on both engines: what each parameter does, and signing out at the app's request. Rows cite their section. */
import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { test } from "node:test";
import {
  createRemoteJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  type JWTPayload,
  jwtVerify,
  SignJWT,
  UnsecuredJWT,
} from "jose";
import * as openid from "openid-client";
import { shiftTime } from "../shift-time.ts";
import { type Answer, type Client, decodeEntities, engines, form } from "../support.ts";
import { beginJourney, CALLBACK, EMAIL, type Journey, PASSWORD, type Registered, title } from "./journey.ts";

const OTHER_EMAIL = "olga@lindqvist.example";
const SPA_CALLBACK = "https://spa.example/cb";
const HOME = "https://app.example/";
/** Written out: apps compare it, so it never changes. */
const ACR = "urn:signet:acr:1fa";
type Parameters = Readonly<Record<string, string>>;

interface Walk {
  readonly client: Registered;
  readonly browser: Client;
  /** Where the redirect went, with `code` or `error` in its query. */
  readonly back: URL;
  readonly verifier: string;
  readonly pages: readonly string[];
}

for (const { engine, skip } of await engines()) {
  const begin = async () => {
    const journey = await beginJourney(engine);
    const otherId = await journey.createUser(OTHER_EMAIL);
    return { ...journey, otherId, keys: createRemoteJWKSet(new URL(`${journey.issuer}/jwks`)) };
  };
  const ground = skip === false ? begin() : undefined;
  const opened = async (): ReturnType<typeof begin> => {
    if (ground === undefined) throw new Error("skipped");
    return ground;
  };
  type Run = (journey: Awaited<ReturnType<typeof begin>>) => Promise<void>;
  const check = (name: string, run: Run): void => {
    test(`${name} (${engine})`, { skip }, async () => run(await opened()));
  };
  /** Nothing here depends on what the store kept, so that one engine shows it. */
  const checkOnce = engine === "postgres" ? check : () => undefined;

  // --- prompt, max_age, hints: who is asked, and when -------------------------------------------------------------

  check(
    "prompt: each value and combination shows its page or says why not (Core 3.1.2.1, 3.1.2.6)",
    async (journey) => {
      const { web, client } = journey;
      const browser = client();
      await walk(journey, browser, web, { scope: "openid" });
      const shown: readonly (readonly [string, RegExp])[] = [
        ["login", /name="password"/],
        ["consent", /value="allow"/],
        ["select_account", /\/select"/],
        ["select_account login", /\/select"/],
        ["login consent", /name="password"/],
        ["consent login", /name="password"/],
      ];
      for (const [prompt, page] of shown)
        assert.match((await ask(journey, browser, web, { prompt })).text, page, prompt);
      for (const prompt of ["none login", "login none", "none consent", "none select_account", "sudo", "login sudo"])
        assert.equal(errorOf(await ask(journey, browser, web, { prompt })), "invalid_request", prompt);
      assert.ok(codeOf(await ask(journey, browser, web, { prompt: "none" })));
      for (const [parameters, error] of [
        [{}, "login_required"],
        [{ max_age: "1000" }, "login_required"],
        [{ prompt: "none", login_hint: EMAIL }, "login_required"],
      ] as const)
        assert.equal(errorOf(await ask(journey, client(), web, { prompt: "none", ...parameters })), error);
      // After both questions the answer comes once, and nothing is asked again.
      const both = await walk(journey, browser, web, { prompt: "login consent" });
      assert.equal(both.pages.length, 2);
      assert.ok(both.back.searchParams.get("code"));
    },
  );

  check(
    "max_age and auth_time: the time of the last sign-in is said and kept to (Core 3.1.2.1, 2)",
    async (journey) => {
      const { web, client } = journey;
      const browser = client();
      const before = seconds();
      const first = await idTokenOf(journey, await walk(journey, browser, web, { max_age: "600" }));
      const signedInAt = Number(first["auth_time"]);
      assert.ok(Number.isInteger(signedInAt) && signedInAt >= before && signedInAt <= seconds());
      await later(60, async () => {
        assert.match((await ask(journey, browser, web, { max_age: "30" })).text, /name="password"/);
        assert.equal(errorOf(await ask(journey, browser, web, { max_age: "30", prompt: "none" })), "login_required");
        const still = await walk(journey, browser, web, { max_age: "3600", prompt: "none" });
        assert.equal((await idTokenOf(journey, still))["auth_time"], signedInAt);
        const unasked = await idTokenOf(journey, await walk(journey, browser, web, { prompt: "none" }));
        assert.equal("auth_time" in unasked, false);
        const again = await idTokenOf(journey, await walk(journey, browser, web, { max_age: "30" }));
        assert.ok(Number(again["auth_time"]) >= signedInAt + 60);
        assert.equal(errorOf(await ask(journey, browser, web, { max_age: "0", prompt: "none" })), "login_required");
        assert.match((await ask(journey, browser, web, { max_age: "0" })).text, /name="password"/);
      });
      for (const max_age of ["-1", "1.5", "soon", "1e400"])
        assert.equal(errorOf(await ask(journey, browser, web, { max_age })), "invalid_request", max_age);
    },
  );

  check(
    "default_max_age and require_auth_time of the client work without a parameter (Registration 2)",
    async (journey) => {
      const { client, register } = journey;
      const strict = await register({ ...webApp("Strict"), default_max_age: 30 });
      const browser = client();
      const first = await walk(journey, browser, strict, { scope: "openid" });
      assert.ok("auth_time" in (await idTokenOf(journey, first)));
      await later(60, async () => {
        assert.equal(errorOf(await ask(journey, browser, strict, { prompt: "none" })), "login_required");
        const overruled = await walk(journey, browser, strict, { prompt: "none", max_age: "600" });
        assert.ok("auth_time" in (await idTokenOf(journey, overruled)));
      });
      const timed = await register({ ...webApp("Timed"), require_auth_time: true });
      await walk(journey, browser, timed, { scope: "openid" });
      assert.ok("auth_time" in (await idTokenOf(journey, await walk(journey, browser, timed, { prompt: "none" }))));
      assert.equal(errorOf(await ask(journey, browser, timed, { scope: "profile" })), "invalid_request");
    },
  );

  checkOnce(
    "login_hint fills the field and proves nothing; who exists is not told (Core 3.1.2.1, T-ENUM-5)",
    async (journey) => {
      const { web, client, otherId } = journey;
      const field = (page: Answer): string | undefined => form(page.text, 'name="password"').fields["email"];
      const hint = `"><script>alert(1)</script>@example.com`;
      assert.equal(field(await ask(journey, client(), web, { login_hint: hint })), hint);
      assert.equal(field(await ask(journey, client(), web, { login_hint: `${"x".repeat(300)}@example.com` })), "");
      const masked = (page: Answer, email: string): string =>
        page.text
          .replaceAll(decodeEntities(email), "EMAIL")
          .replace(/(\/interaction\/|from=)[\w-]+/g, "")
          .replace(/value="[\w.-]{40,}"/g, "");
      const unknown = "nobody@lindqvist.example";
      const pages = [];
      for (const email of [EMAIL, unknown]) {
        const page = await ask(journey, client(), web, { login_hint: email });
        pages.push([page.status, masked(page, email), Object.keys(page.headers)]);
        assert.equal(
          errorOf(await ask(journey, client(), web, { login_hint: email, prompt: "none" })),
          "login_required",
        );
      }
      assert.deepEqual(pages[0], pages[1]);
      // A hint of somebody who is not signed in here: whoever it is, the answer is the same.
      const hinted = [];
      for (const email of [EMAIL, OTHER_EMAIL]) {
        const id_token_hint = await idTokenText(
          journey,
          await walk(journey, client(), web, { scope: "openid" }, email),
        );
        const quiet = await ask(journey, client(), web, { id_token_hint, prompt: "none" });
        hinted.push([errorOf(quiet), masked(await ask(journey, client(), web, { id_token_hint }), email)]);
      }
      assert.deepEqual(hinted[0], hinted[1]);
      assert.equal(hinted[0]?.[0], "login_required");
      // Somebody else may sign in all the same.
      const walked = await walk(journey, client(), web, { login_hint: EMAIL }, OTHER_EMAIL);
      assert.equal((await idTokenOf(journey, walked)).sub, otherId);
    },
  );

  check("id_token_hint: only the person it names gets a good answer (Core 3.1.2.1)", async (journey) => {
    const { web, client, register, userId, otherId, issuer } = journey;
    const browser = client();
    const own = await idTokenText(journey, await walk(journey, browser, web, { scope: "openid" }));
    const others = await idTokenText(journey, await walk(journey, client(), web, { scope: "openid" }, OTHER_EMAIL));
    const stranger = await register(webApp("Stranger"));
    const foreign = await idTokenText(journey, await walk(journey, client(), stranger, { scope: "openid" }));
    assert.ok(codeOf(await ask(journey, browser, web, { id_token_hint: own, prompt: "none" })));
    await later(1200, async () => {
      assert.ok(Number(decodeJwt(own).exp) < seconds());
      assert.ok(
        codeOf(await ask(journey, browser, web, { id_token_hint: own, prompt: "none" })),
        "an expired hint serves",
      );
    });
    assert.equal(
      errorOf(await ask(journey, browser, web, { id_token_hint: others, prompt: "none" })),
      "login_required",
    );
    const [header = "", payload = "", signature = ""] = own.split(".");
    const changed = Buffer.from(JSON.stringify({ ...decodeJwt(own), sub: otherId })).toString("base64url");
    const unsigned = new UnsecuredJWT({ sub: userId }).setIssuer(issuer).setAudience(web.id).setIssuedAt().encode();
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const refused: Parameters = {
      "another client's": foreign,
      unsigned,
      "without its signature": `${header}.${payload}.`,
      "with changed claims": `${header}.${changed}.${signature}`,
      "signed by somebody else": await signed(privateKey, "RS256", { sub: userId, iss: issuer, aud: web.id }),
      garbage: "garbage",
      "three dots": "...",
    };
    for (const [name, id_token_hint] of Object.entries(refused))
      for (const more of [{}, { prompt: "none" }])
        assert.equal(errorOf(await ask(journey, browser, web, { id_token_hint, ...more })), "invalid_request", name);
    // With another person's hint the password is asked; whoever signs in then has to be that person.
    const wrong = await walk(journey, browser, web, { id_token_hint: others, state: "w" });
    assert.deepEqual(
      [wrong.back.searchParams.get("error"), wrong.back.searchParams.get("state")],
      ["login_required", "w"],
    );
    const right = await walk(journey, browser, web, { id_token_hint: others }, OTHER_EMAIL);
    assert.equal((await idTokenOf(journey, right)).sub, otherId);
  });

  checkOnce(
    "ui_locales, claims_locales, display, acr_values and unknown parameters do no harm (Core 3.1.2.1)",
    async (journey) => {
      const { web, client } = journey;
      const browser = client();
      const parameters = {
        ui_locales: "tlh de",
        claims_locales: "fr-CA fr",
        display: "wap",
        acr_values: "urn:example:gold urn:example:silver",
        unheard_of: "1",
        __proto__: "x",
      };
      const page = await ask(journey, browser, web, parameters);
      assert.match(page.text, /<html[^>]* lang="de"/);
      assert.match((await ask(journey, client(), web, { ui_locales: "tlh" })).text, /<html[^>]* lang="en"/);
      const walked = await walk(journey, browser, web, { ...parameters, scope: "openid", state: "s" });
      assert.deepEqual([...walked.back.searchParams.keys()].sort(), ["code", "iss", "state"]);
      // What was asked and cannot be reached stops nobody, and is never claimed: the value says what was achieved (Core 2, 5.5.1.1).
      const { acr, amr } = await idTokenOf(journey, walked);
      assert.deepEqual([acr, amr], [ACR, ["pwd"]]);
      const plain = await walk(journey, client(), web, { scope: "openid" });
      assert.equal((await idTokenOf(journey, plain))["acr"], ACR, "it stands in every ID token");
      const info = await userinfoOf(journey, await walk(journey, client(), web, { scope: "openid", acr_values: ACR }));
      assert.deepEqual(Object.keys(info), ["sub"], "it is said of the sign-in, not of the person");
    },
  );

  // --- Claims, one by one -----------------------------------------------------------------------------------------

  check("claims: members land where they were asked, and no others (Core 5.5)", async (journey) => {
    const { client, register, userId } = journey;
    const app = await register(webApp("Picky"));
    const claims = JSON.stringify({
      id_token: { email: null, auth_time: { essential: true }, given_name: { value: "Somebody" }, sid: null },
      userinfo: {
        name: { essential: true },
        locale: null,
        phone_number: { essential: true },
        "https://x.example/y": null,
      },
    });
    const walked = await walk(journey, client(), app, { scope: "openid", claims });
    assert.equal(walked.pages.length, 2);
    const tokens = await redeem(journey, walked);
    assert.equal(tokens["scope"], "openid");
    const idToken = decodeJwt(String(tokens["id_token"]));
    // A value that is asked for and differs is no reason to refuse (5.5.1); what has no value is absent, essential or not.
    const { email, given_name, auth_time, sid, name, locale } = idToken;
    assert.deepEqual([email, given_name, name, locale], [EMAIL, "Maya", undefined, undefined]);
    assert.ok(typeof auth_time === "number" && typeof sid === "string");
    const info = await userinfo(journey, String(tokens["access_token"]));
    assert.deepEqual(info, { sub: userId, name: "Maya Lindqvist", locale: "en" });
    const renewed = await refresh(journey, app, String(tokens["refresh_token"]));
    assert.equal(decodeJwt(String(renewed["id_token"]))["email"], EMAIL);
    assert.deepEqual(await userinfo(journey, String(renewed["access_token"])), info);
    // The next request, which names no claims, gets none.
    const plain = await idTokenOf(journey, await walk(journey, walked.browser, app, { scope: "openid" }));
    assert.equal("email" in plain, false);
  });

  check(
    "claims are asked about as the scope that holds them, once, and follow it (Core 5.5, 3.1.2.4)",
    async (journey) => {
      const { client, register } = journey;
      const app = await register({ ...webApp("Asks twice"), optional_scopes: ["email"] });
      const browser = client();
      const claims = JSON.stringify({ userinfo: { email: null } });
      await walk(journey, browser, app, { scope: "openid" });
      assert.equal(errorOf(await ask(journey, browser, app, { claims, prompt: "none" })), "consent_required");
      const page = await ask(journey, browser, app, { claims });
      assert.deepEqual(asked(page), ["email"]);
      const declined = await walk(journey, browser, app, { claims, scope: "openid" });
      assert.equal("email" in (await userinfoOf(journey, declined)), false);
      // The answer is remembered, for the claim and for the scope.
      for (const parameters of [{ claims }, { scope: "openid email" }])
        assert.ok(codeOf(await ask(journey, browser, app, { prompt: "none", scope: "openid", ...parameters })));
      const again = await walk(journey, browser, app, { claims, scope: "openid", prompt: "consent" }, EMAIL, ["email"]);
      assert.equal((await userinfoOf(journey, again))["email"], EMAIL);
      // In a new browser the remembered consent covers the claim; taken back, it is withheld again.
      const fresh = client();
      const covered = await walk(journey, fresh, app, { claims, scope: "openid" });
      assert.equal(covered.pages.length, 1);
      assert.equal((await userinfoOf(journey, covered))["email"], EMAIL);
      const taken = await walk(journey, fresh, app, { claims, scope: "openid", prompt: "consent" }, EMAIL, ["nothing"]);
      assert.equal("email" in (await userinfoOf(journey, taken)), false);
    },
  );

  check(
    "claims beyond what the client may ask are not given, and a first-party app is not asked (Core 5.5)",
    async (journey) => {
      const { client, register } = journey;
      const claims = JSON.stringify({ userinfo: { email: null, name: null }, id_token: { email: null } });
      const narrow = await register({ ...webApp("Narrow"), scope: "openid profile" });
      const browser = client();
      const page = await ask(journey, browser, narrow, { claims, scope: "openid" });
      const consent = await browser.follow(
        await browser.submit(page, { email: EMAIL, password: PASSWORD }, { match: 'name="password"' }),
      );
      assert.deepEqual(asked(consent), ["openid", "profile"]);
      const walked = await walk(journey, browser, narrow, { claims, scope: "openid" });
      const info = await userinfoOf(journey, walked);
      assert.deepEqual([info["name"], info["email"]], ["Maya Lindqvist", undefined]);
      const own = await register({ ...webApp("Own"), first_party: true });
      const quiet = await walk(journey, browser, own, { claims, scope: "openid" });
      assert.equal(quiet.pages.length, 0);
      assert.equal((await userinfoOf(journey, quiet))["email"], EMAIL);
    },
  );

  checkOnce(
    "claims: malformed ones are invalid_request, essential ones about the sign-in are kept (Core 5.5.1.1)",
    async (journey) => {
      const { web, client, userId, otherId } = journey;
      const browser = client();
      await walk(journey, browser, web, { scope: "openid" });
      const bad = ["{", "[]", "null", "1", '"x"', "{}", '{"id_token":[]}', '{"userinfo":1}', '{"id_token":null}'];
      const badMembers = [
        '{"id_token":{"sub":"x"}}',
        '{"userinfo":{"email":true}}',
        '{"id_token":{"acr":{"values":"x"}}}',
      ];
      for (const claims of [...bad, ...badMembers, '{"id_token":{"email":[]}}'])
        assert.equal(errorOf(await ask(journey, browser, web, { claims, prompt: "none" })), "invalid_request", claims);
      const idToken = (members: object): string => JSON.stringify({ id_token: members });
      for (const [members, error] of [
        [{ acr: { essential: true, values: ["urn:example:gold"] } }, "unmet_authentication_requirements"],
        [{ acr: { essential: true, value: "urn:example:gold" } }, "unmet_authentication_requirements"],
        [{ acr: { values: ["urn:example:gold"] } }, null],
        [{ acr: { essential: true, values: ["urn:example:gold", ACR] } }, null],
        [{ acr: { essential: true, value: ACR } }, null],
        [{ acr: { essential: true } }, null],
        [{ sub: { value: userId } }, null],
        [{ sub: null, unheard_of: { essential: true } }, null],
        [{ sub: { value: otherId } }, "login_required"],
      ] as const)
        assert.equal(errorOf(await ask(journey, browser, web, { claims: idToken(members), prompt: "none" })), error);
      const claims = idToken({ sub: { value: otherId } });
      assert.equal((await walk(journey, browser, web, { claims })).back.searchParams.get("error"), "login_required");
      const right = await walk(journey, browser, web, { claims, scope: "openid" }, OTHER_EMAIL);
      assert.equal((await idTokenOf(journey, right)).sub, otherId);
      assert.equal(errorOf(await ask(journey, browser, web, { claims, scope: "profile" })), "invalid_request");
    },
  );

  // --- How the answer comes back ----------------------------------------------------------------------------------

  checkOnce(
    "response_mode: query, fragment and form_post carry code, state and iss (Multiple Response Types 2.1, RFC 9207)",
    async (journey) => {
      const { web, client, issuer } = journey;
      const browser = client();
      await walk(journey, browser, web, { scope: "openid" });
      for (const response_mode of [undefined, "query", "fragment"] as const) {
        const { location } = await ask(journey, browser, web, {
          state: "a&b",
          ...(response_mode && { response_mode }),
        });
        const back = new URL(location ?? "");
        const [used, unused] = response_mode === "fragment" ? [back.hash, back.search] : [back.search, back.hash];
        const answer = new URLSearchParams(used.slice(1));
        assert.deepEqual(
          [[...answer.keys()].sort(), answer.get("state"), answer.get("iss"), unused],
          [["code", "iss", "state"], "a&b", issuer, ""],
        );
      }
      const posted = await ask(journey, browser, web, { response_mode: "form_post", state: "a&b" });
      assert.equal(form(posted.text).action, CALLBACK);
      const { code, ...rest } = form(posted.text).fields;
      assert.ok((code ?? "").length > 20);
      assert.deepEqual(rest, { state: "a&b", iss: issuer });
      const failed = await ask(journey, client(), web, { response_mode: "form_post", prompt: "none", state: "x" });
      const { error, error_description: _words, ...more } = form(failed.text).fields;
      assert.deepEqual([error, more], ["login_required", { state: "x", iss: issuer }]);
      for (const response_mode of ["web_message", "jwt", "query.jwt"])
        assert.equal(errorOf(await ask(journey, browser, web, { response_mode })), "unsupported_response_mode");
    },
  );

  checkOnce(
    "errors go to the app with state and iss, byte for byte the issuer (RFC 6749 4.1.2.1, RFC 9207 2)",
    async (journey) => {
      const { web, client, issuer } = journey;
      const browser = client();
      const rows: readonly (readonly [Parameters, string])[] = [
        [{ request: "eyJhbGciOiJub25lIn0.e30." }, "request_not_supported"],
        [{ request_uri: "https://app.example/request" }, "request_uri_not_supported"],
        [{ request_uri: "urn:ietf:params:oauth:request_uri:x" }, "request_uri_not_supported"],
        [{ registration: "{}" }, "registration_not_supported"],
        [{ response_type: "token" }, "unsupported_response_type"],
        [{ response_type: "id_token" }, "unsupported_response_type"],
        [{ response_type: "code id_token" }, "unsupported_response_type"],
        [{ response_type: "none" }, "unsupported_response_type"],
        [{ response_type: "" }, "invalid_request"],
        [{ code_challenge_method: "plain" }, "invalid_request"],
        [{ code_challenge: "" }, "invalid_request"],
        [{ code_challenge: "short" }, "invalid_request"],
        [{ scope: "openid \u00e9" }, "invalid_scope"],
        [{ resource: "https://unknown.example" }, "invalid_target"],
      ];
      for (const [parameters, error] of rows) {
        const name = JSON.stringify(parameters);
        const answer = await ask(journey, browser, web, { state: "a b", ...parameters });
        assert.equal(answer.status, 303, name);
        const back = new URL(answer.location ?? "");
        const { searchParams: said, hash } = back;
        const carried = hash === "" ? said : new URLSearchParams(hash.slice(1));
        assert.deepEqual([`${back.origin}${back.pathname}`, carried.get("error")], [CALLBACK, error], name);
        assert.deepEqual([carried.get("state"), carried.get("iss")], ["a b", issuer], name);
        assert.match(carried.get("error_description") ?? "", /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/, name);
      }
    },
  );

  checkOnce("POST /authorize is the same request (Core 3.1.2.1)", async (journey) => {
    const { web, client } = journey;
    const browser = client();
    const verifier = openid.randomPKCECodeVerifier();
    const fields = { ...(await request(web, verifier)), scope: "openid", state: "posted", unheard_of: "ä b" };
    const foreign = { origin: "https://app.example", "sec-fetch-site": "cross-site" };
    const page = await browser.follow(await browser.post("/authorize", fields, foreign));
    assert.match(page.text, /name="password"/);
    const walked = await finish(browser, page, EMAIL, []);
    const tokens = await redeem(journey, { client: web, browser, ...walked, verifier });
    assert.ok(tokens["id_token"]);
    assert.equal(walked.back.searchParams.get("state"), "posted");
  });

  // --- Tokens -----------------------------------------------------------------------------------------------------

  check("an ID token says what Core 2 and 3.1.3.7 have a client check", async (journey) => {
    const { web, client, keys, issuer, userId, register } = journey;
    const browser = client();
    for (const [app, alg] of [
      [web, "RS256"],
      [await register({ ...webApp("Elliptic"), id_token_signed_response_alg: "ES256" }), "ES256"],
    ] as const) {
      const tokens = await redeem(
        journey,
        await walk(journey, browser, app, { scope: "openid email", nonce: "n-0S6_WzA2Mj" }),
      );
      assert.equal(tokens["token_type"], "Bearer");
      assert.equal(tokens["expires_in"], 600);
      const text = String(tokens["id_token"]);
      const verified = await jwtVerify(text, keys, { issuer, audience: app.id, algorithms: [alg] });
      const { payload, protectedHeader } = verified;
      assert.equal(protectedHeader.alg, alg);
      assert.deepEqual([payload.sub, payload["nonce"], payload.aud], [userId, "n-0S6_WzA2Mj", app.id]);
      // One audience, and it is the client: nothing for azp to say (Core 2).
      assert.equal("azp" in payload, false);
      assert.equal(Number(payload.exp) - Number(payload.iat), 600);
      if (payload["at_hash"] !== undefined)
        assert.equal(payload["at_hash"], await halfHash(String(tokens["access_token"])), "Core 3.1.3.6");
      assert.equal("email" in payload, false, "with a code the claims of scopes come from userinfo (Core 5.4)");
      const renewed = await refresh(journey, app, String(tokens["refresh_token"]));
      const second = (await jwtVerify(String(renewed["id_token"]), keys, { issuer, audience: app.id })).payload;
      assert.deepEqual(
        [second.sub, second.aud, second["sid"]],
        [payload.sub, payload.aud, payload["sid"]],
        "Core 12.2",
      );
      assert.equal(decodeProtectedHeader(String(renewed["id_token"])).alg, alg);
    }
    const unasked = await idTokenOf(journey, await walk(journey, browser, web, { scope: "openid" }));
    assert.equal("nonce" in unasked, false);
  });

  check(
    "userinfo: header by GET and POST, form by POST, never the query; errors name their scheme (Core 5.3, RFC 6750)",
    async (journey) => {
      const { web, client, userId, issuer } = journey;
      const tokens = await redeem(journey, await walk(journey, client(), web, { scope: "openid email" }));
      const token = String(tokens["access_token"]);
      const authorization = `Bearer ${token}`;
      const caller = client();
      for (const answer of [
        await caller.get("/userinfo", { authorization }),
        await caller.get("/userinfo", { authorization: `bearer ${token}` }),
        await caller.request({ method: "POST", url: "/userinfo", headers: { authorization } }),
        await caller.post("/userinfo", {}, { authorization }),
        await caller.post("/userinfo", { access_token: token }),
      ]) {
        assert.equal(answer.status, 200);
        assert.match(answer.headers["content-type"] ?? "", /^application\/json/);
        assert.equal(answer.headers["cache-control"], "no-store");
        assert.deepEqual(answer.json(), { sub: userId, email: EMAIL, email_verified: true });
      }
      const refused: readonly (readonly [Answer, number, string | undefined])[] = [
        [await caller.get(`/userinfo?access_token=${token}`), 400, "invalid_request"],
        [await caller.post("/userinfo", { access_token: token }, { authorization }), 400, "invalid_request"],
        [await caller.get("/userinfo", { authorization: `Basic ${token}` }), 400, "invalid_request"],
        [await caller.get("/userinfo", { authorization: "Bearer nonsense" }), 401, "invalid_token"],
        [
          await caller.get("/userinfo", { authorization: `Bearer ${String(tokens["id_token"])}` }),
          401,
          "invalid_token",
        ],
        [await caller.get("/userinfo"), 401, undefined],
      ];
      for (const [index, [answer, status, error]] of refused.entries()) {
        assert.equal(answer.status, status, `row ${index}`);
        const challenge = answer.headers["www-authenticate"] ?? "";
        assert.match(challenge, new RegExp(`^Bearer realm="${issuer}"`), `row ${index}`);
        assert.equal(
          /error="([^"]*)"/.exec(challenge)?.[1],
          error,
          `row ${index} (RFC 6750 3.1: no code when nothing was sent)`,
        );
      }
      const plain = await redeem(journey, await walk(journey, client(), web, { scope: "profile" }));
      const narrow = await caller.get("/userinfo", { authorization: `Bearer ${String(plain["access_token"])}` });
      assert.deepEqual([narrow.status, narrow.json()["error"]], [403, "insufficient_scope"]);
    },
  );

  check(
    "a code works once, for its own client, redirect and verifier (RFC 6749 4.1.2, 4.1.3, RFC 7636 4.6)",
    async (journey) => {
      const { web, client, register, userId } = journey;
      const browser = client();
      const stranger = await register(webApp("Stranger 2"));
      const walked = await walk(journey, browser, web, { scope: "openid" });
      for (const [name, fields, by] of [
        ["another client", {}, stranger],
        ["another redirect", { redirect_uri: "https://app.example/callback/" }, web],
        ["no redirect", { redirect_uri: "" }, web],
        ["another verifier", { code_verifier: openid.randomPKCECodeVerifier() }, web],
      ] as const) {
        const answer = await exchange(journey, by, { ...codeFields(walked), ...fields });
        assert.deepEqual(
          [answer.status, answer.json()["error"]],
          [400, name === "no redirect" ? "invalid_request" : "invalid_grant"],
          name,
        );
      }
      const tokens = await redeem(journey, walked);
      assert.equal((await userinfo(journey, String(tokens["access_token"]))).sub, userId);
      const twice = await exchange(journey, web, codeFields(walked));
      assert.deepEqual(
        [twice.status, twice.json()["error"], twice.headers["cache-control"]],
        [400, "invalid_grant", "no-store"],
      );
      const dead = await client().get("/userinfo", { authorization: `Bearer ${String(tokens["access_token"])}` });
      assert.equal(dead.status, 401);
      const spent = await exchange(journey, web, {
        grant_type: "refresh_token",
        refresh_token: String(tokens["refresh_token"]),
      });
      assert.equal(spent.json()["error"], "invalid_grant");
    },
  );

  check(
    "scope: unknown ones are dropped, absent it is the client's own, offline_access needs consent (RFC 6749 3.3, Core 11)",
    async (journey) => {
      const { client, register } = journey;
      const app = await register({ ...webApp("Scopes"), scope: "openid profile offline_access" });
      const browser = client();
      const scopeOf = async (parameters: Parameters): Promise<unknown> => {
        const walked = await walk(journey, browser, app, parameters);
        return (await redeem(journey, walked))["scope"];
      };
      assert.equal(await scopeOf({ scope: "openid nothing:known" }), "openid");
      const { scope: _none, ...bare } = await request(app, "x".repeat(43));
      const page = await browser.follow(await browser.get(`/authorize?${new URLSearchParams(bare)}`));
      assert.deepEqual(asked(page), ["profile"], "without scope it is all that the client may ask");
      assert.equal(await scopeOf({ scope: "openid openid" }), "openid");
      assert.equal(await scopeOf({ scope: "openid offline_access" }), "openid");
      assert.equal(await scopeOf({ scope: "openid offline_access", prompt: "consent" }), "openid offline_access");
      assert.equal(errorOf(await ask(journey, browser, app, { scope: "openid email" })), "invalid_scope");
    },
  );

  check(
    "refresh: the scope can narrow and widen again, never beyond the grant; nobody else's token works (RFC 6749 6)",
    async (journey) => {
      const { web, client, register } = journey;
      const tokens = await redeem(journey, await walk(journey, client(), web, { scope: "openid profile email" }));
      const narrow = await refresh(journey, web, String(tokens["refresh_token"]), { scope: "openid" });
      assert.equal(narrow["scope"], "openid");
      assert.deepEqual(Object.keys(await userinfo(journey, String(narrow["access_token"]))), ["sub"]);
      const wide = await refresh(journey, web, String(narrow["refresh_token"]));
      assert.deepEqual(String(wide["scope"]).split(" ").sort(), ["email", "openid", "profile"]);
      const token = { grant_type: "refresh_token", refresh_token: String(wide["refresh_token"]) };
      const grown = await exchange(journey, web, { ...token, scope: "openid phone" });
      assert.deepEqual([grown.status, grown.json()["error"]], [400, "invalid_scope"]);
      const stranger = await exchange(journey, await register(webApp("Stranger 3")), token);
      assert.deepEqual([stranger.status, stranger.json()["error"]], [400, "invalid_grant"]);
      // Neither refusal has cost anything.
      assert.ok((await refresh(journey, web, token.refresh_token))["access_token"]);
    },
  );

  check(
    "revocation and introspection find a token whatever the hint says (RFC 7009 2.1, RFC 7662 2.1, 2.2)",
    async (journey) => {
      const { web, client, issuer, userId, register } = journey;
      const caller = client();
      const tokens = await redeem(journey, await walk(journey, client(), web, { scope: "openid" }));
      const [access, renewal] = [String(tokens["access_token"]), String(tokens["refresh_token"])];
      const basic = { authorization: basicOf(web) };
      for (const hint of ["refresh_token", "access_token", "client_credentials", "nonsense", ""]) {
        const about = (await caller.post("/introspect", { token: access, token_type_hint: hint }, basic)).json();
        const { exp, iat, sid, ...rest } = about;
        assert.deepEqual(rest, {
          active: true,
          client_id: web.id,
          sub: userId,
          iss: issuer,
          scope: "openid",
          token_type: "Bearer",
        });
        assert.equal(Number(exp) - Number(iat), 600);
        assert.equal(sid, decodeJwt(String(tokens["id_token"]))["sid"]);
      }
      const about = (
        await caller.post("/introspect", { token: renewal, token_type_hint: "access_token" }, basic)
      ).json();
      assert.deepEqual([about["active"], about["client_id"], "token_type" in about], [true, web.id, false]);
      const stranger = { authorization: basicOf(await register(webApp("Stranger 4"))) };
      for (const token of [access, renewal, "unknown"])
        assert.deepEqual((await caller.post("/introspect", { token }, stranger)).json(), { active: false });
      for (const [token, token_type_hint] of [
        ["unknown", "access_token"],
        [access, "refresh_token"],
        [access, "access_token"],
        [renewal, "nonsense"],
        [renewal, "refresh_token"],
      ] as const) {
        const answer = await caller.post("/revoke", { token, token_type_hint }, basic);
        assert.deepEqual([answer.status, answer.text, answer.headers["content-type"]], [200, "", undefined]);
        assert.deepEqual((await caller.post("/introspect", { token }, basic)).json(), { active: false });
      }
    },
  );

  // --- Clients that prove themselves ------------------------------------------------------------------------------

  check(
    "client authentication: basic is form-encoded first, post, none and a signed assertion work (RFC 6749 2.3.1, RFC 7523)",
    async (journey) => {
      const { web, spa, client, issuer, register } = journey;
      const caller = client();
      const everyByte = (text: string): string =>
        [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
      const token = "unknown";
      const encoded = `Basic ${Buffer.from(`${everyByte(web.id)}:${everyByte(web.secret ?? "")}`).toString("base64")}`;
      assert.equal((await caller.post("/introspect", { token }, { authorization: encoded })).status, 200);
      const posted = { token, client_id: web.id, client_secret: web.secret ?? "" };
      assert.equal((await caller.post("/introspect", posted)).status, 200, "both ways to send a secret are one to us");
      const both = await caller.post("/introspect", posted, { authorization: basicOf(web) });
      assert.deepEqual([both.status, both.json()["error"]], [400, "invalid_request"]);
      for (const wrong of [`${web.secret}x`, "", "ä"]) {
        const answer = await caller.post(
          "/introspect",
          { token },
          { authorization: basicOf({ id: web.id, secret: wrong }) },
        );
        assert.ok([400, 401].includes(answer.status), wrong);
        if (answer.status === 401) assert.match(answer.headers["www-authenticate"] ?? "", /^Basic realm="/);
      }
      const walked = await walk(journey, client(), spa, { scope: "openid", redirect_uri: SPA_CALLBACK });
      const fields = { ...codeFields(walked), redirect_uri: SPA_CALLBACK, client_id: spa.id };
      const origin = { origin: "https://spa.example" };
      const opened = await caller.post("/token", fields, origin);
      assert.deepEqual([opened.status, opened.headers["access-control-allow-origin"]], [200, "https://spa.example"]);
      const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
      const keyed = await register({
        ...webApp("Keyed"),
        token_endpoint_auth_method: "private_key_jwt",
        jwks: {
          keys: [{ ...(publicKey.export({ format: "jwk" }) as Record<string, string>), alg: "ES256", use: "sig" }],
        },
      });
      const claims = { iss: keyed.id, sub: keyed.id, jti: openid.randomState() };
      const assertion = await signed(privateKey, "ES256", { ...claims, aud: issuer });
      const proof = {
        client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        client_assertion: assertion,
      };
      const granted = await walk(journey, client(), keyed, { scope: "openid" });
      const answer = await caller.post("/token", { ...codeFields(granted), ...proof });
      assert.equal(answer.status, 200, answer.text);
      const replayed = await caller.post("/introspect", { token, ...proof });
      assert.deepEqual([replayed.status, replayed.json()["error"]], [401, "invalid_client"]);
      const elsewhere = {
        ...proof,
        client_assertion: await signed(privateKey, "ES256", { ...claims, jti: "2", aud: `${issuer}/token` }),
      };
      assert.equal((await caller.post("/introspect", { token, ...elsewhere })).status, 401);
    },
  );

  checkOnce("a wrong grant at /token has the code of RFC 6749 5.2", async (journey) => {
    const { web, machine } = journey;
    for (const [by, fields, status, error] of [
      [web, { grant_type: "password", username: EMAIL, password: PASSWORD }, 400, "unsupported_grant_type"],
      [web, { grant_type: "implicit" }, 400, "unsupported_grant_type"],
      [web, { grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer" }, 400, "unsupported_grant_type"],
      [web, { grant_type: "client_credentials" }, 400, "unauthorized_client"],
      [machine, { grant_type: "authorization_code", code: "x", redirect_uri: CALLBACK }, 400, "unauthorized_client"],
      [machine, { grant_type: "refresh_token", refresh_token: "x" }, 400, "unauthorized_client"],
      [web, { grant_type: "authorization_code", redirect_uri: CALLBACK }, 400, "invalid_request"],
      [web, { grant_type: "refresh_token" }, 400, "invalid_request"],
      [web, {}, 400, "invalid_request"],
      [{ id: "cl_nobody", secret: "x" }, { grant_type: "client_credentials" }, 401, "invalid_client"],
    ] as const) {
      const answer = await exchange(journey, by, fields);
      assert.deepEqual(
        [answer.status, answer.json()["error"], answer.headers["cache-control"]],
        [status, error, "no-store"],
        JSON.stringify(fields),
      );
    }
  });

  checkOnce(
    "discovery advertises exactly what has a test here, alike under both names (Discovery 3, RFC 8414 2)",
    async (journey) => {
      const { issuer, client } = journey;
      const documents = await Promise.all(
        ["openid-configuration", "oauth-authorization-server"].map((name) => client().get(`/.well-known/${name}`)),
      );
      const [metadata, twin] = documents.map((answer) => answer.json());
      assert.deepEqual(metadata, twin);
      const { claims_supported, token_endpoint_auth_signing_alg_values_supported, ...rest } = metadata ?? {};
      assert.deepEqual(rest, {
        issuer,
        acr_values_supported: [ACR],
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${issuer}/token`,
        userinfo_endpoint: `${issuer}/userinfo`,
        jwks_uri: `${issuer}/jwks`,
        introspection_endpoint: `${issuer}/introspect`,
        revocation_endpoint: `${issuer}/revoke`,
        end_session_endpoint: `${issuer}/logout`,
        response_types_supported: ["code"],
        response_modes_supported: ["form_post", "fragment", "query"],
        grant_types_supported: ["authorization_code", "refresh_token", "client_credentials"],
        subject_types_supported: ["public"],
        scopes_supported: ["openid", "profile", "email", "phone", "address", "offline_access"],
        code_challenge_methods_supported: ["S256"],
        token_endpoint_auth_methods_supported: ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        id_token_signing_alg_values_supported: ["RS256", "ES256", "EdDSA"],
        claims_parameter_supported: true,
        claim_types_supported: ["normal"],
        prompt_values_supported: ["none", "login", "consent", "select_account", "create"],
        backchannel_logout_supported: true,
        backchannel_logout_session_supported: true,
        request_uri_parameter_supported: false,
        authorization_response_iss_parameter_supported: true,
        ui_locales_supported: ["en", "de"],
      });
      for (const claim of ["birthdate", "acr", "amr", "auth_time"])
        assert.ok((claims_supported as string[]).includes(claim), claim);
      assert.equal(JSON.stringify(token_endpoint_auth_signing_alg_values_supported).includes("HS"), false);
    },
  );

  // --- Signing out at the app's request ---------------------------------------------------------------------------

  check(
    "a hint of this very session needs no second click, every other one asks (RP-Initiated Logout 2, T-OUT-4)",
    async (journey) => {
      const { web, client, register } = journey;
      const leaving = { post_logout_redirect_uri: HOME, state: "a&b" };
      const second = await register(webApp("Second"));
      const browser = client();
      const hint = await idTokenText(journey, await walk(journey, browser, web, { scope: "openid" }));
      const elsewhere = await idTokenText(journey, await walk(journey, client(), web, { scope: "openid" }));
      const others = await idTokenText(journey, await walk(journey, client(), web, { scope: "openid" }, OTHER_EMAIL));
      const elsewhereApp = await idTokenText(journey, await walk(journey, client(), second, { scope: "openid" }));
      const rows: Parameters = {
        "the same person's on another device": elsewhere,
        "another person's": others,
        "an app's that is not in this session": elsewhereApp,
      };
      for (const [name, id_token_hint] of Object.entries(rows)) {
        const page = await signOut(browser, { ...leaving, id_token_hint });
        assert.deepEqual([page.status, page.text.includes("data-answered")], [200, false], name);
        assert.match(page.text, new RegExp(EMAIL), name);
      }
      for (const parameters of [{}, leaving, { client_id: web.id }, { ...leaving, client_id: web.id }]) {
        const page = await signOut(browser, parameters);
        assert.deepEqual([page.status, page.text.includes("data-answered")], [200, false], "no hint");
      }
      assert.match((await browser.get("/account")).text, new RegExp(EMAIL), "asking ended nothing");
      const extra = { client_id: web.id, ui_locales: "de", logout_hint: EMAIL, unheard_of: "1" };
      await later(1200, async () => {
        const expired = await signOut(browser, { ...leaving, id_token_hint: hint });
        assert.match(expired.text, /data-answered/, "an expired hint serves");
      });
      const page = await signOut(browser, { ...leaving, ...extra, id_token_hint: hint });
      assert.match(page.text, /data-answered/);
      assert.match(page.text, /<html[^>]* lang="de"/);
      const done = await browser.submit(page, { logout: "yes" }, { match: "xsrf" });
      assert.deepEqual([done.status, done.location], [303, `${HOME}?state=a%26b`]);
      const twice = await browser.submit(page, { logout: "yes" }, { match: "xsrf" });
      assert.deepEqual([twice.status, twice.location], [400, undefined], "the same form again does nothing (T-OUT-4)");
      assert.equal(errorOf(await ask(journey, browser, web, { prompt: "none" })), "login_required");
      // Nobody is signed in any more: the same request goes on to the app, without a question to anyone (2.1).
      const again = await signOut(browser, { ...leaving, id_token_hint: hint });
      const through = await browser.submit(again, {}, { match: "xsrf" });
      assert.equal(through.location, `${HOME}?state=a%26b`);
    },
  );

  checkOnce(
    "where signing out may lead: registered addresses of a named client, to the letter (RP-Initiated Logout 2, 3, T-OUT-3)",
    async (journey) => {
      const { client, register } = journey;
      const more = "https://app.example/bye?from=signet";
      const app = await register({ ...webApp("Leaves"), post_logout_redirect_uris: [HOME, more] });
      const other = await register(webApp("Stays"));
      const browser = client();
      const hint = await idTokenText(journey, await walk(journey, browser, app, { scope: "openid" }));
      const accepted: readonly (readonly [Parameters, string])[] = [
        [{ post_logout_redirect_uri: HOME }, HOME],
        [{ post_logout_redirect_uri: HOME, state: "" }, HOME],
        [{ post_logout_redirect_uri: more, state: "s" }, `${more}&state=s`],
        [{ state: "only" }, "/logout/success"],
        [{}, "/logout/success"],
      ];
      for (const [parameters, end] of accepted) {
        for (const by of [{ id_token_hint: hint }, { client_id: app.id }, { id_token_hint: hint, client_id: app.id }]) {
          // Nobody is signed in here: the question is about nobody, the addresses are checked all the same.
          const own = client();
          const done = await own.submit(
            await signOut(own, { ...parameters, ...by }),
            { logout: "yes" },
            { match: "xsrf" },
          );
          assert.equal(done.location, new URL(end, journey.issuer).href, JSON.stringify([parameters, Object.keys(by)]));
        }
      }
      const refused = [
        "https://app.example",
        "https://app.example/?",
        "https://app.example/x",
        "https://APP.example/",
        "http://app.example/",
        "https://app.example/#x",
        "https://app.example/bye",
        "https://evil.example/",
        "//app.example/",
        "javascript:alert(1)",
      ];
      for (const post_logout_redirect_uri of refused)
        for (const by of [{ id_token_hint: hint }, { client_id: app.id }]) {
          const page = await signOut(browser, { post_logout_redirect_uri, ...by });
          assert.deepEqual([page.status, page.location], [400, undefined], post_logout_redirect_uri);
        }
      // Without a client there is nothing to check it against: the address is not followed (section 3).
      const nameless = await signOut(browser, { post_logout_redirect_uri: HOME, state: "s" });
      const done = await browser.submit(nameless, { logout: "yes" }, { match: "xsrf" });
      assert.equal(done.location, `${journey.issuer}/logout/success`);
      assert.equal(
        (await signOut(client(), { id_token_hint: hint, client_id: other.id })).status,
        400,
        "client_id differs from aud",
      );
      assert.equal((await signOut(client(), { client_id: "cl_nobody", post_logout_redirect_uri: HOME })).status, 400);
    },
  );

  checkOnce(
    "a request from another site shows a question and ends nothing (RP-Initiated Logout 6, T-OUT-1)",
    async (journey) => {
      const { web, client } = journey;
      const browser = client();
      await walk(journey, browser, web, { scope: "openid" });
      const foreign = { origin: "https://evil.example", "sec-fetch-site": "cross-site", accept: "text/html" };
      for (const answer of [
        await browser.get("/logout", foreign),
        await browser.get(`/logout?client_id=${web.id}&logout=yes&xsrf=x`, foreign),
        await browser.follow(await browser.post("/logout", { logout: "yes" }, foreign)),
      ]) {
        assert.match(answer.text, /Sign out\?/);
        assert.equal(answer.text.includes("data-answered"), false);
      }
      for (const fields of [{ logout: "yes" }, { logout: "yes", xsrf: "" }, { logout: "yes", xsrf: "x".repeat(43) }])
        assert.equal((await browser.post("/logout/confirm", fields, foreign)).status, 400);
      assert.match((await browser.get("/account")).text, new RegExp(EMAIL));
    },
  );

  checkOnce(
    "a hint that is not ours is refused, and nobody is signed out by it (RP-Initiated Logout 4)",
    async (journey) => {
      const { web, client, issuer, userId } = journey;
      const browser = client();
      const hint = await idTokenText(journey, await walk(journey, browser, web, { scope: "openid" }));
      const [header = "", payload = "", signature = ""] = hint.split(".");
      const flipped = `${signature.slice(0, -4)}${signature.endsWith("AAAA") ? "BBBB" : "AAAA"}`;
      const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
      const claims = { sub: userId, iss: issuer, aud: web.id };
      for (const [name, id_token_hint] of Object.entries({
        unsigned: new UnsecuredJWT(claims).encode(),
        "without its signature": `${header}.${payload}.`,
        modified: `${header}.${payload}.${flipped}`,
        "signed by somebody else": await signed(privateKey, "RS256", claims),
        "of an unknown client": await signed(privateKey, "RS256", { ...claims, aud: "cl_nobody" }),
        garbage: "garbage",
      })) {
        const page = await signOut(browser, { id_token_hint, post_logout_redirect_uri: HOME });
        assert.equal(page.status, 400, name);
        assert.equal(page.text.includes("data-answered"), false);
      }
      assert.match((await browser.get("/account")).text, new RegExp(EMAIL));
    },
  );
}

// --- A client's side of the protocol, by hand ---------------------------------------------------------------------

function webApp(name: string): Record<string, unknown> {
  return { client_type: "web", client_name: name, redirect_uris: [CALLBACK], post_logout_redirect_uris: [HOME] };
}

async function request(client: Registered, verifier: string): Promise<Record<string, string>> {
  return {
    client_id: client.id,
    response_type: "code",
    redirect_uri: CALLBACK,
    scope: "openid",
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  };
}

/** The first answer that is not a redirect inside Signet. */
async function ask(_journey: Journey, browser: Client, client: Registered, parameters: Parameters): Promise<Answer> {
  const all = { ...(await request(client, openid.randomPKCECodeVerifier())), ...parameters };
  return browser.follow(await browser.get(`/authorize?${new URLSearchParams(all)}`));
}

/** Answers every page as a person who agrees, until the browser is sent back to the app. */
async function walk(
  _journey: Journey,
  browser: Client,
  client: Registered,
  parameters: Parameters,
  email = EMAIL,
  tick: readonly string[] = [],
): Promise<Walk> {
  const verifier = openid.randomPKCECodeVerifier();
  const all = { ...(await request(client, verifier)), ...parameters };
  const page = await browser.follow(await browser.get(`/authorize?${new URLSearchParams(all)}`));
  return { client, browser, verifier, ...(await finish(browser, page, email, tick)) };
}

async function finish(
  browser: Client,
  begun: Answer,
  email: string,
  tick: readonly string[],
): Promise<{ back: URL; pages: readonly string[] }> {
  const pages: string[] = [];
  let page = begun;
  while (page.location === undefined && pages.length < 5) {
    pages.push(title(page));
    const [match, fields] = page.text.includes('name="password"')
      ? ['name="password"', { email, password: PASSWORD }]
      : page.text.includes('value="allow"')
        ? ['value="allow"', { decision: "allow", ...(tick[0] === undefined ? {} : { scope: tick[0] }) }]
        : ["xsrf", {}];
    page = await browser.follow(await browser.submit(page, fields as Parameters, { match: String(match) }));
  }
  assert.ok(page.location !== undefined, `the walk ended on a page: ${page.status} ${title(page)}`);
  return { back: new URL(page.location), pages: pages.filter((name) => name !== "Submitting Callback") };
}

function errorOf(answer: Answer): string | null {
  assert.ok(answer.location !== undefined, `a page instead of an answer to the app: ${answer.status} ${title(answer)}`);
  return new URL(answer.location).searchParams.get("error");
}

function codeOf(answer: Answer): string | null {
  return new URL(answer.location ?? "http://none").searchParams.get("code");
}

/** Names of the scopes that the consent page asks about, by the words of the catalogue. */
function asked(page: Answer): readonly string[] {
  const titles = { openid: /it is you/, profile: /profile/i, email: /e-mail address/i, phone: /phone/i };
  const shown = [...page.text.matchAll(/class="scope-title">([^<]*)</g)].map(([, text = ""]) => decodeEntities(text));
  return shown.map((text) => Object.entries(titles).find(([, words]) => words.test(text))?.[0] ?? text);
}

function basicOf(client: Registered): string {
  const pair = [client.id, client.secret ?? ""].map((part) => encodeURIComponent(part)).join(":");
  return `Basic ${Buffer.from(pair).toString("base64")}`;
}

function codeFields({ back, verifier }: Walk): Record<string, string> {
  const code = back.searchParams.get("code") ?? `none: ${back.search}`;
  return { grant_type: "authorization_code", code, redirect_uri: CALLBACK, code_verifier: verifier };
}

async function exchange(journey: Journey, client: Registered, fields: Parameters): Promise<Answer> {
  return journey.client().post("/token", fields, { authorization: basicOf(client) });
}

async function redeem(journey: Journey, walked: Walk): Promise<Record<string, unknown>> {
  const answer = await exchange(journey, walked.client, codeFields(walked));
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
}

async function refresh(
  journey: Journey,
  client: Registered,
  refresh_token: string,
  more: Parameters = {},
): Promise<Record<string, unknown>> {
  const answer = await exchange(journey, client, { grant_type: "refresh_token", refresh_token, ...more });
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
}

async function idTokenText(journey: Journey, walked: Walk): Promise<string> {
  return String((await redeem(journey, walked))["id_token"]);
}

async function idTokenOf(journey: Journey, walked: Walk): Promise<JWTPayload> {
  return decodeJwt(await idTokenText(journey, walked));
}

async function userinfo(journey: Journey, token: string): Promise<Record<string, unknown>> {
  const answer = await journey.client().get("/userinfo", { authorization: `Bearer ${token}` });
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
}

async function userinfoOf(journey: Journey, walked: Walk): Promise<Record<string, unknown>> {
  return userinfo(journey, String((await redeem(journey, walked))["access_token"]));
}

async function signOut(browser: Client, parameters: Parameters): Promise<Answer> {
  return browser.get(`/logout?${new URLSearchParams(parameters)}`, { accept: "text/html" });
}

function signed(key: KeyObject, alg: string, claims: JWTPayload): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg }).setIssuedAt().setExpirationTime("1m").sign(key);
}

async function halfHash(token: string): Promise<string> {
  const digest = Buffer.from(await crypto.subtle.digest("SHA-256", Buffer.from(token)));
  return digest.subarray(0, 16).toString("base64url");
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}

/** Runs the function with every clock of this process moved: Signet's, the libraries' and the test's. */
async function later(byS: number, run: () => Promise<void>): Promise<void> {
  shiftTime(byS);
  try {
    await run();
  } finally {
    shiftTime(0);
  }
}
