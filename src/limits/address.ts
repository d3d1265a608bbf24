/** Network addresses as subjects of a limit: one subject per network that one customer of a provider is given. */
import { isIPv4, isIPv6 } from "node:net";

/** Without a readable address everybody shares one subject: stricter, never open. */
const UNKNOWN = "unknown";
/** An IPv4 address inside IPv6 (RFC 4291 section 2.5.5.2), as the URL parser writes it. */
const MAPPED = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;
const PREFIX_GROUPS = 4;
const GROUPS = 8;

/** An IPv4 address whole, of IPv6 the first 64 bits; every spelling of one address gives the same text (T-RL-2, T-RL-3). */
export function addressSubject(address: string): string {
  const bare = (
    address
      .trim()
      .replace(/^\[|\]$/g, "")
      .split("%")[0] ?? ""
  ).toLowerCase();
  if (isIPv4(bare)) return bare;
  if (!isIPv6(bare)) return UNKNOWN;
  // The URL parser gives the shortest spelling (RFC 5952), also of the ones with dots and with leading zeros.
  const short = new URL(`http://[${bare}]/`).hostname.slice(1, -1);
  const [, high, low] = MAPPED.exec(short) ?? [];
  if (high !== undefined && low !== undefined) return dotted(Number.parseInt(high, 16), Number.parseInt(low, 16));
  return `${expand(short).slice(0, PREFIX_GROUPS).join(":")}::/64`;
}

function dotted(high: number, low: number): string {
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

function expand(short: string): readonly string[] {
  const [head = "", tail] = short.split("::");
  const [left, right] = [head, tail ?? ""].map((part) => part.split(":").filter((group) => group !== ""));
  const groups = [...(left ?? [])];
  if (tail === undefined) return groups;
  const zeros = Array<string>(GROUPS - groups.length - (right?.length ?? 0)).fill("0");
  return [...groups, ...zeros, ...(right ?? [])];
}
