/** Merging Grants: two consents that add to the same Grant at once lose nothing. Pure, so that both engines share one rule. */
import type { JsonObject } from "./grants.ts";

/** The model whose `put` merges and whose end is remembered. */
export const GRANT_MODEL = "Grant";

/**
 * What the stored Grant and the newer one say together: the union of their scopes and claims, and where they contradict
 * each other the newer decision. Everything else is the newer one's, except that the later end stands, since a Grant must
 * not die before the tokens under it, and the earlier beginning, since what was cut off must not grow young again. Grants of different people or clients are never mixed: the newer one replaces all.
 */
export function mergeGrants(stored: JsonObject, newer: JsonObject): JsonObject {
  if (stored["accountId"] !== newer["accountId"] || stored["clientId"] !== newer["clientId"]) return newer;
  const granted = mergeSide(stored, newer, asObject(newer["rejected"]));
  const rejected = mergeSide(asObject(stored["rejected"]), asObject(newer["rejected"]), newer);
  return {
    ...stored,
    ...newer,
    ...side(granted),
    ...(isEmpty(rejected) ? { rejected: undefined } : { rejected: side(rejected) }),
    ...ofBoth("exp", Math.max, stored, newer),
    ...ofBoth("madeAtMs", Math.min, stored, newer),
    ...ofBoth("signedInAtMs", Math.min, stored, newer),
  };
}

/** What is granted, or what is rejected: scopes and claims of OpenID Connect, and scopes by resource. */
interface Side {
  readonly scope: readonly string[];
  readonly claims: readonly string[];
  /** A map, since the names are other people's and may be those of an object's own members. */
  readonly resources: ReadonlyMap<string, readonly string[]>;
}

/** The union of one side, without what the newer Grant now has on the other side alone. */
function mergeSide(stored: JsonObject, newer: JsonObject, opposite: JsonObject): Side {
  const [old, added, against] = [readSide(stored), readSide(newer), readSide(opposite)];
  const merge = (a: readonly string[], b: readonly string[] = [], c: readonly string[] = []): string[] => [
    ...new Set([...a.filter((name) => b.includes(name) || !c.includes(name)), ...b]),
  ];
  const names = new Set([...old.resources.keys(), ...added.resources.keys()]);
  const resources = [...names].map((name) => {
    const scopes = merge(old.resources.get(name) ?? [], added.resources.get(name), against.resources.get(name));
    return [name, scopes] as const;
  });
  return {
    scope: merge(old.scope, added.scope, against.scope),
    claims: merge(old.claims, added.claims, against.claims),
    resources: new Map(resources.filter(([, scopes]) => scopes.length > 0)),
  };
}

function readSide(grant: JsonObject): Side {
  const openid = asObject(grant["openid"]);
  const claims = openid["claims"];
  return {
    scope: words(openid["scope"]),
    claims: Array.isArray(claims) ? claims.filter((claim) => typeof claim === "string") : [],
    resources: new Map(Object.entries(asObject(grant["resources"])).map(([name, scope]) => [name, words(scope)])),
  };
}

/** In the form the Grant is kept in; undefined members are left out when it is written. */
function side({ scope, claims, resources }: Side): JsonObject {
  const openid = {
    ...(scope.length > 0 ? { scope: scope.join(" ") } : {}),
    ...(claims.length > 0 ? { claims } : {}),
  };
  const scopes = [...resources].map(([name, list]) => [name, list.join(" ")] as const);
  return {
    openid: Object.keys(openid).length > 0 ? openid : undefined,
    resources: scopes.length > 0 ? Object.fromEntries(scopes) : undefined,
  };
}

function isEmpty({ scope, claims, resources }: Side): boolean {
  return scope.length === 0 && claims.length === 0 && resources.size === 0;
}

function ofBoth(
  name: string,
  choose: (a: number, b: number) => number,
  stored: JsonObject,
  newer: JsonObject,
): JsonObject {
  const [before, now] = [stored[name], newer[name]];
  return typeof before === "number" && typeof now === "number" ? { [name]: choose(before, now) } : {};
}

function words(scope: unknown): readonly string[] {
  return typeof scope === "string" ? scope.split(" ").filter((word) => word !== "") : [];
}

function asObject(value: unknown): JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}
