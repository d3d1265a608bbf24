/**
 * Where the time of V8 profiles went: `node --import tsx bench/profile.ts <file.cpuprofile> ...` lists own time by function and by file.
 * Counted is the stretch in which requests were served, so that starting up and waiting do not hide it.
 */
import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";

const SHOWN = 40;
/** Seen in every request; its first and last tenth are left to starting up and ending. */
const REQUEST_SIGN = new Set(["parserOnIncoming", "parserOnHeadersComplete", "onParserExecuteCommon", "resOnFinish"]);

interface Profile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

for (const file of process.argv.slice(2)) {
  const profile = JSON.parse(readFileSync(file, "utf8")) as Profile;
  const nodes = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
  const [byFunction, byPlace] = [new Map<string, number>(), new Map<string, number>()];
  const [from, to] = served(profile, nodes);
  let busy = 0;
  for (const [index, id] of profile.samples.entries()) {
    const frame = nodes.get(id);
    const micros = profile.timeDeltas[index] ?? 0;
    if (index < from || index > to) continue;
    if (frame === undefined || ["(idle)", "(program)"].includes(frame.functionName)) continue;
    busy += micros;
    const path = frame.url.startsWith("file:") ? relative(process.cwd(), fileURLToPath(frame.url)) : frame.url;
    const name = `${frame.functionName || "(anonymous)"} ${path}:${frame.lineNumber + 1}`;
    byFunction.set(name, (byFunction.get(name) ?? 0) + micros);
    const place = path.startsWith("node_modules/") ? path.split("/").slice(0, 2).join("/") : path;
    byPlace.set(place, (byPlace.get(place) ?? 0) + micros);
  }
  console.log(`${file}: ${(busy / 1e6).toFixed(1)} s busy`);
  for (const [title, sums] of [
    ["by function", byFunction],
    ["by file or package", byPlace],
  ] as const) {
    console.log(`  ${title}`);
    const sorted = [...sums].sort(([, a], [, b]) => b - a).slice(0, SHOWN);
    for (const [name, micros] of sorted) console.log(`  ${((micros / busy) * 100).toFixed(1).padStart(5)} %  ${name}`);
  }
}

/** The samples between which requests were served. */
function served(
  { samples }: Profile,
  nodes: ReadonlyMap<number, { readonly functionName: string }>,
): readonly [number, number] {
  const signs = samples.flatMap((id, index) => (REQUEST_SIGN.has(nodes.get(id)?.functionName ?? "") ? [index] : []));
  const at = (share: number, otherwise: number): number => signs[Math.floor(signs.length * share)] ?? otherwise;
  return [at(0.1, 0), at(0.9, samples.length)];
}
