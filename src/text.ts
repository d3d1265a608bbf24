/** Text that people read: names and descriptions that somebody else typed. What could forge the page around it is refused, not cleaned. */

/** Control characters, lone surrogates, line separators, and the invisible marks that turn the reading direction or hide in a name. */
const DECEITFUL = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]/u;

/** Whether the text may stand on a page as somebody's name: not blank, one line, read in the order in which it is stored. */
export function isDisplayText(text: string): boolean {
  return text.trim() !== "" && text === text.trim() && !DECEITFUL.test(text);
}

/** The sentence for a text that is refused. */
export const DISPLAY_TEXT_RULE =
  "holds control, invisible or direction-changing characters, or begins or ends with a space";

/** What a caller sent, quoted and cut, for the detail of a refusal: control characters stay escaped. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}
