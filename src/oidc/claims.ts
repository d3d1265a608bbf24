/** Claims: what tokens and /userinfo say of a person (OpenID Connect Core section 5). A claim without a value is absent. */
import type { Account, FindAccount } from "oidc-provider";
import type { User, Users } from "../users/user.ts";

/** Which scope asks for which claims (section 5.4); `openid` is what an ID token always says. */
export const CLAIMS = {
  acr: null,
  sid: null,
  auth_time: null,
  iss: null,
  openid: ["sub"],
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
      sub: user.id,
      ...user.claims,
      email: user.email,
      email_verified: user.isEmailVerified,
      updated_at: Math.floor(user.updatedAt.getTime() / 1000),
    }),
  };
}
