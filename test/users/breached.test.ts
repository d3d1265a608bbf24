/** The look-up of stolen passwords, against a real server that answers as the well-known one does. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { createOutgoing } from "../../src/http/outgoing.ts";
import { createLog } from "../../src/log.ts";
import { breachedList } from "../../src/users/breached.ts";

const STOLEN = "tangerine cupboard sailing";
const PADDED = "a padding line that stands for nothing";
const asked: string[] = [];
/** SHA-1 of the two texts, made with sha1sum. */
const HASHES = {
  stolen: "06F1AC8E39A8E51F26A4DB56A25B847680AB7821",
  padded: "D288033BBFA2C1736D3CB031606AEA020441A98C",
};
let status = 200;
const server = createServer((request, response) => {
  asked.push(`${request.url} ${request.headers["add-padding"]}`);
  response.writeHead(status, { "content-type": "text/plain" });
  response.end(`${HASHES.padded.slice(5)}:0\r\n${"0".repeat(35)}:3\r\n${HASHES.stolen.slice(5)}:42`);
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
after(() => server.close());
const lines: string[] = [];
const log = createLog({ level: "debug", pretty: false, sink: { write: (line) => void lines.push(line) } });
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/range/`;
const list = (isDevelopment: boolean) =>
  breachedList({ url, ask: createOutgoing({ allow: [], isDevelopment }).fetch, log });

test("a listed password is found, others and padding lines are not; only five characters of a hash leave", async () => {
  assert.equal(await list(true)(STOLEN), true);
  assert.equal(await list(true)(PADDED), false);
  assert.equal(await list(true)(`${STOLEN}!`), false);
  assert.equal(asked[0], `/range/${HASHES.stolen.slice(0, 5)} true`);
  for (const one of asked) assert.match(one, /^\/range\/[0-9A-F]{5} true$/);
});

test("a list that fails, or lies where the guarded client does not go, keeps nobody out and is said in the log", async () => {
  status = 500;
  assert.equal(await list(true)(STOLEN), false);
  const before = asked.length;
  assert.equal(await list(false)(STOLEN), false, "loopback is refused in production");
  assert.equal(asked.length, before);
  assert.equal(lines.length, 2);
  assert.ok(!lines.join("").includes("tangerine"));
});
