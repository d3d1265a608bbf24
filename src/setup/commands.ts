/** `signet admin`: the way back in for whoever is on the host, when no owner can sign in any more. */
import { BY, type CommandGroup, type CommandIo, type Given, printJson } from "../commands.ts";
import { AppError } from "../errors.ts";

interface Person {
  readonly id: string;
  readonly email: string;
}

/** The parts of the app that the verb uses. */
interface AdminApp {
  readonly users: {
    find(id: string): Promise<Person | undefined>;
    findByEmail(email: string): Promise<Person | undefined>;
  };
  readonly recoveries: {
    makeOwnerLink(userId: string, by: typeof BY): Promise<{ readonly user: Person; readonly link: string }>;
  };
}

export const adminCommands: CommandGroup<AdminApp> = {
  noun: "admin",
  summary: "the way back in when no owner can sign in",
  verbs: [
    {
      verb: "recover",
      summary:
        "make a user an owner who can sign in, and print a link that sets a new password, once, within 30 minutes",
      positionals: ["id-or-email"],
      flags: {},
      run: recover,
    },
  ],
};

async function recover(app: AdminApp, given: Given, io: CommandIo): Promise<void> {
  const [idOrEmail = ""] = given.positionals;
  const found = (await app.users.find(idOrEmail)) ?? (await app.users.findByEmail(idOrEmail));
  if (found === undefined)
    throw new AppError("user_unknown", "To make the first one: signet user create --owner --email ADDRESS");
  const { user, link } = await app.recoveries.makeOwnerLink(found.id, BY);
  if (io.isJson) return printJson(io, { id: user.id, email: user.email, link });
  io.out(
    `${user.email} is an owner. Open this link within 30 minutes to set a new password; it works once:\n${link}\n`,
  );
}
