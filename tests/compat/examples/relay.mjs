// The network between a program and the server: a TCP relay that can be cut and mended.
import { connect, createServer } from "node:net";

export class Relay {
  #isCut = false;
  #isDeaf = false;
  #sockets = new Set();
  #server;

  /** A relay on a free port. @param {number} port of the server */
  static async to(port) {
    const relay = new Relay(port);
    await new Promise((done, failed) => relay.#server.once("error", failed).listen(0, "127.0.0.1", () => done(undefined)));
    relay.url = `http://127.0.0.1:${relay.#server.address().port}`;
    return relay;
  }

  /** @param {number} port */
  constructor(port) {
    this.#server = createServer((near) => {
      if (this.#isCut) return void near.destroy();
      const far = connect(port, "127.0.0.1");
      for (const [from, to] of [[near, far], [far, near]]) {
        this.#sockets.add(from);
        from.on("error", () => {}); // "close" follows
        from.on("close", () => {
          this.#sockets.delete(from);
          to.destroy();
        });
      }
      near.pipe(far);
      far.on("data", (chunk) => void (this.#isDeaf || near.write(chunk)));
    });
  }

  /** From now on nothing comes back from the server, while it still gets everything. */
  deafen() {
    this.#isDeaf = true;
  }

  /** Ends all connections, and every new one at once. */
  cut() {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#isCut = false;
    this.#isDeaf = false;
  }

  close() {
    this.cut();
    this.#server.close();
  }
}
