/** Commands: `signet client …`. They change the same rows as a running server, which hears of it by notice. */
import {
  BY,
  type CommandGroup,
  type CommandIo,
  type Given,
  listOf,
  numberOf,
  printFields,
  printJson,
  printTable,
  textOf,
  type Verb,
} from "../commands.ts";
import { AppError } from "../errors.ts";
import { type Client, type Clients, presentClient } from "./client.ts";
import { CREATE_FLAGS, readFields, UPDATE_FLAGS } from "./flags.ts";
import { OVERLAP_SECONDS } from "./secret.ts";

export interface ClientCommandApp {
  readonly clients: Clients;
  readonly roles: RoleHolding;
  readonly sessions: { endAll(of: { readonly clientId: string }, by: typeof BY): Promise<void> };
}

/** What the room of roles does for clients; each returns the roles that the client then has. */
interface RoleHolding {
  grant(holder: RoleHolder, role: string, by: typeof BY): Promise<readonly string[]>;
  revoke(holder: RoleHolder, role: string, by: typeof BY): Promise<readonly string[]>;
  names(holder: RoleHolder): Promise<readonly string[]>;
}

interface RoleHolder {
  readonly kind: "client";
  readonly id: string;
}

const LIST_MAX = 100;
/** Leaves room for the words in front of it. */
const NAME_CHARS_MAX = 80;
const ID = ["client-id"];

const create: Verb<ClientCommandApp> = {
  verb: "create",
  summary: "registers a client and prints its id and, once, its secret",
  flags: CREATE_FLAGS,
  async run({ clients }, given, io) {
    const fields = await readFields("client create", given, io);
    const type = textOf(given, "type");
    const named = type === undefined ? {} : { client_type: type };
    const { client, secret } = await clients.register({ ...impliedBy(given), ...named, ...fields }, BY);
    show(io, client, { secret });
  },
};

const list: Verb<ClientCommandApp> = {
  verb: "list",
  summary: "lists clients, the oldest first",
  flags: {
    query: { type: "string", summary: "an id, or how the name begins" },
    limit: { type: "string", value: "NUMBER", summary: `at most so many (${LIST_MAX})` },
    after: { type: "string", value: "CLIENT-ID", summary: "goes on after this one" },
  },
  async run({ clients }, given, io) {
    const [after, query] = [textOf(given, "after"), textOf(given, "query")];
    const found = await clients.list({
      limit: numberOf("client list", given, "limit") ?? LIST_MAX,
      ...(after === undefined ? {} : { after }),
      ...(query === undefined ? {} : { query }),
    });
    if (io.isJson)
      return printJson(
        io,
        found.map((client) => presentClient(client)),
      );
    const rows = found.map(({ id, type, name, isDisabled }) => [id, type, name, isDisabled ? "disabled" : "active"]);
    printTable(io, ["client_id", "type", "name", "state"], rows);
  },
};

const get: Verb<ClientCommandApp> = {
  verb: "get",
  summary: "prints a client",
  positionals: ID,
  flags: {},
  async run({ clients, roles }, given, io) {
    const client = await findClient(clients, idOf(given));
    show(io, client, { roles: await roles.names({ kind: "client", id: client.id }) });
  },
};

const update: Verb<ClientCommandApp> = {
  verb: "update",
  summary: "changes a client; what is not named stays, a list replaces the old one",
  positionals: ID,
  flags: UPDATE_FLAGS,
  async run({ clients }, given, io) {
    const id = idOf(given);
    const { apis } = await findClient(clients, id);
    const present = apis.map(({ identifier, scopes, isDefault }) => ({ identifier, scopes, default: isDefault }));
    show(io, await clients.update(id, await readFields("client update", given, io, present), BY));
  },
};

const rotateSecret: Verb<ClientCommandApp> = {
  verb: "rotate-secret",
  summary: "makes another secret and prints it, once",
  positionals: ID,
  flags: {
    overlap: {
      type: "string",
      value: "SECONDS",
      summary: `the old secrets work for so long (${OVERLAP_SECONDS}); 0 ends them at once`,
    },
  },
  async run({ clients }, given, io) {
    const overlapSeconds = numberOf("client rotate-secret", given, "overlap") ?? OVERLAP_SECONDS;
    const { client, secret } = await clients.rotateSecret(idOf(given), { overlapSeconds }, BY);
    show(io, client, { secret });
  },
};

const endAccess: Verb<ClientCommandApp> = {
  verb: "end-access",
  summary: "ends whatever was issued to the client until now; people allow nothing anew, they sign in to it again",
  positionals: ID,
  flags: {},
  async run({ clients, sessions }, given, io) {
    const { id } = await findClient(clients, idOf(given));
    await sessions.endAll({ clientId: id }, BY);
    if (io.isJson) return printJson(io, { client_id: id, access_ended: true });
    io.out(`Whatever was issued to ${id} until now has ended.\n`);
  },
};

const expireSecret: Verb<ClientCommandApp> = {
  verb: "expire-secret",
  summary: "lets one secret end; `client get` lists them with their ids",
  positionals: ["client-id", "secret-id"],
  flags: { in: { type: "string", value: "SECONDS", summary: "so many seconds from now; at once without it" } },
  async run({ clients }, given, io) {
    const inSeconds = numberOf("client expire-secret", given, "in") ?? 0;
    show(io, await clients.expireSecret(idOf(given), { id: given.positionals[1] ?? "", inSeconds }, BY));
  },
};

const remove: Verb<ClientCommandApp> = {
  verb: "delete",
  summary: "deletes a client for good, with the consents that people gave it",
  positionals: ID,
  flags: {},
  async run({ clients }, given, io) {
    const id = idOf(given);
    await clients.delete(id, BY);
    if (io.isJson) printJson(io, { client_id: id, deleted: true });
    else io.out(`The client ${id} is deleted.\n`);
  },
};

export const clientCommands: CommandGroup<ClientCommandApp> = {
  noun: "client",
  summary: "applications that may ask for tokens",
  verbs: [
    create,
    list,
    get,
    update,
    rotateSecret,
    expireSecret,
    switchTo(true),
    switchTo(false),
    endAccess,
    remove,
    holding("grant"),
    holding("revoke"),
  ],
};

function switchTo(isDisabled: boolean): Verb<ClientCommandApp> {
  return {
    verb: isDisabled ? "disable" : "enable",
    summary: isDisabled ? "refuses the client everything until it is enabled" : "lets a disabled client work again",
    positionals: ID,
    flags: {},
    async run({ clients }, given, io) {
      show(io, await clients.setDisabled(idOf(given), isDisabled, BY));
    },
  };
}

function holding(action: "grant" | "revoke"): Verb<ClientCommandApp> {
  return {
    verb: `${action}-role`,
    summary:
      action === "grant" ? "gives a service a role; it counts from the next token on" : "takes a role from a service",
    positionals: ["client-id", "role"],
    flags: {},
    async run({ clients, roles }, given, io) {
      const client = await findClient(clients, idOf(given));
      const names = await roles[action]({ kind: "client", id: client.id }, given.positionals[1] ?? "", BY);
      show(io, client, { roles: names });
    },
  };
}

/** What a short call leaves out follows from what it names: people come back to an app, a service asks for an API. */
function impliedBy(given: Given): Record<string, string> {
  const [redirectUri] = listOf(given, "redirect-uri") ?? [];
  const [api] = listOf(given, "api") ?? [];
  if (redirectUri !== undefined) return { client_type: "web", client_name: hostOf(redirectUri) };
  return api === undefined ? {} : { client_type: "service", client_name: `Service for ${hostOf(api)}` };
}

function hostOf(uri: string): string {
  const host = URL.canParse(uri) ? new URL(uri).host : "";
  return (host === "" ? uri : host).slice(0, NAME_CHARS_MAX);
}

function idOf(given: Given): string {
  return given.positionals[0] ?? "";
}

async function findClient(clients: Clients, id: string): Promise<Client> {
  const client = await clients.find(id);
  if (client === undefined) throw new AppError("client_unknown");
  return client;
}

function show(
  io: CommandIo,
  client: Client,
  beside: { secret?: string | undefined; roles?: readonly string[] } = {},
): void {
  const { secret, roles } = beside;
  const shown = presentClient(client, secret);
  const fields = { ...shown, ...(roles === undefined || roles.length === 0 ? {} : { roles }) };
  if (io.isJson) {
    printJson(io, fields);
    return;
  }
  const apis = client.apis.map(({ identifier, scopes, isDefault }) => {
    const names = scopes.length === 0 ? "" : ` (${scopes.join(" ")})`;
    return `${identifier}${names}${isDefault ? ", default" : ""}`;
  });
  const secrets = client.secrets.map(({ hint, expiresAt }) => {
    return `…${hint}${expiresAt === undefined ? "" : ` until ${expiresAt.toISOString()}`}`;
  });
  printFields(io, { ...fields, apis, secrets: shown["secrets"] === undefined ? undefined : secrets });
  if (secret !== undefined) io.out("\nKeep the client_secret now: it is shown this once.\n");
}
