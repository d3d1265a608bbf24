/** Forms of the console: fields stand for fields of an operation's body, and what the operation refuses stands beside the field again. */
import { AppError, ERRORS, type ErrorCode } from "../errors.ts";
import type { Form, Repeatable } from "../http/body.ts";
import type { Texts } from "../pages/texts.ts";
import { faultsOfError } from "../rest/problem.ts";
import type { Section } from "./navigation.ts";
import type { Answer, Asked, ConsolePage, Frame, Thing, Visit } from "./page.ts";
import { signInAgain } from "./sign-in.ts";

export interface Option {
  readonly value: string;
  readonly label: string;
  readonly help?: string | undefined;
}

type FieldKind =
  | ("text" | "email" | "url" | "number" | "area" | "json" | "lines" | "secret")
  | ("check" | "choice" | "radio" | "choices");

/** One field of a form and of the body. */
export interface Field {
  /** The operation's own name for it; a dot leads into an object. */
  readonly name: string;
  /**
   * `radio`: one of some, each with a sentence. `lines`: a list, one to a line. `check`: true or false. `choices`: a list, by checkboxes. `number`: a whole number. `area`: a longer text. `json`: a document.
   * `secret`: typed, never shown again.
   */
  readonly kind: FieldKind;
  readonly label: string;
  readonly help?: string | undefined;
  readonly options?: readonly Option[];
  /** Left empty it is not sent (or, of a change, sent as null: the default again). */
  readonly isOptional?: boolean;
  /** What stands in it: a text, a number, a list, true or false. */
  readonly value?: unknown;
  /** A heading above it. */
  readonly heading?: string;
}

export interface FormModel extends Frame {
  readonly fields: readonly Field[];
  readonly submit: string;
  /** Where whoever changes their mind goes. */
  readonly cancel: { readonly label: string; readonly href: string };
  /** The version that the form shows; two administrators at once are told apart by it. */
  readonly etag?: string;
}

interface FormRow {
  readonly path: string;
  readonly section: Section;
  readonly shows: readonly string[];
  /** What the form does. */
  readonly operation: string;
  readonly isDangerous?: boolean;
  readonly repeats?: Repeatable;
  /** A change: what was left empty is sent as null. */
  readonly isChange?: boolean;
  model(visit: Visit): Promise<FormModel>;
  /** The body and parameters of the operation, when they are not simply the fields. */
  asked?(body: Readonly<Record<string, unknown>>, visit: Visit, form: Form): Asked | Promise<Asked>;
  done(visit: Visit, answer: Answer, form: Form): Promise<void> | void;
}

/** As much as a form can hold: what was typed is refused whole or shown again whole. */
const FIELD_CHARS_MAX = 32 * 1024;

/** The page of a form: shown, and after a refusal shown again with what was typed. */
export function formPage(row: FormRow): ConsolePage {
  const { path, section, shows, operation, isDangerous, repeats } = row;
  return {
    // Whoever may not do it does not see the form, either.
    ...{ path, section, shows: [operation, ...shows], does: [operation] },
    ...(isDangerous === undefined ? {} : { isDangerous }),
    ...(repeats === undefined ? {} : { repeats }),
    async show(visit) {
      const model = await row.model(visit);
      showForm(visit, model, { fields: model.fields, version: model.etag ?? "", faults: [] });
    },
    async submit(visit, form) {
      const model = await row.model(visit);
      const version = form.field("version") ?? "";
      const body = readFields(form, model.fields, row.isChange === true);
      try {
        const asked = (await row.asked?.(body, visit, form)) ?? { body };
        const answer = await visit.ask(operation, { ifMatch: version, ...asked });
        await row.done(visit, answer, form);
      } catch (error) {
        const faults = faultsFor(error, model.fields, visit.texts);
        const fields = typed(form, model.fields);
        showForm(visit, model, { fields, version, faults, status: (error as AppError).status });
      }
    },
    async late(visit, form) {
      const model = await row.model(visit);
      const state = { fields: typed(form, model.fields), version: form.field("version") ?? "" };
      showForm(visit, model, { ...state, ...lateState(visit) });
    },
  };
}

/** The sign-in is too old for the form, which stays as it is until there is a new one beside it. */
export function lateState({ ctx, texts }: Visit): { faults: readonly ShownFault[]; status: number } {
  return { faults: [{ field: undefined, text: texts.t("console.fault.late"), href: signInAgain(ctx) }], status: 403 };
}

function typed(form: Form, fields: readonly Field[]): readonly Field[] {
  return fields.map((field) => ({ ...field, value: shownAgain(form, field) }));
}

/** The body that the fields make. What is empty is left out of something new, and is null in a change. */
export function readFields(form: Form, fields: readonly Field[], isChange: boolean): Record<string, unknown> {
  const body: Record<string, unknown> = {};
  for (const field of fields) {
    const value = sentBy(form, field);
    if (value === undefined && !(isChange && field.isOptional === true)) continue;
    const names = field.name.split(".");
    const last = names.pop() ?? "";
    let place = body;
    for (const name of names) {
      const inner = (place[name] ?? {}) as Record<string, unknown>;
      place[name] = inner;
      place = inner;
    }
    place[last] = value ?? null;
  }
  return body;
}

function sentBy(form: Form, { name, kind, isOptional }: Field): unknown {
  if (kind === "check") return form.field(name) === "yes";
  if (kind === "choices") return form.fields(name);
  const text = (form.field(name) ?? "").slice(0, FIELD_CHARS_MAX);
  if (kind === "lines") {
    const lines = text.split(/\r?\n/).map((line) => line.trim());
    return lines.filter((line) => line !== "");
  }
  const value = kind === "secret" ? text : text.trim();
  if (value === "" && isOptional === true) return undefined;
  // What is no number goes on as it is, so that the operation's own shape says so.
  return kind === "number" && /^\d{1,15}$/.test(value) ? Number(value) : value;
}

export function shownAgain(form: Form, { name, kind }: Field): unknown {
  if (kind === "secret") return "";
  if (kind === "check") return form.field(name) === "yes";
  if (kind === "choices") return form.fields(name);
  const text = (form.field(name) ?? "").slice(0, FIELD_CHARS_MAX);
  return kind === "lines" ? text.split(/\r?\n/) : text;
}

export interface ShownFault {
  /** Absent: it is about the whole. */
  readonly field: string | undefined;
  readonly text: string;
  /** What mends it, in another tab. */
  readonly href?: string;
}

/** Refusals that have words for people, and the field that they are about. */
const WORDS: Partial<Record<ErrorCode, { readonly words: string; readonly field?: string }>> = {
  user_email_taken: { words: "field.email.taken", field: "email" },
  user_email_invalid: { words: "field.email.invalid", field: "email" },
  api_identifier_taken: { words: "console.fault.identifier_taken", field: "identifier" },
  role_name_taken: { words: "console.fault.name_taken", field: "name" },
  version_changed: { words: "console.fault.version" },
  user_last_owner: { words: "console.fault.last_owner" },
  reach_exceeded: { words: "console.fault.reach" },
  api_builtin: { words: "console.fault.api_builtin" },
  sign_up_closed: { words: "console.fault.sign_up" },
  mail_off: { words: "console.fault.mail" },
  login_throttled: { words: "console.fault.mailed" },
};

/** What a refusal says, field by field. Anything that is no refusal of the request goes on up. */
export function faultsFor(error: unknown, fields: readonly Field[], texts: Texts): readonly ShownFault[] {
  const isOurs = !(error instanceof AppError) || (error.status >= 500 && error.code !== "mail_off");
  if (isOurs || error.code === "form_foreign") throw error;
  const { words, field: about } = WORDS[error.code] ?? {};
  if (words !== undefined && texts !== undefined)
    return [{ field: fields.find(({ name }) => name === about)?.name, text: texts.t(words) }];
  const byName = (full: string) => {
    const plain = full.replace(/\[\d+\]/g, "");
    return fields.find(({ name }) => name === plain || name === full || plain.startsWith(`${name}.`));
  };
  // The rules name a field in their sentence even where no operation is known here.
  const [, named = "", reason = ""] = /^([\w.[\]]+)(?::| )\s*(.+)$/s.exec(error.detail ?? "") ?? [];
  const faults = faultsOfError(error, undefined);
  const all = faults.length > 0 ? faults : byName(named) === undefined ? [] : [{ field: named, detail: reason }];
  if (all.length === 0)
    return [{ field: undefined, text: `${ERRORS[error.code].message} ${error.detail ?? ""}`.trim() }];
  return all.map(({ field, detail }) => {
    const found = byName(field);
    const [, place] = /\[(\d+)\]/.exec(field) ?? [];
    const text = place === undefined ? detail : `${Number(place) + 1}: ${detail}`;
    return found === undefined ? { field: undefined, text: `${field} ${detail}` } : { field: found.name, text };
  });
}

export function showForm(
  visit: Visit,
  model: FormModel,
  state: { fields: readonly Field[]; version: string; faults: readonly ShownFault[]; status?: number },
): void {
  const { title, lead, crumbs = [], submit, cancel } = model;
  visit.show(
    "console/form",
    { title, crumbs, ...(lead === undefined ? {} : { lead }), status: state.status ?? 200 },
    {
      fields: state.fields.map((field) => ({
        ...field,
        error: state.faults.find((fault) => fault.field === field.name)?.text,
      })),
      faults: state.faults,
      version: state.version,
      submit,
      cancel,
    },
  );
}

interface ConfirmModel {
  readonly title: string;
  readonly lead?: string;
  readonly crumbs: Frame["crumbs"];
  /** What ends, and what stays. */
  readonly ends: readonly string[];
  readonly stays?: readonly string[];
  /** What has to be typed before it is done. */
  readonly typed?: string | undefined;
  readonly submit: string;
  readonly isGentle?: boolean;
  readonly cancel: { readonly label: string; readonly href: string };
  /** The version that the question is about, where the operation looks at one. */
  readonly etag?: string;
}

/** The page that says what will happen before it does. */
export function confirmPage(row: {
  readonly path: string;
  readonly section: Section;
  readonly shows: readonly string[];
  readonly operation: string;
  readonly isDangerous?: boolean;
  model(visit: Visit): Promise<ConfirmModel>;
  asked?(visit: Visit): Asked;
  done(visit: Visit, answer: Answer): Promise<void> | void;
}): ConsolePage {
  const { path, section, shows, operation, isDangerous = true } = row;
  const show = (
    visit: Visit,
    model: ConfirmModel,
    version: string,
    fault?: { text: string; status: number; isOfTyped?: boolean },
  ) => {
    const { title, lead, crumbs, etag: _, ...words } = model;
    visit.show(
      "console/confirm",
      { title, ...(lead === undefined ? {} : { lead }), crumbs: crumbs ?? [], status: fault?.status ?? 200 },
      { words: { stays: [], ...words }, version, fault },
    );
  };
  return {
    ...{ path, section, shows: [operation, ...shows], does: [operation], isDangerous },
    async show(visit) {
      const model = await row.model(visit);
      show(visit, model, model.etag ?? "");
    },
    async submit(visit, form) {
      const model = await row.model(visit);
      const version = form.field("version") ?? "";
      if (model.typed !== undefined && (form.field("typed") ?? "").trim() !== model.typed)
        return show(visit, model, version, { text: visit.texts.t("console.type_again"), status: 400, isOfTyped: true });
      try {
        await row.done(visit, await visit.ask(operation, { ifMatch: version, ...row.asked?.(visit) }));
      } catch (error) {
        const [fault] = faultsFor(error, [], visit.texts);
        show(visit, model, version, { text: fault?.text ?? "", status: (error as AppError).status });
      }
    },
  };
}

/** A text of a thing off the wire. */
export function textOf(thing: Thing, name: string): string {
  const value = thing[name];
  return typeof value === "string" ? value : value === undefined || value === null ? "" : String(value);
}

export function listOf(thing: Thing, name: string): readonly string[] {
  const value = thing[name];
  return Array.isArray(value) ? value.map(String) : [];
}
