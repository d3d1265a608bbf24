/** Basic credentials of a client as the library reads them. */
import type { Context } from "koa";

/** RFC 6749 section 2.3.1: both halves are form-encoded. Undefined: there is no such header. What cannot be decoded is taken as it came. */
export function basicOf(ctx: Pick<Context, "get">): { readonly id: string; readonly secret: string } | undefined {
  const encoded = /^basic +([A-Za-z0-9+/=]+)$/i.exec(ctx.get("authorization"))?.[1];
  if (encoded === undefined) return undefined;
  const [id = "", ...secret] = Buffer.from(encoded, "base64").toString("utf8").split(":");
  try {
    return { id: decoded(id), secret: decoded(secret.join(":")) };
  } catch {
    return { id, secret: secret.join(":") };
  }
}

function decoded(half: string): string {
  return decodeURIComponent(half.replace(/\+/g, "%20"));
}
