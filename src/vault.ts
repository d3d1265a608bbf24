/** The vault: seals what must be read again (private keys, shared random keys) with AES-256-GCM, under keys derived from SECRET_KEY. */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** A sealed text names its key by these first characters of the key's own hash, so that the right key is found without trying all. */
const KEY_ID_CHARS = 8;

/** The text cannot be opened with any key of SECRET_KEY: the key is missing, or the row was altered. */
export class VaultError extends Error {}

export interface Vault {
  /** Seals under the first key. `context` binds the result to its row: it opens only with the same context. */
  seal(plain: string, context: string): string;
  /** Opens with whichever listed key sealed it; throws VaultError. */
  open(sealed: string, context: string): string;
  /** Whether the first key sealed it; if not, `signet key reencrypt` has work to do. */
  isCurrent(sealed: string): boolean;
}

/** The first secret seals, all of them open. Each is at least 32 random bytes (checked by the configuration). */
export function createVault(secretKeys: readonly Buffer[]): Vault {
  const keys = secretKeys.map((secret) => {
    const key = Buffer.from(hkdfSync("sha256", secret, "", "signet vault 1", 32));
    return { id: createHash("sha256").update(key).digest("hex").slice(0, KEY_ID_CHARS), key };
  });
  const first = keys[0];
  if (first === undefined) throw new Error("the vault needs a key");
  return {
    seal(plain, context) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", first.key, nonce).setAAD(Buffer.from(context));
      const body = Buffer.concat([nonce, cipher.update(plain, "utf8"), cipher.final(), cipher.getAuthTag()]);
      return `v1.${first.id}.${body.toString("base64url")}`;
    },
    open(sealed, context) {
      const [version, id, body] = sealed.split(".");
      const key = keys.find((candidate) => candidate.id === id)?.key;
      if (version !== "v1" || key === undefined || body === undefined) {
        throw new VaultError(`sealed with the key ${id ?? "(none)"}, which is not in SECRET_KEY`);
      }
      return decrypt(Buffer.from(body, "base64url"), key, context);
    },
    isCurrent: (sealed) => sealed.startsWith(`v1.${first.id}.`),
  };
}

function decrypt(body: Buffer, key: Buffer, context: string): string {
  if (body.length < NONCE_BYTES + TAG_BYTES) throw new VaultError("the sealed text is too short");
  const decipher = createDecipheriv("aes-256-gcm", key, body.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(context)).setAuthTag(body.subarray(-TAG_BYTES));
  try {
    const plain = Buffer.concat([decipher.update(body.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
    return plain.toString("utf8");
  } catch {
    throw new VaultError("the sealed text was altered or belongs to another row");
  }
}
