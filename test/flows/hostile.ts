/** Hostile requests: how a row of the table is sent, byte by byte where it must be, and what every answer has to keep whatever was sent. */
import { readFileSync } from "node:fs";
import { Agent, request as httpRequest } from "node:http";
import { connect } from "node:net";
import { CHECKOUT } from "../ladder.ts";

/** Longer than this no answer may take, whatever was asked. */
const ANSWER_MS_MAX = 2000;
const RAW_ANSWER_BYTES_MAX = 1024 * 1024;
/** Shows up in what many rows send; no answer may hold it as markup. */
export const SCRIPT = '"><script>alert(1)</script>';

export type Pairs = readonly (readonly [string, string])[];

export interface Row {
  /** What is sent, as a sentence's object: "a state that stands twice". */
  readonly name: string;
  /** GET unless there is a form or a body. */
  readonly method?: string;
  /** As it goes over the wire: nothing is normalised. */
  readonly path: string;
  readonly headers?: Pairs;
  /** Sent url-encoded. */
  readonly form?: Pairs | Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** Without Content-Length. */
  readonly isChunked?: boolean;
  /** The request as bytes (latin1); method, path, headers and body are then ignored. */
  readonly raw?: string;
  readonly expect: Expected;
}

/** One of these stands in every row: what is answered, not only with which status. */
type Named = "error" | "page" | "location" | "back" | "body" | "members" | "isBare";
/** A row that leaves open what is answered has to say so, and the table counts it: there is to be none. */
export type Expected = Wanted & ({ [N in Named]: Required<Pick<Wanted, N>> }[Named] | { readonly isLoose: true });

interface Wanted {
  readonly status: number;
  /** The JSON's `error`; null: JSON without one. */
  readonly error?: string | null;
  /** Key of the English title of the page that is shown, and the app it names. */
  readonly page?: string;
  readonly app?: string;
  /** The whole Location. A pattern where a random id stands in it. */
  readonly location?: string | RegExp;
  /** The error goes back to the app, with its state and our name (RFC 9207), and nothing else does. */
  readonly back?: {
    readonly error: string;
    readonly state?: string | undefined;
    /** The scope that was refused. */
    readonly scope?: string | undefined;
    readonly uri: string;
    readonly iss: string;
  };
  /** Over the headers that every answer has; null: must be absent. */
  readonly headers?: Readonly<Record<string, string | RegExp | null>>;
  /** The whole body. */
  readonly body?: string | RegExp;
  /** The members of the JSON, all of them. A pattern where a random id or a moment stands. */
  readonly members?: Members;
  /** Node answers before Signet sees the request: the status, these headers and no others, this body. */
  readonly isBare?: boolean;
  readonly isLoose?: true;
}

export type Members = Readonly<Record<string, string | number | boolean | RegExp | readonly string[]>>;

export interface Got {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  readonly ms: number;
}

// --- What rows expect -------------------------------------------------------------------------------------------

const JSON_TYPE = "application/json; charset=utf-8";
const PAGE_TYPE = "text/html; charset=utf-8";

/** RFC 6749 section 5.2: JSON, never stored. A 401 names its challenge among the headers (RFC 9110 section 15.5.2). */
export function json(status: number, error: string, headers: Expected["headers"] = {}): Expected {
  return { status, error, headers: { "content-type": JSON_TYPE, ...headers } };
}

/** JSON without an error: what it says, to the member or to the letter. */
export function says(what: Members | string, headers: Expected["headers"] = {}): Expected {
  const all = { "content-type": JSON_TYPE, ...headers };
  return typeof what === "string"
    ? { status: 200, error: null, body: what, headers: all }
    : { status: 200, error: null, members: what, headers: all };
}

/** RFC 7235 section 4.1 and RFC 6750 section 3: how to authenticate, and why it was not taken. */
export function challenge(scheme: "Basic" | "Bearer", issuer: string, why?: readonly [string, string]): string {
  const reason = why === undefined ? "" : `, error="${why[0]}", error_description="${why[1]}"`;
  return `${scheme} realm="${issuer}"${reason}`;
}

export function page(status: number, key: string, app?: string): Expected {
  return { status, page: key, headers: { "content-type": PAGE_TYPE }, ...(app ? { app } : {}) };
}

/** The answer to HEAD. */
export function headOf(status: number, type = PAGE_TYPE, headers: Expected["headers"] = {}): Expected {
  return { status, body: "", headers: { "content-type": type, ...headers } };
}

export function to(location: string | RegExp, status = 303): Expected {
  return { status, location };
}

/** Node's own answer to what is no request. */
export function bare(status: number): Expected {
  return { status, isBare: true, headers: { connection: "close" }, body: "" };
}

export function notAllowed(allow: string): Expected {
  return json(405, "invalid_request", { allow });
}

/** What a row leaves open: all of it, a part that nothing is said of, or a pattern that more than a random id fits. Empty: exactly this and nothing else. */
export function looseOf({ expect }: Row): readonly string[] {
  const { status, isLoose, isBare, page: title, error, body, members, location, back, headers = {} } = expect;
  const isSaid = body !== undefined || members !== undefined;
  const isRedirect = location !== undefined || back !== undefined;
  const gaps: readonly (readonly [boolean, string])[] = [
    [isLoose === true, "says itself that it is loose"],
    [error === null && !isSaid, "JSON of which nothing is said"],
    [isBare === true && (body === undefined || expect.headers === undefined), "nothing but a status"],
    [isBare !== true && !isRedirect && headers["content-type"] === undefined, "no content type"],
    [status === 401 && headers["www-authenticate"] === undefined, "a 401 without its challenge"],
  ];
  // Where a page or an error is named, a pattern over the body is asked besides.
  const whole = title === undefined && typeof error !== "string" ? [body] : [];
  const patterns = [location, ...whole, ...Object.values(headers), ...Object.values(members ?? {})];
  const open = patterns.filter((value) => value instanceof RegExp).filter(isOpen);
  return [...gaps.filter(([is]) => is).map(([, what]) => what), ...open.map(String)];
}

/** Not bound at both ends, of several shapes, or with a place that takes any text. */
function isOpen({ source }: RegExp): boolean {
  const bound = source.startsWith("^") && source.endsWith("$");
  return !bound || source.includes("|") || /(?<!\\)(\.|\[\^[^\]]*\])[*+]/.test(source);
}

// --- What every answer keeps -------------------------------------------------------------------------------------

/** What pages may load and where forms may go: to us, and where a request was checked, on to the app. */
export function csp(formTarget?: string, script?: string): string {
  const directives = [
    "default-src 'none'",
    "style-src 'self'",
    "img-src 'self' data:",
    `script-src 'self'${script === undefined ? "" : ` '${script}'`}`,
    `form-action 'self'${formTarget === undefined ? "" : ` ${formTarget}`}`,
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ];
  return directives.join("; ");
}

/** A browser wants origins, and any port of the loopback interface is a native app's (RFC 8252 section 7.3). */
function formTargetOf(uri: string): string {
  const { protocol, origin, hostname } = new URL(uri);
  if (protocol === "https:") return origin;
  return protocol === "http:" ? `http://${hostname}:*` : protocol;
}

/** Of every answer that Signet gives, page or JSON, error or not (security.md, T-HDR-1). */
export const SECURITY_HEADERS: Readonly<Record<string, string | RegExp | null>> = {
  "content-security-policy": csp(),
  "x-frame-options": "DENY",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "permissions-policy":
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "x-request-id": /^[\w-]{12}$/,
  "cache-control": "no-store",
  "access-control-allow-credentials": null,
  "x-powered-by": null,
  server: null,
};
const LEAKS = /<script>alert|\n\s+at .+:\d+:\d+|node_modules|\/src\/|\.ts:\d+|oidc-provider|postgres|syntax error/i;
const texts = JSON.parse(readFileSync(`${CHECKOUT}/views/texts/en.json`, "utf8")) as Record<string, string>;

/** What is wrong with the answer, one sentence each; none is how it has to be. */
export function faultsOf(expected: Expected, got: Got): string[] {
  const faults: string[] = [];
  const fault = (what: string, is: unknown, wanted: unknown): void => {
    faults.push(`${what} is ${shown(is)}, not ${shown(wanted)}`);
  };
  if (got.status !== expected.status) fault("the status", got.status, expected.status);
  if (got.ms > ANSWER_MS_MAX) fault("the time", `${Math.round(got.ms)} ms`, `at most ${ANSWER_MS_MAX} ms`);
  if (LEAKS.test(got.text)) faults.push(`the body says too much: ${LEAKS.exec(got.text)?.[0]}`);
  const wanted: Record<string, string | RegExp | null> =
    expected.isBare === true ? { ...expected.headers } : { ...SECURITY_HEADERS, ...expected.headers };
  // Refused before or after the redirect URI was checked: only then may a form go there.
  if (expected.back !== undefined && got.headers["content-security-policy"] !== csp())
    wanted["content-security-policy"] = csp(formTargetOf(expected.back.uri));
  // Nobody is asked to authenticate, or told of methods, but by the status that is about it.
  if (expected.status !== 405) wanted["allow"] ??= null;
  if (expected.status !== 401) wanted["www-authenticate"] ??= null;
  if (expected.page !== undefined) wanted["access-control-allow-origin"] ??= null;
  if (expected.isBare === true)
    for (const name of Object.keys(got.headers))
      if (!(name in wanted)) fault(`the header ${name}`, got.headers[name], "absent");
  for (const [name, value] of Object.entries(wanted)) {
    if (!matches(got.headers[name], value)) fault(`the header ${name}`, got.headers[name], value);
  }
  if (expected.back !== undefined) faults.push(...backFaults(expected.back, got.headers["location"]));
  else if (!matches(got.headers["location"], expected.location ?? null))
    fault("the place to go to", got.headers["location"], expected.location ?? null);
  if (expected.body !== undefined && !matches(got.text, expected.body)) fault("the body", got.text, expected.body);
  if (expected.members !== undefined) faults.push(...memberFaults(expected.members, got));
  if (expected.error !== undefined) faults.push(...jsonFaults(expected.error, got));
  if (expected.page !== undefined) {
    const title = `${escaped((texts[expected.page] ?? "?").replace("{app}", expected.app ?? "An app"))} · Signet`;
    const is = /<title>([^<]*)<\/title>/.exec(got.text)?.[1];
    if (is !== title) fault("the page", is, title);
  }
  return faults;
}

/** RFC 6749 section 4.1.2.1: in the query of the registered address. */
function backFaults(back: NonNullable<Expected["back"]>, location: string | undefined): string[] {
  if (location === undefined) return ["it leads nowhere"];
  if (!URL.canParse(location)) return [`it leads to ${location}`];
  const url = new URL(location);
  const { error_description: description, ...is } = Object.fromEntries(url.searchParams);
  url.search = "";
  const wanted = {
    error: back.error,
    ...(back.state === undefined ? {} : { state: back.state }),
    ...(back.scope === undefined ? {} : { scope: back.scope }),
    iss: back.iss,
  };
  const faults = url.href === back.uri ? [] : [`it leads to ${url.href}, not ${back.uri}`];
  if (description !== undefined && !isDescription(description)) faults.push(`the description is ${shown(description)}`);
  const sorted = (value: object): string => JSON.stringify(Object.entries(value).sort());
  if (sorted(is) !== sorted(wanted)) faults.push(`the app is told ${shown(is)} (${description}), not ${shown(wanted)}`);
  return faults;
}

/** RFC 6749 section 5.2: printable ASCII without quote and backslash. */
function isDescription(text: unknown): boolean {
  return typeof text === "string" && /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/.test(text);
}

/** RFC 6749 section 5.2 gives the members; a caller gets no others. */
function jsonFaults(error: string | null, got: Got): string[] {
  let body: Record<string, unknown>;
  try {
    body = JSON.parse(got.text) as Record<string, unknown>;
  } catch {
    return [`the body is no JSON: ${got.text.slice(0, 200)}`];
  }
  if (error === null) return "error" in body ? [`there is an error: ${shown(body["error"])}`] : [];
  const strays = Object.keys(body).filter(
    (name) => !["error", "error_description", "scope", "state", "iss"].includes(name),
  );
  const faults = strays.map((name) => `the body holds ${name}`);
  if (body["error"] !== error)
    faults.push(`the error is ${shown(body["error"])}, not ${shown(error)} (${shown(body["error_description"])})`);
  const description = body["error_description"];
  if (description !== undefined && !isDescription(description)) faults.push(`the description is ${shown(description)}`);
  return faults;
}

/** Each member as it was said, and none beside them. */
function memberFaults(wanted: Members, got: Got): string[] {
  let body: Record<string, unknown>;
  try {
    body = JSON.parse(got.text) as Record<string, unknown>;
  } catch {
    return [`the body is no JSON: ${got.text.slice(0, 200)}`];
  }
  const names = [...new Set([...Object.keys(wanted), ...Object.keys(body)])];
  return names.flatMap((name) => {
    const [is, value] = [body[name], wanted[name]];
    const isRight =
      value instanceof RegExp
        ? is !== undefined && value.test(String(is))
        : value !== undefined && JSON.stringify(is) === JSON.stringify(value);
    return isRight ? [] : [`the member ${name} is ${shown(is)}, not ${shown(value)}`];
  });
}

function matches(is: string | undefined, wanted: string | RegExp | null): boolean {
  if (wanted === null) return is === undefined;
  if (is === undefined) return false;
  return typeof wanted === "string" ? is === wanted : wanted.test(is);
}

function escaped(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

function shown(value: unknown): string {
  const text = value instanceof RegExp ? String(value) : (JSON.stringify(value) ?? "absent");
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

// --- Sending -----------------------------------------------------------------------------------------------------

export interface Sender {
  send(row: Row): Promise<Got>;
  close(): void;
}

/** `accept` is what a browser says, so that errors are pages where pages are meant; a row's own headers win. */
export function createSender(target: { port: number; host: string }): Sender {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return {
    send: (row) => (row.raw === undefined ? sendHttp(row, { ...target, agent }) : sendRaw(row.raw, target.port)),
    close: () => agent.destroy(),
  };
}

function sendHttp(row: Row, target: { port: number; host: string; agent: Agent }): Promise<Got> {
  const form = row.form === undefined ? undefined : new URLSearchParams(toPairs(row.form)).toString();
  const body = row.body ?? form;
  const own = row.headers ?? [];
  const has = (name: string): boolean => own.some(([key]) => key.toLowerCase() === name);
  const headers: string[] = own.flat();
  if (!has("host")) headers.push("Host", target.host);
  if (!has("accept")) headers.push("Accept", "text/html,*/*;q=0.8");
  if (form !== undefined && !has("content-type")) headers.push("Content-Type", "application/x-www-form-urlencoded");
  const method = row.method ?? (body === undefined ? "GET" : "POST");
  if (row.isChunked === true) headers.push("Transfer-Encoding", "chunked");
  else if (body !== undefined || method === "POST")
    headers.push("Content-Length", String(Buffer.byteLength(body ?? "")));
  const begin = performance.now();
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: "127.0.0.1", port: target.port, agent: target.agent, method, path: row.path, headers },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const flat = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
          const text = Buffer.concat(chunks).toString();
          resolve({
            status: response.statusCode ?? 0,
            headers: Object.fromEntries(flat),
            text,
            ms: performance.now() - begin,
          });
        });
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

/** Writes the bytes and reads until the server closes; the request has to say `Connection: close` or be one that ends the connection. */
function sendRaw(raw: string, port: number): Promise<Got> {
  const begin = performance.now();
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(Buffer.from(raw, "latin1")));
    let bytes = Buffer.alloc(0);
    socket.setTimeout(ANSWER_MS_MAX * 2, () => socket.destroy(new Error(`no end of the answer to ${shown(raw)}`)));
    socket.on("data", (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (bytes.length > RAW_ANSWER_BYTES_MAX) socket.destroy(new Error("the answer does not end"));
    });
    socket.on("error", reject);
    socket.on("close", () => resolve({ ...parseAnswer(bytes.toString()), ms: performance.now() - begin }));
  });
}

function parseAnswer(text: string): Omit<Got, "ms"> {
  const split = text.indexOf("\r\n\r\n");
  const [line = "", ...lines] = text.slice(0, split === -1 ? undefined : split).split("\r\n");
  const headers = lines.map((each) => {
    const colon = each.indexOf(":");
    return [each.slice(0, colon).toLowerCase(), each.slice(colon + 1).trim()];
  });
  return {
    status: Number(/^HTTP\/1\.1 (\d{3})/.exec(line)?.[1] ?? 0),
    headers: Object.fromEntries(headers) as Record<string, string>,
    text: split === -1 ? "" : text.slice(split + 4),
  };
}

function toPairs(form: NonNullable<Row["form"]>): [string, string][] {
  const isList = (value: NonNullable<Row["form"]>): value is Pairs => Array.isArray(value);
  return (isList(form) ? form : Object.entries(form)).map(([name, value]): [string, string] => [name, value]);
}
