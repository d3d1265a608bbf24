/** REST: `/api/v1/users`: create, find, change, invite, reset, disable, delete. An administrator never chooses a password (ASVS 5.0 6.4.6). */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { type By, type Call, type Operation, operation, param } from "../rest/operation.ts";
import { newUserShape, parseNewUser, parseUserChange, parseUserFilter, userChangeShape } from "./schema.ts";
import { presentUser, type User, type Users } from "./user.ts";

const SEARCH_CHARS_MAX = 254;

export interface UserRestParts {
  readonly users: Users;
  readonly recoveries: { force(userId: string, by: By): Promise<unknown> };
  readonly deletions: { delete(userId: string, by: By, check: (before: User) => void): Promise<void> };
  /** Throws AppError sign_up_closed, mail_off, user_email_taken, user_email_invalid, login_throttled. */
  invite(email: string, language: string, by: By): Promise<void>;
  /** What cannot be sent must not be promised. Throws AppError mail_off. */
  checkMail(email: string): Promise<void>;
}

const userSchema = z
  .looseObject({
    id: z.uuid().describe("The sub of every token."),
    email: z.string(),
    email_verified: z.boolean(),
    name: z.string().optional(),
    roles: z.array(z.string()),
    disabled: z.boolean(),
    has_password: z.boolean(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .describe("With the standard claims of OpenID Connect Core section 5.1.");

const touches = ({ user_id = "" }: Readonly<Record<string, string>>) => ({ kind: "user", id: user_id }) as const;
const one = { tag: "users", path: "/users/{user_id}" } as const;
const write = { ...one, scope: "users:write", touches } as const;

export function userOperations(parts: UserRestParts): readonly Operation[] {
  return [...collectionOperations(parts), ...personOperations(parts), ...accessOperations(parts)];
}

function collectionOperations({ users, invite }: UserRestParts): readonly Operation[] {
  return [
    operation({
      ...{ id: "listUsers", method: "GET", path: "/users", tag: "users", scope: "users:read", isList: true },
      summary: "List users in order of creation, or find them",
      query: z.object({
        query: z
          .string()
          .min(1)
          .max(SEARCH_CHARS_MAX)
          .describe("An id, or how the e-mail address, the name or the family name begins.")
          .optional(),
      }),
      answer: userSchema,
      async run({ query, page }) {
        const after = page.after?.[0];
        const found = await users.list(parseUserFilter({ limit: page.limit, after, query: query.query }));
        return { body: found.users.map(presentUser), next: found.next === undefined ? undefined : [found.next] };
      },
    }),
    operation({
      ...{ id: "createUser", method: "POST", path: "/users", tag: "users", scope: "users:write", status: 201 },
      summary: "Create a user, who sets a password by a mail (reset-password)",
      body: newUserShape,
      answer: userSchema,
      run: async (call) => ({ body: presentUser(await users.create(parseNewUser(call.body), call.by)) }),
    }),
    operation({
      ...{ id: "inviteUser", method: "POST", path: "/invitations", tag: "users", scope: "users:write", status: 202 },
      summary: "Send an address that has no account a link to make one",
      body: z.strictObject({
        email: z.string().max(SEARCH_CHARS_MAX),
        language: z
          .string()
          .regex(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$/)
          .describe("Of the mail; en unless given.")
          .optional(),
      }),
      answer: z.object({ invited: z.string() }),
      async run({ body, by }) {
        await invite(body.email, body.language ?? "en", by);
        return { body: { invited: body.email } };
      },
    }),
  ];
}

function personOperations({ users, deletions }: UserRestParts): readonly Operation[] {
  return [
    operation({
      ...{ ...one, id: "getUser", method: "GET", scope: "users:read", summary: "Read a user", isVersioned: true },
      answer: userSchema,
      run: async (call) => ({ body: presentUser(await known(users, call)) }),
    }),
    operation({
      ...{ ...write, id: "updateUser", method: "PATCH", summary: "Change a user", isVersioned: true },
      description: "A merge patch (RFC 7396): null takes a claim away. A new address counts as unverified.",
      body: userChangeShape,
      answer: userSchema,
      async run(call) {
        const { id } = await known(users, call);
        const change = parseUserChange(call.body);
        return { body: presentUser(await users.update(id, change, call.by, call.checkVersion(presentUser))) };
      },
    }),
    operation({
      ...{
        ...write,
        id: "deleteUser",
        method: "DELETE",
        summary: "Delete a user for good, at once",
        isVersioned: true,
      },
      async run(call) {
        await deletions.delete((await known(users, call)).id, call.by, call.checkVersion(presentUser));
        return {};
      },
    }),
  ];
}

function accessOperations({ users, recoveries, checkMail }: UserRestParts): readonly Operation[] {
  return [
    switching(users, "disable", "Stop a user from signing in, and end what apps can do for them"),
    switching(users, "enable", "Let a disabled user sign in again"),
    operation({
      ...{ ...write, id: "resetPassword", method: "POST", path: "/users/{user_id}/reset-password", status: 202 },
      summary: "End the password and every session, and send a link to set a new one",
      answer: userSchema,
      async run(call) {
        const { id, email } = await known(users, call);
        await checkMail(email);
        await recoveries.force(id, call.by);
        return { body: presentUser(await known(users, call)) };
      },
    }),
  ];
}

function switching(users: Users, verb: "disable" | "enable", summary: string): Operation {
  return operation({
    ...{ ...write, id: `${verb}User`, method: "POST", path: `/users/{user_id}/${verb}`, summary, isVersioned: true },
    answer: userSchema,
    async run(call) {
      const { id } = await known(users, call);
      return {
        body: presentUser(await users.setDisabled(id, verb === "disable", call.by, call.checkVersion(presentUser))),
      };
    },
  });
}

/** By id alone: an address in a path would stand in every log. */
async function known(users: Users, call: Pick<Call, "params">): Promise<User> {
  const user = await users.find(param(call, "user_id"));
  if (user === undefined) throw new AppError("user_unknown");
  return user;
}
