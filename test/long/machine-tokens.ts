/** Ten thousand JWTs of a service: no write to any store, counted by the stores. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { countWrites } from "../flows/machine-tokens.ts";
import { engines } from "../support.ts";

const TOKENS = 10_000;

for (const { engine, skip } of await engines()) {
  test(`${TOKENS} tokens of a service are no write to any store (${engine})`, { skip }, async () => {
    const { writes, seconds } = await countWrites(engine, TOKENS);
    const total = Object.values(writes).reduce((sum, count) => sum + count, 0);
    console.log(
      `# machine tokens, ${engine}: ${TOKENS} in ${seconds.toFixed(1)} s, writes to any store: ${total} ${JSON.stringify(writes)}`,
    );
    assert.deepEqual(writes, {});
  });
}
