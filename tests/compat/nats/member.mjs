// A client of a load (load.mjs).
import { MODES } from "../chat/people.mjs";
import { SOON, until } from "../support/wait.mjs";
import { ROOM, SIDE } from "./kinds.mjs";

/** How long the tests wait for all: thousands of clients take longer. */
export const PATIENCE = 20_000 * (process.env.NATS_LONG ? 4 : 1);
/** Between two attempts. */
export const BACK_OFF = 100;
/** The position in an offset, which an event that is no message carries last. @param {string} offset */
const positionOf = (offset) => Number.parseInt(offset.split(".")[2], 36);

/** @typedef {{kind: string, content: string, position: number}} Entry */

/** A client that keeps coming back, to another server each time. */
export class Member {
  /** What it was shown, in order, all kinds mixed. @type {Entry[]} */
  list = [];
  /** @type {{reason: string, at: number, failures: string[], recovered: boolean | undefined, away: number}[]} each end of a connection, the attempts that failed, and what followed */
  returns = [];
  /** @type {string[]} what a client that does as the protocol says must never see */
  surprises = [];
  /** Attempts that were made again. */
  retries = 0;
  /** How its connections may end. */
  ends = /^transport (close|error)$/;
  #serverOffset = 0;
  #log;

  /**
   * @param {import("../chat/people.mjs").People} people
   * @param {Map<number, Entry>} log what members were shown, by position
   * @param {string[]} urls
   * @param {number} index
   * @param {number} [home] where it begins, if all begin there
   */
  constructor(people, log, urls, index, home) {
    this.index = index;
    // on each server, by each transport
    const rank = home === undefined ? Math.floor(index / urls.length) : index;
    this.inRoom = rank % 2 === 0;
    this.inSide = rank % 4 === 2 || rank % 8 === 3;
    this.mode = Object.keys(MODES)[rank % 3];
    /** The number of the server that it is on, or goes to. */
    this.server = home ?? index % urls.length;
    this.home = this.server;
    // those of one server spread over the others
    const step = 1 + (Math.floor(rank / 6) % Math.max(1, urls.length - 1));
    const auth = (done) => done({ retryable: true, serverOffset: this.#serverOffset || undefined });
    // no Person: what that keeps of each event would keep thousands of clients from being in one process
    const socket = people.open(urls[this.server], { ...MODES[this.mode], auth });
    this.socket = socket;
    this.#log = log;
    socket.io.on("reconnect_attempt", () => {
      this.server = (this.server + step) % urls.length;
      socket.io.uri = urls[this.server];
    });
    socket.on("chat message", (content, position) => this.#shown("wide", content, position));
    socket.on("room:message", (room, content, position) => this.#shown(room === ROOM ? "room" : room, content, position));
    socket.on("notice", (kind, content, offset) => this.#shown(kind, content, positionOf(offset)));
    socket.on("disconnect", (reason) => this.#gone(reason));
    socket.on("connect", () => this.#back());
    socket.on("connect_error", (error) => this.#refused(error));
    socket.on("history gap", (gap) => this.surprises.push(`history gap ${JSON.stringify(gap)}`));
  }

  #shown(kind, content, position) {
    const first = this.#log.get(position);
    // one object for all that were shown the same
    const entry = first?.kind === kind && first.content === content ? first : { kind, content, position };
    if (!first) this.#log.set(position, entry);
    this.list.push(entry);
    if (kind === "wide") this.#serverOffset = position;
  }

  get #rooms() {
    return [...(this.inRoom ? [ROOM] : []), ...(this.inSide ? [SIDE] : [])];
  }

  /** What the verdict is about, as plain data. */
  get record() {
    const { index, mode, inRoom, inSide, list, returns, surprises } = this;
    return { index, mode, inRoom, inSide, list, returns, surprises };
  }

  #gone(reason) {
    this.returns.push({ reason, at: Date.now(), failures: [], recovered: undefined, away: Infinity });
    if (!this.ends.test(reason)) this.surprises.push(`disconnect: ${reason}`);
  }

  #back() {
    const last = this.returns.at(-1);
    if (!last) return;
    last.recovered = this.socket.recovered;
    last.away = Date.now() - last.at;
    if (!last.recovered) for (const room of this.#rooms) this.socket.emit("room:join", room);
  }

  /** A handshake that fails is tried again by the client itself; a refusal is not. */
  #refused(error) {
    this.returns.at(-1)?.failures.push(`${error.message} ${error.context?.status ?? ""}`.trim());
    if (this.socket.active) return;
    if (error.data?.retry) setTimeout(() => this.socket.connect(), BACK_OFF);
    else this.surprises.push(`connect_error: ${error.message} ${JSON.stringify(error.data)}`);
  }

  /** @param {string} event */
  #ask(event, ...args) {
    return this.socket.timeout(2 * SOON).emitWithAck(event, ...args);
  }

  async enter() {
    await until(() => this.socket.connected, PATIENCE, `client ${this.index} connects by ${this.mode}`);
    await Promise.all(this.#rooms.map((room) => this.#ask("room:join", room)));
  }
}
