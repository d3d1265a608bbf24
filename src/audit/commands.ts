/** Commands: `signet audit …`: who did what, whether the trail is whole, and the trail as JSON lines. */
import { open } from "node:fs/promises";
import {
  type CommandGroup,
  type CommandIo,
  type Flags,
  type Given,
  numberOf,
  printFields,
  printJson,
  printTable,
  textOf,
  usage,
  type Verb,
} from "../commands.ts";
import { AppError } from "../errors.ts";
import { CHECKPOINT_TEXT } from "./chain.ts";
import { PAGE_MAX, presentEntry, presentVerification, type Trail, type TrailFilter } from "./trail.ts";

export interface AuditCommandApp {
  readonly trail: Trail;
}

const LIMIT_DEFAULT = 50;
/** So many checkpoints of a log are held against the trail: those of seven months in which the sealer never rests. */
const KNOWN_MAX = 10_000_000;

const FILTERS: Flags = {
  from: { type: "string", value: "TIME", summary: "from this moment on: 2026-11-24 or 2026-11-24T10:30:00Z" },
  to: { type: "string", value: "TIME", summary: "up to this moment" },
  actor: { type: "string", value: "ID", summary: "who did it: an id, or user, client, command, system, anonymous" },
  subject: { type: "string", value: "ID", summary: "to whom or what it was done" },
  action: { type: "string", value: "NAME", summary: "what was done: client.updated, or client. for all of that kind" },
  "request-id": { type: "string", value: "ID", summary: "the id of the request, as on error pages" },
};

const list: Verb<AuditCommandApp> = {
  verb: "list",
  summary: "lists what was done, the newest first",
  flags: {
    ...FILTERS,
    limit: { type: "string", value: "NUMBER", summary: `at most so many, up to ${PAGE_MAX} (${LIMIT_DEFAULT})` },
    after: { type: "string", value: "EVENT-ID", summary: "goes on after this one" },
  },
  async run({ trail }, given, io) {
    const limit = numberOf("audit list", given, "limit") ?? LIMIT_DEFAULT;
    if (limit < 1 || limit > PAGE_MAX) throw usage("audit list", `--limit lies between 1 and ${PAGE_MAX}.`);
    const after = textOf(given, "after");
    if (after !== undefined && !/^\d{1,18}$/.test(after)) throw usage("audit list", "--after is the id of an event.");
    const found = await trail.list(filterOf("audit list", given), { limit, after });
    if (io.isJson) return printJson(io, found.map(presentEntry));
    printTable(
      io,
      ["id", "at", "action", "actor", "subject", "from", "request"],
      found.map(({ id, at, name, actor, subject }) => [
        id,
        at,
        name,
        actor.id === undefined ? actor.kind : `${actor.kind} ${actor.id}`,
        subject === undefined ? "" : `${subject.kind} ${subject.id}`,
        actor.address,
        actor.requestId,
      ]),
    );
  },
};

const verify: Verb<AuditCommandApp> = {
  verb: "verify",
  summary: "reads the whole trail and says whether an event was altered, removed or cut off; exit code 1 if so",
  flags: {
    against: {
      type: "string",
      value: "FILE",
      summary: 'a log or an export ("-": standard input, up to a megabyte): every checkpoint in it must still be there',
    },
  },
  async run({ trail }, given, io) {
    const file = textOf(given, "against");
    const known = file === undefined ? [] : await readCheckpoints(file, io);
    const found = await trail.verify(known);
    if (io.isJson) printJson(io, { ...presentVerification(found), held_against: known.length });
    else {
      printFields(io, {
        events: found.events,
        batches: found.batches,
        "removed by retention": found.removedBatches,
        "not sealed yet": found.unsealed,
        checkpoint: found.checkpoint,
        "held against": file === undefined ? undefined : `${known.length} checkpoints`,
      });
      for (const { words } of found.faults) io.out(`FAULT  ${words}\n`);
    }
    const { faultCount } = found;
    if (faultCount > 0)
      throw new AppError("audit_broken", `${faultCount} ${faultCount === 1 ? "fault" : "faults"} found.`);
    if (!io.isJson) io.out("The trail is whole.\n");
  },
};

const exportLines: Verb<AuditCommandApp> = {
  verb: "export",
  summary:
    "writes the trail as JSON lines, the oldest first; without --actor, --subject and the like, its checkpoints follow",
  flags: FILTERS,
  async run({ trail }, given, io) {
    for await (const line of trail.export(filterOf("audit export", given))) io.out(`${JSON.stringify(line)}\n`);
  },
};

export const auditCommands: CommandGroup<AuditCommandApp> = {
  noun: "audit",
  summary: "who did what, and whether the record of it is whole",
  verbs: [list, verify, exportLines],
};

function filterOf(place: string, given: Given): TrailFilter {
  return {
    from: momentOf(place, given, "from"),
    to: momentOf(place, given, "to"),
    actor: textOf(given, "actor"),
    subject: textOf(given, "subject"),
    action: textOf(given, "action"),
    requestId: textOf(given, "request-id"),
  };
}

/** RFC 3339, or a day, which begins at midnight UTC. */
function momentOf(place: string, given: Given, name: string): Date | undefined {
  const text = textOf(given, name);
  if (text === undefined) return undefined;
  const isMoment = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text);
  const moment = new Date(text);
  if (!isMoment || Number.isNaN(moment.getTime()))
    throw usage(place, `--${name} is a day such as 2026-11-24 or a moment such as 2026-11-24T10:30:00Z.`);
  return moment;
}

async function readCheckpoints(file: string, io: CommandIo): Promise<readonly string[]> {
  const found = new Set<string>();
  const take = (line: string): void => {
    for (const [text] of line.matchAll(CHECKPOINT_TEXT)) if (found.size < KNOWN_MAX) found.add(text);
  };
  if (file === "-") {
    take(await io.readStdin());
    return [...found];
  }
  try {
    const handle = await open(file, "r");
    for await (const line of handle.readLines()) take(line);
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : "unknown reason";
    throw usage("audit verify", `--against: the file cannot be read (${reason}).`);
  }
  return [...found];
}
