/** The contract of the expiring store, the same for every engine: `contract(...)` is called by one test file per engine. */
import { describe } from "node:test";
import { familiesContract } from "./grants-families.contract.ts";
import type { Contract } from "./grants-ground.ts";
import { mergingContract } from "./grants-merging.contract.ts";
import { recordsContract } from "./grants-records.contract.ts";
import { revocationsContract } from "./grants-revocations.contract.ts";
import { sessionsContract } from "./grants-sessions.contract.ts";
import { wholeContract } from "./grants-whole.contract.ts";

export function contract(contract: Contract): void {
  describe(`${contract.name}: records`, { skip: contract.skip, concurrency: 4 }, () => recordsContract(contract));
  describe(`${contract.name}: Grants`, { skip: contract.skip, concurrency: 4 }, () => mergingContract(contract));
  describe(`${contract.name}: sessions`, { skip: contract.skip, concurrency: 4 }, () => sessionsContract(contract));
  describe(`${contract.name}: revoking`, { skip: contract.skip, concurrency: 4 }, () => revocationsContract(contract));
  describe(`${contract.name}: families`, { skip: contract.skip, concurrency: 4 }, () => familiesContract(contract));
  describe(`${contract.name}: the whole store`, { skip: contract.skip }, () => wholeContract(contract));
}
