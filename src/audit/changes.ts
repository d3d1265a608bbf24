/** Changes: what an event says of before and after. Secrets, addresses of people and whatever is long stay out of the trail. */

/** By field; a side that was not there is absent. */
export type Changes = Readonly<Record<string, Change>>;

export interface Change {
  readonly before?: unknown;
  readonly after?: unknown;
}

type Fields = Readonly<Record<string, unknown>>;

/** Fields that hold secrets, or people by name; that they changed is said, what they hold is not. */
const WITHHELD = /secret|password|token$|^contacts$|^e?mail/i;
/** Fields that change with every change and say nothing. */
const NOISE = new Set(["updated_at", "created_at", "client_id_issued_at", "client_secret_expires_at"]);
/** A value that is longer than this as JSON is cut; a client has at most some hundred addresses, so a few kilobytes hold nearly all. */
const VALUE_CHARS_MAX = 4000;
const FIELDS_MAX = 60;
/** What looks like an address of a person: in an address that names a user (`https://user@host`) as well. */
const ADDRESS = /[^\s"'<>()@,;:/]+@[^\s"'<>()@,;:/]+/g;

/** The fields that differ. Either side may be missing: something was made, or deleted. */
export function changesBetween(before: Fields | undefined, after: Fields | undefined): Changes {
  const names = [...new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])];
  const changed = names.filter(
    (name) => !NOISE.has(name) && JSON.stringify(before?.[name]) !== JSON.stringify(after?.[name]),
  );
  return Object.fromEntries(
    changed.slice(0, FIELDS_MAX).map((name) => {
      const sides = { before: shown(name, before?.[name]), after: shown(name, after?.[name]) };
      return [name, Object.fromEntries(Object.entries(sides).filter(([, value]) => value !== undefined))];
    }),
  );
}

/** A text as the trail takes it: whoever deletes a person must not have to break the chain. */
export function withoutAddresses(text: string): string {
  return text.includes("@") ? text.replace(ADDRESS, "(address)") : text;
}

function shown(name: string, value: unknown): unknown {
  if (value === undefined || value === null) return undefined;
  if (WITHHELD.test(name)) return "(withheld)";
  const text = JSON.stringify(value);
  return text.length <= VALUE_CHARS_MAX ? value : `${text.slice(0, VALUE_CHARS_MAX)}…`;
}
