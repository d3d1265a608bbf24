/** The host pin: requests are for the issuer's own authority, and what a proxy says counts only from proxies that are trusted. */
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import type { Context, Middleware } from "koa";
import type { TrustProxy } from "../config.ts";
import { AppError } from "../errors.ts";
import type { Log } from "../log.ts";
import { type Arrivals, PROBE_HEADER } from "./arrivals.ts";
import { requestIdOf } from "./request-id.ts";

/** Probes carry an address as Host; these paths show nothing that depends on it. */
const EXEMPT_PATHS = new Set(["/health/live", "/health/ready", "/health", "/ready"]);
const LOOPBACK_HOSTS = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;
const FORWARDED_FOR_ENTRIES_MAX = 50;
/** Nearly all targets: whatever a parser makes of these signs, one slash in front leads nowhere but here. */
const PLAIN_TARGET = /^\/(?:[\w.~%?=&+-][\w.~%?=&+:/-]*)?$/;

export interface HostPin {
  readonly issuer: string;
  readonly trustProxy: TrustProxy;
  readonly log: Log;
  /** Where the doctor's own request is noted as it arrived. */
  readonly arrivals: Arrivals;
  /** The page for a browser that reached a loopback issuer under another of its names. */
  readonly showRightAddress: (ctx: Context) => void;
}

/**
 * The library derives every URL from the request (measured), so the request is made to say what the issuer says: one Host, the
 * issuer's; the issuer's scheme; the peer's true address. Everything else is refused before any other code sees it.
 */
export function hostPin(pin: HostPin): Middleware {
  const issuer = new URL(pin.issuer);
  const scheme = issuer.protocol.slice(0, -1);
  const hint = once();
  return (ctx, next) => {
    const { req } = ctx;
    if (!isOriginForm(req.url, issuer)) throw new AppError("request_target_absolute");
    const [socketAddress, forwardedFor] = [unmapped(req.socket.remoteAddress ?? ""), ctx.get("x-forwarded-for")];
    const address = clientAddress(socketAddress, forwardedFor, pin.trustProxy);
    const forwardedScheme = ctx.get("x-forwarded-proto");
    pin.arrivals.note(ctx.get(PROBE_HEADER), { scheme: forwardedScheme, forwardedFor, socketAddress, address });
    const hosts = hostsOf(req);
    const host = (req.headers.host ?? "").toLowerCase();
    delete req.headers["x-forwarded-host"];
    delete req.headers["forwarded"];
    req.headers.host = issuer.host;
    req.headers["x-forwarded-proto"] = scheme;
    req.headers["x-forwarded-for"] = address;
    if (!EXEMPT_PATHS.has(ctx.path)) {
      if (hosts > 1) throw new AppError("request_malformed", "two Host headers");
      if (!isSameAuthority(host, issuer)) {
        refuse(ctx, pin, { host, issuer });
        return undefined;
      }
      if (scheme === "https" && pin.trustProxy.kind !== "none" && forwardedScheme !== "https") {
        hint(() =>
          pin.log.warn("the proxy does not send X-Forwarded-Proto: https, though ISSUER is https; set it there", {
            address,
          }),
        );
      }
    }
    return next();
  };
}

/** How many Host headers there are; Node's own table shows the first alone. */
export function hostsOf({ rawHeaders }: IncomingMessage): number {
  let count = 0;
  for (let index = 0; index < rawHeaders.length; index += 2)
    if (rawHeaders[index]?.length === 4 && rawHeaders[index]?.toLowerCase() === "host") count += 1;
  return count;
}

/** The address that acts: the socket's, unless trusted proxies name another. The text is what Node gives, IPv4-mapped forms unwrapped. */
export function clientAddress(socketAddress: string, forwardedFor: string, trust: TrustProxy): string {
  const socket = unmapped(socketAddress);
  if (trust.kind === "none" || forwardedFor === "") return socket;
  if (trust.kind === "hops" && trust.hops === 1) {
    // The usual case, of every request: what the one proxy added stands last, and the rest need not be taken apart.
    const last = unmapped(forwardedFor.slice(forwardedFor.lastIndexOf(",") + 1).trim());
    return isIP(last) === 0 ? socket : last;
  }
  const named = forwardedFor
    .split(",")
    .slice(-FORWARDED_FOR_ENTRIES_MAX)
    .map((entry) => unmapped(entry.trim()));
  const chain = [...named, socket];
  if (trust.kind === "hops") {
    // One trusted hop is the socket itself, so the client is the entry that hop added: the last.
    const candidate = chain[Math.max(0, chain.length - 1 - trust.hops)] ?? socket;
    return isIP(candidate) === 0 ? socket : candidate;
  }
  for (let index = chain.length - 1; index >= 0; index -= 1) {
    const candidate = chain[index] ?? socket;
    if (isIP(candidate) === 0) return chain[index + 1] ?? socket;
    if (!trust.networks.check(candidate, isIP(candidate) === 6 ? "ipv6" : "ipv4")) return candidate;
  }
  return chain[0] ?? socket;
}

/** RFC 9112 section 3.2.1. A path such as `//evil.example` is one too, but whoever resolves it against our address is led elsewhere. */
function isOriginForm(target: string | undefined, issuer: URL): boolean {
  if (target !== undefined && PLAIN_TARGET.test(target)) return true;
  if (target?.startsWith("/") !== true || !URL.canParse(target, issuer.href)) return false;
  return new URL(target, issuer).origin === issuer.origin;
}

function isSameAuthority(host: string, issuer: URL): boolean {
  const withPort = `${issuer.hostname}:${issuer.protocol === "https:" ? 443 : 80}`;
  return host === issuer.host || (issuer.port === "" && host === withPort);
}

function refuse(ctx: Context, pin: HostPin, seen: { host: string; issuer: URL }): void {
  const isNeighbour = LOOPBACK_HOSTS.test(seen.host) && LOOPBACK_HOSTS.test(seen.issuer.host);
  if (isNeighbour && ctx.method === "GET" && ctx.accepts("json", "html") === "html") {
    ctx.status = 421;
    pin.showRightAddress(ctx);
    return;
  }
  // What was asked for stands in the log alone: no answer of ours holds a foreign address (T-HOST-1).
  pin.log.info("refused", { request_id: requestIdOf(ctx), error: "host_unknown", host: seen.host });
  throw new AppError("host_unknown", `The Host of a request is the issuer's: ${seen.issuer.host}`);
}

function unmapped(address: string): string {
  const lower = address.toLowerCase();
  return lower.startsWith("::ffff:") && isIP(lower.slice(7)) === 4 ? lower.slice(7) : lower;
}

/** The hint is for the operator's first look, not for every request. */
function once(): (run: () => void) => void {
  let isDone = false;
  return (run) => {
    if (isDone) return;
    isDone = true;
    run();
  };
}
