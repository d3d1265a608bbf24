/** Hostile requests over every endpoint: each row names the exact answer. Both engines answer alike. */
import assert from "node:assert/strict";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { test } from "node:test";
import { engines } from "../support.ts";
import {
  bare,
  challenge,
  csp,
  type Expected,
  faultsOf,
  json,
  looseOf,
  page,
  SECURITY_HEADERS,
  says,
  to,
} from "./hostile.ts";
import { type Ground, prepareGround } from "./hostile-ground.ts";
import { GROUPS, runGroup } from "./hostile-table.ts";
import { beginJourney } from "./journey.ts";

const ROWS_MIN = 200;
/** Ten times what the long run holds the table to, so that a busy machine fails no right program. */
const LAG_MS_MAX = 500;
const VALUE_CHARS_MAX = 513;
/** Two rows break their body off after the headers were read; Koa reports that the answer had nobody to go to. */
const BODY_BROKEN = /"error":"Parse Error: [^"]+","msg":"the answer could not be sent"/;

for (const { engine, skip } of await engines()) {
  let prepared: Promise<Ground> | undefined;
  const ground = (): Promise<Ground> => {
    prepared ??= beginJourney(engine).then(prepareGround);
    return prepared;
  };
  const lag = monitorEventLoopDelay({ resolution: 10 });
  const counts: [string, number][] = [];
  const loose: string[] = [];
  for (const group of GROUPS) {
    test(`hostile requests: ${group.name} (${engine})`, { skip }, async (t) => {
      const own = await ground();
      lag.enable();
      const { count, faults, loose: open } = await runGroup(group, own);
      lag.disable();
      counts.push([group.name, count]);
      loose.push(...open);
      t.diagnostic(`${count} rows`);
      assert.ok(faults.length === 0, `${faults.length} faults:\n${faults.join("\n")}`);
    });
  }

  test(`hostile requests: none was a fault of ours, none held the others up, and each is one line of the log (T-DOS-7, T-LOG-1, ${engine})`, {
    skip,
  }, async (t) => {
    const { journey } = await ground();
    const p99 = Math.round(lag.percentile(99) / 1e6);
    const total = counts.reduce((sum, [, count]) => sum + count, 0);
    for (const [name, count] of counts) t.diagnostic(`${String(count).padStart(5)}  ${name}`);
    t.diagnostic(
      `${total} rows in all, ${loose.length} with a looser expectation than exactly this, event loop p99 ${p99} ms`,
    );
    assert.deepEqual(loose, [], "each row says exactly what is answered");
    assert.ok(total >= ROWS_MIN, `${total} rows`);
    assert.ok(p99 < LAG_MS_MAX, `the event loop was held up for ${p99} ms`);
    const bad = journey.lines.filter((line) => /"level":"error"/.test(line) && !BODY_BROKEN.test(line));
    assert.deepEqual(bad, []);
    for (const line of journey.lines) {
      assert.match(line, /^[^\p{Cc}]+\n$/u);
      const values = Object.values(JSON.parse(line) as Record<string, unknown>);
      assert.ok(
        values.every((value) => typeof value !== "string" || value.length <= VALUE_CHARS_MAX),
        line,
      );
    }
    assert.ok(
      journey.lines.some((line) => line.includes('"path":"/:id"')),
      "a path of 4,000 characters is logged as one long id",
    );
  });
}

test("a row that leaves open what is answered is found, whichever way it does", () => {
  const typed = { "content-type": "application/json; charset=utf-8" };
  const loose: readonly Expected[] = [
    { status: 200, isLoose: true, headers: typed },
    { status: 200, error: null, headers: typed },
    { status: 200, error: null, headers: typed, body: /"active":true/ },
    { status: 200, error: null, headers: typed, body: /^\{.*\}$/ },
    { status: 200, headers: typed, body: /^a|b$/ },
    { status: 200, error: null, headers: typed, members: { sub: /./ } },
    { status: 200, error: null, headers: typed, members: { sub: /^[^"]+$/ } },
    { status: 200, body: "{}" },
    { status: 200, page: "account.nobody" },
    { status: 400, isBare: true },
    { status: 400, isBare: true, headers: {} },
    { status: 400, isBare: true, body: "" },
    json(401, "invalid_client"),
    json(401, "invalid_client", { "www-authenticate": /^Basic realm="/ }),
    json(405, "invalid_request", { allow: /POST/ }),
    to(/^https:\/\/app\.example\//),
  ];
  const row = (expect: Expected) => ({ name: "", path: "/", expect });
  for (const expect of loose) assert.equal(looseOf(row(expect)).length, 1, JSON.stringify(expect));
  const exact = [
    says({ active: true, iat: /^\d{10}$/ }),
    says("{}"),
    bare(400),
    page(404, "error.page_not_found.title"),
    to(/^\/interaction\/[\w-]{21,64}$/),
    json(401, "invalid_client", { "www-authenticate": challenge("Basic", "https://id.example") }),
  ];
  for (const expect of exact) assert.deepEqual(looseOf(row(expect)), [], JSON.stringify(expect));
});

test("an answer that says more than its row, or less, is a fault", () => {
  const got = (status: number, headers: Record<string, string>, text: string) => ({ status, headers, text, ms: 1 });
  const security = Object.fromEntries(
    Object.entries(SECURITY_HEADERS).flatMap(([name, value]) => (typeof value === "string" ? [[name, value]] : [])),
  );
  const all = { ...security, "x-request-id": "a".repeat(12), "content-type": "application/json; charset=utf-8" };
  const expect = says({ active: true, sub: "u" });
  const text = JSON.stringify({ active: true, sub: "u" });
  assert.deepEqual(faultsOf(expect, got(200, all, text)), []);
  for (const [what, wanted, answer] of [
    ["a member more", expect, got(200, all, JSON.stringify({ active: true, sub: "u", scope: "x" }))],
    ["a member less", expect, got(200, all, JSON.stringify({ active: true }))],
    ["a challenge", expect, got(200, { ...all, "www-authenticate": "Basic" }, text)],
    ["a wider policy", expect, got(200, { ...all, "content-security-policy": csp("https://evil.example") }, text)],
    ["a header of nobody's", bare(400), got(400, { connection: "close", server: "x" }, "")],
    ["a body of nobody's", bare(400), got(400, { connection: "close" }, "x")],
  ] as const)
    assert.equal(faultsOf(wanted, answer).length, 1, what);
});
