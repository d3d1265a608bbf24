/** A service's JWT is made without a write to any store; `test:long` asks for ten thousand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { engines } from "../support.ts";
import { countWrites } from "./machine-tokens.ts";

const TOKENS = 200;

for (const { engine, skip } of await engines()) {
  test(`${TOKENS} tokens of a service are no write to any store (${engine})`, { skip }, async () => {
    assert.deepEqual((await countWrites(engine, TOKENS)).writes, {});
  });
}
