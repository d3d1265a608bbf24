/** The goals: what the ratios of a run have to stay below. */
import { median, type Row } from "./measure.ts";
import type { Compared, Goal, StoreRow } from "./report.ts";

const CLIENT_CREDENTIALS_MAX = 1.15;
const REFRESH_MAX = 1;
const REFRESH_TRIPS_MAX = 5;
const LOGIN_MAX = 1.15;
const DOCUMENT_MAX = 1.6;
const RSS_BYTES_MAX = 200 * 1024 * 1024;

export function goalsOf(run: {
  readonly compared: readonly Compared[];
  readonly controls: readonly Row[];
  readonly refreshRatios: readonly number[];
  readonly stores: readonly StoreRow[];
  readonly memory: readonly { readonly name: string; readonly mainBytes: number }[];
  readonly sessions: number;
}): readonly Goal[] {
  const ratio = (workload: string): number | undefined => {
    const found = run.compared.find(({ row }) => row.workload.startsWith(workload) && row.target.includes("Redis"));
    return found === undefined ? undefined : found.row.cpuMicros / found.controlMicros;
  };
  const goal = (name: string, bound: string, value: number | undefined, max: number, more = ""): Goal => ({
    name,
    bound,
    measured: value === undefined ? "-" : `${value.toFixed(2)}${more}`,
    isMet: value === undefined ? undefined : value <= max,
  });
  const runs = run.refreshRatios.map((value) => value.toFixed(2)).join(" ");
  const refreshed = run.refreshRatios.length === 0 ? undefined : median(run.refreshRatios);
  const trips = run.stores.find(({ workload, engine }) => workload.startsWith("refresh") && engine === "Redis");
  const multis = run.stores.filter(({ commands }) => (commands["multi"] ?? 0) > 0);
  const largest = Math.max(0, ...run.memory.map(({ mainBytes }) => mainBytes));
  return [
    goal(
      "P1 client credentials, ES256 JWT",
      "<= 1.15 x bare ES256 JWT",
      ratio("client credentials"),
      CLIENT_CREDENTIALS_MAX,
    ),
    goal("P2 refresh over Redis, RS256 ID token", "<= 1.0 x bare RS256, median", refreshed, REFRESH_MAX, ` (${runs})`),
    goal("P2 Redis round trips of a refresh", "<= 5", trips?.redisTrips, REFRESH_TRIPS_MAX + 0.05),
    {
      name: "no MULTI on a hot path",
      bound: "0",
      measured: run.stores.length === 0 ? "-" : String(multis.length),
      isMet: run.stores.length === 0 ? undefined : multis.length === 0,
    },
    goal("P3 full login with argon2id", "<= 1.15 x (one hash + bare login)", ratio("full login"), LOGIN_MAX),
    goal("P4 discovery", "<= 1.6 x static", ratio("discovery"), DOCUMENT_MAX),
    goal("P4 JWKS", "<= 1.6 x static", ratio("JWKS"), DOCUMENT_MAX),
    { name: "P5 bytes of a family", bound: "<= 400", measured: "test/long/family.ts", isMet: undefined },
    {
      name: `P6 peak RSS of a process, ${run.sessions} sessions`,
      bound: "<= 200 MiB",
      measured: `${Math.round(largest / 1024 / 1024)} MiB`,
      isMet: largest <= RSS_BYTES_MAX,
    },
  ];
}
