/** The control: a plain server that answers every path with the bytes of one file. Arguments: port, then path and file in turn. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const [port = "", ...pairs] = process.argv.slice(2);
const answers = new Map<string, Buffer>();
for (let index = 0; index + 1 < pairs.length; index += 2)
  answers.set(pairs[index] ?? "", readFileSync(pairs[index + 1] ?? ""));

createServer((request, response) => {
  const body = answers.get(request.url ?? "") ?? Buffer.from("{}");
  response.writeHead(200, { "content-type": "application/json; charset=utf-8", "content-length": body.length });
  response.end(body);
}).listen(Number(port), "127.0.0.1");
