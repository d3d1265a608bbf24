/** The hostile table: its groups, and how a group is run. */
import { createSender, faultsOf, looseOf, type Row } from "./hostile.ts";
import { authorizeRows, logoutRows, pkceRows, redirectRows } from "./hostile-authorize.ts";
import type { Ground } from "./hostile-ground.ts";
import { documentKindRows, logoutKindRows, userinfoKindRows } from "./hostile-kinds.ts";
import { absentRows, documentRows, pageRows, rawRows } from "./hostile-pages.ts";
import { peopleRows } from "./hostile-people.ts";
import { assertionRows, authenticationRows, grantRows, introspectionRows, userinfoRows } from "./hostile-token.ts";

export interface Group {
  readonly name: string;
  /** Called just before the rows are sent: codes live a minute. */
  rows(ground: Ground): readonly Row[] | Promise<readonly Row[]>;
}

export const GROUPS: readonly Group[] = [
  { name: "authorize (T-SESS-10, T-JWT-1..8)", rows: authorizeRows },
  { name: "redirect_uri", rows: redirectRows },
  { name: "PKCE", rows: pkceRows },
  { name: "token, authentication", rows: (ground) => authenticationRows(ground, "/token") },
  { name: "token, assertions (T-JWT-1..6, T-JWT-8, T-DOS-3)", rows: assertionRows },
  { name: "token, grants (T-KEY-1, T-TOK-2, T-DOS-1)", rows: grantRows },
  { name: "userinfo (T-JWT-1..8, T-TOK-2, T-KEY-1)", rows: userinfoRows },
  { name: "userinfo, of every kind", rows: userinfoKindRows },
  { name: "introspect, authentication", rows: (ground) => authenticationRows(ground, "/introspect") },
  { name: "revoke, authentication", rows: (ground) => authenticationRows(ground, "/revoke") },
  { name: "introspect and revoke", rows: introspectionRows },
  { name: "logout (T-OUT-2, T-OUT-3, T-JWT-1..8)", rows: logoutRows },
  { name: "logout, of every kind", rows: logoutKindRows },
  { name: "discovery and JWKS", rows: documentRows },
  { name: "discovery and JWKS, of every kind", rows: documentKindRows },
  { name: "what is not there", rows: absentRows },
  { name: "pages and forms (T-REDIR-1, T-CONS-1)", rows: pageRows },
  { name: "sign-up, recovery and account (T-REDIR-1)", rows: peopleRows },
  { name: "request line and headers (T-HOST-1, T-HOST-4)", rows: rawRows },
];

/** Sends the group's rows one after another; a sentence for everything that is not as the row says, and one for each row that says too little. */
export async function runGroup(
  group: Group,
  ground: Ground,
): Promise<{ count: number; faults: readonly string[]; loose: readonly string[] }> {
  const rows = await group.rows(ground);
  const sender = createSender({ port: ground.journey.port, host: ground.host });
  const faults: string[] = [];
  for (const row of rows) {
    const got = await sender
      .send(row)
      .catch((error: Error) => ({ status: 0, headers: {}, text: error.message, ms: 0 }));
    for (const fault of faultsOf(row.expect, got)) faults.push(`${row.name}: ${fault}`);
  }
  sender.close();
  const loose = rows.flatMap((row) => looseOf(row).map((what) => `${row.name}: ${what}`));
  return { count: rows.length, faults, loose };
}
