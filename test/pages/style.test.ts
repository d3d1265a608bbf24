/** The stylesheet's colours: the tokens are the only ones, and each has its contrast on every ground it stands on (WCAG 2.2). */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const css = readFileSync(fileURLToPath(new URL("../../views/style.css", import.meta.url)), "utf8");
const DARK = "@media (prefers-color-scheme: dark)";

type Tokens = Readonly<Record<string, string>>;
const light: Tokens = tokensOf(ruleAfter(":root"));
const dark: Tokens = { ...light, ...tokensOf(ruleAfter(DARK)) };

function ruleAfter(start: string): string {
  const from = css.indexOf(start);
  assert.ok(from >= 0, start);
  return css.slice(from, css.indexOf("\n}", from));
}

function tokensOf(rule: string): Record<string, string> {
  const found = [...rule.matchAll(/--([a-z0-9-]+): (#[0-9A-F]{6});/g)];
  return Object.fromEntries(found.map(([, name = "", value = ""]) => [name, value]));
}

/** Relative luminance, WCAG 2.2 section 3. */
function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const channel = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(tokens: Tokens, front: string, back: string): number {
  const [a, b] = [front, back].map((name) => luminance(tokens[name] ?? assert.fail(`no token ${name}`)));
  return (Math.max(a ?? 0, b ?? 0) + 0.05) / (Math.min(a ?? 0, b ?? 0) + 0.05);
}

/** Front, back, the least ratio in light and in dark; to one decimal, as the design states them. */
const ratios: readonly (readonly [string, string, number, number])[] = [
  ["ink", "paper", 15.3, 16.3],
  ["ink", "sheet", 16.8, 14.8],
  ["ink", "sunk", 14.2, 16.9],
  ...["accent-soft", "brass-soft", "danger-soft", "warn-soft", "good-soft", "info-soft"].map(
    (soft) => ["ink", soft, 13.7, 11.5] as const,
  ),
  ["ink-2", "paper", 8.5, 11.1],
  ["ink-2", "sheet", 9.3, 10.1],
  ["ink-2", "sunk", 7.9, 11.5],
  ["ink-3", "paper", 5.5, 7.7],
  ["ink-3", "sheet", 6.1, 7.0],
  ["ink-3", "sunk", 5.1, 8.0],
  ["line-strong", "paper", 3.6, 4.8],
  ["line-strong", "sheet", 3.9, 4.4],
  ["line-strong", "sunk", 3.3, 5.0],
  ["line-strong", "brass-soft", 3.3, 4.0],
  ["accent", "paper", 7.4, 10.4],
  ["accent", "sheet", 8.1, 9.4],
  ["accent", "sunk", 6.9, 10.8],
  ["accent", "accent-soft", 6.7, 7.3],
  ["accent-hover", "paper", 10.8, 12.5],
  ["accent-hover", "sheet", 11.9, 11.3],
  ["on-accent", "accent", 8.1, 9.3],
  ["on-accent", "accent-hover", 11.9, 11.2],
  ["brass", "sheet", 6.8, 9.5],
  ["brass", "brass-soft", 5.8, 8.6],
  ["brass-line", "sheet", 4.0, 4.5],
  ["brass-line", "brass-soft", 3.4, 4.1],
  ["danger", "paper", 7.2, 9.6],
  ["danger", "sheet", 7.9, 8.7],
  ["danger", "sunk", 6.6, 9.9],
  ["danger", "danger-soft", 6.7, 8.3],
  ["on-danger", "danger", 7.9, 9.0],
  ["on-danger", "danger-hover", 10.7, 11.0],
  ["warn", "warn-soft", 7.2, 9.3],
  ["warn", "sheet", 8.3, 10.5],
  ["good", "good-soft", 7.4, 8.5],
  ["good", "paper", 7.9, 11.2],
  ["good", "sunk", 7.4, 11.6],
  ["info", "info-soft", 7.7, 8.5],
  ["focus", "paper", 5.6, 9.4],
  ["focus", "sheet", 6.2, 8.6],
  ["focus", "sunk", 5.2, 9.8],
  ...["accent-soft", "brass-soft", "danger-soft", "warn-soft", "good-soft", "info-soft"].map(
    (soft) => ["focus", soft, 5.0, 6.6] as const,
  ),
  ["on-plate", "plate", 13.9, 15.5],
  ["on-plate", "plate-2", 10.4, 11.7],
  ["on-plate", "plate-line", 6.9, 8.1],
  ["on-plate-2", "plate", 9.4, 10.5],
  ["on-plate-2", "plate-2", 7.1, 7.9],
  ["on-plate-2", "plate-line", 4.7, 5.5],
  ["focus-plate", "plate", 9.4, 10.5],
  ["focus-plate", "plate-2", 7.0, 7.9],
  ["chart-1", "sheet", 6.6, 8.0],
  ["chart-2", "sheet", 5.5, 8.1],
  ["chart-1", "sunk", 5.6, 9.2],
  ["chart-3", "sheet", 6.1, 7.0],
  ["tile-1-letter", "tile-1", 10.7, 10.7],
  ["tile-2-letter", "tile-2", 9.2, 9.2],
  ["tile-3-letter", "tile-3", 10.2, 10.2],
  ["tile-4-letter", "tile-4", 9.1, 9.1],
  ["tile-5-letter", "tile-5", 8.8, 8.8],
];
for (const [front, back, inLight, inDark] of ratios)
  test(`${front} on ${back} has a contrast of ${inLight} in light and ${inDark} in dark`, () => {
    const [day, night] = [contrast(light, front, back), contrast(dark, front, back)];
    assert.ok(Math.round(day * 10) / 10 >= inLight, `light ${day}`);
    assert.ok(Math.round(night * 10) / 10 >= inDark, `dark ${night}`);
  });

test("every token is in the table or only decorates", () => {
  const decorates = new Set(["line", "plate-line"]);
  const measured = new Set<unknown>(ratios.flat());
  for (const name of Object.keys(light)) assert.ok(measured.has(name) || decorates.has(name), name);
  for (const name of Object.keys(dark)) assert.ok(Object.hasOwn(light, name), `${name} has no light value`);
});

test("no rule but the two of the tokens holds a colour", () => {
  const rules = css.replace(ruleAfter(":root"), "").replace(ruleAfter(DARK), "");
  assert.doesNotMatch(rules, /#[0-9a-f]{3,8}\b|\b(rgb|hsl|oklch|oklab|color|color-mix)a?\(/i);
});

test("every token that a rule uses exists", () => {
  const used = new Set([...css.matchAll(/var\(--([a-z0-9-]+)\)/g)].map(([, name = ""]) => name));
  for (const name of used) assert.ok(css.includes(`  --${name}: `), name);
});

test("paper lies flat: no shadow, gradient, blur or animation", () => {
  assert.doesNotMatch(css, /box-shadow|text-shadow|gradient\(|blur\(|@keyframes|animation/);
});

test("focus is never removed but from the page's own jump target", () => {
  const removed = [...css.matchAll(/([^{}]+)\{[^{}]*outline: none/g)].map(([, selector = ""]) => selector.trim());
  assert.deepEqual(removed, ["main:focus-visible"]);
});
