/** Console: what the steps of a registration have said so far, as one parameter of an address. */
import { z } from "zod";
import { CLIENT_TYPES } from "../clients/schema.ts";

const draftShape = z.strictObject({
  client_type: z.enum(CLIENT_TYPES),
  client_name: z.string(),
  redirect_uris: z.array(z.string()).optional(),
  post_logout_redirect_uris: z.array(z.string()).optional(),
  web_origins: z.array(z.string()).optional(),
});
export type Draft = z.infer<typeof draftShape>;

/** A request line of 8 KiB passes every proxy; whoever has more addresses adds them on the client's page. */
const DRAFT_CHARS_MAX = 6000;

export function isTooLong(draft: Draft): boolean {
  return writeDraft(draft).length > DRAFT_CHARS_MAX;
}

export function writeDraft(draft: Draft): string {
  return Buffer.from(JSON.stringify(draft)).toString("base64url");
}

/** Whatever it is that somebody put there: what is no draft is none. Its values are checked where they are used. */
export function readDraft(text: string | undefined): Draft | undefined {
  if (text === undefined || text === "" || text.length > DRAFT_CHARS_MAX) return undefined;
  try {
    return draftShape.parse(JSON.parse(Buffer.from(text, "base64url").toString()));
  } catch {
    return undefined;
  }
}
