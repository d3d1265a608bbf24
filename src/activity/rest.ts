/** REST: `/api/v1/activity`: tokens, sign-ins and failures, counted by client and hour. */
import { z } from "zod";
import { now, secondsAfter } from "../clock.ts";
import { type Operation, operation } from "../rest/operation.ts";
import { ACTIVITIES, type Activity, PERIODS, presentSeries } from "./activity.ts";

const DAY_SECONDS = 86_400;
const TEXT_CHARS_MAX = 200;
const moment = z.iso.datetime({ offset: true });
const clientId = z.string().max(TEXT_CHARS_MAX).describe("Of this client; all together unless given.").optional();
const counts = z.object(Object.fromEntries(ACTIVITIES.map((kind) => [kind, z.int()])));
const read = { method: "GET", tag: "activity", scope: "audit:read" } as const;

export function activityOperations({ activity }: { readonly activity: Activity }): readonly Operation[] {
  return [
    operation({
      ...{ ...read, id: "listActivity", path: "/activity", isList: true },
      summary: "List the counts of each client and hour, the oldest hour first",
      description: "Kept for 400 days. The last ten seconds are still to come.",
      query: z.object({
        client_id: z
          .string()
          .max(TEXT_CHARS_MAX)
          .describe("Of this client; empty: of whatever belongs to none.")
          .optional(),
        from: moment.describe("RFC 3339; this moment included; a day ago unless given.").optional(),
        to: moment.describe("RFC 3339; this moment not included.").optional(),
      }),
      answer: z.object({
        hour: z.iso.datetime().describe("Where the hour begins, in UTC."),
        client_id: z.string().nullable().describe("null: of no client."),
        kind: z.enum(ACTIVITIES),
        count: z.int(),
      }),
      async run({ query: { client_id: client, from, to }, page }) {
        const [hourMs, lastClient, kind] = page.after ?? [];
        const found = await activity.hours({
          ...{ clientId: client, limit: page.limit },
          from: from === undefined ? secondsAfter(now(), -DAY_SECONDS) : new Date(from),
          to: to === undefined ? secondsAfter(now(), DAY_SECONDS) : new Date(to),
          after:
            kind === undefined
              ? undefined
              : { hour: new Date(Number(hourMs)), clientId: String(lastClient), kind: String(kind) },
        });
        const last = found.length === page.limit ? found.at(-1) : undefined;
        return {
          body: found.map(({ hour, clientId: id, kind: what, count }) => ({
            hour: hour.toISOString(),
            client_id: id === "" ? null : id,
            kind: what,
            count,
          })),
          next: last === undefined ? undefined : [last.hour.getTime(), last.clientId, last.kind],
        };
      },
    }),
    operation({
      ...{ ...read, id: "getActivity", path: "/activity/series" },
      summary: "Read the counts of the last 24 hours by the hour, or of 30 days by the day",
      query: z.object({ client_id: clientId, period: z.enum(PERIODS).describe("24h unless given.").optional() }),
      answer: z.object({
        period: z.enum(PERIODS),
        totals: counts,
        before: counts.nullable().describe("Of the 24 hours before; null of 30d."),
        steps: z.array(z.looseObject({ from: z.iso.datetime() })),
      }),
      run: async ({ query: { client_id: client, period = "24h" } }) => ({
        body: presentSeries(await activity.series({ clientId: client, period })),
      }),
    }),
  ];
}
