/** The language of an answer: what the request names, what was chosen before, what the app asks for, what the browser prefers. */
import type { Context } from "koa";
import type { Catalogues, LanguageLink, Texts } from "./texts.ts";

/** Remembers a choice made on a page; it holds a language code and nothing else. */
const LANGUAGE_COOKIE = "signet_language";
const COOKIE_DAYS = 365;

/** `ui_locales` in the address is a choice made here, so it is kept; the app's own wish (`uiLocales`) holds for this sign-in only. */
export function languageOf(ctx: Context, catalogues: Catalogues, uiLocales?: string): Texts {
  const chosen = ctx.query["ui_locales"];
  const acceptLanguage = ctx.get("accept-language") || undefined;
  if (typeof chosen !== "string") {
    const kept = ctx.cookies.get(LANGUAGE_COOKIE, { signed: false });
    return catalogues.choose({ uiLocales: kept ?? uiLocales, acceptLanguage });
  }
  const texts = catalogues.choose({ uiLocales: chosen, acceptLanguage });
  if (ctx.method === "GET") {
    const maxAge = COOKIE_DAYS * 86_400_000;
    ctx.cookies.set(LANGUAGE_COOKIE, texts.language, {
      maxAge,
      httpOnly: true,
      sameSite: "lax",
      secure: ctx.secure,
      signed: false,
    });
  }
  return texts;
}

/** Links to this very page in the other languages. */
export function languageLinks(ctx: Context, catalogues: Catalogues, texts: Texts): readonly LanguageLink[] {
  return ctx.method === "GET" ? catalogues.others(texts, (code) => `${ctx.path}?ui_locales=${code}`) : [];
}
