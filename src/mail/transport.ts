/** The way out for mails: SMTP, or in development a mailbox in this process that a page shows. The one door to SMTP. */
import { createTransport } from "nodemailer";
import { now, sleep } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Rendered } from "./template.ts";

export interface Outgoing extends Rendered {
  readonly id: string;
  readonly to: string;
}

export interface Transport {
  readonly kind: "smtp" | "mailbox" | "none";
  /** Throws MailRefused when the server will never take it, and any other error when it may later. */
  send(mail: Outgoing): Promise<void>;
  close(): void;
}

/** The server has answered with a permanent refusal (RFC 5321 section 4.2.1, 5yz). */
export class MailRefused extends Error {}

export interface Received extends Outgoing {
  readonly at: Date;
}

/** The mails of this process, the newest first. Development only. */
export interface Mailbox extends Transport {
  list(): readonly Received[];
}

/** A server that says nothing for so long is asked again later; the others in the queue must not wait for it. */
const CONNECT_MS = 5000;
const SILENCE_MS = 10_000;
/** All of one mail: a server that answers each command just in time still ends within the lease of the outbox. */
const SENDING_SECONDS = 120;
const CONNECTIONS_MAX = 2;
const MAILBOX_MAX = 100;
const ERROR_CHARS_MAX = 200;

function openSmtp(url: string) {
  return createTransport({
    url,
    pool: true,
    maxConnections: CONNECTIONS_MAX,
    connectionTimeout: CONNECT_MS,
    greetingTimeout: CONNECT_MS,
    socketTimeout: SILENCE_MS,
    // A mail is made of texts alone; nothing in it ever names a file or an address to be read.
    disableFileAccess: true,
    disableUrlAccess: true,
  } as Parameters<typeof createTransport>[0]);
}

/** What `signet doctor` says of mail: whether the server takes our sign-in, or what is off without one. */
export async function lookAtMail(config: {
  readonly smtpUrl: string | undefined;
  readonly isProduction: boolean;
}): Promise<readonly { check: string; level: "ok" | "warning" | "fault"; cause: string; mend?: string }[]> {
  const { smtpUrl } = config;
  if (smtpUrl === undefined) {
    if (!config.isProduction)
      return [{ check: "mail", level: "ok", cause: "shown at /mailbox, since this is development" }];
    const cause = "SMTP_URL is not set: no mail is sent, so recovery, sign-up and changes of address are off";
    return [{ check: "mail", level: "warning", cause, mend: "set SMTP_URL and MAIL_FROM" }];
  }
  const smtp = openSmtp(smtpUrl);
  try {
    await smtp.verify();
    return [{ check: "mail", level: "ok", cause: `${new URL(smtpUrl).host} takes mail from us` }];
  } catch (error) {
    const cause = `${new URL(smtpUrl).host} does not: ${asMailError(error).message}`;
    return [{ check: "mail", level: "fault", cause, mend: "check SMTP_URL: host, port, user and password" }];
  } finally {
    smtp.close();
  }
}

export function smtpTransport(options: { url: string; from: string; brandName: string; issuer: string }): Transport {
  const host = new URL(options.issuer).hostname;
  const smtp = openSmtp(options.url);
  return {
    kind: "smtp",
    async send(mail) {
      try {
        const sending = smtp.sendMail({
          from: { name: options.brandName, address: options.from },
          to: { name: "", address: mail.to },
          subject: mail.subject,
          text: mail.text,
          html: mail.html,
          // Sent twice after a crash, it is still one mail.
          messageId: `<${mail.id}@${host}>`,
          // RFC 3834: nobody's holiday reply comes back, and nobody takes it for a person's mail.
          headers: { "Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All" },
        });
        await inTime(sending);
      } catch (error) {
        throw asMailError(error);
      }
    },
    close: () => smtp.close(),
  };
}

async function inTime(sending: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  const late = sleep(SENDING_SECONDS * 1000, over.signal).then(() => {
    throw Object.assign(new Error("too slow"), { code: "ETIMEDOUT" });
  });
  await Promise.race([sending, late]).finally(() => over.abort());
}

/** The server's own words may repeat the mail's; only its code is kept. */
function asMailError(error: unknown): Error {
  const { code, responseCode } = error as { code?: unknown; responseCode?: unknown };
  const said = `${typeof code === "string" ? code : "unknown"}${typeof responseCode === "number" ? ` ${responseCode}` : ""}`;
  // 5yz about the sender or the sign-in is the operator's to mend; only what is about this recipient or mail is final.
  const isFinal = typeof responseCode === "number" && responseCode >= 550 && responseCode <= 559;
  return isFinal ? new MailRefused(said) : new Error(said.slice(0, ERROR_CHARS_MAX));
}

export function createMailbox(options: { log: Log; issuer: string }): Mailbox {
  const received: Received[] = [];
  return {
    kind: "mailbox",
    async send(mail) {
      received.unshift({ ...mail, at: now() });
      received.splice(MAILBOX_MAX);
      options.log.info(`a mail: ${mail.subject}`, { place: `${options.issuer}/mailbox`, detail: mail.link });
    },
    list: () => received,
    close: () => undefined,
  };
}

/** Production without SMTP_URL: what is queued is given up at once and says why, so that `signet mail retry` can send it once there is a server. */
export function noTransport(log: Log): Transport {
  log.warn("SMTP_URL is not set: no mail is sent, so recovery, sign-up and changes of address are off");
  return {
    kind: "none",
    send: () => Promise.reject(new MailRefused("SMTP_URL is not set: this server sends no mail")),
    close: () => undefined,
  };
}
