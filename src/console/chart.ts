/** Charts of the console as plain geometry: lines with their last point and their peak said in words, and bars. The view draws them as inline SVG. */

export interface Line {
  /** The first is solid, the second dashed: hue is never needed. */
  readonly kind: 1 | 2;
  readonly values: readonly number[];
  /** Of its last value: "1,284 signed in". */
  readonly last: string;
}

export interface Mark {
  readonly x: number;
  readonly y: number;
  readonly text: string;
  readonly textX: number;
  readonly textY: number;
  readonly anchor: "start" | "middle" | "end";
}

export interface LineChart {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly right: number;
  readonly grid: readonly { readonly y: number; readonly text: string }[];
  readonly ticks: readonly { readonly x: number; readonly text: string; readonly anchor: Mark["anchor"] }[];
  readonly lines: readonly { readonly kind: 1 | 2; readonly path: string; readonly marks: readonly Mark[] }[];
}

const HEIGHT = 236;
const TOP = 30;
const BOTTOM = 30;
const LEFT = 44;
/** What is written beside the last point has this much room on the wide one; on the narrow one it stands above. */
const RIGHT_WIDE = 124;
const RIGHT_NARROW = 14;
const WIDE = 540;
const TOP_WORDS = 13;
const LABEL_HEIGHT = 17;
const TICKS_WIDE = 6;
const TICKS_NARROW = 4;

/** Every line has as many values as there are steps. */
export function lineChart(
  lines: readonly Line[],
  { width, steps, number }: { width: 540 | 308; steps: readonly string[]; number: (value: number) => string },
): LineChart {
  const isWide = width === WIDE;
  const right = width - (isWide ? RIGHT_WIDE : RIGHT_NARROW);
  const max = niceMax(Math.max(1, ...lines.flatMap(({ values }) => values)));
  const xOf = (index: number): number => round(LEFT + ((right - LEFT) * index) / Math.max(1, steps.length - 1));
  const yOf = (value: number): number => round(HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / max);
  const every = Math.ceil(steps.length / (isWide ? TICKS_WIDE : TICKS_NARROW));
  const drawn = lines.map(({ kind, values, last }) => {
    const points = values.map((value, index) => `${xOf(index)} ${yOf(value)}`);
    const [x, y] = [xOf(values.length - 1), yOf(values.at(-1) ?? 0)];
    // On the narrow one there is no room beside the point, and above it the line passes: there they stand on top.
    const narrow =
      kind === 1
        ? ({ textX: LEFT, textY: TOP_WORDS, anchor: "start" } as const)
        : ({ textX: right, textY: TOP_WORDS, anchor: "end" } as const);
    const beside = isWide ? ({ textX: x + 9, textY: y + 4, anchor: "start" } as const) : narrow;
    const peak = values.indexOf(Math.max(...values));
    const value = values[peak] ?? 0;
    const marks: Mark[] = [{ x, y, text: last, ...beside }];
    // A peak beside the last point would be written over it.
    if (value > 0 && peak < values.length * 0.8)
      marks.push({
        ...{ x: xOf(peak), y: yOf(value), text: number(value) },
        ...{ textX: xOf(peak), textY: yOf(value) - 9, anchor: peak === 0 ? "start" : "middle" },
      });
    return { kind, path: `M${points.join("L")}`, marks };
  });
  return {
    ...{ width, height: HEIGHT, left: LEFT, right },
    grid: [0, max / 2, max].map((value) => ({ y: yOf(value), text: number(value) })),
    ticks: steps.flatMap((text, index) => {
      const fromLast = steps.length - 1 - index;
      // The last one would be cut off where the picture ends beside it.
      const anchor = fromLast === 0 && !isWide ? "end" : "middle";
      return fromLast % every === 0 ? [{ x: xOf(index), text, anchor } as const] : [];
    }),
    lines: isWide ? apart(drawn) : drawn,
  };
}

/** The words of the last points are never written over one another: the lower value's go down, or the other's go up. */
function apart(lines: LineChart["lines"]): LineChart["lines"] {
  const [one, two] = lines.map(({ marks }) => marks[0]);
  if (one === undefined || two === undefined || Math.abs(one.textY - two.textY) >= LABEL_HEIGHT) return lines;
  const isOneAbove = one.textY <= two.textY;
  const lift = LABEL_HEIGHT - Math.abs(one.textY - two.textY);
  return lines.map((line, index) => {
    const [first, ...rest] = line.marks;
    const isAbove = (index === 0) === isOneAbove;
    return first === undefined || !isAbove
      ? line
      : { ...line, marks: [{ ...first, textY: first.textY - lift }, ...rest] };
  });
}

/** A round number that is at least as large, and whose half is whole. */
function niceMax(max: number): number {
  const power = 10 ** Math.floor(Math.log10(max));
  const factors = power < 10 ? [2, 4, 6, 8, 10] : [1, 1.4, 2, 2.4, 3, 4, 5, 6, 8, 10];
  return Math.round((factors.find((factor) => factor * power >= max) ?? 10) * power);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

export interface Bar {
  readonly label: string;
  readonly href: string;
  readonly count: number;
  /** Of the longest one, 0 to 100. */
  readonly percent: number;
}

export function bars(rows: readonly Omit<Bar, "percent">[]): readonly Bar[] {
  const max = Math.max(1, ...rows.map(({ count }) => count));
  return rows.map((row) => ({ ...row, percent: Math.max(1, Math.round((100 * row.count) / max)) }));
}
