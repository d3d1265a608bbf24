/** Every mail in both languages: whole, as text and as HTML, asking no host for anything, whatever its values hold. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { renderMail, TEMPLATES } from "../../src/mail/template.ts";
import { loadAssets } from "../../src/pages/assets.ts";
import { loadTexts } from "../../src/pages/texts.ts";
import { createViews } from "../../src/pages/views.ts";

const VIEWS = fileURLToPath(new URL("../../views", import.meta.url));
const catalogues = loadTexts(VIEWS);
const views = createViews({
  viewsDir: VIEWS,
  assets: loadAssets(VIEWS),
  brand: { name: "Northwind" },
  issuerHost: "id.example",
  isDevelopment: true,
});
const words = { views, catalogues, brandName: "Northwind", issuer: "https://id.example" };
const values = {
  ...{ link: "https://id.example/recover/x", undo: "https://id.example/not-me/y", code: "1234 5678" },
  ...{ app: "Harbor Notes", device: "Firefox, Windows", network: "192.0.2.7" },
  ...{ at: "2026-11-22T04:31:00Z", until: "2026-11-29T04:31:00Z" },
};

for (const template of TEMPLATES) {
  test(`${template} has a subject and words in both languages`, () => {
    const [english, german] = ["en", "de"].map((language) => renderMail(words, { template, language, values }));
    assert.notEqual(english?.subject, german?.subject);
    for (const mail of [english, german]) {
      assert.match(mail?.subject ?? "", /Northwind|safety|Sicherheit/);
      assert.doesNotMatch(`${mail?.subject}${mail?.text}${mail?.html}`, /undefined|\{\w+\}|\[object/);
      assert.ok((mail?.text.length ?? 0) > 80);
      assert.doesNotMatch(mail?.html ?? "", /<(img|script|link|iframe)\b|url\(|@import/i);
      for (const [, href = ""] of (mail?.html ?? "").matchAll(/href="([^"]*)"/g))
        assert.match(href, /^https:\/\/id\.example\//);
    }
  });

  test(`T-XSS-5: markup in any value of ${template} is shown as text, and no line break reaches the subject`, () => {
    const hostile = `"><script>alert(1)</script>\r\nBcc: all@x.example`;
    const spoiled = { ...values, app: hostile, device: hostile, network: hostile };
    const mail = renderMail(words, { template, language: "en", values: spoiled });
    assert.doesNotMatch(mail.html, /<script/i);
    assert.doesNotMatch(mail.subject, /[\r\n]/);
  });
}

test("times are written as the reader writes them, and an unknown language is English", () => {
  assert.match(renderMail(words, { template: "deleted", language: "de-AT", values }).text, /22\. November 2026/);
  assert.match(renderMail(words, { template: "deleted", language: "xx", values }).text, /22 November 2026/);
});
