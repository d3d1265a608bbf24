/** Nouns: everything that `signet <noun> <verb>` can be about, in one table. */
import { activityCommands } from "./activity/commands.ts";
import { apiCommands } from "./apis/commands.ts";
import type { App } from "./app.ts";
import { auditCommands } from "./audit/commands.ts";
import { clientCommands } from "./clients/commands.ts";
import type { CommandGroup } from "./commands.ts";
import { consentCommands } from "./consents/commands.ts";
import { failureCommands } from "./failures/commands.ts";
import { keyCommands } from "./keys/commands.ts";
import { mailCommands } from "./mail/commands.ts";
import { roleCommands } from "./roles/commands.ts";
import { grantCommands, sessionCommands } from "./sessions/commands.ts";
import { settingsCommands } from "./settings/commands.ts";
import { adminCommands } from "./setup/commands.ts";
import { peopleVerbs } from "./sign-ups/commands.ts";
import { userCommands } from "./users/commands.ts";

const people: CommandGroup<App> = { ...userCommands, verbs: [...userCommands.verbs, ...peopleVerbs] };
/** In the order of the help text. */
export const NOUNS: readonly CommandGroup<App>[] = [
  clientCommands,
  apiCommands,
  people,
  roleCommands,
  sessionCommands,
  grantCommands,
  consentCommands,
  keyCommands,
  mailCommands,
  auditCommands,
  failureCommands,
  activityCommands,
  settingsCommands,
  adminCommands,
];
