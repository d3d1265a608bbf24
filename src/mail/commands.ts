/** `signet mail`: what waits to be sent, what was given up and why, and sending it again. */
import {
  BY,
  type CommandGroup,
  type CommandIo,
  type Given,
  printJson,
  printTable,
  textOf,
  usage,
} from "../commands.ts";
import { type MailState, type Mails, presentMail, RETRIED_MAX } from "./message.ts";

interface App {
  readonly mails: Mails;
}

const STATES = ["queued", "sent", "failed"] as const;
const LIMIT_MAX = 200;
const LIMIT_DEFAULT = 50;

export const mailCommands: CommandGroup<App> = {
  noun: "mail",
  summary: "mails to people: what waits, what was sent, what failed",
  verbs: [
    {
      verb: "list",
      summary: "the newest mails and their state; what they say is not shown",
      flags: {
        state: { type: "string", value: "STATE", summary: "only these: queued, sent or failed" },
        limit: {
          type: "string",
          value: "N",
          summary: `at most so many, 1 to ${LIMIT_MAX}; ${LIMIT_DEFAULT} unless given`,
        },
      },
      run: listMails,
    },
    {
      verb: "retry",
      summary: `send again now what waits or was given up, as long as its link still lives; all: the oldest ${RETRIED_MAX}`,
      positionals: ["id-or-all"],
      flags: {},
      run: retryMails,
    },
  ],
};

async function listMails(app: App, given: Given, io: CommandIo): Promise<void> {
  const state = textOf(given, "state");
  if (state !== undefined && !STATES.some((known) => known === state))
    throw usage("mail list", `--state takes one of: ${STATES.join(", ")}.`);
  const limit = Number(textOf(given, "limit") ?? LIMIT_DEFAULT);
  if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX)
    throw usage("mail list", `--limit takes a whole number, 1 to ${LIMIT_MAX}.`);
  const mails = await app.mails.list({ state: state as MailState | undefined, limit });
  if (io.isJson) return printJson(io, mails.map(presentMail));
  printTable(
    io,
    ["ID", "KIND", "TO", "STATE", "TRIES", "QUEUED", "ERROR"],
    mails.map((mail) => [mail.id, mail.template, mail.to, mail.state, mail.attempts, mail.createdAt, mail.error]),
  );
}

async function retryMails(app: App, given: Given, io: CommandIo): Promise<void> {
  const [id = ""] = given.positionals;
  const retried = await app.mails.retry(id === "all" ? undefined : id, BY);
  if (io.isJson) printJson(io, { retried });
  else io.out(`${retried.length === 1 ? "1 mail is" : `${retried.length} mails are`} queued again.${more(retried)}\n`);
}

function more(retried: readonly string[]): string {
  return retried.length < RETRIED_MAX ? "" : " There may be more: once these are sent, run it again.";
}
