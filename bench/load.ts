/** The load: virtual users with one keep-alive connection each, on plain sockets, so that the generator costs little beside what it measures. */
import { connect, type Socket } from "node:net";

const ANSWER_MS = 20_000;
const WARM_UP_MS_MAX = 60_000;
const HEAD_END = Buffer.from("\r\n\r\n");

export interface Answer {
  readonly status: number;
  readonly location: string | undefined;
  readonly cookies: readonly string[];
  readonly body: string;
}

export interface Request {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** One connection, opened again when the server closes it. Requests go one after the other. */
export class Connection {
  private socket: Socket | undefined;
  private received: Buffer[] = [];
  private waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;
  private readonly port: number;
  private readonly common: string;

  constructor(port: number, headers: Readonly<Record<string, string>>) {
    this.port = port;
    this.common = headerLines(headers);
  }

  async send(request: Request): Promise<Answer> {
    this.socket ??= await this.open();
    const { socket } = this;
    const body = request.body ?? "";
    const length = request.method === "GET" ? "" : `content-length: ${Buffer.byteLength(body)}\r\n`;
    const own = headerLines(request.headers ?? {});
    return new Promise<Answer>((resolve, reject) => {
      this.waiting = { resolve, reject };
      socket.write(`${request.method} ${request.path} HTTP/1.1\r\n${this.common}${own}${length}\r\n${body}`);
    });
  }

  close(): void {
    this.socket?.destroy();
    this.socket = undefined;
  }

  private open(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port: this.port, host: "127.0.0.1", noDelay: true }, () => resolve(socket));
      socket.setTimeout(ANSWER_MS, () => socket.destroy(new Error("no answer in time")));
      socket.on("data", (chunk) => this.take(chunk));
      socket.on("error", (error) => {
        reject(error);
        this.fail(error);
      });
      socket.on("close", () => {
        if (this.socket === socket) this.socket = undefined;
        this.fail(new Error("the server closed the connection"));
      });
    });
  }

  private fail(error: Error): void {
    this.waiting?.reject(error);
    this.waiting = undefined;
    this.received = [];
  }

  private take(chunk: Buffer): void {
    this.received.push(chunk);
    const data = this.received.length === 1 ? chunk : Buffer.concat(this.received);
    const headEnd = data.indexOf(HEAD_END);
    if (headEnd < 0) return;
    const head = data.toString("latin1", 0, headEnd);
    const bodyStart = headEnd + HEAD_END.length;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
    if (/\r\ntransfer-encoding:/i.test(head)) {
      this.fail(new Error("a chunked answer is not read here"));
      return;
    }
    if (data.length < bodyStart + length) return;
    const { waiting } = this;
    this.waiting = undefined;
    this.received = [];
    if (/\r\nconnection: close/i.test(head)) this.close();
    waiting?.resolve({
      status: Number(head.slice(9, 12)),
      location: /\r\nlocation: ([^\r]*)/i.exec(head)?.[1],
      cookies: [...head.matchAll(/\r\nset-cookie: ([^\r]*)/gi)].map(([, cookie = ""]) => cookie),
      body: data.toString("utf8", bodyStart, bodyStart + length),
    });
  }
}

function headerLines(headers: Readonly<Record<string, string>>): string {
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
}

/** One operation of one user; it checks its answers and throws when one is wrong. */
export type Step = () => Promise<void>;

export interface Slice {
  readonly seconds: number;
  readonly operations: number;
  readonly latenciesMs: readonly number[];
  /** Share of one core that the generator used itself. */
  readonly generatorShare: number;
  readonly before: Marks;
  readonly after: Marks;
}

/** CPU seconds so far, by what was asked for. */
export type Marks = Readonly<Record<string, number>>;

export interface LoadOptions {
  readonly steps: readonly Step[];
  readonly warmUpMs: number;
  /** The warm-up also lasts until so many were done. */
  readonly warmUpOperations: number;
  readonly sliceMs: number;
  readonly slices: number;
  /** Pauses each user between two operations; for answers so cheap that the generator would be the bottleneck. */
  readonly pauseMs?: number;
  readonly mark: () => Marks;
}

export interface LoadResult {
  readonly slices: readonly Slice[];
  readonly errors: number;
  readonly firstError: string | undefined;
}

/** All users at once, each one operation after the other; what is counted begins after the warm-up. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  let isOver = false;
  let latencies: number[] = [];
  let errors = 0;
  let firstError: string | undefined;
  const user = async (step: Step): Promise<void> => {
    while (!isOver) {
      const begun = performance.now();
      try {
        await step();
        latencies.push(performance.now() - begun);
      } catch (error) {
        errors += 1;
        firstError ??= error instanceof Error ? error.message : String(error);
        await pause(20);
      }
      if (options.pauseMs !== undefined) await pause(options.pauseMs);
    }
  };
  const users = options.steps.map(user);
  const slices: Slice[] = [];
  await pause(options.warmUpMs);
  const giveUpAt = performance.now() + WARM_UP_MS_MAX;
  while (latencies.length < options.warmUpOperations && performance.now() < giveUpAt) await pause(20);
  for (let index = 0; index < options.slices; index += 1) {
    latencies = [];
    const [before, own, begun] = [options.mark(), process.cpuUsage(), performance.now()];
    await pause(options.sliceMs);
    const used = process.cpuUsage(own);
    const seconds = (performance.now() - begun) / 1000;
    const after = options.mark();
    const generatorShare = (used.user + used.system) / 1e6 / seconds;
    slices.push({ seconds, operations: latencies.length, latenciesMs: latencies, generatorShare, before, after });
  }
  isOver = true;
  await Promise.all(users);
  return { slices, errors, firstError };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
