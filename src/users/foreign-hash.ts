/**
 * Hashes of other systems: what an import may bring, read and bounded here, verified in the hashing child until the next sign-in renews
 * them. PHC strings (argon2i and argon2d, scrypt, PBKDF2) and bcrypt's own form.
 */
import { deriveByPbkdf2, deriveByScrypt, isEqualSecret } from "../secrets.ts";

export type ForeignHash =
  | { readonly kind: "argon2" | "bcrypt"; readonly stored: string }
  | {
      readonly kind: "scrypt";
      readonly salt: Buffer;
      readonly tag: Buffer;
      readonly cost: number;
      readonly blockSize: number;
      readonly parallel: number;
    }
  | {
      readonly kind: "pbkdf2";
      readonly salt: Buffer;
      readonly tag: Buffer;
      readonly digest: "sha1" | "sha256" | "sha512";
      readonly rounds: number;
    };

/** Whatever a row asks for is done while others wait: about a second at these bounds (T-PW-8). */
const MEMORY_KIB_MAX = 131_072;
const PASSES_MAX = 8;
const LANES_MAX = 4;
const BCRYPT_COST_MIN = 4;
const BCRYPT_COST_MAX = 13;
const SCRYPT_LOG_COST_MAX = 17;
const SCRYPT_WORK_MAX = 2 ** 20;
const PBKDF2_ROUNDS_MIN = 1000;
const PBKDF2_ROUNDS_MAX = 1_500_000;
const SALT_BYTES_MIN = 8;
const TAG_BYTES_MIN = 16;
const BYTES_MAX = 64;
/** The longest of them is an argon2 string with a long salt. */
const STORED_CHARS_MAX = 256;

const ARGON2 =
  /^\$argon2(?:id|i|d)\$(?:v=(?:16|19)\$)?m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}$/;
/** `2x` marks hashes of a broken program, which nobody can tell from good ones. */
const BCRYPT = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;
const SCRYPT = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/.]+)\$([A-Za-z0-9+/.]+)$/;
/** With the rounds as a parameter, or bare, as a well-known library of Python writes them. */
const PBKDF2 =
  /^\$(?:pbkdf2-(sha1|sha256|sha512)|pbkdf2)\$(?:i=)?(\d{1,7})(?:,l=\d{1,3})?\$([A-Za-z0-9+/.]+)\$([A-Za-z0-9+/.]+)$/;

/** Undefined for what is no such hash, or asks for more than the bounds. */
export function parseForeignHash(stored: string): ForeignHash | undefined {
  if (stored.length > STORED_CHARS_MAX) return undefined;
  return parseArgon2(stored) ?? parseBcrypt(stored) ?? parseScrypt(stored) ?? parsePbkdf2(stored);
}

function parseArgon2(stored: string): ForeignHash | undefined {
  const [, memory = 0, passes = 0, lanes = 0] = (ARGON2.exec(stored) ?? []).map(Number);
  const isBounded =
    isWithin(lanes, 1, LANES_MAX) && isWithin(memory, 8 * lanes, MEMORY_KIB_MAX) && isWithin(passes, 1, PASSES_MAX);
  return isBounded ? { kind: "argon2", stored } : undefined;
}

function parseBcrypt(stored: string): ForeignHash | undefined {
  const [, cost = 0] = (BCRYPT.exec(stored) ?? []).map(Number);
  return isWithin(cost, BCRYPT_COST_MIN, BCRYPT_COST_MAX) ? { kind: "bcrypt", stored } : undefined;
}

function parseScrypt(stored: string): ForeignHash | undefined {
  const found = SCRYPT.exec(stored) ?? [];
  const [, logCost = 0, blockSize = 0, parallel = 0] = found.slice(0, 4).map(Number);
  const [salt, tag] = [bytesOf(found[4], SALT_BYTES_MIN), bytesOf(found[5], TAG_BYTES_MIN)];
  if (salt === undefined || tag === undefined) return undefined;
  const cost = 2 ** logCost;
  const isBounded =
    isWithin(logCost, 1, SCRYPT_LOG_COST_MAX) &&
    isWithin((cost * blockSize) / 8, 1, MEMORY_KIB_MAX) &&
    isWithin(cost * blockSize * parallel, 1, SCRYPT_WORK_MAX);
  return isBounded ? { kind: "scrypt", salt, tag, cost, blockSize, parallel } : undefined;
}

function parsePbkdf2(stored: string): ForeignHash | undefined {
  const [, digest = "sha1", rounds, givenSalt, givenTag] = PBKDF2.exec(stored) ?? [];
  const [salt, tag] = [bytesOf(givenSalt, SALT_BYTES_MIN), bytesOf(givenTag, TAG_BYTES_MIN)];
  const isKnown = digest === "sha1" || digest === "sha256" || digest === "sha512";
  if (salt === undefined || tag === undefined || !isKnown) return undefined;
  const isBounded = isWithin(Number(rounds), PBKDF2_ROUNDS_MIN, PBKDF2_ROUNDS_MAX);
  return isBounded ? { kind: "pbkdf2", salt, tag, digest, rounds: Number(rounds) } : undefined;
}

/** Base64 without padding; some write a dot for the plus. */
function bytesOf(text: string | undefined, bytesMin: number): Buffer | undefined {
  const bytes = Buffer.from((text ?? "").replaceAll(".", "+"), "base64");
  return isWithin(bytes.length, bytesMin, BYTES_MAX) ? bytes : undefined;
}

function isWithin(value: number, minimum: number, maximum: number): boolean {
  return value >= minimum && value <= maximum;
}

/** What is verified with Node's own functions; argon2 and bcrypt are the child's. */
export async function verifyDerived(
  hash: Extract<ForeignHash, { kind: "scrypt" | "pbkdf2" }>,
  password: string,
): Promise<boolean> {
  const { tag } = hash;
  const key =
    hash.kind === "scrypt"
      ? await deriveByScrypt({ ...hash, password, bytes: tag.length })
      : await deriveByPbkdf2({ ...hash, password, bytes: tag.length });
  return isEqualSecret(key.toString("base64"), tag.toString("base64"));
}
