/** Requests going out: which addresses are asked, and how much of an answer is read. The listeners are real and count what reaches them. */
import assert from "node:assert/strict";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { createOutgoing, type Outgoing, OutgoingError } from "../../src/http/outgoing.ts";

const servers: Server[] = [];
after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

/** A listener on every address of this machine; `connections` counts what was opened to it, requests or not. */
async function listen(
  answer: RequestListener,
): Promise<{ port: number; connections: () => number; requests: () => number }> {
  let [connections, requests] = [0, 0];
  const server = createServer((request, response) => {
    requests += 1;
    answer(request, response);
  });
  server.on("connection", () => {
    connections += 1;
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, resolve));
  return { port: (server.address() as AddressInfo).port, connections: () => connections, requests: () => requests };
}

const strict = createOutgoing({ allow: [], isDevelopment: false });
const allowing = (...allow: string[]): Outgoing => createOutgoing({ allow, isDevelopment: false });
const refusal = (error: unknown): boolean => error instanceof OutgoingError;

test("no special-use address is asked, however it is written: nothing connects (T-SSRF-1..6)", async () => {
  const { port, connections } = await listen((_request, response) => response.end("secret"));
  const addresses: Readonly<Record<string, readonly string[]>> = {
    "T-SSRF-1": [
      "127.0.0.1",
      "127.1",
      "127.255.255.254",
      "0x7f000001",
      "2130706433",
      "0177.0.0.1",
      "127。0。0。1",
      "127.0.0.1.",
    ],
    "T-SSRF-2": ["169.254.169.254", "169.254.170.2", "[fe80::a9fe:a9fe]", "100.100.100.200", "[fd00:ec2::254]"],
    "T-SSRF-3": [
      "[::1]",
      "[0:0:0:0:0:0:0:1]",
      "[fd00::1]",
      "[fc00::1]",
      "[fe80::1]",
      "[ff02::1]",
      "[::]",
      "[2001:db8::1]",
    ],
    "T-SSRF-4": [
      "[::ffff:127.0.0.1]",
      "[::ffff:7f00:1]",
      "[::127.0.0.1]",
      "[64:ff9b::7f00:1]",
      "[2002:7f00:1::]",
      "[::ffff:10.0.0.1]",
    ],
    "T-SSRF-5": ["0.0.0.0", "0", "0.1.2.3"],
    "T-SSRF-6": [
      "10.0.0.1",
      "10.255.255.255",
      "172.16.0.1",
      "172.31.255.255",
      "192.168.0.1",
      "100.64.0.1",
      "198.18.0.1",
      "192.0.2.1",
      "224.0.0.1",
      "255.255.255.255",
    ],
  };
  for (const [demand, hosts] of Object.entries(addresses)) {
    for (const host of hosts) {
      const begin = performance.now();
      await assert.rejects(strict.fetch(`http://${host}:${port}/`), refusal, `${demand}: ${host}`);
      assert.ok(performance.now() - begin < 1000, `${host} was refused at once`);
    }
  }
  assert.equal(connections(), 0);
});

test("a name that leads to a private address is not asked, unless the operator named it (T-SSRF-7)", async () => {
  const { port, connections, requests } = await listen((_request, response) => response.end("reached"));
  for (const host of ["localhost", "LOCALHOST"]) {
    await assert.rejects(strict.fetch(`http://${host}:${port}/`), refusal, host);
  }
  assert.equal(connections(), 0);
  for (const outgoing of [
    allowing("localhost"),
    allowing("LocalHost"),
    allowing("127.0.0.0/8", "::1/128"),
    allowing("127.0.0.1", "::1"),
  ]) {
    assert.equal(await (await outgoing.fetch(`http://localhost:${port}/`)).text(), "reached");
  }
  assert.equal(requests(), 4);
  // What is opened is opened by its name or network, and nothing beside it.
  await assert.rejects(allowing("example.com").fetch(`http://localhost:${port}/`), refusal);
  await assert.rejects(allowing("localhost").fetch(`http://127.0.0.1:${port}/`), refusal);
  await assert.rejects(allowing("10.0.0.0/8").fetch(`http://127.0.0.1:${port}/`), refusal);
});

test("development reaches its own machine and no other private network", async () => {
  const { port } = await listen((_request, response) => response.end("reached"));
  const outgoing = createOutgoing({ allow: [], isDevelopment: true });
  for (const host of ["127.0.0.1", "localhost"])
    assert.equal(await (await outgoing.fetch(`http://${host}:${port}/`)).text(), "reached");
  for (const host of ["10.0.0.1", "169.254.169.254", "0.0.0.0", "[fd00::1]"])
    await assert.rejects(outgoing.fetch(`http://${host}:${port}/`), refusal, host);
});

test("a redirect is not followed, wherever it leads (T-SSRF-8)", async () => {
  const inner = await listen((_request, response) => response.end("secret"));
  const outer = await listen((request, response) => {
    const status = Number(request.url?.slice(1));
    response.writeHead(status, { location: `http://127.0.0.1:${inner.port}/` }).end("moved");
  });
  for (const status of [301, 302, 303, 307, 308])
    await assert.rejects(allowing("127.0.0.1").fetch(`http://127.0.0.1:${outer.port}/${status}`), refusal);
  assert.equal(outer.requests(), 5);
  assert.equal(inner.connections(), 0);
});

test("an answer is read to 64 KiB and for 2.5 seconds, and never unpacked (T-SSRF-9)", async () => {
  let sent = 0;
  const bomb = gzipSync(Buffer.alloc(10 * 1024 * 1024));
  const { port } = await listen((request, response) => {
    switch (request.url) {
      case "/right":
        return void response.end("a".repeat(64 * 1024));
      case "/more":
        return void response.end("a".repeat(64 * 1024 + 1));
      case "/huge":
        return void response.end(Buffer.alloc(10 * 1024 * 1024));
      case "/bomb":
        assert.equal(request.headers["accept-encoding"], "identity");
        response.setHeader("content-encoding", "gzip");
        return void response.end(bomb);
      case "/endless": {
        const timer = setInterval(() => {
          sent += 1;
          response.write(Buffer.alloc(16 * 1024));
        }, 5);
        return void response.on("close", () => clearInterval(timer));
      }
      case "/dripping": {
        const timer = setInterval(() => response.write("a"), 50);
        return void response.on("close", () => clearInterval(timer));
      }
      default:
        // Hangs: the headers never come.
        return undefined;
    }
  });
  const outgoing = allowing("127.0.0.1");
  const fetched = (path: string): Promise<Response> => outgoing.fetch(`http://127.0.0.1:${port}${path}`);
  assert.equal((await (await fetched("/right")).arrayBuffer()).byteLength, 64 * 1024);
  for (const path of ["/more", "/huge", "/endless"]) await assert.rejects(fetched(path), refusal, path);
  assert.ok(sent < 100, `${sent} pieces were taken`);
  // 10 MiB of zeros are 10 kB when packed: what comes back is what came, not what it would become.
  assert.equal((await (await fetched("/bomb")).arrayBuffer()).byteLength, bomb.length);
  const begin = performance.now();
  await Promise.all(
    ["/dripping", "/silent"].map((path) => assert.rejects(fetched(path), { name: /Abort|Timeout/ }, path)),
  );
  const took = performance.now() - begin;
  assert.ok(took > 2000 && took < 5000, `${took} ms`);
});

test("only http and https are asked", async () => {
  for (const url of ["file:///etc/passwd", "ftp://example.com/", "data:text/plain,x", "gopher://127.0.0.1/"])
    await assert.rejects(allowing("127.0.0.1").fetch(url), refusal, url);
});
