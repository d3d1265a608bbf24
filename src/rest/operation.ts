/** Operations of the REST API: one row says route, verb, scope, shapes and work. What is not in a row does not exist, and no row is without a scope. */
import type { z } from "zod";

/** Who calls: a person through an app, or a service. The scopes are what the token and the roles of this moment both give. */
export interface Caller {
  readonly kind: "user" | "client";
  readonly id: string;
  readonly scopes: ReadonlySet<string>;
}

/** As the audit trail names the caller. */
export interface By {
  readonly kind: "user" | "client";
  readonly id: string;
  readonly address: string;
  readonly requestId: string;
}

/** Who holds roles. */
export interface Holder {
  readonly kind: "user" | "client";
  readonly id: string;
}

/** Where a page ended, as the room that lists understands it. */
export type Position = readonly (string | number)[];

export interface Call<B = unknown, Q = unknown> {
  /** Of the path, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: Q;
  /** As it was sent; the operation's schema has accepted it. */
  readonly body: B;
  readonly caller: Caller;
  readonly by: By;
  /** Of a list: how many at most, and where the page before ended. */
  readonly page: { readonly limit: number; readonly after: Position | undefined };
  /** Given the thing as it is under its lock, throws AppError version_changed unless it is what If-Match names. */
  checkVersion<T>(present: (thing: T) => unknown): (thing: T) => void;
  /** Throws AppError reach_exceeded unless the caller holds all of these scopes of Signet's own API: nobody gives more than they have. */
  checkGives(scopes: readonly string[]): void;
}

export interface Result {
  /** Absent: 204, nothing to say. */
  readonly body?: unknown;
  /** Of a list, when there are more. */
  readonly next?: Position | undefined;
}

export const TAGS = ["clients", "apis", "roles", "users", "sessions", "grants", "consents", "keys", "mail"] as const;
/** What is only read, by whoever may read the audit trail. */
type Watched = "audit" | "failures" | "activity" | "findings";
export type Tag = (typeof TAGS)[number] | Watched | "settings";

/** A scope of Signet's own API (migration 007). */
export type AdminScope = `${Exclude<Tag, Watched>}:${"read" | "write"}` | "audit:read";

export interface Operation {
  /** Names it in the OpenAPI document and in generated clients. */
  readonly id: string;
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Below /api/v1, with `{name}` for what varies. */
  readonly path: string;
  readonly tag: Tag;
  readonly scope: AdminScope;
  readonly summary: string;
  readonly description?: string;
  /** 200 unless said otherwise; 204 when there is no answer. */
  readonly status?: 200 | 201 | 202;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodObject;
  /** The body may be left out. */
  readonly isBodyOptional?: boolean;
  /** Why a name that exists elsewhere is not taken here. */
  readonly refusalOf?: (name: string) => string | undefined;
  readonly answer?: z.ZodType;
  /** The answer is a page: `{ data, next_cursor }`. */
  readonly isList?: boolean;
  /** Of a list: the answer is JSON lines instead, one thing a line, and the header Link leads to the next page. */
  readonly isLines?: boolean;
  /** The answer has an ETag, and a change takes If-Match. */
  readonly isVersioned?: boolean;
  /** Whose rights a change reaches: the caller must hold all that they hold of Signet's own API. */
  readonly touches?: (params: Readonly<Record<string, string>>) => Holder;
  run(call: Call): Promise<Result>;
}

type Shape<S> = S extends z.ZodObject ? z.output<S> : undefined;

/** Ties what `run` is given to the schemas that stand beside it. */
export function operation<B extends z.ZodObject | undefined = undefined, Q extends z.ZodObject | undefined = undefined>(
  row: Omit<Operation, "run" | "query" | "body"> & {
    readonly body?: B;
    readonly query?: Q;
    run(call: Call<Shape<B>, Shape<Q>>): Promise<Result>;
  },
): Operation {
  return row as unknown as Operation;
}

/** One of the parts of a path that stands in the operation's template. */
export function param(call: Pick<Call, "params">, name: string): string {
  const value = call.params[name];
  if (value === undefined) throw new Error(`the path has no ${name}`);
  return value;
}
