/** Catalogues: that languages agree, what becomes of values, and who gets which language. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadTexts } from "../../src/pages/texts.ts";
import { CHECKOUT } from "../ladder.ts";

const VIEWS = fileURLToPath(new URL("../../views", import.meta.url));
const SRC = join(CHECKOUT, "src");
const catalogues = loadTexts(VIEWS);
const english = catalogues.choose({});
const german = catalogues.choose({ uiLocales: "de" });

function catalogue(language: string): Readonly<Record<string, string>> {
  return JSON.parse(readFileSync(join(VIEWS, "texts", `${language}.json`), "utf8"));
}

/** Loads catalogues that exist for one test only. */
function loadFrom(files: Readonly<Record<string, unknown>>): ReturnType<typeof loadTexts> {
  const folder = mkdtempSync(join(tmpdir(), "texts-"));
  try {
    mkdirSync(join(folder, "texts"));
    for (const [name, content] of Object.entries(files))
      writeFileSync(join(folder, "texts", `${name}.json`), JSON.stringify(content));
    return loadTexts(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function sources(folder: string, ending: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => readFileSync(join(folder, name), "utf8"));
}

test("every language has the same keys with the same placeholders", () => {
  const names = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();
  const en = catalogue("en");
  for (const language of catalogues.languages) {
    const other = catalogue(language);
    assert.deepEqual(Object.keys(other).sort(), Object.keys(en).sort(), language);
    for (const [key, text] of Object.entries(other)) assert.deepEqual(names(text), names(en[key] ?? ""), key);
  }
  assert.deepEqual([...catalogues.languages].sort(), ["de", "en"]);
});

test("every text that a view uses is there, and every text that is there is used", () => {
  const views = sources(VIEWS, ".pug").join("\n");
  const code = sources(SRC, ".ts").join("\n");
  const used = new Set([...views.matchAll(/(?:\bt|\+say)\("([^"]+)"/g)].map(([, key = ""]) => key));
  assert.ok(used.size > 40);
  for (const key of used) assert.ok(english.has(key), `a view uses ${key}`);
  const chosenAtRunTime =
    /^(language|scope|error\.\w+|field|profile|event|failure|finding|mail\.\w+|account\.(done|logout)|console\.(group|nav|done))\./;
  for (const key of Object.keys(catalogue("en")))
    if (!chosenAtRunTime.test(key)) assert.ok(used.has(key) || code.includes(`"${key}"`), `nothing uses ${key}`);
});

test("every error that has words of its own has all of them", () => {
  const codes = new Set(Object.keys(catalogue("en")).flatMap((key) => /^error\.(\w+)\./.exec(key)?.[1] ?? []));
  assert.ok(codes.size > 10);
  for (const code of codes)
    for (const part of ["kicker", "title", "text"]) assert.ok(english.has(`error.${code}.${part}`), `${code}.${part}`);
});

const en = { "language.name": "English", "a.b": "Hello {name}" };
const differing: readonly (readonly [string, Readonly<Record<string, unknown>>, RegExp])[] = [
  ["a key is missing", { en, de: { "language.name": "Deutsch" } }, /de\.json lacks a\.b/],
  ["a key is too many", { en, de: { ...en, "a.c": "x" } }, /en\.json lacks a\.c/],
  ["a placeholder is missing", { en, de: { ...en, "a.b": "Hallo" } }, /a\.b has other placeholders/],
  ["a placeholder is another", { en, de: { ...en, "a.b": "Hallo {nmae}" } }, /a\.b has other placeholders/],
  ["a text is empty", { en: { ...en, "a.b": "" } }, /a\.b is no text/],
  ["a text is no text", { en: { ...en, "a.b": 7 } }, /a\.b is no text/],
  ["a catalogue is no object", { en: null }, /no object/],
  ["there is no English", { de: en }, /no catalogue en\.json/],
];
for (const [what, files, message] of differing)
  test(`catalogues are refused at start when ${what}`, () => assert.throws(() => loadFrom(files), message));

test("all faults of the catalogues stand in one message", () => {
  const files = { en, de: { "language.name": "Deutsch", "a.c": "x" } };
  assert.throws(() => loadFrom(files), /lacks a\.b.*lacks a\.c/);
});

test("values are put in as they are: what looks like a placeholder in one is not replaced", () => {
  const texts = loadFrom({ en: { ...en, two: "{a} and {b}" } }).choose({});
  assert.equal(texts.t("two", { a: "{b}", b: "$& {a}" }), "{b} and $& {a}");
  assert.deepEqual(texts.parts("two", { a: "x", b: 1200 }), [
    { text: "", name: undefined },
    { text: "x", name: "a" },
    { text: " and ", name: undefined },
    { text: "1,200", name: "b" },
    { text: "", name: undefined },
  ]);
});

test("a missing value and a missing text are errors, also under names that every object has", () => {
  const texts = loadFrom({ en: { ...en, proto: "{constructor}" } }).choose({});
  assert.throws(() => texts.t("a.b"), /needs a value for name/);
  assert.throws(() => texts.t("proto", {}), /needs a value for constructor/);
  assert.throws(() => texts.t("constructor"), /no text constructor/);
  assert.equal(texts.has("toString"), false);
});

test("dates are told to the minute in UTC, in the reader's language", () => {
  const moment = new Date("2026-11-22T04:31:59Z");
  assert.equal(english.date(moment), "22 November 2026, 04:31 UTC");
  assert.equal(german.date(moment), "22. November 2026, 04:31 UTC");
});

const waits: readonly (readonly [number, string, string])[] = [
  [0, "in 1 second", "in 1 Sekunde"],
  [1.2, "in 2 seconds", "in 2 Sekunden"],
  [90, "in 90 seconds", "in 90 Sekunden"],
  [91, "in 2 minutes", "in 2 Minuten"],
  [900, "in 15 minutes", "in 15 Minuten"],
];
for (const [seconds, inEnglish, inGerman] of waits)
  test(`a wait of ${seconds} s is told as "${inEnglish}"`, () => {
    assert.equal(english.soon(seconds), inEnglish);
    assert.equal(german.soon(seconds), inGerman);
  });

type Wanted = Parameters<typeof catalogues.choose>[0];
const choices: readonly (readonly [Wanted, string])[] = [
  [{}, "en"],
  [{ uiLocales: "de" }, "de"],
  [{ uiLocales: "de", account: "en", acceptLanguage: "en" }, "de"],
  [{ account: "de", acceptLanguage: "en" }, "de"],
  [{ acceptLanguage: "de" }, "de"],
  [{ uiLocales: "fr", account: "de", acceptLanguage: "en" }, "de"],
  [{ uiLocales: "fr-CA fr en", account: "de" }, "en"],
  [{ uiLocales: "DE-at" }, "de"],
  [{ uiLocales: "de-CH-1996" }, "de"],
  [{ account: "de_DE" }, "de"],
  [{ uiLocales: "  de  " }, "de"],
  [{ acceptLanguage: "fr-CH, fr;q=0.9, en;q=0.7, de;q=0.8, *;q=0.5" }, "de"],
  [{ acceptLanguage: "en;q=0.1, de" }, "de"],
  [{ acceptLanguage: "de;q=0, fr" }, "en"],
  [{ acceptLanguage: "de;q=abc" }, "en"],
  [{ acceptLanguage: "*" }, "en"],
  [{ uiLocales: "den deutsch d" }, "en"],
  [{ uiLocales: '"><script>alert(1)</script>' }, "en"],
  [{ uiLocales: "__proto__ constructor ../de de\u0000" }, "en"],
  [{ uiLocales: `${"x".repeat(300)} de` }, "en"],
  [{ uiLocales: `${"fr ".repeat(10)}de` }, "en"],
  [{ acceptLanguage: `${"fr,".repeat(10)}de` }, "en"],
  [{ uiLocales: "-".repeat(1_000_000), acceptLanguage: ",;q=".repeat(500_000), account: " ".repeat(1_000_000) }, "en"],
];
for (const [wanted, language] of choices)
  test(`${JSON.stringify(wanted).slice(0, 90)} gets ${language}`, () => {
    assert.equal(catalogues.choose(wanted).language, language);
  });

test("a language is made once, whoever asks for it", () => {
  assert.equal(catalogues.choose({ uiLocales: "de" }), catalogues.choose({ acceptLanguage: "de-AT,en" }));
});

test("the other languages are called what their readers call them", () => {
  assert.deepEqual(
    catalogues.others(english, (code) => `/here?ui_locales=${code}`),
    [{ code: "de", label: "Deutsch", href: "/here?ui_locales=de" }],
  );
});
