/** Secrets: randomness, prefix and checksum, SHA-256, comparison in constant time. Nothing here keeps anything. */
import { createHash, createHmac, randomBytes, randomUUID, timingSafeEqual } from "node:crypto";

/** Every secret that a client keeps has 256 random bits; guessing is then no attack that needs a slow hash. */
const SECRET_BYTES = 32;
/** Six base64url characters (36 bits of SHA-256): enough that a scanner of leaked secrets reports no chance match. */
const CHECKSUM_CHARS = 6;

/** Random bytes as base64url text; 32 bytes are 43 characters. */
export function randomText(bytes: number = SECRET_BYTES): string {
  return randomBytes(bytes).toString("base64url");
}

/** Random bytes as they are, for keys. */
export function randomKey(bytes: number = SECRET_BYTES): Buffer {
  return randomBytes(bytes);
}

/** An id that is no secret and is never given twice. */
export function newId(): string {
  return randomUUID();
}

/** `<prefix>_<43 random characters><6 of checksum>`, for example `sgn_cs_…`: scanners find it, a typing error is told from a wrong secret. */
export function newSecret(prefix: string): string {
  const body = `${prefix}_${randomText()}`;
  return body + checksum(body);
}

/** Whether the text has the prefix and its own checksum. It says nothing about whether anybody was given it. */
export function isWellFormedSecret(prefix: string, secret: string): boolean {
  const body = secret.slice(0, -CHECKSUM_CHARS);
  return secret.startsWith(`${prefix}_`) && body.length === prefix.length + 44 && secret.endsWith(checksum(body));
}

/** SHA-256 as base64url text: how secrets of 256 random bits and store keys are kept. */
export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

/** SHA-256 as hex text, as files are checksummed. */
export function sha256Hex(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** HMAC-SHA-256 as base64url text. */
export function hmac(key: Buffer, text: string): string {
  return createHmac("sha256", key).update(text).digest("base64url");
}

/** Compares without telling by its time where two texts differ; different lengths compare as different. */
export function isEqualSecret(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

function checksum(body: string): string {
  return createHash("sha256").update(body).digest("base64url").slice(0, CHECKSUM_CHARS);
}
