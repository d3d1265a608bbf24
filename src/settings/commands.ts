/** Command: `signet settings`: how this server is configured, without a secret. The environment is what changes it. */
import { type CommandGroup, printFields, printJson } from "../commands.ts";
import type { Config } from "../config.ts";
import { presentSettings } from "./setting.ts";

export const settingsCommands: CommandGroup<{ readonly config: Config }> = {
  noun: "settings",
  summary: "how this server is configured; the environment changes it (see the README)",
  verbs: [
    {
      verb: "show",
      summary: "prints the settings",
      flags: {},
      async run({ config }, _given, io) {
        const settings = presentSettings(config);
        if (io.isJson) printJson(io, settings);
        else printFields(io, settings);
      },
    },
  ],
};
