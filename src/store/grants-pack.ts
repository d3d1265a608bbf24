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
/** Words of scopes and grant types, one byte each. Only ever appended to. */
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
];
const NAME_BY_WORD = new Map(NAMES.map((name, index) => [name, index + 1]));
const CODE_BY_WORD = new Map(WORDS.map((word, index) => [word, index]));

/** An entry begins with one byte: the type of its value in the upper three bits, the place of its name in the lower five; 0 means that the name follows. */
const NAME_BITS = 5;
const NAME_MASK = 31;
/** JSON, text and base64url are preceded by a length; the others have one of their own. */
const JSON_VALUE = 0;
const TEXT = 1;
const BASE64URL = 2;
const UUID = 3;
const UINT32 = 4;
const WORD_LIST = 5;
const TRUE = 6;

const UUID_TEXT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const BASE64URL_TEXT = /^[A-Za-z0-9_-]{4,}$/;
/** Half a character, which UTF-8 cannot hold: such a text stays JSON, where it is escaped. */
const SURROGATE = /[\ud800-\udfff]/;
const UINT32_MAX = 0xffff_ffff;

export function pack(payload: JsonObject): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of Object.entries(payload)) {
    const json = JSON.stringify(value) as string | undefined;
    if (json === undefined) continue;
    const place = NAME_BY_WORD.get(name) ?? 0;
    const [type, bytes] = packValue(value, json);
    parts.push(Buffer.of((type << NAME_BITS) | place));
    if (place === 0) parts.push(withLength(Buffer.from(JSON.stringify(name))));
    parts.push(bytes);
  }
  return Buffer.concat(parts);
}

export function unpack(packed: Buffer): JsonObject {
  const reader = createReader(packed);
  const entries: [string, unknown][] = [];
  while (!reader.isAtEnd()) {
    const head = reader.byte();
    const name = (head & NAME_MASK) === 0 ? JSON.parse(reader.text()) : NAMES[(head & NAME_MASK) - 1];
    if (typeof name !== "string") throw new Error("a packed record has an unknown name");
    entries.push([name, unpackValue(head >> NAME_BITS, reader)]);
  }
  return Object.fromEntries(entries);
}

function packValue(value: unknown, json: string): readonly [type: number, bytes: Buffer] {
  if (value === true) return [TRUE, Buffer.alloc(0)];
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= UINT32_MAX) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return [UINT32, bytes];
  }
  if (typeof value !== "string" || SURROGATE.test(value)) return [JSON_VALUE, withLength(Buffer.from(json))];
  const codes = value.split(" ").map((word) => CODE_BY_WORD.get(word));
  if (codes.every((code) => code !== undefined) && codes.length < 128) {
    return [WORD_LIST, Buffer.of(codes.length, ...codes)];
  }
  if (UUID_TEXT.test(value)) return [UUID, Buffer.from(value.replaceAll("-", ""), "hex")];
  if (BASE64URL_TEXT.test(value)) return [BASE64URL, Buffer.concat([size(value.length), base64urlBytes(value)])];
  return [TEXT, withLength(Buffer.from(value))];
}

function unpackValue(type: number, reader: Reader): unknown {
  if (type === TRUE) return true;
  if (type === UINT32) return reader.bytes(4).readUInt32BE();
  if (type === UUID)
    return reader
      .bytes(16)
      .toString("hex")
      .replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  if (type === TEXT) return reader.text();
  if (type === JSON_VALUE) return JSON.parse(reader.text());
  if (type === WORD_LIST) return Array.from(reader.bytes(reader.byte()), (code) => WORDS[code]).join(" ");
  if (type !== BASE64URL) throw new Error("a packed record has an unknown type");
  const characters = reader.size();
  return reader
    .bytes(Math.ceil((characters * 6) / 8))
    .toString("base64url")
    .slice(0, characters);
}

/** Six bits a character, also where the text is no encoding of whole bytes: random identifiers of 43 characters have 258 bits. */
function base64urlBytes(text: string): Buffer {
  const padded = text.padEnd(Math.ceil(text.length / 4) * 4, "A");
  return Buffer.from(padded, "base64url").subarray(0, Math.ceil((text.length * 6) / 8));
}

function withLength(bytes: Buffer): Buffer {
  return Buffer.concat([size(bytes.length), bytes]);
}

/** Seven bits a byte, the lowest first; the eighth says that more follow. */
function size(length: number): Buffer {
  const bytes: number[] = [];
  let rest = length;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.of(...bytes, rest);
}

interface Reader {
  isAtEnd(): boolean;
  byte(): number;
  bytes(count: number): Buffer;
  size(): number;
  text(): string;
}

function createReader(packed: Buffer): Reader {
  let at = 0;
  const bytes = (count: number): Buffer => {
    if (at + count > packed.length) throw new Error("a packed record ends too early");
    at += count;
    return packed.subarray(at - count, at);
  };
  const byte = (): number => bytes(1).readUInt8();
  const readSize = (): number => {
    let [length, factor, next] = [0, 1, byte()];
    for (; next > 127; next = byte()) {
      length += (next - 128) * factor;
      factor *= 128;
    }
    return length + next * factor;
  };
  return { isAtEnd: () => at >= packed.length, byte, bytes, size: readSize, text: () => bytes(readSize()).toString() };
}
