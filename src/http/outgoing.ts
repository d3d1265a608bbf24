/** Outgoing requests: bounded in time and size, never redirected, never to private addresses unless the operator opened them by name (SSRF). */
import { type LookupAddress, lookup as systemLookup } from "node:dns";
import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { BlockList, isIP, type LookupFunction } from "node:net";

/** A slow peer must not hold a token request. */
const TIMEOUT_MS = 2500;
const ANSWER_BYTES_MAX = 64 * 1024;
/** What a caller reads of an answer beside its body; the rest of what another server says stays out. */
const KEPT_HEADERS = new Set(["content-type", "date", "set-cookie"]);

export interface Outgoing {
  /** Fits the library's `fetch` option; of the options only method, headers and a text body count. */
  fetch(
    url: string | URL,
    options?: { method?: string; headers?: Headers | undefined; body?: unknown },
  ): Promise<Response>;
}

/** The address, or the name, may not be asked: nothing was sent. */
export class OutgoingError extends Error {}

/** Special-use addresses of RFC 6890 and its successors: this host, this network, this link, and what maps into them. */
const PRIVATE: readonly (readonly [string, number, "ipv4" | "ipv6"])[] = [
  ["0.0.0.0", 8, "ipv4"],
  ["10.0.0.0", 8, "ipv4"],
  ["100.64.0.0", 10, "ipv4"],
  ["127.0.0.0", 8, "ipv4"],
  ["169.254.0.0", 16, "ipv4"],
  ["172.16.0.0", 12, "ipv4"],
  ["192.0.0.0", 24, "ipv4"],
  ["192.0.2.0", 24, "ipv4"],
  ["192.88.99.0", 24, "ipv4"],
  ["192.168.0.0", 16, "ipv4"],
  ["198.18.0.0", 15, "ipv4"],
  ["198.51.100.0", 24, "ipv4"],
  ["203.0.113.0", 24, "ipv4"],
  ["224.0.0.0", 3, "ipv4"],
  ["::", 96, "ipv6"],
  ["64:ff9b::", 96, "ipv6"],
  ["64:ff9b:1::", 48, "ipv6"],
  ["100::", 64, "ipv6"],
  ["2001::", 23, "ipv6"],
  ["2001:db8::", 32, "ipv6"],
  ["2002::", 16, "ipv6"],
  ["fc00::", 7, "ipv6"],
  ["fe80::", 10, "ipv6"],
  ["ff00::", 8, "ipv6"],
];

/** `allow` holds hosts or CIDRs (OUTBOUND_ALLOW). Development may reach loopback besides, since everything there runs on one machine. */
export function createOutgoing(options: { allow: readonly string[]; isDevelopment: boolean }): Outgoing {
  const blocked = new BlockList();
  for (const [address, bits, family] of PRIVATE) blocked.addSubnet(address, bits, family);
  const { hosts, networks } = parseAllowed(options.allow);
  if (options.isDevelopment) {
    networks.addSubnet("127.0.0.0", 8, "ipv4");
    networks.addAddress("::1", "ipv6");
  }
  const isReachable = (host: string, address: string): boolean => {
    const plain = unmapped(address);
    const family = isIP(plain) === 6 ? "ipv6" : "ipv4";
    return hosts.has(host) || networks.check(plain, family) || !blocked.check(plain, family);
  };
  return {
    async fetch(input, { method = "GET", headers, body } = {}) {
      const url = new URL(input);
      const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
      if (url.protocol !== "https:" && url.protocol !== "http:")
        throw new OutgoingError(`${url.protocol} is not asked`);
      if (isIP(host) !== 0 && !isReachable(host, host)) throw new OutgoingError(`${host} is a private address`);
      const send = url.protocol === "https:" ? httpsRequest : httpRequest;
      const parameters: RequestOptions = {
        method,
        headers: { ...Object.fromEntries(headers ?? []), "accept-encoding": "identity" },
        // The address that is checked is the one that is connected to, so a name that changes its answer gains nothing (rebinding).
        lookup: guardedLookup(host, isReachable),
        signal: AbortSignal.timeout(TIMEOUT_MS),
        agent: false,
      };
      return new Promise((resolve, reject) => {
        const request = send(url, parameters, (answer) => readAnswer(answer).then(resolve, reject));
        request.on("error", reject);
        request.end(typeof body === "string" || body instanceof URLSearchParams ? body.toString() : undefined);
      });
    },
  };
}

function guardedLookup(host: string, isReachable: (host: string, address: string) => boolean): LookupFunction {
  return (name, options, callback) => {
    systemLookup(name, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) return callback(error, "", 0);
      const [first] = addresses;
      const isRefused = first === undefined || addresses.some(({ address }) => !isReachable(host, address));
      if (isRefused) return callback(new OutgoingError(`${host} leads to a private address`), "", 0);
      // Node asks for one address or for all of them, and wants the matching form.
      if (options.all === true)
        (callback as unknown as (error: null, addresses: LookupAddress[]) => void)(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
}

async function readAnswer(answer: IncomingMessage): Promise<Response> {
  const status = answer.statusCode ?? 0;
  if (status >= 300 && status < 400) {
    answer.destroy();
    throw new OutgoingError("a redirect is not followed");
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer) {
    bytes += (chunk as Buffer).length;
    if (bytes > ANSWER_BYTES_MAX) {
      answer.destroy();
      throw new OutgoingError(`the answer is larger than ${ANSWER_BYTES_MAX} bytes`);
    }
    chunks.push(chunk as Buffer);
  }
  const headers = answer.rawHeaders.flatMap((name, index): [string, string][] => {
    const isKept = index % 2 === 0 && KEPT_HEADERS.has(name.toLowerCase());
    return isKept ? [[name, answer.rawHeaders[index + 1] ?? ""]] : [];
  });
  const isEmpty = status === 204 || status === 205;
  return new Response(isEmpty ? null : Buffer.concat(chunks), {
    status,
    headers,
  });
}

function parseAllowed(allow: readonly string[]): { hosts: ReadonlySet<string>; networks: BlockList } {
  const hosts = new Set<string>();
  const networks = new BlockList();
  for (const entry of allow) {
    const [address = "", bits] = entry.split("/");
    const family = isIP(address);
    if (family === 0) hosts.add(entry.toLowerCase());
    else if (bits === undefined) networks.addAddress(address, family === 6 ? "ipv6" : "ipv4");
    else networks.addSubnet(address, Number(bits), family === 6 ? "ipv6" : "ipv4");
  }
  return { hosts, networks };
}

function unmapped(address: string): string {
  const lower = address.toLowerCase();
  return lower.startsWith("::ffff:") && isIP(lower.slice(7)) === 4 ? lower.slice(7) : lower;
}
