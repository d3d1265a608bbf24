/** Where the embedded Postgres lies: closed and long paths, moved and deleted folders, and folders that somebody else has planted. */
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import {
  isRoot,
  needsRoot,
  nobody,
  open,
  openInChild,
  person,
  places,
  refuses,
  scratch,
  sql,
} from "./postgres-machine.ts";

test("below a closed folder root's database lies elsewhere, follows a moved checkout, and is never shared or reopened by mistake", {
  skip: needsRoot,
}, async (t) => {
  const closed = scratch(t, 0, 0o700);
  const dir = path.join(closed, "checkout");
  fs.mkdirSync(dir);
  const first = await open(t, dir, { durable: true });
  places.add(first.place);
  assert.match(first.place, /^\/var\/lib\/signet\/[0-9a-f]{16}$/);
  assert.match(first.notes.join(), /does not lie in .* uid 65534, which the database runs as, cannot pass/);
  await sql(first, "create table kept (n int)");
  await first.close();

  const moved = path.join(closed, "moved");
  fs.renameSync(dir, moved);
  const second = await open(t, moved, { durable: true });
  assert.equal(second.place, first.place);
  assert.match(second.notes.join(), /which has moved/);
  assert.deepEqual(await sql(second, "select n from kept"), []);
  await second.close();

  const copied = path.join(closed, "copied");
  fs.cpSync(moved, copied, { recursive: true });
  await refuses(open(t, copied), /is the database of .*moved.*Delete .*postgres\.path/s);

  // A place whose DATA_DIR was deleted: a new checkout at that path must not open it, the secret is gone.
  fs.renameSync(moved, dir);
  const third = await open(t, dir, { durable: true });
  await third.close();
  fs.rmSync(path.join(dir, "data"), { recursive: true });
  const fresh = await open(t, dir);
  const aside = /was set aside as (\S+)\./.exec(fresh.notes.join("\n"))?.[1];
  assert.match(aside ?? "", /\.abandoned-\d{4}-\d\d-\d\d$/);
  assert.equal(fs.existsSync(path.join(aside ?? "", "data", "PG_VERSION")), true);
  await assert.rejects(sql(fresh, "select n from kept"), { code: "42P01" });
});

test("a long path puts the socket elsewhere, or is refused with the reason", async (t) => {
  const base = scratch(t, person.uid);
  const dir = path.join(base, "d".repeat(100));
  fs.mkdirSync(dir);
  fs.chownSync(dir, person.uid, person.gid);
  const runtime = path.join(base, "run");
  fs.mkdirSync(runtime, { mode: 0o700 });
  fs.chownSync(runtime, person.uid, person.gid);
  await assert.rejects(openInChild(t, dir, { uid: person.uid }), /longer than 100 bytes.*no XDG_RUNTIME_DIR.*shorter/s);
  const child = await openInChild(t, dir, { uid: person.uid, environment: { XDG_RUNTIME_DIR: runtime } });
  assert.match(child.host, new RegExp(`^${runtime}/signet-[0-9a-f]{16}\\.socket$`));
  assert.equal(fs.lstatSync(child.host).mode & 0o777, 0o700);
  await child.close();
  if (!isRoot) return;
  const byRoot = await open(t, dir);
  places.add(byRoot.connection.host);
  assert.match(byRoot.connection.host, /^\/var\/lib\/signet\/[0-9a-f]{16}\.socket$/);
});

test("a checkout of an account without a name, as in a container, gets a database that runs as nobody", {
  skip: needsRoot,
}, async (t) => {
  const nameless = 64123;
  const dir = scratch(t, nameless);
  for (const round of [1, 2]) {
    const embedded = await open(t, dir);
    places.add(embedded.place);
    assert.equal(fs.lstatSync(path.join(embedded.place, "data")).uid, nobody, `round ${round}`);
    assert.equal(fs.lstatSync(path.join(embedded.place, "password")).uid, nameless);
    await embedded.close();
  }
});

const planted: readonly (readonly [string, string | false, (folder: string) => void, RegExp])[] = [
  ["of mode 0777", false, (folder) => fs.chmodSync(folder, 0o777), /has mode 777.*it is not used/],
  ["writable for a group", false, (folder) => fs.chmodSync(folder, 0o770), /has mode 770.*it is not used/],
  [
    "of another owner",
    needsRoot,
    (folder) => fs.chownSync(folder, 4242, 4242),
    /belongs to uid 4242.*nothing in it was changed/,
  ],
  [
    "as a link",
    false,
    (folder) => {
      fs.renameSync(folder, `${folder}.real`);
      fs.symlinkSync(`${folder}.real`, folder);
    },
    /is not a real folder/,
  ],
];
for (const name of ["data", "data/postgres", "data/postgres/data", "data/postgres/socket"]) {
  for (const [how, skip, plant, message] of planted) {
    test(`a folder that exists is refused: ${name} ${how}`, { skip }, async (t) => {
      const dir = scratch(t);
      await makeLookalike(dir);
      const folder = path.join(dir, name);
      plant(folder);
      const before = listing(dir);
      await refuses(open(t, dir), message);
      await refuses(open(t, dir), new RegExp(folder));
      assert.deepEqual(listing(dir), before, "nothing was changed");
    });
  }
}

test("files of ours are not read through a link, nor when others could have written them", async (t) => {
  for (const [name, spoil] of [
    ["password", (file: string) => fs.chmodSync(file, 0o666)],
    ["binaries", (file: string) => fs.writeFileSync(file, "{}")],
    ["password", (file: string) => fs.symlinkSync("/etc/hostname", remove(file))],
    ["password", remove],
  ] as const) {
    const dir = scratch(t);
    await makeLookalike(dir);
    const file = path.join(dir, "data/postgres", name);
    spoil(file);
    await refuses(open(t, dir), new RegExp(file));
  }
});

test("a data folder that lost its database is left alone, and not made anew", async (t) => {
  const dir = scratch(t);
  await makeLookalike(dir);
  await refuses(open(t, dir), /is not a database of Signet/);
});

/** The folders of a cluster with the right owners and modes, without a database in them. */
async function makeLookalike(dir: string): Promise<void> {
  const place = path.join(dir, "data", "postgres");
  fs.mkdirSync(place, { recursive: true });
  fs.chmodSync(path.join(dir, "data"), 0o711);
  fs.chmodSync(place, 0o711);
  for (const name of ["data", "socket"]) {
    fs.mkdirSync(path.join(place, name), { mode: 0o700 });
    if (isRoot) fs.chownSync(path.join(place, name), nobody, nobody);
  }
  const memory = { kind: "npm", version: "18.4", source: "a package", directory: "/nowhere" };
  fs.writeFileSync(path.join(place, "binaries"), JSON.stringify(memory), { mode: 0o600 });
  fs.writeFileSync(path.join(place, "password"), "a password", { mode: 0o600 });
}

function remove(file: string): string {
  fs.rmSync(file);
  return file;
}

function listing(dir: string): readonly string[] {
  return fs.readdirSync(dir, { recursive: true, encoding: "utf8" }).sort();
}
