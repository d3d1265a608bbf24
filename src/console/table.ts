/** Lists of the console: a table with its filters above and its pages below, and what to do when there is nothing in it. */
import type { Section } from "./navigation.ts";
import type { ConsolePage, Frame, Thing, Visit } from "./page.ts";

export interface Cell {
  readonly text: string;
  readonly href?: string | undefined;
  /** Beside the text, smaller: an id. */
  readonly small?: string | undefined;
  readonly isCode?: boolean;
  readonly badge?: "good" | "info" | "warn" | "danger" | "plain";
  /** Whose tile stands before it. */
  readonly tile?: { readonly id: string; readonly name: string };
  /** Whose initials stand before it. */
  readonly avatar?: string;
  /** What an act is about, for whoever hears the links of a page alone. */
  readonly about?: string;
  /** A short word that is not torn apart. */
  readonly isWhole?: boolean;
  /** A button beside it that does something at once. */
  readonly act?: { readonly label: string; readonly href: string } | undefined;
}

/** What stands in one place of a table: one value, or some beside one another. */
export type Row = readonly (Cell | readonly Cell[])[];

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly Row[];
}

export interface Filter {
  readonly name: string;
  readonly label: string;
  /** Absent: typed. */
  readonly options?: readonly { readonly value: string; readonly label: string }[];
  readonly type?: "search" | "text" | "datetime-local";
}

type Query = Readonly<Record<string, string | undefined>>;

export interface Find {
  readonly name: string;
  readonly label: string;
  readonly submit: string;
  readonly value?: string | undefined;
  /** Why there is no such thing. */
  readonly error?: string | undefined;
}

interface ListRow {
  readonly path: string;
  readonly section: Section;
  /** A list of the REST API. */
  readonly operation: string;
  readonly filters?: (visit: Visit) => readonly Filter[];
  readonly also?: readonly string[];
  /** False: the operation answers all there is at once. */
  readonly isPaged?: boolean;
  /** What the operation is asked, when it is not simply what stands in the filters. */
  asked?(typed: Query, visit: Visit): Query;
  /** A field above the filters that leads to one thing. */
  find?(visit: Visit): Find;
  frame(visit: Visit): Frame;
  head(visit: Visit): readonly string[];
  row(thing: Thing, visit: Visit): Row;
  /** What is missing, what to do, and the way there. */
  empty(visit: Visit): { title: string; lead: string; action?: { label: string; href: string } | undefined };
}

const ROWS = "25";

export function listPage(row: ListRow): ConsolePage {
  const { path, section, operation, also = [], isPaged = true } = row;
  return {
    ...{ path, section, shows: [operation, ...also] },
    async show(visit) {
      const filters = (row.filters?.(visit) ?? []).map((filter) => ({
        ...filter,
        value: visit.parameter(filter.name),
      }));
      const cursor = visit.parameter("cursor");
      const query = Object.fromEntries(filters.map(({ name, value }) => [name, value]));
      const asked = row.asked?.(query, visit) ?? query;
      const { data, next } = await visit.list(operation, {
        query: isPaged ? { ...asked, cursor, limit: ROWS } : asked,
      });
      const isFiltered = filters.some(({ value }) => value !== undefined);
      visit.show("console/list", row.frame(visit), {
        find: row.find?.(visit),
        filters: filters.map((filter) => ({
          ...filter,
          without: address(visit, { ...query, [filter.name]: undefined }),
        })),
        table: { head: row.head(visit), rows: data.map((thing) => row.row(thing, visit)) },
        pages: {
          shown: data.length,
          next: next === undefined ? undefined : address(visit, { ...query, cursor: next }),
          first: cursor === undefined ? undefined : address(visit, query),
        },
        isFiltered,
        all: visit.ctx.path,
        empty: row.empty(visit),
      });
    },
  };
}

/** This page with these parameters; the ones without a value are left out. */
export function address(
  visit: Visit,
  query: Readonly<Record<string, string | undefined>>,
  path: string = visit.ctx.path,
): string {
  const given = Object.entries(query).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, value]],
  );
  const text = new URLSearchParams(given).toString();
  return text === "" ? path : `${path}?${text}`;
}

/** What stands in the filter. A moment that is none is not there, so that no chip says that it filters. */
export function typedIn(visit: Visit, { name, type }: Filter): string | undefined {
  const value = visit.parameter(name);
  return type === "datetime-local" && momentTyped(value) === undefined ? undefined : value;
}

/** What can be done about the thing of a row. */
export function act(text: string, href: string, about: string): Cell {
  return { text, href, about, isWhole: true };
}

/** A moment off the wire as a reader wants it; empty for none. */
export function moment(visit: Visit, value: unknown): string {
  return typeof value === "string" ? visit.texts.date(new Date(value)) : "";
}

/** What a field for a moment holds, as the wire wants it; it is read as UTC. Undefined for what is none. */
export function momentTyped(text: string | undefined): string | undefined {
  if (text === undefined || !/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?)?$/.test(text)) return undefined;
  const typed = new Date(text.includes("T") ? `${text}Z` : text);
  return Number.isNaN(typed.getTime()) ? undefined : typed.toISOString();
}
