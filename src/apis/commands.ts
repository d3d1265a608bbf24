/** Commands: `signet api …`. They change the same rows as a running server, which hears of it by notice. */
import {
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
import { type Api, type Apis, presentApi } from "./api.ts";

export interface ApiCommandApp {
  readonly apis: Apis;
}

const BY = { kind: "command" } as const;
const LIST_MAX = 100;
const ONE = ["identifier-or-id"];

const FIELD_FLAGS: Flags = {
  name: { type: "string", summary: "what people read when an app asks for this API" },
  scope: {
    type: "string",
    value: "SCOPE[=TEXT]",
    isList: true,
    summary: "what may be asked for, and what a person reads about it",
  },
  "token-lifetime": { type: "string", value: "SECONDS", summary: "how long its access tokens live, 60 to 86400 (600)" },
};

const create: Verb<ApiCommandApp> = {
  verb: "create",
  summary: "registers an API",
  flags: {
    identifier: { type: "string", value: "URI", summary: "its audience: an absolute URI, which never changes" },
    ...FIELD_FLAGS,
  },
  async run({ apis }, given, io) {
    const identifier = textOf(given, "identifier");
    const fields = readFields("api create", given);
    show(io, await apis.create({ ...(identifier === undefined ? {} : { identifier }), ...fields }, BY));
  },
};

const list: Verb<ApiCommandApp> = {
  verb: "list",
  summary: "lists APIs by their identifiers",
  flags: {
    query: { type: "string", summary: "a part of the identifier or the name" },
    limit: { type: "string", value: "NUMBER", summary: `at most so many (${LIST_MAX})` },
    after: { type: "string", value: "IDENTIFIER", summary: "goes on after this one" },
  },
  async run({ apis }, given, io) {
    const [after, query] = [textOf(given, "after"), textOf(given, "query")];
    const found = await apis.list({
      limit: numberOf("api list", given, "limit") ?? LIST_MAX,
      ...(after === undefined ? {} : { after }),
      ...(query === undefined ? {} : { query }),
    });
    if (io.isJson) return printJson(io, found.map(presentApi));
    const rows = found.map(({ identifier, name, scopes }) => [identifier, name, scopes.map(({ scope }) => scope)]);
    printTable(io, ["identifier", "name", "scopes"], rows);
  },
};

const get: Verb<ApiCommandApp> = {
  verb: "get",
  summary: "prints an API",
  positionals: ONE,
  flags: {},
  async run({ apis }, given, io) {
    show(io, await findApi(apis, given));
  },
};

const update: Verb<ApiCommandApp> = {
  verb: "update",
  summary: "changes an API; --scope replaces the whole list, and what is gone is taken from every client",
  positionals: ONE,
  flags: FIELD_FLAGS,
  async run({ apis }, given, io) {
    const api = await findApi(apis, given);
    // A scope that is named without words keeps the words that it has.
    show(io, await apis.update(api.id, readFields("api update", given, api), BY));
  },
};

const remove: Verb<ApiCommandApp> = {
  verb: "delete",
  summary: "deletes an API and names the clients that lose it",
  positionals: ONE,
  flags: {},
  async run({ apis }, given, io) {
    const api = await findApi(apis, given);
    const clients = await apis.delete(api.id, BY);
    if (io.isJson) {
      const named = clients.map(({ id, name }) => ({ client_id: id, client_name: name }));
      return printJson(io, { id: api.id, identifier: api.identifier, deleted: true, clients: named });
    }
    io.out(`The API ${api.identifier} is deleted.\n`);
    if (clients.length === 0) return;
    io.out("These clients asked for its tokens and no longer can:\n");
    const rows = clients.map(({ id, name }) => [id, name]);
    printTable(io, ["client_id", "name"], rows);
  },
};

export const apiCommands: CommandGroup<ApiCommandApp> = {
  noun: "api",
  summary: "resource servers that tokens are made for",
  verbs: [create, list, get, update, remove],
};

function readFields(place: string, given: Given, present?: Api): Record<string, unknown> {
  const name = textOf(given, "name");
  const scopes = listOf(given, "scope");
  const lifetime = numberOf(place, given, "token-lifetime");
  return {
    ...(name === undefined ? {} : { name }),
    ...(scopes === undefined ? {} : { scopes: scopes.map((text) => readScope(text, present)) }),
    ...(lifetime === undefined ? {} : { token_lifetime: lifetime }),
  };
}

/** `read:things` or `read:things=See your things`. */
function readScope(text: string, present: Api | undefined): { scope: string; description?: string } {
  const sign = text.indexOf("=");
  if (sign !== -1) return { scope: text.slice(0, sign), description: text.slice(sign + 1) };
  const description = present?.scopes.find(({ scope }) => scope === text)?.description;
  return { scope: text, ...(description === undefined ? {} : { description }) };
}

function numberOf(place: string, given: Given, name: string): number | undefined {
  const text = textOf(given, name);
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw usage(place, `--${name} is a whole number.`);
  return Number(text);
}

async function findApi(apis: Apis, given: Given): Promise<Api> {
  const [which = ""] = given.positionals;
  const api = (await apis.find(which)) ?? (await apis.findById(which));
  if (api === undefined) throw new AppError("api_unknown");
  return api;
}

function show(io: CommandIo, api: Api): void {
  const fields = presentApi(api);
  if (io.isJson) {
    printJson(io, fields);
    return;
  }
  const scopes = api.scopes.map(({ scope, description }) =>
    scope === description ? scope : `${scope} (${description})`,
  );
  printFields(io, { ...fields, scopes });
}
