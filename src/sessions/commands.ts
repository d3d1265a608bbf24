/** Commands: `signet session` and `signet grant`: where a user is signed in, which apps go on without them, and ending one of either. */
import { BY, type CommandGroup, type People, personOf, printDone, printJson, printTable } from "../commands.ts";
import { AppError } from "../errors.ts";
import { presentGrant, presentSession, type Sessions } from "./session.ts";

interface App {
  readonly users: People;
  readonly sessions: Sessions;
}

export const sessionCommands: CommandGroup<App> = {
  noun: "session",
  summary: "where users are signed in; all of a user at once: signet user end-sessions",
  verbs: [
    {
      verb: "list",
      summary: "lists where a user is signed in, the last seen first; at most 200",
      positionals: ["id-or-email"],
      flags: {},
      async run(app, given, io) {
        const listed = (await app.sessions.list({ userId: (await personOf(app, given)).id })).map(presentSession);
        if (io.isJson) return printJson(io, listed);
        const rows = listed.map((one) => [one.id, one.signed_in_at, one.seen_at, one.network, one.user_agent]);
        printTable(io, ["id", "signed in", "last seen", "network", "browser"], rows);
      },
    },
    {
      verb: "end",
      summary: "ends one session, and the apps that end with it",
      positionals: ["id-or-email", "session-id"],
      flags: {},
      async run(app, given, io) {
        const person = await personOf(app, given);
        const id = given.positionals[1] ?? "";
        if (!(await app.sessions.end(person.id, id, BY))) throw new AppError("session_unknown");
        printDone(io, { ended: id, user: person.id }, `${person.email} is signed out there.`);
      },
    },
  ],
};

export const grantCommands: CommandGroup<App> = {
  noun: "grant",
  summary: "the sign-ins at apps that go on without the user; all of an app: signet user revoke-app",
  verbs: [
    {
      verb: "list",
      summary: "lists a user's sign-ins at apps that go on without them; at most 200",
      positionals: ["id-or-email"],
      flags: {},
      async run(app, given, io) {
        const listed = (await app.sessions.listGrants({ userId: (await personOf(app, given)).id })).map(presentGrant);
        if (io.isJson) return printJson(io, listed);
        const scopesOf = (one: (typeof listed)[number]) => one.scopes.flatMap(({ scopes }) => scopes);
        printTable(
          io,
          ["id", "client", "signed in", "scopes"],
          listed.map((one) => [one.id, one.client_id, one.signed_in_at, scopesOf(one).join(" ")]),
        );
      },
    },
    {
      verb: "end",
      summary: "ends one sign-in at an app: its tokens are no longer good",
      positionals: ["id-or-email", "grant-id"],
      flags: {},
      async run(app, given, io) {
        const person = await personOf(app, given);
        const id = given.positionals[1] ?? "";
        if (!(await app.sessions.endGrant(person.id, id, BY))) throw new AppError("grant_unknown");
        printDone(io, { ended: id, user: person.id }, `The app has no access to ${person.email} by it any more.`);
      },
    },
  ],
};
