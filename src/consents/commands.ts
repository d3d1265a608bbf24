/** Commands: `signet consent`: what a user allowed apps, and taking it back. */
import { BY, type CommandGroup, type People, personOf, printDone, printJson, printTable } from "../commands.ts";
import { type Consents, presentConsent, withdrawKnown } from "./consent.ts";

interface App {
  readonly users: People;
  readonly consents: Consents;
  revokeApp(userId: string, clientId: string, by: typeof BY): Promise<number>;
}

export const consentCommands: CommandGroup<App> = {
  noun: "consent",
  summary: "what users allowed apps",
  verbs: [
    {
      verb: "list",
      summary: "lists what a user allowed apps, the newest first",
      positionals: ["id-or-email"],
      flags: {},
      async run(app, given, io) {
        const listed = (await app.consents.listOf((await personOf(app, given)).id)).map(presentConsent);
        if (io.isJson) return printJson(io, listed);
        const rows = listed.map((one) => [one.client_id, one.resource, one.granted.join(" "), one.refused.join(" ")]);
        printTable(io, ["client", "API", "granted", "refused"], rows);
      },
    },
    {
      verb: "withdraw",
      summary: "takes back what a user allowed an app, and ends what the app has",
      positionals: ["id-or-email", "client-id"],
      flags: {},
      async run(app, given, io) {
        const person = await personOf(app, given);
        const clientId = given.positionals[1] ?? "";
        await withdrawKnown(app, { userId: person.id, clientId }, BY);
        printDone(
          io,
          { withdrawn: clientId, user: person.id },
          `${clientId} has no access to ${person.email} any more.`,
        );
      },
    },
  ],
};
