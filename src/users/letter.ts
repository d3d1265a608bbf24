/** Letters to a person: which address and language, where their links lead, and the link for whoever says "this was not me". */
import { now } from "../clock.ts";
import type { Mails, MailValues, Template } from "../mail/message.ts";
import type { Queries } from "../store/db.ts";
import { makeLink } from "./link.ts";
import type { UserRow } from "./queries.ts";

export interface Letters {
  readonly mails: Mails;
  /** Links lead to the issuer, whatever a request said (T-HOST-2). */
  readonly issuer: string;
}

/** The part of a user that a letter needs. */
export interface Reader extends Pick<UserRow, "id" | "email" | "claims"> {
  readonly language?: string | null | undefined;
}

const LANGUAGE_DEFAULT = "en";

export function languageOf(reader: Pick<Reader, "language" | "claims">, otherwise = LANGUAGE_DEFAULT): string {
  return reader.language ?? reader.claims.locale ?? otherwise;
}

/** A notice about something that was done; with a link to undo it all, unless the letter goes to an address that is no longer the person's. */
export async function sendNotice(
  tx: Queries,
  letters: Letters,
  notice: {
    readonly template: Template;
    readonly reader: Reader;
    readonly values?: MailValues;
    readonly to?: string;
    readonly cause?: string;
    readonly language?: string | undefined;
    /** The address that the link brings back. */
    readonly formerEmail?: string;
  },
): Promise<void> {
  const { reader } = notice;
  const token = await makeLink(tx, {
    kind: "not_me",
    userId: reader.id,
    email: notice.formerEmail,
    data: { notice: notice.template },
  });
  await letters.mails.queue(tx, {
    template: notice.template,
    language: languageOf(reader, notice.language),
    to: notice.to ?? reader.email,
    userId: reader.id,
    values: { at: now().toISOString(), ...notice.values, undo: `${letters.issuer}/not-me/${token}` },
    cause: notice.cause,
  });
}
