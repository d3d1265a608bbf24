/** The hashing child: its hashes, its bounds, and what happens when it dies or hangs. */
import assert from "node:assert/strict";
import { getPriority } from "node:os";
import { after, test } from "node:test";
import argon2 from "argon2";
import { AppError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { openHasher, parseHash } from "../../src/users/hasher.ts";

const lines: string[] = [];
const log = createLog({ level: "debug", pretty: false, sink: { write: (line) => void lines.push(line) } });
const hasher = await openHasher({ log, children: 1 });
after(() => hasher.close());
const PASSWORD = "correct horse battery staple";
const stored = await hasher.hash(PASSWORD);

/** The process that works now: the last one that reported itself ready. */
function childPid(): number {
  const ready = lines.map((line) => JSON.parse(line)).filter((line) => line.msg === "a hashing child is ready");
  return ready.at(-1).pid;
}

interface Reported {
  readonly outcome: "matched" | "refused" | "wrong";
  readonly milliseconds: number;
}

async function verify(password: string): Promise<Reported> {
  const began = performance.now();
  const outcome = await hasher.verify(stored, password).then(
    (isMatch): Reported["outcome"] => (isMatch ? "matched" : "wrong"),
    (error: unknown): Reported["outcome"] => {
      assert.ok(error instanceof AppError && error.code === "hasher_busy", String(error));
      assert.equal(error.status, 503);
      assert.equal(error.retryAfterSeconds, 2);
      return "refused";
    },
  );
  return { outcome, milliseconds: performance.now() - began };
}

/** A machine under load may need longer for a new child than one call waits. */
async function untilServed(): Promise<Reported["outcome"]> {
  const giveUpAt = performance.now() + 20_000;
  for (;;) {
    const { outcome } = await verify(PASSWORD);
    if (outcome !== "refused" || performance.now() > giveUpAt) return outcome;
  }
}

test("T-PW-7: a hash is argon2id with the stated parameters, a salt of 16 and a tag of 32 bytes, never twice the same", async () => {
  assert.match(stored, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  assert.notEqual(await hasher.hash(PASSWORD), stored);
});

test("the right password matches, others do not", async () => {
  assert.equal(await hasher.verify(stored, PASSWORD), true);
  for (const wrong of ["", PASSWORD.slice(1), `${PASSWORD} `, PASSWORD.toUpperCase()]) {
    assert.equal(await hasher.verify(stored, wrong), false);
  }
});

test("T-LOGIN-14: byte 73 matters, and a NUL ends nothing", async () => {
  const long = await hasher.hash(`${"x".repeat(72)}a`);
  assert.equal(await hasher.verify(long, `${"x".repeat(72)}b`), false);
  assert.equal(await hasher.verify(long, `${"x".repeat(72)}a`), true);
  const withNul = await hasher.hash("before\0after");
  assert.equal(await hasher.verify(withNul, "before\0other"), false);
  assert.equal(await hasher.verify(withNul, "before\0after"), true);
});

test("the decoy has the current parameters and matches nothing", async () => {
  assert.deepEqual(parseHash(hasher.decoyHash), parseHash(stored));
  assert.equal(await hasher.verify(hasher.decoyHash, PASSWORD), false);
});

test("T-PW-7: weaker parameters are told from current and stronger ones", async () => {
  const made = (m: number, t: number) => `$argon2id$v=19$m=${m},t=${t},p=1$${"A".repeat(22)}$${"A".repeat(43)}`;
  assert.equal(hasher.needsRehash(made(4096, 2)), true);
  assert.equal(hasher.needsRehash(made(19456, 1)), true);
  assert.equal(hasher.needsRehash(made(19456, 2)), false);
  assert.equal(hasher.needsRehash(made(65536, 3)), false);
  assert.equal(hasher.needsRehash("$2b$12$abcdefghijklmnopqrstuv"), true);
});

test("T-PW-8: a stored hash that asks for more than the bounds is refused before it costs anything", async () => {
  const [, , , , salt, tag] = stored.split("$");
  const tampered = [
    `$argon2id$v=19$m=4194304,t=2,p=1$${salt}$${tag}`,
    `$argon2id$v=19$m=131073,t=2,p=1$${salt}$${tag}`,
    `$argon2id$v=19$m=19456,t=900,p=1$${salt}$${tag}`,
    `$argon2id$v=19$m=19456,t=2,p=99$${salt}$${tag}`,
    `$argon2id$v=19$m=19456,t=0,p=1$${salt}$${tag}`,
    `$argon2i$v=19$m=19456,t=2,p=1$${salt}$${tag}`,
    `$argon2id$v=16$m=19456,t=2,p=1$${salt}$${tag}`,
    `$argon2id$m=19456,t=2,p=1$${salt}$${tag}`,
    `${stored}\n`,
    "",
    "plain",
  ];
  for (const hash of tampered) {
    assert.equal(parseHash(hash), undefined, hash);
    const began = performance.now();
    assert.equal(await hasher.verify(hash, PASSWORD), false, hash);
    // 4 GiB would take many seconds, or the machine.
    assert.ok(performance.now() - began < 2500);
  }
});

test("a hash that another program made with bounded parameters is verified", async () => {
  const foreign = await argon2.hash(PASSWORD, { memoryCost: 4096, timeCost: 3, parallelism: 2 });
  assert.equal(await hasher.verify(foreign, PASSWORD), true);
  assert.equal(await hasher.verify(foreign, "another"), false);
});

test("the child runs at lower priority than the server", () => {
  assert.equal(getPriority(childPid()), getPriority() + 5);
});

test("one hash is measured at start and logged", () => {
  assert.ok(hasher.hashMs > 1 && hasher.hashMs < 2750, String(hasher.hashMs));
  assert.ok(lines.some((line) => JSON.parse(line).hash_ms === hasher.hashMs));
});

test("beyond fifty waiting calls the next one is refused at once, and all others are right", async () => {
  const flood = Array.from({ length: 80 }, () => verify("wrong"));
  assert.ok(hasher.queued() <= 50);
  const outcomes = (await Promise.all(flood)).map(({ outcome }) => outcome);
  assert.ok(outcomes.filter((outcome) => outcome === "refused").length >= 29);
  assert.ok(!outcomes.includes("matched"));
  assert.equal(hasher.queued(), 0);
  assert.equal(await untilServed(), "matched");
});

test("T-LOGIN-7: a full queue keeps nobody out who may go ahead of it", async () => {
  const done: string[] = [];
  const stored = await hasher.hash(PASSWORD);
  const flood = Array.from({ length: 60 }, () => verify("wrong").then(({ outcome }) => done.push(outcome)));
  assert.equal(await hasher.verify(stored, PASSWORD, true), true);
  const before = done.filter((outcome) => outcome !== "refused").length;
  assert.ok(before <= 3, `${before} others were hashed before`);
  await Promise.all(flood);
});

for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
  test(`T-REL-37: a child that gets ${signal} fails its call with 503 within three seconds, accepts nothing and is replaced`, async () => {
    const before = childPid();
    const calls = Array.from({ length: 6 }, (_, index) => verify(index === 0 ? PASSWORD : "wrong"));
    process.kill(before, signal);
    const reports = await Promise.all(calls);
    assert.equal(reports[0]?.outcome, "refused", "the call that was being hashed");
    assert.ok(!reports.some(({ outcome }) => outcome === "matched"));
    // Answered by a timer of 2.75 s at the latest; the rest is a busy machine's.
    assert.ok(Math.max(...reports.map(({ milliseconds }) => milliseconds)) < 5000);
    assert.equal(await untilServed(), "matched");
    assert.notEqual(childPid(), before);
    assert.throws(() => process.kill(before, 0), { code: "ESRCH" });
  });
}

test("a terminal's Ctrl-C and a manager's SIGTERM leave the child to its parent", async () => {
  const pid = childPid();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.kill(pid, signal);
  assert.equal((await verify(PASSWORD)).outcome, "matched");
  assert.equal(childPid(), pid);
});

test("a closed hasher refuses what waits and what comes, and its child is gone", async () => {
  const mine: string[] = [];
  const own = createLog({ level: "debug", pretty: false, sink: { write: (line) => void mine.push(line) } });
  const second = await openHasher({ log: own, children: 1 });
  const { pid } = mine.map((line) => JSON.parse(line)).find((line) => line.msg === "a hashing child is ready");
  const waiting = second.verify(stored, PASSWORD);
  const refusal = assert.rejects(waiting, { code: "hasher_busy" });
  await second.close();
  await refusal;
  await assert.rejects(second.hash("later"), { code: "hasher_busy" });
  assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
});
