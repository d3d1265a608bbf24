/** Time, shifted for a whole process: `--import ./test/shift-time.ts` with SHIFT_TIME_SECONDS offsets Date for every library in it. Timers and durations go on as they are. */

const RealDate = Date;
let offsetMs = Number(process.env["SHIFT_TIME_SECONDS"] ?? "0") * 1000;
if (!Number.isFinite(offsetMs)) throw new Error("SHIFT_TIME_SECONDS is a number of seconds");

/** Moves the offset while the process runs; 0 is real time again. */
export function shiftTime(seconds: number): void {
  offsetMs = seconds * 1000;
}

function shiftedNow(): number {
  return RealDate.now() + offsetMs;
}

const Shifted = new Proxy(RealDate, {
  construct: (target, args: unknown[], newTarget) =>
    Reflect.construct(target, args.length === 0 ? [shiftedNow()] : args, newTarget),
  apply: () => new RealDate(shiftedNow()).toString(),
  get: (target, name, receiver) => (name === "now" ? shiftedNow : Reflect.get(target, name, receiver)),
});
// `new date.constructor()` would otherwise reach the real clock.
RealDate.prototype.constructor = Shifted;
globalThis.Date = Shifted;
