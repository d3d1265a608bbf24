/** Cookies of our own pages: random texts that name a browser, never readable by scripts, and on https bound to this very host. */
import type { Context } from "koa";

export type CookieName = "form" | "device" | "sign_up" | "invitation" | "console" | "console_sign_in";

export function readCookie(ctx: Context, name: CookieName): string {
  return ctx.cookies.get(fullName(ctx, name), { signed: false }) ?? "";
}

/** Without seconds it ends with the browser's session. */
export function setCookie(ctx: Context, name: CookieName, value: string, seconds?: number): void {
  ctx.cookies.set(fullName(ctx, name), value, {
    httpOnly: true,
    sameSite: "lax",
    secure: ctx.secure,
    signed: false,
    path: "/",
    overwrite: true,
    ...(seconds === undefined ? {} : { maxAge: seconds * 1000 }),
  });
}

export function dropCookie(ctx: Context, name: CookieName): void {
  setCookie(ctx, name, "", -1);
}

/** The prefix makes the browser refuse one that another host or plain http would plant (RFC 6265bis section 4.1.3.2). */
function fullName(ctx: Context, name: CookieName): string {
  return `${ctx.secure ? "__Host-" : ""}signet_${name}`;
}
