/** What the parts of the contract stand on: an empty store for each test, whatever the engine, and what only its engine can tell about it. */
import type { TestContext } from "node:test";
import type { GrantStore } from "../../src/store/grants.ts";
import { openPlace, type Place } from "./grants-races.ts";

/** How often a race is run, and by how many callers. */
export const ROUNDS = 25;
export const PARALLEL = 8;
/** A lifetime that ends while the test waits, and one that does not. */
export const SHORT_SECONDS = 1;
export const LONG_SECONDS = 60;
/** After this much of real time what had the short lifetime has ended. */
export const AFTER_SHORT_MS = 1300;

/** An empty store of a test's own, and what only its engine can tell about it. */
export interface Ground {
  readonly place: Place;
  /** Everything that is kept, as text. */
  dump(): Promise<string>;
  /** Whatever is kept without an end. */
  endless(): Promise<readonly string[]>;
  /** How many records there are, also those that ended and were not swept yet. */
  count(): Promise<number>;
  /** Bytes of the one record that there is. */
  size(): Promise<number>;
}

export interface Contract {
  readonly name: string;
  readonly skip: string | false;
  /** How often one family is rotated; each time is one statement or two. */
  readonly rotations: number;
  /** How many sessions one user has at once, in hundreds. */
  readonly sessions: number;
  ground(): Promise<Ground>;
}

/** A store on a ground of its own; closed with the test. */
export async function openAlone(t: TestContext, contract: Contract): Promise<{ store: GrantStore; ground: Ground }> {
  const ground = await contract.ground();
  return { store: await openAt(t, ground.place), ground };
}

export async function openAt(t: TestContext, place: Place): Promise<GrantStore> {
  const store = await openPlace(place);
  t.after(() => store.close());
  return store;
}
