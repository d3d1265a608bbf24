/** What processes cost, read from /proc: CPU seconds and memory of a whole tree, since a child that hashes counts. */
import { readdirSync, readFileSync } from "node:fs";

/** Linux counts CPU time in hundredths of a second, whatever the kernel's own tick (proc(5), USER_HZ). */
const TICKS_PER_SECOND = 100;
const KIB = 1024;

interface Stat {
  readonly pid: number;
  readonly parent: number;
  readonly cpuSeconds: number;
}

function readStat(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name stands in brackets and may hold anything; the fields begin behind the last one.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    const [userTicks, systemTicks, childUser, childSystem] = fields.slice(11, 15).map(Number);
    // With the time of children that ended and were waited for.
    const ticks = (userTicks ?? 0) + (systemTicks ?? 0) + (childUser ?? 0) + (childSystem ?? 0);
    return { pid, parent: Number(fields[1]), cpuSeconds: ticks / TICKS_PER_SECOND };
  } catch {
    // It ended between the listing and the reading.
    return undefined;
  }
}

function treeOf(root: number): readonly Stat[] {
  const all = readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? (readStat(Number(name)) ?? []) : []));
  const found = all.filter(({ pid }) => pid === root);
  for (let index = 0; index < found.length; index += 1) {
    const parent = found[index]?.pid;
    found.push(...all.filter((candidate) => candidate.parent === parent));
  }
  return found;
}

/** Of the process and everything below it. */
export function cpuSecondsOf(root: number): number {
  return treeOf(root).reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
}

/** The most memory that the process had at once (VmHWM), alone and with everything below it, in bytes. */
export function peakMemory(root: number): { readonly main: number; readonly tree: number } {
  const peak = (pid: number): number => {
    try {
      return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * KIB;
    } catch {
      return 0;
    }
  };
  return { main: peak(root), tree: treeOf(root).reduce((sum, { pid }) => sum + peak(pid), 0) };
}

export function parentOf(pid: number): number {
  return readStat(pid)?.parent ?? 0;
}

export function loadAverage(): string {
  return readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 3).join(" ");
}

export function processorName(): string {
  return /model name\s*:\s*(.+)/.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "unknown";
}
