/** Commands: `signet api …`. They change the same rows as a running server, which hears of it by notice. */
import {
  BY,
  booleanOf,
  type CommandGroup,
  type CommandIo,
  type Flags,
  type Given,
  listOf,
  numberOf,
  printFields,
  printJson,
  printTable,
  textOf,
  usage,
  type Verb,
} from "../commands.ts";
import { AppError } from "../errors.ts";
import { type Api, type ApiScope, type Apis, presentApi } from "./api.ts";

export interface ApiCommandApp {
  readonly apis: Apis;
  readonly clients: ClientRegistration;
}

/** What the room of clients does for an API that wants credentials of its own. */
interface ClientRegistration {
  register(
    input: unknown,
    by: typeof BY,
  ): Promise<{ readonly client: { readonly id: string }; readonly secret?: string }>;
}

const LIST_MAX = 100;
const ONE = ["identifier-or-id"];

/** Field of the wire -> flag, for what is one word or one switch. */
const TEXT_FIELDS = { name: "name", token_format: "token-format", signing_alg: "signing-alg" } as const;
const SWITCH_FIELDS = {
  allow_refresh: "allow-refresh",
  scopes_by_role: "scopes-by-role",
  roles_claim: "roles-claim",
} as const;

const FIELD_FLAGS: Flags = {
  name: { type: "string", summary: "what people read when an app asks for this API" },
  scope: {
    type: "string",
    value: "SCOPE[=TEXT]",
    isList: true,
    summary: "what may be asked for, and what a person reads about it",
  },
  "scope-text": {
    type: "string",
    value: "LANGUAGE:SCOPE=TEXT",
    isList: true,
    summary: "the same for people who read another language, for example de:read:things=Deine Dinge sehen",
  },
  "token-format": { type: "string", value: "FORMAT", summary: "jwt (default) or opaque" },
  "signing-alg": { type: "string", value: "ALG", summary: "of JWTs: ES256 (default), RS256 or EdDSA" },
  "allow-refresh": {
    type: "boolean",
    summary: "refresh tokens bring new tokens for it (default); --no-allow-refresh: people sign in again",
  },
  "scopes-by-role": { type: "boolean", summary: "a token carries only what its holder's roles hold, too" },
  "roles-claim": { type: "boolean", summary: "a token names its holder's roles here, in the claim roles" },
  "token-lifetime": { type: "string", value: "SECONDS", summary: "how long its access tokens live, 60 to 86400 (600)" },
};

const create: Verb<ApiCommandApp> = {
  verb: "create",
  summary: "registers an API",
  flags: {
    identifier: { type: "string", value: "URI", summary: "its audience: an absolute URI, which never changes" },
    ...FIELD_FLAGS,
    credentials: {
      type: "boolean",
      summary:
        "also registers the resource-server client by which the API asks about its tokens, and prints its secret",
    },
  },
  async run({ apis, clients }, given, io) {
    const identifier = textOf(given, "identifier");
    const fields = readFields("api create", given);
    const api = await apis.create({ ...(identifier === undefined ? {} : { identifier }), ...fields }, BY);
    if (booleanOf(given, "credentials") !== true) return show(io, api);
    const { client, secret } = await clients.register(
      { client_type: "resource-server", client_name: api.name, apis: [{ identifier: api.identifier }] },
      BY,
    );
    show(io, api, { client_id: client.id, client_secret: secret });
    if (!io.isJson) io.out("\nKeep the client_secret now: it is shown this once.\n");
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
  const fields: Record<string, unknown> = {};
  for (const [field, flag] of Object.entries(TEXT_FIELDS)) fields[field] = textOf(given, flag);
  for (const [field, flag] of Object.entries(SWITCH_FIELDS)) fields[field] = booleanOf(given, flag);
  fields["token_lifetime"] = numberOf(place, given, "token-lifetime");
  fields["scopes"] = readScopes(place, given, present);
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** Undefined: no flag spoke of scopes. Texts alone change the words of what is there. */
function readScopes(place: string, given: Given, present: Api | undefined): readonly ApiScope[] | undefined {
  const texts = listOf(given, "scope-text") ?? [];
  const named = listOf(given, "scope")?.map((text) => readScope(text, present));
  if (named === undefined && texts.length === 0) return undefined;
  let scopes: readonly ApiScope[] = named ?? present?.scopes ?? [];
  for (const text of texts) {
    const [, language = "", rest = ""] = /^([A-Za-z0-9-]+):(.*)$/s.exec(text) ?? [];
    // A scope may hold the sign, too, so the one that is there decides.
    const scope = scopes.find((one) => rest.startsWith(`${one.scope}=`));
    if (scope === undefined)
      throw usage(place, "--scope-text is written LANGUAGE:SCOPE=TEXT, with a scope of the API.");
    const descriptions = { ...scope.descriptions, [language]: rest.slice(scope.scope.length + 1) };
    scopes = scopes.map((one) => (one === scope ? { ...scope, descriptions } : one));
  }
  return scopes;
}

/** `read:things` or `read:things=See your things`. A scope that is named without words keeps the words that it has. */
function readScope(text: string, present: Api | undefined): ApiScope {
  const sign = text.indexOf("=");
  if (sign !== -1) return { scope: text.slice(0, sign), description: text.slice(sign + 1) };
  return present?.scopes.find(({ scope }) => scope === text) ?? { scope: text, description: text };
}

async function findApi(apis: Apis, given: Given): Promise<Api> {
  const [which = ""] = given.positionals;
  const api = (await apis.find(which)) ?? (await apis.findById(which));
  if (api === undefined) throw new AppError("api_unknown");
  return api;
}

function show(io: CommandIo, api: Api, beside: Readonly<Record<string, unknown>> = {}): void {
  const fields = { ...presentApi(api), ...beside };
  if (io.isJson) {
    printJson(io, fields);
    return;
  }
  const scopes = api.scopes.map(({ scope, description }) =>
    scope === description ? scope : `${scope} (${description})`,
  );
  printFields(io, { ...fields, scopes });
}
