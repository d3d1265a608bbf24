/** Templates: what each kind of mail says, as text and as HTML, in the language of its reader. */
import type { Catalogues, Texts } from "../pages/texts.ts";
import type { Views } from "../pages/views.ts";
import type { MailValues } from "./message.ts";

/** Each has its words under `mail.<name>.` in the catalogues: subject, lead and, where there is a link, action. */
export const TEMPLATES = [
  "sign_up",
  "sign_up_taken",
  "invite",
  "recover",
  "recover_unknown",
  "password_changed",
  "password_reset_forced",
  "email_change",
  "email_change_asked",
  "email_changed",
  "new_device",
  "offline_access",
  "token_theft",
  "deletion_asked",
  "deletion_cancelled",
  "deleted",
] as const;
export type Template = (typeof TEMPLATES)[number];

export interface Rendered {
  readonly subject: string;
  readonly text: string;
  readonly html: string;
  /** What the mail is for, to be opened in a browser. */
  readonly link: string | undefined;
}

export interface MailWords {
  readonly views: Views;
  readonly catalogues: Catalogues;
  readonly brandName: string;
  readonly issuer: string;
}

/** Lines of facts, in this order; a fact that the mail has no value for is left out. */
const FACTS = ["app", "device", "network", "at"] as const;

export function renderMail(
  words: MailWords,
  mail: { readonly template: string; readonly language: string; readonly values: MailValues },
): Rendered {
  const texts = words.catalogues.choose({ account: mail.language });
  const values: Readonly<Record<string, string>> = { brand: words.brandName, ...shown(mail.values, texts) };
  const say = (part: string): string | undefined =>
    texts.has(`mail.${mail.template}.${part}`) ? texts.t(`mail.${mail.template}.${part}`, values) : undefined;
  const { link, undo, code } = mail.values;
  const facts = FACTS.filter((fact) => values[fact] !== undefined).map((fact) => ({
    label: texts.t(`mail.fact.${fact}`),
    value: String(values[fact]),
  }));
  const parts = {
    subject: say("subject") ?? words.brandName,
    lead: say("lead") ?? "",
    facts,
    code,
    codeWords: code === undefined ? undefined : say("code"),
    link,
    linkWords: link === undefined ? undefined : say("action"),
    note: say("note"),
    undo,
    undoWords: undo === undefined ? undefined : texts.t("mail.not_me"),
    foot: texts.t("mail.foot", { brand: words.brandName, issuer: words.issuer }),
  };
  return { subject: parts.subject, link, text: asText(parts), html: words.views.render("mail/message", texts, parts) };
}

/** Times are written as their reader writes them. */
function shown(values: MailValues, texts: Texts): Record<string, string> {
  const { at, until, ...rest } = values;
  return {
    ...rest,
    ...(at === undefined ? {} : { at: texts.date(new Date(at)) }),
    ...(until === undefined ? {} : { until: texts.date(new Date(until)) }),
  };
}

function asText(parts: {
  readonly lead: string;
  readonly facts: readonly { readonly label: string; readonly value: string }[];
  readonly code: string | undefined;
  readonly codeWords: string | undefined;
  readonly link: string | undefined;
  readonly linkWords: string | undefined;
  readonly note: string | undefined;
  readonly undo: string | undefined;
  readonly undoWords: string | undefined;
  readonly foot: string;
}): string {
  const blocks = [
    parts.lead,
    parts.facts.map(({ label, value }) => `${label}: ${value}`).join("\n"),
    parts.link === undefined ? "" : `${parts.linkWords ?? ""}:\n${parts.link}`,
    parts.code === undefined ? "" : `${parts.codeWords ?? ""}\n${parts.code}`,
    parts.note ?? "",
    parts.undo === undefined ? "" : `${parts.undoWords ?? ""}:\n${parts.undo}`,
    `-- \n${parts.foot}`,
  ];
  return `${blocks.filter((block) => block !== "").join("\n\n")}\n`;
}
