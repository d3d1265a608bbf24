/** The log: one JSON object a line, fields by a list, values cut; on a terminal nothing that a stranger wrote moves the cursor. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { createLog, type LogFields } from "../src/log.ts";
import { CHECKOUT, LOADER, programUrl } from "./ladder.ts";

function written(
  pretty: boolean,
  write: (log: ReturnType<typeof createLog>) => void,
  level = "info",
): readonly string[] {
  const lines: string[] = [];
  write(createLog({ level, pretty, sink: { write: (line) => void lines.push(line) } }));
  return lines;
}

/** What must not forge a line, move a cursor or turn the direction of the text after it. */
const HOSTILE = [
  '\r\n{"level":"error","msg":"forged"}',
  "\u001b[2J\u001b]0;title\u0007",
  "\u009b2J",
  "\u007f\b\b\b",
  "\u2028forged\u2029",
  "\u202eevil\u2066",
  "\u200b\ufeff",
  "\0",
  "\ud800 half a pair",
];

test("a line is one JSON object with level, time and message, whatever the values hold (T-LOG-1)", () => {
  for (const hostile of HOSTILE) {
    const lines = written(false, (log) => log.warn(`seen ${hostile}`, { reason: hostile, path: hostile }));
    assert.equal(lines.length, 1);
    const [line = ""] = lines;
    assert.ok(line.endsWith("\n") && !/[\r\n]/.test(line.slice(0, -1)), JSON.stringify(line));
    const parsed = JSON.parse(line) as Record<string, unknown>;
    assert.equal(parsed["level"], "warn");
    assert.ok(!Number.isNaN(Date.parse(String(parsed["time"]))));
    if (!hostile.includes("\ud800")) assert.equal(parsed["reason"], hostile);
    assert.deepEqual(Object.keys(parsed), ["level", "time", "reason", "path", "msg"]);
  }
});

test("on a terminal a line stays one line, and nothing in it is obeyed (T-LOG-1)", () => {
  for (const hostile of HOSTILE) {
    const lines = written(true, (log) => log.warn(`seen ${hostile}`, { reason: hostile }));
    assert.equal(lines.length, 1);
    const [line = ""] = lines;
    assert.doesNotMatch(line.slice(0, -1), /[\p{Cc}\p{Cf}\u2028\u2029]/u, JSON.stringify(line));
    assert.match(line, /^\d\d:\d\d:\d\d\.\d{3} WARN {2}seen .* reason=".*"\n$/);
  }
});

test("values are cut, and a megabyte is a short line (T-LOG-1)", () => {
  const [line = ""] = written(false, (log) =>
    log.info("m".repeat(1_000_000), { path: "p".repeat(1_000_000), stack: "s".repeat(1_000_000) }),
  );
  assert.ok(line.length < 6000, `${line.length} characters`);
  const parsed = JSON.parse(line) as Record<string, string>;
  assert.equal(parsed["path"], `${"p".repeat(512)}…`);
  assert.equal(parsed["msg"], `${"m".repeat(512)}…`);
  assert.equal(parsed["stack"], `${"s".repeat(4096)}…`);
});

test("a field that is not on the list never reaches the log, its name alone does", () => {
  const fields: LogFields = {
    password: "hunter2",
    authorization: "Basic c2VjcmV0",
    user_id: "u1",
    count: 3,
    error: undefined,
  };
  const lines = written(false, (log) => log.info("something", fields));
  assert.doesNotMatch(lines.join(""), /hunter2|c2VjcmV0/);
  assert.match(lines.join(""), /"name":"password"/);
  const last = JSON.parse(lines.at(-1) ?? "") as Record<string, unknown>;
  assert.deepEqual([last["user_id"], last["count"], "error" in last, "password" in last], ["u1", 3, false, false]);
});

test("levels below the chosen one are not written, and silence is silence", () => {
  assert.deepEqual(
    written(false, (log) => log.info("x"), "warn"),
    [],
  );
  assert.deepEqual(
    written(false, (log) => log.error("x"), "silent"),
    [],
  );
  written(false, (log) => assert.deepEqual([log.isOn("info"), log.isOn("debug")], [true, false]));
});

test("a closed output, both streams of it, does not end the process that logs (T-REL-21)", async () => {
  const script = `
    const { createLog } = await import(${JSON.stringify(programUrl("src/log.ts"))});
    const log = createLog({ level: "info", pretty: false });
    const wait = () => new Promise((resolve) => setTimeout(resolve, 20));
    for (let line = 0; line < 20; line += 1) { log.info("line", { count: line }); process.stderr.write("a warning\\n"); await wait(); }
    process.exitCode = 7;`;
  const child = spawn(process.execPath, [...LOADER, "--input-type=module", "-e", script], {
    cwd: CHECKOUT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise<number | null>((resolve) => child.on("exit", (code) => resolve(code)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  child.stdout.destroy();
  child.stderr.destroy();
  assert.equal(await ended, 7);
});
