/** REST: `/api/v1/mails`: what waits, was sent or failed. What a mail says is shown nowhere. */
import { z } from "zod";
import { type Operation, operation, param } from "../rest/operation.ts";
import { type Mails, presentMail, RETRIED_MAX } from "./message.ts";

const STATES = ["queued", "sent", "failed"] as const;
const mailSchema = z.object({
  id: z.uuid(),
  template: z.string(),
  language: z.string(),
  to: z.string(),
  state: z.enum(STATES),
  attempts: z.int(),
  error: z.string().optional(),
  due_at: z.iso.datetime(),
  created_at: z.iso.datetime(),
  sent_at: z.iso.datetime().optional(),
});

export function mailOperations({ mails }: { readonly mails: Mails }): readonly Operation[] {
  return [
    operation({
      ...{ id: "listMails", method: "GET", path: "/mails", tag: "mail", scope: "mail:read", isList: true },
      summary: "List mails, the newest first",
      query: z.object({ state: z.enum(STATES).optional() }),
      answer: mailSchema,
      async run({ query: { state }, page }) {
        const [atMs, id] = page.after ?? [];
        const after = id === undefined ? undefined : { createdAt: new Date(Number(atMs)), id: String(id) };
        const found = await mails.list({ state, limit: page.limit, after });
        const last = found.length === page.limit ? found.at(-1) : undefined;
        const next = last === undefined ? undefined : [last.createdAt.getTime(), last.id];
        return { body: found.map(presentMail), next };
      },
    }),
    operation({
      ...{ id: "retryMails", method: "POST", path: "/mails/retry", tag: "mail", scope: "mail:write" },
      summary: `Send again now what waits or was given up, as long as it still says something true; the oldest ${RETRIED_MAX}`,
      answer: z.object({ retried: z.array(z.uuid()) }),
      run: async ({ by }) => ({ body: { retried: await mails.retry(undefined, by) } }),
    }),
    operation({
      ...{ id: "retryMail", method: "POST", path: "/mails/{mail_id}/retry", tag: "mail", scope: "mail:write" },
      summary: "Send one mail again now",
      answer: z.object({ retried: z.array(z.uuid()) }),
      run: async (call) => ({ body: { retried: await mails.retry(param(call, "mail_id"), call.by) } }),
    }),
  ];
}
