/** The audit trail of 100,000 events: how long sealing and verifying take, that one altered row among them, one removed row and a cut tail are each found, and that a page is quick. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { auditGround } from "../audit/ground.ts";

const EVENTS = 100_000;
const WRITTEN_AT_ONCE = 10_000;
/** An order of magnitude above what was measured. */
const VERIFY_SECONDS_MAX = 300;
/** The bound of lists for administrators, at the 99th percentile. */
const PAGE_MS_MAX = 200;
const PAGES = 100;

/** As the REST API and the console do it. */
async function verifyInParts({ trail }: Awaited<ReturnType<typeof auditGround>>) {
  const faults: string[] = [];
  let [events, parts] = [0, 0];
  for (let afterBatch: bigint | undefined = 0n; afterBatch !== undefined; parts += 1) {
    const part: Awaited<ReturnType<typeof trail.verifyPart>> = await trail.verifyPart({ afterBatch });
    events += part.events;
    faults.push(...part.faults.map(({ kind, seq }) => `${kind} ${seq}`));
    afterBatch = part.nextBatch;
  }
  return { events, parts, faults };
}

test(`${EVENTS} events are sealed and verified, and each hand on them is found`, async () => {
  const ground = await auditGround();
  const sealer = await ground.begin();
  const timed = async <T>(work: () => Promise<T>): Promise<{ seconds: number; result: T }> => {
    const begun = performance.now();
    const result = await work();
    return { seconds: (performance.now() - begun) / 1000, result };
  };
  for (let written = 0; written < EVENTS; written += WRITTEN_AT_ONCE) await ground.write(WRITTEN_AT_ONCE);
  const sealing = await timed(async () => {
    let count = 0;
    for (let sealed = -1; sealed !== 0; count += sealed) sealed = await sealer.seal(ground.keys);
    return count;
  });
  assert.equal(sealing.result, EVENTS);
  const verifying = await timed(() => ground.trail.verify());
  assert.deepEqual([verifying.result.events, verifying.result.faultCount], [EVENTS, 0]);
  const inParts = await timed(() => verifyInParts(ground));
  assert.deepEqual([inParts.result.events, inParts.result.faults], [EVENTS, []]);
  assert.ok(inParts.result.parts >= EVENTS / 20_000, `${inParts.result.parts} parts`);
  console.log(`# audit: verified in ${inParts.result.parts} parts in ${inParts.seconds.toFixed(1)} s`);
  let slowest = 0;
  for (const filter of [{}, { actor: "user-3" }, { subject: "client-4" }, { action: "client.updated" }]) {
    const times: number[] = [];
    while (times.length < PAGES)
      times.push((await timed(() => ground.trail.list(filter, { limit: 50 }))).seconds * 1000);
    slowest = Math.max(slowest, times.sort((a, b) => a - b)[Math.ceil(PAGES * 0.99) - 1] ?? Number.POSITIVE_INFINITY);
  }
  console.log(
    `# audit: ${EVENTS} events sealed in ${sealing.seconds.toFixed(1)} s, verified in ${verifying.seconds.toFixed(1)} s; p99 of the slowest kind of page ${slowest.toFixed(0)} ms`,
  );
  assert.ok(verifying.seconds < VERIFY_SECONDS_MAX, `${verifying.seconds} s to verify`);
  assert.ok(slowest < PAGE_MS_MAX, `${slowest} ms for a page`);
  for (const [what, statement, expected] of [
    ["altered", "update audit_events set actor_id = 'nobody' where seq = 50000", "altered 50000"],
    ["removed", "delete from audit_events where seq = 70000", "removed 70000"],
    ["cut", "delete from audit_events where seq > 99990", "removed 99991"],
  ] as const) {
    await ground.tamper(statement);
    const { result, seconds } = await timed(() => ground.trail.verify());
    const found = result.faults.map(({ kind, seq }) => `${kind} ${seq}`);
    console.log(`# audit: ${what} row among ${EVENTS}: found in ${seconds.toFixed(1)} s: ${found.join(", ")}`);
    assert.ok(found.includes(expected), found.join(", "));
    const parts = await verifyInParts(ground);
    assert.ok(parts.faults.includes(expected), `in parts: ${parts.faults.join(", ")}`);
  }
});
