/** A browser at the console, signed in as somebody with a role. */
import type { Answer, Client } from "../support.ts";
import type { Ground, RoleName } from "./admin.ts";
import { PASSWORD } from "./journey.ts";

export interface AtConsole {
  readonly browser: Client;
  /** The page that was asked for. */
  readonly answer: Answer;
}

export async function atConsole(
  { client, issuer }: Pick<Ground, "client" | "issuer">,
  role: RoleName | "none",
  path = "/admin",
): Promise<AtConsole> {
  const browser = client();
  const page = await browser.follow(await browser.get(`${issuer}${path}`));
  const email = `${role}@lindqvist.example`;
  const sent = await browser.submit(page, { email, password: PASSWORD }, { match: 'name="password"' });
  return { browser, answer: await browser.follow(sent) };
}
