/** Assets: the stylesheet and the pictures, in memory, each under a name that holds a hash of its content. */
import { readdirSync, readFileSync } from "node:fs";
import { extname, join } from "node:path";
import type Koa from "koa";
import { sha256 } from "../secrets.ts";

export interface Assets {
  /** The path of an asset: `style.css` gives `/assets/style.<hash>.css`. An unknown name throws. */
  url(name: string): string;
  /** Answers GET and HEAD of an asset; everything else goes on to the next middleware. */
  middleware: Koa.Middleware;
}

const STYLESHEET = "style.css";
const PREFIX = "/assets/";
const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
  ".js": "text/javascript; charset=utf-8",
};
/** 72 bits: two contents of one name never share a path. */
const HASH_CHARS = 12;
/** A path names its content, so it is good for as long as a cache can be told (RFC 8246 for `immutable`). */
const CACHE = "public, max-age=31536000, immutable";
const HASHED = new RegExp(`^${PREFIX}([a-z0-9-]+)\\.([\\w-]{${HASH_CHARS}})(\\.[a-z]+)$`);
const REFERENCE = /url\("assets\/([^"]+)"\)/g;

interface Asset {
  readonly path: string;
  readonly type: string;
  readonly content: Buffer;
}

/** Reads `style.css` and `assets/`. The stylesheet names a picture as `url("assets/seal.svg")` and gets its hashed path. */
export function loadAssets(viewsDir: string): Assets {
  const assets = new Map<string, Asset>();
  const url = (name: string): string => find(assets, name).path;
  const folder = join(viewsDir, "assets");
  for (const name of readdirSync(folder).sort()) assets.set(name, createAsset(name, readFileSync(join(folder, name))));
  const style = readFileSync(join(viewsDir, STYLESHEET), "utf8").replace(REFERENCE, (_, name) => `url("${url(name)}")`);
  assets.set(STYLESHEET, createAsset(STYLESHEET, Buffer.from(style)));
  return { url, middleware: createMiddleware(assets) };
}

function find(assets: ReadonlyMap<string, Asset>, name: string): Asset {
  const asset = assets.get(name);
  if (asset === undefined) throw new Error(`there is no asset ${name}`);
  return asset;
}

function createAsset(name: string, content: Buffer): Asset {
  const ending = extname(name);
  const type = TYPES[ending];
  if (type === undefined) throw new Error(`the asset ${name} has no known type`);
  const hash = sha256(content.toString("latin1")).slice(0, HASH_CHARS);
  return { path: `${PREFIX}${name.slice(0, -ending.length)}.${hash}${ending}`, type, content };
}

function createMiddleware(assets: ReadonlyMap<string, Asset>): Koa.Middleware {
  return (ctx, next) => {
    const [, name, , ending] = HASHED.exec(ctx.path) ?? [];
    const asset = name === undefined ? undefined : assets.get(`${name}${ending}`);
    if (asset === undefined || (ctx.method !== "GET" && ctx.method !== "HEAD")) return next();
    // During an upgrade a page of one version may ask a server of the other: it gets what this one has, and no cache keeps it.
    ctx.set("Cache-Control", ctx.path === asset.path ? CACHE : "no-store");
    ctx.set("X-Content-Type-Options", "nosniff");
    ctx.type = asset.type;
    ctx.body = asset.content;
    return undefined;
  };
}
