/** A dump of the database, and the search in it for every secret part of every key in every form that a key is written in. */
import { createPrivateKey } from "node:crypto";
import type { Keyring, KeySnapshot } from "../../src/keys/keyring.ts";
import type { Db } from "../../src/store/db.ts";

/** Secret parts by what they are of; short members are left out, since they would be found by chance. */
export type Secrets = Map<string, string>;

/** Everything that this process ever held, from now on. */
export function collectSecrets(keyring: Keyring): Secrets {
  const secrets: Secrets = new Map();
  const add = (keys: KeySnapshot): void => {
    for (const [name, text] of secretsOf(keys)) secrets.set(name, text);
  };
  add(keyring.current());
  keyring.onChange(async (keys) => add(keys));
  return secrets;
}

export function* secretsOf({ signing, secrets }: KeySnapshot): Generator<readonly [string, string]> {
  for (const { kid, privateJwk } of signing) {
    for (const name of ["d", "p", "q", "dp", "dq", "qi"] as const) {
      const member = privateJwk[name];
      if (member === undefined) continue;
      yield* formsOf(`${name} of ${kid}`, Buffer.from(member, "base64url"));
    }
    const key = createPrivateKey({ key: privateJwk as Record<string, unknown>, format: "jwk" });
    yield* formsOf(`PEM of ${kid}`, key.export({ type: "pkcs8", format: "der" }));
  }
  for (const [purpose, versions] of Object.entries(secrets))
    for (const { version, key } of versions) yield* formsOf(`${purpose} ${version}`, key);
}

function* formsOf(name: string, bytes: Buffer): Generator<readonly [string, string]> {
  // The last group depends on padding; without it the text stands in any base64 of these bytes that begins with them.
  yield [`${name}, base64`, bytes.toString("base64").replace(/=+$/, "").slice(0, -2)];
  yield [`${name}, base64url`, bytes.toString("base64url").slice(0, -2)];
  yield [`${name}, hex`, bytes.toString("hex")];
}

/** Every row of every table as text, without the line breaks that a PEM has. */
export async function dumpOf(db: Db): Promise<string> {
  const tables = await db.query<{ name: string }>(
    "select quote_ident(tablename) as name from pg_tables where schemaname = 'public' order by 1",
  );
  const parts: string[] = [];
  for (const { name } of tables) {
    const rows = await db.query<{ text: string }>(`select to_jsonb(t)::text as text from ${name} t`);
    parts.push(...rows.map(({ text }) => text.replaceAll("\\n", "")));
  }
  return parts.join("\n");
}

/** The names of what was found. */
export function search(dump: string, secrets: ReadonlyMap<string, string>): readonly string[] {
  const lower = dump.toLowerCase();
  return [...secrets]
    .filter(([name, text]) => (name.endsWith("hex") ? lower.includes(text) : dump.includes(text)))
    .map(([name]) => name);
}
