/** Where a redirect URI differs from the registered ones: they are compared letter by letter (RFC 9700 section 2.1), and one letter is hard to see. */
import type { Cause } from "../failures/causes.ts";

interface Difference {
  readonly cause: Cause;
  readonly facts: Readonly<Record<string, string>>;
}

/** The kinds of difference, the smallest first: what is closest to a registered one is what was meant. */
const KINDS: readonly (readonly [Cause, (sent: URL, known: URL) => boolean])[] = [
  [
    "redirect_slash_extra",
    (sent, known) => sent.pathname === `${known.pathname}/` && isSame(sent, known, ["pathname"]),
  ],
  [
    "redirect_slash_missing",
    (sent, known) => `${sent.pathname}/` === known.pathname && isSame(sent, known, ["pathname"]),
  ],
  ["redirect_scheme", (sent, known) => isSame(sent, known, ["protocol", "port"]) && sent.protocol !== known.protocol],
  ["redirect_port", (sent, known) => isSame(sent, known, ["port"])],
  ["redirect_query", (sent, known) => isSame(sent, known, ["search", "hash"])],
  ["redirect_host", (sent, known) => isSame(sent, known, ["hostname"])],
];
const PARTS = ["protocol", "hostname", "port", "pathname", "search", "hash"] as const;

export function redirectDifference(sent: string, registered: readonly string[]): Difference {
  const quoted = (known: readonly string[]) => ({ sent, registered: known.join(", ") || "(none)" });
  const url = URL.canParse(sent) ? new URL(sent) : undefined;
  if (url === undefined) return { cause: "redirect_path", facts: quoted(registered) };
  for (const [cause, isKind] of KINDS) {
    const meant = registered.find((known) => URL.canParse(known) && isKind(url, new URL(known)));
    if (meant !== undefined) return { cause, facts: quoted([meant]) };
  }
  // `https://host` and `https://host/` are one address and two texts.
  const bare = registered.find((known) => known === `${sent}/` || `${known}/` === sent);
  if (bare !== undefined)
    return {
      cause: bare.length < sent.length ? "redirect_slash_extra" : "redirect_slash_missing",
      facts: quoted([bare]),
    };
  return { cause: "redirect_path", facts: quoted(registered) };
}

/** Whether the two are alike but for some parts, and are not the same text. */
function isSame(sent: URL, known: URL, but: readonly (typeof PARTS)[number][]): boolean {
  return sent.href !== known.href && PARTS.every((part) => but.includes(part) || sent[part] === known[part]);
}
