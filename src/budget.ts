/** The budget: how long one request may wait for the database, all its questions together; a caller hears in time, however often was asked (T-REL-10). */
import { AsyncLocalStorage } from "node:async_hooks";

interface Budget {
  leftMs: number;
}

const current = new AsyncLocalStorage<Budget>();

/** Everything that `run` begins waits no longer than this for the database. */
export function withBudget<T>(milliseconds: number, run: () => T): T {
  return current.run({ leftMs: milliseconds }, run);
}

/** What is left; without an end outside of requests. */
export function budgetLeftMs(): number {
  return current.getStore()?.leftMs ?? Number.POSITIVE_INFINITY;
}

export function spendBudget(milliseconds: number): void {
  const budget = current.getStore();
  if (budget !== undefined) budget.leftMs -= milliseconds;
}
