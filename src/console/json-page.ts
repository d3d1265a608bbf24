/** Pages of a thing as a JSON document: what is there now, to be changed and sent back as a whole. The text is read as strictly as the REST API reads one. */
import type { AppError } from "../errors.ts";
import { BODY_BYTES_MAX, parseJson } from "../rest/json.ts";
import { type Field, faultsFor, lateState, showForm } from "./form.ts";
import type { Section } from "./navigation.ts";
import type { Answer, ConsolePage, Frame, Thing, Visit } from "./page.ts";

/** Every byte of the longest document may take three in a form. */
const FORM_BYTES_MAX = 3 * BODY_BYTES_MAX + 2000;
const JSON_FIELD = "json";

interface JsonModel extends Frame {
  /** As it is now, without what cannot be written. */
  readonly document: Thing;
  readonly help: string;
  readonly etag: string;
  readonly cancel: { readonly label: string; readonly href: string };
}

export function jsonPage(row: {
  readonly path: string;
  readonly section: Section;
  readonly shows: readonly string[];
  /** Takes the whole document. */
  readonly operation: string;
  model(visit: Visit): Promise<JsonModel>;
  done(visit: Visit, answer: Answer): void;
}): ConsolePage {
  const { path, section, shows, operation } = row;
  return {
    ...{ path, section, shows: [operation, ...shows], does: [operation] },
    // What is left out is gone afterwards, so a slip of the finger takes away more here than in a form.
    isDangerous: true,
    bodyBytesMax: FORM_BYTES_MAX,
    async show(visit) {
      const model = await row.model(visit);
      const fields = [jsonField(visit, model, JSON.stringify(model.document, undefined, 2))];
      showForm(visit, asForm(visit, model, fields), { fields, version: model.etag, faults: [] });
    },
    async late(visit, form) {
      const model = await row.model(visit);
      const fields = [jsonField(visit, model, form.field(JSON_FIELD) ?? "")];
      const version = form.field("version") ?? "";
      showForm(visit, asForm(visit, model, fields), { fields, version, ...lateState(visit) });
    },
    async submit(visit, form) {
      const text = form.field(JSON_FIELD) ?? "";
      const version = form.field("version") ?? "";
      try {
        row.done(visit, await visit.ask(operation, { body: parseJson(text), ifMatch: version }));
      } catch (error) {
        const model = await row.model(visit);
        const fields = [jsonField(visit, model, text)];
        const faults = faultsFor(error, [], visit.texts).map((fault) => ({ ...fault, field: JSON_FIELD }));
        showForm(visit, asForm(visit, model, fields), { fields, version, faults, status: (error as AppError).status });
      }
    },
  };
}

function jsonField({ texts }: Visit, { help }: JsonModel, value: string): Field {
  return { name: JSON_FIELD, kind: "json", label: texts.t("console.json"), help, value };
}

function asForm({ texts }: Visit, { document: _, help: __, ...frame }: JsonModel, fields: readonly Field[]) {
  return { ...frame, fields, submit: texts.t("console.json_submit") };
}

/** The thing without these of its names. */
export function without(thing: Thing, names: readonly string[]): Thing {
  return Object.fromEntries(Object.entries(thing).filter(([name]) => !names.includes(name)));
}
