/** What a person calls a browser: a few words out of the long text that it sends. It is a hint for recognising, never a proof. */

const BROWSERS: readonly (readonly [RegExp, string])[] = [
  [/\bEdgA?\//, "Edge"],
  [/\bOPR\//, "Opera"],
  [/\bSamsungBrowser\//, "Samsung Internet"],
  [/\bFirefox\/|\bFxiOS\//, "Firefox"],
  [/\b(Headless)?Chrome\/|\bCriOS\//, "Chrome"],
  [/\bSafari\//, "Safari"],
];
const SYSTEMS: readonly (readonly [RegExp, string])[] = [
  [/\biPhone\b/, "iPhone"],
  [/\biPad\b/, "iPad"],
  [/\bAndroid\b/, "Android"],
  [/\bWindows\b/, "Windows"],
  [/\bMac OS X\b|\bMacintosh\b/, "macOS"],
  [/\bCrOS\b/, "ChromeOS"],
  [/\bLinux\b/, "Linux"],
];
const CHARS_MAX = 60;

/** "Firefox, Windows"; of an unknown program the first word that it says of itself; undefined when it says nothing. */
export function deviceName(userAgent: string | undefined): string | undefined {
  const text = (userAgent ?? "").slice(0, 512);
  const find = (table: readonly (readonly [RegExp, string])[]): string | undefined =>
    table.find(([pattern]) => pattern.test(text))?.[1];
  const known = [find(BROWSERS), find(SYSTEMS)].filter((part) => part !== undefined).join(", ");
  return known === "" ? /^[A-Za-z0-9._-]+/.exec(text)?.[0].slice(0, CHARS_MAX) : known;
}
