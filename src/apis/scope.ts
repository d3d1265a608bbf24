/** Scopes of an API: what may be asked for there, each with the words that a consent page shows. */
import { isOpenIdScope, isScopeToken } from "../scopes.ts";
import { DISPLAY_TEXT_RULE, isDisplayText } from "../text.ts";

export const SCOPES_MAX = 100;
/** Of all scopes of an API together: a token that carries them all still fits into a header. */
export const SCOPES_CHARS_MAX = 2000;
const DESCRIPTION_CHARS_MAX = 200;

export interface ApiScope {
  readonly scope: string;
  /** What a person reads when asked; the scope itself when nobody wrote anything. */
  readonly description: string;
  /** The same by language tag (BCP 47), for people who read another language. */
  readonly descriptions?: Readonly<Record<string, string>> | undefined;
}

/** The words for a person who reads this language: its own, those of its family ("de" for "de-AT"), else the ones for everybody. */
export function wordsOf({ description, descriptions = {} }: ApiScope, language: string): string {
  return descriptions[language] ?? descriptions[language.split("-")[0] ?? ""] ?? description;
}

/** What is wrong with a scope's name, as the end of a sentence; undefined when an API may have it. RFC 6749 section 3.3. */
export function scopeFault(scope: string): string | undefined {
  if (!isScopeToken(scope)) return "is not 1 to 100 printable ASCII characters without space, quote and backslash";
  // No address can hold them: a browser takes them for the folder and the one above it (WHATWG URL, path state).
  if (scope === "." || scope === "..") return "is no name";
  // A request mixes both kinds in one parameter: this name would be taken for OpenID Connect's.
  if (isOpenIdScope(scope)) return "is a scope of OpenID Connect";
  return undefined;
}

/** What is wrong with a description, as the end of a sentence. */
export function descriptionFault(description: string): string | undefined {
  if (description.length > DESCRIPTION_CHARS_MAX) return `is longer than ${DESCRIPTION_CHARS_MAX} characters`;
  return isDisplayText(description) ? undefined : DISPLAY_TEXT_RULE;
}
