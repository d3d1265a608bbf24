/** A mail server of a test's own: real SMTP on loopback, its mails parsed by another library than the one that wrote them. */
import PostalMime from "postal-mime";
import { SMTPServer } from "smtp-server";
import { atEnd, eventually, freePort } from "../support.ts";

export interface Letter {
  readonly to: string;
  readonly subject: string;
  readonly text: string;
  readonly html: string;
  readonly raw: string;
  readonly messageId: string;
  /** The first link that is no "this was not me". */
  readonly link: string;
  readonly undo: string;
  readonly code: string;
}

export interface MailServer {
  readonly url: string;
  readonly letters: readonly Letter[];
  /** What the next mails are answered with: undefined takes them. */
  refuseWith(code: number | undefined): void;
  /** How long the next mails take. */
  answerAfter(milliseconds: number): void;
  /** Waits for the next mail to this address that was not looked at before. */
  next(to: string, subject?: RegExp): Promise<Letter>;
  countTo(to: string): number;
}

export async function startMailServer(): Promise<MailServer> {
  const letters: Letter[] = [];
  const seen = new Set<Letter>();
  let refusal: number | undefined;
  let pauseMs = 0;
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    logger: false,
    onRcptTo(_address, _session, callback) {
      if (refusal === undefined) return callback();
      callback(Object.assign(new Error("not now"), { responseCode: refusal }));
    },
    onData(stream, session, callback) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const raw = Buffer.concat(chunks).toString();
        void PostalMime.parse(raw).then((mail) => {
          const text = mail.text ?? "";
          const links = [...text.matchAll(/https?:\/\/\S+/g)].map(([link]) => link);
          letters.push({
            to: session.envelope.rcptTo[0]?.address ?? "",
            subject: mail.subject ?? "",
            text,
            html: mail.html ?? "",
            raw,
            messageId: mail.messageId ?? "",
            link: links.find((link) => !link.includes("/not-me/")) ?? "",
            undo: links.find((link) => link.includes("/not-me/")) ?? "",
            code: /^(\d{4} \d{4})$/m.exec(text)?.[1] ?? "",
          });
          setTimeout(callback, pauseMs);
        });
      });
    },
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  atEnd(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return {
    url: `smtp://127.0.0.1:${port}`,
    letters,
    refuseWith(code) {
      refusal = code;
    },
    answerAfter(milliseconds) {
      pauseMs = milliseconds;
    },
    async next(to, subject = /./) {
      const found = await eventually(
        () => letters.find((letter) => letter.to === to && subject.test(letter.subject) && !seen.has(letter)),
        15_000,
      );
      seen.add(found);
      return found;
    },
    countTo: (to) => letters.filter((letter) => letter.to === to).length,
  };
}
