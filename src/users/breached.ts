/**
 * Stolen passwords: asks a list by the first five characters of a SHA-1, so that the list learns of some thousand passwords and never which
 * one (k-anonymity, as the range look-up of Have I Been Pwned has it). Off unless the operator names a list.
 */
import type { Log } from "../log.ts";
import { sha1Hex } from "../secrets.ts";

/** Whether the password stands on the list; false also when the list does not answer: nobody is kept out by somebody else's outage. */
export type IsBreached = (password: string) => Promise<boolean>;

const PREFIX_CHARS = 5;

/** `url` ends where the five characters go; `ask` is the guarded client, which bounds time and size. */
export function breachedList(options: {
  readonly url: string;
  readonly ask: (url: string, options: { headers: Headers }) => Promise<Response>;
  readonly log: Log;
}): IsBreached {
  const headers = new Headers({ "Add-Padding": "true", "User-Agent": "signet" });
  return async (password) => {
    const hash = sha1Hex(password);
    const [prefix, suffix] = [hash.slice(0, PREFIX_CHARS), hash.slice(PREFIX_CHARS)];
    try {
      const answer = await options.ask(`${options.url}${prefix}`, { headers });
      if (answer.status !== 200) throw new Error(`it answered ${answer.status}`);
      // Padding lines have a count of 0: they are there so that the size of the answer tells nothing.
      return (await answer.text()).split(/\r?\n/).some((line) => {
        const [listed = "", count = "0"] = line.trim().split(":");
        return listed.toUpperCase() === suffix && Number(count) > 0;
      });
    } catch (error) {
      options.log.warn("the list of stolen passwords was not asked", {
        reason: error instanceof Error ? error.message : "unknown",
      });
      return false;
    }
  };
}
