/** Views: every page's Pug file, compiled at start; in development when it is first shown. A view sees the locals its header names and nothing else of what it is handed. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import type Koa from "koa";
import pug from "pug";
import { sha256 } from "../secrets.ts";
import type { Assets } from "./assets.ts";
import type { Texts } from "./texts.ts";

type Locals = Readonly<Record<string, unknown>>;

/** What a route answers with: 200 unless it says otherwise. The view is named without its ending: `interactions/login`. */
export interface Page {
  readonly status?: number;
  readonly view: string;
  readonly locals: Locals;
}

export interface Views {
  /** The page as HTML. A view that does not exist, or a local that its header does not name, throws. */
  render(view: string, texts: Texts, locals: Locals): string;
  /** Answers with the page; no cache may keep it, because it holds form tokens and names. */
  show(ctx: Koa.Context, texts: Texts, page: Page): void;
}

export interface ViewsOptions {
  readonly viewsDir: string;
  readonly assets: Assets;
  readonly brand: { readonly name: string };
  /** The host that people see in the address bar, with its port if it has one. */
  readonly issuerHost: string;
  readonly isDevelopment: boolean;
}

interface View {
  readonly template: () => pug.compileTemplate;
  readonly names: ReadonlySet<string>;
}

/** The document and the frames around the pages; they are compiled into each view and are none themselves. */
const NOT_A_VIEW = /^(layout\.pug$|frames\/)/;
/** A header names each local in a line of its own: `//-   csrf  the form token`. */
const NAMED_LOCAL = /^\/\/- {3}(\w+) /gm;
/** Tiles come in five colour pairs (`.tile-1` to `.tile-5`). */
const TILES = 5;

export function createViews(options: ViewsOptions): Views {
  const { viewsDir, assets, brand, issuerHost, isDevelopment } = options;
  const shared = namedLocals(join(viewsDir, "layout.pug"));
  const views = new Map<string, View>();
  for (const path of pugFiles(viewsDir)) {
    const name = relative(viewsDir, path).split(sep).join("/");
    if (NOT_A_VIEW.test(name)) continue;
    const template = once(() => pug.compileFile(path, { basedir: viewsDir, compileDebug: isDevelopment }));
    // In production a broken view keeps the server from starting; in development a start that is a second faster is worth more.
    if (!isDevelopment) template();
    views.set(name.slice(0, -".pug".length), { template, names: new Set([...shared, ...namedLocals(path)]) });
  }
  const tools = { brand, issuerHost, isDevelopment, asset: assets.url, tileOf, letterOf, initialsOf, webAddress };
  const render: Views["render"] = (name, texts, locals) => {
    const view = views.get(name);
    if (view === undefined) throw new Error(`there is no view ${name}`);
    const stray = Object.keys(locals).find((local) => !view.names.has(local));
    if (stray !== undefined) throw new Error(`the view ${name} names no local ${stray}`);
    // Each named local is set, also to undefined: Pug would look up a missing one among the globals.
    const named = Object.fromEntries([...view.names].map((local) => [local, own(locals, local)]));
    return view.template()({ ...named, ...tools, texts, t: texts.t });
  };
  return {
    render,
    show: (ctx, texts, page) => {
      const html = render(page.view, texts, page.locals);
      ctx.status = page.status ?? 200;
      ctx.type = "text/html; charset=utf-8";
      ctx.set("Cache-Control", "no-store");
      ctx.set("Content-Language", texts.language);
      ctx.body = html;
    },
  };
}

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

function pugFiles(viewsDir: string): readonly string[] {
  const entries = readdirSync(viewsDir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith(".pug"));
  return files.map((entry) => join(entry.parentPath, entry.name)).sort();
}

function namedLocals(path: string): readonly string[] {
  return [...readFileSync(path, "utf8").matchAll(NAMED_LOCAL)].map(([, name = ""]) => name);
}

function own(locals: Locals, name: string): unknown {
  return Object.hasOwn(locals, name) ? locals[name] : undefined;
}

/** A colour pair that stays with the app, whatever it is called later. */
function tileOf(clientId: string): number {
  return 1 + (Buffer.from(sha256(clientId), "base64url").readUInt16BE() % TILES);
}

/** The first character as a reader counts it, so that a letter made of several code points is not torn apart. */
function letterOf(name: string): string {
  const [first] = new Intl.Segmenter().segment(name.trim());
  return (first?.segment ?? "?").toUpperCase();
}

/** First and last name's letters; of a single word or an e-mail address only one. */
function initialsOf(name: string): string {
  const words = name.trim().split(/\s+/);
  const last = words.length > 1 ? letterOf(words.at(-1) ?? "") : "";
  return letterOf(name) + last;
}

/** The address if it leads to a web page; a `javascript:` or private-use address never becomes a link. */
function webAddress(address: unknown): string | undefined {
  if (typeof address !== "string" || !URL.canParse(address)) return undefined;
  const { protocol, href } = new URL(address);
  return protocol === "https:" || protocol === "http:" ? href : undefined;
}
