/** URIs that a client registers: where browsers are sent, from where scripts may call, what pages link to, where keys are fetched. */
import { BlockList, isIP } from "node:net";
import { quoted } from "../text.ts";

export const URIS_MAX = 20;
export const URI_CHARS_MAX = 2048;

const LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"];
/** RFC 8252 sections 7.3 and 8.3: the name localhost can be resolved to another interface, the addresses cannot. */
const LOOPBACK_ADDRESSES = ["127.0.0.1", "[::1]"];
/** RFC 8252 section 7.1: a reversed domain name. Its dot also keeps out javascript:, data: and every other scheme that a browser acts upon. */
const PRIVATE_USE_SCHEME = /^[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:$/;
/** What the response itself appends: a registered copy of it would make two, and which of them the app reads is anybody's guess. */
const RESPONSE_PARAMETERS = new Set([
  "code",
  "state",
  "iss",
  "error",
  "error_description",
  "error_uri",
  "response",
  "id_token",
  "access_token",
  "token_type",
  "expires_in",
  "session_state",
]);
/** RFC 6890 and its kin: addresses that no client's keys are published at. */
const SPECIAL_USE = specialUse();

export interface UriRules {
  readonly isNative: boolean;
  readonly isDevelopment: boolean;
}

/**
 * What is wrong with a redirect URI, as the end of a sentence; undefined when it may be registered.
 * RFC 6749 section 3.1.2, RFC 8252 section 7, RFC 9700 section 2.1. The URI must already be in the form in which browsers and
 * libraries write it, so that exact comparison compares what will be visited, and no second spelling of a place exists.
 */
export function redirectUriFault(uri: string, rules: UriRules): string | undefined {
  const fault = spellingFault(uri);
  if (fault !== undefined) return fault;
  const url = new URL(uri);
  return pathFault(url) ?? queryFault(url) ?? placeFault(uri, url, rules);
}

/** What is wrong with an origin for CORS: scheme, host and port as a browser writes them in the Origin header, nothing more. */
export function webOriginFault(origin: string, rules: { readonly isDevelopment: boolean }): string | undefined {
  const fault = spellingFault(origin);
  if (fault !== undefined) return fault;
  const url = new URL(origin);
  if (url.origin !== origin) return "is not an origin: scheme, host and port, without a path or a slash at the end";
  return webPlaceFault(url, rules.isDevelopment);
}

/** What is wrong with a URL that pages show as a link or a picture: https, in development http too. */
export function pageUrlFault(text: string, rules: { readonly isDevelopment: boolean }): string | undefined {
  const url = parsePlain(text);
  if (url === undefined) return "is not an absolute URL of printable ASCII characters";
  if (url.username !== "" || url.password !== "") return "holds a user name";
  if (url.protocol === "https:" || (url.protocol === "http:" && rules.isDevelopment)) return undefined;
  return "must begin with https://";
}

/** What is wrong with a jwks_uri: https; loopback only in development. Names are checked again when they are resolved. */
export function keysUrlFault(text: string, rules: { readonly isDevelopment: boolean }): string | undefined {
  const url = parsePlain(text);
  if (url === undefined) return "is not an absolute URL of printable ASCII characters";
  if (url.username !== "" || url.password !== "" || text.includes("#")) return "holds a user name or a fragment";
  if (LOOPBACK_HOSTS.includes(url.hostname)) {
    return rules.isDevelopment && /^https?:$/.test(url.protocol) ? undefined : "is an address of this machine";
  }
  if (url.protocol !== "https:") return "must begin with https://";
  return isSpecialUse(url.hostname) ? "is not a public address" : undefined;
}

/** Whether the text is one spelling, the normal one, of an absolute URI. */
function spellingFault(uri: string): string | undefined {
  if (uri.length > URI_CHARS_MAX) return `is longer than ${URI_CHARS_MAX} characters`;
  if (!/^[\x21-\x7e]+$/.test(uri)) {
    return "holds white space, control characters or letters outside ASCII: write the host in punycode and the rest percent-encoded";
  }
  if (/[\\*]/.test(uri)) return "holds a backslash or a wildcard: every redirect URI is registered whole";
  if (uri.includes("#")) return "has a fragment";
  if (!/^[a-z][a-z0-9+.-]*:/.test(uri)) return "does not begin with a scheme in lower case";
  if (!URL.canParse(uri)) return "is not a URL";
  const url = new URL(uri);
  if (url.username !== "" || url.password !== "") return "holds a user name";
  if (url.hostname.endsWith(".")) return "has a host that ends with a dot";
  // A bare origin may lack the slash: it is the one difference that apps are known to write, and no other place.
  if (url.href !== uri && url.origin !== uri) return `is not in its normal form, which is ${quoted(url.href)}`;
  return undefined;
}

/** Servers that decode once more, or cut path parameters, see another path than the browser: ..;/ and %2f..%2f. */
function pathFault(url: URL): string | undefined {
  if (url.pathname.startsWith("//")) return "has a path that begins with two slashes, which reads as another host";
  for (const segment of url.pathname.split("/")) {
    const decoded = decode(segment);
    if (decoded === undefined) return "holds invalid percent-encoding";
    if (/[\p{Cc}/\\*#]|%[0-9a-f]{2}/iu.test(decoded)) {
      return "holds an encoded slash, backslash, wildcard, percent or control character in its path";
    }
    if ([".", ".."].includes(decoded.split(";")[0] ?? "")) return "holds a dot segment in its path";
  }
  return undefined;
}

function queryFault(url: URL): string | undefined {
  const decoded = decode(url.search);
  if (decoded === undefined) return "holds invalid percent-encoding";
  if (/\p{Cc}/u.test(decoded)) return "holds an encoded control character";
  for (const name of url.searchParams.keys()) {
    if (RESPONSE_PARAMETERS.has(name)) return `has the query parameter "${name}", which the response adds itself`;
  }
  return undefined;
}

function placeFault(uri: string, url: URL, { isNative, isDevelopment }: UriRules): string | undefined {
  if (!isNative) return webPlaceFault(url, isDevelopment);
  const isLoopback = LOOPBACK_HOSTS.includes(url.hostname);
  if (url.protocol === "https:") {
    return isLoopback ? "is https on this device, where nobody can hold a certificate: use http" : undefined;
  }
  if (url.protocol === "http:") {
    if (LOOPBACK_ADDRESSES.includes(url.hostname)) return undefined;
    return url.hostname === "localhost"
      ? "uses the name localhost: write http://127.0.0.1 or http://[::1]"
      : "is http on another machine";
  }
  if (!PRIVATE_USE_SCHEME.test(url.protocol)) {
    return "must use https, http on 127.0.0.1 or [::1], or a scheme that is your reversed domain name, such as com.example.app:/callback";
  }
  if (!uri.startsWith(`${url.protocol}/`) || uri.startsWith(`${url.protocol}//`)) {
    return `has a host part or no path: write ${quoted(`${url.protocol}/callback`)}, with one slash`;
  }
  return undefined;
}

function webPlaceFault(url: URL, isDevelopment: boolean): string | undefined {
  if (url.protocol === "https:") return undefined;
  if (url.protocol === "http:" && LOOPBACK_HOSTS.includes(url.hostname)) {
    return isDevelopment ? undefined : "is http on this machine, which is for development only";
  }
  return "must begin with https://";
}

function parsePlain(text: string): URL | undefined {
  const isPlain = text.length <= URI_CHARS_MAX && /^[\x21-\x7e]+$/.test(text) && !text.includes("\\");
  return isPlain && /^https?:\/\//i.test(text) && URL.canParse(text) ? new URL(text) : undefined;
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function isSpecialUse(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
  const version = isIP(host);
  if (version === 0) return host === "localhost" || host.endsWith(".localhost");
  return SPECIAL_USE.check(host, version === 6 ? "ipv6" : "ipv4");
}

function specialUse(): BlockList {
  const list = new BlockList();
  const ranges4 =
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4";
  const ranges6 = "::/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001:db8::/32 2002::/16 fc00::/7 fe80::/10 ff00::/8";
  for (const [ranges, version] of [
    [ranges4, "ipv4"],
    [ranges6, "ipv6"],
  ] as const) {
    for (const range of ranges.split(" ")) {
      const [network = "", bits] = range.split("/");
      list.addSubnet(network, Number(bits), version);
    }
  }
  return list;
}
