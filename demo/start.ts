/** `npm start`: the server in development, and beside it the demo app as a process of its own. */
import { fork } from "node:child_process";
import { join } from "node:path";
import { run } from "../src/main.ts";

process.exitCode = await run(["serve"], process.env, {
  onDemo(demo, config) {
    // The demo app knows what any app knows: an issuer, a client id and a secret, and the API it calls.
    const child = fork(join(import.meta.dirname, "app.ts"), {
      env: {
        PATH: process.env["PATH"],
        PORT: new URL(demo.appUrl).port,
        ISSUER: config.issuer,
        CLIENT_ID: demo.clientId,
        CLIENT_SECRET: demo.clientSecret,
        API: demo.apiIdentifier,
        API_SCOPE: demo.scope,
      },
    });
    child.on("error", (error) => process.stderr.write(`The demo app could not start: ${error.message}\n`));
    process.once("exit", () => child.kill());
    // The server has stopped when `run` returns; the child must not keep the process.
    child.unref();
    child.channel?.unref();
  },
});
