/** REST: `/api/v1/clients`, in the names of RFC 7591. */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { ADMIN_API } from "../rest/gate.ts";
import { type By, type Call, type Operation, operation, param } from "../rest/operation.ts";
import { type Client, type Clients, presentClient } from "./client.ts";
import { CLIENT_TYPES, clientChangeShape, clientShape, refusalOf } from "./schema.ts";
import { OVERLAP_SECONDS, OVERLAP_SECONDS_MAX } from "./secret.ts";

const NAME_CHARS_MAX = 100;
const secretSchema = z.object({
  id: z.string(),
  hint: z.string().describe("The last four characters."),
  created_at: z.iso.datetime(),
  expires_at: z.iso.datetime().nullable().describe("null: it lives until it is replaced."),
});
const clientSchema = z
  .looseObject({
    client_id: z.string(),
    client_id_issued_at: z.int(),
    client_name: z.string(),
    client_type: z.enum(CLIENT_TYPES),
    redirect_uris: z.array(z.string()).optional(),
    token_endpoint_auth_method: z.string(),
    grant_types: z.array(z.string()),
    apis: z.array(z.object({ identifier: z.string(), scopes: z.array(z.string()), default: z.boolean() })),
    secrets: z.array(secretSchema).optional(),
    disabled: z.boolean(),
  })
  .describe("RFC 7591 metadata, and Signet's own settings beside it.");
const createdSchema = clientSchema.extend({
  client_secret: z.string().optional().describe("Shown this once."),
  client_secret_expires_at: z.int().optional(),
});
const overlap = z
  .int()
  .min(0)
  .max(OVERLAP_SECONDS_MAX)
  .describe(`How long the other secrets go on, in seconds; ${OVERLAP_SECONDS} unless given, 0 ends them at once.`);

const touches = ({ client_id = "" }: Readonly<Record<string, string>>) => ({ kind: "client", id: client_id }) as const;
const one = { tag: "clients", path: "/clients/{client_id}", isVersioned: true } as const;
const write = { ...one, scope: "clients:write", touches } as const;

export function clientOperations({ clients }: { readonly clients: Clients }): readonly Operation[] {
  return [...collectionOperations(clients), ...clientChanges(clients), ...secretOperations(clients)];
}

function collectionOperations(clients: Clients): readonly Operation[] {
  return [
    operation({
      ...{ id: "listClients", method: "GET", path: "/clients", tag: "clients", scope: "clients:read", isList: true },
      summary: "List clients, the oldest first, or find them",
      query: z.object({
        query: z.string().min(1).max(NAME_CHARS_MAX).describe("An id, or how the name begins.").optional(),
      }),
      answer: clientSchema,
      async run({ query, page }) {
        const [id, place] = page.after ?? [];
        const search = query.query;
        const found = await clients.list({
          limit: page.limit,
          ...(id === undefined ? {} : { after: String(id) }),
          ...(id === undefined
            ? {}
            : search === undefined
              ? { afterAt: new Date(Number(place)) }
              : { afterName: String(place) }),
          ...(search === undefined ? {} : { query: search }),
        });
        const last = found.length === page.limit ? found.at(-1) : undefined;
        if (last === undefined) return { body: found.map(shown) };
        return { body: found.map(shown), next: [last.id, search === undefined ? last.createdAt.getTime() : last.name] };
      },
    }),
    operation({
      ...{ id: "createClient", method: "POST", path: "/clients", tag: "clients", scope: "clients:write", status: 201 },
      summary: "Register a client",
      description: "The secret, if its type has one, is in this answer and nowhere else.",
      body: clientShape,
      refusalOf,
      answer: createdSchema,
      async run(call) {
        checkGiven(call, call.body.apis);
        const { client, secret } = await clients.register(call.body, call.by);
        return { body: presentClient(client, secret) };
      },
    }),
  ];
}

function clientChanges(clients: Clients): readonly Operation[] {
  return [
    operation({
      ...{ ...one, id: "getClient", method: "GET", scope: "clients:read", summary: "Read a client" },
      answer: clientSchema,
      run: async (call) => ({ body: shown(await known(clients, idOf(call))) }),
    }),
    operation({
      ...{ ...write, id: "updateClient", method: "PATCH", summary: "Change a client" },
      description: "A merge patch (RFC 7396) of the top level: null takes the default of the type again.",
      body: clientChangeShape,
      refusalOf,
      answer: clientSchema,
      async run(call) {
        checkGiven(call, call.body["apis"] as Given);
        return { body: shown(await clients.update(idOf(call), call.body, call.by, call.checkVersion(shown))) };
      },
    }),
    operation({
      ...{ ...write, id: "replaceClient", method: "PUT", summary: "Replace a client's metadata as a whole" },
      description: "What is not named has the default of the type afterwards. Secrets, roles and state stay.",
      body: clientShape,
      refusalOf,
      answer: clientSchema,
      async run(call) {
        checkGiven(call, call.body.apis);
        const defaults = Object.fromEntries(Object.keys(clientShape.shape).map((name) => [name, null]));
        const change = { ...defaults, ...call.body };
        return { body: shown(await clients.update(idOf(call), change, call.by, call.checkVersion(shown))) };
      },
    }),
    operation({
      ...{ ...write, id: "deleteClient", method: "DELETE", summary: "Delete a client for good" },
      description: "The consents that people gave it go with it, and whatever was issued to it ends.",
      async run(call) {
        await clients.delete(idOf(call), call.by, call.checkVersion(shown));
        return {};
      },
    }),
    switching(clients, { id: "disableClient", verb: "disable", summary: "Refuse the client everything" }),
    switching(clients, { id: "enableClient", verb: "enable", summary: "Let a disabled client work again" }),
  ];
}

function switching(clients: Clients, row: { id: string; verb: "disable" | "enable"; summary: string }): Operation {
  const { verb, ...named } = row;
  return operation({
    ...{ ...write, ...named, method: "POST", path: `/clients/{client_id}/${verb}` },
    answer: clientSchema,
    async run(call) {
      const check = call.checkVersion(shown);
      return { body: shown(await clients.setDisabled(idOf(call), verb === "disable", call.by, check)) };
    },
  });
}

function secretOperations(clients: Clients): readonly Operation[] {
  const secrets = { tag: "clients", path: "/clients/{client_id}/secrets" } as const;
  return [
    operation({
      ...{ ...secrets, id: "listClientSecrets", method: "GET", scope: "clients:read" },
      summary: "List a client's live secrets; their texts are shown nowhere",
      answer: z.object({ data: z.array(secretSchema) }),
      run: async (call) => ({ body: { data: secretsOf(await known(clients, idOf(call))) } }),
    }),
    operation({
      ...{ ...secrets, id: "addClientSecret", method: "POST", scope: "clients:write", status: 201, touches },
      summary: "Add a secret; the others go on for the overlap",
      body: z.strictObject({ overlap: overlap.optional() }),
      isBodyOptional: true,
      answer: secretSchema.extend({ client_id: z.string(), client_secret: z.string().describe("Shown this once.") }),
      async run(call) {
        const overlapSeconds = call.body.overlap ?? OVERLAP_SECONDS;
        const { client, secret, secretId } = await clients.rotateSecret(idOf(call), { overlapSeconds }, call.by);
        const made = secretsOf(client).find(({ id }) => id === secretId);
        return { body: { client_id: client.id, ...made, client_secret: secret } };
      },
    }),
    operation({
      ...{ ...secrets, path: "/clients/{client_id}/secrets/{secret_id}/expire", method: "POST", touches },
      ...{ id: "expireClientSecret", scope: "clients:write", summary: "Let one secret end" },
      body: z.strictObject({
        expires_in: z.int().min(0).max(OVERLAP_SECONDS_MAX).describe("Seconds; at once unless given.").optional(),
      }),
      isBodyOptional: true,
      answer: z.object({ data: z.array(secretSchema) }),
      async run(call) {
        const secret = { id: param(call, "secret_id"), inSeconds: call.body.expires_in ?? 0 };
        return { body: { data: secretsOf(await clients.expireSecret(idOf(call), secret, call.by)) } };
      },
    }),
  ];
}

type Given =
  | readonly { readonly identifier: string; readonly scopes?: readonly string[] | undefined }[]
  | null
  | undefined;

/** A client that may ask for Signet's own API is a way to act there: nobody opens one that is wider than their own. */
function checkGiven(call: Pick<Call, "checkGives">, apis: Given): void {
  for (const { identifier, scopes } of apis ?? []) {
    if (identifier !== ADMIN_API) continue;
    // Without a list it would be every scope that the API has.
    if (scopes === undefined) throw new AppError("client_invalid", `apis: name the scopes of ${ADMIN_API} one by one.`);
    call.checkGives(scopes);
  }
}

function shown(client: Client): Record<string, unknown> {
  return presentClient(client);
}

function secretsOf(client: Client): readonly z.output<typeof secretSchema>[] {
  const { secrets = [] } = presentClient(client) as { secrets?: z.output<typeof secretSchema>[] };
  return secrets;
}

async function known(clients: Clients, id: string): Promise<Client> {
  const client = await clients.find(id);
  if (client === undefined) throw new AppError("client_unknown");
  return client;
}

function idOf(call: { readonly params: Readonly<Record<string, string>>; readonly by: By }): string {
  return param(call, "client_id");
}
