/** Packing: a family's payload in half the bytes of its JSON, so that a hundred million sign-ins fit into memory. Lossless for any JSON object. */
import type { JsonObject } from "./grants.ts";

/** Names that cost one byte together with the type of their value. Only ever appended to: what is stored names them by place. */
const NAMES = [
  "accountId",
  "acr",
  "amr",
  "attestationJkt",
  "authTime",
  "claims",
  "clientId",
  "exp",
  "expiresWithSession",
  "extra",
  "grantId",
  "gty",
  "iat",
  "iiat",
  "jkt",
  "kind",
  "nonce",
  "rar",
  "resource",
  "rotations",
  "scope",
  "sessionUid",
  "sid",
  "x5t#S256",
];
/** What nearly every family holds: an entry of one byte, whose place follows those of the names. Only ever appended to, and together with the names at most 31. */
const USUAL = [
  ["acr", "urn:signet:acr:1fa"],
  ["kind", "RefreshToken"],
] as const;
/** Words of scopes, grant types and ways to sign in (RFC 8176), one byte each. Only ever appended to. */
const WORDS = [
  "openid",
  "profile",
  "email",
  "offline_access",
  "address",
  "phone",
  "authorization_code",
  "refresh_token",
  "urn:ietf:params:oauth:grant-type:device_code",
  "RefreshToken",
  "pwd",
  "mfa",
  "otp",
  "hwk",
  "swk",
  "user",
];
/** Moments near the one at which the token was issued, which comes before them: later than it by so much, or earlier. */
const LATER = new Set(["exp"]);
const EARLIER = new Set(["authTime", "iiat"]);
const PLACE_BY_NAME = new Map(NAMES.map((name, index) => [name, index + 1]));
const CODE_BY_WORD: ReadonlyMap<unknown, number> = new Map(WORDS.map((word, index) => [word, index]));

/** An entry begins with one byte: the type of its value in the upper three bits, the place of its name in the lower five; 0 means that the name follows. */
const NAME_BITS = 5;
const NAME_MASK = 31;
/** JSON, text and base64url are preceded by a length; the others have one of their own. */
const JSON_VALUE = 0;
const TEXT = 1;
const BASE64URL = 2;
const UUID = 3;
const UINT32 = 4;
/** A count, and a byte for each word; the highest bit of the count says that they stand in an array and not in one text. */
const WORD_LIST = 5;
const TRUE = 6;
/** Seconds between `iat` and the moment, in three bytes: half a year, more than any family lives. */
const NEAR = 7;

const UUID_TEXT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const UUID_BYTES = 16;
const BASE64URL_TEXT = /^[A-Za-z0-9_-]{4,}$/;
/** Half a character, which UTF-8 cannot hold: such a text stays JSON, where it is escaped. */
const SURROGATE = /[\ud800-\udfff]/;
const UINT32_MAX = 0xffff_ffff;
const WORDS_MAX = 127;
const ARRAY_BIT = 128;
const NEAR_BYTES = 3;
const NEAR_LIMIT = 2 ** (8 * NEAR_BYTES);
/** What a character of JSON takes at most in UTF-8, and what an entry adds to its JSON at most. */
const CHARACTER_BYTES_MAX = 3;
const ENTRY_BYTES_MAX = 8;

/** One buffer and the place in it: this runs at every refresh, where many small buffers would cost more than the packing itself. */
interface Cursor {
  readonly buffer: Buffer;
  at: number;
  /** Of the payload, once it was written or read. */
  iat?: number;
}

export function pack(payload: JsonObject): Buffer {
  const entries = Object.entries(payload);
  const sizeMax = JSON.stringify(payload).length * CHARACTER_BYTES_MAX + entries.length * ENTRY_BYTES_MAX;
  const cursor: Cursor = { buffer: Buffer.allocUnsafe(sizeMax), at: 0 };
  for (const [name, value] of entries) {
    // What JSON has no text for is not there, as in any other record.
    if (value === undefined || typeof value === "function" || typeof value === "symbol") continue;
    writeEntry(cursor, name, value);
  }
  return cursor.buffer.subarray(0, cursor.at);
}

export function unpack(packed: Buffer): JsonObject {
  const cursor: Cursor = { buffer: packed, at: 0 };
  const payload: Record<string, unknown> = {};
  while (cursor.at < packed.length) {
    const head = readByte(cursor);
    const place = head & NAME_MASK;
    const usual = place > NAMES.length ? USUAL[place - NAMES.length - 1] : undefined;
    if (usual !== undefined) {
      payload[usual[0]] = usual[1];
      continue;
    }
    const name = place === 0 ? (JSON.parse(readText(cursor)) as string) : NAMES[place - 1];
    if (name === undefined) throw new Error("a packed record has an unknown name");
    const type = head >> NAME_BITS;
    const value = type === NEAR ? readNear(cursor, name) : readValue(cursor, type);
    if (name === "iat" && type === UINT32) cursor.iat = value as number;
    if (place > 0) payload[name] = value;
    // Defined, not assigned: a name may be one of an object's own members.
    else Object.defineProperty(payload, name, { value, enumerable: true, configurable: true, writable: true });
  }
  return payload;
}

function writeEntry(cursor: Cursor, name: string, value: unknown): void {
  const usual = USUAL.findIndex((entry) => entry[0] === name && entry[1] === value);
  if (usual !== -1) writeByte(cursor, (TRUE << NAME_BITS) | (NAMES.length + 1 + usual));
  else if (value === true) writeHead(cursor, name, TRUE);
  else if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= UINT32_MAX) {
    writeNumber(cursor, name, value);
  } else if (typeof value === "string" && !SURROGATE.test(value)) writeString(cursor, name, value);
  else {
    const codes = Array.isArray(value) && value.length > 0 ? wordCodes(value) : undefined;
    if (codes !== undefined) writeWords(cursor, name, codes, ARRAY_BIT);
    else writeJson(cursor, name, value);
  }
}

function writeJson(cursor: Cursor, name: string, value: unknown): void {
  writeHead(cursor, name, JSON_VALUE);
  writeText(cursor, JSON.stringify(value));
}

function writeNumber(cursor: Cursor, name: string, value: number): void {
  const { iat } = cursor;
  const distance = iat === undefined ? -1 : distanceTo(iat, name, value);
  if (distance >= 0 && distance < NEAR_LIMIT) {
    writeHead(cursor, name, NEAR);
    cursor.at = cursor.buffer.writeUIntBE(distance, cursor.at, NEAR_BYTES);
    return;
  }
  writeHead(cursor, name, UINT32);
  cursor.at = cursor.buffer.writeUInt32BE(value, cursor.at);
  if (name === "iat") cursor.iat = value;
}

/** Negative where it lies on the other side, or is no such moment. */
function distanceTo(iat: number, name: string, value: number): number {
  if (LATER.has(name)) return value - iat;
  return EARLIER.has(name) ? iat - value : -1;
}

function readNear(cursor: Cursor, name: string): number {
  const { buffer, iat } = cursor;
  if (iat === undefined) throw new Error("a packed record counts from a moment that it does not name");
  const distance = buffer.readUIntBE(skip(cursor, NEAR_BYTES), NEAR_BYTES);
  return LATER.has(name) ? iat + distance : iat - distance;
}

function writeWords(cursor: Cursor, name: string, codes: readonly number[], bit: number): void {
  writeHead(cursor, name, WORD_LIST);
  writeByte(cursor, codes.length + bit);
  for (const code of codes) writeByte(cursor, code);
}

function writeString(cursor: Cursor, name: string, value: string): void {
  const codes = wordCodes(value.split(" "));
  if (codes !== undefined) writeWords(cursor, name, codes, 0);
  else if (UUID_TEXT.test(value)) {
    writeHead(cursor, name, UUID);
    cursor.at += cursor.buffer.write(value.replaceAll("-", ""), cursor.at, "hex");
  } else if (BASE64URL_TEXT.test(value)) {
    writeHead(cursor, name, BASE64URL);
    writeSize(cursor, value.length);
    // Six bits a character, also where the text is no encoding of whole bytes: random identifiers of 43 characters have 258 bits.
    cursor.buffer.write(value.padEnd(Math.ceil(value.length / 4) * 4, "A"), cursor.at, "base64url");
    cursor.at += base64urlBytes(value.length);
  } else {
    writeHead(cursor, name, TEXT);
    writeText(cursor, value);
  }
}

function writeHead(cursor: Cursor, name: string, type: number): void {
  const place = PLACE_BY_NAME.get(name) ?? 0;
  writeByte(cursor, (type << NAME_BITS) | place);
  if (place === 0) writeText(cursor, JSON.stringify(name));
}

function readValue(cursor: Cursor, type: number): unknown {
  if (type === TRUE) return true;
  if (type === UINT32) return cursor.buffer.readUInt32BE(skip(cursor, 4));
  if (type === TEXT) return readText(cursor);
  if (type === JSON_VALUE) return JSON.parse(readText(cursor));
  if (type === UUID) {
    const hex = cursor.buffer.toString("hex", skip(cursor, UUID_BYTES), cursor.at);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }
  if (type === WORD_LIST) {
    const words: (string | undefined)[] = [];
    const count = readByte(cursor);
    for (let left = count % ARRAY_BIT; left > 0; left -= 1) words.push(WORDS[readByte(cursor)]);
    return count >= ARRAY_BIT ? words : words.join(" ");
  }
  if (type !== BASE64URL) throw new Error("a packed record has an unknown type");
  const characters = readSize(cursor);
  return cursor.buffer.toString("base64url", skip(cursor, base64urlBytes(characters)), cursor.at).slice(0, characters);
}

/** Undefined unless every word is known. */
function wordCodes(words: readonly unknown[]): readonly number[] | undefined {
  const codes: number[] = [];
  for (const word of words) {
    const code = CODE_BY_WORD.get(word);
    if (code === undefined || codes.length === WORDS_MAX) return undefined;
    codes.push(code);
  }
  return codes;
}

function base64urlBytes(characters: number): number {
  return Math.ceil((characters * 6) / 8);
}

function writeText(cursor: Cursor, text: string): void {
  writeSize(cursor, Buffer.byteLength(text));
  cursor.at += cursor.buffer.write(text, cursor.at);
}

function readText(cursor: Cursor): string {
  return cursor.buffer.toString("utf8", skip(cursor, readSize(cursor)), cursor.at);
}

/** Seven bits a byte, the lowest first; the eighth says that more follow. */
function writeSize(cursor: Cursor, size: number): void {
  let rest = size;
  for (; rest > 127; rest = Math.floor(rest / 128)) writeByte(cursor, (rest % 128) + 128);
  writeByte(cursor, rest);
}

function writeByte(cursor: Cursor, byte: number): void {
  cursor.at = cursor.buffer.writeUInt8(byte, cursor.at);
}

function readSize(cursor: Cursor): number {
  let [size, factor, next] = [0, 1, readByte(cursor)];
  for (; next > 127; next = readByte(cursor)) {
    size += (next - 128) * factor;
    factor *= 128;
  }
  return size + next * factor;
}

function readByte(cursor: Cursor): number {
  return cursor.buffer.readUInt8(skip(cursor, 1));
}

/** Moves on, and answers where it was. */
function skip(cursor: Cursor, bytes: number): number {
  const from = cursor.at;
  if (from + bytes > cursor.buffer.length) throw new Error("a packed record ends too early");
  cursor.at += bytes;
  return from;
}
