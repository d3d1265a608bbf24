/** Commands: `signet key …`. They change the same rows as a running server, which hears of it by notice. */
import {
  BY,
  booleanOf,
  type CommandGroup,
  type CommandIo,
  listOf,
  printFields,
  printJson,
  printTable,
  readSecret,
  textOf,
  usage,
  type Verb,
} from "../commands.ts";
import type { KeyTimes } from "../key-times.ts";
import type { Keys, Revoked } from "./administration.ts";
import { parseImportedKey } from "./import.ts";
import { SIGNING_ALGORITHMS, type SigningAlgorithm } from "./key.ts";
import { presentKey, presentKeys, presentRevoked, presentSuccessor } from "./present.ts";

export interface KeyCommandApp {
  readonly keys: Keys;
  readonly config: { readonly keyTimes: KeyTimes };
}

const list: Verb<KeyCommandApp> = {
  verb: "list",
  summary: "lists the signing keys and the random keys with what each of them does until when",
  flags: {},
  async run({ keys, config }, _given, io) {
    const all = presentKeys(await keys.list(), config.keyTimes);
    if (io.isJson) return printJson(io, all);
    const { signing_keys: shown, rotation: next, random_keys: random } = all;
    printTable(
      io,
      ["kid", "algorithm", "state", "origin", "signs from", "signs until", "published until"],
      shown.map((key) => [
        key.kid,
        key.algorithm,
        key.state,
        key.origin,
        key.activated_at ?? key.activates_at,
        key.retired_at ??
          (key.state === "active" ? next.find((row) => row.algorithm === key.algorithm)?.next_rotation_at : ""),
        key.revoked_at ?? key.unpublishes_at,
      ]),
    );
    io.out("\n");
    printTable(
      io,
      ["random key", "version", "state", "created at"],
      random.map((key) => [key.purpose, key.version, key.state, key.created_at]),
    );
  },
};

const rotate: Verb<KeyCommandApp> = {
  verb: "rotate",
  summary: "announces the next signing keys now; they sign when every resource server can know them",
  flags: {
    algorithm: {
      type: "string",
      value: "NAME",
      isList: true,
      summary: `${SIGNING_ALGORITHMS.join(", ")}; all without it`,
    },
  },
  async run({ keys }, given, io) {
    const wanted = (listOf(given, "algorithm") ?? []).map(readAlgorithm);
    const successors = await keys.rotate(wanted, BY);
    const rows = successors.map(presentSuccessor);
    if (io.isJson) return printJson(io, rows);
    printTable(
      io,
      ["algorithm", "kid", "signs from", ""],
      rows.map((row) => [row.algorithm, row.kid, row.signs_at, row.is_new ? "announced now" : "was announced before"]),
    );
  },
};

const importKey: Verb<KeyCommandApp> = {
  verb: "import",
  summary: "takes in a private key (PEM or JWK: RSA from 2048 bits, P-256, Ed25519) as the next one of its algorithm",
  flags: {
    "key-file": { type: "string", value: "FILE", summary: "the file with the key, or - for standard input" },
    "signs-now": {
      type: "boolean",
      summary:
        "it signs at once: for a key that resource servers know already, such as that of the server you move from",
    },
  },
  async run({ keys, config }, given, io) {
    const file = textOf(given, "key-file");
    if (file === undefined) throw usage("key import", "--key-file is missing: a file, or - for standard input.");
    const imported = parseImportedKey(await readSecret(file, io));
    const row = await keys.import(imported, { signsNow: booleanOf(given, "signs-now") === true }, BY);
    const shown = presentKey(row, config.keyTimes);
    if (io.isJson) printJson(io, shown);
    else printFields(io, shown);
  },
};

const revoke: Verb<KeyCommandApp> = {
  verb: "revoke",
  summary: "emergency: takes a signing key out of the JWKS at once; what it signed is no longer good",
  positionals: ["kid"],
  flags: {},
  async run({ keys }, given, io) {
    const [kid = ""] = given.positionals;
    show(io, await keys.revoke(kid, BY));
  },
};

const reencrypt: Verb<KeyCommandApp> = {
  verb: "reencrypt",
  summary: "seals everything that a later entry of SECRET_KEY sealed with the first one, so that the later one can go",
  flags: {},
  async run({ keys }, _given, io) {
    const counts = await keys.reencrypt(BY);
    if (io.isJson) return printJson(io, { reencrypted: counts });
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    if (total === 0) io.out("Everything is sealed with the first entry of SECRET_KEY.\n");
    else {
      printFields(io, counts);
      io.out(
        "All of it is sealed with the first entry of SECRET_KEY now; the others can go once every process has been restarted with it first.\n",
      );
    }
  },
};

export const keyCommands: CommandGroup<KeyCommandApp> = {
  noun: "key",
  summary: "signing keys and random keys: see, rotate, import, revoke, seal anew",
  verbs: [list, rotate, importKey, revoke, reencrypt],
};

function show(io: CommandIo, revoked: Revoked): void {
  const { kid, algorithm, was, signedFrom, signedUntil, believedUntil, successor, refusedUntil } = revoked;
  if (io.isJson) {
    printJson(io, presentRevoked(revoked));
    return;
  }
  io.out(`The key ${kid} (${algorithm}, was ${was}) is out of the JWKS, and its private part is destroyed.\n`);
  if (signedFrom === undefined || signedUntil === undefined) {
    io.out("It has signed nothing, so no token ends.\n");
    return;
  }
  io.out(
    `Every ID token and JWT access token that it signed is no longer good: those issued from ${signedFrom.toISOString()} to ${signedUntil.toISOString()}. Opaque tokens and refresh tokens are untouched.\n`,
  );
  io.out(
    `A resource server may still take them until ${believedUntil.toISOString()}, since its copy of the JWKS may be that old; restart those that matter.\n`,
  );
  if (successor !== undefined) io.out(`${successor} signs from now on.\n`);
  if (refusedUntil !== undefined)
    io.out(
      `It was not published long enough before: a resource server that keeps its copy may refuse new tokens until ${refusedUntil.toISOString()}.\n`,
    );
}

function readAlgorithm(text: string): SigningAlgorithm {
  const known = SIGNING_ALGORITHMS.find((algorithm) => algorithm === text);
  if (known === undefined) throw usage("key rotate", `--algorithm is one of ${SIGNING_ALGORITHMS.join(", ")}.`);
  return known;
}
