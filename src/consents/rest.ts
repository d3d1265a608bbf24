/** REST: what a person allowed apps, below `/api/v1/users/{user_id}/consents`. */
import { z } from "zod";
import { type By, type Holder, type Operation, operation, param } from "../rest/operation.ts";
import { type Consents, presentConsent, withdrawKnown } from "./consent.ts";

const consentSchema = z.object({
  client_id: z.string(),
  resource: z.string().describe("The identifier of an API; empty: OpenID scopes."),
  granted: z.array(z.string()),
  refused: z.array(z.string()),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
});

export function consentOperations(parts: {
  readonly consents: Consents;
  /** Throws AppError user_unknown. */
  checkHolder(holder: Holder): Promise<void>;
  /** Takes the consent back and ends whatever the app has of this person; returns how many Grants. */
  revokeApp(userId: string, clientId: string, by: By): Promise<number>;
}): readonly Operation[] {
  const { consents, checkHolder } = parts;
  const one = { tag: "consents", path: "/users/{user_id}/consents" } as const;
  return [
    operation({
      ...{ ...one, id: "listConsents", method: "GET", scope: "consents:read" },
      summary: "List what a user allowed apps, the newest first",
      answer: z.object({ data: z.array(consentSchema) }),
      async run({ params }) {
        const id = param({ params }, "user_id");
        await checkHolder({ kind: "user", id });
        return { body: { data: (await consents.listOf(id)).map(presentConsent) } };
      },
    }),
    operation({
      ...{ ...one, path: "/users/{user_id}/consents/{client_id}", id: "withdrawConsent", method: "DELETE" },
      ...{ scope: "consents:write", summary: "Take back what a user allowed an app, and end what the app has" },
      async run({ params, by }) {
        const [userId, clientId] = [param({ params }, "user_id"), param({ params }, "client_id")];
        await checkHolder({ kind: "user", id: userId });
        await withdrawKnown(parts, { userId, clientId }, by);
        return {};
      },
    }),
  ];
}
