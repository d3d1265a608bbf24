/** Hostile requests over every endpoint: each row names the exact answer. Both engines answer alike. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { engines } from "../support.ts";
import { createSender, faultsOf, type Row } from "./hostile.ts";
import { authorizeRows, logoutRows, pkceRows, redirectRows } from "./hostile-authorize.ts";
import { type Ground, prepareGround } from "./hostile-ground.ts";
import { absentRows, documentRows, pageRows, rawRows } from "./hostile-pages.ts";
import { assertionRows, authenticationRows, grantRows, introspectionRows, userinfoRows } from "./hostile-token.ts";

const GROUPS: readonly (readonly [string, (ground: Ground) => Row[] | Promise<Row[]>])[] = [
  ["authorize", authorizeRows],
  ["redirect_uri", redirectRows],
  ["PKCE", pkceRows],
  ["token, authentication", (g) => authenticationRows(g, "/token")],
  ["token, assertions", assertionRows],
  ["token, grants", grantRows],
  ["userinfo", userinfoRows],
  ["introspect, authentication", (g) => authenticationRows(g, "/introspect")],
  ["revoke, authentication", (g) => authenticationRows(g, "/revoke")],
  ["introspect and revoke", introspectionRows],
  ["logout", logoutRows],
  ["discovery and JWKS", documentRows],
  ["what is not there", absentRows],
  ["pages and forms", pageRows],
  ["request line and headers", rawRows],
];
const ROWS_MIN = 200;
/** Two rows break their body off after the headers were read; Koa reports that the answer had nobody to go to. */
const BODY_BROKEN = /"error":"Parse Error: [^"]+","msg":"the answer could not be sent"/;

for (const { engine, skip } of await engines()) {
  const ground = skip === false ? prepareGround(engine) : undefined;
  let total = 0;
  for (const [name, rowsOf] of GROUPS) {
    test(`hostile requests: ${name} (${engine})`, { skip }, async (t) => {
      if (ground === undefined) throw new Error("skipped");
      const { host, journey } = await ground;
      const rows = await rowsOf(await ground);
      const sender = createSender({ port: journey.port, host });
      const faults: string[] = [];
      for (const row of rows) {
        const got = await sender
          .send(row)
          .catch((error: Error) => ({ status: 0, headers: {}, text: error.message, ms: 0 }));
        for (const fault of faultsOf(row.expect, got)) faults.push(`${row.name}: ${fault}`);
      }
      sender.close();
      total += rows.length;
      t.diagnostic(`${rows.length} rows`);
      assert.ok(faults.length === 0, `${faults.length} faults:\n${faults.join("\n")}`);
    });
  }
  test(`hostile requests: no row was a fault of ours, and there are enough of them (${engine})`, {
    skip,
  }, async (t) => {
    if (ground === undefined) throw new Error("skipped");
    const { journey } = await ground;
    t.diagnostic(`${total} rows in all`);
    assert.ok(total >= ROWS_MIN, `${total} rows`);
    const bad = journey.lines.filter((line) => /"level":"error"/.test(line) && !BODY_BROKEN.test(line));
    assert.deepEqual(bad, []);
  });
}
