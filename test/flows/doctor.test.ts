/** `signet doctor` as a process: each planted fault is named with what mends it, and a sound installation has none. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { type AddressInfo, BlockList } from "node:net";
import { mock, test } from "node:test";
import { doctorCommand } from "../../src/doctor.ts";
import {
  arrivalFindings,
  cookieFindings,
  FORGED_ADDRESS,
  postgresFindings,
  redisFindings,
} from "../../src/findings.ts";
import { createLog } from "../../src/log.ts";
import { randomText } from "../../src/secrets.ts";
import { CHECKOUT, nodeArgs } from "../ladder.ts";
import { atEnd, eventually, listen, ownRedis, startSignet, withoutRedis } from "../support.ts";

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
    "cookies",
    "clock of the server",
    "forwarded scheme",
    "forwarded address",
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

// --- The way from outside ----------------------------------------------------------------------------------------

type Headers = IncomingHttpHeaders & Record<string, string | string[] | undefined>;
/** What a proxy does to a request and to an answer on their way. */
interface Manners {
  readonly request?: (headers: Headers, clientAddress: string) => void;
  readonly answer?: (headers: Headers) => void;
}

/** As the snippets of the guides have it. */
const right = (headers: Headers, clientAddress: string): void => {
  headers["x-forwarded-for"] = [headers["x-forwarded-for"], clientAddress].filter(Boolean).join(", ");
  headers["x-forwarded-proto"] = "http";
};

const proxied = (async () => {
  let manners: Manners = {};
  let target = 0;
  const proxy = createServer((request, response) => {
    const headers: Headers = { ...request.headers };
    manners.request?.(headers, "198.51.100.7");
    const { method, url: path } = request;
    const onward = httpRequest({ host: "127.0.0.1", port: target, method, path, headers, agent: false }, (answer) => {
      const back: Headers = { ...answer.headers };
      manners.answer?.(back);
      response.writeHead(answer.statusCode ?? 502, back);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  atEnd(async () => {
    proxy.closeAllConnections();
    proxy.close();
  });
  const issuer = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const env = { NODE_ENV: "production", SHUTDOWN_DELAY: "0", ISSUER: issuer, TRUST_PROXY: "1" };
  const behind = await startSignet({ engine: "postgres", env });
  target = behind.port;
  const examine = async (next: Manners): Promise<readonly Finding[]> => {
    manners = next;
    const { io, said } = listen();
    const log = createLog({ level: "silent", pretty: false });
    await doctorCommand(["--json"], behind.env, { ...io, isJson: true }, log);
    return JSON.parse(said.out) as readonly Finding[];
  };
  return { ...behind, examine };
})();

/** The level of each check that is named, and that whatever is wrong says what mends it. */
function levelsOf(findings: readonly Finding[], names: readonly string[]): Record<string, string> {
  for (const { level, cause, mend } of findings)
    assert.ok(level === "ok" || (mend ?? "").length > 10, `"${cause}" says what mends it`);
  const worst = (name: string): string => {
    const levels = findings.filter(({ check }) => check === name).map(({ level }) => level);
    return ["fault", "warning", "ok"].find((level) => levels.includes(level as Finding["level"])) ?? "absent";
  };
  return Object.fromEntries(names.map((name) => [name, worst(name)]));
}

const WAY = ["issuer", "cookies", "clock of the server", "forwarded scheme", "forwarded address", "arrival"] as const;

test("through a proxy that does as it should, everything arrives, and only what the test plants is found", async () => {
  const { examine } = await proxied;
  const findings = await examine({ request: right });
  assert.deepEqual(levelsOf(findings, WAY), {
    issuer: "ok",
    // Production on plain http, which only a test has.
    cookies: "warning",
    "clock of the server": "ok",
    "forwarded scheme": "ok",
    "forwarded address": "ok",
    arrival: "absent",
  });
  assert.match(findings.find(({ check }) => check === "forwarded address")?.cause ?? "", /198\.51\.100\.7/);
});

test("each bad manner of a proxy is found, and named with what mends it", async () => {
  const { examine } = await proxied;
  const rows: readonly (readonly [Manners, Readonly<Record<string, string>>])[] = [
    [
      {
        // It passes on what the client wrote, says https of its own accord, and names the cookie's host.
        request: (headers) => {
          headers["x-forwarded-proto"] = "https";
        },
        answer: (headers) => {
          const cookies = headers["set-cookie"];
          if (cookies !== undefined) headers["set-cookie"] = cookies.map((cookie) => `${cookie}; Domain=example.com`);
          headers.date = new Date(Date.now() - 60_000).toUTCString();
        },
      },
      { cookies: "fault", "forwarded scheme": "fault", "forwarded address": "fault", "clock of the server": "fault" },
    ],
    [
      {
        request: (headers) => {
          delete headers["x-forwarded-for"];
        },
        answer: (headers) => {
          delete headers["set-cookie"];
        },
      },
      { cookies: "fault", "forwarded scheme": "ok", "forwarded address": "warning", arrival: "absent" },
    ],
    [
      {
        request: (headers, clientAddress) => {
          right(headers, clientAddress);
          delete headers["x-signet-probe"];
        },
      },
      { cookies: "warning", arrival: "warning", "forwarded address": "absent" },
    ],
    [
      {
        request: (headers) => {
          headers.host = "backend.internal";
        },
      },
      { issuer: "fault", arrival: "absent" },
    ],
  ];
  for (const [index, [manners, wanted]] of rows.entries())
    assert.deepEqual(levelsOf(await examine(manners), Object.keys(wanted)), wanted, `row ${index + 1}`);
});

test("a clock that is apart from the database's is found", async () => {
  const { examine } = await proxied;
  mock.timers.enable({ apis: ["Date"], now: Date.now() + 60_000 });
  const findings = await examine({ request: right }).finally(() => mock.timers.reset());
  assert.deepEqual(levelsOf(findings, ["clock of postgres"]), { "clock of postgres": "fault" });
});

test("the server looks at itself when it starts, and logs what it finds with cause and mend", async () => {
  const { lines, env } = await proxied;
  const found = (): readonly Record<string, unknown>[] =>
    lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ msg }) => msg === "a check at the start found something");
  await eventually(() => found().some(({ name }) => name === "postgres role"), 10_000);
  for (const { level, reason, detail } of found()) {
    assert.equal(level, "warn");
    assert.ok(String(reason).length > 10 && String(detail).length > 10, `${String(reason)}: ${String(detail)}`);
  }
  assert.deepEqual(
    found().map(({ name }) => name),
    ["cookies", "postgres role"],
  );
  assert.equal(lines.join("").includes(env["SECRET_KEY"] ?? "?"), false);
});

test("the doctor's word tells its arrival and no other", async () => {
  const { managementUrl, client } = await proxied;
  const word = "w".repeat(22);
  await client().get("/account", { "x-signet-probe": word, "x-forwarded-for": "x".repeat(5000), accept: "text/html" });
  const told = (await (await fetch(`${managementUrl}/arrivals/${word}`)).json()) as { forwardedFor: string };
  assert.equal(told.forwardedFor.length, 200);
  for (const other of ["", "x", "v".repeat(22), "__proto__"])
    assert.equal((await fetch(`${managementUrl}/arrivals/${other}`)).status, 404, other);
  assert.equal((await client().get(`/arrivals/${word}`)).status, 404, "strangers have no such page");
  for (let index = 0; index < 16; index += 1)
    await client().get("/account", { "x-signet-probe": String(index).padStart(22, "p") });
  assert.equal((await fetch(`${managementUrl}/arrivals/${word}`)).status, 404, "a bound is kept");
});

test("every judgement over facts: https, networks, versions, roles", () => {
  const https = "https://id.example";
  const plain = "signet_language=en; path=/; samesite=lax; httponly";
  const networks = new BlockList();
  networks.addSubnet("10.0.0.0", 8, "ipv4");
  const trusted = { kind: "networks", networks } as const;
  const hops = { kind: "hops", hops: 1 } as const;
  const arrived = { scheme: "https", forwardedFor: "198.51.100.7", socketAddress: "10.0.0.2", address: "198.51.100.7" };
  const facts = { version: "15.1", major: 15, isSuperuser: false, isOwner: false, clockMs: Date.now() };
  const cache = { version: "7.2.1", evictionPolicy: "noeviction", isAppendOnly: true, clockMs: Date.now() };
  const production = { isProduction: true, isEmbedded: false };
  const rows: readonly (readonly [string, readonly Finding[], readonly string[]])[] = [
    ["Secure on https", cookieFindings([`${plain}; secure`], https), []],
    ["not Secure on https", cookieFindings([plain], https), ["cookies: fault"]],
    ["no SameSite", cookieFindings(["a=b; path=/; secure; httponly"], https), ["cookies: fault"]],
    ["as it should be", arrivalFindings(arrived, https, hops), []],
    ["no scheme", arrivalFindings({ ...arrived, scheme: "" }, https, hops), ["forwarded scheme: warning"]],
    ["http forwarded", arrivalFindings({ ...arrived, scheme: "http" }, https, hops), ["forwarded scheme: fault"]],
    [
      "a proxy that is not trusted",
      arrivalFindings({ ...arrived, address: "10.0.0.2" }, https, { kind: "none" }),
      ["forwarded address: warning"],
    ],
    [
      "a proxy of another network",
      arrivalFindings({ ...arrived, socketAddress: "172.16.0.1", address: "172.16.0.1" }, https, trusted),
      ["forwarded address: warning"],
    ],
    [
      "the client's own word is believed",
      arrivalFindings({ ...arrived, forwardedFor: FORGED_ADDRESS, address: FORGED_ADDRESS }, https, trusted),
      ["forwarded address: fault"],
    ],
    [
      "asked from the trusted network itself",
      arrivalFindings(
        { ...arrived, forwardedFor: `${FORGED_ADDRESS}, 10.0.0.9`, address: FORGED_ADDRESS },
        https,
        trusted,
      ),
      [],
    ],
    ["a good Postgres", postgresFindings(facts, production), []],
    ["an old Postgres", postgresFindings({ ...facts, major: 14 }, production), ["postgres: fault"]],
    ["a role that owns", postgresFindings({ ...facts, isOwner: true }, production), ["postgres role: warning"]],
    ["a superuser", postgresFindings({ ...facts, isSuperuser: true }, production), ["postgres role: warning"]],
    [
      "a clock 8 s off",
      postgresFindings({ ...facts, clockMs: Date.now() - 8000 }, production),
      ["clock of postgres: fault"],
    ],
    ["a good Redis", redisFindings(cache), []],
    ["an old Redis", redisFindings({ ...cache, version: "6.2.0" }), ["redis: fault"]],
    ["a Redis 8 s off", redisFindings({ ...cache, clockMs: Date.now() + 8000 }), ["clock of redis: fault"]],
  ];
  for (const [name, findings, wanted] of rows)
    assert.deepEqual(
      findings.filter(({ level }) => level !== "ok").map(({ check, level }) => `${check}: ${level}`),
      wanted,
      name,
    );
});
