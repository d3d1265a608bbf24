/** Which addresses are one subject of a limit. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressSubject } from "../../src/limits/address.ts";

const same: readonly (readonly [name: string, spellings: readonly string[], subject: string])[] = [
  ["an IPv4 address", ["192.0.2.7", " 192.0.2.7 "], "192.0.2.7"],
  [
    "T-RL-3: every spelling of an IPv4 address inside IPv6",
    [
      "::ffff:192.0.2.7",
      "::FFFF:192.0.2.7",
      "::ffff:c000:207",
      "0:0:0:0:0:ffff:192.0.2.7",
      "[::ffff:c000:0207]",
      "0000:0000:0000:0000:0000:FFFF:C000:0207",
    ],
    "192.0.2.7",
  ],
  [
    "T-RL-2: every address of a /64",
    [
      "2001:db8:1:2::1",
      "2001:db8:1:2:ffff:ffff:ffff:ffff",
      "2001:0DB8:0001:0002:0:0:0:9",
      "[2001:db8:1:2::1]",
      "2001:db8:1:2::1%eth0",
    ],
    "2001:db8:1:2::/64",
  ],
  ["T-RL-2: a /64 with zeros in it", ["2001:db8::1", "2001:db8:0:0:7::", "2001:db8::7:0:0:1"], "2001:db8:0:0::/64"],
  ["the loopback address", ["::1", "0:0:0:0:0:0:0:1"], "0:0:0:0::/64"],
  [
    "what is no address",
    ["", "unknown", "192.0.2.300", "192.0.2.7, 10.0.0.1", "0300.0.2.7", "[::1]:80", "::ffff:192.0.2.7.8"],
    "unknown",
  ],
];
for (const [name, spellings, subject] of same) {
  test(`${name} is one subject`, () => {
    for (const spelling of spellings) assert.equal(addressSubject(spelling), subject, spelling);
  });
}

test("neighbouring networks are different subjects", () => {
  const addresses = ["192.0.2.7", "192.0.2.8", "2001:db8:1:2::1", "2001:db8:1:3::1", "::ffff:192.0.2.9", "::1"];
  assert.equal(new Set(addresses.map(addressSubject)).size, addresses.length);
});
