/** Import: a private key from elsewhere, as PEM or JWK. It is looked at as hostile input: what is not plainly a good signing key is refused with the reason. */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import type { JWK } from "jose";
import { z } from "zod";
import { AppError } from "../errors.ts";
import { privateKeyOf, publicPartOf, type SigningAlgorithm } from "./key.ts";

export interface ImportedKey {
  readonly algorithm: SigningAlgorithm;
  readonly key: KeyObject;
  /** Its own name; without one it gets its thumbprint. */
  readonly kid: string | undefined;
}

/** NIST SP 800-131A and RFC 7518 section 3.3: shorter ones are no keys any more. */
const RSA_BITS_MIN = 2048;
/** A signature with a longer one takes milliseconds, and every token waits for it. */
const RSA_BITS_MAX = 4096;
/** The exponent that everybody uses; small ones and odd choices come from broken generators. */
const RSA_EXPONENT = 65_537n;
const KEY_CHARS_MAX = 32 * 1024;
/** Members that a private key consists of and that a damaged file lacks. */
const MEMBERS = { RSA: ["n", "e", "d", "p", "q", "dp", "dq", "qi"], EC: ["x", "y", "d"], OKP: ["x", "d"] } as const;

const member = z.string().regex(/^[A-Za-z0-9_-]{1,2000}$/);
const jwkShape = z.object({
  kty: z.enum(["RSA", "EC", "OKP"]),
  crv: z.string().max(20).optional(),
  kid: z
    .string()
    .regex(/^[A-Za-z0-9._~-]{1,128}$/)
    .refine((kid) => !kid.startsWith("--"), "begins with --, which reads as a flag: no command could name the key.")
    .optional(),
  use: z.literal("sig").optional(),
  alg: z.string().max(20).optional(),
  ...Object.fromEntries(
    Object.values(MEMBERS)
      .flat()
      .map((name) => [name, member.optional()]),
  ),
});

/** Throws AppError key_invalid that says what is wrong; it never repeats a part of the key. */
export function parseImportedKey(text: string): ImportedKey {
  if (text.length > KEY_CHARS_MAX) throw refused(`It is longer than ${KEY_CHARS_MAX} characters.`);
  const trimmed = text.trim();
  const { key, kid, named } = trimmed.startsWith("{") ? fromJwk(trimmed) : fromPem(trimmed);
  const algorithm = algorithmOf(key);
  if (named !== undefined && !isSameAlgorithm(named, algorithm))
    throw refused(`Its alg is ${named}; a key of its kind signs ${algorithm} here.`);
  checkPair(key);
  return { algorithm, key, kid };
}

function fromPem(text: string): { key: KeyObject; kid: undefined; named: undefined } {
  if (!text.startsWith("-----BEGIN ")) throw refused("It is neither PEM nor a JWK.");
  if (/ENCRYPTED/.test(text))
    throw refused("It is encrypted. Decrypt it first, for example with: openssl pkey -in FILE");
  if (!/PRIVATE KEY-----/.test(text)) throw refused("It holds no private key.");
  if ((text.match(/-----BEGIN [A-Z ]*PRIVATE KEY-----/g) ?? []).length > 1)
    throw refused("It holds several keys. Import them one at a time.");
  try {
    return { key: createPrivateKey({ key: text, format: "pem" }), kid: undefined, named: undefined };
  } catch {
    throw refused("The PEM cannot be read.");
  }
}

function fromJwk(text: string): { key: KeyObject; kid: string | undefined; named: string | undefined } {
  const value = parseJson(text);
  if (typeof value === "object" && value !== null && "keys" in value)
    throw refused("It is a set of keys. Import them one at a time.");
  const parsed = jwkShape.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = issue?.path.join(".") ?? "";
    if (issue?.code === "custom") throw refused(`${where} ${issue.message}`);
    throw refused(`The JWK has a member that cannot be used: ${where === "" ? "it is no object" : where}.`);
  }
  const jwk = parsed.data as JWK & { readonly kty: keyof typeof MEMBERS };
  const missing = MEMBERS[jwk.kty].filter((name) => jwk[name] === undefined);
  if (missing.includes("d" as never)) throw refused("It has no private part (d).");
  if (missing.length > 0) throw refused(`It lacks ${missing.join(", ")}: the public part has to be in it, too.`);
  checkCurve(jwk.kty, jwk.crv);
  try {
    return { key: privateKeyOf(jwk), kid: jwk.kid, named: jwk.alg };
  } catch {
    throw refused("The members of the JWK do not make a key.");
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw refused("The JSON cannot be read.");
  }
}

function checkCurve(kty: string, curve: string | undefined): void {
  const wanted = { EC: "P-256", OKP: "Ed25519" }[kty];
  if (wanted !== undefined && curve !== wanted) throw refused(`Its curve is not ${wanted}.`);
}

function algorithmOf(key: KeyObject): SigningAlgorithm {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details = {} } = key;
  if (type === "rsa") {
    const bits = details.modulusLength ?? 0;
    if (bits < RSA_BITS_MIN) throw refused(`It is an RSA key of ${bits} bits; at least ${RSA_BITS_MIN} are needed.`);
    if (bits > RSA_BITS_MAX) throw refused(`It is an RSA key of ${bits} bits; more than ${RSA_BITS_MAX} are too slow.`);
    if (details.publicExponent !== RSA_EXPONENT) throw refused(`Its public exponent is not ${RSA_EXPONENT}.`);
    return "RS256";
  }
  if (type === "ec") {
    if (details.namedCurve !== "prime256v1") throw refused("Its curve is not P-256.");
    return "ES256";
  }
  if (type === "ed25519") return "EdDSA";
  throw refused(`A key of type ${type ?? "unknown"} does not sign here: it is RSA, P-256 or Ed25519.`);
}

function isSameAlgorithm(named: string, algorithm: SigningAlgorithm): boolean {
  return named === algorithm || (named === "Ed25519" && algorithm === "EdDSA");
}

/** A public part that is another key's would make signatures that nobody can verify. */
function checkPair(key: KeyObject): void {
  const text = Buffer.from("signet");
  const digest = key.asymmetricKeyType === "ed25519" ? null : "sha256";
  const published = createPublicKey({
    key: publicPartOf(key.export({ format: "jwk" }) as JWK) as Record<string, unknown>,
    format: "jwk",
  });
  let isPair = false;
  try {
    isPair = verify(digest, text, published, sign(digest, text, key));
  } catch {
    // Numbers that are no key fail here already.
  }
  if (!isPair) throw refused("Its private and its public part do not belong together.");
}

function refused(why: string): AppError {
  return new AppError("key_invalid", why);
}
