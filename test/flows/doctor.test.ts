/** `signet doctor` as a process: each planted fault is named with what mends it, and a sound installation has none. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { randomText } from "../../src/secrets.ts";
import { CHECKOUT, nodeArgs } from "../ladder.ts";
import { ownRedis, startSignet, withoutRedis } from "../support.ts";

interface Finding {
  readonly check: string;
  readonly level: "ok" | "warning" | "fault";
  readonly cause: string;
  readonly mend?: string;
}

function doctor(
  env: Readonly<Record<string, string>>,
  ...flags: string[]
): Promise<{ code: number; findings: readonly Finding[]; text: string }> {
  return new Promise((resolve) => {
    const options = { cwd: CHECKOUT, env: { PATH: process.env["PATH"] ?? "", ...env } };
    execFile(
      process.execPath,
      [...nodeArgs("src/main.ts"), "doctor", "--json", ...flags],
      options,
      (error, stdout, stderr) => {
        const code = error === null ? 0 : Number(error.code);
        resolve({ code, findings: stdout === "" ? [] : JSON.parse(stdout), text: stdout + stderr });
      },
    );
  });
}

const signet = startSignet({ engine: "postgres" });

test("a sound installation has no fault, and the running server is found from outside", async () => {
  const { env } = await signet;
  const { code, findings, text } = await doctor(env);
  assert.equal(code, 0, text);
  assert.deepEqual(
    findings.filter(({ level }) => level === "fault"),
    [],
  );
  for (const check of [
    "node",
    "configuration",
    "postgres",
    "clock of postgres",
    "migrations",
    "keys",
    "redis",
    "mail",
    "hashing",
    "issuer",
  ]) {
    assert.ok(
      findings.some((finding) => finding.check === check),
      `${check} is missing`,
    );
  }
  assert.equal(findings.find(({ check }) => check === "issuer")?.level, "ok");
  assert.equal((await doctor(env, "--live")).code, 0);
});

test("planted faults are named, each with what mends it", async () => {
  const { env } = await signet;
  const planted: readonly (readonly [Record<string, string>, string, RegExp])[] = [
    [{ SECRET_KEY: randomText() }, "keys", /SECRET_KEY/],
    [{ DATABASE_URL: "postgres://nobody:x@127.0.0.1:1/x" }, "postgres", /ECONNREFUSED/],
    [{ REDIS_URL: "redis://127.0.0.1:1" }, "redis", /ECONNREFUSED/],
    [{ ISSUER: "http://id.example.com" }, "configuration", /https/],
    [{ SMTP_URL: "smtp://127.0.0.1:1" }, "mail", /127\.0\.0\.1:1 does not: ECONNECTION|ESOCKET/],
    [{ PORT: "1" }, "live", /does not answer/],
  ];
  for (const [fault, check, cause] of planted) {
    const { code, findings, text } = await doctor({ ...env, ...fault }, ...(check === "live" ? ["--live"] : []));
    const found = findings.find((finding) => finding.check === check && finding.level === "fault");
    assert.equal(code, 1, text);
    assert.match(found?.cause ?? text, cause);
    assert.ok((found?.mend ?? "").length > 0);
  }
});

test("a Redis that may evict or forgets at its restart is found", { skip: await withoutRedis() }, async () => {
  const { env } = await signet;
  const redis = await ownRedis(["--maxmemory-policy", "allkeys-lru"]);
  assert.ok(redis !== undefined);
  const { findings } = await doctor({ ...env, REDIS_URL: redis.url });
  assert.match(findings.find(({ check }) => check === "redis eviction")?.cause ?? "", /allkeys-lru/);
  assert.equal(findings.find(({ check }) => check === "redis persistence")?.level, "warning");
});

test("what it is not asked is a usage fault", async () => {
  assert.equal((await doctor({}, "--heal")).code, 2);
});
