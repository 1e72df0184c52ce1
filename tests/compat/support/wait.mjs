// Waiting for conditions, never for time: every wait has a deadline and says what it waited for.

/** How long a test waits for something that should happen at once, on a busy two-core machine. */
export const SOON = 5_000;

/** @param {number} ms @returns {Promise<void>} For polling loops and for windows in which nothing may happen. */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Polls until `condition` returns something truthy, and returns that.
 * @template T
 * @param {() => T | Promise<T>} condition a throw counts as "not yet"; its message is shown if the deadline passes
 * @param {number} [deadline] milliseconds
 * @param {string | (() => string)} [description]
 * @returns {Promise<T>}
 */
export async function until(condition, deadline = SOON, description = condition.toString()) {
  const end = Date.now() + deadline;
  /** @type {any} */
  let last;
  for (;;) {
    try {
      const value = await condition();
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() >= end) {
      const what = typeof description === "function" ? description() : description;
      const cause = last ? `; last error: ${last.message}` : "";
      throw new Error(`not within ${deadline} ms: ${what}${cause}`, { cause: last });
    }
    await pause(5);
  }
}

/**
 * A promise with a deadline.
 * @template T
 * @param {Promise<T>} promise
 * @param {number} [deadline] milliseconds
 * @param {string} [description]
 * @returns {Promise<T>}
 */
export function within(promise, deadline = SOON, description = "promise settles") {
  /** @type {NodeJS.Timeout} */
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${deadline} ms: ${description}`)), deadline);
  });
  return Promise.race([promise, expired]).finally(() => clearTimeout(timer));
}

/**
 * Asserts an absence: throws as soon as `condition` holds, returns after `window` milliseconds.
 * Prefer a fence (something later that does arrive) wherever the protocol offers one.
 * @param {() => unknown} condition
 * @param {number} window
 * @param {string} description of what must not happen
 */
export async function never(condition, window, description) {
  const end = Date.now() + window;
  while (Date.now() < end) {
    if (await condition()) throw new Error(`happened, but must not: ${description}`);
    await pause(10);
  }
}

/**
 * What arrived, in order, with a reading position. Deadlines on every read.
 * @template T
 */
export class Inbox {
  /** @type {T[]} everything that ever arrived */
  all = [];
  /** @type {string | undefined} set once nothing more can come */
  ended;
  #read = 0;
  #wake = new Set();

  /** @param {string} name shown in errors */
  constructor(name) {
    this.name = name;
  }

  /** @param {T} item */
  push(item) {
    this.all.push(item);
    this.#notify();
  }

  /** @param {string} why nothing more can come */
  end(why) {
    this.ended ??= why;
    this.#notify();
  }

  /** @returns {T[]} what has arrived and has not been read */
  get unread() {
    return this.all.slice(this.#read);
  }

  /** The next unread item. @param {number} [deadline] @returns {Promise<T>} */
  async next(deadline = SOON) {
    await this.#available(this.#read + 1, deadline, "the next item");
    return this.all[this.#read++];
  }

  /** The next `count` unread items. @param {number} count @param {number} [deadline] @returns {Promise<T[]>} */
  async take(count, deadline = SOON) {
    await this.#available(this.#read + count, deadline, `${count} items`);
    this.#read += count;
    return this.all.slice(this.#read - count, this.#read);
  }

  /**
   * Reads up to and including the first unread item that matches, and returns that one.
   * @param {(item: T) => boolean} matches @param {string} [description] @param {number} [deadline] @returns {Promise<T>}
   */
  async find(matches, description = matches.toString(), deadline = SOON) {
    const end = Date.now() + deadline;
    for (;;) {
      await this.#available(this.#read + 1, Math.max(0, end - Date.now()), description);
      const item = this.all[this.#read++];
      if (matches(item)) return item;
    }
  }

  /** Marks everything that has arrived as read. @returns {T[]} what was unread */
  drain() {
    const unread = this.unread;
    this.#read = this.all.length;
    return unread;
  }

  async #available(count, deadline, description) {
    const end = Date.now() + deadline;
    while (this.all.length < count) {
      if (this.ended !== undefined) throw new Error(`${this.name} ended (${this.ended}) before ${description}; ${this.#recent()}`);
      const left = end - Date.now();
      if (left <= 0) throw new Error(`${this.name}: not within ${deadline} ms: ${description}; ${this.#recent()}`);
      await new Promise((resolve) => {
        const timer = setTimeout(done, left);
        const wake = this.#wake;
        function done() {
          clearTimeout(timer);
          wake.delete(done);
          resolve(undefined);
        }
        wake.add(done);
      });
    }
  }

  #notify() {
    for (const done of [...this.#wake]) done();
  }

  #recent() {
    const shown = this.all.slice(-10).map((item) => {
      const text = Buffer.isBuffer(item) ? `<${item.toString("hex")}>` : typeof item === "string" ? item : JSON.stringify(item);
      return text.length > 200 ? `${text.slice(0, 200)}…` : text;
    });
    return `arrived ${this.all.length}, read ${this.#read}, last: ${JSON.stringify(shown)}`;
  }
}

/**
 * Collects every occurrence of an event as its argument list.
 * @param {{on: (event: string, listener: (...args: any[]) => void) => unknown}} emitter a socket.io-client socket or any EventEmitter
 * @param {string} event
 * @returns {Inbox<any[]>}
 */
export function collect(emitter, event) {
  const inbox = new Inbox(event);
  emitter.on(event, (...args) => inbox.push(args));
  return inbox;
}

/**
 * Collects every event of a socket.io-client socket as `[name, ...args]`.
 * @param {{onAny: (listener: (...args: any[]) => void) => unknown}} socket
 * @returns {Inbox<any[]>}
 */
export function collectAny(socket) {
  const inbox = new Inbox("events");
  socket.onAny((...args) => inbox.push(args));
  return inbox;
}
