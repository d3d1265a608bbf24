/** REST: where a person is signed in and which apps have access, below `/api/v1/users/{user_id}`. */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { type Holder, type Operation, operation, param } from "../rest/operation.ts";
import { presentGrant, presentSession, type Sessions } from "./session.ts";

const sessionSchema = z.object({
  id: z.string().describe("Names the session here; it opens nothing."),
  user_agent: z.string().nullable(),
  network: z.string().nullable(),
  signed_in_at: z.iso.datetime(),
  seen_at: z.iso.datetime(),
  client_ids: z.array(z.string()),
});
const grantSchema = z.object({
  id: z.string(),
  client_id: z.string(),
  signed_in_at: z.iso.datetime().nullable(),
  scopes: z.array(z.object({ resource: z.string().describe("Empty: OpenID scopes."), scopes: z.array(z.string()) })),
});

export function sessionOperations(parts: {
  readonly sessions: Sessions;
  /** Throws AppError user_unknown. */
  checkHolder(holder: Holder): Promise<void>;
}): readonly Operation[] {
  const { sessions } = parts;
  const known = async (params: Readonly<Record<string, string>>): Promise<string> => {
    const id = param({ params }, "user_id");
    await parts.checkHolder({ kind: "user", id });
    return id;
  };
  const ofSessions = { tag: "sessions", path: "/users/{user_id}/sessions" } as const;
  const ofGrants = { tag: "grants", path: "/users/{user_id}/grants" } as const;
  return [
    operation({
      ...{ ...ofSessions, id: "listSessions", method: "GET", scope: "sessions:read" },
      summary: "List where a user is signed in, the last seen first; at most 200",
      answer: z.object({ data: z.array(sessionSchema) }),
      run: async ({ params }) => ({
        body: { data: (await sessions.list({ userId: await known(params) })).map(presentSession) },
      }),
    }),
    operation({
      ...{ ...ofSessions, id: "endAllSessions", method: "DELETE", scope: "sessions:write" },
      summary: "Sign a user out everywhere, apps that keep access included",
      async run({ params, by }) {
        await sessions.endAll({ userId: await known(params) }, by);
        return {};
      },
    }),
    operation({
      ...{ ...ofSessions, path: "/users/{user_id}/sessions/{session_id}", id: "endSession", method: "DELETE" },
      ...{ scope: "sessions:write", summary: "End one session, and the apps that end with it" },
      async run({ params, by }) {
        const isEnded = await sessions.end(await known(params), param({ params }, "session_id"), by);
        if (!isEnded) throw new AppError("session_unknown");
        return {};
      },
    }),
    operation({
      ...{ ...ofGrants, id: "listGrants", method: "GET", scope: "grants:read" },
      summary: "List the sign-ins at apps that go on without the user; at most 200",
      answer: z.object({ data: z.array(grantSchema) }),
      run: async ({ params }) => ({
        body: { data: (await sessions.listGrants({ userId: await known(params) })).map(presentGrant) },
      }),
    }),
    operation({
      ...{ ...ofGrants, path: "/users/{user_id}/grants/{grant_id}", id: "endGrant", method: "DELETE" },
      ...{ scope: "grants:write", summary: "End one sign-in at an app: its tokens are no longer good" },
      async run({ params, by }) {
        const isEnded = await sessions.endGrant(await known(params), param({ params }, "grant_id"), by);
        if (!isEnded) throw new AppError("grant_unknown");
        return {};
      },
    }),
  ];
}
