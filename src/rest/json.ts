/** JSON bodies: bounded, of one content type, and read in the only way that nobody can read otherwise: no name twice, no NUL, no half of a character. */
import type { Context } from "koa";
import rawBody from "raw-body";
import { AppError } from "../errors.ts";

/** The largest valid body is a client with twenty redirect addresses of 2 KiB; 20 keys of 8192 bits have half of that. */
export const BODY_BYTES_MAX = 64 * 1024;
/** Four times as deep as the deepest shape that any operation takes. */
const DEPTH_MAX = 32;
const TYPES = ["application/json", "application/merge-patch+json"];
/**
 * Strings and structure; numbers and words matter to nobody here, and what is between is the parser's to refuse. A string without an end reaches
 * to the end of the text: looked for anew behind each of its quotes it would cost the square of its length.
 */
const TOKEN = /"[^"\\]*(?:\\[\s\S][^"\\]*)*(?:"|\\?$)|[{}[\]:]/g;
/** Postgres takes no NUL in a text, and no UTF-8 has a lone surrogate. */
const IMPOSSIBLE = /[\0\p{Cs}]/u;

export interface JsonBody {
  readonly text: string;
  readonly value: unknown;
}

/** Undefined when there is no body. Throws AppError body_type_unsupported, body_too_large, request_malformed. */
export async function readJson(ctx: Context): Promise<JsonBody | undefined> {
  const isEmpty = ctx.get("transfer-encoding") === "" && (ctx.request.length ?? 0) === 0;
  if (isEmpty) return undefined;
  const isPlain = ["", "identity"].includes(ctx.get("content-encoding").toLowerCase());
  const [type = "", ...parameters] = ctx.get("content-type").toLowerCase().split(";");
  const isUtf8 = parameters.every((parameter) => /^\s*charset="?utf-8"?\s*$/.test(parameter));
  if (!isPlain || !isUtf8 || !TYPES.includes(type.trim()))
    throw new AppError("body_type_unsupported", "Send application/json in UTF-8.");
  const bytes = await rawBody(ctx.req, { limit: BODY_BYTES_MAX, length: ctx.request.length }).catch(
    (error: unknown) => {
      const isTooLarge = error instanceof Error && "type" in error && error.type === "entity.too.large";
      throw new AppError(isTooLarge ? "body_too_large" : "request_malformed");
    },
  );
  const text = decode(bytes);
  return { text, value: parseJson(text) };
}

/** Throws AppError request_malformed with what is wrong. */
export function parseJson(text: string): unknown {
  checkTokens(text);
  try {
    return JSON.parse(text);
  } catch {
    throw malformed("The body is not JSON.");
  }
}

function checkTokens(text: string): void {
  /** One entry per open bracket: the names of an object, or undefined for an array. */
  const open: (Set<string> | undefined)[] = [];
  let last: string | undefined;
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "{" || token === "[") {
      if (open.length >= DEPTH_MAX) throw malformed(`The body is nested deeper than ${DEPTH_MAX} levels.`);
      open.push(token === "{" ? new Set() : undefined);
    } else if (token === "}" || token === "]") open.pop();
    else if (token === ":") checkName(last, open.at(-1));
    else last = readString(token);
  }
}

function checkName(name: string | undefined, names: Set<string> | undefined): void {
  if (name === undefined || names === undefined) return;
  // Whatever merges it into an object would change what every object is.
  if (name === "__proto__") throw malformed('The name "__proto__" is not taken.');
  if (names.has(name)) throw malformed(`The name ${JSON.stringify(name.slice(0, 100))} stands twice in one object.`);
  names.add(name);
}

function readString(token: string): string {
  let text: unknown;
  try {
    text = JSON.parse(token);
  } catch {
    throw malformed("The body is not JSON.");
  }
  if (typeof text !== "string" || IMPOSSIBLE.test(text))
    throw malformed("A text holds a NUL or half of a surrogate pair.");
  return text;
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw malformed("The body is not UTF-8.");
  }
}

function malformed(detail: string): AppError {
  return new AppError("request_malformed", detail);
}
