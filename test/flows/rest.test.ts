/** The REST API over HTTP: who may, what is refused and how, what two at once get, and what each operation does. One server for all of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { importJWK, SignJWT } from "jose";
import { run as runCommandLine } from "../../src/main.ts";
import type { Operation } from "../../src/rest/operation.ts";
import { type Answer, eventually, listen } from "../support.ts";
import { ADMIN, BY, type Ground, openGround, ROLES, type RoleName } from "./admin.ts";
import { basic } from "./faults.ts";
import { API, CALLBACK, EMAIL, tokensOf } from "./journey.ts";

let opened: Promise<Ground> | undefined;
const ground = (): Promise<Ground> => {
  opened ??= openGround();
  return opened;
};

/** What each built-in role reaches, written down apart from the migration that gives it. */
const REACH: Readonly<Record<RoleName | "none", (scope: string) => boolean>> = {
  owner: () => true,
  admin: (scope) => !["roles:write", "keys:write", "settings:write"].includes(scope),
  auditor: (scope) => scope.endsWith(":read"),
  support: (scope) =>
    ["users:read", "sessions:read", "sessions:write", "grants:read", "grants:write", "consents:read"].includes(scope) ||
    ["consents:write", "mail:read"].includes(scope),
  none: () => false,
};
const NOBODY = "00000000-0000-4000-8000-00000000dead";
const WEB = { client_type: "web", client_name: "Harbor Notes", redirect_uris: [CALLBACK] };

/** The path with ids that nothing has. */
function nowhere({ path }: Operation): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => (name.endsWith("_id") ? NOBODY : "nothing"));
}

function isProblem(answer: Answer, status: number, code?: string): void {
  assert.equal(answer.status, status, answer.text);
  assert.match(String(answer.headers["content-type"]), /^application\/problem\+json/);
  const problem = answer.json();
  assert.equal(problem["status"], status);
  assert.equal(problem["type"], `urn:signet:problem:${String(problem["code"])}`);
  assert.equal(problem["request_id"], answer.headers["x-request-id"]);
  if (code !== undefined) assert.equal(problem["code"], code, answer.text);
}

function linesOf(answer: Answer): readonly Readonly<Record<string, unknown>>[] {
  const lines = answer.text.split("\n");
  assert.equal(lines.pop(), "", "the last line ends");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

function fieldsOf(answer: Answer): readonly string[] {
  return ((answer.json()["errors"] ?? []) as { field: string }[]).map(({ field }) => field);
}

test("every route times every role: exactly the table, everything else is refused by name (T-API-4)", async () => {
  const { call, tokens, operations } = await ground();
  assert.ok(operations.length >= 50, `${operations.length} operations`);
  assert.equal(new Set(operations.map(({ id }) => id)).size, operations.length);
  for (const operation of operations)
    for (const role of [...ROLES, "none"] as const) {
      const answer = await call(tokens[role], operation.method, nowhere(operation));
      const place = `${role} ${operation.method} ${operation.path}: ${answer.status} ${answer.text.slice(0, 200)}`;
      assert.ok(answer.status < 500, place);
      if (REACH[role](operation.scope)) assert.ok(![401, 403].includes(answer.status), place);
      else {
        assert.equal(answer.json()["code"], "scope_missing", place);
        assert.ok(String(answer.headers["www-authenticate"]).includes(`scope="${operation.scope}"`), place);
      }
    }
});

test("no route answers without a token, and none to a token that is not for it (T-API-1, T-API-2, T-API-9)", async () => {
  const here = await ground();
  const { call, operations, issuer, service, party, web, client, createUser, app } = here;
  for (const { method, path } of operations) {
    const answer = await call(undefined, method, path.replace(/\{\w+\}/g, "x"));
    isProblem(answer, 401, "token_missing");
    assert.equal(answer.headers["www-authenticate"], 'Bearer realm="signet"');
  }
  const browser = client();
  const tokens = await tokensOf(browser, await party(web), {
    scope: "openid read:things",
    parameters: { resource: API },
  });
  const [key] = service.keyring.current().signing.filter(({ algorithm }) => algorithm === "ES256");
  assert.ok(key !== undefined, "there is a key");
  const signed = async (claims: Record<string, unknown>, expiresIn: number): Promise<string> =>
    new SignJWT({ client_id: web.id, scope: "clients:read", sgn: "..0.0", jti: "x", ...claims })
      .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid: String(key.kid) })
      .setIssuer(issuer)
      .setSubject(here.people.owner)
      .setIssuedAt(Math.floor(Date.now() / 1000) - 700)
      .setExpirationTime(Math.floor(Date.now() / 1000) + expiresIn)
      .sign(await importJWK(key.privateJwk, "ES256"));
  const leaver = "leaver@lindqvist.example";
  const leaverId = await createUser(leaver);
  await service.roles.grant({ kind: "user", id: leaverId }, "admin", BY);
  const scope = "openid clients:read";
  const gone = await tokensOf(client(), await party(app), { email: leaver, scope, parameters: { resource: ADMIN } });
  assert.equal((await call(gone.access_token, "GET", "/clients")).status, 200);
  await service.users.setDisabled(leaverId, true, BY);
  const bad: Readonly<Record<string, string>> = {
    "another audience": tokens.access_token,
    "an ID token": tokens.id_token ?? "",
    expired: await signed({ aud: ADMIN }, -100),
    "of somebody who is disabled": gone.access_token,
    "changed by a letter": here.tokens.owner.replace(
      /\.([\w-]{3})([\w-])([\w-]+)$/,
      (_, head, one, tail) => `.${head}${one === "A" ? "B" : "A"}${tail}`,
    ),
    "no token at all": "x",
  };
  for (const [index, { method, path }] of operations.entries()) {
    const headers = { "x-forwarded-for": `198.51.100.${index}` };
    for (const [kind, token] of Object.entries(bad)) {
      const answer = await call(token, method, path.replace(/\{\w+\}/g, "x"), { headers });
      assert.equal(answer.json()["code"], "token_invalid", `${kind} at ${method} ${path}: ${answer.text}`);
      assert.match(String(answer.headers["www-authenticate"]), /error="invalid_token"/);
    }
  }
  // The cookie of a signed-in browser is nothing here, from whatever site the request came.
  const byCookie = await browser.request({
    ...{ method: "POST", url: "/api/v1/clients", body: JSON.stringify(WEB) },
    headers: { "content-type": "application/json", origin: "https://evil.example" },
  });
  isProblem(byCookie, 401, "token_missing");
  assert.equal(byCookie.headers["access-control-allow-origin"], undefined);
  const wrong = async () => call("x", "GET", "/clients", { headers: { "x-forwarded-for": "203.0.113.9" } });
  let last = await wrong();
  for (let count = 0; count < 110 && last.status === 401; count += 1) last = await wrong();
  isProblem(last, 429, "rest_throttled");
  assert.ok(Number(last.headers["retry-after"]) > 0, "it says how long");
});

test("a user's id is one text: in other letters it is nobody's, and nothing half happens (T-API-3)", async () => {
  const { call, tokens, people } = await ground();
  const loud = String(people.support).toUpperCase();
  assert.notEqual(loud, people.support, "there are letters in it");
  for (const [method, path] of [
    ["DELETE", `/users/${loud}/sessions`],
    ["GET", `/users/${loud}`],
    ["DELETE", `/users/${loud}/consents/x`],
  ] as const)
    isProblem(await call(tokens.owner, method, path), 404, "user_unknown");
});

test("a text without an end takes no time to refuse (T-API-8)", async () => {
  const { call, tokens } = await ground();
  const began = performance.now();
  const answer = await call(tokens.owner, "POST", "/clients", { text: `"${'\\"'.repeat(32_000)}` });
  isProblem(answer, 400, "request_malformed");
  const ms = performance.now() - began;
  assert.equal(ms < 1000, true, `${ms} ms`);
});

test("foreign, guessed and numeric ids, other methods and other paths are told apart (T-API-3)", async () => {
  const { call, tokens, operations } = await ground();
  for (const operation of operations.filter(
    ({ path }) => path.includes("{") && !path.startsWith("/apis/{api_id}/scopes/{"),
  ))
    for (const id of [NOBODY, "1", "..%2f", "%00", "%ff", "'%20or%20true--"]) {
      const path = operation.path.replace(/\{\w+\}/g, id);
      const answer = await call(tokens.owner, operation.method, path);
      const isShape =
        answer.status === 400 && answer.json()["code"] === "request_invalid" && operation.body !== undefined;
      assert.ok(answer.status === 404 || isShape, `${operation.method} ${path}: ${answer.status} ${answer.text}`);
    }
  isProblem(await call(tokens.owner, "GET", "/nothing"), 404, "resource_unknown");
  const wrong = await call(tokens.owner, "PUT", "/clients");
  isProblem(wrong, 405, "method_not_allowed");
  assert.equal(wrong.headers["allow"], "GET, POST");
});

test("nobody gives more than they hold, and the last owner stays, also when two go at once (T-API-5)", async () => {
  const { call, tokens, people, service, createUser, party, app, client } = await ground();
  for (const [path, method] of [
    [`/users/${people.admin}/roles/owner`, "PUT"],
    [`/users/${people.support}/roles/support`, "DELETE"],
  ] as const)
    isProblem(await call(tokens.admin, method, path), 403, "scope_missing");
  // Nor a client through which whoever holds more acts: its redirects and secrets are theirs.
  for (const [method, path, body] of [
    ["PATCH", `/clients/${app.id}`, { redirect_uris: ["https://evil.example/cb"] }],
    ["POST", `/clients/${app.id}/secrets`, {}],
    ["POST", `/clients/${app.id}/enable`, undefined],
    ["DELETE", `/clients/${app.id}`, undefined],
  ] as const)
    isProblem(await call(tokens.admin, method, path, { body }), 403, "reach_exceeded");
  // An administrator reaches nobody who holds more: neither by address nor by password nor by deletion.
  for (const [method, path, body] of [
    ["PATCH", `/users/${people.owner}`, { email: "mine@evil.example" }],
    ["POST", `/users/${people.owner}/disable`, undefined],
    ["POST", `/users/${people.owner}/reset-password`, undefined],
    ["DELETE", `/users/${people.owner}`, undefined],
  ] as const)
    isProblem(await call(tokens.admin, method, path, { body }), 403, "reach_exceeded");
  const wide = { ...WEB, apis: [{ identifier: ADMIN, scopes: ["keys:write"] }] };
  isProblem(await call(tokens.admin, "POST", "/clients", { body: wide }), 403, "reach_exceeded");
  const whole = await call(tokens.admin, "POST", "/clients", { body: { ...WEB, apis: [{ identifier: ADMIN }] } });
  isProblem(whole, 400, "client_invalid");
  assert.deepEqual(fieldsOf(whole), ["apis"]);
  // Somebody who may give roles, and holds little besides.
  await service.roles.create(
    { name: "giver", permissions: [{ identifier: ADMIN, scopes: ["roles:write", "roles:read", "users:read"] }] },
    BY,
  );
  const email = "giver@lindqvist.example";
  const giverId = await createUser(email);
  await service.roles.grant({ kind: "user", id: giverId }, "giver", BY);
  const scope = "openid roles:write roles:read users:read";
  const giver = (await tokensOf(client(), await party(app), { email, scope, parameters: { resource: ADMIN } }))
    .access_token;
  const permissions = [{ identifier: ADMIN, scopes: ["clients:write"] }];
  isProblem(await call(giver, "PUT", `/users/${giverId}/roles/owner`), 403, "reach_exceeded");
  isProblem(await call(giver, "POST", "/roles", { body: { name: "more", permissions } }), 403, "reach_exceeded");
  isProblem(await call(giver, "PATCH", "/roles/giver", { body: { permissions } }), 403, "reach_exceeded");
  isProblem(await call(giver, "DELETE", `/users/${people.owner}/roles/owner`), 403, "reach_exceeded");
  assert.equal((await call(giver, "PUT", `/users/${people.none}/roles/giver`)).status, 200);
  assert.equal((await call(giver, "DELETE", `/users/${people.none}/roles/giver`)).status, 200);
  // Two owners take each other's role at the same moment.
  const second = await createUser("second@lindqvist.example");
  await service.roles.grant({ kind: "user", id: second }, "owner", BY);
  const both = await Promise.all([
    call(tokens.owner, "DELETE", `/users/${second}/roles/owner`),
    service.roles.revoke({ kind: "user", id: people.owner }, "owner", BY).then(
      () => "went",
      () => "stayed",
    ),
  ]);
  const outcomes = [both[0].status === 200 ? "went" : "stayed", both[1]].sort();
  assert.deepEqual(outcomes, ["stayed", "went"], both[0].text);
  await service.roles.grant({ kind: "user", id: people.owner }, "owner", BY);
  await service.roles.revoke({ kind: "user", id: second }, "owner", BY);
  for (const [method, path] of [
    ["DELETE", `/users/${people.owner}/roles/owner`],
    ["POST", `/users/${people.owner}/disable`],
    ["DELETE", `/users/${people.owner}`],
  ] as const)
    isProblem(await call(tokens.owner, method, path), 409, "user_last_owner");
});

test("what is the server's own, and what nobody knows, is refused by field (T-API-6)", async () => {
  const { call, tokens } = await ground();
  for (const field of ["id", "created_at", "secret_hash", "email_verified", "role", "roles", "password", "owner"]) {
    const answer = await call(tokens.owner, "POST", "/users", { body: { email: "six@example.com", [field]: true } });
    isProblem(answer, 400, "request_invalid");
    assert.deepEqual(fieldsOf(answer), [field]);
  }
  for (const field of ["client_id", "client_secret", "secrets", "disabled", "created_at", "request_uris"]) {
    const answer = await call(tokens.owner, "POST", "/clients", { body: { ...WEB, [field]: true } });
    isProblem(answer, 400, "request_invalid");
    assert.deepEqual(fieldsOf(answer), [field]);
  }
  const two = await call(tokens.owner, "POST", "/clients", { body: { ...WEB, client_name: "", scope: 7 } });
  assert.deepEqual(fieldsOf(two), ["client_name", "scope"]);
});

test("limits, filters and cursors are what they say or 400 (T-API-7)", async () => {
  const { call, tokens, service } = await ground();
  for (let index = 0; index < 3; index += 1)
    await service.clients.register({ ...WEB, client_name: `Page ${index}` }, BY);
  for (const query of [
    "limit=0",
    "limit=-1",
    "limit=201",
    "limit=1000000000",
    "limit=1e2",
    "sort=name",
    "limit=1&limit=2",
  ])
    assert.equal((await call(tokens.owner, "GET", `/clients?${query}`)).status, 400, query);
  assert.deepEqual(fieldsOf(await call(tokens.owner, "GET", "/clients?limit=201")), ["query.limit"]);
  for (const query of ["cursor=x", "cursor=", "cursor=MTt.AAAA", `query=%00`, "query="])
    assert.equal((await call(tokens.owner, "GET", `/clients?${query}`)).status, 400, query);
  const seen: string[] = [];
  for (let cursor = ""; ; ) {
    const page = await call(tokens.owner, "GET", `/clients?limit=2${cursor === "" ? "" : `&cursor=${cursor}`}`);
    const { data, next_cursor: next } = page.json() as { data: { client_id: string }[]; next_cursor: string | null };
    seen.push(...data.map(({ client_id: id }) => id));
    if (next === null) break;
    cursor = next;
    const forged = `${next.slice(0, -1)}${next.endsWith("A") ? "B" : "A"}`;
    isProblem(await call(tokens.owner, "GET", `/clients?cursor=${forged}`), 400, "cursor_invalid");
    isProblem(await call(tokens.owner, "GET", `/clients?query=Page&cursor=${next}`), 400, "cursor_invalid");
    isProblem(await call(tokens.owner, "GET", `/apis?cursor=${next}`), 400, "cursor_invalid");
  }
  assert.equal(new Set(seen).size, seen.length);
  assert.equal(seen.length, (await service.clients.list({ limit: 200 })).length);
});

test("malformed, oversized, deep and doubled JSON get their own 4xx (T-API-8)", async () => {
  const { call, tokens } = await ground();
  const deep = `{"a":${"[".repeat(10_000)}${"]".repeat(10_000)}}`;
  const send = (text: string, headers = {}) => call(tokens.owner, "POST", "/clients", { text, headers });
  for (const [text, status] of [
    ["{", 400],
    ['{"a":1,}', 400],
    ["", 400],
    ["null", 400],
    ["[]", 400],
    ['"text"', 400],
    [`{"client_name":"${"a".repeat(1024 * 1024)}"}`, 413],
    ['{"__proto__":{"client_name":"x"}}', 400],
    ['{"\\u005f_proto__":1}', 400],
    [deep, 400],
    ['{"client_name":"a","client_name":"b"}', 400],
    ['{"client_name":"a","client\\u005fname":"b"}', 400],
    ['{"client_name":"a\\u0000"}', 400],
    ['{"client_name":"\\ud800"}', 400],
    ['{"redirect_uris":"https://app.example/"}', 400],
    ['{"client_name":["a"]}', 400],
  ] as const) {
    isProblem(await send(text), status);
  }
  for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"])
    isProblem(await send("{}", { "content-type": type }), 415, "body_type_unsupported");
  isProblem(await send("{}", { "content-encoding": "gzip" }), 415, "body_type_unsupported");
  const unread = await call(tokens.owner, "POST", "/keys/rotate", { body: { algorithms: "ES256" } });
  assert.deepEqual(fieldsOf(unread), ["algorithms"]);
});

test("a redirect address or a key that is refused is refused at create and at both kinds of update (T-API-10)", async () => {
  const { call, tokens } = await ground();
  const made = (await call(tokens.owner, "POST", "/clients", { body: WEB })).json();
  const path = `/clients/${String(made["client_id"])}`;
  const uris = [
    ...["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "https://app.example/cb#x", "/cb"],
    ...[
      "http://app.example/cb",
      "https://*.app.example/cb",
      "https://a@app.example/cb",
      `https://a.example/${"x".repeat(2100)}`,
    ],
  ];
  const cases: readonly (readonly [string, unknown])[] = [
    ...uris.map((uri) => ["redirect_uris", [uri]] as const),
    ["redirect_uris", "https://app.example/cb"],
    ["redirect_uris", Array.from({ length: 21 }, (_, index) => `https://app.example/${index}`)],
    ["logo_uri", "javascript:alert(1)"],
    ["jwks", { keys: [{ kty: "EC", crv: "P-256", x: "x", y: "y", d: "d" }] }],
    ["jwks_uri", "http://app.example/jwks"],
    ["grant_types", ["password"]],
    ["id_token_signed_response_alg", "none"],
  ];
  for (const [field, value] of cases)
    for (const answer of [
      await call(tokens.owner, "POST", "/clients", { body: { ...WEB, [field]: value } }),
      await call(tokens.owner, "PATCH", path, { body: { [field]: value } }),
      await call(tokens.owner, "PUT", path, { body: { ...WEB, [field]: value } }),
    ]) {
      isProblem(answer, 400);
      assert.ok(
        fieldsOf(answer).some((name) => name.startsWith(field)),
        `${field}: ${answer.text}`,
      );
    }
  assert.deepEqual((await call(tokens.owner, "GET", path)).json()["redirect_uris"], [CALLBACK]);
});

test("a secret is in one answer and in no other; it is added beside the old one, and ends (T-API-11)", async () => {
  const { call, tokens, client, service } = await ground();
  const apis = [{ identifier: API, scopes: ["read:things"], default: true }];
  const body = { client_type: "service", client_name: "Robot", apis };
  const made = (await call(tokens.owner, "POST", "/clients", { body })).json();
  const [id, first] = [String(made["client_id"]), String(made["client_secret"])];
  const works = async (secret: string) =>
    (await client().post("/token", { grant_type: "client_credentials" }, basic({ id, secret }))).status === 200;
  const added = await call(tokens.owner, "POST", `/clients/${id}/secrets`, { body: { overlap: 600 } });
  assert.equal(added.status, 201, added.text);
  const second = String(added.json()["client_secret"]);
  assert.ok((await works(first)) && (await works(second)), "both work");
  const texts: string[] = [];
  for (const path of [`/clients/${id}`, "/clients", `/clients/${id}/secrets`, "/audit"])
    texts.push((await call(tokens.owner, "GET", path)).text);
  const { data } = (await call(tokens.owner, "GET", `/clients/${id}/secrets`)).json() as {
    data: { id: string; hint: string }[];
  };
  assert.equal(data.length, 2);
  const old = data.find(({ hint }) => first.endsWith(hint));
  const ended = await call(tokens.owner, "POST", `/clients/${id}/secrets/${old?.id}/expire`);
  assert.equal((ended.json()["data"] as unknown[]).length, 1, ended.text);
  assert.ok(!(await works(first)) && (await works(second)), "only the new one works");
  isProblem(await call(tokens.owner, "POST", `/clients/${id}/secrets/${NOBODY}/expire`), 404, "secret_unknown");
  const hashes = (await service.clients.find(id))?.secrets.map(({ hash }) => hash) ?? [];
  for (const secret of [first, second, ...hashes])
    for (const text of texts) assert.ok(!text.includes(secret), "never shown again");
});

test("If-Match holds for whatever has a version, and is refused where nothing has one (T-API-12)", async () => {
  const { call, tokens, createUser, service } = await ground();
  const id = await createUser("versioned@lindqvist.example");
  const read = await call(tokens.owner, "GET", `/users/${id}`);
  await service.users.update(id, { claims: { nickname: "Changed" } }, BY);
  const [stale, wild] = [String(read.headers["etag"]), '"nonsense"'];
  for (const match of [stale, wild])
    for (const [method, path] of [
      ["POST", `/users/${id}/disable`],
      ["DELETE", `/users/${id}`],
    ] as const)
      isProblem(await call(tokens.owner, method, path, { headers: { "if-match": match } }), 412, "version_changed");
  assert.equal((await service.users.find(id))?.isDisabled, false);
  const there = (await service.apis.find(API))?.id;
  const without = await call(tokens.owner, "PUT", `/apis/${there}/scopes/extra`, {
    body: { description: "Extra" },
    headers: { "if-match": wild },
  });
  isProblem(without, 400, "request_malformed");
  const fresh = await call(tokens.owner, "GET", `/users/${id}`);
  const gone = await call(tokens.owner, "DELETE", `/users/${id}`, {
    headers: { "if-match": String(fresh.headers["etag"]) },
  });
  assert.equal(gone.status, 204, gone.text);
  for (const scope of [".", ".."])
    isProblem(
      await call(tokens.owner, "POST", "/apis", {
        body: { identifier: "https://dots.example", name: "Dots", scopes: [{ scope, description: "x" }] },
      }),
      400,
    );
});

test("a POST that is sent again is not done again, and the second of two administrators is told so (T-API-12)", async () => {
  const { call, tokens, service } = await ground();
  const headers = { "idempotency-key": "once-1" };
  const body = { ...WEB, client_name: "Only one" };
  const [first, again] = [
    await call(tokens.owner, "POST", "/clients", { body, headers }),
    await call(tokens.owner, "POST", "/clients", { body, headers }),
  ];
  assert.deepEqual([first.status, again.status, again.headers["idempotency-replayed"]], [201, 201, "true"]);
  assert.equal(again.text, first.text);
  assert.equal((await service.clients.list({ limit: 10, query: "Only one" })).length, 1);
  isProblem(await call(tokens.owner, "POST", "/clients", { body: WEB, headers }), 422, "idempotency_key_reused");
  isProblem(await call(tokens.admin, "POST", "/clients", { body: {}, headers }), 400, "request_invalid");
  const rush = { "idempotency-key": "rush" };
  const many = await Promise.all(
    Array.from({ length: 8 }, () =>
      call(tokens.owner, "POST", "/clients", { body: { ...body, client_name: "Rush" }, headers: rush }),
    ),
  );
  assert.ok(
    many.every(({ status }) => status === 201 || status === 409),
    many.map(({ status }) => status).join(" "),
  );
  assert.equal((await service.clients.list({ limit: 10, query: "Rush" })).length, 1);
  isProblem(
    await call(tokens.owner, "POST", "/clients", { body, headers: { "idempotency-key": "x".repeat(256) } }),
    400,
    "idempotency_key_invalid",
  );
  // The same for every kind of thing that has a version.
  const user = await call(tokens.owner, "POST", "/users", { body: { email: "version@example.com" } });
  const api = await call(tokens.owner, "POST", "/apis", { body: { identifier: "https://v.example", name: "V" } });
  const role = await call(tokens.owner, "POST", "/roles", { body: { name: "version" } });
  for (const [path, change, other] of [
    [`/clients/${String(first.json()["client_id"])}`, { client_name: "A" }, { client_name: "B" }],
    [`/users/${String(user.json()["id"])}`, { name: "A" }, { name: "B" }],
    [`/apis/${String(api.json()["id"])}`, { name: "A" }, { name: "B" }],
    [`/roles/${String(role.json()["name"])}`, { description: "A" }, { description: "B" }],
  ] as const) {
    const read = await call(tokens.owner, "GET", path);
    const version = { "if-match": String(read.headers["etag"]) };
    assert.equal(
      (await call(tokens.owner, "GET", path, { headers: { "if-none-match": version["if-match"] } })).status,
      304,
    );
    const both = await Promise.all([
      call(tokens.owner, "PATCH", path, { body: change, headers: version }),
      call(tokens.owner, "PATCH", path, { body: other, headers: version }),
    ]);
    assert.deepEqual(
      both.map(({ status }) => status).sort(),
      [200, 412],
      `${path}: ${both.map(({ text }) => text).join()}`,
    );
    const winner = both.find(({ status }) => status === 200);
    assert.equal((await call(tokens.owner, "GET", path)).headers["etag"], winner?.headers["etag"], path);
  }
});

test("the document lists every operation, and every answer has the shape that it states", async () => {
  const { call, tokens, operations, client, people, service } = await ground();
  const document = (await client().get("/api/v1/openapi.json")).json() as {
    openapi: string;
    paths: Record<string, Record<string, { operationId: string; security: { oauth2: string[] }[] }>>;
  };
  assert.equal(document.openapi, "3.1.1");
  const listed = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId, security }]) => [
      operationId,
      method,
      path,
      security[0]?.oauth2,
    ]),
  );
  assert.deepEqual(
    listed.map(String).sort(),
    operations.map(({ id, method, path, scope }) => String([id, method.toLowerCase(), path, [scope]])).sort(),
  );
  const reference = await client().get("/api/v1", { accept: "text/html" });
  assert.equal(reference.status, 200);
  for (const { id } of operations) assert.ok(reference.text.includes(`id="${id}"`), `${id} stands in the reference`);

  const walked = new Set<string>();
  const ids: Record<string, string> = { scope: "read%3Athings", role: "walker" };
  const walk = async (id: string, body?: unknown): Promise<Record<string, unknown>> => {
    const operation = operations.find((candidate) => candidate.id === id);
    assert.ok(operation !== undefined, id);
    const path = operation.path.replace(/\{(\w+)\}/g, (_, name: string) => ids[name] ?? name);
    const answer = await call(tokens.owner, operation.method, path, { body });
    const status = operation.status ?? (operation.answer === undefined ? 204 : 200);
    assert.equal(answer.status, status, `${id} ${path}: ${answer.text}`);
    walked.add(id);
    if (operation.answer === undefined) return {};
    const isLines = operation.isLines === true;
    assert.match(String(answer.headers["content-type"]), isLines ? /^application\/jsonl/ : /^application\/json/, id);
    const lines = isLines ? linesOf(answer) : undefined;
    const shown = lines ?? (operation.isList === true ? (answer.json()["data"] as unknown[]) : [answer.json()]);
    for (const one of shown) {
      const parsed = operation.answer.safeParse(one);
      assert.ok(parsed.success, `${id}: ${parsed.error?.message} ${JSON.stringify(one)}`);
    }
    if (isLines) return {};
    return answer.json();
  };
  ids["client_id"] = String((await walk("createClient", WEB))["client_id"]);
  for (const id of ["listClients", "getClient", "disableClient", "enableClient", "listClientSecrets"]) await walk(id);
  await walk("updateClient", { client_name: "Walked" });
  await walk("replaceClient", WEB);
  ids["secret_id"] = String((await walk("addClientSecret", {}))["id"]);
  await walk("expireClientSecret", { expires_in: 60 });
  const scopes = [{ scope: "read:things" }];
  ids["api_id"] = String((await walk("createApi", { identifier: "https://walk.example", name: "Walk", scopes }))["id"]);
  for (const id of ["listApis", "getApi", "listScopes"]) await walk(id);
  await walk("updateApi", { name: "Walked" });
  await walk("replaceApi", { name: "Walk", scopes });
  assert.equal((await walk("putScope", { description: "See things" }))["description"], "See things");
  await walk("deleteScope");
  await walk("createRole", { name: "walker" });
  for (const id of ["listRoles", "getRole"]) await walk(id);
  await walk("updateRole", { description: "Walks" });
  await walk("replaceRole", { description: "Walks on" });
  ids["user_id"] = String((await walk("createUser", { email: "walk@example.com", name: "Wanda Walk" }))["id"]);
  for (const id of ["listUsers", "getUser", "disableUser", "enableUser", "resetPassword"]) await walk(id);
  await walk("updateUser", { nickname: "W" });
  await walk("inviteUser", { email: "invited@example.com" });
  for (const id of ["listUserRoles", "grantUserRole", "revokeUserRole"]) await walk(id);
  const machine = await call(tokens.owner, "POST", "/clients", {
    body: { client_type: "service", client_name: "M", apis: [{ identifier: API }] },
  });
  const webId = ids["client_id"];
  ids["client_id"] = String(machine.json()["client_id"]);
  for (const id of ["listClientRoles", "grantClientRole", "revokeClientRole", "deleteClient"]) await walk(id);
  await walk("deleteRole");
  await walk("deleteApi");
  await walkPerson();
  for (const id of ["listKeys", "rotateKeys", "listMails", "retryMails", "listAuditEvents", "getSettings"])
    await walk(id);
  for (const id of ["exportAudit", "verifyAudit", "countFailures", "listFindings", "listActivity", "getActivity"])
    await walk(id);
  const refused = await client().get("/authorize?client_id=nobody-knows-it");
  ids["failure_id"] = String(refused.headers["x-request-id"]);
  await service.failures.flush();
  assert.ok(((await walk("listFailures"))["data"] as unknown[]).length > 0, "there is a failure");
  assert.equal((await walk("getFailure"))["cause"], "client_unknown");
  const { signing } = await service.keys.list();
  ids["kid"] = signing.find(({ state }) => state === "announced")?.kid ?? "";
  await walk("revokeKey");
  const [given] = await service.db.query<{ id: string }>(
    `insert into mails (id, template, language, recipient, sealed_values, state, due_at, expires_at, created_at)
     values (gen_random_uuid(), 'notice', 'en', 'given-up@example.com', 'x', 'failed', now(), now() + interval '1 day', now()) returning id`,
  );
  ids["mail_id"] = given?.id ?? "";
  await walk("retryMail");
  await walk("deleteUser");
  assert.ok(webId !== undefined && people.owner !== "", "there were some");
  assert.deepEqual(
    operations.map(({ id }) => id).filter((id) => !walked.has(id)),
    [],
    "unlisted",
  );

  /** Somebody who is signed in at an app and has agreed to it. */
  async function walkPerson(): Promise<void> {
    const here = await ground();
    const walker = ids["user_id"] ?? "";
    ids["user_id"] = here.userId;
    ids["client_id"] = here.web.id;
    const config = await here.party(here.web);
    const scope = "openid offline_access email";
    const signInAgain = () =>
      tokensOf(here.client(), config, { email: EMAIL, scope, parameters: { prompt: "consent" } });
    await signInAgain();
    ids["grant_id"] = ((await walk("listGrants"))["data"] as { id: string }[])[0]?.id ?? "";
    await walk("endGrant");
    await walk("listConsents");
    await walk("withdrawConsent");
    ids["session_id"] = ((await walk("listSessions"))["data"] as { id: string }[])[0]?.id ?? "";
    await walk("endSession");
    await walk("endAllSessions");
    await eventually(async () => (await here.service.sessions.list({ userId: here.userId })).length === 0);
    ids["user_id"] = walker;
  }
});

test("what was done stands in the trail once, with who, from where and the request's id", async () => {
  const { call, tokens, people } = await ground();
  const made = await call(tokens.admin, "POST", "/clients", { body: WEB });
  const id = String(made.json()["client_id"]);
  const { data } = (await call(tokens.auditor, "GET", `/audit?subject=${id}`)).json() as {
    data: Record<string, unknown>[];
  };
  assert.equal(data.length, 1);
  const [event] = data;
  assert.equal(event?.["action"], "client.created");
  assert.deepEqual(event?.["actor"], { kind: "user", id: people.admin });
  assert.equal(event?.["request_id"], made.headers["x-request-id"]);
  for (const query of [
    `actor=${people.admin}&action=client.created`,
    `request_id=${String(made.headers["x-request-id"])}`,
  ])
    assert.ok((await call(tokens.auditor, "GET", `/audit?${query}`)).text.includes(id), query);
  assert.ok(!(await call(tokens.auditor, "GET", "/audit?to=2001-01-01T00:00:00Z")).text.includes(id), "long ago");
  assert.equal((await call(tokens.auditor, "GET", "/audit?from=yesterday")).status, 400);
});

test("the trail is exported page by page, its checkpoints behind its events, and verified in parts that find what was altered", async () => {
  const { call, tokens, service } = await ground();
  await service.sealer.seal(service.keyring.current().secrets.audit);
  const first = await call(tokens.auditor, "GET", "/audit/export?limit=7");
  const lines = [...linesOf(first)];
  assert.equal(lines.length, 7);
  let link = /^<\/api\/v1(\/[^>]+)>; rel="next"$/.exec(String(first.headers["link"]))?.[1];
  const forged = await call(
    tokens.auditor,
    "GET",
    String(link).replace(/.$/, (last) => (last === "A" ? "B" : "A")),
  );
  isProblem(forged, 400, "cursor_invalid");
  link = link?.replace("limit=7", "limit=1000");
  for (let pages = 0; link !== undefined; pages += 1) {
    assert.ok(pages < 20, "it ends");
    const page = await call(tokens.auditor, "GET", link);
    assert.equal(page.status, 200, page.text);
    lines.push(...linesOf(page));
    link = /^<\/api\/v1(\/[^>]+)>/.exec(String(page.headers["link"] ?? ""))?.[1];
  }
  const kinds = lines.map(({ type }) => String(type));
  assert.equal(kinds.join(" "), [...kinds].sort().reverse().join(" "), "events, then checkpoints");
  const ids = lines.filter(({ type }) => type === "event").map(({ id }) => Number(id));
  assert.deepEqual(
    ids,
    [...new Set(ids)].sort((a, b) => a - b),
    "each once, in order",
  );
  const [count] = await service.db.query<{ events: number; checkpoints: number }>(
    "select (select count(*)::int from audit_events) as events, (select count(*)::int from audit_checkpoints) as checkpoints",
  );
  assert.ok(ids.length >= Number(count?.events) - 1 && ids.length > 20, `${ids.length} of ${count?.events}`);
  assert.equal(lines.length - ids.length, count?.checkpoints);
  for (const query of ["limit=1001", "limit=0", "cursor=x", "from=yesterday"])
    isProblem(await call(tokens.auditor, "GET", `/audit/export?${query}`), 400);
  const part = linesOf(await call(tokens.auditor, "GET", "/audit/export?action=client.created"));
  assert.ok(part.length > 0 && part.every(({ action }) => action === "client.created"), "the filter holds");

  const verified = async (query: string) => (await call(tokens.auditor, "GET", `/audit/verification${query}`)).json();
  const whole = await verified("");
  assert.deepEqual([whole["intact"], whole["next_batch"]], [true, undefined]);
  assert.equal((await verified("?newest=yes"))["intact"], true);
  const later = await verified("?after_batch=1");
  assert.deepEqual([later["intact"], later["batches"]], [true, Number(whole["batches"]) - 1]);
  assert.equal((await verified("?after_batch=999999"))["intact"], false, "there is no such checkpoint");
  isProblem(await call(tokens.auditor, "GET", "/audit/verification?after_batch=-1"), 400, "request_invalid");
  // Somebody with the rights of the tables' owner.
  const tamper = (text: string) =>
    service.db.transaction(async (tx) => {
      await tx.query("alter table audit_events disable trigger all");
      await tx.query(text);
      await tx.query("alter table audit_events enable trigger all");
    });
  await tamper("update audit_events set actor_id = 'x' || coalesce(actor_id, '') where seq = 3");
  const broken = await verified("");
  assert.equal(broken["intact"], false);
  assert.match(JSON.stringify(broken["faults"]), /Event 3 .* is not what was sealed/);
  assert.equal((await verified("?after_batch=1"))["intact"], true, "the other parts hold");
  await tamper("update audit_events set actor_id = nullif(substr(actor_id, 2), '') where seq = 3");
  assert.equal((await verified(""))["intact"], true);
});

test("failures are found by client, cause, code and time, page by page, in the reader's language, and activity by client and hour", async () => {
  const { call, tokens, service, client, web } = await ground();
  for (const [index, id] of [web.id, web.id, "unknown-here", web.id].entries())
    await client().get(
      `/authorize?client_id=${id}&redirect_uri=https://wrong.example/callback&state=secret-state-${index}`,
    );
  await service.failures.flush();
  await service.activity.flush();
  const list = async (query: string) => {
    const answer = await call(tokens.auditor, "GET", `/failures?${query}`);
    assert.equal(answer.status, 200, `${query}: ${answer.text}`);
    return answer.json() as {
      data: { id: string; cause: string; client_id: string; why: string }[];
      next_cursor: string;
    };
  };
  const mine = await list(`client_id=${web.id}&cause=redirect_host`);
  assert.equal(mine.data.length, 3);
  assert.ok(
    mine.data.every((one) => one.client_id === web.id && one.why.includes("https://wrong.example/callback")),
    "quoted",
  );
  const seen = new Set<string>();
  for (let cursor = ""; ; ) {
    const page = await list(`client_id=${web.id}&cause=redirect_host&limit=1${cursor}`);
    for (const { id } of page.data) seen.add(id);
    if (page.next_cursor === null) break;
    cursor = `&cursor=${page.next_cursor}`;
  }
  assert.equal(seen.size, 3, "each once");
  assert.equal(
    (await list("client_id=")).data.every((one) => one.client_id === null),
    true,
  );
  assert.equal((await list("to=2001-01-01T00:00:00Z")).data.length, 0);
  assert.equal((await list("error=invalid_client&cause=redirect_host")).data.length, 0);
  assert.match((await list(`client_id=${web.id}&cause=redirect_host&language=de`)).data[0]?.why ?? "", /registriert/);
  for (const query of ["cause=nonsense", "language=<script>", "from=now", "client=x"])
    isProblem(await call(tokens.auditor, "GET", `/failures?${query}`), 400, "request_invalid");
  const causes = (await call(tokens.auditor, "GET", `/failure-causes?client_id=${web.id}`)).json();
  assert.ok(JSON.stringify(causes).includes('{"cause":"redirect_host","count":3}'), JSON.stringify(causes));
  const hours = (await call(tokens.auditor, "GET", `/activity?client_id=${web.id}`)).json()["data"] as {
    client_id: string;
    kind: string;
    count: number;
  }[];
  assert.ok(
    hours.some(({ kind, count }) => kind === "failure" && count >= 3),
    JSON.stringify(hours),
  );
  assert.ok(
    hours.every((one) => one.client_id === web.id),
    "of this client alone",
  );
  const series = (await call(tokens.auditor, "GET", `/activity/series?client_id=${web.id}`)).json();
  const sum = hours.reduce((total, one) => (one.kind === "failure" ? total + one.count : total), 0);
  assert.equal((series["totals"] as { failure: number }).failure, sum);
  assert.ok(!(await call(tokens.auditor, "GET", "/failures")).text.includes("secret-state"), "no state is kept");
});

test("whoever is on the host brings an owner back in, by a link that works once and a role that counts at once", async () => {
  const here = await ground();
  const email = "lost@lindqvist.example";
  const id = await here.createUser(email);
  await here.service.users.setDisabled(id, true, BY);
  const { io, said } = listen();
  assert.equal(await runCommandLine(["admin", "recover", email, "--json"], here.env, { io }), 0, said.err);
  const { link } = JSON.parse(said.out) as { link: string };
  const browser = here.client();
  const password = "another long sentence of mine";
  const page = await browser.get(link);
  assert.equal(page.status, 200);
  const set = await browser.submit(page, { password }, { match: 'name="password"' });
  assert.ok(set.status < 400, `${set.status} ${set.text.slice(0, 500)}`);
  assert.equal((await here.client().get(link)).status, 404, "once");
  const scope = "openid roles:write";
  const parameters = { resource: ADMIN };
  const tokens = await tokensOf(here.client(), await here.party(here.app), { email, password, scope, parameters });
  assert.equal(
    (await here.call(tokens.access_token, "PUT", `/users/${id}/roles/support`)).json()["code"],
    "reach_exceeded",
  );
  assert.deepEqual((await here.service.users.find(id))?.roles, ["owner"]);
  const names = (await here.call(here.tokens.owner, "GET", `/audit?subject=${id}`)).text;
  for (const name of ["user.enabled", "role.granted", "user.recovery_asked"]) assert.ok(names.includes(name), name);
  const unknown = listen();
  assert.equal(await runCommandLine(["admin", "recover", "nobody@example.com"], here.env, { io: unknown.io }), 1);
  assert.match(unknown.said.err, /user create --owner/);
  await here.service.roles.revoke({ kind: "user", id }, "owner", BY);
});
