/** Waiting with abort signals and timeouts. */

/** What every call accepts. */
export interface CallOptions {
  /** Aborts the call, which then rejects with the reason of the signal. */
  signal?: AbortSignal | undefined;
}

/** The longest delay of a timer, in milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Starts a timer. Delays beyond the range of timers (24 days) are none. */
export function timer(milliseconds: number, action: () => void): { clear(): void } {
  if (milliseconds > MAX_TIMER_MS) return { clear() {} };
  const handle: unknown = setTimeout(action, milliseconds);
  return { clear: () => clearTimeout(handle as number) };
}

/** Waits so many milliseconds. */
export function delay(milliseconds: number): Promise<void> {
  return new Promise((resolve) => timer(milliseconds, resolve));
}

/** A promise with its two functions. */
export interface Settler<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(reason: unknown): void;
}

/** Creates a promise that is settled from outside. Its rejection may go unobserved. */
export function settler<T>(): Settler<T> {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}

/** Limits of one wait. */
export interface Limits {
  signal?: AbortSignal | undefined;
  /** In milliseconds. */
  timeoutMs?: number | undefined;
  /** Creates the error of the timeout. */
  onTimeout?: () => unknown;
}

/** Waits for a promise, at most until the signal aborts or the timeout expires. The promise itself is not cancelled. */
export async function within<T>(promise: Promise<T>, limits: Limits): Promise<T> {
  const { signal, timeoutMs, onTimeout } = limits;
  if (signal === undefined && timeoutMs === undefined) return promise;
  promise.catch(() => {});
  signal?.throwIfAborted();
  const end = settler<never>();
  const onAbort = () => end.reject(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  const limit = timeoutMs === undefined ? undefined : timer(timeoutMs, () => end.reject(onTimeout?.()));
  try {
    return await Promise.race([promise, end.promise]);
  } finally {
    limit?.clear();
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Calls an action once if or when a signal aborts. Returns a function that stops listening. */
export function onAbort(signal: AbortSignal | undefined, action: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => {};
  const listener = () => action(signal.reason);
  if (signal.aborted) listener();
  else signal.addEventListener("abort", listener, { once: true });
  return () => signal.removeEventListener("abort", listener);
}

/** A queue with any number of readers that ends, or fails after its items have been read. */
export class Queue<T> {
  #items: T[] = [];
  #head = 0;
  #readers: Settler<T | undefined>[] = [];
  #end: { error?: unknown } | undefined;

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** Whether no more items will be added. */
  get ended(): boolean {
    return this.#end !== undefined;
  }

  push(item: T): void {
    if (this.#end !== undefined) return;
    const reader = this.#readers.shift();
    if (reader === undefined) this.#items.push(item);
    else reader.resolve(item);
  }

  /** Adds an item, or replaces the last one that waits by what `merge` returns for it, unless that is `undefined`. */
  pushMerged(item: T, merge: (last: T) => T | undefined): void {
    const merged = this.length > 0 ? merge(this.#items[this.#items.length - 1] as T) : undefined;
    if (merged === undefined) this.push(item);
    else if (this.#end === undefined) this.#items[this.#items.length - 1] = merged;
  }

  /** Ends the queue after the items in it. Only the first call has an effect. */
  end(): void {
    this.#finish({});
  }

  /** Has readers fail after the items in the queue. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  /** Removes all items and returns them. */
  clear(): T[] {
    const items = this.#items.slice(this.#head);
    this.#items = [];
    this.#head = 0;
    return items;
  }

  #finish(end: { error?: unknown }): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    for (const reader of this.#readers.splice(0)) this.#settle(reader, end);
  }

  #settle(reader: Settler<T | undefined>, end: { error?: unknown }): void {
    if ("error" in end) reader.reject(end.error);
    else reader.resolve(undefined);
  }

  /** Takes the next item; `undefined` at the end. An aborted wait takes none. */
  async next(signal?: AbortSignal): Promise<T | undefined> {
    signal?.throwIfAborted();
    if (this.length > 0) {
      const item = this.#items[this.#head] as T;
      this.#head += 1;
      if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
        this.#items = this.#items.slice(this.#head);
        this.#head = 0;
      } else {
        // So that the queue does not keep a taken item alive.
        this.#items[this.#head - 1] = undefined as T;
      }
      return item;
    }
    const reader = settler<T | undefined>();
    if (this.#end !== undefined) {
      this.#settle(reader, this.#end);
      return reader.promise;
    }
    this.#readers.push(reader);
    const stop = onAbort(signal, (reason) => {
      const at = this.#readers.indexOf(reader);
      if (at >= 0) this.#readers.splice(at, 1);
      reader.reject(reason);
    });
    try {
      return await reader.promise;
    } finally {
      stop();
    }
  }
}
