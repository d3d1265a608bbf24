/** What is kept of a user: how a row is shown, and how a change is merged into it. */
import { isDeepStrictEqual } from "node:util";
import type { EmailAddress } from "./email.ts";
import type { UserColumns, UserRow } from "./queries.ts";
import type { StandardClaims, UserChange } from "./schema.ts";
import type { User } from "./user.ts";

export function toUser(row: UserRow): User;
export function toUser(row: UserRow | undefined): User | undefined;
export function toUser(row: UserRow | undefined): User | undefined {
  if (row === undefined) return undefined;
  return {
    id: row.id,
    email: row.email,
    isEmailVerified: row.email_verified,
    claims: row.claims,
    roles: row.roles,
    isDisabled: row.disabled_at !== null,
    hasPassword: row.password_hash !== null,
    language: row.language ?? undefined,
    acceptedTerms: row.terms ?? undefined,
    deleteAt: row.delete_at ?? undefined,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

/** Names as on the wire and in the REST API; times as RFC 3339. */
export function presentUser(user: User): Record<string, unknown> {
  return {
    id: user.id,
    email: user.email,
    email_verified: user.isEmailVerified,
    ...user.claims,
    roles: user.roles,
    disabled: user.isDisabled,
    has_password: user.hasPassword,
    created_at: user.createdAt.toISOString(),
    updated_at: user.updatedAt.toISOString(),
  };
}

export function columnsOf(email: EmailAddress, isVerified: boolean, claims: StandardClaims): UserColumns {
  return { email: email.address, email_canonical: email.canonical, email_verified: isVerified, claims };
}

/** The row after the change, and the names of what is different, for the audit trail. */
export function changedColumns(
  row: UserRow,
  change: UserChange,
  email: EmailAddress | undefined,
): { readonly columns: UserColumns; readonly fields: readonly string[] } {
  const isNewAddress = email !== undefined && email.canonical !== row.email_canonical;
  // What was verified was the old address; a new one is not.
  const isVerified = change.isEmailVerified ?? (isNewAddress ? false : row.email_verified);
  const claims = mergeClaims(row.claims, change.claims ?? {});
  const columns = columnsOf(email ?? { address: row.email, canonical: row.email_canonical }, isVerified, claims);
  const [before, after] = [byName(row), byName(columns)];
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return { columns, fields: names.filter((name) => !isDeepStrictEqual(before[name], after[name])) };
}

function byName(columns: UserColumns): Readonly<Record<string, unknown>> {
  return { ...columns.claims, email: columns.email, email_verified: columns.email_verified };
}

function mergeClaims(old: StandardClaims, change: NonNullable<UserChange["claims"]>): StandardClaims {
  const isNewNumber = change.phone_number !== undefined && change.phone_number !== old.phone_number;
  // As with the address: a number is verified, not the field.
  const kept = isNewNumber ? { ...old, phone_number_verified: undefined } : old;
  const named = Object.entries({ ...kept, ...withoutUndefined(change) });
  const merged: StandardClaims = Object.fromEntries(named.filter(([, value]) => value !== null && value !== undefined));
  if (merged.phone_number !== undefined) return merged;
  const { phone_number_verified: _, ...rest } = merged;
  return rest;
}

function withoutUndefined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}
