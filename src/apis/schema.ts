/** Shapes of APIs at the edge, with the names of the wire. */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { DISPLAY_TEXT_RULE, isDisplayText, quoted } from "../text.ts";
import { ACCESS_TOKEN_ALGORITHMS, TOKEN_FORMATS } from "./format.ts";
import { descriptionFault, SCOPES_CHARS_MAX, SCOPES_MAX, scopeFault } from "./scope.ts";

export const TOKEN_LIFETIME_SECONDS = 600;
const TOKEN_LIFETIME_SECONDS_MIN = 60;
const TOKEN_LIFETIME_SECONDS_MAX = 86_400;
export const IDENTIFIER_CHARS_MAX = 500;
const NAME_CHARS_MAX = 100;
const LANGUAGES_MAX = 20;

const name = z
  .string()
  .min(1)
  .max(NAME_CHARS_MAX, `is longer than ${NAME_CHARS_MAX} characters`)
  .refine(isDisplayText, DISPLAY_TEXT_RULE);
const faultless = (fault: (text: string) => string | undefined) =>
  z.string().superRefine((text, context) => {
    const found = fault(text);
    if (found !== undefined) context.addIssue({ code: "custom", message: found, input: text });
  });
const scope = z.strictObject({
  scope: faultless(scopeFault),
  description: faultless(descriptionFault).optional(),
  descriptions: z
    .record(
      z.string().regex(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$/, "is not a language tag such as de or pt-BR"),
      faultless(descriptionFault),
    )
    .refine((texts) => Object.keys(texts).length <= LANGUAGES_MAX, `has more than ${LANGUAGES_MAX} languages`)
    .optional(),
});
const scopes = z
  .array(scope)
  .max(SCOPES_MAX, `holds more than ${SCOPES_MAX} scopes`)
  .refine((list) => new Set(list.map((one) => one.scope)).size === list.length, "names a scope twice")
  .refine(
    (list) => list.map((one) => one.scope).join(" ").length <= SCOPES_CHARS_MAX,
    `names scopes that are together longer than ${SCOPES_CHARS_MAX} characters: a token could not carry them`,
  )
  .transform((list) =>
    list.map(({ scope, description, descriptions }) => {
      const more = Object.keys(descriptions ?? {}).length === 0 ? {} : { descriptions };
      return { scope, description: description ?? scope, ...more };
    }),
  );
const tokenLifetime = z
  .int()
  .min(TOKEN_LIFETIME_SECONDS_MIN, `is less than ${TOKEN_LIFETIME_SECONDS_MIN} seconds`)
  .max(TOKEN_LIFETIME_SECONDS_MAX, `is more than ${TOKEN_LIFETIME_SECONDS_MAX} seconds`);

const tokenFormat = z.enum(TOKEN_FORMATS, `is one of ${TOKEN_FORMATS.join(", ")}`);
const signingAlgorithm = z.enum(ACCESS_TOKEN_ALGORITHMS, `is one of ${ACCESS_TOKEN_ALGORITHMS.join(", ")}`);

const api = z.strictObject({
  identifier: faultless(identifierFault),
  name,
  scopes: scopes.default([]),
  token_lifetime: tokenLifetime.default(TOKEN_LIFETIME_SECONDS),
  token_format: tokenFormat.default("jwt"),
  signing_alg: signingAlgorithm.default("ES256"),
  allow_refresh: z.boolean().default(true),
  scopes_by_role: z.boolean().default(false),
  roles_claim: z.boolean().default(false),
});
/** The identifier stands in tokens and consents, so it is not among what may change. */
const change = z.strictObject({
  name: name.optional(),
  scopes: scopes.optional(),
  token_lifetime: tokenLifetime.optional(),
  token_format: tokenFormat.optional(),
  signing_alg: signingAlgorithm.optional(),
  allow_refresh: z.boolean().optional(),
  scopes_by_role: z.boolean().optional(),
  roles_claim: z.boolean().optional(),
});

export { api as apiShape, change as apiChangeShape, scope as scopeShape };
export type ApiInput = z.infer<typeof api>;
export type ApiChange = z.infer<typeof change>;

/** Throws AppError api_invalid with every field that cannot be used, and why; unknown fields are faults too. */
export function parseApiInput(input: unknown): ApiInput {
  return parse(api, input);
}

/** Absent fields stay as they are; `scopes` replaces the whole list. */
export function parseApiChange(input: unknown): ApiChange {
  if (typeof input === "object" && input !== null && Object.hasOwn(input, "identifier")) {
    throw new AppError("api_invalid", "identifier: it cannot be changed; create another API.");
  }
  return parse(change, input);
}

/** What is wrong with an API's identifier, as the end of a sentence. RFC 8707 section 2: an absolute URI without a fragment. */
export function identifierFault(identifier: string): string | undefined {
  if (identifier.length > IDENTIFIER_CHARS_MAX) return `is longer than ${IDENTIFIER_CHARS_MAX} characters`;
  if (!/^[\x21-\x7e]+$/.test(identifier)) return "holds white space, control characters or letters outside ASCII";
  if (!/^[A-Za-z][A-Za-z0-9+.-]*:./.test(identifier) || !URL.canParse(identifier)) return "is not an absolute URI";
  if (identifier.includes("#")) return "has a fragment";
  const url = new URL(identifier);
  return url.username !== "" || url.password !== "" ? "holds a user name" : undefined;
}

function parse<T>(schema: z.ZodType<T>, input: unknown): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw new AppError("api_invalid", `${[...new Set(parsed.error.issues.map(sentence))].slice(0, 20).join("; ")}.`);
}

function sentence(issue: z.core.$ZodIssue): string {
  const place = issue.path
    .map((part, index) => (typeof part === "number" ? `[${part}]` : `${index === 0 ? "" : "."}${String(part)}`))
    .join("");
  if (issue.code === "unrecognized_keys") {
    return `${issue.keys.slice(0, 5).map(quoted).join(", ")} is not a field of ${place === "" ? "an API" : place}`;
  }
  if (issue.code === "invalid_key") return `${place} ${issue.issues[0]?.message ?? "is no key"}`;
  if (issue.message.endsWith("received undefined")) return `${place} is missing`;
  return `${place === "" ? "an API" : place} ${issue.message.replace(/^Invalid input: /, "")}`;
}
