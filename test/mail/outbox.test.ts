/** The outbox against a real mail server: written with its cause, sent once by whoever is first, again after a failure, given up in the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runCommand } from "../../src/commands.ts";
import { createLog } from "../../src/log.ts";
import { mailCommands } from "../../src/mail/commands.ts";
import { createMails, RETRIED_MAX } from "../../src/mail/message.ts";
import { createOutbox, pauseSeconds } from "../../src/mail/outbox.ts";
import { noTransport, smtpTransport, type Transport } from "../../src/mail/transport.ts";
import { loadAssets } from "../../src/pages/assets.ts";
import { loadTexts } from "../../src/pages/texts.ts";
import { createViews } from "../../src/pages/views.ts";
import { openDb } from "../../src/store/db.ts";
import { createVault } from "../../src/vault.ts";
import { startMailServer } from "../flows/mailbox.ts";
import { atEnd, eventually, testDatabase } from "../support.ts";

const VIEWS = fileURLToPath(new URL("../../views", import.meta.url));
const lines: string[] = [];
const log = createLog({ level: "debug", pretty: false, sink: { write: (line) => void lines.push(line) } });
const server = await startMailServer();
const { connection } = await testDatabase();
const db = openDb({ connection, max: 4, log });
atEnd(() => db.close());
const vault = createVault([Buffer.alloc(32, 7)]);
const mails = createMails({ db, vault });
const results: string[] = [];
const SECRET = "https://id.example/recover/the-secret-of-the-link";

function outboxTo(url: string, options: { leaseSeconds?: number; transport?: Transport } = {}) {
  const smtp = { url, from: "no-reply@id.example", brandName: "Northwind", issuer: "https://id.example" };
  const transport = options.transport ?? smtpTransport(smtp);
  atEnd(async () => transport.close());
  const views = createViews({
    ...{ viewsDir: VIEWS, assets: loadAssets(VIEWS), brand: { name: "Northwind" } },
    ...{ issuerHost: "id.example", isDevelopment: false },
  });
  const words = { views, catalogues: loadTexts(VIEWS), brandName: "Northwind", issuer: "https://id.example" };
  const onResult = (result: string): void => void results.push(result);
  return createOutbox({ db, vault, log, words, transport, onResult, ...options });
}
const outbox = outboxTo(server.url);

const mailTo = (to: string, more = {}) =>
  ({ template: "recover", language: "en", to, values: { link: SECRET }, ...more }) as const;
const queue = (to: string, more = {}) => db.transaction((tx) => mails.queue(tx, mailTo(to, more)));
const rowOf = async (to: string) => (await db.query("select * from mails where recipient = $1", [to]))[0] ?? {};
const dueNow = (to: string) => db.query("update mails set due_at = created_at where recipient = $1", [to]);

async function signet(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const [out, err]: [string[], string[]] = [[], []];
  const io = {
    out: (text: string) => void out.push(text),
    err: (text: string) => void err.push(text),
    readStdin: async () => "",
  };
  const code = await runCommand(mailCommands, argv, io, (run) => run({ mails }));
  return { code, out: out.join(""), err: err.join("") };
}

test("a mail whose cause is rolled back is never there; one cause sends one mail; what it said is sealed, and gone once it is sent", async () => {
  await assert.rejects(
    db.transaction(async (tx) => {
      await mails.queue(tx, mailTo("undone@b.example"));
      throw new Error("the cause failed");
    }),
  );
  await queue("ada@b.example", { cause: "once" });
  await queue("ada@b.example", { cause: "once" });
  const before = await rowOf("ada@b.example");
  assert.ok(!JSON.stringify(before).includes("the-secret"));
  assert.equal(await outbox.flush(), 1);
  const letter = await server.next("ada@b.example");
  assert.equal(letter.link, SECRET);
  assert.match(letter.raw, /^From: Northwind <no-reply@id\.example>/m);
  assert.match(letter.raw, /^Auto-Submitted: auto-generated/m);
  assert.equal(letter.messageId, `<${String(before["id"])}@id.example>`);
  const after = await rowOf("ada@b.example");
  assert.equal(after["state"], "sent");
  assert.equal(after["sealed_values"], null);
  assert.equal(server.countTo("undone@b.example"), 0);
  assert.equal(await outbox.flush(), 0);
});

test("two processes at once send each mail once", async () => {
  const others = [outboxTo(server.url), outboxTo(server.url), outbox];
  for (let count = 0; count < 30; count += 1) await queue(`many-${count}@b.example`);
  const sent = await Promise.all(others.map((one) => one.flush()));
  assert.equal(
    sent.reduce((sum, one) => sum + one, 0),
    30,
  );
  for (let count = 0; count < 30; count += 1) assert.equal(server.countTo(`many-${count}@b.example`), 1);
});

test("a server that refuses for now is asked again later, one that refuses for good is not, and retry sends what was given up", async () => {
  await queue("later@b.example");
  server.refuseWith(451);
  assert.equal(await outbox.flush(), 0);
  const late = await rowOf("later@b.example");
  assert.equal(late["state"], "queued");
  assert.ok((late["due_at"] as Date).getTime() > Date.now());
  assert.match(String(late["error"]), /451/);
  server.refuseWith(550);
  await dueNow("later@b.example");
  await outbox.flush();
  assert.equal((await rowOf("later@b.example"))["state"], "failed");
  const listed = await signet("list", "--state", "failed", "--json");
  assert.equal(JSON.parse(listed.out)[0].to, "later@b.example");
  assert.ok(!listed.out.includes("the-secret"));
  server.refuseWith(undefined);
  assert.equal((await signet("retry", String(late["id"]))).code, 0);
  assert.equal(await outbox.flush(), 1);
  await server.next("later@b.example");
  assert.equal((await signet("retry", String(late["id"]))).code, 1, "a mail that was sent is not sent again");
  assert.equal((await signet("retry", "no-such-id")).code, 1);
  assert.equal((await signet("list", "--state", "lost")).code, 2);
  assert.match((await signet("list")).out, /KIND +TO +STATE/);
  assert.deepEqual([...new Set(results)].sort(), ["failed", "late", "sent"]);
});

test("a mail whose link has ended is given up and says nothing any more; a server that is away costs nobody else anything", async () => {
  await queue("ended@b.example", { expiresInSeconds: -1 });
  assert.equal(await outbox.flush(), 0);
  assert.equal((await rowOf("ended@b.example"))["state"], "failed");
  await mails.sweep(100);
  assert.equal((await rowOf("ended@b.example"))["sealed_values"], null);
  await queue("away@b.example");
  assert.equal(await outboxTo("smtp://127.0.0.1:1").flush(), 0);
  assert.equal((await rowOf("away@b.example"))["state"], "queued");
  assert.ok(pauseSeconds(1) < pauseSeconds(4) && pauseSeconds(99) === 3600);
  assert.ok(!lines.join("").includes("the-secret"));
});

test("mails that wait longer than the lease behind slow ones are sent once, though other processes look for what is due", async () => {
  for (let count = 0; count < 6; count += 1) await queue(`slow-${count}@b.example`);
  server.answerAfter(400);
  // The whole portion takes four leases.
  const [slow, beside] = [0.6, 0.6].map((leaseSeconds) => outboxTo(server.url, { leaseSeconds }));
  const first = slow?.flush();
  await eventually(async () => (await rowOf("slow-5@b.example"))["attempts"] === 1);
  const isOver = async () => (await rowOf("slow-5@b.example"))["state"] === "sent";
  while (!(await isOver())) await beside?.flush();
  await first;
  server.answerAfter(0);
  for (let count = 0; count < 6; count += 1)
    assert.equal(server.countTo(`slow-${count}@b.example`), 1, `mail ${count}`);
});

test("a mail that is being sent is not taken by retry, whose answer names it; all takes the oldest so many, and none twice", async () => {
  await db.query("delete from mails where state <> 'sent'");
  await queue("held@b.example");
  server.refuseWith(451);
  await outbox.flush();
  server.refuseWith(undefined);
  server.answerAfter(400);
  await dueNow("held@b.example");
  const sending = outbox.flush();
  await eventually(async () => (await rowOf("held@b.example"))["attempts"] === 2);
  const held = String((await rowOf("held@b.example"))["id"]);
  assert.deepEqual(await mails.retry(undefined, { kind: "system" }), []);
  assert.deepEqual(await mails.retry(held, { kind: "system" }), [held], "it is on its way");
  assert.equal(await outboxTo(server.url).flush(), 0, "nobody else finds it");
  assert.equal(await sending, 1);
  server.answerAfter(0);
  assert.equal(server.countTo("held@b.example"), 1);
  await db.query(
    `insert into mails (id, template, language, recipient, sealed_values, state, due_at, expires_at, created_at)
     select gen_random_uuid(), 'recover', 'en', 'bulk-' || n || '@b.example', 'x', 'failed', $1, $2, $1::timestamptz - n * interval '1 second'
     from generate_series(1, $3) n`,
    [new Date(), new Date(Date.now() + 60_000), RETRIED_MAX + 5],
  );
  const first = await signet("retry", "all");
  assert.match(first.out, /^1000 mails are queued again\. There may be more: once these are sent, run it again\.$/m);
  assert.equal((await rowOf(`bulk-${RETRIED_MAX + 5}@b.example`))["state"], "queued", "the oldest");
  assert.equal((await rowOf("bulk-1@b.example"))["state"], "failed");
  assert.match((await signet("retry", "all")).out, /^5 mails are queued again\.$/m);
  assert.match((await signet("retry", "all")).out, /^0 mails are queued again\.$/m);
  await db.query("delete from mails where recipient like 'bulk-%'");
});

test("a server that sends no mail gives a mail up at once and says why; it is sent once there is a mail server", async () => {
  await queue("off@b.example");
  assert.equal(await outboxTo("", { transport: noTransport(log) }).flush(), 0);
  const row = await rowOf("off@b.example");
  assert.equal(row["state"], "failed");
  assert.match(String(row["error"]), /SMTP_URL is not set/);
  assert.match(lines.join(""), /SMTP_URL is not set: no mail is sent/);
  assert.equal((await signet("retry", String(row["id"]))).code, 0);
  assert.equal(await outbox.flush(), 1);
});
