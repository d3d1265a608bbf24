/** Claims: what tokens and /userinfo say of a person (OpenID Connect Core section 5). A claim without a value is absent. */
import type { Account, FindAccount } from "oidc-provider";
import { errors } from "oidc-provider";
import type { User, Users } from "../users/user.ts";

/** The authentication context of every sign-in there is today: one factor, whichever it was; `amr` names it (section 2, RFC 8176). */
export const ACR_ONE_FACTOR = "urn:signet:acr:1fa";

/** What a client can ask for by `acr_values` or by the claim. What cannot be reached is not offered, so it is never promised. */
export const ACR_VALUES: readonly string[] = [ACR_ONE_FACTOR];

/** How the person signed in: said of the sign-in and not of the person, so no account and no scope of a consent page holds it. */
const SIGN_IN_CLAIMS: readonly string[] = ["acr", "amr"];

/** Which scope asks for which claims (section 5.4); `openid` is what an ID token always says. */
export const CLAIMS = {
  sid: null,
  auth_time: null,
  iss: null,
  openid: ["sub", "acr", "amr"],
  profile: [
    "name",
    "family_name",
    "given_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
  ],
  email: ["email", "email_verified"],
  address: ["address"],
  phone: ["phone_number", "phone_number_verified"],
} as const satisfies Readonly<Record<string, readonly string[] | null>>;

const SCOPE_BY_CLAIM = new Map(
  Object.entries<readonly string[] | null>(CLAIMS).flatMap(([scope, claims]) =>
    (claims ?? []).filter((claim) => !SIGN_IN_CLAIMS.includes(claim)).map((claim) => [claim, scope] as const),
  ),
);

/**
 * The scope that holds a claim; undefined for those about the sign-in itself (`auth_time`, `acr`) and for unknown ones.
 * A claim that an app asks for by name shares the fate of its scope: the person is asked about the scope, in the words they know, and
 * what is then given is no more than the claim. So one consent covers both ways to ask.
 */
export function scopeOfClaim(claim: string): string | undefined {
  return SCOPE_BY_CLAIM.get(claim);
}

/** Names of the claims in a `claims` parameter (section 5.5) that was accepted before. */
export function claimNames(parameter: unknown): readonly string[] {
  if (typeof parameter !== "string") return [];
  const { userinfo = {}, id_token: idToken = {} } = JSON.parse(parameter) as { userinfo?: object; id_token?: object };
  return [...new Set([...Object.keys(userinfo), ...Object.keys(idToken)])];
}

/** Section 5.5.1: each member is null or an object. Anything else is refused, since the library would read a text as an object and fail (measured: a 500). */
export function checkClaimsParameter(parameter: { readonly userinfo?: unknown; readonly id_token?: unknown }): void {
  for (const member of [parameter.userinfo, parameter.id_token]) {
    for (const wish of Object.values(asObject(member))) {
      if (wish !== null && (typeof wish !== "object" || Array.isArray(wish)))
        throw new errors.InvalidRequest("each member of the claims parameter is null or a JSON object");
    }
  }
  checkAcr(asObject(asObject(parameter.id_token)["acr"]));
}

/** Section 5.5.1.1: an essential acr that cannot be met is a failed sign-in. The library would ask for the password again and again. */
function checkAcr(wish: Readonly<Record<string, unknown>>): void {
  const { essential, value, values } = wish;
  if (values !== undefined && !Array.isArray(values))
    throw new errors.InvalidRequest("the values of a claim are an array");
  const wanted: readonly unknown[] = values ?? (value === undefined ? [] : [value]);
  const isMet = wanted.length === 0 || wanted.some((acr) => typeof acr === "string" && ACR_VALUES.includes(acr));
  if (essential === true && !isMet)
    throw new errors.UnmetAuthenticationRequirements("none of the essential acr values is offered");
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

/** Disabled and deleted users are nobody: code, refresh and userinfo fail from the next request on (T-SESS-5). */
export function findAccount(users: Users): FindAccount {
  return async (_ctx, sub) => {
    const user = await users.find(sub);
    return user === undefined || user.isDisabled ? undefined : accountOf(user);
  };
}

function accountOf(user: User): Account {
  return {
    accountId: user.id,
    // The library keeps what the granted scopes cover; `sub` is the same everywhere.
    claims: async () => ({
      // What is kept of a person comes first and by name: whatever else a row holds, none of it speaks for the sign-in or the issuer.
      ...Object.fromEntries(Object.entries(user.claims).filter(([claim]) => SCOPE_BY_CLAIM.has(claim))),
      sub: user.id,
      email: user.email,
      email_verified: user.isEmailVerified,
      updated_at: Math.floor(user.updatedAt.getTime() / 1000),
    }),
  };
}
