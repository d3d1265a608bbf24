/** Bodies of our own forms: bounded, of one content type, without duplicates. The engine reads its own. */
import type { Context } from "koa";
import rawBody from "raw-body";
import { AppError } from "../errors.ts";

/** No form of ours, with every field at its longest, is half as large. */
export const BODY_BYTES_MAX = 32 * 1024;
const PARAMETERS_MAX = 100;

/** Names of fields that may stand more than once: a list of them, or a rule. */
export interface Repeatable {
  includes(name: string): boolean;
}

export interface Form {
  /** The one value of a field; undefined when it was not sent. */
  field(name: string): string | undefined;
  /** All values of a field that may repeat (checkboxes). */
  fields(name: string): readonly string[];
  readonly names: readonly string[];
  /** All of it, encoded again, for a form that is passed on. */
  readonly encoded: string;
}

/** The one content type of a form, nothing compressed: a body that is read otherwise than it was meant is refused (RFC 9110 section 15.5.16). */
export function checkFormType(ctx: Context): void {
  const isPlain = ["", "identity"].includes(ctx.get("content-encoding").toLowerCase());
  if (!isPlain || !ctx.is("application/x-www-form-urlencoded")) throw new AppError("body_type_unsupported");
}

/** Reads a form of our own pages. Names with brackets are lists to some readers and nothing to us: nothing of ours sends them. */
export async function readForm(ctx: Context, repeatable: Repeatable = [], limit = BODY_BYTES_MAX): Promise<Form> {
  const form = await readParameters(ctx, repeatable, limit);
  if (form.names.some((name) => /[[\]]/.test(name))) throw new AppError("request_malformed", "a field is a list");
  return form;
}

/**
 * Reads posted parameters, unknown ones too (RFC 6749 section 3.1). One that may stand once and stands twice is refused, as one that two readers
 * could read differently.
 */
export async function readParameters(ctx: Context, repeatable: Repeatable = [], limit = BODY_BYTES_MAX): Promise<Form> {
  checkFormType(ctx);
  const text = await rawBody(ctx.req, { limit, length: ctx.request.length, encoding: "utf8" }).catch(
    (error: unknown) => {
      const isTooLarge = error instanceof Error && "type" in error && error.type === "entity.too.large";
      throw new AppError(isTooLarge ? "body_too_large" : "request_malformed");
    },
  );
  const parameters = new URLSearchParams(text);
  if (parameters.size > PARAMETERS_MAX) throw new AppError("request_malformed", "too many fields");
  const seen = new Set<string>();
  for (const name of parameters.keys()) {
    if (seen.has(name) && !repeatable.includes(name)) throw new AppError("request_malformed", "a field stands twice");
    seen.add(name);
  }
  return {
    field: (name) => parameters.get(name) ?? undefined,
    fields: (name) => parameters.getAll(name),
    names: [...seen],
    encoded: parameters.toString(),
  };
}
