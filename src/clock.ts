/** Time: the one place that reads the clock, so that whoever wonders where time comes from has one answer. */

/** The present moment. SQL takes it as a parameter, so that a process and its statements agree. */
export function now(): Date {
  return new Date();
}

/** Whole seconds since 1970, as JWTs count them (NumericDate, RFC 7519 section 2). */
export function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

/** The moment that lies so many seconds after another; negative seconds look back. */
export function secondsAfter(moment: Date, seconds: number): Date {
  return new Date(moment.getTime() + seconds * 1000);
}

/** Milliseconds of a clock that is never set back: for durations only. */
export function monotonicMs(): number {
  return performance.now();
}

/** Waits; with a signal the wait ends early and without an error. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) return resolve();
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done, { once: true });
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
  });
}

/**
 * What the work comes to, or undefined when it takes longer; it goes on all the same. One timer and nothing else, since every question to a
 * store waits so: ending a sleep by a signal makes an exception with a stack each time (measured: 11 µs against 0.5).
 */
export function awaitAtMost<T>(milliseconds: number, work: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds, undefined);
    work.then(
      (result) => {
        clearTimeout(timer);
        resolve(result);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}
