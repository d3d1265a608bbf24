/** `signet user import`: people and their password hashes from another system, a line each. */
import { open } from "node:fs/promises";
import { BY, type CommandIo, type Given, printFields, printJson } from "../commands.ts";
import { AppError } from "../errors.ts";
import { parseImportedUser } from "./schema.ts";
import type { Users } from "./user.ts";

/** A file of another kind is wrong in every line. */
const REFUSALS_SHOWN = 5;

/**
 * A line a user, with the names of the claims: email, email_verified, name and so on, password_hash. Run again it goes on where it ended: an
 * address that is known already is left as it is.
 */
export async function importUsers(app: { readonly users: Users }, given: Given, io: CommandIo): Promise<void> {
  const [source = "-"] = given.positionals;
  const tally = { imported: 0, known: 0, refused: [] as { line: number; reason: string }[] };
  let line = 0;
  for await (const text of linesOf(source, io)) {
    line += 1;
    if (text.trim() === "") continue;
    try {
      await app.users.create(parseImportedUser(parseLine(text)), BY);
      tally.imported += 1;
    } catch (error) {
      if (!(error instanceof AppError) || error.status >= 500) throw error;
      if (error.code === "user_email_taken") tally.known += 1;
      else tally.refused.push({ line, reason: error.message });
    }
  }
  if (io.isJson) printJson(io, tally);
  else printFields(io, { imported: tally.imported, "known already": tally.known, refused: tally.refused.length });
  if (tally.refused.length === 0) return;
  const shown = tally.refused.slice(0, REFUSALS_SHOWN).map((one) => `line ${one.line}: ${one.reason}`);
  throw new AppError("user_invalid", `${tally.refused.length} lines were refused. ${shown.join(" ")}`);
}

async function* linesOf(source: string, io: CommandIo): AsyncGenerator<string> {
  if (source === "-") return yield* (await io.readStdin()).split("\n");
  try {
    const file = await open(source);
    yield* file.readLines();
  } catch (error) {
    if (error instanceof AppError) throw error;
    const reason = error instanceof Error && "code" in error ? String(error.code) : "unknown reason";
    throw new AppError("command_usage", `The file cannot be read (${reason}). See: signet user import --help`);
  }
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new AppError("user_invalid", "It is no JSON.");
  }
}
