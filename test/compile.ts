/** The tree that `npm test` runs: every file of ours with its types taken off once, since each of some two hundred processes would do it anew. */
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { transformSync } from "@swc/wasm-typescript";

const CODE = ["src", "test", "demo", "verifier"];
/** What the code finds beside its own folder. */
const BESIDE = ["views", "migrations", "config"];
const NAME = /^compiled-(\d+)$/;
/** An import or export of a file of ours, at the beginning of a line, or a dynamic one that is awaited. */
const OWN_FILE = /^((?:import|export|\}) [^"\n]*"\.{1,2}\/[^"\n]+)\.ts"|(\bimport\("\.{1,2}\/[^"\n]+)\.ts"\)/gm;

/**
 * Types become blanks, so lines and columns of an error are those of the source. The tree lies in the checkout, where the packages are
 * found, and is this process's own: another run, or an edit while this one runs, changes nothing in it.
 */
export function compile(checkout: string): { readonly folder: string; remove(): void } {
  const cache = join(checkout, ".cache");
  mkdirSync(cache, { recursive: true });
  removeLeftovers(cache);
  const folder = join(cache, `compiled-${process.pid}`);
  for (const room of CODE) {
    for (const path of filesOf(join(checkout, room))) {
      const target = join(folder, room, path.replace(/\.ts$/, ".js"));
      mkdirSync(dirname(target), { recursive: true });
      if (!path.endsWith(".ts")) {
        copyFileSync(join(checkout, room, path), target);
        continue;
      }
      const { code } = transformSync(readFileSync(join(checkout, room, path), "utf8"), { mode: "strip-only" });
      writeFileSync(
        target,
        code.replace(OWN_FILE, (_, still?: string, dynamic?: string) =>
          still !== undefined ? `${still}.js"` : `${dynamic}.js")`,
        ),
      );
    }
  }
  for (const name of BESIDE) cpSync(join(checkout, name), join(folder, name), { recursive: true });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

function filesOf(room: string): readonly string[] {
  const entries = readdirSync(room, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => relative(room, join(parentPath, name)));
  return paths.filter((path) => !/(^|[\\/])(node_modules|dist)[\\/]/.test(path) && !path.endsWith("package.json"));
}

/** Trees of runs that were killed. */
function removeLeftovers(cache: string): void {
  for (const name of readdirSync(cache)) {
    const pid = NAME.exec(name)?.[1];
    if (pid !== undefined && !isRunning(Number(pid))) rmSync(join(cache, name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
