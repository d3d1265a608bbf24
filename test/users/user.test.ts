/** Users in a real database: one address is one user, changes and their audit rows stand or fall together, a failed sign-in tells nothing. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type Actor, listEvents, record } from "../../src/audit/event.ts";
import { AppError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { openDb, type Parameter, type Queries } from "../../src/store/db.ts";
import { openHasher } from "../../src/users/hasher.ts";
import { searchRows } from "../../src/users/queries.ts";
import { createUsers, type User } from "../../src/users/user.ts";
import { revocationGround } from "../revocations/ground.ts";
import { testDatabase } from "../support.ts";

const log = createLog({ level: "silent", pretty: false });
const { connection } = await testDatabase();
const db = openDb({ connection, max: 8, log });
/** Weak on purpose: what is tested here is not the hash. */
const weak = await openHasher({ log, children: 1, parameters: { memoryKiB: 64, passes: 1, lanes: 1 } });
const { revocations } = await revocationGround(connection);
const users = createUsers({ db, hasher: weak, record, revocations });
after(async () => {
  await weak.close();
  await db.close();
});

const by: Actor = { kind: "command", requestId: "request-1" };
const PASSWORD = "nine brown lanterns drift";
const NOBODY = "00000000-0000-4000-8000-000000000000";
let made = 0;
async function aUser(more: { isOwner?: boolean } = {}): Promise<User> {
  made += 1;
  return users.create({ email: `person-${made}@example.com`, password: PASSWORD, ...more }, by);
}
async function eventsOf(id: string): Promise<readonly string[]> {
  const events = await listEvents(db, { subjectId: id, limit: 50 });
  return events.map(({ name }) => name).reverse();
}

// Before any test makes an owner.
test("two first owners at once: one is made, whatever the number of tries, and its companion is in the same transaction", async () => {
  assert.equal(await users.hasOwner(), false);
  let companions = 0;
  const results = await Promise.allSettled(
    Array.from({ length: 6 }, (_, index) =>
      users.createOwner({ email: `owner-${index}@example.com`, password: PASSWORD }, by, async () => {
        companions += 1;
      }),
    ),
  );
  const won = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  assert.equal(won.length, 1);
  assert.deepEqual(won[0]?.roles, ["owner"]);
  assert.equal(companions, 1);
  for (const result of results) if (result.status === "rejected") assert.equal(result.reason.code, "setup_link_gone");
  assert.equal(await users.countUsers(), 1);
  assert.equal(await users.hasOwner(), true);
  await assert.rejects(users.createOwner({ email: "late@example.com", password: PASSWORD }, by), {
    code: "setup_link_gone",
  });
});

test("the last owner who can sign in is neither disabled nor unmade, not even by two at once", async () => {
  const [first] = (await users.list({ limit: 1 })).users;
  assert.ok(first);
  await assert.rejects(users.setDisabled(first.id, true, by), { code: "user_last_owner" });
  await assert.rejects(users.update(first.id, { isOwner: false }, by), { code: "user_last_owner" });
  const second = await aUser({ isOwner: true });
  const both = await Promise.allSettled([
    users.setDisabled(first.id, true, by),
    users.setDisabled(second.id, true, by),
  ]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  const left = await Promise.all([users.find(first.id), users.find(second.id)]);
  assert.equal(left.filter((user) => user?.isDisabled === false).length, 1);
});

test("a user is made with claims and found by id and by every spelling of the address", async () => {
  const user = await users.create(
    { email: "Grace@Bücher.example", isEmailVerified: true, claims: { name: "Grace", address: { country: "US" } } },
    by,
  );
  assert.equal(user.email, "Grace@xn--bcher-kva.example");
  assert.equal(user.isEmailVerified, true);
  assert.equal(user.hasPassword, false);
  assert.deepEqual(user.claims, { name: "Grace", address: { country: "US" } });
  for (const spelling of ["grace@bücher.example", "GRACE@XN--BCHER-KVA.EXAMPLE", " grace@bücher.example "]) {
    assert.equal((await users.findByEmail(spelling))?.id, user.id);
  }
  assert.deepEqual(await users.find(user.id), user);
});

test("T-NORM-1, T-NORM-4: a second user with another spelling of the address is refused, also when both come at once", async () => {
  const spellings = [
    "twin@bücher.example",
    "Twin@Bücher.example",
    "twin@xn--bcher-kva.example",
    "ｔｗｉｎ@bücher.example",
  ];
  const results = await Promise.allSettled(spellings.map((email) => users.create({ email }, by)));
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
  for (const result of results) if (result.status === "rejected") assert.equal(result.reason.code, "user_email_taken");
});

test("what is no id and no address finds nobody", async () => {
  for (const text of ["", "x", NOBODY, "'; drop table users; --", "\0", "%", `${NOBODY}0`]) {
    assert.equal(await users.find(text), undefined);
    assert.equal(await users.findByEmail(text), undefined);
    await assert.rejects(users.update(text, {}, by), { code: "user_unknown" });
  }
});

test("T-REG-1: an address that is none is refused and nothing is written", async () => {
  const before = await users.countUsers();
  await assert.rejects(users.create({ email: "nobody", password: PASSWORD }, by), { code: "user_email_invalid" });
  assert.equal(await users.countUsers(), before);
});

test("T-PW-1, T-PW-3: a weak password is refused at creation and at change", async () => {
  const user = await aUser();
  for (const password of ["fourteen chars", "passwordpassword", "weak@example.com"]) {
    await assert.rejects(users.create({ email: "weak@example.com", password }, by), { code: "user_password_refused" });
  }
  for (const password of ["fourteen chars", "passwordpassword", user.email]) {
    await assert.rejects(users.setPassword(user.id, password, by), { code: "user_password_refused" });
  }
  assert.equal(await users.findByEmail("weak@example.com"), undefined);
  assert.ok("user" in (await users.authenticate({ email: user.email, password: PASSWORD })));
});

test("a change keeps what it does not name, takes away what is null, and records the names of what it changed", async () => {
  const user = await users.create(
    { email: "change@example.com", isEmailVerified: true, claims: { name: "A", nickname: "B" } },
    by,
  );
  const changed = await users.update(user.id, { claims: { nickname: null, locale: "en-US" } }, by);
  assert.deepEqual(changed.claims, { name: "A", locale: "en-US" });
  assert.equal(changed.isEmailVerified, true);
  assert.ok(changed.updatedAt > user.updatedAt);
  const [event] = await listEvents(db, { subjectId: user.id, limit: 1 });
  assert.deepEqual(event?.data, { fields: ["locale", "nickname"] });
  assert.deepEqual(event?.actor, { ...by, id: undefined, address: undefined });
});

test("a change that changes nothing writes nothing", async () => {
  const user = await users.create(
    { email: "same@example.com", claims: { address: { locality: "X", country: "Y" } } },
    by,
  );
  const same = await users.update(
    user.id,
    { email: "same@example.com", claims: { address: { country: "Y", locality: "X" } } },
    by,
  );
  assert.deepEqual(same, user);
  assert.deepEqual(await eventsOf(user.id), ["user.created"]);
});

test("a new address and a new number are unverified unless the change says otherwise", async () => {
  const user = await users.create(
    {
      email: "old@example.com",
      isEmailVerified: true,
      claims: { phone_number: "+49301234567", phone_number_verified: true },
    },
    by,
  );
  const moved = await users.update(user.id, { email: "new@example.com", claims: { phone_number: "+49307654321" } }, by);
  assert.equal(moved.isEmailVerified, false);
  assert.deepEqual(moved.claims, { phone_number: "+49307654321" });
  assert.equal(await users.findByEmail("old@example.com"), undefined);
  const told = await users.update(user.id, { email: "third@example.com", isEmailVerified: true }, by);
  assert.equal(told.isEmailVerified, true);
  const other = await aUser();
  await assert.rejects(users.update(other.id, { email: "THIRD@example.com" }, by), { code: "user_email_taken" });
});

test("the audit trail names users by id and never by address", async () => {
  const user = await aUser();
  await users.update(user.email, { email: "trail@example.com", claims: { name: "Trail" } }, by);
  await users.setPassword(user.id, "seven quiet harbours wait", by);
  await users.setDisabled(user.id, true, by);
  await users.setDisabled(user.id, true, by);
  await users.setDisabled(user.id, false, by);
  const expected = ["user.created", "user.updated", "user.password_changed", "user.disabled", "user.enabled"];
  assert.deepEqual(await eventsOf(user.id), expected);
  const rows = await db.query<{ text: string }>("select row_to_json(e)::text as text from audit_events e");
  for (const { text } of rows) assert.ok(!text.includes("@"), text);
});

test("a change whose audit row cannot be written does not happen", async () => {
  const broken = createUsers({
    db,
    hasher: weak,
    revocations,
    record: async () => {
      throw new Error("the trail is full");
    },
  });
  const user = await aUser();
  await assert.rejects(broken.create({ email: "ghost@example.com" }, by), /trail is full/);
  await assert.rejects(broken.setDisabled(user.id, true, by), /trail is full/);
  await assert.rejects(broken.setPassword(user.id, "seven quiet harbours wait", by), /trail is full/);
  assert.equal(await users.findByEmail("ghost@example.com"), undefined);
  assert.deepEqual(await users.find(user.id), user);
  assert.ok("user" in (await users.authenticate({ email: user.email, password: PASSWORD })));
});

test("pages of a list hold every user once, also while others are added", async () => {
  const all = await users.countUsers();
  const seen: string[] = [];
  let after: string | undefined;
  do {
    const page = await users.list({ limit: 3, after });
    seen.push(...page.users.map(({ id }) => id));
    after = page.next;
    if (seen.length === 3) await aUser();
  } while (after !== undefined);
  assert.equal(seen.length, all + 1);
  assert.equal(new Set(seen).size, seen.length);
});

test("a search finds the beginning of an address or of a name, and an id, page by page, and takes its signs literally", async () => {
  const found = await users.create({ email: "zz_search@example.com", claims: { name: "Zoë 100% Found" } }, by);
  for (const query of ["zz_search", "ZZ_Sea", "zoë 100% f", "zoë"]) {
    assert.deepEqual(
      (await users.list({ limit: 5, query })).users.map(({ id }) => id),
      [found.id],
      query,
    );
  }
  for (const query of ["zzxsearch", "%z", "_", "\\", "search@"]) {
    assert.deepEqual((await users.list({ limit: 5, query })).users, [], query);
  }
  await assert.rejects(users.list({ limit: 5, after: "1; drop" }), { code: "user_invalid" });
});

test("each kind of search is one range of one index", async () => {
  const indexes = ["users_by_address_prefix", "users_by_name_prefix", "users_by_family_name_prefix"];
  for (const [kind, index] of indexes.entries())
    for (const after of [undefined, { key: "b", id: NOBODY }]) {
      const plan = await db.transaction(async (tx) => {
        // So few rows are read faster without any index; with a hundred thousand nobody has to say so.
        for (const way of ["seqscan", "bitmapscan", "sort"]) await tx.query(`set local enable_${way} = off`);
        const explain = { query: (text: string, values?: readonly Parameter[]) => tx.query(`explain ${text}`, values) };
        return JSON.stringify(await searchRows(explain as Queries, { kind, prefix: "a", after, limit: 50 }));
      });
      assert.ok(plan.includes(`using ${index}`) || plan.includes(`on ${index}`), plan);
      assert.ok(!plan.includes("Seq Scan on users"), plan);
    }
});

test("the right password signs in by every spelling of the address", async () => {
  const user = await aUser();
  for (const email of [user.email, user.email.toUpperCase(), ` ${user.email}`]) {
    assert.deepEqual(await users.authenticate({ email, password: PASSWORD }), { user });
  }
});

test("T-LOGIN-14: composed and decomposed spellings of a password are one", async () => {
  const user = await users.create({ email: "nfd@example.com", password: "neun bra\u0308unliche Laternen" }, by);
  for (const password of ["neun br\u00e4unliche Laternen", "neun bra\u0308unliche Laternen"]) {
    assert.ok("user" in (await users.authenticate({ email: user.email, password })));
  }
  assert.ok("failed" in (await users.authenticate({ email: user.email, password: "neun braunliche Laternen" })));
  await assert.rejects(users.authenticate({ email: user.email, password: "x".repeat(1025) }), { status: 400 });
});

test("T-ENUM-6: unknown, disabled, passwordless and wrong fail alike, and each costs exactly one hash with the current parameters", async () => {
  const [user, disabled] = [await aUser(), await aUser()];
  const passwordless = await users.create({ email: "passwordless@example.com" }, by);
  await users.setDisabled(disabled.id, true, by);
  const verified: string[] = [];
  const counted = createUsers({
    db,
    record,
    revocations,
    hasher: {
      ...weak,
      verify: (hash, password) => {
        verified.push(hash.split("$").slice(0, 4).join("$"));
        return weak.verify(hash, password);
      },
    },
  });
  const attempts: readonly (readonly [email: string, password: string, userId: string | undefined])[] = [
    [user.email, "wrong", user.id],
    [user.email, "", user.id],
    [disabled.email, PASSWORD, disabled.id],
    [disabled.email, "wrong", disabled.id],
    [passwordless.email, PASSWORD, passwordless.id],
    ["unknown@example.com", PASSWORD, undefined],
    ["no address", PASSWORD, undefined],
  ];
  for (const [email, password, userId] of attempts) {
    const expected = userId === undefined ? { failed: true } : { failed: true, userId };
    assert.deepEqual(await counted.authenticate({ email, password }), expected, email);
  }
  assert.deepEqual(
    verified,
    attempts.map(() => "$argon2id$v=19$m=64,t=1,p=1"),
  );
});

test("T-PW-7: a sign-in after the parameters rose stores a new hash once, and a failed one does not", async () => {
  const stronger = await openHasher({ log, children: 1, parameters: { memoryKiB: 128, passes: 2, lanes: 1 } });
  after(() => stronger.close());
  const later = createUsers({ db, hasher: stronger, record, revocations });
  const user = await aUser();
  const hashOf = async (): Promise<string> => {
    const [row] = await db.query<{ password_hash: string }>("select password_hash from users where id = $1", [user.id]);
    return row?.password_hash ?? "";
  };
  const old = await hashOf();
  assert.match(old, /^\$argon2id\$v=19\$m=64,t=1,p=1\$/);
  await later.authenticate({ email: user.email, password: "wrong" });
  assert.equal(await hashOf(), old);
  assert.ok("user" in (await later.authenticate({ email: user.email, password: PASSWORD })));
  const renewed = await hashOf();
  assert.match(renewed, /^\$argon2id\$v=19\$m=128,t=2,p=1\$/);
  assert.ok("user" in (await later.authenticate({ email: user.email, password: PASSWORD })));
  assert.equal(await hashOf(), renewed);
});

test("T-PW-7: a sign-in whose new hash cannot be made succeeds all the same", async () => {
  const user = await aUser();
  const busy = createUsers({
    db,
    record,
    revocations,
    hasher: {
      ...weak,
      needsRehash: () => true,
      hash: () => Promise.reject(new AppError("hasher_busy", "the queue is full", 2)),
    },
  });
  assert.ok("user" in (await busy.authenticate({ email: user.email, password: PASSWORD })));
});

test("T-PW-8: a row whose hash was tampered with lets nobody in", async () => {
  const user = await aUser();
  await db.query("update users set password_hash = $2 where id = $1", [
    user.id,
    `$argon2id$v=19$m=4194304,t=2,p=1$${"A".repeat(22)}$${"A".repeat(43)}`,
  ]);
  assert.deepEqual(await users.authenticate({ email: user.email, password: PASSWORD }), {
    failed: true,
    userId: user.id,
  });
});

test("a changed password replaces the old one at once", async () => {
  const user = await aUser();
  await users.setPassword(user.email, "seven quiet harbours wait", by);
  assert.ok("failed" in (await users.authenticate({ email: user.email, password: PASSWORD })));
  assert.ok("user" in (await users.authenticate({ email: user.email, password: "seven quiet harbours wait" })));
  await assert.rejects(users.setPassword(NOBODY, PASSWORD, by), { code: "user_unknown" });
});
