/** Form tokens, and whether a form was sent from our own page. A token is bound to something only this browser has; nothing is stored. */
import { nowSeconds } from "../clock.ts";
import { hmac, isEqualSecret, randomText } from "../secrets.ts";

export interface Csrf {
  /** A token for a form; `binding` is what ties it to the browser or the person: a cookie's value, an interaction, a subject. */
  issue(binding: string): string;
  /** Whether the token was issued for this binding and still lives. The token is whatever the request held. */
  verify(binding: string, token: unknown): boolean;
}

/** Longer than anybody reads a sign-in or consent page, short enough that a page found in a cache is worth nothing. */
export const FORM_SECONDS = 2 * 60 * 60;
/** 128 bits: a token is never seen twice, so compression of the page tells nothing about it. */
const NONCE_BYTES = 16;
/** `<expiry, seconds since 1970>.<nonce>.<HMAC-SHA-256>`. The pattern bounds the length of what is looked at. */
const TOKEN = /^(\d{10,12})\.([\w-]{22})\.([\w-]{43})$/;

/** The first key makes, all verify, so that a key can be changed while forms are open. */
export function createCsrf(keys: () => readonly Buffer[]): Csrf {
  return {
    issue: (binding) => {
      const [key] = keys();
      if (key === undefined) throw new Error("there is no key for form tokens");
      const stated = `${nowSeconds() + FORM_SECONDS}.${randomText(NONCE_BYTES)}`;
      return `${stated}.${mac(key, stated, binding)}`;
    },
    verify: (binding, token) => {
      const [, expires, nonce, given] = (typeof token === "string" ? TOKEN.exec(token) : null) ?? [];
      if (expires === undefined || given === undefined) return false;
      let isOurs = false;
      // Every key is tried, so that time does not tell which one made the token.
      for (const key of keys()) isOurs = isEqualSecret(given, mac(key, `${expires}.${nonce}`, binding)) || isOurs;
      return isOurs && Number(expires) > nowSeconds();
    },
  };
}

/**
 * Whether a POST came from a page of this origin (Fetch: `Origin`; Fetch Metadata: `Sec-Fetch-Site`). Old browsers and
 * tools send neither header and still need the token; a browser that sends one must not say "elsewhere" in either.
 */
export function isSameOriginPost(
  headers: { readonly origin?: string | undefined; readonly "sec-fetch-site"?: string | undefined },
  issuerOrigin: string,
): boolean {
  const { origin, "sec-fetch-site": site } = headers;
  if (site !== undefined && site !== "same-origin" && site !== "none") return false;
  return origin === undefined || origin === issuerOrigin;
}

function mac(key: Buffer, stated: string, binding: string): string {
  return hmac(key, `csrf:${stated}:${binding}`);
}
