/** Security headers of every answer, errors and 404s included. */

import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import helmet from "helmet";
import type { Context, Middleware } from "koa";

const HSTS_SECONDS = 63_072_000;
const PERMISSIONS_POLICY =
  "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()";

/** Set before everything else; a route may only widen `form-action`, and only for a client's own registered address. */
export function securityHeaders(options: { isHttps: boolean }): Middleware {
  const fixed = headersOf(options);
  return (ctx, next) => {
    for (const [name, value] of fixed) ctx.res.setHeader(name, value);
    return next();
  };
}

/** They are alike for every request, so helmet is asked once. */
function headersOf(options: { isHttps: boolean }): readonly (readonly [string, string])[] {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  helmet({
    contentSecurityPolicy: false,
    crossOriginEmbedderPolicy: false,
    crossOriginOpenerPolicy: { policy: "same-origin" },
    crossOriginResourcePolicy: { policy: "same-origin" },
    frameguard: { action: "deny" },
    referrerPolicy: { policy: "no-referrer" },
    strictTransportSecurity: options.isHttps ? { maxAge: HSTS_SECONDS, includeSubDomains: true } : false,
  })(response.req, response, () => undefined);
  response.setHeader("Permissions-Policy", PERMISSIONS_POLICY);
  response.setHeader("Content-Security-Policy", contentSecurityPolicy());
  // Pages and answers are about one person at one moment; what may be kept (assets, metadata) says so itself.
  response.setHeader("Cache-Control", "no-store");
  return response.getHeaderNames().map((name) => [name, String(response.getHeader(name))] as const);
}

/** Lets a form of this page end at the client: Chromium applies form-action to the whole chain of redirects (measured). */
export function allowFormTarget(ctx: Context, redirectUri: string): void {
  ctx.set("Content-Security-Policy", contentSecurityPolicy(formSource(redirectUri)));
}

/** `script-src` is stated although nothing needs a script: the library adds the hash of its own one only to that directive. */
function contentSecurityPolicy(formTarget = ""): string {
  const target = formTarget === "" ? "'self'" : `'self' ${formTarget}`;
  return `default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; form-action ${target}; base-uri 'none'; frame-ancestors 'none'`;
}

function formSource(redirectUri: string): string {
  if (!URL.canParse(redirectUri)) return "";
  const { protocol, origin, hostname } = new URL(redirectUri);
  if (protocol === "http:" && ["127.0.0.1", "[::1]"].includes(hostname)) return `http://${hostname}:*`;
  // A private-use scheme has no origin; the scheme alone is then the narrowest source there is (RFC 8252 section 7.1).
  return protocol === "http:" || protocol === "https:" ? origin : protocol;
}
