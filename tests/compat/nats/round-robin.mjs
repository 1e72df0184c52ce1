// A load balancer without stickiness: each request goes to the next server, on a connection of its own.
import http from "node:http";
import { connect } from "node:net";

/** @typedef {{method: string, isUpgrade: boolean, sid: string | null, to: number, owner: number | undefined, status?: number}} Seen */

export class RoundRobin {
  /** Requests in the order in which they came. @type {Seen[]} */
  seen = [];
  /** Whether requests of a session go to the others only, never to the server that holds it. */
  isAlwaysWrong = false;
  /** Servers that get nothing, by index. @type {Set<number>} */
  down = new Set();
  #next = 0;
  #owners = new Map();
  #sockets = new Set();
  #server;

  /** @param {string[]} urls */
  static async before(urls) {
    const balancer = new RoundRobin(urls);
    await new Promise((done, failed) => balancer.#server.once("error", failed).listen(0, "127.0.0.1", () => done(undefined)));
    balancer.url = `http://127.0.0.1:${balancer.#server.address().port}`;
    return balancer;
  }

  /** @param {string[]} urls */
  constructor(urls) {
    this.urls = urls;
    this.#server = http.createServer((request, response) => this.#forward(request, response));
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
    this.#server.on("connection", (socket) => this.#keep(socket));
  }

  /** The server that holds a session. @param {string} sid @returns {number | undefined} */
  ownerOf(sid) {
    return this.#owners.get(sid);
  }

  async close() {
    const closed = new Promise((done) => this.#server.close(done));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #keep(socket) {
    this.#sockets.add(socket);
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => this.#sockets.delete(socket));
  }

  /** @param {http.IncomingMessage} request */
  #choose(request, isUpgrade) {
    const sid = new URL(request.url, "http://x").searchParams.get("sid");
    const owner = sid === null ? undefined : this.#owners.get(sid);
    const isOut = (index) => this.down.has(index) || ((this.isAlwaysWrong || isUpgrade) && index === owner);
    let to = this.#next;
    for (let tries = 0; isOut(to) && tries < this.urls.length; tries++) to = (to + 1) % this.urls.length;
    this.#next = (to + 1) % this.urls.length;
    const seen = { method: request.method, isUpgrade, sid, to, owner };
    this.seen.push(seen);
    return seen;
  }

  #forward(request, response) {
    const seen = this.#choose(request, false);
    const { method, headers } = request;
    const onward = http.request(`${this.urls[seen.to]}${request.url}`, { method, headers: { ...headers, connection: "close" }, agent: false }, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("error", () => response.destroy());
      answer.on("end", () => {
        const body = Buffer.concat(chunks);
        const opened = /^0\{"sid":"([^"]+)"/.exec(body.toString());
        if (opened) this.#owners.set(opened[1], seen.to);
        seen.status = answer.statusCode;
        response.writeHead(answer.statusCode, { ...answer.headers, connection: "close" }).end(body);
      });
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  }

  #upgrade(request, near, head) {
    const seen = this.#choose(request, true);
    const far = connect(Number(new URL(this.urls[seen.to]).port), "127.0.0.1");
    this.#keep(far);
    far.on("close", () => near.destroy());
    near.on("close", () => far.destroy());
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let i = 0; i < request.rawHeaders.length; i += 2) lines.push(`${request.rawHeaders[i]}: ${request.rawHeaders[i + 1]}`);
    far.write(`${lines.join("\r\n")}\r\n\r\n`);
    far.write(head);
    near.pipe(far).pipe(near);
  }
}
