/** The APIs that a client names: found by their identifiers, and its scopes held against theirs. */
import { AppError } from "../errors.ts";
import { isOpenIdScope } from "../scopes.ts";
import type { Queries } from "../store/db.ts";
import { quoted } from "../text.ts";
import type { ResolvedClient, WantedApi } from "./metadata.ts";
import * as sql from "./queries.ts";

/** Finds the APIs by their identifiers and holds the wanted scopes against theirs. Throws api_unknown, client_invalid. */
export async function findApis(tx: Queries, resolved: ResolvedClient) {
  const wanted = resolved.apis;
  const isText = (api: WantedApi): boolean => !api.identifier.includes("\0");
  const found =
    wanted.length === 0
      ? []
      : await sql.lockApis(
          tx,
          wanted.filter(isText).map((api) => api.identifier),
        );
  const byIdentifier = new Map(found.map((api) => [api.identifier, api]));
  const apis = wanted.map(({ identifier, scopes, isDefault }) => {
    const api = byIdentifier.get(identifier);
    if (api === undefined) throw new AppError("api_unknown", `apis: ${quoted(identifier)}.`);
    const unknown = scopes?.find((scope) => !api.scopes.includes(scope));
    if (unknown !== undefined) {
      throw new AppError("client_invalid", `apis: ${quoted(unknown)} is not a scope of ${identifier}.`);
    }
    return { id: api.id, scopes: scopes ?? api.scopes, isDefault };
  });
  const askable = apis.flatMap((api) => api.scopes);
  const stray = resolved.settings.optionalScopes.find((scope) => !isOpenIdScope(scope) && !askable.includes(scope));
  if (stray !== undefined) {
    throw new AppError(
      "client_invalid",
      `optional_scopes: ${quoted(stray)} is not a scope that this client may ask for.`,
    );
  }
  return apis;
}

/** Asked only where the list is given: an API that was deleted since then must not stand in the way of another change. */
export async function checkIntrospected(tx: Queries, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const found = await sql.lockApis(
    tx,
    names.filter((name) => !name.includes("\0")),
  );
  const unknown = names.find((name) => !found.some(({ identifier }) => identifier === name));
  if (unknown !== undefined) throw new AppError("api_unknown", `introspect_apis: ${quoted(unknown)}.`);
}
