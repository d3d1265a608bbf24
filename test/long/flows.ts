/** The full code flow 200 times on each engine: 20 people at once, ten flows each in a row, every limit on, each person at an address of their own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as openid from "openid-client";
import { API, beginJourney, PASSWORD, tokensOf } from "../flows/journey.ts";
import { engines } from "../support.ts";

const PEOPLE = 20;
const FLOWS_EACH = 10;
const SCOPE = "openid profile email read:things";

for (const { engine, skip } of await engines()) {
  test(`${PEOPLE * FLOWS_EACH} code flows, ${PEOPLE} at once, no error (${engine})`, { skip }, async () => {
    const journey = await beginJourney(engine, { TRUST_PROXY: "1", LOG_LEVEL: "warn" });
    const config = await journey.party(journey.web);
    const emails = await Promise.all(
      Array.from({ length: PEOPLE }, async (_, index) => {
        const email = `person-${index}@lindqvist.example`;
        await journey.createUser(email);
        return email;
      }),
    );
    const begun = performance.now();
    const times: number[] = [];
    await Promise.all(
      emails.map(async (email, index) => {
        for (let flow = 0; flow < FLOWS_EACH; flow += 1) {
          const start = performance.now();
          // A new browser each time: the password is asked, the consent of the first time is remembered.
          const tokens = await tokensOf(journey.client(), config, {
            email,
            password: PASSWORD,
            scope: SCOPE,
            parameters: { resource: API },
            address: `203.0.113.${index + 1}`,
          });
          const refreshed = await openid.refreshTokenGrant(config, tokens.refresh_token ?? "", {
            scope: "openid email",
          });
          const person = await openid.fetchUserInfo(config, refreshed.access_token, tokens.claims()?.sub ?? "");
          assert.equal(person.email, email);
          times.push(performance.now() - start);
        }
      }),
    );
    const seconds = (performance.now() - begun) / 1000;
    times.sort((a, b) => a - b);
    const at = (share: number): string => `${Math.round(times[Math.floor(times.length * share)] ?? 0)} ms`;
    console.log(
      `flows (${engine}): ${times.length} of ${PEOPLE * FLOWS_EACH}, 0 errors, ${seconds.toFixed(1)} s, median ${at(0.5)}, p95 ${at(0.95)}`,
    );
    assert.equal(times.length, PEOPLE * FLOWS_EACH);
    assert.deepEqual(
      journey.lines.filter((line) => line.includes('"level":"error"')),
      [],
    );
  });
}
