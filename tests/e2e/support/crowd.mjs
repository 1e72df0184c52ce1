// The clients of a case, in threads of their own: what one thread reads at once holds up its own clients only, and what happens
// in this one (watching the cluster, configuring the proxy) holds up none. Each has a part of one load (crowd-thread.mjs).
import { Worker } from "node:worker_threads";

const THREADS = 4;
const THREAD = new URL("./crowd-thread.mjs", import.meta.url);

/** A thread that is asked one thing at a time. */
class Thread {
  /** @type {{done: (value: any) => void, failed: (error: Error) => void} | undefined} */
  #asked;
  /** @type {Error | undefined} */
  #end;

  /** @param {object} part */
  constructor(part) {
    this.worker = new Worker(THREAD, { workerData: part });
    this.worker.on("message", ({ value, error }) => this.#answered(error, value));
    this.worker.on("error", (error) => this.#ended(error));
    this.worker.on("exit", (code) => this.#ended(new Error(`a thread of clients has ended with ${code}`)));
  }

  #ended(error) {
    this.#end ??= error;
    this.#answered(this.#end);
  }

  #answered(error, value) {
    const asked = this.#asked;
    this.#asked = undefined;
    if (error) asked?.failed(error);
    else asked?.done(value);
  }

  /** What a method of its load returns, which has a deadline of its own. @param {string} method @param {unknown[]} args @returns {Promise<any>} */
  ask(method, ...args) {
    return new Promise((done, failed) => {
      if (this.#end) return failed(this.#end);
      this.#asked = { done, failed };
      this.worker.postMessage({ method, args });
    });
  }
}

export class Crowd {
  #threads;
  #stop;

  /**
   * Clients that all have entered, and the stream of messages.
   * @param {string} url
   * @param {import("./backends.mjs").Backends} backends
   * @param {import("../../compat/nats/load.mjs").Options} options
   */
  static async start(url, backends, options) {
    const crowd = new Crowd(url, backends, options);
    try {
      await crowd.#all("enter");
      await crowd.#all("begin");
    } catch (error) {
      crowd.close();
      throw error;
    }
    return crowd;
  }

  constructor(url, backends, options) {
    const parts = Array.from({ length: THREADS }, (_, nth) => ({ nth, of: THREADS }));
    this.#threads = parts.map((part) => new Thread({ urls: [url], origins: backends.origins, options: { ...options, part } }));
    this.#stop = backends.follow((origins) => {
      for (const { worker } of this.#threads) worker.postMessage({ origins });
    });
  }

  /** @param {string} method */
  #all(method, ...args) {
    return Promise.all(this.#threads.map((thread) => thread.ask(method, ...args)));
  }

  /** Waits until `count` more messages have been acknowledged. @param {number} count */
  flows(count) {
    return this.#all("flows", Math.ceil(count / THREADS));
  }

  /** From now on it is noted for how long a thread stood still at most. */
  watch() {
    return this.#all("watch");
  }

  /** Waits until everybody is connected. */
  allHere() {
    return this.#all("allHere");
  }

  /** Sends nothing new, waits until all is acknowledged and everybody has been shown what was sent last. */
  async rest() {
    await this.#all("settle");
    await this.#threads[0].ask("sayLast");
    await this.#all("seeLast");
  }

  /** What was seen, of each thread. @returns {Promise<{stall: number, record: import("../../compat/nats/verdict.mjs").Part}[]>} `stall` in milliseconds */
  seen() {
    return this.#all("seen");
  }

  close() {
    this.#stop();
    for (const { worker } of this.#threads) {
      worker.removeAllListeners();
      worker.terminate();
    }
  }
}
