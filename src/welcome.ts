/** The block that a development start prints: where everything is, readable at a glance. It holds one-time secrets, so it goes to the terminal and never to the log. */
import type { Config } from "./config.ts";

export interface WelcomeParts {
  readonly config: Config;
  /** The Postgres that Signet started itself; absent with DATABASE_URL. */
  readonly embedded: OwnPostgres | undefined;
  readonly setupToken: string | undefined;
  readonly demo: { readonly appUrl: string; readonly email: string; readonly password?: string } | undefined;
}

interface OwnPostgres {
  readonly place: string;
  readonly version: string;
  readonly notes: readonly string[];
}

const LABEL_CHARS = 13;
const WIDTH = 78;

export function welcome({ config, embedded, setupToken, demo }: WelcomeParts): string {
  const { issuer } = config;
  const lines = [
    rule(),
    "  Signet runs, for development",
    "",
    row("Issuer", issuer),
    row("Discovery", `${issuer}/.well-known/openid-configuration`),
    row("JWKS", `${issuer}/jwks`),
    "",
    ...(setupToken === undefined
      ? [row("First owner", "made already")]
      : [
          row("First owner", `${issuer}/setup?token=${setupToken}`),
          row("", "works once, within an hour; a new start prints a new one"),
        ]),
    row("Console", `${issuer}/admin`),
    ...demoLines(demo),
    "",
    ...dataLines(config, embedded),
    row("Production", "set NODE_ENV=production, DATABASE_URL and SECRET_KEY: see README.md"),
    rule(),
  ];
  return `\n${lines.join("\n")}\n\n`;
}

function demoLines(demo: WelcomeParts["demo"]): readonly string[] {
  if (demo === undefined) return [];
  const person =
    demo.password === undefined
      ? [row("Demo person", `${demo.email}, with the password printed at the first start`)]
      : [row("Demo person", demo.email), row("Password", `${demo.password}   printed this once`)];
  return ["", row("Demo app", demo.appUrl), ...person];
}

function dataLines(config: Config, embedded: OwnPostgres | undefined): readonly string[] {
  const expiring = config.redisUrls === undefined ? "in Postgres, too; REDIS_URL moves it to Redis" : "in Redis";
  if (embedded === undefined) return [row("Data", "in the Postgres of DATABASE_URL"), row("What expires", expiring)];
  return [
    row("Data", embedded.place),
    row("", `Postgres ${embedded.version} that Signet starts itself; it survives restarts`),
    ...embedded.notes.map((note) => row("", note)),
    row("What expires", expiring),
    row("Move", "set DATABASE_URL to a Postgres of your own (15 or newer)"),
  ];
}

function row(label: string, text: string): string {
  return `  ${label.padEnd(LABEL_CHARS)} ${text}`;
}

function rule(): string {
  return "─".repeat(WIDTH);
}
