/** REST: `/api/v1/findings`: what an administrator should mend, each with its reason and the one act that mends it. */
import { z } from "zod";
import { type Operation, operation } from "../rest/operation.ts";
import { type Findings, RULES, type RuleName } from "./finding.ts";

type Words = (language: string) => { t(key: string, values: Readonly<Record<string, string | number>>): string };

const findingSchema = z.object({
  rule: z.enum(Object.keys(RULES) as [RuleName, ...RuleName[]]),
  severity: z.enum(["serious", "soon"]),
  subject: z.object({ kind: z.enum(["client", "key", "mail", "settings", "users"]), id: z.string().optional() }),
  what: z.string(),
  why: z.string(),
  act: z.string().describe("What mends it."),
});

export function findingOperations(parts: { readonly findings: Findings; readonly words: Words }): readonly Operation[] {
  const { findings, words } = parts;
  return [
    operation({
      ...{ id: "listFindings", method: "GET", path: "/findings", tag: "findings", scope: "audit:read" },
      summary: "List what should be mended, the serious first",
      description: "Of what the caller may read: a finding about a client needs clients:read, and so on.",
      query: z.object({
        language: z
          .string()
          .regex(/^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$/)
          .describe("Of the words (BCP 47); English unless given.")
          .optional(),
      }),
      answer: z.object({ data: z.array(findingSchema) }),
      async run({ query: { language = "en" }, caller }) {
        const { t } = words(language);
        const seen = (await findings.list()).filter(({ scope }) => caller.scopes.has(scope));
        const data = seen.map(({ rule, severity, subject, values }) => ({
          ...{ rule, severity, subject },
          what: t(`finding.${rule}.what`, values),
          why: t(`finding.${rule}.why`, values),
          act: t(`finding.${rule}.act`, values),
        }));
        return { body: { data } };
      },
    }),
  ];
}
