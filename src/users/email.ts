/** E-mail addresses: the one canonical form by which a user is found, so that two spellings never become two users who look alike. */
import { domainToASCII } from "node:url";

/** RFC 5321 section 4.5.3.1: a path of 256 octets less its angle brackets; the part before the @ has at most 64. */
const ADDRESS_CHARS_MAX = 254;
const LOCAL_CHARS_MAX = 64;
/** Longer input is refused before any work on its text (T-REG-2). */
const INPUT_CHARS_MAX = 320;
/** RFC 5322 section 3.2.3, dot-atom. Quoted local parts and letters outside ASCII are refused: Cyrillic "а" beside Latin "a" would be two users who look alike (T-NORM-2). */
const LOCAL = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/i;
/** The resolver below reads a host out of a URL; whatever a URL gives a meaning, and what cannot be seen, never reaches it. */
const DOMAIN_FORBIDDEN = /[\p{Cc}\p{Cf}\p{Z}\p{Cs}%/\\?#:@[\]<>"'(),;^`{|}]/u;
/** At least two labels, and a last one that is no number: an address of a machine is no domain. */
const DOMAIN = /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]|[a-z][a-z0-9-]{0,61}[a-z0-9])$/;

export interface EmailAddress {
  /** For mails and pages: as it was written, but the domain in ASCII, where a look-alike cannot hide. */
  readonly address: string;
  /** For finding and comparing: lower case throughout. */
  readonly canonical: string;
}

/** NFKC, trimmed of spaces, lower case, domain as Punycode; undefined when it is no address that Signet takes. */
export function parseEmail(input: string): EmailAddress | undefined {
  if (input.length > INPUT_CHARS_MAX) return undefined;
  const text = trimSpaces(input.normalize("NFKC"));
  const at = text.lastIndexOf("@");
  const [local, domain] = [text.slice(0, at), asciiDomain(text.slice(at + 1))];
  if (at < 1 || local.length > LOCAL_CHARS_MAX || !LOCAL.test(local) || domain === undefined) return undefined;
  const address = `${local}@${domain}`;
  return address.length > ADDRESS_CHARS_MAX ? undefined : { address, canonical: address.toLowerCase() };
}

/** What a sign-in attempt is counted under while nobody knows whose it is: the canonical form, or for no address at all the text itself (T-LOGIN-6, T-LOGIN-11). */
export function identifierOf(input: string): string {
  const text = input.slice(0, INPUT_CHARS_MAX);
  return parseEmail(input)?.canonical ?? trimSpaces(text.normalize("NFKC")).toLowerCase();
}

/** Spaces alone: a tab or a line break at the end is no typing slip but a header injection being tried (T-REG-3). */
function trimSpaces(text: string): string {
  return text.replace(/^ +| +$/g, "");
}

/** Internationalised and Punycode spellings give the same text (T-NORM-4). */
function asciiDomain(domain: string): string | undefined {
  if (domain === "" || DOMAIN_FORBIDDEN.test(domain)) return undefined;
  const ascii = domainToASCII(domain);
  return DOMAIN.test(ascii) ? ascii : undefined;
}
