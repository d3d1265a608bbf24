/** REST: `/api/v1/failures`: why requests of apps were refused, and what mends it. */
import { z } from "zod";
import { now, secondsAfter } from "../clock.ts";
import { AppError } from "../errors.ts";
import { type Operation, operation, param } from "../rest/operation.ts";
import { CAUSES, type Cause } from "./causes.ts";
import { FAILURE_DAYS, type Failures, presentFailure } from "./failure.ts";

const TEXT_CHARS_MAX = 200;
const moment = z.iso.datetime({ offset: true });
const clientId = z
  .string()
  .max(TEXT_CHARS_MAX)
  .describe("Of this client; empty: of requests that named none that exists.")
  .optional();
const language = z
  .string()
  .regex(/^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$/)
  .describe("Of why and mend (BCP 47); English unless given.")
  .optional();
const cause = z.enum(Object.keys(CAUSES) as [Cause, ...Cause[]]);
const failureSchema = z.object({
  id: z.string().describe("The request's: it stands on the error page and in X-Request-Id."),
  at: z.iso.datetime(),
  client_id: z.string().nullable(),
  endpoint: z.string(),
  error: z.string(),
  error_description: z.string().nullable(),
  cause,
  facts: z.record(z.string(), z.string()).describe("The values that differ; no secrets."),
  why: z.string(),
  mend: z.string(),
});
const DAYS = { "24h": 1, "7d": FAILURE_DAYS } as const;
const read = { method: "GET", tag: "failures", scope: "audit:read" } as const;

export function failureOperations({ failures }: { readonly failures: Failures }): readonly Operation[] {
  return [
    operation({
      ...{ ...read, id: "listFailures", path: "/failures", isList: true },
      summary: `List refused requests of the last ${FAILURE_DAYS} days, the newest first`,
      description: "Under a flood they are sampled; the log has a line for each.",
      query: z.object({
        client_id: clientId,
        error: z.string().min(1).max(TEXT_CHARS_MAX).describe("The code of OAuth: invalid_grant.").optional(),
        cause: cause.optional(),
        from: moment.describe("RFC 3339; this moment included.").optional(),
        to: moment.describe("RFC 3339; this moment not included.").optional(),
        language,
      }),
      answer: failureSchema,
      async run({ query, page }) {
        const { client_id: client, error, cause: wanted, from, to } = query;
        const [atMs, id] = page.after ?? [];
        const found = await failures.list(
          {
            ...{ clientId: client, error, cause: wanted, limit: page.limit },
            from: momentOf(from),
            to: momentOf(to),
            after: id === undefined ? undefined : { at: new Date(Number(atMs)), id: String(id) },
          },
          query.language,
        );
        const last = found.length === page.limit ? found.at(-1) : undefined;
        return { body: found.map(presentFailure), next: last === undefined ? undefined : [last.at.getTime(), last.id] };
      },
    }),
    operation({
      ...{ ...read, id: "getFailure", path: "/failures/{failure_id}" },
      summary: "Explain one refused request by the id on the error page",
      query: z.object({ language }),
      answer: failureSchema,
      async run(call) {
        const found = await failures.find(param(call, "failure_id"), call.query.language);
        if (found === undefined) throw new AppError("failure_unknown", `They are kept for ${FAILURE_DAYS} days.`);
        return { body: presentFailure(found) };
      },
    }),
    operation({
      ...{ ...read, id: "countFailures", path: "/failure-causes" },
      summary: "Count the refused requests that are kept, by cause",
      query: z.object({ client_id: clientId, period: z.enum(["24h", "7d"]).describe("7d unless given.").optional() }),
      answer: z.object({ data: z.array(z.object({ cause, count: z.int() })) }),
      async run({ query: { client_id: client, period = "7d" } }) {
        const from = secondsAfter(now(), -DAYS[period] * 86_400);
        return { body: { data: await failures.causes({ clientId: client, from }) } };
      },
    }),
  ];
}

function momentOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}
