/** The OpenAPI 3.1 document: made from the very schemas that validate the requests, so that neither says what the other does not. */
import { z } from "zod";
import type { Operation } from "./operation.ts";
import { problemSchema } from "./problem.ts";

type Json = Readonly<Record<string, unknown>>;

export interface OpenApi {
  readonly openapi: "3.1.1";
  readonly info: Json;
  readonly servers: readonly Json[];
  readonly security: readonly Json[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>;
  readonly components: Json;
}

export interface OpenApiOperation {
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string | undefined;
  readonly tags: readonly string[];
  readonly security: readonly Json[];
  readonly parameters: readonly Json[];
  readonly requestBody?: Json | undefined;
  readonly responses: Readonly<Record<string, Json>>;
}

/** JSON lines: one JSON text a line. */
export const LINES_TYPE = "application/jsonl";
const PROBLEM = { $ref: "#/components/responses/Problem" };
const INTRODUCTION = `Signet's administration. Every call carries an access token of this server for the resource \`urn:signet:admin\` as \`Authorization: Bearer …\`; each operation names the scope that it needs. People have scopes by their roles, services by the roles of their client.

Lists answer \`{"data": […], "next_cursor": …}\`; the cursor is good for an hour. What has an \`ETag\` can be changed with \`If-Match\`: 412 when somebody else was faster. A POST with an \`Idempotency-Key\` that is sent again is not done again. Refusals are \`application/problem+json\` (RFC 9457) and name the field.`;

export function openApiOf(
  operations: readonly Operation[],
  options: { readonly issuer: string; readonly base: string; readonly queryOf: (operation: Operation) => z.ZodObject },
): OpenApi {
  const { issuer, base, queryOf } = options;
  const paths: Record<string, Record<string, OpenApiOperation>> = {};
  for (const operation of operations) {
    const described = { [operation.method.toLowerCase()]: describe(operation, queryOf(operation)) };
    paths[operation.path] = { ...paths[operation.path], ...described };
  }
  const scopes = Object.fromEntries(operations.map(({ scope }) => [scope, scopeWords(scope)]));
  return {
    openapi: "3.1.1",
    info: { title: "Signet administration", version: "1", description: INTRODUCTION },
    servers: [{ url: `${issuer}${base}` }],
    security: [{ oauth2: [] }],
    paths,
    components: {
      schemas: { Problem: schemaOf(problemSchema, "output") },
      responses: {
        Problem: {
          description: "Refused; the problem says why.",
          content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
        },
      },
      securitySchemes: {
        oauth2: {
          type: "oauth2",
          flows: {
            authorizationCode: {
              authorizationUrl: `${issuer}/authorize`,
              tokenUrl: `${issuer}/token`,
              refreshUrl: `${issuer}/token`,
              scopes,
            },
            clientCredentials: { tokenUrl: `${issuer}/token`, scopes },
          },
        },
      },
    },
  };
}

function describe(operation: Operation, query: z.ZodObject): OpenApiOperation {
  const { id, summary, description, tag, scope, body } = operation;
  const type = operation.method === "PATCH" ? "application/merge-patch+json" : "application/json";
  return {
    operationId: id,
    summary,
    description,
    tags: [tag],
    security: [{ oauth2: [scope] }],
    parameters: [...pathParameters(operation), ...queryParameters(query), ...headers(operation)],
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: operation.isBodyOptional !== true,
            content: { [type]: { schema: schemaOf(body, "input") } },
          },
        }),
    responses: { ...success(operation), default: PROBLEM },
  };
}

function success(operation: Operation): Readonly<Record<string, Json>> {
  const { answer, isList, isVersioned } = operation;
  if (answer === undefined) return { [operation.status ?? 204]: { description: "Done." } };
  if (operation.isLines === true) return { 200: linesAnswer(answer) };
  const shape = isList === true ? z.object({ data: z.array(answer), next_cursor: z.string().nullable() }) : answer;
  const etag = { ETag: { description: "The version, for If-Match.", schema: { type: "string" } } };
  return {
    [operation.status ?? 200]: {
      description: "Done.",
      ...(isVersioned === true ? { headers: etag } : {}),
      content: { "application/json": { schema: schemaOf(shape, "output") } },
    },
  };
}

/** OpenAPI 3.1 has no word for the shape of one line; it stands as a description of the text. */
function linesAnswer(answer: z.ZodType): Json {
  const link = { description: 'The next page (rel="next"); absent on the last one.', schema: { type: "string" } };
  const schema = { type: "string", contentMediaType: LINES_TYPE, contentSchema: schemaOf(answer, "output") };
  return { description: "One JSON object a line.", headers: { Link: link }, content: { [LINES_TYPE]: { schema } } };
}

function pathParameters({ path }: Operation): readonly Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
}

function queryParameters(query: z.ZodObject): readonly Json[] {
  const { properties = {} } = schemaOf(query, "input") as { properties?: Record<string, Json> };
  return Object.entries(properties).map(([name, schema]) => ({ name, in: "query", required: false, schema }));
}

function headers({ method, isVersioned }: Operation): readonly Json[] {
  const text = { type: "string" };
  if (method === "POST")
    return [
      { name: "Idempotency-Key", in: "header", required: false, schema: { ...text, minLength: 1, maxLength: 255 } },
    ];
  if (method === "GET" || isVersioned !== true) return [];
  return [{ name: "If-Match", in: "header", required: false, schema: text }];
}

function schemaOf(schema: z.ZodType, io: "input" | "output"): Json {
  const { $schema: _dialect, ...json } = z.toJSONSchema(schema, { io, unrepresentable: "any", reused: "inline" });
  return json;
}

function scopeWords(scope: string): string {
  const [what, verb] = scope.split(":");
  return `${verb === "read" ? "See" : "Change"}: ${what}`;
}
