/** Passwords: the one form in which they are hashed, and what makes one too weak to take. Hashing itself is in hasher.ts. */
import { ZxcvbnFactory } from "@zxcvbn-ts/core";
import { adjacencyGraphs, dictionary } from "@zxcvbn-ts/language-common";
import { AppError } from "../errors.ts";

/** NIST SP 800-63B-4 section 3.1.1.2: 15 characters where the password is the only factor. */
export const PASSWORD_CHARS_MIN = 15;
/** Enough for any passphrase; more would be work for the hash that only an attacker asks for (T-LOGIN-14). */
export const PASSWORD_BYTES_MAX = 1024;
/** The estimate's work grows faster than its input (measured: up to 0.15 s for 128 characters, 0.4 s for 256). */
const ESTIMATED_CHARS_MAX = 128;
/** zxcvbn's scale is 0 to 4; 3 means at least 10^8 guesses, out of reach of the throttled sign-in. */
const SCORE_MIN = 3;
/** What a password must hold besides words that anybody knows about the person. */
const OWN_CHARS_MIN = 8;
/** Shorter words of a name or an address occur in honest passwords by chance. */
const CONTEXT_WORD_CHARS_MIN = 3;
const CONTEXT_WORDS_MAX = 20;
const PRODUCT = "signet";

/** What everybody can know about the person; a password made of it is refused. */
export interface PasswordContext {
  readonly email?: string | undefined;
  readonly name?: string | undefined;
  readonly issuerName?: string | undefined;
}

/** Why a password is refused; pages look up their text by it. */
export type PasswordFault = "too_short" | "too_long" | "malformed" | "personal" | "common" | "guessable";

const REASONS: Readonly<Record<PasswordFault, string>> = {
  too_short: `It needs at least ${PASSWORD_CHARS_MIN} characters; a sentence of a few words is easy to remember.`,
  too_long: `It has more than ${PASSWORD_BYTES_MAX} bytes.`,
  malformed: "It holds half of a character; type it again.",
  personal: "It consists mostly of your name, your address or the name of this service; choose other words.",
  common: "It is on the lists of common passwords, or little more than one; choose something of your own.",
  guessable: "It repeats itself or follows a pattern that is easy to guess; choose a few unrelated words.",
};

/**
 * The form that is hashed and verified: Unicode NFC, so that two keyboards give one password (T-LOGIN-14). Nothing is trimmed or
 * cut; spaces and NUL count (T-PW-5). Throws AppError user_password_refused above 1,024 bytes or for text that is not Unicode.
 */
export function normalizePassword(password: string): string {
  // Composing never adds length here by more than a small factor, so the bound may come first and spare the work.
  if (Buffer.byteLength(password) > PASSWORD_BYTES_MAX) throw refused("too_long");
  const normal = password.normalize("NFC");
  if (Buffer.byteLength(normal) > PASSWORD_BYTES_MAX) throw refused("too_long");
  // A lone surrogate would become U+FFFD on its way to the hash, and two passwords one.
  if (/\p{Cs}/u.test(normal)) throw refused("malformed");
  return normal;
}

/** Throws AppError user_password_refused with a reason that a person can act on. */
export function checkPassword(password: string, context: PasswordContext): void {
  const fault = findPasswordFault(password, context);
  if (fault !== undefined) throw refused(fault);
}

/** The same as a key for texts, undefined when the password may be taken. Composition is not asked for (NIST SP 800-63B-4: length and lists). */
export function findPasswordFault(password: string, context: PasswordContext): PasswordFault | undefined {
  const normal = normalizePassword(password);
  if ([...normal].length < PASSWORD_CHARS_MIN) return "too_short";
  const words = contextWords(context);
  if (ownChars(normal, words) < OWN_CHARS_MIN) return "personal";
  const estimate = estimator().check(normal.slice(0, ESTIMATED_CHARS_MAX), [...words]);
  if (estimate.score >= SCORE_MIN) return undefined;
  const kinds = estimate.sequence.map((match) => ("dictionaryName" in match ? String(match.dictionaryName) : ""));
  if (kinds.includes("userInputs")) return "personal";
  return kinds.some((kind) => kind !== "") ? "common" : "guessable";
}

let shared: ZxcvbnFactory | undefined;

/** Made on first use: unpacking 49,000 common passwords takes 70 ms (measured), which most commands never need. */
function estimator(): ZxcvbnFactory {
  shared ??= new ZxcvbnFactory({ dictionary, graphs: adjacencyGraphs });
  return shared;
}

function contextWords(context: PasswordContext): readonly string[] {
  const local = context.email?.split("@")[0] ?? "";
  const whole = [local, context.name ?? "", context.issuerName ?? "", PRODUCT];
  const words = whole.flatMap((text) => [text, ...text.split(/[^\p{L}\p{N}]+/u), ...(context.email?.split("@") ?? [])]);
  const known = words.map((word) => word.normalize("NFC").toLowerCase());
  return [...new Set(known)].filter((word) => word.length >= CONTEXT_WORD_CHARS_MIN).slice(0, CONTEXT_WORDS_MAX);
}

/** How many characters are left when the known words are taken out, the longest first. */
function ownChars(password: string, words: readonly string[]): number {
  const longestFirst = [...words].sort((a, b) => b.length - a.length);
  const rest = longestFirst.reduce((text, word) => text.replaceAll(word, ""), password.toLowerCase());
  return [...rest].length;
}

function refused(fault: PasswordFault): AppError {
  return new AppError("user_password_refused", REASONS[fault]);
}
