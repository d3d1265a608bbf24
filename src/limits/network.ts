/** Networks that the operator keeps out of the pages of people, or the only ones that are let in. */
import { BlockList, isIPv6 } from "node:net";

/** Undefined lists let everybody in; a denied network is out even where it is allowed. */
export function createNetworkGate(lists: {
  readonly deny: readonly string[];
  readonly allow: readonly string[];
}): (address: string) => boolean {
  const [denied, allowed] = [listOf(lists.deny), listOf(lists.allow)];
  return (address) => {
    const bare = address.split("%")[0] ?? "";
    const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1];
    const [plain, family] = mapped === undefined ? [bare, isIPv6(bare) ? "ipv6" : "ipv4"] : [mapped, "ipv4"];
    const isIn = (list: BlockList): boolean => list.check(plain, family as "ipv4" | "ipv6");
    return !isIn(denied) && (lists.allow.length === 0 || isIn(allowed));
  };
}

function listOf(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", bits] = network.split("/");
    const family = isIPv6(address) ? "ipv6" : "ipv4";
    list.addSubnet(address, bits === undefined ? (family === "ipv6" ? 128 : 32) : Number(bits), family);
  }
  return list;
}
