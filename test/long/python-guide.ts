/** The Python guide as it stands, run by a Python that has PyJWT: which tokens it takes, and what it answers to the others. PYTHON names the interpreter. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { basic } from "../flows/faults.ts";
import { API, beginJourney } from "../flows/journey.ts";
import { CHECKOUT } from "../ladder.ts";
import { atEnd } from "../support.ts";

const run = promisify(execFile);
const PYTHON = process.env["PYTHON"] ?? "python3";
/** The guide says so: older ones have neither a timeout nor an error of their own for keys that cannot be read. */
const NEEDED = "import jwt, cryptography; assert tuple(map(int, jwt.__version__.split('.')[:2])) >= (2, 8)";
const isFound = await run(PYTHON, ["-c", NEEDED]).then(
  () => true,
  () => false,
);

/** Asks the guide's function about each header in turn, and prints what it answered. */
const ASK = `
import sys
answers = []
for header, scope in json.load(sys.stdin):
    try:
        answers.append({"subject": authorize(header, scope)["sub"]})
    except Refused as refused:
        answers.append({"status": refused.status, "challenge": refused.challenge})
print(json.dumps(answers))
`;

test("the Python of the guide takes the API's tokens and refuses the others", {
  skip: isFound ? false : `no PyJWT 2.8 with cryptography at ${PYTHON}`,
}, async () => {
  const journey = await beginJourney("postgres");
  const { machine, issuer } = journey;
  const guide = await readFile(join(CHECKOUT, "guides", "python-api.md"), "utf8");
  const program = /^```python\n([\s\S]*?)^```/m.exec(guide)?.[1];
  assert.ok(program !== undefined, "the guide has a program");
  const folder = await mkdtemp(join(tmpdir(), "signet-python-"));
  atEnd(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "api.py");
  await writeFile(file, program + ASK);
  const answer = await journey
    .client()
    .post("/token", { grant_type: "client_credentials", scope: "read:things" }, basic(machine));
  const good = String(answer.json()["access_token"]);
  const [head = "", body = "", signature = ""] = good.split(".");
  const none = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString("base64url");
  const stranger = Buffer.from('{"alg":"ES256","typ":"at+jwt","kid":"none"}').toString("base64url");
  const invalid = { status: 401, challenge: 'Bearer error="invalid_token"' };
  // In the middle: the last letters may already be those that would be put there.
  const altered = signature.replace(/^(.{3})(.)/, (_, start, one) => `${start}${one === "A" ? "B" : "A"}`);
  const rows: readonly (readonly [header: string | null, scope: string, answer: object])[] = [
    [`Bearer ${good}`, "read:things", { subject: machine.id }],
    [`bearer ${good}`, "read:things", { subject: machine.id }],
    [
      `Bearer ${good}`,
      "write:things",
      { status: 403, challenge: 'Bearer error="insufficient_scope", scope="write:things"' },
    ],
    [null, "read:things", { status: 401, challenge: "Bearer" }],
    ["Basic abc", "read:things", { status: 401, challenge: "Bearer" }],
    ["Bearer abc", "read:things", invalid],
    [`Bearer ${none}.${body}.`, "read:things", invalid],
    [`Bearer ${stranger}.${body}.${signature}`, "read:things", invalid],
    [`Bearer ${head}.${body}.${altered}`, "read:things", invalid],
    [`Bearer ${head}.${body}`, "read:things", invalid],
    [`Bearer ${"a".repeat(20_000)}`, "read:things", invalid],
  ];
  const ask = async (audience: string): Promise<unknown> => {
    const child = run(PYTHON, [file], {
      env: { ...process.env, ISSUER: issuer, AUDIENCE: audience },
      timeout: 60_000,
    });
    child.child.stdin?.end(JSON.stringify(rows.map(([header, scope]) => [header, scope])));
    return JSON.parse((await child).stdout);
  };
  assert.deepEqual(
    await ask(API),
    rows.map(([, , expected]) => expected),
  );
  const others = (await ask("https://api.example/another")) as readonly unknown[];
  assert.deepEqual(others[0], invalid, "a token of another API");
  console.log(`python: ${rows.length} headers answered as the guide says`);
});
