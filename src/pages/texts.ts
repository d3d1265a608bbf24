/** Texts: one catalogue per language, and which of them a reader gets. What a browser or an app wishes for is hostile text and is cut before it is read. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A value that is put in place of `{name}`. Values are plain text; the view escapes them with the rest. */
export type Values = Readonly<Record<string, string | number>>;
/** A run of a sentence: plain words, or a value with the name of its placeholder, so that a view can set names from outside apart. */
export interface Part {
  readonly text: string;
  readonly name: string | undefined;
}

export interface Texts {
  /** BCP 47, as in `lang`. */
  readonly language: string;
  readonly direction: "ltr" | "rtl";
  t(key: string, values?: Values): string;
  parts(key: string, values?: Values): readonly Part[];
  has(key: string): boolean;
  /** Day and minute in UTC: "22 November 2026, 04:31 UTC". */
  date(d: Date): string;
  /** A time to wait, as in "Try again …": "in 45 seconds", "in 15 minutes". */
  soon(seconds: number): string;
}

export interface LanguageLink {
  readonly code: string;
  readonly label: string;
  readonly href: string;
}

export interface Catalogues {
  readonly languages: readonly string[];
  /** `ui_locales` first (OpenID Connect Core 3.1.2.1), then the account's language, then the browser's, then English. */
  choose(wanted: {
    readonly uiLocales?: string | undefined;
    readonly acceptLanguage?: string | undefined;
    readonly account?: string | undefined;
  }): Texts;
  /** Links to the page in its other languages, each called what its readers call it. */
  others(texts: Texts, hrefOf: (code: string) => string): readonly LanguageLink[];
}

const FALLBACK = "en";
/** A list of wishes is a few tags long; what is longer than this is no wish. */
const WISH_CHARS_MAX = 256;
/** Wishes after the tenth change nothing for a reader and cost a look-up each. */
const WISHES_MAX = 10;
/** RFC 5646 in outline: letters, then subtags; no tag in use is longer than 35 characters (RFC 5646 section 4.4.1). */
const TAG = /^[a-z]{2,8}(-[a-z0-9]{1,8}){0,4}$/;
const PLACEHOLDER = /\{(\w+)\}/g;
/** From here on a wait is told in minutes: nobody counts 600 seconds. */
const SECONDS_SHOWN_MAX = 90;

type Catalogue = ReadonlyMap<string, string>;

/** Reads `texts/*.json`. Throws when a language lacks a key or a placeholder that another one has, so that no page is half translated. */
export function loadTexts(viewsDir: string): Catalogues {
  const byLanguage = new Map<string, Catalogue>();
  const folder = join(viewsDir, "texts");
  for (const file of readdirSync(folder).sort()) {
    if (file.endsWith(".json")) byLanguage.set(file.slice(0, -".json".length), readCatalogue(join(folder, file)));
  }
  const fallback = byLanguage.get(FALLBACK);
  if (fallback === undefined) throw new Error(`there is no catalogue ${FALLBACK}.json`);
  checkAgreement(fallback, byLanguage);
  const texts = new Map([...byLanguage].map(([language, catalogue]) => [language, createTexts(language, catalogue)]));
  const inEnglish = texts.get(FALLBACK) ?? createTexts(FALLBACK, fallback);
  return {
    languages: [...texts.keys()],
    choose: ({ uiLocales, acceptLanguage, account }) => {
      const wishes = [...listed(uiLocales), ...listed(account), ...weighed(acceptLanguage)];
      return wishes.map((tag) => match(texts, tag)).find((found) => found !== undefined) ?? inEnglish;
    },
    others: (current, hrefOf) =>
      [...texts]
        .filter(([code]) => code !== current.language)
        .map(([code, other]) => ({ code, label: other.t("language.name"), href: hrefOf(code) })),
  };
}

function readCatalogue(path: string): Catalogue {
  const parsed: unknown = JSON.parse(readFileSync(path, "utf8"));
  if (typeof parsed !== "object" || parsed === null) throw new Error(`${path} is no object of texts`);
  const entries: [string, string][] = [];
  for (const [key, text] of Object.entries(parsed)) {
    if (typeof text !== "string" || text === "") throw new Error(`${path}: ${key} is no text`);
    entries.push([key, text]);
  }
  return new Map(entries);
}

function checkAgreement(fallback: Catalogue, byLanguage: ReadonlyMap<string, Catalogue>): void {
  const faults: string[] = [];
  for (const [language, catalogue] of byLanguage) {
    for (const key of new Set([...fallback.keys(), ...catalogue.keys()])) {
      const [here, there] = [catalogue.get(key), fallback.get(key)];
      if (here === undefined) faults.push(`${language}.json lacks ${key}`);
      else if (there === undefined) faults.push(`${FALLBACK}.json lacks ${key}, which ${language}.json has`);
      else if (placeholders(here) !== placeholders(there))
        faults.push(`${language}.json: ${key} has other placeholders`);
    }
  }
  if (faults.length > 0) throw new Error(`the catalogues differ: ${faults.join("; ")}`);
}

function placeholders(text: string): string {
  return [...new Set([...text.matchAll(PLACEHOLDER)].map((found) => found[1]))].sort().join(",");
}

function createTexts(language: string, catalogue: Catalogue): Texts {
  const locale = catalogue.get("language.locale") ?? language;
  const day = new Intl.DateTimeFormat(locale, { dateStyle: "long", timeZone: "UTC" });
  const minute = new Intl.DateTimeFormat(locale, { timeStyle: "short", timeZone: "UTC" });
  const wait = new Intl.RelativeTimeFormat(locale, { numeric: "always" });
  const number = new Intl.NumberFormat(locale);
  const parts = (key: string, values: Values = {}): readonly Part[] => {
    const text = catalogue.get(key);
    if (text === undefined) throw new Error(`there is no text ${key}`);
    // Splitting on a pattern with one group gives words and placeholder names in turn. Values are never searched for placeholders.
    return text.split(PLACEHOLDER).map((run, index) => {
      if (index % 2 === 0) return { text: run, name: undefined };
      const value = Object.hasOwn(values, run) ? values[run] : undefined;
      if (value === undefined) throw new Error(`the text ${key} needs a value for ${run}`);
      return { text: typeof value === "number" ? number.format(value) : value, name: run };
    });
  };
  return {
    language,
    direction: catalogue.get("language.direction") === "rtl" ? "rtl" : "ltr",
    parts,
    t: (key, values) =>
      parts(key, values)
        .map((part) => part.text)
        .join(""),
    has: (key) => catalogue.has(key),
    date: (d) => `${day.format(d)}, ${minute.format(d)} UTC`,
    soon: (seconds) => {
      const whole = Math.max(1, Math.ceil(seconds));
      return whole <= SECONDS_SHOWN_MAX ? wait.format(whole, "second") : wait.format(Math.ceil(whole / 60), "minute");
    },
  };
}

/** `ui_locales`: tags separated by spaces, the most wanted first. An account's language is a list of one. */
function listed(wishes: string | undefined): readonly string[] {
  return (wishes ?? "").slice(0, WISH_CHARS_MAX).split(/\s+/, WISHES_MAX);
}

/** `Accept-Language` (RFC 9110 section 12.5.4): tags with weights; weight 0 means "not this one". */
function weighed(header: string | undefined): readonly string[] {
  const wishes = (header ?? "")
    .slice(0, WISH_CHARS_MAX)
    .split(",", WISHES_MAX)
    .map((item) => {
      const [tag = "", weight = "q=1"] = item.split(";", 2).map((piece) => piece.trim());
      return { tag, weight: /^q=[01](\.\d{0,3})?$/.test(weight) ? Number(weight.slice(2)) : 0 };
    });
  return wishes
    .filter((wish) => wish.weight > 0)
    .sort((a, b) => b.weight - a.weight)
    .map((wish) => wish.tag);
}

/** Look-up as in RFC 4647 section 3.4: the whole tag, then ever shorter ones ("de-CH-1996", "de-CH", "de"). */
function match(texts: ReadonlyMap<string, Texts>, wish: string): Texts | undefined {
  let tag = wish.toLowerCase().replaceAll("_", "-");
  if (!TAG.test(tag)) return undefined;
  while (tag !== "") {
    const found = texts.get(tag);
    if (found !== undefined) return found;
    tag = tag.slice(0, Math.max(0, tag.lastIndexOf("-")));
  }
  return undefined;
}
