/** The hashing child: argon2id in a process of its own, one call at a time. It holds no state, no secret and no connection. */
import argon2 from "argon2";
import { parseForeignHash, verifyDerived } from "./foreign-hash.ts";

export interface HashParameters {
  readonly memoryKiB: number;
  readonly passes: number;
  readonly lanes: number;
}

/** What the parent sends. */
export type HashCall =
  | { readonly id: number; readonly kind: "hash"; readonly password: string; readonly parameters: HashParameters }
  | { readonly id: number; readonly kind: "verify"; readonly password: string; readonly hash: string };

/** What the child answers: the hash, or whether it matched, or why neither; first of all that it is ready. */
export type HashReply =
  | { readonly kind: "ready" }
  | { readonly kind: "hash"; readonly id: number; readonly hash: string }
  | { readonly kind: "verify"; readonly id: number; readonly isMatch: boolean }
  | { readonly kind: "failed"; readonly id: number; readonly error: string };

/** RFC 9106 section 3.1: a tag of 32 bytes and a salt of 16. */
const TAG_BYTES = 32;

function reply(message: HashReply): void {
  // The parent may be gone by now; then there is nobody to tell.
  if (process.connected) process.send?.(message);
}

/** The parent has looked at the bounds of whatever comes here. */
async function verify(stored: string, password: string): Promise<boolean> {
  const foreign = parseForeignHash(stored);
  if (foreign?.kind === "scrypt" || foreign?.kind === "pbkdf2") return verifyDerived(foreign, password);
  if (foreign?.kind !== "bcrypt") return argon2.verify(stored, password);
  // Loaded by the first hash that needs it: most installations have none.
  const bcrypt = await import("bcryptjs");
  return bcrypt.compare(password, stored);
}

async function work(call: HashCall): Promise<HashReply> {
  const { id } = call;
  try {
    if (call.kind === "verify") {
      return { kind: "verify", id, isMatch: await verify(call.hash, call.password) };
    }
    const { memoryKiB, passes, lanes } = call.parameters;
    const options = { type: argon2.argon2id, memoryCost: memoryKiB, timeCost: passes, parallelism: lanes } as const;
    return { kind: "hash", id, hash: await argon2.hash(call.password, { ...options, hashLength: TAG_BYTES }) };
  } catch (error) {
    return { kind: "failed", id, error: error instanceof Error ? error.message : "unknown" };
  }
}

/** The file runs only as a child: imported for its types it does nothing. */
if (process.send !== undefined && process.argv[1]?.includes("hasher-child") === true) {
  process.on("message", (call: HashCall) => void work(call).then(reply));
  // The parent ends its children by closing the channel, also when it was killed itself.
  process.on("disconnect", () => process.exit(0));
  // A terminal sends Ctrl-C to the whole group; sign-ins that are being finished still need their hash.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
  reply({ kind: "ready" });
}
