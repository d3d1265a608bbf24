/** Whose request it is: forwarded addresses count only as far as the proxies that are trusted. */
import assert from "node:assert/strict";
import { BlockList } from "node:net";
import { test } from "node:test";
import type { TrustProxy } from "../../src/config.ts";
import { clientAddress } from "../../src/http/host.ts";

const none: TrustProxy = { kind: "none" };
const hops = (count: number): TrustProxy => ({ kind: "hops", hops: count });
const networks = (...cidrs: readonly (readonly [string, number, "ipv4" | "ipv6"])[]): TrustProxy => {
  const list = new BlockList();
  for (const [address, bits, family] of cidrs) list.addSubnet(address, bits, family);
  return { kind: "networks", networks: list };
};
const inside = networks(["10.0.0.0", 8, "ipv4"], ["fd00::", 8, "ipv6"]);

/** Trust, the socket's address, X-Forwarded-For, who acts. */
const rows: readonly (readonly [string, TrustProxy, string, string, string])[] = [
  ["nobody is trusted (T-RL-1)", none, "203.0.113.9", "1.2.3.4", "203.0.113.9"],
  ["nobody is trusted, from loopback (T-RL-1)", none, "127.0.0.1", "1.2.3.4", "127.0.0.1"],
  ["an IPv4 peer on an IPv6 socket", none, "::ffff:203.0.113.9", "", "203.0.113.9"],
  ["one hop", hops(1), "10.0.0.1", "1.2.3.4", "1.2.3.4"],
  [
    "one hop, what stands before it is the caller's word (T-RL-4)",
    hops(1),
    "10.0.0.1",
    "6.6.6.6, 7.7.7.7, 1.2.3.4",
    "1.2.3.4",
  ],
  ["two hops", hops(2), "10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"],
  ["more hops than entries", hops(3), "10.0.0.1", "1.2.3.4", "1.2.3.4"],
  ["one hop that adds nothing", hops(1), "10.0.0.1", "", "10.0.0.1"],
  ["one hop that writes nonsense (T-HOST-5)", hops(1), "10.0.0.1", "a", "10.0.0.1"],
  ["one hop with a port", hops(1), "10.0.0.1", "1.2.3.4:5678", "10.0.0.1"],
  ["one hop, empty entries", hops(1), "10.0.0.1", ",,,", "10.0.0.1"],
  ["one hop, IPv6", hops(1), "10.0.0.1", "2001:DB8::1", "2001:db8::1"],
  ["one hop, IPv4 inside IPv6", hops(1), "10.0.0.1", "::ffff:1.2.3.4", "1.2.3.4"],
  ["ten thousand entries", hops(1), "10.0.0.1", `${"6.6.6.6,".repeat(10_000)}1.2.3.4`, "1.2.3.4"],
  ["a network, from outside it (T-RL-1)", inside, "203.0.113.9", "1.2.3.4", "203.0.113.9"],
  ["a network, from inside", inside, "10.1.1.1", "1.2.3.4", "1.2.3.4"],
  ["a network, right-most stranger (T-RL-4)", inside, "10.1.1.1", "6.6.6.6, 1.2.3.4, 10.2.2.2, 10.3.3.3", "1.2.3.4"],
  ["a network, nonsense behind a proxy (T-HOST-5)", inside, "10.1.1.1", "1.2.3.4, a, 10.2.2.2", "10.2.2.2"],
  ["a network, only proxies", inside, "10.1.1.1", "10.9.9.9, 10.2.2.2", "10.9.9.9"],
  ["a network of IPv6", inside, "fd00::1", "2001:db8::5, fd00::2", "2001:db8::5"],
];
for (const [name, trust, socket, forwarded, acts] of rows)
  test(`the address that acts: ${name}`, () => assert.equal(clientAddress(socket, forwarded, trust), acts));
