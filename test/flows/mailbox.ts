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
  /** Nobody listens any more, and who was connected is cut off. */
  stop(): Promise<void>;
  /** Again at the same address. */
  start(): Promise<void>;
}

export async function startMailServer(): Promise<MailServer> {
  const letters: Letter[] = [];
  const seen = new Set<Letter>();
  let refusal: number | undefined;
  let pauseMs = 0;
  const options: ConstructorParameters<typeof SMTPServer>[0] = {
    authOptional: true,
    closeTimeout: 50,
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
  };
  const port = await freePort();
  let server: SMTPServer | undefined;
  const start = async (): Promise<void> => {
    if (server !== undefined) return;
    const opened = new SMTPServer(options);
    // Who was cut off in mid-sentence is no fault of the test's.
    opened.on("error", () => undefined);
    await new Promise<void>((resolve) => opened.listen(port, "127.0.0.1", resolve));
    server = opened;
  };
  const stop = async (): Promise<void> => {
    const opened = server;
    server = undefined;
    if (opened !== undefined) await new Promise<void>((resolve) => opened.close(() => resolve()));
  };
  await start();
  atEnd(stop);
  return {
    start,
    stop,
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
