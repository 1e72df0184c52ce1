// A TCP proxy before one server: the network between two, which can be hurt. `stall` holds all bytes, as a network that
// drops packets; `cut` ends all connections and refuses new ones; `heal` passes what was held, and everything after.
// It runs in a thread of its own: thousands of clients in the test's thread must not pass for a slow network.
import { connect, createServer } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { freePorts } from "./servers.mjs";
import { within } from "./wait.mjs";

/** Connections that may wait: more than a server has to NATS. */
const BACKLOG = 64;

export class Proxy {
  #worker;

  /** @param {number} target the port on this machine that it stands before */
  static async before(target) {
    // below the range from which connections take theirs: it stays free while the proxy is cut
    const proxy = new Proxy(target, await freePorts());
    await proxy.heal();
    return proxy;
  }

  /** @param {number} target @param {number} port */
  constructor(target, port) {
    this.port = port;
    this.#worker = new Worker(new URL(import.meta.url), { workerData: { target, port } });
    this.#worker.unref();
  }

  get url() {
    return `nats://127.0.0.1:${this.port}`;
  }

  stall() {
    return this.#ask("stall");
  }

  cut() {
    return this.#ask("cut");
  }

  heal() {
    return this.#ask("heal");
  }

  async close() {
    await this.#worker.terminate();
  }

  /** @param {"stall" | "cut" | "heal"} act */
  #ask(act) {
    const done = new Promise((resolve, reject) => {
      this.#worker.once("message", resolve);
      this.#worker.once("error", reject);
    });
    this.#worker.postMessage(act);
    return within(done, undefined, `the proxy does: ${act}`);
  }
}

/** The port and the connections, in the proxy's thread. */
class Door {
  #target;
  #port;
  /** Both ends of each connection. @type {Set<[import("node:net").Socket, import("node:net").Socket]>} */
  #pairs = new Set();
  /** @type {import("node:net").Server | undefined} */
  #listener;
  #stalled = false;

  /** @param {{target: number, port: number}} ports */
  constructor({ target, port }) {
    this.#target = target;
    this.#port = port;
  }

  stall() {
    this.#stalled = true;
    for (const socket of this.#sockets) socket.pause();
  }

  async cut() {
    const listener = this.#listener;
    this.#listener = undefined;
    for (const socket of this.#sockets) socket.destroy();
    if (listener) await new Promise((done) => listener.close(done));
  }

  async heal() {
    this.#stalled = false;
    for (const socket of this.#sockets) socket.resume();
    if (this.#listener) return;
    const listener = createServer((client) => this.#carry(client));
    this.#listener = listener;
    await new Promise((done, fail) => listener.once("error", fail).listen(this.#port, "127.0.0.1", BACKLOG, () => done(undefined)));
  }

  get #sockets() {
    return [...this.#pairs].flat();
  }

  /** The end of one side is the end of both. @param {import("node:net").Socket} client */
  #carry(client) {
    const server = connect(this.#target, "127.0.0.1");
    const pair = /** @type {[import("node:net").Socket, import("node:net").Socket]} */ ([client, server]);
    this.#pairs.add(pair);
    for (const [from, to] of [pair, pair.toReversed()]) {
      from.setNoDelay(true);
      from.on("error", () => {});
      from.on("close", () => {
        to.destroy();
        this.#pairs.delete(pair);
      });
      // not pipe(): it would resume what a stall has paused
      from.on("data", (bytes) => {
        if (!to.write(bytes)) from.pause();
      });
      to.on("drain", () => {
        if (!this.#stalled) from.resume();
      });
      if (this.#stalled) from.pause();
    }
  }
}

if (!isMainThread && workerData?.target) {
  const door = new Door(workerData);
  parentPort?.on("message", async (act) => {
    await door[act]();
    parentPort?.postMessage(act);
  });
}
