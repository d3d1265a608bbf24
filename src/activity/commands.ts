/** Command: `signet activity`: how many tokens, sign-ins and failures there were, by the hour or by the day. */
import { type CommandGroup, printJson, printTable, textOf, usage } from "../commands.ts";
import { ACTIVITIES, type Activity, PERIODS, presentSeries } from "./activity.ts";

interface App {
  readonly activity: Activity;
}

export const activityCommands: CommandGroup<App> = {
  noun: "activity",
  summary: "tokens, sign-ins and failures, by the hour or by the day",
  verbs: [
    {
      verb: "show",
      summary:
        "counts of the last 24 hours or 30 days, of one client or of all; the last ten seconds are still to come",
      flags: {
        client: { type: "string", value: "CLIENT-ID", summary: "of this client alone" },
        period: { type: "string", value: "PERIOD", summary: `one of: ${PERIODS.join(", ")} (24h)` },
      },
      async run({ activity }, given, io) {
        const wanted = textOf(given, "period") ?? "24h";
        const period = PERIODS.find((known) => known === wanted);
        if (period === undefined) throw usage("activity show", `--period takes one of: ${PERIODS.join(", ")}.`);
        const series = await activity.series({ clientId: textOf(given, "client"), period });
        if (io.isJson) return printJson(io, presentSeries(series));
        const rows = series.steps.map((from, index) => [from, ...ACTIVITIES.map((kind) => series.counts[kind][index])]);
        const totals = ["all", ...ACTIVITIES.map((kind) => series.totals[kind])];
        printTable(io, ["from (UTC)", ...ACTIVITIES], [...rows, totals]);
      },
    },
  ],
};
