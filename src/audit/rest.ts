/** REST: `/api/v1/audit`: who did what on whom, the newest first, with filters that an index serves. */
import { z } from "zod";
import { type Operation, operation } from "../rest/operation.ts";
import { presentEntry, presentVerification, type Trail, type TrailFilter } from "./trail.ts";

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

const filterShape = z.object({
  from: moment.describe("RFC 3339; this moment included.").optional(),
  to: moment.describe("RFC 3339; this moment not included.").optional(),
  actor: text.describe("The id of who did it, or user, client, command, system, anonymous.").optional(),
  subject: text.describe("The id of what it was done to.").optional(),
  action: text.describe("The name of the event, for example client.updated; client. is all of that kind.").optional(),
  request_id: text.optional(),
});
const verificationSchema = z.object({
  intact: z.boolean(),
  events: z.int().describe("Sealed events that were read."),
  batches: z.int(),
  removed_batches: z.int().describe("Of those, batches whose events went by retention."),
  unsealed: z.int().describe("Written and not sealed yet."),
  oldest_unsealed: z.iso.datetime().nullable(),
  checkpoint: z.string().nullable().describe("The last one that was read; keep it elsewhere."),
  fault_count: z.int(),
  faults: z.array(
    z.object({
      kind: z.enum(["altered", "removed", "added", "cut", "checkpoint"]),
      seq: z.string().optional(),
      words: z.string(),
    }),
  ),
  next_batch: z.string().describe("Go on with after_batch; absent when the end was reached.").optional(),
});
const lineSchema = z.looseObject({ type: z.enum(["event", "checkpoint"]) });
const read = { method: "GET", tag: "audit", scope: "audit:read" } as const;

export function auditOperations({ trail }: { readonly trail: Trail }): readonly Operation[] {
  return [
    operation({
      ...{ ...read, id: "listAuditEvents", path: "/audit", isList: true },
      summary: "Read the audit trail, the newest events first",
      query: filterShape,
      answer: entrySchema,
      async run({ query, page }) {
        const after = page.after === undefined ? undefined : String(page.after[0]);
        const found = await trail.list(filterOf(query), { limit: page.limit, after });
        const last = found.length === page.limit ? found.at(-1) : undefined;
        return { body: found.map(presentEntry), next: last === undefined ? undefined : [last.id] };
      },
    }),
    operation({
      ...{ ...read, id: "exportAudit", path: "/audit/export", isList: true, isLines: true },
      summary: "Read the audit trail as JSON lines, the oldest first",
      description:
        "Page by page: follow the header Link until there is none. Without a filter of who and what, the checkpoints follow the events; `signet audit verify --against` takes the file.",
      query: filterShape,
      answer: lineSchema,
      async run({ query, page: { limit, after } }) {
        const [of, id] = after ?? [];
        const place = of === "event" || of === "checkpoint" ? { after: { of, id: String(id) } as const } : {};
        const { lines, next } = await trail.exportPage(filterOf(query), { limit, ...place });
        return { body: lines, next: next === undefined ? undefined : [next.of, next.id] };
      },
    }),
    operation({
      ...{ ...read, id: "verifyAudit", path: "/audit/verification" },
      summary: "Check that no event was altered, removed or cut off since it was sealed",
      description:
        "A long trail is checked in parts: go on with after_batch=next_batch until there is none. The trail is whole when every part is intact.",
      query: z.object({
        after_batch: z
          .string()
          .regex(/^\d{1,18}$/)
          .describe("The next_batch of the part before.")
          .optional(),
        newest: z.enum(["yes"]).describe("Only the newest batches and the end of the trail.").optional(),
      }),
      answer: verificationSchema,
      async run({ query: { after_batch: after = "0", newest } }) {
        const part = newest === "yes" ? "newest" : ({ afterBatch: BigInt(after) } as const);
        return { body: presentVerification(await trail.verifyPart(part)) };
      },
    }),
  ];
}

function filterOf({ from, to, request_id: requestId, ...same }: z.output<typeof filterShape>): TrailFilter {
  return { ...same, from: momentOf(from), to: momentOf(to), requestId };
}

function momentOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}
