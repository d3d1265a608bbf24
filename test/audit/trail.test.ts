/** The chain of the audit trail: sealed once by many sealers at a time; an edit, a removal and a cut tail are found; retention removes whole batches alone. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { changesBetween } from "../../src/audit/changes.ts";
import { auditCommands } from "../../src/audit/commands.ts";
import { record } from "../../src/audit/event.ts";
import type { Verification } from "../../src/audit/trail.ts";
import { runCommand } from "../../src/commands.ts";
import { listen } from "../support.ts";
import { auditGround, DAY } from "./ground.ts";

const CUT = "delete from audit_events where seq > 550";
const told = ({ faults }: Verification): string[] => faults.map(({ kind, seq, words }) => `${kind} ${seq}: ${words}`);

const ground = await auditGround();

async function sealed(count: number) {
  const sealer = await ground.begin();
  await ground.write(count);
  assert.equal(await sealer.seal(ground.keys), count);
  return sealer;
}

test("many sealers at once number every event once, without a gap, and the trail is whole; each checkpoint is in the log", async () => {
  const sealer = await ground.begin();
  const sealers = Array.from({ length: 4 }, () => ground.newSealer());
  for (let round = 0; round < 5; round += 1) {
    await ground.write(300);
    const counts = await Promise.all(sealers.map((sealer) => sealer.seal(ground.keys)));
    if (counts.every((count) => count === 0)) assert.equal(await sealer.seal(ground.keys), 300);
  }
  await sealer.seal(ground.keys);
  const found = await ground.trail.verify();
  assert.deepEqual([found.events, found.unsealed, told(found)], [1500, 0, []]);
  const inLog = ground.lines.flatMap((line) => /"checkpoint":"([^"]+)"/.exec(line)?.[1] ?? []);
  assert.equal(inLog.length, found.batches);
  assert.equal(inLog.at(-1), found.checkpoint);
  assert.deepEqual(told(await ground.trail.verify(inLog)), []);
});

test("the newest entries are verified alone, as many as a page may wait for, and an edit, a removal and a cut tail are found there too", async () => {
  const { trail, tamper } = ground;
  await sealed(1700);
  const whole = await trail.verifyPart("newest");
  // Three batches of 500 and one of 200: what is more than the newest thousand stays out, batch by batch.
  assert.deepEqual([whole.events, whole.batches, told(whole)], [1200, 3, []]);
  for (const [statement, expected] of [
    ["update audit_events set actor_id = 'somebody' where seq = 1600", /^altered 1600/],
    ["delete from audit_events where seq = 1610", /^removed 1610/],
    ["delete from audit_events where seq > 1690", /^removed 1691/],
  ] as const) {
    await tamper(statement);
    assert.ok(
      told(await trail.verifyPart("newest")).some((words) => expected.test(words)),
      statement,
    );
  }
});

const faults: readonly (readonly [what: string, statements: readonly string[], expected: RegExp])[] = [
  ["a name", ["update audit_events set name = 'client.created' where seq = 7"], /^altered 7: .*client\.created/],
  ["a moment", ["update audit_events set at = at - interval '1 microsecond' where seq = 7"], /^altered 7:/],
  ["an actor", ["update audit_events set actor_id = 'somebody' where seq = 600"], /^altered 600:/],
  ["the data", [`update audit_events set data = '{"n": 0}' where seq = 501`], /^altered 501:/],
  [
    "an HMAC",
    ["update audit_events set mac = case left(mac, 1) when 'x' then 'y' else 'x' end || substr(mac, 2) where seq = 8"],
    /^altered 8:/,
  ],
  ["a removed row", ["delete from audit_events where seq = 42"], /^removed 42: Event 42 is missing/],
  ["several removed rows", ["delete from audit_events where seq between 490 and 510"], /^removed 490: .*490 to 500/],
  ["a cut tail", [CUT], /^removed 551: Events 551 to 600/],
  [
    "a cut tail with its checkpoints",
    ["delete from audit_events where seq > 500", "delete from audit_checkpoints where last_seq > 500"],
    /^cut undefined: The trail ends with event 500; it was sealed up to 600/,
  ],
  [
    "a cut tail whose end was set back",
    [
      "delete from audit_events where seq > 500",
      "update audit_head set batch = 1, seq = 500, row_mac = (select row_mac from audit_checkpoints where batch = 1), checkpoint_mac = (select mac from audit_checkpoints where batch = 1)",
      "delete from audit_checkpoints where last_seq > 500",
    ],
    /^cut undefined: The end of the trail was altered/,
  ],
  ["a head taken away", ["delete from audit_head"], /^cut undefined: The end of the trail has been taken away/],
  [
    "a checkpoint taken away",
    ["delete from audit_checkpoints where batch = 1"],
    /^checkpoint 501: Before checkpoint 2/,
  ],
  [
    "an altered checkpoint",
    ["update audit_checkpoints set sealed_at = newest_at where batch = 2"],
    /^checkpoint 501: .*altered/,
  ],
  [
    "a batch that pretends to be past its retention",
    [
      "update audit_checkpoints set removed_at = sealed_at, removed_mac = mac where batch = 1",
      "delete from audit_events where seq <= 500",
    ],
    /^checkpoint 1: Checkpoint 1 says that retention removed its events/,
  ],
  [
    "a numbered row that nobody sealed",
    [
      "insert into audit_events (at, name, actor_kind, data, seq, mac) values ('2026-01-01', 'user.created', 'system', '{}', 601, 'x')",
    ],
    /^added 601:/,
  ],
];

test("one altered row, one removed row, a cut tail and every other hand on the trail is found by itself (T-LOG-4)", async () => {
  for (const [what, statements, expected] of faults) {
    await sealed(600);
    await ground.tamper(...statements);
    const found = await ground.trail.verify();
    assert.ok(found.faultCount > 0, what);
    assert.match(told(found)[0] ?? "", expected, what);
    if (/^altered/.test(expected.source)) assert.equal(found.faultCount, 1, `${what}: ${told(found).join("\n")}`);
  }
});

test("the sealer does not go on from an end that was set back, and what is cut while it runs is still found afterwards", async () => {
  const sealer = await sealed(600);
  await ground.tamper(CUT);
  await ground.write(3);
  assert.equal(await sealer.seal(ground.keys), 3);
  assert.match(told(await ground.trail.verify())[0] ?? "", /^removed 551: Events 551 to 600/);
  await ground.tamper("delete from audit_head");
  await ground.write(1);
  assert.equal(await ground.newSealer().seal(ground.keys), 0);
  assert.ok(
    ground.lines.some((line) => line.includes("the end of the audit trail has been taken away")),
    "it is in the log",
  );
});

test("a trail that was cut whole, end and all, does not hold against the checkpoints of the log", async () => {
  await sealed(600);
  const log = join(tmpdir(), `signet-audit-${process.pid}.log`);
  await writeFile(log, ground.lines.join(""));
  await ground.tamper("delete from audit_events", "delete from audit_checkpoints", "delete from audit_head");
  const { io, said } = listen();
  const call = (...argv: string[]) => runCommand(auditCommands, argv, io, (use) => use({ trail: ground.trail }));
  assert.equal(await call("verify"), 0, "nothing in the database tells");
  assert.equal(await call("verify", "--against", log), 1);
  assert.match(said.out, /FAULT {2}The checkpoint 1\.500\.[\w-]{43} was sealed once and is not here/);
  assert.match(said.err, /not what was sealed/);
});

test("triggers refuse edit, removal and truncation of events and checkpoints; a number is given once", async () => {
  await sealed(3);
  await ground.write(1);
  for (const statement of [
    "update audit_events set data = '{}'",
    "update audit_events set name = 'x', seq = 9, mac = 'x' where seq is null",
    "update audit_events set seq = 9 where seq is null",
    "update audit_events set seq = 9, mac = 'x' where seq = 1",
    "update audit_events set seq = null, mac = null where seq = 3",
    "delete from audit_events",
    "truncate audit_events",
    "update audit_checkpoints set sealed_at = newest_at",
    "update audit_checkpoints set removed_at = sealed_at, removed_mac = 'x'",
    "delete from audit_checkpoints",
    "truncate audit_checkpoints",
  ])
    await assert.rejects(ground.db.query(statement), /only ever added to/, statement);
});

test("retention removes whole batches from the front, keeps their checkpoints, is on the trail itself, and the rest stays whole", async () => {
  const sealer = await ground.begin();
  const { db, keys, trail } = ground;
  const ago = (days: number) => new Date(Date.now() - days * DAY * 1000);
  // Two old batches, one that reaches over the limit, and one of today.
  for (const days of [300, 200]) {
    await ground.write(10, ago(days));
    await sealer.seal(keys);
  }
  await ground.write(5, ago(101));
  await ground.write(5, ago(99));
  await sealer.seal(keys);
  await ground.write(4);
  await sealer.seal(keys);
  assert.equal(await sealer.prune(keys), 20);
  assert.equal(await sealer.prune(keys), 0);
  await sealer.seal(keys);
  const found = await trail.verify();
  assert.deepEqual([found.events, found.batches, found.removedBatches, told(found)], [15, 5, 2, []]);
  const [pruned] = await trail.list({ action: "audit.pruned" }, { limit: 1 });
  assert.deepEqual(pruned?.data, { batches: 2, rows: 20 });
  assert.deepEqual(await db.query("select 1 from audit_events where seq <= 20"), []);
  await assert.rejects(db.query("delete from audit_events where seq = 21"), /only ever added to/);
  // Whatever the setting, the newest month stays: the database itself keeps it.
  assert.equal(await ground.newSealer(0).prune(keys), 10);
  assert.equal(await ground.newSealer(0).prune(keys), 0);
});

test("list, verify and export speak to people and to machines, and what was asked wrongly says how to ask", async () => {
  await sealed(30);
  const { io, said } = listen();
  const call = async (...argv: string[]) => {
    said.out = said.err = "";
    return runCommand(auditCommands, argv, io, (use) => use({ trail: ground.trail }));
  };
  assert.equal(await call("list", "--actor", "user-3", "--subject", "client-3", "--limit", "5", "--json"), 0);
  const [entry, ...more] = JSON.parse(said.out) as Record<string, unknown>[];
  assert.deepEqual(
    [entry?.["action"], entry?.["actor"], more.length],
    ["client.updated", { kind: "user", id: "user-3" }, 0],
  );
  assert.equal(await call("list", "--action", "client.", "--limit", "2"), 0);
  assert.match(said.out, /client\.updated +user user-2 +client client-8/);
  assert.equal(await call("list", "--to", "2020-01-01"), 0);
  assert.equal(said.out, "There are none.\n");
  assert.equal(await call("verify", "--json"), 0);
  const { intact, events, unsealed } = JSON.parse(said.out) as Record<string, unknown>;
  assert.deepEqual([intact, events, unsealed], [true, 30, 0]);
  assert.equal(await call("export"), 0);
  const lines = said.out
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual([lines.length, lines.at(0)?.["seq"], lines.at(-1)?.["type"]], [31, "1", "checkpoint"]);
  const { io: piped } = listen(said.out);
  assert.equal(
    await runCommand(auditCommands, ["verify", "--against", "-"], piped, (use) => use({ trail: ground.trail })),
    0,
  );
  assert.equal(await call("list", "--from", "yesterday"), 2);
  assert.match(said.err, /2026-11-24T10:30:00Z/);
  assert.equal(await call("verify", "--against", "/nowhere/at/all"), 2);
});

test("events hold what changed, without secrets and without addresses of people, whoever writes them", async () => {
  const changes = changesBetween(
    { client_name: "Old", contacts: ["maya@lindqvist.example"], secrets: [{ hint: "ab" }], updated_at: "1" },
    { client_name: "New", contacts: ["ned@nobody.example"], secrets: [], updated_at: "2", scope: "openid" },
  );
  assert.deepEqual(changes, {
    client_name: { before: "Old", after: "New" },
    contacts: { before: "(withheld)", after: "(withheld)" },
    secrets: { before: "(withheld)", after: "(withheld)" },
    scope: { after: "openid" },
  });
  await ground.begin();
  const data = { reason: "no answer for maya@lindqvist.example at https://maya@host.example/x" };
  await record(ground.db, { name: "key.rotation_failed", actor: { kind: "system" }, data, changes });
  const [entry] = await ground.trail.list({}, { limit: 1 });
  assert.deepEqual(entry?.data, { reason: "no answer for (address) at https://(address)/x" });
  assert.deepEqual(entry?.changes, changes);
});
