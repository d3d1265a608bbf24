/** Shapes of roles at the edge, with the names of the wire. */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { isScopeToken } from "../scopes.ts";
import { DISPLAY_TEXT_RULE, isDisplayText, quoted } from "../text.ts";

const DESCRIPTION_CHARS_MAX = 200;
const APIS_MAX = 50;
const SCOPES_MAX = 100;
/** Letters that need no escaping in a token, an address or a shell. */
const NAME = /^[a-z][a-z0-9_-]{0,49}$/;

const description = z
  .string()
  .min(1)
  .max(DESCRIPTION_CHARS_MAX, `is longer than ${DESCRIPTION_CHARS_MAX} characters`)
  .refine(isDisplayText, DISPLAY_TEXT_RULE);
const permissions = z
  .array(
    z.strictObject({
      identifier: z.string().min(1).max(500),
      scopes: z.array(z.string().refine(isScopeToken, "is no scope")).min(1).max(SCOPES_MAX),
    }),
  )
  .max(APIS_MAX, `holds more than ${APIS_MAX} APIs`)
  .refine((list) => new Set(list.map(({ identifier }) => identifier)).size === list.length, "names an API twice");
const role = z.strictObject({
  name: z.string().regex(NAME, "is not 1 to 50 small letters, digits, - and _ with a letter first"),
  description: description.optional(),
  permissions: permissions.default([]),
});
const change = z.strictObject({ description: description.optional(), permissions: permissions.optional() });

export { change as roleChangeShape, permissions as permissionsShape, role as roleShape };
export type RoleInput = z.infer<typeof role>;
export type RoleChange = z.infer<typeof change>;
/** What a role holds: scopes of APIs, by the API's identifier. */
export type Permission = Readonly<z.infer<typeof permissions>[number]>;

/** Throws AppError role_invalid with every field that cannot be used, and why; unknown fields are faults too. */
export function parseRoleInput(input: unknown): RoleInput {
  return parse(role, input);
}

/** Absent fields stay as they are; `permissions` replaces the whole list. */
export function parseRoleChange(input: unknown): RoleChange {
  return parse(change, input);
}

export function isRoleName(name: string): boolean {
  return NAME.test(name);
}

function parse<T>(schema: z.ZodType<T>, input: unknown): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw new AppError("role_invalid", `${[...new Set(parsed.error.issues.map(sentence))].slice(0, 20).join("; ")}.`);
}

function sentence(issue: z.core.$ZodIssue): string {
  const place = issue.path.map((part) => (typeof part === "number" ? `[${part}]` : String(part))).join(".");
  if (issue.code === "unrecognized_keys")
    return `${issue.keys.slice(0, 5).map(quoted).join(", ")} is no field of a role`;
  if (issue.message.endsWith("received undefined")) return `${place} is missing`;
  return `${place === "" ? "a role" : place} ${issue.message.replace(/^Invalid input: /, "")}`;
}
