/** Passwords: the one form in which they are hashed, and what makes one too weak to take. Hashing itself is in hasher.ts. */
import { ZxcvbnFactory } from "@zxcvbn-ts/core";
import { adjacencyGraphs, dictionary } from "@zxcvbn-ts/language-common";
import { AppError } from "../errors.ts";
import type { StandardClaims } from "./schema.ts";

/** NIST SP 800-63B-4 section 3.1.1.2: 15 characters where the password is the only factor. */
export const PASSWORD_CHARS_MIN = 15;
/** Enough for any passphrase; more would be work for the hash that only an attacker asks for (T-LOGIN-14). */
export const PASSWORD_BYTES_MAX = 1024;
/** The estimate's work grows faster than its input (measured: up to 0.15 s for 128 characters, 0.4 s for 256). */
const ESTIMATED_CHARS_MAX = 128;
/** zxcvbn's scale is 0 to 4; 3 means at least 10^8 guesses, out of reach of the throttled sign-in. */
const SCORE_MIN = 3;
/**
 * zxcvbn multiplies for every further part, also for one that only repeats the first or stands on the list beside it: two of the three
 * commonest passwords side by side reach its 3 (measured). So the different parts alone must be worth 10^10 guesses together, too.
 */
const PARTS_GUESSES_LOG10_MIN = 10;
/** Where people put two words together. Signs that stand for letters (`@`, `$`, `!`) are none of these. */
const SEPARATORS = /[\s\-_.,;:/+|&]+/u;
/** A shorter part stands inside others by chance. */
const CONTAINED_CHARS_MIN = 4;
/** What a password must hold besides words that anybody knows about the person. */
const OWN_CHARS_MIN = 8;
/** Shorter words of a name or an address occur in honest passwords by chance. */
const CONTEXT_WORD_CHARS_MIN = 3;
const CONTEXT_WORDS_MAX = 40;
const PRODUCT = "signet";

/** What everybody can know about the person; a password made of it is refused. */
export interface PasswordContext {
  readonly email?: string | undefined;
  readonly name?: string | undefined;
  readonly issuerName?: string | undefined;
  /** Whatever else is known: other names, a birth date, a telephone number. */
  readonly others?: readonly (string | undefined)[] | undefined;
}

/** Why a password is refused; pages look up their text by it. */
export type PasswordFault = "too_short" | "too_long" | "malformed" | "personal" | "common" | "guessable" | "breached";

const REASONS: Readonly<Record<PasswordFault, string>> = {
  too_short: `It needs at least ${PASSWORD_CHARS_MIN} characters; a sentence of a few words is easy to remember.`,
  too_long: `It has more than ${PASSWORD_BYTES_MAX} bytes.`,
  malformed: "It holds half of a character; type it again.",
  personal: "It consists mostly of your name, your address or the name of this service; choose other words.",
  common: "It is on the lists of common passwords, or little more than one; choose something of your own.",
  guessable: "It repeats itself or follows a pattern that is easy to guess; choose a few unrelated words.",
  breached: "It stands on a list of stolen passwords; choose one that you have used nowhere else.",
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
  // Full-width and other dressed-up letters are the same words to whoever guesses.
  const plain = normal.normalize("NFKC").slice(0, ESTIMATED_CHARS_MAX);
  const estimate = estimator().check(plain, [...words]);
  const parts = estimateParts(plain, words);
  if (estimate.score >= SCORE_MIN && parts.guessesLog10 >= PARTS_GUESSES_LOG10_MIN) return undefined;
  const lists = [...estimate.sequence, ...parts.sequence].map(listOf);
  if (lists.includes("userInputs")) return "personal";
  return lists.some((list) => list !== "") ? "common" : "guessable";
}

/** The fault as a field of a form tells it. One that is too long, or no text at all, is thrown before anything else looks at it. */
export function passwordFieldFault(password: string, context: PasswordContext): PasswordFault | "unusable" | undefined {
  try {
    return findPasswordFault(password, context);
  } catch (error) {
    if (error instanceof AppError && error.code === "user_password_refused") return "unusable";
    throw error;
  }
}

type Sequence = ReturnType<ZxcvbnFactory["check"]>["sequence"];

/** What the different parts of a password are worth together; a part counts once, and inside another one it counts for nothing there. */
function estimateParts(password: string, words: readonly string[]): { guessesLog10: number; sequence: Sequence } {
  const parts = [...new Set(password.toLowerCase().split(SEPARATORS))]
    .filter((part) => part !== "")
    .sort((a, b) => a.length - b.length);
  const sequence: Sequence = [];
  let guessesLog10 = 0;
  for (const [index, part] of parts.entries()) {
    const known = parts.slice(0, index).filter((shorter) => shorter.length >= CONTAINED_CHARS_MIN);
    const rest = known.reduce((text, shorter) => text.replaceAll(shorter, ""), part);
    const whole = estimatePart(part, words);
    sequence.push(...whole.sequence);
    // What is left over is never worth more than the whole: "istrator" alone is no word, "administrator" is one.
    guessesLog10 += Math.min(
      whole.guessesLog10,
      rest === part ? whole.guessesLog10 : estimatePart(rest, words).guessesLog10,
    );
    if (guessesLog10 >= PARTS_GUESSES_LOG10_MIN) break;
  }
  return { guessesLog10, sequence };
}

function estimatePart(part: string, words: readonly string[]): { guessesLog10: number; sequence: Sequence } {
  if (part === "") return { guessesLog10: 0, sequence: [] };
  const { guessesLog10, sequence } = estimator().check(part, [...words]);
  const different = new Map(sequence.map((match) => [wordOf(match), Math.log10(Math.max(1, match.guesses))]));
  const sum = [...different.values()].reduce((all, one) => all + one, 0);
  return { guessesLog10: Math.min(guessesLog10, sum), sequence };
}

/** A match by what was recognised in it: the word behind other signs, the part that is repeated, or else the signs themselves. */
function wordOf(match: Sequence[number]): string {
  if ("matchedWord" in match) return String(match.matchedWord);
  return "baseToken" in match ? String(match.baseToken) : match.token;
}

function listOf(match: Sequence[number]): string {
  return "dictionaryName" in match ? String(match.dictionaryName) : "";
}

/** What is known of a user, as words that make no password. */
export function passwordContext(
  email: string,
  claims: StandardClaims,
  issuerName: string | undefined,
): PasswordContext {
  const { name, given_name, family_name, nickname, preferred_username, birthdate, phone_number } = claims;
  const others = [given_name, family_name, nickname, preferred_username, birthdate, phone_number];
  return { email, name, issuerName, others };
}

let shared: ZxcvbnFactory | undefined;

/** Made on first use: unpacking 49,000 common passwords takes 70 ms (measured), which most commands never need. */
function estimator(): ZxcvbnFactory {
  shared ??= new ZxcvbnFactory({ dictionary, graphs: adjacencyGraphs });
  return shared;
}

function contextWords(context: PasswordContext): readonly string[] {
  const [local = "", domain = ""] = context.email?.split("@") ?? [];
  const whole = [local, context.name ?? "", context.issuerName ?? "", PRODUCT, domain, ...(context.others ?? [])];
  // Written together, too: people take the blank out of their name, and the signs out of a date or a number.
  const words = whole.flatMap((text = "") => [
    text,
    text.replace(/[^\p{L}\p{N}]+/gu, ""),
    ...text.split(/[^\p{L}\p{N}]+/u),
  ]);
  const known = words.map((word) => word.normalize("NFC").toLowerCase());
  return [...new Set(known)].filter((word) => word.length >= CONTEXT_WORD_CHARS_MIN).slice(0, CONTEXT_WORDS_MAX);
}

/** How many characters are left when the known words are taken out, the longest first. */
function ownChars(password: string, words: readonly string[]): number {
  const longestFirst = [...words].sort((a, b) => b.length - a.length);
  const rest = longestFirst.reduce((text, word) => text.replaceAll(word, ""), password.toLowerCase());
  return [...rest].length;
}

export function refused(fault: PasswordFault): AppError {
  return new AppError("user_password_refused", REASONS[fault]);
}
