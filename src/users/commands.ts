/** `signet user`: the verbs of users on the command line. A password is read from standard input or a file, never from a flag. */
import {
  BY,
  booleanOf,
  type CommandGroup,
  type CommandIo,
  type Flags,
  type Given,
  printFields,
  printJson,
  printTable,
  readSecret,
  textOf,
  usage,
  type Verb,
} from "../commands.ts";
import { AppError } from "../errors.ts";
import { importUsers } from "./import-command.ts";
import { parseNewUser, parseUserChange, parseUserFilter } from "./schema.ts";
import { presentUser, type User, type Users } from "./user.ts";

interface App {
  readonly users: Users;
  readonly roles: RoleHolding;
}

/** What the room of roles does for users; each returns the roles that the user then has. */
interface RoleHolding {
  grant(holder: RoleHolder, role: string, by: typeof BY): Promise<readonly string[]>;
  revoke(holder: RoleHolder, role: string, by: typeof BY): Promise<readonly string[]>;
}

interface RoleHolder {
  readonly kind: "user";
  readonly id: string;
}

/** Flag of a claim -> its name on the wire (OpenID Connect Core section 5.1). */
const CLAIM_FLAGS = {
  name: ["name", "full name, as it is shown"],
  "given-name": ["given_name", "given name or names"],
  "family-name": ["family_name", "family name or names"],
  "middle-name": ["middle_name", "middle name or names"],
  nickname: ["nickname", "what friends say"],
  "preferred-username": ["preferred_username", "name for apps that show one; it signs nobody in"],
  profile: ["profile", "URL of a profile page"],
  picture: ["picture", "URL of a picture"],
  website: ["website", "URL of a web page"],
  gender: ["gender", "gender"],
  birthdate: ["birthdate", "YYYY-MM-DD; year 0000 hides the year"],
  zoneinfo: ["zoneinfo", "time zone, for example Europe/Paris"],
  locale: ["locale", "language tag, for example en-US"],
  "phone-number": ["phone_number", "telephone number, for example +49 30 123456"],
} as const;
const ADDRESS_FLAGS = {
  "address-formatted": ["formatted", "postal address as on a letter; what is given replaces the whole address"],
  "address-street": ["street_address", "street and number"],
  "address-locality": ["locality", "city"],
  "address-region": ["region", "state, province or region"],
  "address-postal-code": ["postal_code", "postal code"],
  "address-country": ["country", "country"],
} as const;
type NamedFlags = Readonly<Record<string, readonly [string, string]>>;

const PASSWORD_FLAG: Flags = {
  "password-file": { type: "string", value: "PATH", summary: "file that holds the password; - reads standard input" },
};
const COMMON_FLAGS: Flags = {
  "email-verified": { type: "boolean", summary: "the address is known to be the person's (--no-email-verified: not)" },
  owner: { type: "boolean", summary: "give the role of owner (update: --no-owner takes it)" },
  ...textFlags(CLAIM_FLAGS),
  "phone-number-verified": { type: "boolean", summary: "the number is known to be the person's" },
  ...textFlags(ADDRESS_FLAGS),
};
const CLEARABLE = [...Object.keys(CLAIM_FLAGS), "address"];

export const userCommands: CommandGroup<App> = {
  noun: "user",
  summary: "the people who sign in",
  verbs: [
    {
      verb: "create",
      summary: "add a user; without a password the user cannot sign in yet",
      flags: {
        email: { type: "string", value: "ADDRESS", summary: "e-mail address; required" },
        ...PASSWORD_FLAG,
        ...COMMON_FLAGS,
      },
      run: createUser,
    },
    {
      verb: "list",
      summary: "list users in order of creation",
      flags: {
        limit: { type: "string", value: "N", summary: "at most so many, 1 to 200; 50 unless given" },
        after: { type: "string", value: "CURSOR", summary: "continue where the page before ended" },
        query: { type: "string", summary: "only this id, or users whose address, name or family name begins so" },
      },
      run: listUsers,
    },
    {
      verb: "import",
      summary: "add users from a file of JSON lines, with the password hashes of another system",
      positionals: ["file-or-dash"],
      flags: {},
      run: importUsers,
    },
    { verb: "get", summary: "show one user", positionals: ["id-or-email"], flags: {}, run: showUser },
    {
      verb: "update",
      summary: "change what is given and leave the rest",
      positionals: ["id-or-email"],
      flags: {
        email: { type: "string", value: "ADDRESS", summary: "new address; unverified unless --email-verified" },
        ...PASSWORD_FLAG,
        ...COMMON_FLAGS,
        clear: {
          type: "string",
          value: "FLAG",
          isList: true,
          summary: "take a value away, for example --clear nickname, --clear address",
        },
      },
      run: updateUser,
    },
    disabling("disable", "stop a user from signing in and end what apps can do for them", true),
    disabling("enable", "let a disabled user sign in again", false),
    holding("grant-role", "give a user a role; it counts from the next token on", "grant"),
    holding("revoke-role", "take a role from a user; the next token carries less", "revoke"),
  ],
};

async function createUser(app: App, given: Given, io: CommandIo): Promise<void> {
  const email = textOf(given, "email");
  if (email === undefined) throw usage("user create", "--email is missing.");
  const fields = { email, ...fieldsOf(given), ...(await passwordOf(given, io)) };
  printUser(await app.users.create(parseNewUser(fields), BY), io);
}

async function listUsers(app: App, given: Given, io: CommandIo): Promise<void> {
  const filter = parseUserFilter(
    present({ limit: textOf(given, "limit"), after: textOf(given, "after"), query: textOf(given, "query") }),
  );
  const page = await app.users.list(filter);
  if (io.isJson) printJson(io, page.users.map(presentUser));
  else {
    const rows = page.users.map((user) => [user.id, user.email, user.claims.name, stateOf(user)]);
    printTable(io, ["ID", "E-MAIL", "NAME", "STATE"], rows);
  }
  // Beside the document, where a machine that reads the list is not disturbed.
  if (page.next !== undefined) io.err(`There are more: --after ${page.next}\n`);
}

async function showUser(app: App, given: Given, io: CommandIo): Promise<void> {
  const [idOrEmail = ""] = given.positionals;
  const user = (await app.users.find(idOrEmail)) ?? (await app.users.findByEmail(idOrEmail));
  if (user === undefined) throw new AppError("user_unknown");
  printUser(user, io);
}

async function updateUser(app: App, given: Given, io: CommandIo): Promise<void> {
  const [idOrEmail = ""] = given.positionals;
  const email = textOf(given, "email");
  const cleared = Object.fromEntries(clearedOf(given).map((name) => [name, null]));
  const fields = { ...present({ email }), ...fieldsOf(given), ...cleared };
  const { password } = await passwordOf(given, io);
  const isChange = Object.keys(fields).length > 0;
  if (!isChange && password === undefined) throw usage("user update", "Nothing to change was given.");
  const change = parseUserChange(fields);
  // The password first: it is what may be refused, and then nothing else was changed.
  if (password !== undefined) await app.users.setPassword(idOrEmail, password, BY);
  printUser(await app.users.update(idOrEmail, change, BY), io);
}

function disabling(verb: string, summary: string, isDisabled: boolean): Verb<App> {
  return {
    verb,
    summary,
    positionals: ["id-or-email"],
    flags: {},
    async run(app, given, io) {
      printUser(await app.users.setDisabled(given.positionals[0] ?? "", isDisabled, BY), io);
    },
  };
}

function holding(verb: string, summary: string, action: "grant" | "revoke"): Verb<App> {
  return {
    verb,
    summary,
    positionals: ["id-or-email", "role"],
    flags: {},
    async run({ users, roles }, given, io) {
      const [idOrEmail = "", role = ""] = given.positionals;
      const find = async (): Promise<User | undefined> =>
        (await users.find(idOrEmail)) ?? (await users.findByEmail(idOrEmail));
      const user = await find();
      if (user === undefined) throw new AppError("user_unknown");
      const names = await roles[action]({ kind: "user", id: user.id }, role, BY);
      printUser({ ...user, roles: names }, io);
    },
  };
}

/** The given flags with their names on the wire; what was not given is absent. */
function fieldsOf(given: Given): Record<string, unknown> {
  const address = textsOf(given, ADDRESS_FLAGS);
  return present({
    ...textsOf(given, CLAIM_FLAGS),
    email_verified: booleanOf(given, "email-verified"),
    phone_number_verified: booleanOf(given, "phone-number-verified"),
    owner: booleanOf(given, "owner"),
    address: Object.keys(address).length === 0 ? undefined : address,
  });
}

function textsOf(given: Given, flags: NamedFlags): Record<string, unknown> {
  return present(Object.fromEntries(Object.entries(flags).map(([flag, [field]]) => [field, textOf(given, flag)])));
}

function clearedOf(given: Given): readonly string[] {
  const names = given.values["clear"];
  const flags: NamedFlags = CLAIM_FLAGS;
  return (Array.isArray(names) ? names : []).map((name) => {
    if (!CLEARABLE.includes(String(name))) throw usage("user update", `--clear takes one of: ${CLEARABLE.join(", ")}.`);
    return flags[String(name)]?.[0] ?? String(name);
  });
}

async function passwordOf(given: Given, io: CommandIo): Promise<{ password?: string }> {
  const source = textOf(given, "password-file");
  return source === undefined ? {} : { password: await readSecret(source, io) };
}

function printUser(user: User, io: CommandIo): void {
  if (io.isJson) printJson(io, presentUser(user));
  else printFields(io, { ...presentUser(user), roles: user.roles.length === 0 ? undefined : user.roles });
}

function stateOf(user: User): string {
  const words = [user.isDisabled ? "disabled" : "active", ...user.roles, ...(user.hasPassword ? [] : ["no password"])];
  return words.join(", ");
}

function textFlags(flags: NamedFlags): Flags {
  return Object.fromEntries(
    Object.entries(flags).map(([flag, [, summary]]) => [flag, { type: "string", summary } as const]),
  );
}

function present(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
