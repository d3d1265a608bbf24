/** Verbs of `signet user` about what people do themselves otherwise: invite, reset a password, end sessions, revoke an app, delete. */
import { BY, type People, personOf, printDone, textOf, usage, type Verb } from "../commands.ts";
import { AppError } from "../errors.ts";

type By = typeof BY;

/** The parts of the app that these verbs use. */
export interface PeopleApp {
  readonly users: People;
  readonly signUps: { invite(email: string, language: string, by: By): Promise<void> };
  readonly recoveries: { force(userId: string, by: By): Promise<unknown> };
  readonly sessions: { endAll(of: { readonly userId: string }, by: By): Promise<void> };
  readonly deletions: { delete(userId: string, by: By): Promise<void> };
  revokeApp(userId: string, clientId: string, by: By): Promise<number>;
  readonly config: {
    readonly signUp: "on" | "off" | "invitation";
    readonly smtpUrl: string | undefined;
    readonly isProduction: boolean;
  };
}

export const peopleVerbs: readonly Verb<PeopleApp>[] = [
  {
    verb: "invite",
    summary: "send a link to an address that has no account; the person chooses the password",
    positionals: ["email"],
    flags: { language: { type: "string", value: "TAG", summary: "language of the mail; en unless given" } },
    async run(app, given, io) {
      checkMail(app);
      if (app.config.signUp === "off")
        throw new AppError("sign_up_closed", "Set SIGN_UP=invitation (or on), or use: signet user create");
      const [email = ""] = given.positionals;
      await app.signUps.invite(email, textOf(given, "language") ?? "en", BY);
      printDone(io, { invited: email }, `An invitation is on its way to ${email}; it holds for a week.`);
    },
  },
  {
    verb: "reset-password",
    summary: "end the password and every session, and send a link to set a new one",
    positionals: ["id-or-email"],
    flags: {},
    async run(app, given, io) {
      checkMail(app);
      const person = await personOf(app, given);
      await app.recoveries.force(person.id, BY);
      printDone(io, { reset: person.id }, `${person.email} gets a link; until it is used, no password is good.`);
    },
  },
  {
    verb: "end-sessions",
    summary: "sign a user out everywhere, apps that keep access included",
    positionals: ["id-or-email"],
    flags: {},
    async run(app, given, io) {
      const person = await personOf(app, given);
      await app.sessions.endAll({ userId: person.id }, BY);
      printDone(io, { ended: person.id }, `${person.email} is signed out everywhere.`);
    },
  },
  {
    verb: "revoke-app",
    summary: "take back what a user allowed an app, and end what the app has",
    positionals: ["id-or-email", "client-id"],
    flags: {},
    async run(app, given, io) {
      const person = await personOf(app, given);
      const clientId = given.positionals[1] ?? "";
      await app.revokeApp(person.id, clientId, BY);
      printDone(io, { revoked: clientId, user: person.id }, `${clientId} has no access to ${person.email} any more.`);
    },
  },
  {
    verb: "delete",
    summary: "delete a user for good, at once",
    positionals: ["id-or-email"],
    flags: { yes: { type: "boolean", summary: "nothing brings the user back; required" } },
    async run(app, given, io) {
      const person = await personOf(app, given);
      if (given.values["yes"] !== true)
        throw usage(
          "user delete",
          `Nothing brings ${person.email} back: add --yes. To stop a user for now: user disable.`,
        );
      await app.deletions.delete(person.id, BY);
      printDone(io, { deleted: person.id }, `${person.email} is deleted.`);
    },
  },
];

/** What cannot be sent must not be promised; in development the running server shows it. */
function checkMail({ config }: PeopleApp): void {
  if (config.isProduction && config.smtpUrl === undefined) throw new AppError("mail_off", "Set SMTP_URL.");
}
