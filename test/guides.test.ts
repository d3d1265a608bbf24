/** The guides are run: each command in a shell, each program as it stands, the page in a browser. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { beginJourney, EMAIL, PASSWORD } from "./flows/journey.ts";
import { CHECKOUT, nodeArgs } from "./ladder.ts";
import { atEnd, chromium, cookieJarClient, eventually, freePort, withoutChromium } from "./support.ts";

const journey = beginJourney("postgres");
const folder = mkdtemp(join(tmpdir(), "signet-guides-"));
atEnd(async () => rm(await folder, { recursive: true, force: true }));

test("the commands of every guide do what they say", async () => {
  const { env } = await journey;
  const secrets = { OWNER_PASSWORD: "olga's own long sentence", PERSON_PASSWORD: "maya's own long sentence" };
  let count = 0;
  for (const guide of ["web-app", "single-page-app", "services-and-apis", "administration", "keys", "rest-api"]) {
    for (const line of (await blocks(guide, "sh")).flatMap((block) => block.text.split("\n"))) {
      if (!line.includes("npm run -s signet --")) continue;
      // What the npm script of that name runs, without npm's own second each time.
      const command = line.replace("npm run -s signet --", ["node", ...nodeArgs("src/main.ts")].join(" "));
      const { stdout } = await promisify(execFile)("sh", ["-c", command], {
        cwd: CHECKOUT,
        env: { ...process.env, ...env, ...secrets },
      });
      if (line.includes("--json")) assert.equal(typeof JSON.parse(stdout), "object", line);
      count += 1;
    }
  }
  assert.ok(count >= 14, `${count} commands`);
});

test("the web app of the guide signs a person in", async () => {
  const { issuer, register } = await journey;
  const port = await freePort();
  const home = `http://localhost:${port}/`;
  const app = await register({ client_type: "web", client_name: "Harbor Notes", redirect_uris: [`${home}callback`] });
  const file = await program("web-app", "app.mjs");
  run(file, { ISSUER: issuer, CLIENT_ID: app.id, CLIENT_SECRET: app.secret ?? "", PORT: String(port) });
  await eventually(async () => (await fetch(home)).ok, 20_000);
  const start = await fetch(`${home}login`, { redirect: "manual" });
  const browser = cookieJarClient(issuer);
  let page = await browser.follow(await browser.get(start.headers.get("location") ?? ""));
  page = await browser.follow(
    await browser.submit(page, { email: EMAIL, password: PASSWORD }, { match: 'name="password"' }),
  );
  page = await browser.follow(await browser.submit(page, { decision: "allow" }, { match: 'value="allow"' }));
  const answer = await fetch(page.location ?? "");
  assert.equal(await answer.text(), `Hello Maya Lindqvist, we know you as ${EMAIL}.`);
  assert.match(await (await fetch(page.location ?? "")).text(), /not begun here/);
});

test("the service of the guide calls the API of the guide, and nobody else does", async () => {
  const { issuer, service, register, machine, party } = await journey;
  const audience = "https://api.example.com/guide";
  const scopes = [{ scope: "read:things", description: "See your things" }];
  await service.apis.create({ identifier: audience, name: "Guide", scopes }, { kind: "system", id: "test" });
  const client = await register({
    client_type: "service",
    client_name: "Sync",
    apis: [{ identifier: audience, scopes: ["read:things"], default: true }],
  });
  const port = await freePort();
  const url = `http://localhost:${port}/`;
  run(await program("services-and-apis", "api.mjs"), { ISSUER: issuer, AUDIENCE: audience, PORT: String(port) });
  await eventually(async () => (await fetch(url)).status === 401, 20_000);
  const sync = run(await program("services-and-apis", "service.mjs"), {
    ISSUER: issuer,
    CLIENT_ID: client.id,
    CLIENT_SECRET: client.secret ?? "",
    API_URL: url,
  });
  assert.equal(await sync.ended, 0, sync.output());
  assert.match(sync.output(), /^200 /);
  assert.ok(sync.output().includes(client.id));
  const openid = await import("openid-client");
  const foreign = await openid.clientCredentialsGrant(await party(machine));
  const refused = await fetch(url, { headers: { Authorization: `Bearer ${foreign.access_token}` } });
  assert.equal(refused.status, 401);
  assert.match(refused.headers.get("www-authenticate") ?? "", /invalid_token/);
});

test("the program of the guide lists every client through the REST API, with no more than its role", async () => {
  const { issuer, service, register } = await journey;
  const apis = [{ identifier: "urn:signet:admin", scopes: ["clients:read"], default: true }];
  const client = await register({ client_type: "service", client_name: "Reports of the guide", apis });
  const file = await program("rest-api", "admin.mjs");
  const env = { ISSUER: issuer, CLIENT_ID: client.id, CLIENT_SECRET: client.secret ?? "" };
  assert.notEqual(await run(file, env).ended, 0, "without a role it may nothing");
  await service.roles.grant({ kind: "client", id: client.id }, "auditor", { kind: "system", id: "test" });
  const allowed = run(file, env);
  assert.equal(await allowed.ended, 0, allowed.output());
  assert.ok(allowed.output().includes(`${client.id} Reports of the guide`), allowed.output());
});

test("the single-page app of the guide signs in, and is still signed in after a reload", {
  skip: await withoutChromium(),
}, async () => {
  const { issuer, register } = await journey;
  const port = await freePort();
  const origin = `http://localhost:${port}`;
  const spa = await register({ client_type: "spa", client_name: "Harbor Board", redirect_uris: [`${origin}/`] });
  const [source] = await blocks("single-page-app", "html");
  const html = (source?.text ?? "")
    .replace('"ISSUER"', JSON.stringify(issuer))
    .replace('"CLIENT_ID"', JSON.stringify(spa.id));
  const server = createServer(
    (_request, response) => void response.writeHead(200, { "Content-Type": "text/html" }).end(html),
  );
  server.listen(port, "localhost");
  atEnd(async () => server.close());
  const context = await (await chromium()).newContext();
  const page = await context.newPage();
  await page.goto(origin);
  await page.getByText("Nobody is signed in.").waitFor();
  await page.click("#in");
  await page.fill('[name="email"]', EMAIL);
  await page.fill('[name="password"]', PASSWORD);
  await page.click('form[action$="/login"] button');
  await page.click('button[value="allow"]');
  await page.getByText("Hello Maya Lindqvist").waitFor();
  await page.reload();
  await page.getByText("Hello Maya Lindqvist").waitFor();
  await context.close();
});

interface Block {
  readonly name: string;
  readonly text: string;
}

/** The fenced blocks of a guide in one language; a name may stand behind the language. */
async function blocks(guide: string, language: string): Promise<readonly Block[]> {
  const text = await readFile(join(CHECKOUT, "guides", `${guide}.md`), "utf8");
  const fence = new RegExp(`^\`\`\`${language}(?: (\\S+))?\\n([\\s\\S]*?)^\`\`\``, "gm");
  return [...text.matchAll(fence)].map(([, name = "", body = ""]) => ({ name, text: body }));
}

/** Writes a program of a guide into a folder that has nothing but the packages it names. */
async function program(guide: string, name: string): Promise<string> {
  const block = (await blocks(guide, "js")).find((candidate) => candidate.name === name);
  assert.ok(block !== undefined, `${guide} has no ${name}`);
  const dir = await folder;
  await symlink(join(CHECKOUT, "node_modules"), join(dir, "node_modules")).catch(() => undefined);
  const file = join(dir, name);
  await writeFile(file, block.text);
  return file;
}

function run(
  file: string,
  env: Record<string, string>,
): { child: ChildProcess; output(): string; ended: Promise<number> } {
  const child = spawn(process.execPath, [file], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const ended = new Promise<number>((resolve) => child.on("exit", (code) => resolve(code ?? 1)));
  atEnd(async () => void child.kill("SIGKILL"));
  return { child, output: () => text, ended };
}
