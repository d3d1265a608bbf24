/** Commands: `signet role …`. Who holds a role is said at `user grant-role` and `client grant-role`. */
import {
  BY,
  type CommandGroup,
  type CommandIo,
  type Flags,
  type Given,
  listOf,
  printFields,
  printJson,
  printTable,
  textOf,
  usage,
  type Verb,
} from "../commands.ts";
import { AppError } from "../errors.ts";
import { presentRole, type Role, type Roles } from "./role.ts";

export interface RoleCommandApp {
  readonly roles: Roles;
}

const NAME = ["name"];
const FIELD_FLAGS: Flags = {
  description: { type: "string", summary: "what the role is for" },
  permission: {
    type: "string",
    value: "IDENTIFIER=SCOPE",
    isList: true,
    summary: "a scope of an API that the role holds",
  },
};

const create: Verb<RoleCommandApp> = {
  verb: "create",
  summary: "makes a role",
  positionals: NAME,
  flags: FIELD_FLAGS,
  async run({ roles }, given, io) {
    show(io, await roles.create({ name: nameOf(given), ...fieldsOf("role create", given) }, BY));
  },
};

const list: Verb<RoleCommandApp> = {
  verb: "list",
  summary: "lists the roles, the built-in ones first",
  flags: {},
  async run({ roles }, _given, io) {
    const found = await roles.list();
    if (io.isJson) return printJson(io, found.map(presentRole));
    const rows = found.map((role) => [role.name, role.description, role.isBuiltin ? "built in" : "", pairsOf(role)]);
    printTable(io, ["name", "description", "kind", "permissions"], rows);
  },
};

const get: Verb<RoleCommandApp> = {
  verb: "get",
  summary: "prints a role",
  positionals: NAME,
  flags: {},
  async run({ roles }, given, io) {
    const role = await roles.find(nameOf(given));
    if (role === undefined) throw new AppError("role_unknown");
    show(io, role);
  },
};

const update: Verb<RoleCommandApp> = {
  verb: "update",
  summary: "changes a role; --permission replaces the whole list, --clear-permissions empties it",
  positionals: NAME,
  flags: { ...FIELD_FLAGS, "clear-permissions": { type: "boolean", summary: "the role then holds nothing" } },
  async run({ roles }, given, io) {
    const isEmptied = given.values["clear-permissions"] === true;
    const fields = { ...fieldsOf("role update", given), ...(isEmptied ? { permissions: [] } : {}) };
    if (Object.keys(fields).length === 0) throw usage("role update", "Nothing to change was given.");
    show(io, await roles.update(nameOf(given), fields, BY));
  },
};

const remove: Verb<RoleCommandApp> = {
  verb: "delete",
  summary: "deletes a role and takes it from all who hold it",
  positionals: NAME,
  flags: {},
  async run({ roles }, given, io) {
    const name = nameOf(given);
    const holders = await roles.delete(name, BY);
    if (io.isJson) return printJson(io, { name, deleted: true, holders });
    io.out(`The role ${name} is deleted; ${holders} held it.\n`);
  },
};

export const roleCommands: CommandGroup<RoleCommandApp> = {
  noun: "role",
  summary: "sets of permissions that users and services hold",
  verbs: [create, list, get, update, remove],
};

function nameOf(given: Given): string {
  return given.positionals[0] ?? "";
}

function fieldsOf(place: string, given: Given): Record<string, unknown> {
  const description = textOf(given, "description");
  const pairs = listOf(given, "permission");
  return {
    ...(description === undefined ? {} : { description }),
    ...(pairs === undefined ? {} : { permissions: readPermissions(place, pairs) }),
  };
}

/** `IDENTIFIER=SCOPE`: no scope of ours begins with what stands behind the last sign of an identifier, so the last one splits. */
function readPermissions(place: string, pairs: readonly string[]): readonly { identifier: string; scopes: string[] }[] {
  const byIdentifier = new Map<string, string[]>();
  for (const pair of pairs) {
    const split = pair.lastIndexOf("=");
    if (split <= 0) throw usage(place, "--permission is written IDENTIFIER=SCOPE.");
    const identifier = pair.slice(0, split);
    byIdentifier.set(identifier, [...(byIdentifier.get(identifier) ?? []), pair.slice(split + 1)]);
  }
  return [...byIdentifier].map(([identifier, scopes]) => ({ identifier, scopes }));
}

function pairsOf({ permissions }: Role): readonly string[] {
  return permissions.flatMap(({ identifier, scopes }) => scopes.map((scope) => `${identifier}=${scope}`));
}

function show(io: CommandIo, role: Role): void {
  if (io.isJson) printJson(io, presentRole(role));
  else printFields(io, { ...presentRole(role), permissions: pairsOf(role) });
}
