/** REST: `/api/v1/audit`: who did what on whom, the newest first, with filters that an index serves. */
import { z } from "zod";
import { type Operation, operation } from "../rest/operation.ts";
import type { TrailEntry, TrailFilter } from "./trail.ts";

const TEXT_CHARS_MAX = 200;
const text = z.string().min(1).max(TEXT_CHARS_MAX);
const moment = z.iso.datetime({ offset: true });
const entrySchema = z.looseObject({
  id: z.string(),
  seq: z.string().describe("The number without gaps; absent until the event is sealed.").optional(),
  at: z.iso.datetime(),
  action: z.string(),
  actor: z.object({ kind: z.string(), id: z.string().optional() }),
  subject: z.object({ kind: z.string(), id: z.string() }).optional(),
  address: z.string().optional(),
  request_id: z.string().optional(),
  data: z.record(z.string(), z.unknown()).optional(),
  changes: z.unknown().describe("Before and after, without secrets.").optional(),
});

export function auditOperations(parts: {
  /** The newest first; `after` is the id of the last one of the page before. */
  list(
    filter: TrailFilter,
    page: { readonly limit: number; readonly after: string | undefined },
  ): Promise<readonly TrailEntry[]>;
  readonly present: (event: TrailEntry) => Record<string, unknown>;
}): readonly Operation[] {
  return [
    operation({
      ...{ id: "listAuditEvents", method: "GET", path: "/audit", tag: "audit", scope: "audit:read", isList: true },
      summary: "Read the audit trail, the newest events first",
      query: z.object({
        from: moment.describe("RFC 3339; this moment included.").optional(),
        to: moment.describe("RFC 3339; this moment not included.").optional(),
        actor: text.describe("The id of who did it.").optional(),
        subject: text.describe("The id of what it was done to.").optional(),
        action: text.describe("The name of the event, for example client.updated.").optional(),
        request_id: text.optional(),
      }),
      answer: entrySchema,
      async run({ query, page }) {
        const { from, to, request_id: requestId, ...same } = query;
        const moments = { from: momentOf(from), to: momentOf(to) };
        const after = page.after === undefined ? undefined : String(page.after[0]);
        const found = await parts.list({ ...same, ...moments, requestId }, { limit: page.limit, after });
        const last = found.length === page.limit ? found.at(-1) : undefined;
        return { body: found.map(parts.present), next: last === undefined ? undefined : [last.id] };
      },
    }),
  ];
}

function momentOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}
