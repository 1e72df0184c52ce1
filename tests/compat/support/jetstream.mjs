// Asks JetStream's API, and counts what goes over subjects: as much of the NATS protocol as that takes, and no more.
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { SOON, within } from "./wait.mjs";

/** A connection to one nats-server. */
export class NatsClient {
  #socket;
  #buffer = Buffer.alloc(0);
  /** @type {Map<string, (subject: string, payload: Buffer) => void>} */
  #heard = new Map();
  /** @type {(() => void)[]} */
  #pongs = [];
  #sids = 0;
  #inbox = `_INBOX.${randomBytes(8).toString("hex")}`;
  #requests = 0;

  /** @param {number} port */
  static async open(port) {
    const client = new NatsClient(connect(port, "127.0.0.1"));
    await client.#flush();
    return client;
  }

  /** @param {import("node:net").Socket} socket */
  constructor(socket) {
    this.#socket = socket;
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      this.#buffer = Buffer.concat([this.#buffer, bytes]);
      while (this.#read());
    });
    socket.write('CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n');
  }

  /** Calls back with each message of a subject; in effect when it resolves. @param {string} subject @param {(subject: string, payload: Buffer) => void} heard */
  async listen(subject, heard) {
    const sid = `${++this.#sids}`;
    this.#heard.set(sid, heard);
    this.#socket.write(`SUB ${subject} ${sid}\r\n`);
    await this.#flush();
    return () => {
      this.#heard.delete(sid);
      this.#socket.write(`UNSUB ${sid}\r\n`);
    };
  }

  /** One request to JetStream, such as `STREAM.INFO.name`; an error that it answers with is thrown. @param {string} name @param {object} [body] */
  async api(name, body) {
    const reply = `${this.#inbox}.${++this.#requests}`;
    /** @type {() => void} */
    let end = () => {};
    const answer = new Promise((done, fail) => {
      const heard = (/** @type {string} */ _, /** @type {Buffer} */ payload) => {
        if (payload.length === 0) return fail(new Error(`nobody answers ${name}`));
        const found = JSON.parse(payload.toString());
        return found.error ? fail(new Error(`${name}: ${found.error.description}`)) : done(found);
      };
      this.listen(reply, heard).then((unsubscribe) => (end = unsubscribe), fail);
      const payload = body ? JSON.stringify(body) : "";
      this.#socket.write(`PUB $JS.API.${name} ${reply} ${Buffer.byteLength(payload)}\r\n${payload}\r\n`);
    });
    return within(answer, SOON, `JetStream answers ${name}`).finally(() => end());
  }

  close() {
    this.#socket.destroy();
  }

  #flush() {
    const pong = new Promise((done) => this.#pongs.push(() => done(undefined)));
    this.#socket.write("PING\r\n");
    return within(pong, SOON, "the nats-server answers a PING");
  }

  /** One protocol line with its payload; false if it is not all there yet. */
  #read() {
    const end = this.#buffer.indexOf("\r\n");
    if (end < 0) return false;
    const words = this.#buffer.subarray(0, end).toString().split(" ");
    const isMessage = words[0] === "MSG" || words[0] === "HMSG";
    const size = isMessage ? Number(words.at(-1)) : 0;
    const total = end + 2 + (isMessage ? size + 2 : 0);
    if (this.#buffer.length < total) return false;
    const headers = words[0] === "HMSG" ? Number(words.at(-2)) : 0;
    const payload = this.#buffer.subarray(end + 2 + headers, end + 2 + size);
    this.#buffer = this.#buffer.subarray(total);
    if (isMessage) this.#heard.get(words[2])?.(words[1], payload);
    else if (words[0] === "PING") this.#socket.write("PONG\r\n");
    else if (words[0] === "PONG") this.#pongs.shift()?.();
    return true;
  }
}

/** One request on a connection of its own. @param {{port: number}} nats @param {string} name @param {object} [body] */
export async function jetStream(nats, name, body) {
  const client = await NatsClient.open(nats.port);
  try {
    return await client.api(name, body);
  } finally {
    client.close();
  }
}
