/** Signing keys as the engine takes them: each signs through node:crypto, at once and on this thread. */
import { createPublicKey, type KeyObject, sign } from "node:crypto";
import { ExternalSigningKey } from "oidc-provider";
import { privateKeyOf, type SigningKey } from "../keys/key.ts";

/** RFC 7518 section 3.4 wants the two numbers of an ECDSA signature side by side; Node's default is their DER form. EdDSA hashes by itself. */
const WAYS: Readonly<Record<string, { readonly digest: string | null; readonly more: object }>> = {
  RS256: { digest: "sha256", more: {} },
  ES256: { digest: "sha256", more: { dsaEncoding: "ieee-p1363" } },
  EdDSA: { digest: null, more: {} },
};

/**
 * The library signs a JWK through Web Crypto, whose way over the thread pool costs more than the signature itself: an ES256 signature takes
 * 48 µs here and 195 there, an RS256 one 413 and 464 (measured on two busy cores, Node 20). The key types that it offers for signers outside
 * are the public way to say otherwise (`features.externalSigningSupport`, an experiment of the library: its version is pinned, and a test
 * compares what both make).
 */
class NodeSigningKey extends ExternalSigningKey {
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #algorithm: string;
  readonly #kid: string;

  constructor({ privateJwk, algorithm, kid }: SigningKey) {
    super();
    this.#privateKey = privateKeyOf(privateJwk);
    this.#publicKey = createPublicKey(this.#privateKey);
    this.#algorithm = algorithm;
    this.#kid = kid;
  }

  override get kid(): string {
    return this.#kid;
  }

  override get alg(): string {
    return this.#algorithm;
  }

  override keyObject(): KeyObject {
    return this.#publicKey;
  }

  override sign(data: Uint8Array): Uint8Array {
    const way = WAYS[this.#algorithm];
    if (way === undefined) throw new Error(`nothing signs with ${this.#algorithm}`);
    return sign(way.digest, data, { key: this.#privateKey, ...way.more });
  }
}

export function engineKey(key: SigningKey): ExternalSigningKey {
  return new NodeSigningKey(key);
}
