/** REST: `/api/v1/apis` and their scopes. */
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { AppError } from "../errors.ts";
import { type Call, type Operation, operation, param } from "../rest/operation.ts";
import { type Api, type Apis, presentApi } from "./api.ts";
import { apiChangeShape, apiShape, scopeShape } from "./schema.ts";
import type { ApiScope } from "./scope.ts";

const SEARCH_CHARS_MAX = 200;
/** So many administrators may change the scopes of one API at the same moment. */
const RETRIES_MAX = 5;

const scopeSchema = z.object({
  scope: z.string(),
  description: z.string(),
  descriptions: z.record(z.string(), z.string()).optional(),
});
const apiSchema = z.object({
  id: z.uuid(),
  identifier: z.string(),
  name: z.string(),
  scopes: z.array(scopeSchema),
  token_lifetime: z.int().describe("Seconds."),
  token_format: z.string(),
  signing_alg: z.string().optional(),
  allow_refresh: z.boolean(),
  scopes_by_role: z.boolean(),
  roles_claim: z.boolean(),
  builtin: z.boolean().optional(),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
});
/** The identifier may be sent again, as a client does that read the whole thing; it cannot be another one. */
const replacement = z.strictObject({ ...apiShape.shape, identifier: apiShape.shape.identifier.optional() });

export function apiOperations({ apis }: { readonly apis: Apis }): readonly Operation[] {
  const one = { tag: "apis", path: "/apis/{api_id}", isVersioned: true } as const;
  const write = { ...one, scope: "apis:write" } as const;
  return [
    operation({
      ...{ id: "listApis", method: "GET", path: "/apis", tag: "apis", scope: "apis:read", isList: true },
      summary: "List APIs by identifier",
      query: z.object({
        query: z.string().min(1).max(SEARCH_CHARS_MAX).describe("A part of identifier or name.").optional(),
      }),
      answer: apiSchema,
      async run({ query, page }) {
        const after = page.after?.[0];
        const found = await apis.list({
          limit: page.limit,
          ...(after === undefined ? {} : { after: String(after) }),
          ...(query.query === undefined ? {} : { query: query.query }),
        });
        const last = found.length === page.limit ? found.at(-1) : undefined;
        return { body: found.map(presentApi), next: last === undefined ? undefined : [last.identifier] };
      },
    }),
    operation({
      ...{ id: "createApi", method: "POST", path: "/apis", tag: "apis", scope: "apis:write", status: 201 },
      summary: "Register an API",
      body: apiShape,
      answer: apiSchema,
      run: async (call) => ({ body: presentApi(await apis.create(call.body, call.by)) }),
    }),
    operation({
      ...{ ...one, id: "getApi", method: "GET", scope: "apis:read", summary: "Read an API" },
      answer: apiSchema,
      run: async (call) => ({ body: presentApi(await known(apis, call)) }),
    }),
    operation({
      ...{ ...write, id: "updateApi", method: "PATCH", summary: "Change an API" },
      description: "`scopes` replaces the whole list; a scope that is gone is taken from every client and role.",
      body: apiChangeShape,
      answer: apiSchema,
      run: async (call) => ({
        body: presentApi(await apis.update(idOf(call), call.body, call.by, call.checkVersion(presentApi))),
      }),
    }),
    operation({
      ...{ ...write, id: "replaceApi", method: "PUT", summary: "Replace an API as a whole" },
      description: "What is not named has its default afterwards. The identifier stays.",
      body: replacement,
      answer: apiSchema,
      async run(call) {
        const { identifier, ...change } = { ...replacement.parse(call.body), scopes: call.body.scopes ?? [] };
        const checkVersion = call.checkVersion(presentApi);
        const updated = await apis.update(idOf(call), change, call.by, (before) => {
          if (identifier !== undefined && identifier !== before.identifier)
            throw new AppError("api_invalid", "identifier: it cannot be changed; create another API.");
          checkVersion(before);
        });
        return { body: presentApi(updated) };
      },
    }),
    operation({
      ...{ ...write, id: "deleteApi", method: "DELETE", summary: "Delete an API for good" },
      answer: z.object({ clients: z.array(z.object({ client_id: z.string(), client_name: z.string() })) }),
      status: 200,
      async run(call) {
        const lost = await apis.delete(idOf(call), call.by, call.checkVersion(presentApi));
        return { body: { clients: lost.map(({ id, name }) => ({ client_id: id, client_name: name })) } };
      },
    }),
    ...scopeOperations(apis),
  ];
}

function scopeOperations(apis: Apis): readonly Operation[] {
  const one = { tag: "apis", path: "/apis/{api_id}/scopes/{scope}", scope: "apis:write" } as const;
  return [
    operation({
      ...{ id: "listScopes", method: "GET", path: "/apis/{api_id}/scopes", tag: "apis", scope: "apis:read" },
      summary: "List the scopes of an API, in the order of the consent page",
      answer: z.object({ data: z.array(scopeSchema) }),
      run: async (call) => ({ body: { data: (await known(apis, call)).scopes } }),
    }),
    operation({
      ...{ ...one, id: "putScope", method: "PUT", summary: "Add a scope to an API, or change its words" },
      body: scopeShape.omit({ scope: true }),
      answer: scopeSchema,
      async run(call) {
        const scope = param(call, "scope");
        const wanted = { scope, ...call.body } as ApiScope;
        const api = await changeScopes(apis, call, (scopes) =>
          scopes.some((one) => one.scope === scope)
            ? scopes.map((one) => (one.scope === scope ? wanted : one))
            : [...scopes, wanted],
        );
        return { body: api.scopes.find((one) => one.scope === scope) };
      },
    }),
    operation({
      ...{ ...one, id: "deleteScope", method: "DELETE", summary: "Take a scope from an API, its clients and roles" },
      async run(call) {
        const scope = param(call, "scope");
        await changeScopes(apis, call, (scopes) => {
          if (!scopes.some((one) => one.scope === scope)) throw new AppError("resource_unknown");
          return scopes.filter((one) => one.scope !== scope);
        });
        return {};
      },
    }),
  ];
}

/** Read, changed, and written if it is still what was read: two who add a scope each at once both have theirs afterwards. */
async function changeScopes(
  apis: Apis,
  call: Pick<Call, "params" | "by">,
  change: (scopes: readonly ApiScope[]) => readonly ApiScope[],
): Promise<Api> {
  let wanted = (await known(apis, call)).scopes;
  for (let attempt = 1; ; attempt += 1) {
    let seen: readonly ApiScope[] | undefined;
    try {
      return await apis.update(idOf(call), { scopes: change(wanted) }, call.by, (before) => {
        seen = before.scopes;
        if (!isDeepStrictEqual(before.scopes, wanted)) throw new AppError("version_changed");
      });
    } catch (error) {
      const isLost = error instanceof AppError && error.code === "version_changed" && seen !== undefined;
      if (!isLost || attempt === RETRIES_MAX) throw error;
      wanted = seen ?? wanted;
    }
  }
}

async function known(apis: Apis, call: Pick<Call, "params">): Promise<Api> {
  const api = await apis.findById(idOf(call));
  if (api === undefined) throw new AppError("api_unknown");
  return api;
}

function idOf(call: Pick<Call, "params">): string {
  return param(call, "api_id");
}
