// A Socket.IO connection to one namespace without the official client's help: every packet in the order in which it came,
// the recovery offset as the official client would remember it, cuts where a test wants them.

import { RawWebSocket } from "./raw.mjs";
import { TYPE, connectPacket, eventPacket, parsePacket } from "./packets.mjs";
import { Inbox, SOON, until } from "./wait.mjs";

/** @typedef {import("./packets.mjs").Packet} Packet */

export class Wire {
  /** Every packet of this connection, the answer to CONNECT first. @type {Inbox<Packet>} */
  packets = new Inbox("packets");
  #acknowledged = new Map();
  #nextId = 1;
  #ignore = false;

  /**
   * Opens a WebSocket, sends CONNECT, waits for the first packet. A refusal is an answer too: see `refusal`.
   * @param {string} url `http://host:port`
   * @param {{auth?: object, query?: string, cutAfter?: (events: Packet[]) => boolean}} [options]
   *   `cutAfter`: asked after each event; true cuts the connection at once and ignores what came with the same read
   */
  static async connect(url, { auth, query = "", cutAfter } = {}) {
    const socket = await RawWebSocket.open(`${url}/socket.io/?EIO=4&transport=websocket${query}`, { answerPings: true });
    await socket.inbox.next();
    const wire = new Wire(socket, cutAfter);
    socket.send(connectPacket(auth));
    await until(() => wire.packets.all.length > 0 || !socket.isOpen, SOON, "the answer to CONNECT");
    return wire;
  }

  /** @param {RawWebSocket} socket @param {((events: Packet[]) => boolean) | undefined} cutAfter */
  constructor(socket, cutAfter) {
    this.socket = socket;
    socket.socket.on("message", (data, isBinary) => {
      if (this.#ignore || isBinary || data.toString() === "2") return;
      const packet = parsePacket(data.toString());
      this.packets.push(packet);
      if (packet.type === TYPE.ack) this.#acknowledged.get(packet.id)?.(packet.data);
      if (packet.type === TYPE.event && cutAfter?.(this.events)) this.cut();
    });
    socket.socket.on("close", () => this.packets.end("closed"));
  }

  /** The answer to CONNECT. */
  get answer() {
    return this.packets.all[0];
  }

  get sid() {
    return this.answer.data.sid;
  }

  get pid() {
    return this.answer.data.pid;
  }

  /** What a refused connection was told, or undefined. */
  get refusal() {
    return this.answer?.type === TYPE.connectError ? this.answer.data : undefined;
  }

  /** Events without acknowledgement id, in order. */
  get events() {
    return this.packets.all.filter((packet) => packet.type === TYPE.event && packet.id === undefined);
  }

  /** The argument lists (without the name) of the events of this name. @param {string} name */
  named(name) {
    return this.events.filter(({ data }) => data[0] === name).map(({ data }) => data.slice(1));
  }

  /** The contents of the lobby's messages, in order. */
  get lobby() {
    return this.named("chat message").map(([content]) => content);
  }

  /** `room: content` of the rooms' messages, in order. */
  get rooms() {
    return this.named("room:message").map(([room, content]) => `${room}: ${content}`);
  }

  /** The first `session` event's argument. */
  get session() {
    return this.named("session")[0]?.[0];
  }

  /** What the official client would send as `offset`: the last string that ended an event, or undefined. */
  get offset() {
    return this.events.map(({ data }) => data.at(-1)).findLast((last) => typeof last === "string");
  }

  /** The CONNECT payload to come back with. */
  get credentials() {
    return { pid: this.pid, offset: this.offset };
  }

  /** Emits without an acknowledgement. @param {...any} args */
  emit(...args) {
    this.socket.send(eventPacket(args));
  }

  /** Emits, and returns the list of what it was acknowledged with. @param {...any} args @returns {Promise<any[]>} */
  async ask(...args) {
    const id = this.#nextId++;
    /** @type {any[] | undefined} */
    let answer;
    this.#acknowledged.set(id, (/** @type {any[]} */ data) => (answer = data));
    this.socket.send(eventPacket(args, { id }));
    return until(() => /** @type {any[]} */ (answer), SOON, () => `acknowledgement of ${JSON.stringify(args).slice(0, 100)}; open: ${this.socket.isOpen}`);
  }

  /** A lobby message, stored when it returns. @param {string} content */
  async say(content) {
    const [answer] = await this.ask("chat message", content, `${content}-${Math.random()}`);
    if (answer.error) throw new Error(`refused: ${JSON.stringify(answer.error)}`);
    return answer.serverOffset;
  }

  /** A room message, stored when it returns. @param {string} room @param {string} content */
  async sayIn(room, content) {
    const [answer] = await this.ask("room:message", room, content, `${content}-${Math.random()}`);
    if (answer.error) throw new Error(`refused: ${JSON.stringify(answer.error)}`);
    return answer.serverOffset;
  }

  /** Waits for a lobby message; what was stored before has come before. @param {string} content */
  async sees(content) {
    await until(() => this.lobby.includes(content), SOON, () => `lobby shows ${content}; it shows ${this.lobby.slice(-20)}; open: ${this.socket.isOpen}`);
  }

  /** Cuts the connection without a word; nothing that is still on its way is read. */
  cut() {
    this.#ignore = true;
    this.socket.terminate();
  }

  /** Ends the session for good (DISCONNECT). */
  disconnect() {
    this.socket.send("41");
  }
}
