// A TCP proxy before one server: the network between two, which can be hurt. `stall` holds all bytes, as a network that
// drops packets; `cut` ends all connections and refuses new ones; `heal` passes what was held, and everything after.
import { connect, createServer } from "node:net";
import { freePorts } from "./servers.mjs";
import { within } from "./wait.mjs";

/** Connections that may wait: more than a server has to NATS. */
const BACKLOG = 64;

export class Proxy {
  port = 0;
  #target;
  /** Both ends of each connection. @type {Set<[import("node:net").Socket, import("node:net").Socket]>} */
  #pairs = new Set();
  /** @type {import("node:net").Server | undefined} */
  #listener;
  #stalled = false;

  /** @param {number} target the port on this machine that it stands before */
  static async before(target) {
    const proxy = new Proxy(target);
    // below the range from which connections take theirs: it stays free while the proxy is cut
    proxy.port = await freePorts();
    await proxy.#listen();
    return proxy;
  }

  /** @param {number} target */
  constructor(target) {
    this.#target = target;
  }

  get url() {
    return `nats://127.0.0.1:${this.port}`;
  }

  stall() {
    this.#stalled = true;
    for (const socket of this.#sockets) socket.pause();
  }

  async cut() {
    const listener = this.#listener;
    this.#listener = undefined;
    for (const socket of this.#sockets) socket.destroy();
    if (listener) await within(new Promise((done) => listener.close(done)), undefined, "the proxy closes its port");
  }

  async heal() {
    this.#stalled = false;
    for (const socket of this.#sockets) socket.resume();
    if (!this.#listener) await this.#listen();
  }

  get #sockets() {
    return [...this.#pairs].flat();
  }

  async #listen() {
    const listener = createServer((client) => this.#carry(client));
    this.#listener = listener;
    const listens = new Promise((done, fail) => listener.once("error", fail).listen(this.port, "127.0.0.1", BACKLOG, () => done(undefined)));
    await within(listens, undefined, "the proxy listens");
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
