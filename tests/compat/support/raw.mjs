// Clients without a library's opinion: HTTP long-polling, WebSocket messages, WebSocket bytes.

import { randomBytes } from "node:crypto";
import http from "node:http";
import net from "node:net";
import { WebSocket } from "ws";
import { Inbox, SOON, within } from "./wait.mjs";

const SEPARATOR = "\x1e";

/** @param {string} payload a polling body @returns {string[]} its packets */
export const decodePayload = (payload) => payload.split(SEPARATOR);

/** @param {...string} packets @returns {string} a polling body */
export const encodePayload = (...packets) => packets.join(SEPARATOR);

/**
 * @typedef {{status: number, headers: http.IncomingHttpHeaders, body: string, bytes: Buffer}} Answer
 * @typedef {Promise<Answer> & {abort: () => void}} Pending
 */

/**
 * One HTTP request on a connection of its own. `abort()` cuts that connection.
 * @param {string} url
 * @param {{method?: string, headers?: http.OutgoingHttpHeaders, body?: string | Buffer, agent?: http.Agent, deadline?: number}} [options]
 * @returns {Pending}
 */
export function request(url, { method = "GET", headers = {}, body, agent, deadline = SOON } = {}) {
  /** @type {http.ClientRequest} */
  let sent;
  const answer = new Promise((resolve, reject) => {
    sent = http.request(url, { method, headers, agent: agent ?? false }, (response) => {
      /** @type {Buffer[]} */
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const bytes = Buffer.concat(chunks);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes.toString("utf8"), bytes });
      });
    });
    sent.on("error", reject);
    if (body !== undefined) sent.setHeader("content-length", Buffer.byteLength(body));
    sent.end(body);
  });
  const pending = /** @type {Pending} */ (within(answer, deadline, `answer to ${method} ${url}`));
  pending.abort = () => sent.destroy();
  pending.catch(() => {});
  return pending;
}

/** An Engine.IO session over HTTP long-polling. Nothing is answered or polled by itself. */
export class PollingSession {
  /**
   * @param {string} endpoint URL with the path, such as `http://127.0.0.1:3000/engine.io/`
   * @param {string} [query] more of the query string, such as `&recovery=0`
   * @param {http.OutgoingHttpHeaders} [headers]
   */
  static async open(endpoint, query = "", headers = {}) {
    const answer = await request(`${endpoint}?EIO=4&transport=polling${query}`, { headers });
    if (answer.status !== 200) throw new Error(`handshake answered ${answer.status} ${answer.body}`);
    const [first, ...more] = decodePayload(answer.body);
    if (!first.startsWith("0")) throw new Error(`handshake began with ${first}`);
    return new PollingSession(endpoint, query, JSON.parse(first.slice(1)), more);
  }

  /** @param {string} endpoint @param {string} query @param {any} handshake @param {string[]} early packets that came with the handshake */
  constructor(endpoint, query, handshake, early) {
    this.handshake = handshake;
    this.sid = handshake.sid;
    this.early = early;
    this.query = `?EIO=4&transport=polling&sid=${this.sid}${query}`;
    this.url = `${endpoint}${this.query}`;
    this.webSocketUrl = `${endpoint.replace(/^http/, "ws")}?EIO=4&transport=websocket&sid=${this.sid}${query}`;
  }

  /** One GET. @returns {Pending} */
  poll(options = {}) {
    return request(this.url, options);
  }

  /** One POST with these packets. @param {...string} packets @returns {Pending} */
  post(...packets) {
    return request(this.url, { method: "POST", headers: { "content-type": "text/plain;charset=UTF-8" }, body: encodePayload(...packets) });
  }

  /**
   * Polls until a packet that is neither ping nor noop comes, answering pings; returns all such packets of that answer.
   * @returns {Promise<string[]>}
   */
  async receive(deadline = SOON) {
    const end = Date.now() + deadline;
    if (this.early.length > 0) return this.early.splice(0);
    while (Date.now() < end) {
      const answer = await this.poll();
      if (answer.status !== 200) throw new Error(`poll answered ${answer.status} ${answer.body}`);
      const packets = decodePayload(answer.body);
      if (packets.includes("2")) await this.post("3");
      const rest = packets.filter((packet) => packet !== "2" && packet !== "6");
      if (rest.length > 0) return rest;
    }
    throw new Error(`not within ${deadline} ms: a packet by polling`);
  }

  /** Like {@link receive}, until `count` packets have come. @param {number} count @returns {Promise<string[]>} */
  async receiveMany(count, deadline = SOON) {
    const end = Date.now() + deadline;
    const packets = [];
    while (packets.length < count) packets.push(...(await this.receive(end - Date.now())));
    return packets;
  }
}

/**
 * A WebSocket that delivers text as strings and binary as Buffers.
 * Reading: `inbox.next()`, `take(n)`, `find(...)`; the end: `closed()`.
 */
export class RawWebSocket {
  /** @type {Inbox<string | Buffer>} */
  inbox;
  #closed;

  /**
   * Opens, or rejects with the HTTP status that refused it.
   * @param {string} url ws:// or http://
   * @param {{headers?: Record<string, string>, answerPings?: boolean, options?: object}} [options]
   *   `answerPings`: answer Engine.IO's `2` with `3` and keep it out of the inbox
   * @returns {Promise<RawWebSocket>}
   */
  static async open(url, { headers = {}, answerPings = false, options = {} } = {}) {
    const socket = new WebSocket(url.replace(/^http/, "ws"), { headers, perMessageDeflate: false, ...options });
    const raw = new RawWebSocket(socket, url, answerPings);
    await within(
      new Promise((resolve, reject) => {
        socket.once("open", resolve);
        socket.once("error", reject);
      }),
      SOON,
      `WebSocket opens: ${url}`,
    );
    return raw;
  }

  /** @param {WebSocket} socket @param {string} name @param {boolean} answerPings */
  constructor(socket, name, answerPings) {
    this.socket = socket;
    this.answerPings = answerPings;
    this.inbox = new Inbox(name);
    socket.on("message", (data, isBinary) => {
      const message = isBinary ? /** @type {Buffer} */ (data) : data.toString();
      if (this.answerPings && message === "2") socket.send("3");
      else this.inbox.push(message);
    });
    socket.on("error", () => {});
    this.#closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => {
        this.inbox.end(`closed with ${code} ${reason}`);
        resolve({ code, reason: reason.toString() });
      });
    });
  }

  /** @param {...(string | Buffer)} messages */
  send(...messages) {
    for (const message of messages) this.socket.send(message);
  }

  /** Sends a close frame and waits for the end. */
  async close() {
    this.socket.close();
    return this.closed();
  }

  /** Cuts the connection without a close frame. */
  terminate() {
    this.socket.terminate();
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  /** Waits until the peer has closed. @param {number} [deadline] @returns {Promise<{code: number, reason: string}>} */
  closed(deadline = SOON) {
    return within(this.#closed, deadline, `the server closes ${this.inbox.name}`);
  }
}

/** WebSocket opcodes (RFC 6455, 5.2). */
export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

/**
 * One WebSocket frame as bytes, correct or not.
 * @param {{opcode: number, payload?: string | Buffer, fin?: boolean, rsv?: number, masked?: boolean, length?: number | bigint, lengthBytes?: 0 | 2 | 8}} frame
 *   `rsv`: the three reserved bits as a number; `length`: a length that the payload does not have;
 *   `lengthBytes`: size of the extended length field, also if a shorter one would do
 */
export function encodeFrame({ opcode, payload = "", fin = true, rsv = 0, masked = true, length, lengthBytes }) {
  const data = typeof payload === "string" ? Buffer.from(payload) : payload;
  const claimed = BigInt(length ?? data.length);
  const size = lengthBytes ?? (claimed < 126n ? 0 : claimed < 65_536n ? 2 : 8);
  const head = Buffer.alloc(2 + size);
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  head[1] = (masked ? 0x80 : 0) | (size === 0 ? Number(claimed) : size === 2 ? 126 : 127);
  if (size === 2) head.writeUInt16BE(Number(claimed), 2);
  if (size === 8) head.writeBigUInt64BE(claimed, 2);
  if (!masked) return Buffer.concat([head, data]);
  const key = randomBytes(4);
  return Buffer.concat([head, key, data.map((byte, index) => byte ^ key[index & 3])]);
}

/** @typedef {{fin: boolean, rsv: number, opcode: number, payload: Buffer}} ReceivedFrame */

/** How many characters of `rest` belong to the answer with this head; Infinity if that is not known yet. */
function bodyLength(/** @type {string} */ head, /** @type {string} */ rest) {
  const announced = /^content-length: *(\d+)/im.exec(head)?.[1];
  if (announced !== undefined) return Number(announced);
  if (!/^transfer-encoding: *chunked/im.test(head)) return Infinity;
  const end = /(^|\r\n)0\r\n\r\n/.exec(rest);
  return end ? end.index + end[0].length : Infinity;
}

/** A TCP connection that speaks HTTP and WebSocket byte for byte. */
export class TcpClient {
  /** @type {Inbox<ReceivedFrame>} */
  frames = new Inbox("frames");
  #socket;
  #buffer = Buffer.alloc(0);
  #upgraded = false;
  #ended;
  #onHead = () => {};

  /** @param {string} url @returns {Promise<TcpClient>} */
  static async connect(url) {
    const { hostname, port } = new URL(url);
    const socket = net.connect(Number(port), hostname);
    await within(
      new Promise((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", reject);
      }),
      SOON,
      `TCP connects to ${hostname}:${port}`,
    );
    return new TcpClient(socket);
  }

  /**
   * Connects and becomes a WebSocket; throws with the answer if that is refused.
   * @param {string} url
   */
  static async upgrade(url) {
    const client = await TcpClient.connect(url);
    const answer = await client.requestUpgrade(url);
    if (!answer.startsWith("HTTP/1.1 101")) throw new Error(`upgrade answered ${answer}`);
    return client;
  }

  /** @param {net.Socket} socket */
  constructor(socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      if (this.#upgraded) this.#parseFrames();
      else this.#onHead();
    });
    this.#ended = new Promise((resolve) => {
      socket.on("end", () => resolve(undefined));
      socket.on("close", () => {
        this.frames.end("connection closed");
        this.#onHead();
        resolve(undefined);
      });
    });
  }

  /** @param {string | Buffer} bytes */
  write(bytes) {
    this.#socket.write(bytes);
  }

  /** Stops reading from the connection, as a peer that hangs. */
  pause() {
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  /** @param {...Parameters<typeof encodeFrame>[0]} frames in one write */
  sendFrames(...frames) {
    this.#socket.write(Buffer.concat(frames.map((frame) => encodeFrame(frame))));
  }

  /** @param {string} text */
  sendText(text) {
    this.sendFrames({ opcode: OPCODE.text, payload: text });
  }

  /**
   * Writes a WebSocket handshake and returns the answer: head and, if it was refused, the body.
   * @param {string} url @param {Record<string, string | undefined>} [headers] added or, if undefined, left out
   * @returns {Promise<string>}
   */
  async requestUpgrade(url, headers = {}) {
    const { host, pathname, search } = new URL(url);
    const all = {
      Host: host,
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
      ...headers,
    };
    const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]));
    this.write(`GET ${pathname}${search} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
    return this.readAnswer();
  }

  /** Reads one HTTP answer, a chunked body as it stands on the wire. @returns {Promise<string>} */
  async readAnswer(deadline = SOON) {
    const answer = new Promise((resolve) => {
      this.#onHead = () => {
        const text = this.#buffer.toString("latin1");
        const headEnd = text.indexOf("\r\n\r\n");
        const closed = this.#socket.destroyed || this.#socket.readableEnded;
        if (headEnd < 0) return closed ? resolve(text) : undefined;
        const switched = text.startsWith("HTTP/1.1 101");
        const end = headEnd + 4 + (switched ? 0 : bodyLength(text.slice(0, headEnd), text.slice(headEnd + 4)));
        if (text.length < end && !closed) return undefined;
        this.#onHead = () => {};
        this.#upgraded = switched;
        this.#buffer = this.#buffer.subarray(Math.min(end, text.length));
        if (switched) this.#parseFrames();
        return resolve(text.slice(0, end));
      };
      this.#onHead();
    });
    return within(answer, deadline, "HTTP answer");
  }

  /** Waits until the peer has ended the connection. */
  ended(deadline = SOON) {
    return within(this.#ended, deadline, "the server ends the TCP connection");
  }

  /** Waits until the peer has sent a close frame or ended the connection without one; reads the frames up to there. */
  async closedByPeer(deadline = SOON) {
    const closeFrame = this.frames.find((frame) => frame.opcode === OPCODE.close, "a close frame", deadline);
    await Promise.race([this.ended(deadline), closeFrame]);
    closeFrame.catch(() => {});
  }

  destroy() {
    this.#socket.destroy();
  }

  #parseFrames() {
    for (;;) {
      const bytes = this.#buffer;
      if (bytes.length < 2) return;
      const short = bytes[1] & 0x7f;
      const size = short === 126 ? 2 : short === 127 ? 8 : 0;
      if (bytes.length < 2 + size) return;
      const length = size === 0 ? short : size === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      const end = 2 + size + length;
      if (bytes[1] & 0x80) {
        this.frames.end("the server sent a masked frame");
        this.destroy();
        return;
      }
      if (bytes.length < end) return;
      this.frames.push({ fin: (bytes[0] & 0x80) !== 0, rsv: (bytes[0] >> 4) & 7, opcode: bytes[0] & 0xf, payload: bytes.subarray(2 + size, end) });
      this.#buffer = bytes.subarray(end);
    }
  }
}
