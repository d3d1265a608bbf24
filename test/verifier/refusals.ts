/** Access tokens that are none, one row each with its section: what the verifier says of them. The server says of all of them that they are not active. */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

export interface Forge {
  readonly issuer: string;
  readonly audience: string;
  /** The issuer's own key, as if it had been stolen: only what the row changes is wrong. */
  readonly key: KeyObject;
  readonly kid: string;
  /** The public key as PEM, which is no secret. */
  readonly publicPem: string;
  /** A good token and its claims. */
  readonly good: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly idToken: string;
  /** Counts whoever comes; nobody should. */
  readonly trapUrl: string;
}

export interface Refused {
  readonly name: string;
  readonly token: string;
  /** What the verifier says, beside `invalid_token`. */
  readonly says: RegExp;
  /** Where the server answers otherwise than `active: false`. */
  readonly status?: number;
}

export function refusals(f: Forge): readonly Refused[] {
  const now = Math.floor(Date.now() / 1000);
  const thief = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const thiefJwk = thief.publicKey.export({ format: "jwk" });
  const header = { alg: "ES256", typ: "at+jwt", kid: f.kid };
  const made = (claims: object, more: object = {}, key = f.key): string =>
    jwt({ ...header, ...more }, { ...f.claims, ...claims }, key);
  const [head = "", body = "", signature = ""] = f.good.split(".");
  const unsigned = made({}, { alg: "none" }).split(".").slice(0, 2).join(".");
  const confused = `${part({ ...header, alg: "HS256" })}.${body}`;
  const hmac = createHmac("sha256", f.publicPem).update(confused).digest("base64url");
  let deep: unknown = "x";
  for (let depth = 0; depth < 3000; depth += 1) deep = [deep];
  const foreign = /algorithm/;
  const notSigned = /not signed by the issuer|not a JWT/;
  return [
    { name: "no algorithm (RFC 8725 3.2, T-JWT-1)", token: `${unsigned}.`, says: foreign },
    { name: "no algorithm with a signature (RFC 8725 3.2, T-JWT-1)", token: `${unsigned}.${signature}`, says: foreign },
    { name: "the public key as a shared secret (RFC 8725 2.1, T-JWT-2)", token: `${confused}.${hmac}`, says: foreign },
    { name: "another algorithm of the same key type (RFC 8725 3.1)", token: made({}, { alg: "ES384" }), says: foreign },
    { name: "an unknown key (RFC 7515 4.1.4, T-JWT-3)", token: made({}, { kid: "other" }), says: notSigned },
    {
      name: "a key that is a path (RFC 8725 3.10, T-JWT-3)",
      token: made({}, { kid: "../../etc/passwd" }),
      says: notSigned,
    },
    {
      name: "another's signature under our key's name (RFC 7515 5.2)",
      token: made({}, {}, thief.privateKey),
      says: notSigned,
    },
    {
      name: "a key of its own in the header (RFC 7515 4.1.3, T-JWT-4)",
      token: made({}, { jwk: thiefJwk }, thief.privateKey),
      says: notSigned,
    },
    {
      name: "the address of keys in the header (RFC 7515 4.1.2, T-JWT-4)",
      token: made({}, { jku: f.trapUrl }, thief.privateKey),
      says: notSigned,
    },
    {
      name: "the address of a certificate in the header (RFC 7515 4.1.5, T-JWT-4)",
      token: made({}, { x5u: f.trapUrl }, thief.privateKey),
      says: notSigned,
    },
    {
      name: "a critical extension that nobody knows (RFC 7515 4.1.11)",
      token: made({}, { crit: ["x"], x: 1 }),
      says: /not a JWT/,
    },
    { name: "expired (RFC 9068 4, T-JWT-5)", token: made({ iat: now - 700, exp: now - 100 }), says: /expired/ },
    { name: "not yet valid (RFC 7519 4.1.5, T-JWT-5)", token: made({ nbf: now + 300 }), says: /nbf/ },
    {
      name: "issued in the future (RFC 7519 4.1.6, T-JWT-5)",
      token: made({ iat: now + 300, exp: now + 900 }),
      says: /future/,
    },
    { name: "another API's (RFC 9068 4, T-JWT-6)", token: made({ aud: "https://other.example" }), says: /aud/ },
    { name: "another issuer's (RFC 9068 4, T-JWT-6)", token: made({ iss: "https://other.example" }), says: /iss/ },
    { name: "an ID token (RFC 9068 5, T-JWT-7)", token: f.idToken, says: /algorithm|typ/ },
    { name: "of another type (RFC 9068 2.1, T-JWT-7)", token: made({}, { typ: "JWT" }), says: /typ/ },
    { name: "without a type (RFC 9068 2.1)", token: made({}, { typ: undefined }), says: /typ/ },
    ...["sub", "client_id", "jti", "iat", "exp", "aud", "iss"].map((name) => ({
      name: `without ${name} (RFC 9068 2.2)`,
      token: made({ [name]: undefined }),
      says: new RegExp(name),
    })),
    { name: "without a signature (RFC 7515 5.2, T-JWT-8)", token: `${head}.${body}.`, says: notSigned },
    {
      name: "with half a signature (RFC 7515 5.2, T-JWT-8)",
      token: `${head}.${body}.${signature.slice(0, 40)}`,
      says: notSigned,
    },
    {
      name: "with a signature of zeros (RFC 7515 5.2, T-JWT-8)",
      token: `${head}.${body}.${"A".repeat(86)}`,
      says: notSigned,
    },
    {
      name: "with other claims under the same signature (RFC 7515 5.2)",
      token: `${head}.${part({ ...f.claims, scope: "admin" })}.${signature}`,
      says: notSigned,
    },
    { name: "two parts (RFC 7515 7.1)", token: `${head}.${body}`, says: /not a JWT/ },
    { name: "deep JSON in the claims (RFC 8725 3.12)", token: `${head}.${part(deep)}.${signature}`, says: notSigned },
    {
      name: "deep JSON in the header (RFC 8725 3.12)",
      token: `${part({ ...header, x: deep })}.${body}.${signature}`,
      says: notSigned,
    },
    { name: "a header of 50 kB (T-DOS-3)", token: made({}, { x: "x".repeat(50_000) }), says: /too long/, status: 413 },
  ];
}

function jwt(header: object, claims: object, key: KeyObject): string {
  const signed = `${part(header)}.${part(claims)}`;
  return `${signed}.${sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

function part(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
