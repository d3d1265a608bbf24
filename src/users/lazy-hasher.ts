/** A hasher that is opened when the first password comes: most commands see none, and a child process takes a third of a second. */
import type { Hasher } from "./hasher.ts";

export interface LazyHasher extends Hasher {
  /** Opens it now; the server does so before it listens, so that the first sign-in does not wait. */
  open(): Promise<Hasher>;
}

export function lazyHasher(openHasher: () => Promise<Hasher>): LazyHasher {
  let opening: Promise<Hasher> | undefined;
  let opened: Hasher | undefined;
  const open = async (): Promise<Hasher> => {
    opening ??= openHasher();
    opened = await opening;
    return opened;
  };
  const known = (): Hasher => {
    if (opened === undefined) throw new Error("the hasher was not opened");
    return opened;
  };
  return {
    open,
    hash: async (password) => (await open()).hash(password),
    verify: async (hash, password, isAhead) => (await open()).verify(hash, password, isAhead),
    needsRehash: (hash) => known().needsRehash(hash),
    get decoyHash() {
      return known().decoyHash;
    },
    get hashMs() {
      return known().hashMs;
    },
    queued: () => opened?.queued() ?? 0,
    close: async () => (await opening)?.close(),
  };
}
