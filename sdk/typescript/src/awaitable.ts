/// <reference lib="esnext.disposable" preserve="true" />

/** Objects that can be awaited for a handle, or iterated at once. */

/**
 * A stream that is being opened: `await` it for its handle, or iterate it with `for await`.
 *
 * It starts with the first of them, and only once. An iteration that ends early disposes of the handle.
 */
export class Awaitable<Handle extends AsyncIterable<Item>, Item> implements PromiseLike<Handle>, AsyncIterable<Item> {
  readonly #open: () => Promise<Handle>;
  #opened: Promise<Handle> | undefined;

  /** @internal */
  constructor(open: () => Promise<Handle>) {
    this.#open = open;
  }

  #handle(): Promise<Handle> {
    this.#opened ??= this.#open();
    return this.#opened;
  }

  /** Waits until the stream is open. */
  then<A = Handle, B = never>(
    fulfilled?: ((handle: Handle) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#handle().then(fulfilled, rejected);
  }

  /** Waits until the stream is open, and handles the failure. */
  catch<B = never>(rejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<Handle | B> {
    return this.#handle().catch(rejected);
  }

  /** Iterates over the items of the stream. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, undefined> {
    yield* await this.#handle();
  }
}

/** Makes a class work with `await using` where the runtime has `Symbol.asyncDispose` (Node 18.18 and 20.4). */
export function disposable<T extends object>(prototype: T, dispose: (this: T) => Promise<void>): void {
  const symbol: symbol | undefined = Symbol.asyncDispose;
  if (symbol !== undefined) Object.defineProperty(prototype, symbol, { value: dispose, configurable: true });
}
