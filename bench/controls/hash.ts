/** The control: one password check and nothing else, by Signet's own hashing child in the same placement. Argument: port. */
import { createServer } from "node:http";
import { createLog } from "../../src/log.ts";
import { openHasher } from "../../src/users/hasher.ts";
import { PASSWORD } from "../names.ts";

const hasher = await openHasher({ log: createLog({ level: "error", pretty: false }) });
const stored = await hasher.hash(PASSWORD);

createServer((request, response) => {
  request.resume();
  hasher.verify(stored, PASSWORD).then(
    () => response.writeHead(200, { "content-length": 2 }).end("ok"),
    () => response.writeHead(503, { "content-length": 0 }).end(),
  );
}).listen(Number(process.argv[2]), "127.0.0.1");
