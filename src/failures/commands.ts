/** Commands: `signet failure …`: why requests of apps were refused in the last days, and what mends it. */
import {
  type CommandGroup,
  type CommandIo,
  numberOf,
  printFields,
  printJson,
  printTable,
  textOf,
  usage,
} from "../commands.ts";
import { AppError } from "../errors.ts";
import { FAILURE_DAYS, type Failures, PAGE_MAX, presentFailure } from "./failure.ts";

interface App {
  readonly failures: Failures;
}

const LIMIT_DEFAULT = 20;

export const failureCommands: CommandGroup<App> = {
  noun: "failure",
  summary: `why requests of apps were refused in the last ${FAILURE_DAYS} days, and what mends it`,
  verbs: [
    {
      verb: "list",
      summary: "the newest refusals with their causes; under a flood they are sampled",
      flags: {
        client: {
          type: "string",
          value: "CLIENT-ID",
          summary: 'of this client; "" for requests that named none that exists',
        },
        limit: { type: "string", value: "NUMBER", summary: `at most so many, up to ${PAGE_MAX} (${LIMIT_DEFAULT})` },
      },
      async run({ failures }, given, io) {
        const limit = numberOf("failure list", given, "limit") ?? LIMIT_DEFAULT;
        if (limit < 1 || limit > PAGE_MAX) throw usage("failure list", `--limit lies between 1 and ${PAGE_MAX}.`);
        const found = await failures.list({ clientId: textOf(given, "client"), limit });
        if (io.isJson) return printJson(io, found.map(presentFailure));
        printTable(
          io,
          ["id", "at", "client", "error", "why"],
          found.map(({ id, at, clientId, error, why }) => [id, at, clientId, error, why]),
        );
      },
    },
    {
      verb: "get",
      summary: "one refusal by the id on the error page or in the header X-Request-Id: its cause and its mend",
      positionals: ["id"],
      flags: {},
      run: ({ failures }, given, io) => show(failures, given.positionals[0] ?? "", io),
    },
  ],
};

async function show(failures: Failures, id: string, io: CommandIo): Promise<void> {
  const found = await failures.find(id);
  if (found === undefined)
    throw new AppError(
      "failure_unknown",
      `Refusals are kept for ${FAILURE_DAYS} days, and under a flood only some of them; the log has a line for each.`,
    );
  if (io.isJson) return printJson(io, presentFailure(found));
  const { at, clientId, route, error, description, why, mend } = found;
  printFields(io, { at, client: clientId === "" ? undefined : clientId, endpoint: route, error, description });
  io.out(`\nwhy   ${why}\nmend  ${mend}\n`);
}
