/** Assets over HTTP: named by their content, kept for ever, and nothing beside them. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import Koa from "koa";
import { loadAssets } from "../../src/pages/assets.ts";

const VIEWS = fileURLToPath(new URL("../../views", import.meta.url));
const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};
const ROSETTE_BYTES_MAX = 20 * 1024;
const assets = loadAssets(VIEWS);
const names = ["style.css", ...readdirSync(join(VIEWS, "assets"))];

const app = new Koa();
app.use(assets.middleware);
app.use((ctx) => {
  ctx.status = 404;
  ctx.body = "the next middleware";
});
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
after(() => server.close());
const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

for (const name of names)
  test(`${name} is served under a name with its hash, immutable and with its type (T-XSS-7)`, async () => {
    const path = assets.url(name);
    const response = await fetch(base + path);
    const body = Buffer.from(await response.arrayBuffer());
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("cache-control"), "public, max-age=31536000, immutable");
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");
    assert.equal(response.headers.get("content-type"), TYPES[extname(name)]);
    const hash = createHash("sha256").update(body.toString("latin1")).digest("base64url").slice(0, 12);
    assert.ok(path.includes(`.${hash}.`), path);
  });

test("HEAD answers like GET, without a body", async () => {
  const response = await fetch(base + assets.url("style.css"), { method: "HEAD" });
  assert.equal(response.status, 200);
  assert.equal(await response.text(), "");
  assert.ok(Number(response.headers.get("content-length")) > 1000);
});

test("the hash of another version gets this version's file, which no cache keeps", async () => {
  const path = assets.url("seal.svg").replace(/seal\..{12}\./, "seal.AAAAAAAAAAAA.");
  const response = await fetch(base + path);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("cache-control"), "no-store");
});

const elsewhere = ["/assets/", "/assets/style.css", "/assets/other.AAAAAAAAAAAA.css", "/assets/seal.AAAAAAAAAAAA.css"];
const climbing = ["/assets/..%2Flayout.AAAAAAAAAAAA.pug", "/assets/texts/en.AAAAAAAAAAAA.json", "//assets/style.css"];
for (const path of [...elsewhere, ...climbing])
  test(`${path} is no asset`, async () => {
    const response = await fetch(base + path);
    assert.equal(await response.text(), "the next middleware");
  });

test("an asset takes no POST", async () => {
  const response = await fetch(base + assets.url("style.css"), { method: "POST" });
  assert.equal(response.status, 404);
});

test("the stylesheet names pictures by their hashed paths and asks no other host for anything", async () => {
  const css = await (await fetch(base + assets.url("style.css"))).text();
  const references = [...css.matchAll(/url\(([^)]*)\)/g)].map(([, inside]) => inside);
  assert.ok(references.length >= 3);
  const known = names.map((name) => `"${assets.url(name)}"`);
  for (const reference of references) assert.ok(known.includes(reference ?? ""), reference);
  assert.doesNotMatch(css, /@import|https?:|\/\/[a-z]/);
});

test("an asset that does not exist is an error", () => {
  for (const name of ["nothing.svg", "constructor", ""]) assert.throws(() => assets.url(name), /no asset/);
});

test("pictures hold no script, no style and nothing from elsewhere, and the rosette is small", () => {
  for (const name of names.filter((name) => name.endsWith(".svg"))) {
    const svg = readFileSync(join(VIEWS, "assets", name), "utf8").replace('xmlns="http://www.w3.org/2000/svg"', "");
    assert.doesNotMatch(svg, /<script|<style|style=|\son\w+=|https?:|data:|<!ENTITY|<foreignObject/i, name);
    assert.ok(Buffer.byteLength(svg) <= ROSETTE_BYTES_MAX, name);
  }
});
