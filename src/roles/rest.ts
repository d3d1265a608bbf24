/** REST: `/api/v1/roles`, and who holds them. Nobody makes, changes or gives a role that is wider than their own. */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { ADMIN_API } from "../rest/gate.ts";
import { type Call, type Holder, type Operation, operation, param } from "../rest/operation.ts";
import { presentRole, type Role, type Roles } from "./role.ts";
import { permissionsShape, type RoleChange, roleChangeShape, roleShape } from "./schema.ts";

const roleSchema = z.object({
  name: z.string(),
  description: z.string(),
  permissions: permissionsShape,
  builtin: z.boolean().optional(),
});
const namesSchema = z.object({ roles: z.array(z.string()) });

interface RoleRestParts {
  readonly roles: Roles;
  /** Throws AppError user_unknown, client_unknown. */
  checkHolder(holder: Holder): Promise<void>;
}

export function roleOperations(parts: RoleRestParts): readonly Operation[] {
  const { roles } = parts;
  const one = { tag: "roles", path: "/roles/{role}", isVersioned: true } as const;
  const write = { ...one, scope: "roles:write" } as const;
  return [
    operation({
      ...{ id: "listRoles", method: "GET", path: "/roles", tag: "roles", scope: "roles:read" },
      summary: "List all roles, the built-in ones first",
      answer: z.object({ data: z.array(roleSchema) }),
      run: async () => ({ body: { data: (await roles.list()).map(presentRole) } }),
    }),
    operation({
      ...{ id: "createRole", method: "POST", path: "/roles", tag: "roles", scope: "roles:write", status: 201 },
      summary: "Make a role",
      body: roleShape,
      answer: roleSchema,
      async run(call) {
        call.checkGives(adminScopesOf(call.body));
        return { body: presentRole(await roles.create(call.body, call.by)) };
      },
    }),
    operation({
      ...{ ...one, id: "getRole", method: "GET", scope: "roles:read", summary: "Read a role" },
      answer: roleSchema,
      run: async (call) => ({ body: presentRole(await known(roles, call)) }),
    }),
    operation({
      ...{ ...write, id: "updateRole", method: "PATCH", summary: "Change a role" },
      description: "`permissions` replaces the whole list.",
      body: roleChangeShape,
      answer: roleSchema,
      run: async (call) => ({ body: presentRole(await change(roles, call, call.body)) }),
    }),
    operation({
      ...{ ...write, id: "replaceRole", method: "PUT", summary: "Replace a role as a whole" },
      description: "What is not named is empty afterwards. The name stays.",
      body: roleShape.omit({ name: true }),
      answer: roleSchema,
      async run(call) {
        const { description = param(call, "role"), permissions = [] } = call.body;
        return { body: presentRole(await change(roles, call, { description, permissions })) };
      },
    }),
    operation({
      ...{ ...write, id: "deleteRole", method: "DELETE", status: 200 },
      summary: "Delete a role and take it from all who hold it",
      answer: z.object({ holders: z.int() }),
      async run(call) {
        const holders = await roles.delete(param(call, "role"), call.by, checkBefore(call));
        return { body: { holders } };
      },
    }),
    ...holdingOperations(parts, { kind: "user", noun: "User", path: "/users/{user_id}/roles", name: "user_id" }),
    ...holdingOperations(parts, {
      kind: "client",
      noun: "Client",
      path: "/clients/{client_id}/roles",
      name: "client_id",
    }),
  ];
}

function holdingOperations(
  { roles, checkHolder }: RoleRestParts,
  of: { readonly kind: "user" | "client"; readonly noun: string; readonly path: string; readonly name: string },
): readonly Operation[] {
  const { kind, noun, path, name } = of;
  const touches = (params: Readonly<Record<string, string>>): Holder => ({ kind, id: params[name] ?? "" });
  const write = { tag: "roles", path: `${path}/{role}`, scope: "roles:write", touches } as const;
  return [
    operation({
      ...{ id: `list${noun}Roles`, method: "GET", path, tag: "roles", scope: "roles:read" },
      summary: `List the roles of a ${kind}`,
      answer: namesSchema,
      async run(call) {
        const holder = touches(call.params);
        await checkHolder(holder);
        return { body: { roles: await roles.names(holder) } };
      },
    }),
    operation({
      ...{ ...write, id: `grant${noun}Role`, method: "PUT", summary: `Give a ${kind} a role` },
      description: "It counts from the next token on.",
      answer: namesSchema,
      async run(call) {
        call.checkGives(adminScopesOf(await known(roles, call)));
        return { body: { roles: await roles.grant(touches(call.params), param(call, "role"), call.by) } };
      },
    }),
    operation({
      ...{ ...write, id: `revoke${noun}Role`, method: "DELETE", status: 200, summary: `Take a role from a ${kind}` },
      answer: namesSchema,
      run: async (call) => ({
        body: { roles: await roles.revoke(touches(call.params), param(call, "role"), call.by) },
      }),
    }),
  ];
}

type ChangeCall = Pick<Call, "params" | "by" | "checkVersion" | "checkGives">;

async function change(roles: Roles, call: ChangeCall, patch: RoleChange): Promise<Role> {
  call.checkGives(adminScopesOf(patch));
  return roles.update(param(call, "role"), patch, call.by, checkBefore(call));
}

/** A role that is wider than one's own is not for them to change, either. */
function checkBefore(call: ChangeCall): (before: Role) => void {
  const checkVersion = call.checkVersion(presentRole);
  return (before) => {
    checkVersion(before);
    call.checkGives(adminScopesOf(before));
  };
}

function adminScopesOf({
  permissions = [],
}: {
  readonly permissions?: Role["permissions"] | undefined;
}): readonly string[] {
  return permissions.flatMap(({ identifier, scopes }) => (identifier === ADMIN_API ? scopes : []));
}

async function known(roles: Roles, call: Pick<Call, "params">): Promise<Role> {
  const role = await roles.find(param(call, "role"));
  if (role === undefined) throw new AppError("role_unknown");
  return role;
}
