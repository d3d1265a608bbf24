/** Users at the edge: what a command or a request may say about a user, with the names of OpenID Connect Core section 5.1. */
import { z } from "zod";
import { AppError } from "../errors.ts";
import { DISPLAY_TEXT_RULE, isDisplayText } from "../text.ts";
import { parseForeignHash } from "./foreign-hash.ts";

/** Longest name that is shown and carried in tokens. */
export const NAME_CHARS_MAX = 200;
const URL_CHARS_MAX = 2048;
const LINES_CHARS_MAX = 1000;
const SHORT_CHARS_MAX = 64;
/** Longest address and password are decided elsewhere; this only keeps a huge text away from the work there. */
const INPUT_CHARS_MAX = 4096;
const SEARCH_CHARS_MAX = 254;
/** A name of 200 characters outside ASCII, encoded, and an id. */
const CURSOR_CHARS_MAX = 1500;

const DATE = /^(\d{4})(?:-(\d{2})-(\d{2}))?$/;
/** E.164 with the usual signs between the digits, and an extension as RFC 3966 writes it. */
const PHONE = /^\+[1-9](?:[ .()-]*\d){5,14}\)?(?:;ext=\d{1,8})?$/;
/** One namespace with addresses would let one user carry another's (T-NORM-3); letters outside ASCII would let two look alike (T-NORM-2). */
const USERNAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/;

const line = (max: number) =>
  z
    .string()
    .transform((text) => text.normalize("NFC").trim())
    .refine((text) => text.length <= max, `has more than ${max} characters`)
    .refine(isDisplayText, `is empty or ${DISPLAY_TEXT_RULE}`);
/** Section 5.1.1: parts of an address may hold line breaks, as CR LF or LF. */
const lines = z
  .string()
  .transform((text) =>
    text
      .normalize("NFC")
      .trim()
      .split(/ *\r?\n */)
      .join("\n"),
  )
  .refine((text) => text.length <= LINES_CHARS_MAX, `has more than ${LINES_CHARS_MAX} characters`)
  .refine((text) => text.split("\n").every(isDisplayText), `has an empty line or one that ${DISPLAY_TEXT_RULE}`);
const name = line(NAME_CHARS_MAX);
const url = line(URL_CHARS_MAX).refine(isWebAddress, "must be an https or http URL");

const address = z
  .strictObject({
    formatted: lines,
    street_address: lines,
    locality: name,
    region: name,
    postal_code: line(SHORT_CHARS_MAX),
    country: name,
  })
  .partial();

/** Section 5.1 without what the server itself knows: sub, email, email_verified, updated_at. */
export const claimsShape = {
  name,
  given_name: name,
  family_name: name,
  middle_name: name,
  nickname: name,
  preferred_username: line(SHORT_CHARS_MAX).refine(
    (text) => USERNAME.test(text),
    "must be ASCII letters, digits and the signs . _ - between them",
  ),
  profile: url,
  picture: url,
  website: url,
  gender: line(SHORT_CHARS_MAX),
  birthdate: line(SHORT_CHARS_MAX).refine(isBirthdate, "must be YYYY-MM-DD, or YYYY; the year may be 0000"),
  zoneinfo: line(SHORT_CHARS_MAX).refine(isTimeZone, "must be a time zone such as Europe/Paris"),
  locale: line(SHORT_CHARS_MAX).refine(isLanguageTag, "must be a language tag such as en-US (RFC 5646)"),
  phone_number: line(SHORT_CHARS_MAX).refine((text) => PHONE.test(text), "must be like +49 30 123456 (E.164)"),
  phone_number_verified: z.boolean(),
  address,
} as const;

const claimsSchema = z.strictObject(claimsShape).partial();

/** The standard claims that a user has; a claim without a value is absent. */
export type StandardClaims = Partial<z.output<typeof claimsSchema>>;
export type ClaimName = keyof typeof claimsShape;

const own = {
  email: z.string().max(INPUT_CHARS_MAX),
  email_verified: z.boolean().optional(),
};
const newUserSchema = z.strictObject({
  ...own,
  password: z.string().max(INPUT_CHARS_MAX).optional(),
  owner: z.boolean().optional(),
  ...claimsSchema.shape,
});
/** As another system exported it: a hash in place of the password, and no role. */
const importedSchema = z.strictObject({
  ...own,
  password_hash: z
    .string()
    .refine(isKnownHash, "is of a kind that is not read, or asks for more work than is allowed")
    .optional(),
  ...claimsSchema.shape,
});
/** Null takes a claim away. */
const changeSchema = z
  .strictObject({
    ...own,
    owner: z.boolean(),
    ...(Object.fromEntries(Object.entries(claimsShape).map(([key, schema]) => [key, schema.nullable()])) as {
      [K in ClaimName]: z.ZodNullable<(typeof claimsShape)[K]>;
    }),
  })
  .partial();
/** What an administrator writes through the API: whether an address or a number is proven is for the server to know, a password for the person, a role has operations of its own. */
export const newUserShape = z.strictObject({
  email: own.email,
  ...claimsSchema.omit({ phone_number_verified: true }).shape,
});
export const userChangeShape = changeSchema.omit({ email_verified: true, owner: true, phone_number_verified: true });

const listSchema = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  after: z.string().max(CURSOR_CHARS_MAX).optional(),
  query: line(SEARCH_CHARS_MAX).optional(),
});

export interface NewUser {
  readonly email: string;
  readonly isEmailVerified?: boolean | undefined;
  readonly password?: string | undefined;
  /** Of an import; never together with a password. */
  readonly passwordHash?: string | undefined;
  readonly isOwner?: boolean | undefined;
  readonly claims?: StandardClaims | undefined;
}

export interface UserChange {
  readonly email?: string | undefined;
  readonly isEmailVerified?: boolean | undefined;
  readonly isOwner?: boolean | undefined;
  /** Null takes the claim away; a claim that is not named stays. */
  readonly claims?: { readonly [K in ClaimName]?: StandardClaims[K] | null | undefined } | undefined;
}

export interface UserFilter {
  readonly limit: number;
  readonly after?: string | undefined;
  readonly query?: string | undefined;
}

/** Throws AppError user_invalid naming every fault; unknown fields are refused (T-REG-7). */
export function parseNewUser(input: unknown): NewUser {
  const { email, email_verified, password, owner, ...claims } = parse(newUserSchema, input);
  checkVerified(claims.phone_number_verified, claims.phone_number);
  return { email, isEmailVerified: email_verified, password, isOwner: owner, claims };
}

/** One user of an import. Throws AppError user_invalid naming every fault. */
export function parseImportedUser(input: unknown): NewUser {
  const { email, email_verified, password_hash, ...claims } = parse(importedSchema, input);
  checkVerified(claims.phone_number_verified, claims.phone_number);
  return { email, isEmailVerified: email_verified, passwordHash: password_hash, claims };
}

/** Throws AppError user_invalid naming every fault. */
export function parseUserChange(input: unknown): UserChange {
  const { email, email_verified, owner, ...claims } = parse(changeSchema, input);
  return { email, isEmailVerified: email_verified, isOwner: owner, claims };
}

/** Throws AppError user_invalid. At most 200 users a page; 50 unless said otherwise. */
export function parseUserFilter(input: unknown): UserFilter {
  return parse(listSchema, input);
}

function parse<T>(schema: z.ZodType<T>, input: unknown): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const faults = result.error.issues.map((issue) => `${issue.path.join(".") || "the user"}: ${issue.message}`);
  throw new AppError("user_invalid", `${faults.join("; ")}.`);
}

/** argon2id of the current kind is read there, too. */
function isKnownHash(text: string): boolean {
  return parseForeignHash(text) !== undefined;
}

function checkVerified(isVerified: boolean | undefined, phone: string | undefined): void {
  if (isVerified === true && phone === undefined) {
    throw new AppError("user_invalid", "phone_number_verified: there is no phone_number.");
  }
}

/** Names and passwords in a URL would be shown to every app; other schemes run scripts where a page links them. */
function isWebAddress(text: string): boolean {
  const parsed = URL.canParse(text) ? new URL(text) : undefined;
  const isWeb = parsed?.protocol === "https:" || parsed?.protocol === "http:";
  return isWeb && parsed.username === "" && parsed.password === "";
}

/** Section 5.1: ISO 8601 YYYY-MM-DD or YYYY; 0000 hides the year, and then a 29th of February is possible. */
function isBirthdate(text: string): boolean {
  const [, year, month, day] = DATE.exec(text) ?? [];
  if (year === undefined) return false;
  if (month === undefined || day === undefined) return year !== "0000";
  const date = new Date(Date.UTC(year === "0000" ? 2000 : Number(year), Number(month) - 1, Number(day)));
  return date.getUTCMonth() === Number(month) - 1 && date.getUTCDate() === Number(day);
}

function isTimeZone(text: string): boolean {
  // Newer versions of Node also take offsets; a zone has a name.
  if (!/^[A-Za-z]/.test(text)) return false;
  try {
    return new Intl.DateTimeFormat("en", { timeZone: text }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

function isLanguageTag(text: string): boolean {
  try {
    return Intl.getCanonicalLocales(text).length === 1;
  } catch {
    return false;
  }
}
