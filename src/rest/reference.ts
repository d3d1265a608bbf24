/** The reference page of the REST API: what a person reads of the OpenAPI document, by resource. */
import type { OpenApi, OpenApiOperation } from "./openapi.ts";

interface Field {
  readonly name: string;
  readonly kind: string;
  readonly isRequired: boolean;
  readonly words: string | undefined;
}

interface Entry {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly scope: string;
  readonly summary: string;
  readonly words: string | undefined;
  readonly fields: readonly Field[];
}

interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
}

export function referenceOf(document: OpenApi): {
  readonly base: string;
  readonly groups: readonly { readonly tag: string; readonly entries: readonly Entry[] }[];
} {
  const entries = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      tag: operation.tags[0] ?? "",
      entry: entryOf(operation, { method: method.toUpperCase(), path }),
    })),
  );
  const tags = [...new Set(entries.map(({ tag }) => tag))];
  return {
    base: String(document.servers[0]?.["url"] ?? ""),
    groups: tags.map((tag) => ({ tag, entries: entries.filter((one) => one.tag === tag).map(({ entry }) => entry) })),
  };
}

function entryOf(operation: OpenApiOperation, at: { method: string; path: string }): Entry {
  const [security] = operation.security;
  const [scope = ""] = (security?.["oauth2"] ?? []) as readonly string[];
  return {
    ...at,
    id: operation.operationId,
    scope,
    summary: operation.summary,
    words: operation.description,
    fields: [...queryFields(operation), ...bodyFields(operation)],
  };
}

function queryFields({ parameters }: OpenApiOperation): readonly Field[] {
  return parameters
    .filter((parameter) => parameter["in"] === "query")
    .map((parameter) => {
      const schema = parameter["schema"] as JsonSchema;
      return {
        name: `?${String(parameter["name"])}`,
        kind: kindOf(schema),
        isRequired: false,
        words: schema.description,
      };
    });
}

function bodyFields({ requestBody }: OpenApiOperation): readonly Field[] {
  const content = (requestBody?.["content"] ?? {}) as Readonly<Record<string, { readonly schema: JsonSchema }>>;
  const [schema] = Object.values(content).map((one) => one.schema);
  return Object.entries(schema?.properties ?? {}).map(([name, field]) => ({
    name,
    kind: kindOf(field),
    isRequired: schema?.required?.includes(name) === true,
    words: field.description,
  }));
}

function kindOf(schema: JsonSchema): string {
  if (schema.enum !== undefined) return schema.enum.map(String).join(" | ");
  if (schema.const !== undefined) return String(schema.const);
  if (schema.anyOf !== undefined) return schema.anyOf.map(kindOf).join(" | ");
  if (schema.items !== undefined) return `${kindOf(schema.items)} []`;
  return typeof schema.type === "string" ? schema.type : (schema.type ?? ["any"]).join(" | ");
}
