/** Findings: what the doctor and the start-up look for, each with its cause and what mends it. Judgements over facts; who gathers the facts is doctor.ts. */
import { type BlockList, isIP } from "node:net";
import { now } from "./clock.ts";
import type { TrustProxy } from "./config.ts";

export interface Finding {
  readonly check: string;
  readonly level: "ok" | "warning" | "fault";
  readonly cause: string;
  readonly mend?: string;
}

const POSTGRES_MAJOR_MIN = 15;
const REDIS_MAJOR_MIN = 7;
/** Tokens are accepted with 15 s of tolerance; half of it is for the doctor to complain about. */
const CLOCK_MS_MAX = 7000;
/** Sent along as if a client had written it (RFC 5737: nobody has this address): whoever believes it believes anybody. */
export const FORGED_ADDRESS = "192.0.2.123";
const CHECK_COOKIES = "cookies";
const CHECK_SCHEME = "forwarded scheme";
const CHECK_ADDRESS = "forwarded address";

const ok = (check: string, cause: string): Finding => ({ check, level: "ok", cause });
const warning = (check: string, cause: string, mend: string): Finding => ({ check, level: "warning", cause, mend });
const fault = (check: string, cause: string, mend: string): Finding => ({ check, level: "fault", cause, mend });

export function postgresFindings(
  facts: { version: string; major: number; isSuperuser: boolean; isOwner: boolean; clockMs: number },
  at: { isProduction: boolean; isEmbedded: boolean },
): readonly Finding[] {
  const name = `Postgres ${facts.version}`;
  const version =
    facts.major < POSTGRES_MAJOR_MIN
      ? fault("postgres", `${name} is older than ${POSTGRES_MAJOR_MIN}`, `upgrade it to ${POSTGRES_MAJOR_MIN} or newer`)
      : ok("postgres", `${name}${at.isEmbedded ? ", started by Signet" : ""}`);
  const findings = [version, clockFinding("clock of postgres", facts.clockMs)];
  if (!at.isProduction || !(facts.isSuperuser || facts.isOwner)) return findings;
  const cause = facts.isSuperuser
    ? "the role of DATABASE_URL is a superuser"
    : "the role of DATABASE_URL owns the tables, so it could switch the audit trail's triggers off";
  const mend =
    "give the tables to another role, name that one in MIGRATION_DATABASE_URL, and grant this one select, insert, update and delete";
  return [...findings, warning("postgres role", cause, mend)];
}

export function redisFindings(facts: {
  version: string;
  evictionPolicy: string;
  isAppendOnly: boolean;
  clockMs: number;
}): readonly Finding[] {
  const isOld = Number(facts.version.split(".")[0]) < REDIS_MAJOR_MIN;
  const name = `Redis ${facts.version}`;
  const findings = [
    isOld
      ? fault("redis", `${name} is older than ${REDIS_MAJOR_MIN}`, `upgrade it to ${REDIS_MAJOR_MIN} or newer`)
      : ok("redis", name),
    clockFinding("clock of redis", facts.clockMs),
  ];
  if (facts.evictionPolicy !== "noeviction")
    findings.push(
      fault(
        "redis eviction",
        `maxmemory-policy is ${facts.evictionPolicy}: under pressure live sign-ins vanish without a word`,
        "config set maxmemory-policy noeviction, and the same in redis.conf",
      ),
    );
  if (!facts.isAppendOnly)
    findings.push(
      warning(
        "redis persistence",
        "appendonly is off: a restart of Redis signs everybody out",
        "set appendonly yes and appendfsync everysec",
      ),
    );
  return findings;
}

export function clockFinding(check: string, theirsMs: number): Finding {
  const apartMs = Math.abs(now().getTime() - theirsMs);
  const cause = `${Math.round(apartMs)} ms apart from this machine's`;
  return apartMs <= CLOCK_MS_MAX
    ? ok(check, cause)
    : fault(check, cause, "synchronise both clocks (NTP): tokens would be refused as not yet valid");
}

/** What the configuration alone says of cookies: a browser sends one that is not Secure to whoever answers on plain http. */
export function cookieSettingFinding({ issuer, isProduction }: { issuer: string; isProduction: boolean }): Finding {
  if (issuer.startsWith("https:")) return ok(CHECK_COOKIES, "Secure, bound to the issuer's host");
  const cause = "ISSUER is http, so cookies are not Secure: browsers keep them at loopback addresses only";
  return isProduction
    ? warning(CHECK_COOKIES, cause, "set ISSUER to the https address that people open, and end TLS in the proxy")
    : ok(CHECK_COOKIES, cause);
}

/** Set-Cookie headers as they came out of the proxy, held against what Signet sends: HttpOnly, SameSite=Lax, no Domain, Secure on https. */
export function cookieFindings(headers: readonly string[], issuer: string): readonly Finding[] {
  const mend =
    "let the proxy pass Set-Cookie unchanged (nginx: no proxy_cookie_domain, proxy_cookie_flags, proxy_hide_header)";
  if (headers.length === 0)
    return [fault(CHECK_COOKIES, "an answer that sets a cookie arrives without it, so nobody can sign in", mend)];
  const wanted = ["httponly", "samesite=lax", "path=/", ...(issuer.startsWith("https:") ? ["secure"] : [])];
  for (const header of headers) {
    const [pair = "", ...rest] = header.split(";").map((part) => part.trim());
    const attributes = rest.map((part) => part.toLowerCase());
    const missing = wanted.filter((attribute) => !attributes.includes(attribute));
    const domain = attributes.find((attribute) => attribute.startsWith("domain="));
    const name = pair.slice(0, pair.indexOf("="));
    if (missing.length > 0)
      return [fault(CHECK_COOKIES, `the cookie ${name} arrives without ${missing.join(", ")}`, mend)];
    if (domain !== undefined)
      return [
        fault(CHECK_COOKIES, `the cookie ${name} arrives with ${domain}: every host below it could read it`, mend),
      ];
  }
  return [];
}

/** How a request that took the way of browsers arrived: what the last proxy said, and whom the server believes to have asked. */
export interface Arrival {
  readonly scheme: string;
  readonly forwardedFor: string;
  readonly socketAddress: string;
  readonly address: string;
}

export function arrivalFindings(arrival: Arrival, issuer: string, trustProxy: TrustProxy): readonly Finding[] {
  return [schemeFinding(arrival, issuer, trustProxy), addressFinding(arrival, trustProxy)];
}

function schemeFinding({ scheme }: Arrival, issuer: string, trustProxy: TrustProxy): Finding {
  const ours = issuer.split(":")[0] ?? "";
  if (scheme !== "" && scheme !== ours)
    return fault(
      CHECK_SCHEME,
      `requests arrive as ${scheme}, ISSUER is ${ours}`,
      ours === "https"
        ? "let the proxy say what the browser used (nginx: proxy_set_header X-Forwarded-Proto $scheme;), and lead http to https there"
        : "set ISSUER to the https address that people open",
    );
  if (ours === "https" && trustProxy.kind !== "none" && scheme === "")
    return warning(
      CHECK_SCHEME,
      "the proxy does not say that the browser used https",
      "nginx: proxy_set_header X-Forwarded-Proto $scheme;",
    );
  return ok(CHECK_SCHEME, scheme === "" ? `nothing is forwarded, ISSUER says ${ours}` : `arrives as ${scheme}`);
}

function addressFinding({ address, forwardedFor, socketAddress }: Arrival, trustProxy: TrustProxy): Finding {
  const last = forwardedFor.split(",").at(-1)?.trim() ?? "";
  if (trustProxy.kind === "none") {
    if (forwardedFor === "" || forwardedFor === FORGED_ADDRESS) return ok(CHECK_ADDRESS, `arrives as ${address}`);
    return warning(
      CHECK_ADDRESS,
      `a proxy at ${socketAddress} forwards addresses that are not believed: everybody has the proxy's, and meets one limit`,
      "set TRUST_PROXY to the number of proxies in front, usually 1",
    );
  }
  // Whoever asks from a trusted network is taken for a proxy: from there nobody can tell what strangers are taken for.
  if (trustProxy.kind === "networks" && last !== FORGED_ADDRESS && isIn(trustProxy.networks, last))
    return ok(
      CHECK_ADDRESS,
      `asked from ${last}, which TRUST_PROXY trusts; ask from elsewhere to see a stranger's way`,
    );
  if (address === FORGED_ADDRESS)
    return fault(
      CHECK_ADDRESS,
      "an address that the client wrote itself is believed: limits can be walked around, and the audit trail names whom the attacker likes",
      "TRUST_PROXY counts the proxies in front, no more; without one leave it out. The proxy adds the address that it sees (nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;)",
    );
  const isUnknown = trustProxy.kind === "networks" && !isIn(trustProxy.networks, socketAddress);
  if (forwardedFor === "" || isUnknown)
    return warning(
      CHECK_ADDRESS,
      `no address is forwarded that TRUST_PROXY believes: everybody has ${socketAddress}, and meets one limit`,
      isUnknown
        ? `name the proxy's network in TRUST_PROXY: it asks from ${socketAddress}`
        : "nginx: proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    );
  return ok(CHECK_ADDRESS, `arrives as ${address}`);
}

function isIn(networks: BlockList, address: string): boolean {
  const version = isIP(address);
  return version !== 0 && networks.check(address, version === 6 ? "ipv6" : "ipv4");
}
