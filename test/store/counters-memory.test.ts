/** The counters of one process. */
import { createMemoryCounters } from "../../src/store/counters.ts";
import { countersContract } from "./counters.contract.ts";

const counters = createMemoryCounters();
countersContract("memory", {}, async () => [counters, counters]);
