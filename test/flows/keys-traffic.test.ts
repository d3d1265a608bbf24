/** Keys rotate under traffic from two instances, and no resource server notices; the long run does it fifty times (test/long/keys.ts). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { spawnSignet } from "../support.ts";
import { beginJourney } from "./journey.ts";
import { linesOf, mustBeUnnoticed, runTraffic } from "./key-traffic.ts";

/** The shortest times that go together. */
const TIMES = {
  JWKS_CACHE_TIME: "1s",
  KEY_STALENESS: "2s",
  KEY_CLOCK_SKEW: "1s",
  KEY_ANNOUNCE_TIME: "5s",
  KEY_ROTATION_PERIOD: "6s",
  MAC_ROTATION_PERIOD: "4s",
  TOKEN_LIFETIME_MAX: "120s",
};
/** Of each of three algorithms. */
const ROTATIONS = 2;

test("signing keys and random keys rotate under traffic, and no verification, request or session fails (T-REL-16, T-SESS-11)", async () => {
  const journey = await beginJourney("postgres", TIMES);
  const other = await spawnSignet({ engine: "postgres", beside: { env: journey.env }, shiftTimeSeconds: 1 });
  const kids = new Set<string>();
  const versions = new Set<number>();
  const instances = {
    list: [
      { name: "here", client: () => journey.client() },
      { name: "there", client: () => other.client() },
    ],
  };
  const { keyring } = journey.service;
  const giveUpAt = performance.now() + 60_000;
  const report = await runTraffic(journey, instances, {
    toleranceSeconds: 2,
    isOver: () => {
      const { signing, secrets } = keyring.current();
      kids.add(signing.find(({ algorithm }) => algorithm === "ES256")?.kid ?? "");
      versions.add(secrets.cookie[0].version);
      return (kids.size > ROTATIONS && versions.size >= 3) || performance.now() > giveUpAt;
    },
  });
  for (const line of linesOf(report)) console.log(`# ${line}`);
  console.log(`# the cookie key was in ${versions.size} versions`);
  mustBeUnnoticed(report);
  assert.ok(versions.size >= 3, "the cookie key did not rotate twice");
  for (const algorithm of ["RS256", "ES256", "EdDSA"]) {
    const signed = [...report.byKey.keys()].filter((key) => key.startsWith(algorithm));
    assert.ok(signed.length >= ROTATIONS, `${algorithm}: ${signed.length} keys`);
  }
  await other.stop();
});
