/**
 * No answer tells who exists, by time or by bytes: sign-in, recovery and sign-up with known and unknown addresses, interleaved, each from an
 * address of its own with every limit on. A third series of unknown addresses says how far two runs of the same kind lie apart on this
 * machine. TIMING_COUNT changes how many there are of each.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { beginJourney, type Journey, PASSWORD } from "../flows/journey.ts";
import { startMailServer } from "../flows/mailbox.ts";
import { type Answer, type Client, engines } from "../support.ts";

const COUNT = Number(process.env["TIMING_COUNT"] ?? "200");
const APART_MS_MAX = 3;
/** The first ones pay for what is compiled and connected once. */
const WARM = 10;
const SERIES = ["known", "unknown", "unknown again"] as const;
type Kind = (typeof SERIES)[number];

interface Browser {
  readonly client: Client;
  readonly headers: Record<string, string>;
}

interface Way {
  readonly name: string;
  /** The page with the form, and what a browser sends from it. */
  readonly page: (browser: Browser) => Promise<Answer>;
  readonly fields: (email: string) => Record<string, string>;
  readonly match: string;
}

let lastAddress = 0;
function browserOf(journey: Journey): Browser {
  lastAddress += 1;
  const [high, middle, low] = [(lastAddress >> 16) & 255, (lastAddress >> 8) & 255, lastAddress & 255];
  return { client: journey.client(), headers: { "x-forwarded-for": `10.${high}.${middle}.${low}` } };
}

async function walk({ client, headers }: Browser, answer: Answer): Promise<Answer> {
  let at = answer;
  while (at.location?.startsWith(new URL(at.url).origin) === true) at = await client.get(at.location, headers);
  return at;
}

/** What may differ: the form's token, the interaction's uid, the request's id, and what was typed. */
function masked(answer: Answer, email: string): string {
  const names = Object.keys(answer.headers).sort().join();
  const cookies = [answer.headers["set-cookie"] ?? []].flat().map((cookie) => cookie.split("=")[0]);
  const text = answer.text
    .replaceAll(email, "EMAIL")
    .replace(/name="csrf" value="[^"]+"/g, "CSRF")
    .replace(/\/interaction\/[\w-]+/g, "UID")
    .replace(/from=[\w-]+/g, "UID")
    .replace(/>[\w-]{8,}<\/code>/g, "ID");
  const target = (answer.location ?? "").replace(/\/interaction\/[\w-]+/g, "UID");
  return [answer.status, names, cookies.join(), target, text].join("\n");
}

function median(times: readonly number[]): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

async function attempt(journey: Journey, way: Way, email: string): Promise<{ ms: number; seen: readonly string[] }> {
  const browser = browserOf(journey);
  const page = await way.page(browser);
  const { client, headers } = browser;
  const began = performance.now();
  const sent = await client.submit(page, way.fields(email), { headers, match: way.match });
  const ms = performance.now() - began;
  return { ms, seen: [masked(sent, email), masked(await walk(browser, sent), email)] };
}

for (const { engine, skip } of await engines()) {
  const ways = (journey: Journey): readonly Way[] => [
    {
      name: "T-ENUM-1, T-ENUM-2: sign-in",
      page: async (browser) =>
        walk(browser, await browser.client.get(`${journey.issuer}/account/sign-in`, browser.headers)),
      fields: (email) => ({ email, password: "not the right password" }),
      match: 'name="password"',
    },
    {
      name: "T-ENUM-4: recovery",
      page: (browser) => browser.client.get(`${journey.issuer}/recover`, browser.headers),
      fields: (email) => ({ email }),
      match: 'name="email"',
    },
    {
      name: "T-ENUM-3: sign-up",
      page: async (browser) => walk(browser, await browser.client.get(`${journey.issuer}/signup`, browser.headers)),
      fields: (email) => ({ email, password: "seven quiet harbours wait" }),
      match: 'name="password"',
    },
  ];

  test(`sign-in, recovery and sign-up tell nobody who exists: ${COUNT} of each kind (${engine})`, {
    skip,
  }, async () => {
    const mail = await startMailServer();
    const journey = await beginJourney(engine, { TRUST_PROXY: "1", LOG_LEVEL: "warn", SMTP_URL: mail.url });
    const [known] = await journey.service.db.query<{ hash: string }>(
      "select password_hash as hash from users where id = $1",
      [journey.userId],
    );
    const by = { kind: "system", id: "test" } as const;
    // All known people have one hash: making two hundred would only heat the machine.
    const people = Array.from({ length: COUNT + WARM }, (_, index) => `known-${index}@timing.example`);
    for (const email of people)
      await journey.service.users.create({ email, passwordHash: known?.hash ?? "", isEmailVerified: true }, by);
    assert.ok("user" in (await journey.service.users.authenticate({ email: people[0] ?? "", password: PASSWORD })));
    for (const way of ways(journey)) {
      const times: Record<Kind, number[]> = { known: [], unknown: [], "unknown again": [] };
      const seen: Record<Kind, Set<string>> = { known: new Set(), unknown: new Set(), "unknown again": new Set() };
      for (let round = 0; round < COUNT + WARM; round += 1) {
        // Each kind is first, second and third as often as the others.
        for (let place = 0; place < SERIES.length; place += 1) {
          const kind = SERIES[(round + place) % SERIES.length] ?? "known";
          const name = kind === "unknown again" ? "other" : kind;
          const email = kind === "known" ? (people[round] ?? "") : `${name}-${round}@timing.example`;
          const { ms, seen: answers } = await attempt(journey, way, email);
          if (round >= WARM) times[kind].push(ms);
          seen[kind].add(answers.join("\n"));
        }
      }
      const [a, b, c] = SERIES.map((kind) => median(times[kind]));
      const apart = Math.abs((a ?? 0) - (b ?? 0));
      const noise = Math.abs((b ?? 0) - (c ?? 0));
      console.log(
        `timing (${engine}) ${way.name}: medians known ${a?.toFixed(2)} ms, unknown ${b?.toFixed(2)} ms, unknown again ${c?.toFixed(2)} ms; apart ${apart.toFixed(2)} ms, two of a kind ${noise.toFixed(2)} ms`,
      );
      for (const kind of SERIES) assert.equal(seen[kind].size, 1, `${way.name}: ${kind} has one answer`);
      assert.deepEqual([...seen.known], [...seen.unknown], `${way.name}: the same answer once masked`);
      assert.ok(apart <= Math.max(APART_MS_MAX, noise), `${way.name}: ${apart} ms apart, two of a kind ${noise} ms`);
    }
  });

  test(`T-ENUM-7: a wrong secret takes as long as an id of no client: ${COUNT} of each kind (${engine})`, {
    skip,
  }, async () => {
    const journey = await beginJourney(engine, { TRUST_PROXY: "1", LOG_LEVEL: "warn" });
    const ids: Record<Kind, string> = { known: journey.machine.id, unknown: "cl_nobody", "unknown again": "cl_no_one" };
    const times: Record<Kind, number[]> = { known: [], unknown: [], "unknown again": [] };
    const seen = new Set<string>();
    for (let round = 0; round < COUNT + WARM; round += 1) {
      for (let place = 0; place < SERIES.length; place += 1) {
        const kind = SERIES[(round + place) % SERIES.length] ?? "known";
        const { client, headers } = browserOf(journey);
        // As long as a secret of ours, so that no shape tells them apart.
        const secret = (journey.machine.secret ?? "").replace(/.$/, (last) => (last === "A" ? "B" : "A"));
        const authorization = `Basic ${Buffer.from(`${ids[kind]}:${secret}`).toString("base64")}`;
        const began = performance.now();
        const answer = await client.post("/token", { grant_type: "client_credentials" }, { ...headers, authorization });
        if (round >= WARM) times[kind].push(performance.now() - began);
        seen.add(masked(answer, ids[kind]));
      }
    }
    const [a, b, c] = SERIES.map((kind) => median(times[kind]));
    const [apart, noise] = [Math.abs((a ?? 0) - (b ?? 0)), Math.abs((b ?? 0) - (c ?? 0))];
    console.log(
      `timing (${engine}) T-ENUM-7: token endpoint: medians known ${a?.toFixed(2)} ms, unknown ${b?.toFixed(2)} ms, unknown again ${c?.toFixed(2)} ms; apart ${apart.toFixed(2)} ms, two of a kind ${noise.toFixed(2)} ms`,
    );
    assert.equal(seen.size, 1, [...seen].join("\n\n"));
    assert.match([...seen][0] ?? "", /^401\n/);
    assert.ok(apart <= Math.max(APART_MS_MAX, noise), `${apart} ms apart, two of a kind ${noise} ms`);
  });
}
