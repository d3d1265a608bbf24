/** Commands: the shape of a command-line verb, and everything that follows from its table of flags: parsing, help texts, output, exit codes. */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { AppError } from "./errors.ts";

/** 0: done. 1: refused or failed. 2: called in a way that the command does not know. */
export type ExitCode = 0 | 1 | 2;

export interface CommandIo {
  out(text: string): void;
  err(text: string): void;
  /** All of standard input as text; bounded by whoever builds the io. */
  readStdin(): Promise<string>;
  /** `--json`: one JSON document on standard output and nothing else there. */
  readonly isJson: boolean;
}

/** One flag of a verb. A secret is never a flag: process lists and shell histories show them. */
export interface Flag {
  readonly type: "string" | "boolean";
  readonly summary: string;
  /** What stands for the value in the help text, for example "URL"; strings only. */
  readonly value?: string;
  /** May be given more than once; strings only. */
  readonly isList?: boolean;
}

export type Flags = Readonly<Record<string, Flag>>;

/** What was given, by flag name. Read it with `textOf`, `listOf` and `booleanOf`. */
export type Values = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

export interface Verb<A> {
  readonly verb: string;
  readonly summary: string;
  /** What stands after the verb, in order, for example ["id-or-email"]; all of them are required. */
  readonly positionals?: readonly string[];
  readonly flags: Flags;
  run(app: A, given: Given, io: CommandIo): Promise<void>;
}

export interface Given {
  readonly values: Values;
  readonly positionals: readonly string[];
}

/** The verbs of one noun; `A` is the part of the app that they use. */
export interface CommandGroup<A> {
  readonly noun: string;
  readonly summary: string;
  readonly verbs: readonly Verb<A>[];
}

/** A call that was understood: either a text to print, or a verb to run. */
export type Call<A> = { readonly help: string } | ({ readonly verb: Verb<A> } & Given);

/** Every verb knows these two, so no table repeats them. */
const COMMON: Flags = {
  json: { type: "boolean", summary: "print one JSON document, for machines" },
  help: { type: "boolean", summary: "print this text" },
};
/** Before a word that begins with one dash, while it is parsed. */
const MARK = "\0";
/** Column where the summaries of a help text begin, unless a name is longer. */
const HELP_COLUMN_MIN = 12;

/** Runs one call of a group, `argv` beginning after the noun. `withApp` opens what the verb needs and closes it afterwards; a help text opens nothing. */
export async function runCommand<A>(
  group: CommandGroup<A>,
  argv: readonly string[],
  io: Omit<CommandIo, "isJson">,
  withApp: (run: (app: A) => Promise<void>) => Promise<void>,
): Promise<ExitCode> {
  const full: CommandIo = { ...io, isJson: argv.includes("--json") };
  try {
    const call = parseCall(group, argv);
    if ("help" in call) io.out(call.help);
    else await withApp((app) => call.verb.run(app, call, full));
    return 0;
  } catch (error) {
    // What is no refusal of ours is the caller's to explain.
    if (!(error instanceof AppError)) throw error;
    return reportFailure(error, full);
  }
}

/** `argv` begins after the noun. Throws AppError command_usage with what is wrong and where the help is. */
export function parseCall<A>(group: CommandGroup<A>, argv: readonly string[]): Call<A> {
  const [only, another] = group.verbs;
  // A noun with one verb needs none: `signet activity --json`.
  const isPlain =
    only !== undefined && another === undefined && (argv[0] ?? "--").startsWith("--") && argv[0] !== "--help";
  const [word, ...rest] = isPlain ? [only.verb, ...argv] : argv;
  if (word === undefined || word === "--help" || word === "help") return { help: groupHelp(group) };
  const verb = group.verbs.find((candidate) => candidate.verb === word);
  if (verb === undefined) throw usage(group.noun, `"${printable(word)}" is no verb of "${group.noun}".`);
  const place = `${group.noun} ${verb.verb}`;
  const { values, positionals } = parse(place, verb, rest);
  if (values["help"] === true) return { help: verbHelp(group, verb) };
  const wanted = verb.positionals ?? [];
  const missing = wanted[positionals.length];
  if (missing !== undefined) throw usage(place, `<${missing}> is missing.`);
  if (positionals.length > wanted.length) {
    throw usage(place, `"${printable(positionals[wanted.length] ?? "")}" is one word too many.`);
  }
  return { verb, values, positionals };
}

/** Lists the verbs of a noun. */
export function groupHelp<A>(group: CommandGroup<A>): string {
  const rows = group.verbs.map((verb) => [callOf(verb), verb.summary] as const);
  return [`signet ${group.noun}: ${group.summary}`, "", ...helpRows(rows), "", more(group.noun), ""].join("\n");
}

/** Lists the flags of a verb. */
export function verbHelp<A>(group: CommandGroup<A>, verb: Verb<A>): string {
  const rows = Object.entries({ ...verb.flags, ...COMMON }).map(([name, flag]) => {
    const value = flag.type === "string" ? ` ${flag.value ?? "TEXT"}` : "";
    return [`--${name}${value}`, `${flag.summary}${flag.isList === true ? " (may be repeated)" : ""}`] as const;
  });
  return [`signet ${group.noun} ${callOf(verb)}`, `  ${verb.summary}`, "", ...helpRows(rows), ""].join("\n");
}

/** Prints what a refused command has to say and returns its exit code. */
export function reportFailure(error: AppError, io: CommandIo): ExitCode {
  const isUsage = error.code === "command_usage";
  // How the command was called is the caller's own: what is wrong with it says everything.
  const message = (isUsage ? error.detail : undefined) ?? error.message;
  if (io.isJson) io.err(`${JSON.stringify({ error: error.code, message })}\n`);
  else io.err(`${printable(message)}\n`);
  return isUsage ? 2 : 1;
}

/** A refusal of the way a command was called; exit code 2. */
export function usage(place: string, fault: string): AppError {
  return new AppError("command_usage", `${fault} See: signet ${place} --help`);
}

/** The text of a flag, or undefined when it was not given. */
export function textOf(given: Given, name: string): string | undefined {
  const value = given.values[name];
  return typeof value === "string" ? value : undefined;
}

/** The texts of a flag that may be repeated, or undefined when it was not given at all. */
export function listOf(given: Given, name: string): readonly string[] | undefined {
  const value = given.values[name];
  if (typeof value === "string") return [value];
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === "string") : undefined;
}

/** `--x` is true, `--no-x` is false, neither is undefined. */
export function booleanOf(given: Given, name: string): boolean | undefined {
  const value = given.values[name];
  return typeof value === "boolean" ? value : undefined;
}

/** Reads a secret from standard input ("-") or from a file; one line ending at the end is dropped, since editors and echo add it. */
export async function readSecret(source: string, io: CommandIo): Promise<string> {
  const text = source === "-" ? await io.readStdin() : await readSecretFile(source);
  return text.replace(/\r?\n$/, "");
}

/** The one JSON document of a command. */
export function printJson(io: CommandIo, document: unknown): void {
  io.out(`${JSON.stringify(document, null, 2)}\n`);
}

/** One line per field, the names aligned; fields without a value are left out. */
export function printFields(io: CommandIo, fields: Readonly<Record<string, unknown>>): void {
  const present = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  const width = Math.max(0, ...present.map(([name]) => name.length));
  for (const [name, value] of present) io.out(`${name.padEnd(width)}  ${cell(value)}\n`);
}

/** Rows under a line of titles, aligned; says so when there are none. */
export function printTable(io: CommandIo, titles: readonly string[], rows: readonly (readonly unknown[])[]): void {
  if (rows.length === 0) {
    io.out("There are none.\n");
    return;
  }
  const lines = [titles, ...rows.map((row) => row.map(cell))];
  const widths = titles.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  for (const line of lines) {
    const padded = line.map((text, column) => text.padEnd(widths[column] ?? 0));
    io.out(`${padded.join("  ").trimEnd()}\n`);
  }
}

function parse<A>(place: string, verb: Verb<A>, argv: readonly string[]): Given {
  const options = Object.fromEntries(
    Object.entries({ ...verb.flags, ...COMMON }).map(([name, flag]) => [
      name,
      { type: flag.type, multiple: flag.isList === true },
    ]),
  );
  // No flag of ours has one dash: such a word is a name, such as that of a key. No argument of a process can hold the mark.
  const marked = argv.map((word) => (/^-[^-]/.test(word) ? MARK + word : word));
  try {
    const given = parseArgs({ args: marked, options, strict: true, allowPositionals: true, allowNegative: true });
    const plain = (text: string): string => (text.startsWith(MARK) ? text.slice(MARK.length) : text);
    const values = Object.entries(given.values).map(([name, value]) => [
      name,
      typeof value === "string" ? plain(value) : Array.isArray(value) ? value.map((one) => plain(String(one))) : value,
    ]);
    return { values: Object.fromEntries(values) as Values, positionals: given.positionals.map(plain) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    // The first sentence names the flag; the following ones explain how to pass odd values, which helps nobody here.
    throw usage(place, `${printable(error.message.split(". ")[0]?.split("\n")[0] ?? "The flags are wrong")}.`);
  }
}

function callOf<A>(verb: Verb<A>): string {
  return [verb.verb, ...(verb.positionals ?? []).map((name) => `<${name}>`)].join(" ");
}

function more(noun: string): string {
  return `The flags of a verb: signet ${noun} <verb> --help`;
}

function helpRows(rows: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(HELP_COLUMN_MIN, ...rows.map(([name]) => name.length));
  return rows.map(([name, summary]) => `  ${name.padEnd(width)}  ${summary}`);
}

async function readSecretFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : "unknown reason";
    throw new AppError("command_usage", `The file ${printable(path)} cannot be read (${reason}).`);
  }
}

function cell(value: unknown): string {
  if (value === undefined || value === null || value === "") return "-";
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.length === 0 ? "-" : value.map(cell).join(", ");
  return printable(typeof value === "object" ? JSON.stringify(value) : String(value));
}

/** Stored text never moves the cursor of an administrator's terminal or forges a line. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, " ");
}

export interface Person {
  readonly id: string;
  readonly email: string;
}

export interface People {
  find(id: string): Promise<Person | undefined>;
  findByEmail(email: string): Promise<Person | undefined>;
}

/** The user that the first word after the verb names, by id or by address. Throws AppError user_unknown. */
export async function personOf({ users }: { readonly users: People }, given: Given): Promise<Person> {
  const [idOrEmail = ""] = given.positionals;
  const person = (await users.find(idOrEmail)) ?? (await users.findByEmail(idOrEmail));
  if (person === undefined) throw new AppError("user_unknown");
  return person;
}

/** One sentence for people, or the document for machines. */
export function printDone(io: CommandIo, document: Readonly<Record<string, unknown>>, sentence: string): void {
  if (io.isJson) printJson(io, document);
  else io.out(`${sentence}\n`);
}

/** Whoever works on the host, as the audit trail names them. */
export const BY = { kind: "command" } as const;

/** A whole number of a flag; undefined when it was not given. */
export function numberOf(place: string, given: Given, name: string): number | undefined {
  const text = textOf(given, name);
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw usage(place, `--${name} is a whole number.`);
  return Number(text);
}
