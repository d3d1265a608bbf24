/** Secrets: randomness, prefix and checksum, SHA-256, comparison in constant time. Nothing here keeps anything. */
import {
  createHash,
  createHmac,
  hash,
  pbkdf2,
  randomBytes,
  randomInt,
  randomUUID,
  scrypt,
  timingSafeEqual,
} from "node:crypto";

/** Every secret that a client keeps has 256 random bits; guessing is then no attack that needs a slow hash. */
const SECRET_BYTES = 32;
/** Six base64url characters (36 bits of SHA-256): enough that a scanner of leaked secrets reports no chance match. */
const CHECKSUM_CHARS = 6;

/** Random bytes as base64url text; 32 bytes are 43 characters. */
export function randomText(bytes: number = SECRET_BYTES): string {
  return randomBytes(bytes).toString("base64url");
}

/** Drawn from the system for many ids at once, since each drawing costs as much as the rest of an answer from memory. */
const POOL_BYTES = 4096;
let pool = Buffer.alloc(0);
let used = 0;

/** As random as `randomText`, and cheaper; for what is no secret, since it lay in memory before it was given. */
export function randomName(bytes: number): string {
  if (used + bytes > pool.length) [pool, used] = [randomBytes(POOL_BYTES), 0];
  used += bytes;
  return pool.toString("base64url", used - bytes, used);
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

/** SHA-256 as base64url text: how secrets of 256 random bits and store keys are kept. In one call, at half the cost of an object that is fed (measured). */
export function sha256(text: string): string {
  return hash("sha256", text, "base64url");
}

/** SHA-256 as hex text, as files are checksummed. */
export function sha256Hex(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** SHA-1 as upper-case hex text: the name under which lists of stolen passwords are asked, never a way to keep anything. */
export function sha1Hex(text: string): string {
  return createHash("sha1").update(text).digest("hex").toUpperCase();
}

/** A code of decimal digits, each as likely as any other, for typing by hand. */
export function randomDigits(count: number): string {
  return Array.from({ length: count }, () => randomInt(10)).join("");
}

/** RFC 7914; the caller has bounded the parameters. */
export function deriveByScrypt(of: {
  readonly password: string;
  readonly salt: Buffer;
  readonly bytes: number;
  readonly cost: number;
  readonly blockSize: number;
  readonly parallel: number;
}): Promise<Buffer> {
  // Node refuses what needs more than 32 MiB unless told; its own count is a little above 128 N r.
  const options = { N: of.cost, r: of.blockSize, p: of.parallel, maxmem: 256 * of.cost * of.blockSize };
  return new Promise((resolve, reject) => {
    scrypt(of.password, of.salt, of.bytes, options, (error, key) => (error === null ? resolve(key) : reject(error)));
  });
}

/** RFC 8018 section 5.2; the caller has bounded the parameters. */
export function deriveByPbkdf2(of: {
  readonly password: string;
  readonly salt: Buffer;
  readonly bytes: number;
  readonly rounds: number;
  readonly digest: string;
}): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    pbkdf2(of.password, of.salt, of.rounds, of.bytes, of.digest, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

/** RFC 7636 section 4.2, S256. */
export function pkceChallenge(verifier: string): string {
  return sha256(verifier);
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
