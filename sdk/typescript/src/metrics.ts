/** The metrics of sandboxes. */

import { Awaitable, disposable } from "./awaitable.js";
import type { JsonLines, Msb } from "./command.js";
import { checkedName, numberOf, objectsIn, textOf, type Json } from "./documents.js";
import { InvalidArgumentError, SandboxNotRunningError } from "./errors.js";
import type { CallOptions } from "./waiting.js";

/** How much a running sandbox uses. Counters are those since its start. */
export interface Metrics {
  /** The full name of the sandbox. */
  readonly name: string;
  readonly id: string;
  /** When they were read. */
  readonly timestamp: Date;
  /** The time since its start without pauses, in milliseconds. */
  readonly uptimeMs: number;
  readonly paused: boolean;
  /** The use of processors in percent of one; 100 for each that is busy. */
  readonly cpuPercent: number;
  /** The processor time, in milliseconds. */
  readonly cpuMs: number;
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly diskReadBytes: number;
  readonly diskWrittenBytes: number;
  readonly netReceivedBytes: number;
  readonly netSentBytes: number;
  /** Refused connections. */
  readonly refusals: number;
  readonly restarts: number;
  /** The whole document. */
  readonly raw: Json;
}

/** Options of a stream of metrics. */
export interface MetricsStreamOptions extends CallOptions {
  /** The time between two samples, in milliseconds; 1000 by default. */
  interval?: number | undefined;
}

/** Samples of a sandbox's metrics, until it ends. */
export class MetricsStream implements AsyncIterable<Metrics> {
  readonly #lines: JsonLines;

  /** @internal */
  constructor(lines: JsonLines) {
    this.#lines = lines;
  }

  /** Waits for the next sample; `undefined` at the end. */
  async next(options: CallOptions = {}): Promise<Metrics | undefined> {
    for (;;) {
      const document = await this.#lines.next(options.signal);
      if (document === undefined) return undefined;
      const [sample] = metricsIn(document);
      if (sample !== undefined) return sample;
    }
  }

  /** Ends the stream. */
  async close(): Promise<void> {
    await this.#lines.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Metrics, void, undefined> {
    try {
      for (let sample = await this.next(); sample !== undefined; sample = await this.next()) yield sample;
    } finally {
      await this.close();
    }
  }
}

export interface MetricsStream {
  /** Ends the stream. */
  [Symbol.asyncDispose](): Promise<void>;
}
disposable(MetricsStream.prototype, function () {
  return this.close();
});

/** Reads the metrics of one sandbox. */
export async function readMetrics(msb: Msb, name: string, options: CallOptions): Promise<Metrics> {
  const document = await msb.json(["metrics", checkedName(name)], { signal: options.signal });
  const [sample] = metricsIn(document);
  if (sample === undefined) {
    throw new SandboxNotRunningError("sandbox-not-running", `${name} is not running`, { subject: name });
  }
  return sample;
}

/** Reads the metrics of all running sandboxes. */
export async function readAllMetrics(msb: Msb, options: CallOptions): Promise<Metrics[]> {
  return metricsIn(await msb.json(["metrics", "--all"], { signal: options.signal }));
}

/** Starts a stream of metrics. */
export function openMetricsStream(
  msb: Msb,
  name: string,
  options: MetricsStreamOptions,
): Awaitable<MetricsStream, Metrics> {
  return new Awaitable(async () => {
    const { interval = 1000, signal } = options;
    if (!(interval > 0)) throw new InvalidArgumentError("interval must be a number of milliseconds");
    const args = ["metrics", "--json", "--watch", `--interval=${Math.ceil(interval)}ms`, checkedName(name)];
    return new MetricsStream(msb.lines(args, { signal }));
  });
}

function metricsIn(document: unknown): Metrics[] {
  const timestamp = new Date();
  return objectsIn(document, "sandboxes").map((raw) => {
    const number = (field: string) => numberOf(raw[field]) ?? 0;
    return {
      name: textOf(raw["full_name"]) ?? textOf(raw["name"]) ?? "",
      id: textOf(raw["id"]) ?? "",
      timestamp,
      uptimeMs: number("uptime_ms"),
      paused: raw["paused"] === true,
      cpuPercent: number("cpu_percent"),
      cpuMs: number("cpu_ms"),
      vcpus: number("vcpus"),
      memoryBytes: number("memory_bytes"),
      memoryLimitBytes: number("memory_limit_bytes"),
      diskReadBytes: number("disk_read_bytes"),
      diskWrittenBytes: number("disk_written_bytes"),
      netReceivedBytes: number("net_received_bytes"),
      netSentBytes: number("net_sent_bytes"),
      refusals: number("refusals"),
      restarts: number("restarts"),
      raw,
    };
  });
}
