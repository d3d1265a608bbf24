/** What races come to: the tally of their rounds, and the expectations that fill it. */
import { type Ground, type RaceClient, type Reply, refreshFields, volley } from "./racer.ts";

const PROBLEMS_KEPT = 10;

/** What the rounds of a kind came to. */
export interface Tally {
  requests: number;
  /** Successes beyond the one that may be, and tokens that work though they must not. */
  doubleSpends: number;
  /** Refusals of somebody who did nothing wrong. */
  falseLogouts: number;
  /** The most different successors that one refresh token got. */
  successorsMax: number;
  /** Everything that was not as it must be, in words; the first ones. */
  readonly problems: string[];
}

export interface Race {
  readonly name: string;
  readonly demand: string;
  /** Whether a store that looks first and writes then is found out by this race; where all answers are alike by design, it cannot be. */
  readonly catchesNaive: boolean;
  /** Takes away, beside the naive store, what the database itself holds against a second success. */
  spoil?(ground: Ground): Promise<void>;
  prepare(ground: Ground, parallel: number): Promise<(tally: Tally) => Promise<void>>;
}

export function newTally(): Tally {
  return { requests: 0, doubleSpends: 0, falseLogouts: 0, successorsMax: 0, problems: [] };
}

export async function fire(
  tally: Tally,
  ground: Ground,
  shots: Parameters<typeof volley>[1],
): Promise<readonly Reply[]> {
  tally.requests += shots.length;
  return volley(ground.issuer, shots);
}

/** One 200, and every other answer is the protocol's own refusal. */
export function expectOne(tally: Tally, replies: readonly Reply[], refusal: { status: number; error?: string }): void {
  const won = replies.filter(({ status }) => status === 200);
  if (won.length > 1) doubleSpend(tally, `${won.length} of ${replies.length} succeeded`, won.length - 1);
  if (won.length === 0) falseLogout(tally, `nobody succeeded: ${replies.map(told).join("; ")}`);
  for (const reply of replies) if (reply.status !== 200) expectRefused(tally, reply, refusal);
}

export function expectRefused(tally: Tally, reply: Reply, refusal: { status: number; error?: string }): void {
  const isRight = reply.status === refusal.status && (refusal.error ?? reply.json["error"]) === reply.json["error"];
  if (!isRight) problem(tally, `not refused with ${refusal.status} ${refusal.error ?? ""}: ${told(reply)}`);
}

export async function expectDead(
  tally: Tally,
  ground: Ground,
  client: RaceClient,
  tokens: Reply["json"],
): Promise<void> {
  const [refreshed, status] = await Promise.all([
    ground.post("/token", client, refreshFields(tokens["refresh_token"]), 1),
    ground.userinfo(String(tokens["access_token"])),
  ]);
  if (refreshed.status === 200) doubleSpend(tally, "a refresh token survived");
  else expectRefused(tally, refreshed, { status: 400, error: "invalid_grant" });
  if (status === 200) doubleSpend(tally, "an access token survived");
  else if (status !== 401) problem(tally, `userinfo answered ${status}`);
}

export async function expectAlive(
  tally: Tally,
  ground: Ground,
  client: RaceClient,
  tokens: Reply["json"],
): Promise<void> {
  const status = await ground.userinfo(String(tokens["access_token"]));
  if (status !== 200) falseLogout(tally, `userinfo answered ${status}`);
  const refreshed = await ground.post("/token", client, refreshFields(tokens["refresh_token"]), 1);
  if (refreshed.status !== 200) falseLogout(tally, `the refresh: ${told(refreshed)}`);
}

export function doubleSpend(tally: Tally, what: string, count = 1): void {
  tally.doubleSpends += count;
  problem(tally, `double spend: ${what}`);
}

export function falseLogout(tally: Tally, what: string): void {
  tally.falseLogouts += 1;
  problem(tally, `false logout: ${what}`);
}

export function problem(tally: Tally, what: string): void {
  if (tally.problems.length < PROBLEMS_KEPT) tally.problems.push(what);
}

export function told({ status, json, location }: Reply): string {
  return [status, json["error"], json["error_description"], location].filter((part) => part !== undefined).join(" ");
}

/** The entry of a list that is known to be long enough. */
export function at<T>(list: readonly T[], index: number): T {
  const value = list[index];
  if (value === undefined) throw new Error(`nothing at ${index}`);
  return value;
}
